"""Whether a run may do what it would do: asked before an engine that asks no policy gets to run it.

What the fetches need is looked at, up to what is fed, with all nodes of the functions that it leads
to: whatever names a function may call it. Types that are refused are refused wherever they stand.
Of operations that are judged by their paths, the paths are found beforehand (`path_values`); where
that is not possible, the operation is refused, too.

A SavedModel keeps the path of a vocabulary in a variable until the table is filled. Where one is
assigned what is fed, and read only after that, what is read is taken to be the same, and the engine
has to feed it there.

This is stricter than the NumPy engine, which asks when an operation is about to run: a function, or
the branch of a condition, that would not be called is judged as if it were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.bodies import GraphBody, Node, Port
from ckptmgr.graph.effects import PATH_INPUTS, PRINT
from ckptmgr.graph.frames import Links
from ckptmgr.graph.function_bodies import FunctionBody
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.kept import Kept
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.path_values import PathValues
from ckptmgr.graph.policy import Policy

#: These give the inputs that they have to the function that their attribute `f` names.
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
#: TensorFlow may run one function with this attribute in place of another.
#: Source: tensorflow/core/grappler/optimizers/implementation_selector.cc.
_EXCHANGEABLE = "api_implements"

Attrs: TypeAlias = Mapping[str, AttrValue]


@dataclass(frozen=True, slots=True)
class _Needed:
    """What is left to be judged in each run."""

    #: The operations that touch the paths that they are given, and were not built by the program.
    touching: list[Node]
    #: The ports that give the arguments of functions; None where that is not known.
    given: dict[Port, list[Port] | None]
    handed_on: list[HandedOn]


@dataclass(frozen=True, slots=True)
class HandedOn:
    """A text that goes through a variable within one run."""

    #: What is fed, and assigned to the variable.
    value: Tensor
    assign: Operation
    #: What is read from it.
    read: Tensor


class RunCheck:
    """Judges the runs of one graph by one policy."""

    def __init__(self, graph: Graph, policy: Policy) -> None:
        self._graph = graph
        self._policy = policy
        self._body = GraphBody(graph)
        self._kept: Kept[_Needed] = Kept()

    def check(
        self,
        fetches: Sequence[Tensor | Operation],
        feeds: Mapping[Tensor, Any],
        named: frozenset[str],
    ) -> list[HandedOn]:
        """Raise OpRefused unless everything that these fetches need may run.

        Args:
            named: The strings among what is fed that are the caller's own.
        Returns:
            Where what is fed must be fed, too, and what must run beside the fetches.
        """
        needed = self._needed(tuple(fetches), tuple(feeds))
        if not needed.touching:
            return []
        given = {self._port(tensor): value for tensor, value in feeds.items()}
        for each in needed.handed_on:
            given[self._port(each.read)] = feeds[each.value]
        values = PathValues(given, needed.given)
        for node in needed.touching:
            self._check_paths(node, values, named)
        return needed.handed_on

    def _check_paths(self, node: Node, values: PathValues, named: frozenset[str]) -> None:
        for path_input in PATH_INPUTS[node.op]:
            paths = None
            with suppress(errors.GraphError):
                paths = values.of(node.inputs[path_input.index])
            if paths is None or not all(isinstance(path, bytes) for path in paths):
                self._policy.check_unknown_path(node.op, node.name)
                return
            for path in sorted(paths):
                text = path.decode("utf-8", "surrogateescape")
                self._policy.check_path(
                    node.op, node.name, text, fed=named, writes=path_input.writes
                )

    # ----------------------------------------------------------------- what a run needs

    def _needed(
        self, fetches: tuple[Tensor | Operation, ...], feeds: tuple[Tensor, ...]
    ) -> _Needed:
        # As long as these are the same, only values change from run to run.
        key = fetches, feeds, self._graph.version
        return self._kept.get(key, lambda: self._find_needed(fetches, feeds))

    def _find_needed(
        self, fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]
    ) -> _Needed:
        wanted = [
            self._body.node(fetch.op if isinstance(fetch, Tensor) else fetch)
            for fetch in fetches
            if fetch not in feeds
        ]
        nodes = list(Links(wanted, {self._port(tensor) for tensor in feeds}).inputs)
        for node in nodes:
            self._check_node(node.op, node.name, node.attrs)
        touching = [node for node in nodes if node.op in PATH_INPUTS and not node.is_own]
        functions = self._called(nodes)
        has_paths = False
        for function in functions.values():
            for inner in function.node_def:
                self._check_node(inner.op, inner.name, inner.attr)
                has_paths = has_paths or inner.op in PATH_INPUTS
        if not has_paths:
            return _Needed(touching, {}, self._handed_on(nodes, feeds))
        bodies = self._bodies(functions)
        for name, function in functions.items():
            for inner in function.node_def:
                if inner.op not in PATH_INPUTS:
                    continue
                if name in bodies:
                    touching.append(bodies[name].find(inner.name, inner.name))
                else:
                    self._policy.check_unknown_path(inner.op, inner.name)
        given = _given(nodes, functions, bodies)
        return _Needed(touching, given, self._handed_on(nodes, feeds))

    def _handed_on(self, nodes: Iterable[Node], feeds: Sequence[Tensor]) -> list[HandedOn]:
        reads = (
            self._graph.get_operation_by_name(node.name)
            for node in nodes
            if node.op == "ReadVariableOp"
        )
        return [
            HandedOn(assign.inputs[1], assign, read.outputs[0])
            for read in reads
            for assign in read.control_inputs
            if assign.type == "AssignVariableOp"
            and assign.inputs[0] is read.inputs[0]
            and assign.inputs[1].data_type == DataType.DT_STRING
            and assign.inputs[1] in feeds
            and read.outputs[0] not in feeds
        ]

    def _check_node(self, op_type: str, name: str, attrs: Attrs) -> None:
        self._policy.check_type(op_type, name)
        if op_type == PRINT and "output_stream" in attrs:
            self._policy.check_stream(name, attrs["output_stream"].s)

    def _port(self, tensor: Tensor) -> Port:
        return self._body.node(tensor.op), tensor.value_index

    def _called(self, nodes: Iterable[Node]) -> dict[str, FunctionDef]:
        """The functions that may be called when these nodes run."""
        library = self._graph.functions
        found: dict[str, FunctionDef] = {}
        exchangeable = [name for name, f in library.items() if _EXCHANGEABLE in f.attr]
        pending = [name for node in nodes for name in _named(node.op, node.attrs.values())]
        while pending:
            name = pending.pop()
            if name in found or name not in library:
                continue
            function = found[name] = library[name]
            pending.extend(_named_in(function))
            if _EXCHANGEABLE in function.attr:
                pending.extend(exchangeable)
                exchangeable = []
        return found

    def _bodies(self, functions: Mapping[str, FunctionDef]) -> dict[str, FunctionBody]:
        """The bodies that are the same for every call, and sound."""
        bodies: dict[str, FunctionBody] = {}
        for name, function in functions.items():
            if not function.signature.attr:
                with suppress(errors.GraphError):
                    bodies[name] = FunctionBody(function, self._graph.functions, {})
        return bodies


def _named(op_type: str, values: Iterable[AttrValue]) -> Iterator[str]:
    """What may be the name of a function: a node's type, and what its attributes hold."""
    yield op_type
    pending = list(values)
    while pending:
        value = pending.pop()
        for function in (value.func,) if value.HasField("func") else value.list.func:
            yield function.name
            pending.extend(function.attr.values())


