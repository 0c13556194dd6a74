"""What the nodes of a GraphDef take, and an order in which each comes after that.

Source: tensorflow/core/common_runtime/graph_constructor.cc (InitFromEdges, Convert).
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from typing import NamedTuple

from ckptmgr import errors
from ckptmgr._proto.node_def_pb2 import NodeDef

_LOOP_BACK = ("NextIteration", "RefNextIteration")
_MERGE = ("Merge", "RefMerge")


class Source(NamedTuple):
    """What a node takes: an output of a node of the message, or that it has run (output None)."""

    name: str
    output: int | None


def parse_input(text: str, node_name: str = "") -> Source:
    """The source that an input of a NodeDef names: "x", "x:1" or "^x".

    Raises:
        InvalidGraph: It names none.
    """
    if text.startswith("^"):
        return Source(text[1:], None)
    name, colon, index = text.rpartition(":")
    if not colon:
        return Source(text, 0)
    if not (index.isascii() and index.isdigit() and len(index) < 10) or ":" in name:
        raise errors.InvalidGraph(
            f"node {node_name!r} has the input {text!r:.200}, which names no tensor"
        )
    return Source(name, int(index))


def in_order(
    nodes: Mapping[str, NodeDef],
    sources: Mapping[str, list[Source]],
    given: Container[Source],
) -> list[str]:
    """The names of the nodes, each after what it takes, and else as they come.

    Only a loop may lead back: a Merge need not come after the NextIteration that it takes.

    Args:
        sources: What each takes.
        given: What comes from elsewhere and is there already.
    Raises:
        InvalidGraph: A node takes what is not there, or they go round in a circle.
    """
    names = list(nodes)
    positions = {name: position for position, name in enumerate(names)}
    takers: list[list[int]] = [[] for _ in names]
    pending = [0] * len(names)
    for position, name in enumerate(names):
        for source in sources[name]:
            if source in given:
                continue
            if source.name not in positions:
                raise errors.InvalidGraph(f"Node {name!r}: Unknown input node {source.name!r:.200}")
            if not _leads_back(nodes[name], nodes[source.name], source):
                takers[positions[source.name]].append(position)
                pending[position] += 1
    order = _counted_down(takers, pending)
    if len(order) < len(names):
        stuck = [name for name, count in zip(names, pending, strict=True) if count]
        raise errors.InvalidGraph(
            f"{len(stuck)} nodes in a cycle, or behind one: {', '.join(map(repr, stuck[:5]))}"
        )
    return [names[position] for position in order]


def _leads_back(node: NodeDef, taken: NodeDef, source: Source) -> bool:
    return node.op in _MERGE and taken.op in _LOOP_BACK and source.output is not None


def _counted_down(takers: list[list[int]], pending: list[int]) -> list[int]:
    """The positions that become free, the first of them first; `pending` is counted down."""
    ready = [position for position, count in enumerate(pending) if count == 0]
    order = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for taker in takers[position]:
            pending[taker] -= 1
            if pending[taker] == 0:
                heapq.heappush(ready, taker)
    return order
