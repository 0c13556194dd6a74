"""The nodes of a graph or a function, once what they take is a constant and no variable.

First it is found out which tensors carry a frozen variable, through nodes that hand one on and
through functions, until nothing new is found; then the nodes are rewritten.

Source: tensorflow/python/framework/convert_to_constants.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.graph import op_defs
from ckptmgr.graph.freezing_reads import axis, reading

#: What hands its input on: the names of the outputs that are the same tensor.
_HANDS_ON: Mapping[str, tuple[str, ...]] = {
    "Identity": ("output",),
    "Enter": ("output",),
    "Exit": ("output",),
    "NextIteration": ("output",),
    "Merge": ("output",),
    "Switch": ("output_false", "output_true"),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """How a type of operation calls functions."""

    function_attrs: tuple[str, ...]
    #: Its first input that is an argument of the functions.
    first_input: int
    input_types: str
    output_types: str


_CALLS: Mapping[str, _Call] = {
    "PartitionedCall": _Call(("f",), 0, "Tin", "Tout"),
    "StatefulPartitionedCall": _Call(("f",), 0, "Tin", "Tout"),
    "If": _Call(("then_branch", "else_branch"), 1, "Tin", "Tout"),
    "StatelessIf": _Call(("then_branch", "else_branch"), 1, "Tin", "Tout"),
    "Case": _Call(("branches",), 1, "Tin", "Tout"),
    "StatelessCase": _Call(("branches",), 1, "Tin", "Tout"),
    "While": _Call(("cond", "body"), 0, "T", "T"),
    "StatelessWhile": _Call(("cond", "body"), 0, "T", "T"),
}
_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd"})

#: A variable that has become a constant: its dtype and, where it is known, its shape.
_Frozen = tuple[int, tuple[int, ...] | None]
#: The frozen arguments of a function, by their positions.
_Arguments = tuple[tuple[int, _Frozen], ...]

# A function may call itself; deeper than any real program goes.
_MAX_CALLS = 100
# Each function may be called with any of its arguments frozen: in a few bytes, in 2**50 ways.
_MAX_WAYS = 10_000


class Freezing:
    """One graph, some of whose nodes become constants.

    Args:
        constants: What takes the place of variables, by name.
    """

    def __init__(self, graph_def: GraphDef, constants: Mapping[str, NodeDef]) -> None:
        self._graph_def = graph_def
        self._constants = constants
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self._outputs: dict[tuple[str, _Arguments], _Arguments] = {}
        self._clones: dict[tuple[str, _Arguments], str] = {}
        #: How many are being cloned, each because the one before calls it.
        self._cloning = 0
        self._new_functions: list[FunctionDef] = []

    def result(self) -> GraphDef:
        """The graph with constants."""
        nodes = self._graph_def.node
        # What takes a reference takes the constant as well; what takes a handle has to be changed.
        frozen = {
            f"{node.name}:0": _described(self._constants[node.name])
            for node in nodes
            if node.name in self._constants and node.op == "VarHandleOp"
        }
        self._check_references()
        self._follow(nodes, frozen, in_function=False, depth=0)
        result = GraphDef(versions=self._graph_def.versions)
        for node in nodes:
            constant = self._constants.get(node.name)
            result.node.add().CopyFrom(
                self._rewritten(node, frozen, in_function=False) if constant is None else constant
            )
            if _gathers(node, frozen, in_function=False):
                result.node.add().CopyFrom(axis(node))
        used = _used_functions(result.node, {**self._functions, **self._made()})
        # As TensorFlow: there is a library, be it empty.
        result.library.SetInParent()
        result.library.function.extend(
            function
            for function in [*self._graph_def.library.function, *self._new_functions]
            if function.signature.name in used
        )
        return result

    def _check_references(self) -> None:
        for node in self._graph_def.node:
            definition = op_defs.find(node.op)
            if definition is None or not node.input:
                continue
            # Whatever takes a reference takes it first.
            is_ref = bool(definition.input_arg) and definition.input_arg[0].is_ref
            if is_ref and node.input[0].removesuffix(":0") in self._constants:
                raise _more_than_read(node)

    def _made(self) -> dict[str, FunctionDef]:
        return {function.signature.name: function for function in self._new_functions}

    # ----------------------------------------------------------------- finding out

    def _follow(
        self,
        nodes: Sequence[NodeDef],
        frozen: dict[str, _Frozen],
        *,
        in_function: bool,
        depth: int,
    ) -> None:
        """Add to `frozen` all tensors that carry what is in it."""
        takers: dict[str, list[NodeDef]] = {}
        for node in nodes:
            for text in node.input:
                takers.setdefault(_key(text, in_function), []).append(node)
        pending = list(frozen)
        while pending:
            for node in takers.get(pending.pop(), ()):
                for port, index, value in self._outputs_of(node, frozen, in_function, depth):
                    key = f"{node.name}:{port}:{index}" if in_function else f"{node.name}:{index}"
                    if key not in frozen:
                        frozen[key] = value
                        pending.append(key)

    def _outputs_of(
        self, node: NodeDef, frozen: Mapping[str, _Frozen], in_function: bool, depth: int
    ) -> Iterable[tuple[str, int, _Frozen]]:
        """Which outputs of a node carry a frozen variable: name, number in the list, variable."""
        taken = _frozen_inputs(node, frozen, in_function)
        if not taken:
            return
        if node.op in _HANDS_ON:
            value = next(iter(taken.values()))
            for index, port in enumerate(_HANDS_ON[node.op]):
                yield port, 0 if in_function else index, value
        elif node.op in _CALLS:
            arguments = _arguments(node, taken)
            for name in _called(node):
                for index, value in self._frozen_outputs(name, arguments, depth + 1):
                    yield "output", index, value

    def _frozen_outputs(self, name: str, arguments: _Arguments, depth: int) -> _Arguments:
        """Which results of a function are frozen variables, when these arguments are."""
        key = (name, arguments)
        if key in self._outputs:
            return self._outputs[key]
        if depth > _MAX_CALLS:
            raise _too_deep(name)
        if len(self._outputs) == _MAX_WAYS:
            raise errors.InvalidGraph(
                f"functions are called in more than {_MAX_WAYS} ways, with other variables each"
            )
        # Should it call itself: what is found by then.
        self._outputs[key] = ()
        function = self._function(name)
        frozen = _frozen_arguments(function, arguments)
        self._follow(function.node_def, frozen, in_function=True, depth=depth)
        self._outputs[key] = tuple(
            (index, frozen[_key(function.ret[output.name], True)])
            for index, output in enumerate(function.signature.output_arg)
            if _key(function.ret[output.name], True) in frozen
        )
        return self._outputs[key]

    def _function(self, name: str) -> FunctionDef:
        if name not in self._functions:
            raise errors.InvalidGraph(
                f"the graph calls function {name!r}, which is not in its library"
            )
        return self._functions[name]

    # ----------------------------------------------------------------- rewriting

    def _rewritten(
        self, node: NodeDef, frozen: Mapping[str, _Frozen], *, in_function: bool
    ) -> NodeDef:
        taken = _frozen_inputs(node, frozen, in_function)
        if not taken:
            return node
        if node.op in _READS and 0 in taken:
            return reading(node, in_function)
        if node.op in _HANDS_ON:
            changed = _copy(node)
            changed.attr["T"].type = next(iter(taken.values()))[0]  # type: ignore[assignment]
            return changed
        if node.op in _CALLS:
            return self._calling(node, taken)
        raise _more_than_read(node)

    def _calling(self, node: NodeDef, taken: Mapping[int, _Frozen]) -> NodeDef:
        call = _CALLS[node.op]
        arguments = _arguments(node, taken)
        changed = _copy(node)
        _set_types(changed, call.input_types, arguments)
        for name in call.function_attrs:
            attr = changed.attr[name]
            for called in attr.list.func if attr.WhichOneof("value") == "list" else [attr.func]:
                outputs = self._frozen_outputs(called.name, arguments, 1)
                if call.output_types != call.input_types:
                    _set_types(changed, call.output_types, outputs)
                called.name = self._clone(called.name, arguments)
        return changed

    def _clone(self, name: str, arguments: _Arguments) -> str:
        """The name of a function like `name` that is given constants."""
        key = (name, arguments)
        if key not in self._clones:
            if self._cloning == _MAX_CALLS:
                raise _too_deep(name)
            number = len(self._clones)
            while f"{name}_frozen_{number}" in self._functions:
                number += 1
            self._clones[key] = f"{name}_frozen_{number}"
            self._cloning += 1
            self._new_functions.append(self._cloned(name, arguments, self._clones[key]))
            self._cloning -= 1
        return self._clones[key]

    def _cloned(self, name: str, arguments: _Arguments, new_name: str) -> FunctionDef:
        function = self._function(name)
        clone = FunctionDef()
        clone.CopyFrom(function)
        clone.signature.name = new_name
        frozen = _frozen_arguments(function, arguments)
        self._follow(function.node_def, frozen, in_function=True, depth=1)
        for index, (dtype, shape) in arguments:
            clone.signature.input_arg[index].type = dtype  # type: ignore[assignment]
            del clone.signature.input_arg[index].handle_data[:]
            clone.resource_arg_unique_id.pop(index, None)
            if index in clone.arg_attr:
                attrs = clone.arg_attr[index].attr
                if "_output_shapes" in attrs:
                    del attrs["_output_shapes"].list.shape[:]
                    attrs["_output_shapes"].list.shape.append(_shape(shape))
        for index, (dtype, _) in self._frozen_outputs(name, arguments, 1):
            clone.signature.output_arg[index].type = dtype  # type: ignore[assignment]
        del clone.node_def[:]
        reads: set[str] = set()
        for node in function.node_def:
            rewritten = self._rewritten(node, frozen, in_function=True)
            if rewritten is not node and node.op == "ReadVariableOp":
                reads.add(node.name)
            clone.node_def.add().CopyFrom(rewritten)
            if _gathers(node, frozen, in_function=True):
                clone.node_def.add().CopyFrom(axis(node))
        # An Identity calls its output otherwise than what read a variable.
        for node in clone.node_def:
            node.input[:] = [_renamed(text, reads) for text in node.input]
        for output, text in list(clone.ret.items()):
            clone.ret[output] = _renamed(text, reads)
        return clone


def _too_deep(name: str) -> errors.InvalidGraph:
    return errors.InvalidGraph(f"function {name!r} is called more than {_MAX_CALLS} deep")


def _more_than_read(node: NodeDef) -> errors.InvalidGraph:
    return errors.InvalidGraph(
        f"node {node.name!r} ({node.op}) takes a variable that is to be frozen and does more than "
        f"read it; leave that variable out"
    )


def _renamed(text: str, reads: set[str]) -> str:
    name, _, port = text.partition(":")
    return f"{name}:output:0" if name in reads and port.startswith("value") else text


# --------------------------------------------------------------------------- single nodes


def _key(text: str, in_function: bool) -> str:
    """The tensor that an input names, spelled in one way."""
    if text.startswith("^"):
        return ""
    return text if in_function or ":" in text else f"{text}:0"


def _frozen_inputs(
    node: NodeDef, frozen: Mapping[str, _Frozen], in_function: bool
) -> dict[int, _Frozen]:
    keys = ((index, _key(text, in_function)) for index, text in enumerate(node.input))
    return {index: frozen[key] for index, key in keys if key in frozen}


def _gathers(node: NodeDef, frozen: Mapping[str, _Frozen], *, in_function: bool) -> bool:
    """Whether it takes rows from a frozen variable, which needs a constant for the axis."""
    return node.op == "ResourceGather" and 0 in _frozen_inputs(node, frozen, in_function)


def _arguments(node: NodeDef, taken: Mapping[int, _Frozen]) -> _Arguments:
    first = _CALLS[node.op].first_input
    if min(taken) < first:
        raise _more_than_read(node)
    return tuple((index - first, value) for index, value in sorted(taken.items()))


def _frozen_arguments(function: FunctionDef, arguments: _Arguments) -> dict[str, _Frozen]:
    names = [argument.name for argument in function.signature.input_arg]
    if any(index >= len(names) for index, _ in arguments):
        raise errors.InvalidGraph(
            f"function {function.signature.name!r} is given more than its {len(names)} arguments"
        )
    return {names[index]: value for index, value in arguments}


def _set_types(node: NodeDef, key: str, changed: _Arguments) -> None:
    """Give some arguments or results of a call other dtypes in the attribute that lists them."""
    types = node.attr[key].list.type
    for index, (dtype, _) in changed:
        if index >= len(types):
            raise errors.InvalidGraph(
                f"attribute {key!r} of node {node.name!r} ({node.op}) names {len(types)} dtypes, "
                f"but there is a tensor {index}"
            )
        types[index] = dtype  # type: ignore[call-overload]


def _called(node: NodeDef) -> list[str]:
    names: list[str] = []
    for name in _CALLS[node.op].function_attrs:
        attr = node.attr[name]
        if attr.WhichOneof("value") == "list":
            names.extend(called.name for called in attr.list.func)
        else:
            names.append(attr.func.name)
    return names


def _described(constant: NodeDef) -> _Frozen:
    shape = constant.attr["value"].tensor.tensor_shape
    return int(constant.attr["dtype"].type), tuple(dim.size for dim in shape.dim)


def _shape(shape: tuple[int, ...] | None) -> TensorShapeProto:
    if shape is None:
        return TensorShapeProto(unknown_rank=True)
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])


def _copy(node: NodeDef) -> NodeDef:
    copy = NodeDef()
    copy.CopyFrom(node)
    # It told the shape of a handle.
    copy.attr.pop("_output_shapes", None)
    return copy


def _used_functions(nodes: Iterable[NodeDef], functions: Mapping[str, FunctionDef]) -> set[str]:
    """The functions that nodes call, and those that these call."""
    used: set[str] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        names = [node.op]
        for attr in node.attr.values():
            names.extend(called.name for called in [attr.func, *attr.list.func] if called.name)
        for name in names:
            if name in functions and name not in used:
                used.add(name)
                pending.extend(functions[name].node_def)
    return used
