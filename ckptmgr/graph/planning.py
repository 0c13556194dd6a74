"""What to do in which order so that some tensors get computed: made once, run many times.

A plan is a list of steps. Each value has a slot, a number, in the list of values of a run. What is
constant is there from the start, and a value goes away after the last step that takes it.

In a graph with Switch, values may be dead: they are on the branch that is not taken. What takes a
dead value is dead itself, up to the Merge that joins the branches. A loop is one step of the frame
around it, with a list of steps of its own. Everything else of the graph is steps in a row: however
deep a graph is, nothing here or in the executor goes deeper with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ckptmgr import errors
from ckptmgr.graph.bodies import Node, Port, takes_references
from ckptmgr.graph.frames import (
    ENTER,
    EXIT,
    MERGE,
    NEXT_ITERATION,
    SWITCH,
    Frame,
    Links,
    frames_of,
    in_order,
)
from ckptmgr.graph.kernels.registry import Kernel

#: Finds what computes a node.
FindKernel = Callable[[Node], Kernel]


class _Dead:
    """What a tensor on a branch that is not taken has for a value."""

    def __repr__(self) -> str:
        return "<dead>"


DEAD = _Dead()


@dataclass(slots=True)
class Step:
    """One node to be computed."""

    node: Node
    #: None for those that hand their first input on.
    kernel: Kernel | None
    inputs: tuple[int, ...]
    #: Of the inputs that may be references, those that are wanted as values.
    read: tuple[int, ...]
    first_output: int
    num_outputs: int
    #: What tells whether the nodes that it waits for are dead, in plans that have dead values.
    controls: tuple[int, ...] = ()
    #: Where it tells others.
    done: int = -1
    #: The values that nobody takes after it.
    release: tuple[int, ...] = ()


class SwitchStep(Step):
    """Hands a value on to one of two branches."""


class MergeStep(Step):
    """Takes whichever value is not dead."""


@dataclass(slots=True)
class LoopStep:
    """All iterations of one frame."""

    name: str
    enters: list[Step]
    #: The outputs of those Enter whose value is there in each iteration, not only in the first.
    constants: frozenset[int]
    body: list[AnyStep]
    #: From what each NextIteration takes to what it gives.
    back: list[tuple[int, int]]
    exits: list[Step]
    #: All slots of the frame, but those of the exits.
    slots: tuple[int, ...]
    release: tuple[int, ...] = ()


AnyStep: TypeAlias = "Step | LoopStep"


@dataclass(slots=True)
class Plan:
    steps: list[AnyStep]
    #: The values at the start of a run; what is fed comes first.
    initial: list[Any]
    #: The slots of what is fetched; None for nodes of which only the effect is.
    fetched: list[int | None]
    has_dead_values: bool
    #: Of a function, how many of what is fetched are its results; the others must only run.
    num_results: int = 0
    num_arguments: int = 0


@dataclass(slots=True)
class _Slots:
    """Where each value is."""

    fed: dict[Port, int]
    first: dict[Node, int] = field(default_factory=dict)
    done: dict[Node, int] = field(default_factory=dict)
    count: int = 0

    def of(self, port: Port) -> int:
        known = self.fed.get(port)
        return self.first[port[0]] + port[1] if known is None else known

    def add(self, node: Node) -> None:
        self.first[node] = self.count
        self.done[node] = self.count + node.num_outputs
        self.count = self.done[node] + 1


def make_plan(
    fetches: Sequence[Port | Node], feeds: Sequence[Port], find_kernel: FindKernel
) -> Plan:
    """How to compute outputs of nodes, or run nodes, when other outputs are given.

    Raises:
        InvalidGraph: They cannot be brought into an order.
        KernelNotFound, OpRefused: A node that is needed cannot, or must not, be computed.
    """
    slots = _Slots({port: number for number, port in enumerate(feeds)}, count=len(feeds))
    wanted = [
        fetch[0] if isinstance(fetch, tuple) else fetch
        for fetch in fetches
        if not (isinstance(fetch, tuple) and fetch in slots.fed)
    ]
    links = Links(wanted, slots.fed)
    nodes = sorted(links.inputs, key=lambda node: node.order)
    order = in_order(nodes, {node: links.before(node) for node in nodes})
    for node in order:
        slots.add(node)
    planner = _Planner(links, slots, find_kernel, has_dead=any(n.op in _MAY_BE_DEAD for n in order))
    if any(node.op in _OF_LOOPS for node in order):
        root, frames = frames_of(order, links)
        steps = planner.nested(root, frames)
    else:
        steps = [planner.step(node) for node in order if not planner.is_given(node)]
    fetched = [slots.of(fetch) if isinstance(fetch, tuple) else None for fetch in fetches]
    for port in (fetch for fetch in fetches if isinstance(fetch, tuple)):
        _check_output(port)
    _release(steps, {slot for slot in fetched if slot is not None}, planner.constants)
    initial = [None] * slots.count
    for slot, value in planner.constants.items():
        initial[slot] = value
    return Plan(steps, initial, fetched, planner.has_dead)


def _check_output(port: Port) -> None:
    node, index = port
    if index >= node.num_outputs:
        raise errors.InvalidGraph(
            f"node {node.name!r} has {node.num_outputs} outputs, found a use of output {index}"
        )


class _Planner:
    def __init__(
        self, links: Links, slots: _Slots, find_kernel: FindKernel, *, has_dead: bool
    ) -> None:
        self._links = links
        self._slots = slots
        self._find_kernel = find_kernel
        self.has_dead = has_dead
        #: Values that are known already, by slot.
        self.constants: dict[int, Any] = {}

    def is_given(self, node: Node) -> bool:
        """Whether a node is a constant, which is computed here and now."""
        if node.op != "Const" or self._links.controls[node]:
            return False
        self.constants[self._slots.first[node]] = _constant(node)
        return True

    def step(self, node: Node) -> Step:
        inputs = self._links.inputs[node]
        for port in inputs:
            if port not in self._slots.fed:
                _check_output(port)
        kind = Step
        kernel: Kernel | None = None
        if node.op in SWITCH:
            kind = SwitchStep
        elif node.op in MERGE:
            kind = MergeStep
        elif node.op not in _HANDED_ON:
            kernel = self._find_kernel(node)
        waits = self.has_dead and node.op != "ControlTrigger"
        controls = self._links.controls[node] if waits else ()
        done = self._slots.done
        return kind(
            node,
            kernel,
            tuple(self._slots.of(port) for port in inputs),
            _read(node, inputs),
            self._slots.first[node],
            node.num_outputs,
            tuple(done[other] for other in controls),
            done[node],
        )

    def nested(self, root: Frame, frames: Mapping[Node, Frame]) -> list[AnyStep]:
        """The steps of a graph with loops."""
        self.has_dead = True
        children: dict[Frame, list[Frame]] = {}
        for frame in dict.fromkeys(frames.values()):
            if frame.parent is not None:
                children.setdefault(frame.parent, []).append(frame)
        return self._steps_of(root, frames, children)

    def _steps_of(
        self, frame: Frame, frames: Mapping[Node, Frame], children: Mapping[Frame, list[Frame]]
    ) -> list[AnyStep]:
        """What is computed in a frame itself; each inner frame stands there as one step.

        In the order of the nodes, an inner frame is represented by the first of its nodes.
        """
        representative: dict[Frame, Node] = {}
        members: dict[Node, Frame] = {}
        items: list[Node] = []
        before: dict[Node, list[Node]] = {}
        for child in children.get(frame, ()):
            leader = child.nodes[0]
            representative[child] = leader
            members[leader] = child
        for child, leader in representative.items():
            items.append(leader)
            before[leader] = [
                self._seen_from(frame, other, frames, representative)
                for node in child.nodes
                if node.op in ENTER
                for other in self._links.before(node)
            ]
        for node in frame.nodes:
            if node.op in _OF_LOOPS or self.is_given(node):
                continue
            items.append(node)
            before[node] = [
                self._seen_from(frame, other, frames, representative)
                for other in self._links.before(node)
                if not (self._is_boundary(other, frame, frames) or self._is_known(other))
            ]
        for leader in members:
            before[leader] = [
                other for other in before[leader] if other in before and not self._is_known(other)
            ]
        return [
            self._loop(members[node], frames, children) if node in members else self.step(node)
            for node in in_order(items, before)
        ]

    def _is_known(self, node: Node) -> bool:
        return node.op == "Const" and not self._links.controls[node]

    def _is_boundary(self, node: Node, frame: Frame, frames: Mapping[Node, Frame]) -> bool:
        """Whether a node gives its value before, or in between, the iterations of a frame."""
        return frames[node] is frame and (node.op in ENTER or node.op in NEXT_ITERATION)

    def _seen_from(
        self,
        frame: Frame,
        node: Node,
        frames: Mapping[Node, Frame],
        representative: Mapping[Frame, Node],
    ) -> Node:
        return node if frames[node] is frame else representative[frames[node]]

    def _loop(
        self, frame: Frame, frames: Mapping[Node, Frame], children: Mapping[Frame, list[Frame]]
    ) -> LoopStep:
        of_kind = {
            kind: [node for node in frame.nodes if node.op in kind]
            for kind in (ENTER, EXIT, NEXT_ITERATION)
        }
        body = self._steps_of(frame, frames, children)
        exits = [self.step(node) for node in of_kind[EXIT]]
        kept = {step.first_output for step in exits} | {step.done for step in exits}
        # Of constants the value stays: another run of the loop will need it.
        slots = [
            slot
            for node in frame.nodes
            if not self._is_known(node)
            for slot in range(self._slots.first[node], self._slots.done[node] + 1)
            if slot not in kept
        ]
        return LoopStep(
            frame.name,
            [self.step(node) for node in of_kind[ENTER]],
            frozenset(
                self._slots.first[node] for node in of_kind[ENTER] if node.attr("is_constant")
            ),
            body,
            [
                (self._slots.of(self._links.inputs[node][0]), self._slots.first[node])
                for node in of_kind[NEXT_ITERATION]
            ],
            exits,
            tuple(slots),
        )


_OF_LOOPS = ENTER | EXIT | NEXT_ITERATION
_MAY_BE_DEAD = _OF_LOOPS | SWITCH | MERGE
#: Computed by the executor itself: they hand their first input on, as it is.
_HANDED_ON = _OF_LOOPS | {"LoopCond", "RefIdentity"}


def _constant(node: Node) -> Any:
    try:
        return node.attr("value")
    except errors.GraphError as error:
        raise errors.InvalidGraph(f"constant {node.name!r}: {error}") from None


def _read(node: Node, inputs: Sequence[Port]) -> tuple[int, ...]:
    """The places of inputs that are references, and wanted as values."""
    if _is_alias(node):
        return ()
    references = [
        place for place, (taken, index) in enumerate(inputs) if _gives_reference(taken, index)
    ]
    if not references:
        return ()
    as_they_are = takes_references(node.op_def, node.attrs, len(inputs))
    return tuple(
        place for place in references if not (place < len(as_they_are) and as_they_are[place])
    )


def _gives_reference(node: Node, index: int) -> bool:
    if _is_alias(node):
        return True
    if node.op_def is None:
        return False
    outputs = node.op_def.output_arg
    # Lists of references are nowhere followed by other outputs.
    return bool(outputs) and outputs[min(index, len(outputs) - 1)].is_ref


def _is_alias(node: Node) -> bool:
    """Whether it is the `v/read` that every variable of references comes with.

    TensorFlow's gives the variable's memory itself, so that what was computed before an update and
    is used after it, as the averages of `ema.apply` after a training step, shows the update.
    """
    if node.op != "Identity" or not node.name.endswith("/read"):
        return False
    taken, _ = node.inputs[0]
    return taken.op in {"Variable", "VariableV2"} and node.name == f"{taken.name}/read"


def _release(steps: Iterable[AnyStep], fetched: set[int], constants: Mapping[int, Any]) -> None:
    """Note after which step each value is not needed any more."""
    kept = fetched | constants.keys()
    seen: set[int] = set()
    for step in reversed(list(steps)):
        touched: set[int] = set()
        if isinstance(step, LoopStep):
            for part in (*step.enters, *step.exits):
                touched.update(part.inputs, part.controls)
                touched.update(range(part.first_output, part.done + 1))
            touched.difference_update(step.slots)
        else:
            touched.update(step.inputs, step.controls)
            touched.update(range(step.first_output, step.first_output + step.num_outputs))
        step.release = tuple(touched - seen - kept)
        seen |= touched