def _named_in(function: FunctionDef) -> Iterator[str]:
    for node in function.node_def:
        yield from _named(node.op, node.attr.values())
    for attr in function.signature.attr:
        yield from _named("", [attr.default_value])


def _given(
    nodes: Iterable[Node],
    functions: Mapping[str, FunctionDef],
    bodies: Mapping[str, FunctionBody],
) -> dict[Port, list[Port] | None]:
    """What the arguments of functions are given by all that may call them."""
    calls: dict[str, list[Node]] = {name: [] for name in functions}
    #: Those of which not every call is seen with its arguments.
    unclear = {name for name in functions if _EXCHANGEABLE in functions[name].attr}
    for name in functions.keys() - bodies.keys():
        unclear.update(_named_in(functions[name]))
    inner = [
        body.find(node.name, name)
        for name, body in bodies.items()
        for node in functions[name].node_def
    ]
    for node in (*nodes, *inner):
        named = [name for name in _named(node.op, node.attrs.values()) if name in functions]
        if len(named) == 1 and (node.op in _CALLS or node.op in functions):
            calls[named[0]].append(node)
        else:
            unclear.update(named)
    given: dict[Port, list[Port] | None] = {}
    for name, body in bodies.items():
        inputs = None if name in unclear else _inputs(calls[name], len(body.arguments))
        for place, argument in enumerate(body.arguments):
            given[argument] = None if inputs is None else [ports[place] for ports in inputs]
    return given


def _inputs(calls: Iterable[Node], count: int) -> list[list[Port]] | None:
    """What each call gives, once for all arguments; None where one is not sound."""
    try:
        inputs = [call.inputs for call in calls]
    except errors.GraphError:
        return None
    return inputs if all(len(ports) >= count for ports in inputs) else None
