"""Which loop each node of a plan runs in.

A loop of TensorFlow 1 is a frame: an Enter leads into it, an Exit out of it, and a NextIteration
back to its Merge. A node is in the frame that its inputs come from. Frames may be nested.

Source: tensorflow/core/graph/control_flow.cc (BuildControlFlowInfo).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptmgr import errors
from ckptmgr.graph.bodies import Node, Port

ENTER = frozenset({"Enter", "RefEnter"})
EXIT = frozenset({"Exit", "RefExit"})
NEXT_ITERATION = frozenset({"NextIteration", "RefNextIteration"})
MERGE = frozenset({"Merge", "RefMerge"})
SWITCH = frozenset({"Switch", "RefSwitch"})

#: Each level takes some of Python's stack; programs nest two or three.
_MAX_NESTING = 32


@dataclass(eq=False)
class Frame:
    """A loop, or the whole plan."""

    name: str
    parent: Frame | None = None
    depth: int = 0
    #: Enter and Exit are of the inner one of the two frames that they connect.
    nodes: list[Node] = field(default_factory=list)


class Links:
    """The nodes that are to run, each with what it takes among them.

    Args:
        wanted: The nodes whose results, or effects, are wanted.
        fed: The outputs whose values are given: nothing behind them runs.
    """

    def __init__(self, wanted: Iterable[Node], fed: Collection[Port]) -> None:
        self.inputs: dict[Node, list[Port]] = {}
        self.controls: dict[Node, list[Node]] = {}
        pending = list(wanted)
        while pending:
            node = pending.pop()
            if node in self.inputs:
                continue
            self.inputs[node] = inputs = node.inputs
            self.controls[node] = controls = node.controls
            pending.extend(taken for port in inputs if port not in fed for taken in port[:1])
            pending.extend(controls)
        self._fed = fed

    def before(self, node: Node) -> list[Node]:
        """The nodes that must have run before one, but for the way back of a loop."""
        taken = [port[0] for port in self.inputs[node] if port not in self._fed]
        if node.op in MERGE:
            taken = [other for other in taken if other.op not in NEXT_ITERATION]
        return [*taken, *self.controls[node]]


def in_order(nodes: Collection[Node], before: Mapping[Node, Sequence[Node]]) -> list[Node]:
    """The nodes, each after those before it, and else as in the graph.

    Raises:
        InvalidGraph: They wait for each other.
    """
    takers: dict[Node, list[Node]] = {node: [] for node in nodes}
    pending = dict.fromkeys(nodes, 0)
    for node in nodes:
        for other in dict.fromkeys(before[node]):
            takers[other].append(node)
            pending[node] += 1
    # The number, as two nodes of one order could not be compared.
    ready = [(node.order, number, node) for number, node in enumerate(nodes) if not pending[node]]
    heapq.heapify(ready)
    number = len(ready) + len(pending)
    order = []
    while ready:
        node = heapq.heappop(ready)[2]
        order.append(node)
        for taker in takers[node]:
            pending[taker] -= 1
            if not pending[taker]:
                number += 1
                heapq.heappush(ready, (taker.order, number, taker))
    if len(order) < len(pending):
        stuck = [node.name for node, count in pending.items() if count]
        raise errors.InvalidGraph(
            f"{len(stuck)} nodes in a cycle, or behind one: {', '.join(map(repr, stuck[:5]))}"
        )
    return order


def frames_of(order: Sequence[Node], links: Links) -> tuple[Frame, dict[Node, Frame]]:
    """The whole plan as a frame, and the frame of each node.

    Args:
        order: As `in_order` gives them.
    Raises:
        InvalidGraph: A node takes values from two frames.
    """
    root = Frame("")
    inner: dict[tuple[Frame, str], Frame] = {}
    frames: dict[Node, Frame] = {}
    for node in order:
        around = _frame_around(node, links, frames, root)
        if node.op in ENTER:
            name = node.attr("frame_name").decode("utf-8", "replace")
            frame = inner.get((around, name))
            if frame is None:
                frame = inner[around, name] = Frame(name, around, around.depth + 1)
            if frame.depth > _MAX_NESTING:
                raise errors.InvalidGraph(
                    f"loops are nested more than {_MAX_NESTING} deep, at node {node.name!r}"
                )
        else:
            frame = around
        if (node.op in EXIT or node.op in NEXT_ITERATION) and frame is root:
            raise errors.InvalidGraph(f"{node.op} node {node.name!r} is in no loop")
        frames[node] = frame
        frame.nodes.append(node)
    return root, frames


def _frame_around(node: Node, links: Links, frames: Mapping[Node, Frame], root: Frame) -> Frame:
    """The frame that the inputs of a node come from."""
    found: Frame | None = None
    for other in links.before(node):
        frame = frames[other]
        if other.op in EXIT:
            assert frame.parent is not None
            frame = frame.parent
        if found is not None and frame is not found:
            raise errors.InvalidGraph(
                f"node {node.name!r} has inputs from different frames, {found.name!r} and "
                f"{frame.name!r}"
            )
        found = frame
    return found or root
