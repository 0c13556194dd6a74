"""Adding an operation to a graph, checked against the definition of its type.

Inputs come argument by argument; attributes that follow from them (their dtype, how many there
are) are inferred, and those that have a default get it, so that the node says all that there is
to say about it.

Source: tensorflow/python/framework/op_def_library.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.attributes import check_allowed, encode_attr, encode_free_attr
from ckptmgr.graph.dtypes import base, data_type, reference
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor, check_operation_name
from ckptmgr.graph.shapes import infer_shapes
from ckptmgr.graph.tensor_values import as_array, encode_tensor


def create_op(
    graph: Graph,
    op_type: str,
    inputs: Sequence[Tensor | Sequence[Tensor]] = (),
    attrs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Operation:
    """Add an operation of a type to a graph.

    Args:
        inputs: One item per input of the type: a tensor, or a list for an input that is one.
        attrs: Values of attributes, as the table in `attributes` says. Those that follow from the
            inputs, or that have a default, may be left out.
        name: Its name within the current scope; the type's where it is left out. One that ends
            with "/" is taken as it is, without that.
    Raises:
        InvalidOperation: The type is not known, or inputs and attributes are not what it takes.
        GraphTypeError: An input or attribute is of another dtype or kind.
    """
    graph.check_not_finalized()
    op_def = graph.op_def_for_type(op_type)
    if op_def is None:
        raise errors.InvalidOperation(f"there is no type of operation called {op_type!r}")
    where = f"{op_type} operation {name or op_type!r}"
    arguments = _arguments(graph, op_def, inputs, where)
    node_attrs = _attributes(op_def, arguments, attrs or {}, where)
    _check_dtypes(op_def, arguments, node_attrs, where)
    full_name = _operation_name(graph, name or op_type)
    node = NodeDef(name=full_name, op=op_type)
    for key, value in node_attrs.items():
        node.attr[key].CopyFrom(value)
    operation = Operation(graph, node, op_def, output_types(op_def, node))
    tensors = [tensor for argument in arguments for tensor in argument]
    operation._connect(tensors, graph._controls.of_new([tensor.op for tensor in tensors]))
    # Shapes that contradict each other leave the graph as it was.
    try:
        infer_shapes(operation)
    except errors.GraphError:
        for tensor in tensors:
            tensor._consumers.remove(operation)
        raise
    graph._add(operation)
    with ExitStack() as placed:
        # What takes a reference has to be where the variable is.
        for argument, given in zip(op_def.input_arg, arguments, strict=True):
            if argument.is_ref and given:
                placed.enter_context(graph.colocate_with(given[0].op))
        graph._place(operation)
    return operation


def _operation_name(graph: Graph, name: str) -> str:
    full_name = name[:-1] if name.endswith("/") else graph.unique_name(name)
    check_operation_name(full_name)
    if full_name in graph._operations:
        raise errors.GraphError(f"the graph has an operation named {full_name!r} already")
    return full_name


def constant(
    graph: Graph,
    value: Any,
    dtype: Any = None,
    shape: Sequence[int] | None = None,
    name: str | None = None,
) -> Tensor:
    """Add a constant: a Const operation's output.

    Args:
        dtype: Its type; that which `tensor_values.as_array` finds where it is None.
        shape: Its shape, where the value's is another: the last element fills what is left.
    """
    array, number = as_array(value, None if dtype is None else data_type(dtype))
    message = encode_tensor(array, number, shape)
    attrs = {"value": message, "dtype": number}
    return create_op(graph, "Const", (), attrs, name or "Const").outputs[0]


def output_types(op_def: OpDef, node: NodeDef) -> list[DataType]:
    """The types of the outputs of a node whose attributes are complete.

    Raises:
        InvalidGraph: They are not.
    """
    types: list[DataType] = []
    for argument in op_def.output_arg:
        types.extend(argument_types(argument, node))
    return types


def input_types(op_def: OpDef, node: NodeDef) -> list[DataType]:
    """The types that the inputs of a node must have, lists flattened; see `output_types`."""
    types: list[DataType] = []
    for argument in op_def.input_arg:
        types.extend(argument_types(argument, node))
    return types


# More inputs or outputs of one kind than any operation has; a list is made for a number in a file.
_MAX_LIST = 2**16
# What the nodes of a graph may give in all, beyond some for each node and one for each input.
_MORE_OUTPUTS = 2**13
_OUTPUTS_PER_NODE = 8


class OutputBudget:
    """How many outputs the nodes of a message may have: a few bytes can ask for very many."""

    def __init__(self, nodes: Iterable[NodeDef]) -> None:
        self._left = _MORE_OUTPUTS + sum(_OUTPUTS_PER_NODE + len(node.input) for node in nodes)

    def take(self, name: str, count: int) -> None:
        """Raise InvalidGraph if a node is one too many."""
        self._left -= count
        if self._left < 0:
            raise errors.InvalidGraph(f"{name!r} with {count} outputs is too many in one graph")


def argument_types(argument: OpDef.ArgDef, node: NodeDef) -> list[DataType]:
    """The types of the tensors of one input or output of a node; see `output_types`."""
    if argument.type_list_attr:
        numbers = list(_attr(node, argument.type_list_attr, "list").list.type)
    else:
        number = argument.type or _attr(node, argument.type_attr, "type").type
        count = 1
        if argument.number_attr:
            count = _attr(node, argument.number_attr, "i").i
            if not 0 <= count <= _MAX_LIST:
                raise errors.InvalidGraph(
                    f"attribute {argument.number_attr!r} of node {node.name!r} must be between 0 "
                    f"and {_MAX_LIST}, found {count}"
                )
        numbers = [number] * count
    try:
        known = [DataType(number) for number in numbers]
        return [reference(number) for number in known] if argument.is_ref else known
    except ValueError:
        raise errors.InvalidGraph(
            f"node {node.name!r} has an input or output {argument.name!r} of unknown dtype: "
            f"{numbers[:5]}"
        ) from None


def _attr(node: NodeDef, name: str, field: str) -> AttrValue:
    if name not in node.attr:
        raise errors.InvalidGraph(
            f"node {node.name!r} ({node.op}) must have the attribute {name!r}, found none"
        )
    value = node.attr[name]
    if value.WhichOneof("value") != field:
        raise errors.InvalidGraph(
            f"attribute {name!r} of node {node.name!r} ({node.op}) must have a value of kind "
            f"{field!r}, found {value.WhichOneof('value')!r}"
        )
    return value


# --------------------------------------------------------------------------- inputs


def _arguments(
    graph: Graph, op_def: OpDef, inputs: Sequence[Any], where: str
) -> list[list[Tensor]]:
    """The inputs as lists of tensors, one per argument of the type."""
    if len(inputs) != len(op_def.input_arg):
        wanted = ", ".join(argument.name for argument in op_def.input_arg) or "none"
        raise errors.InvalidOperation(
            f"{where} takes {len(op_def.input_arg)} inputs ({wanted}), found {len(inputs)}"
        )
    arguments = []
    for argument, given in zip(op_def.input_arg, inputs, strict=True):
        is_list = bool(argument.number_attr or argument.type_list_attr)
        if is_list != isinstance(given, list | tuple):
            raise errors.GraphTypeError(
                f"input {argument.name!r} of {where} must be a "
                f"{'list of tensors' if is_list else 'tensor'}, found {type(given).__name__}"
            )
        tensors = list(given) if is_list else [given]
        _check_tensors(graph, tensors, f"input {argument.name!r} of {where}")
        arguments.append(tensors)
    return arguments


def _check_tensors(graph: Graph, tensors: Iterable[Any], what: str) -> None:
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise errors.GraphTypeError(f"{what} must be a tensor, found {tensor!r:.80}")
        if tensor.graph is not graph:
            raise errors.GraphError(
                f"{what}: Tensor {tensor.name!r} is from a different graph; "
                f"make it within the same one"
            )


def _check_dtypes(
    op_def: OpDef, arguments: list[list[Tensor]], attrs: Mapping[str, AttrValue], where: str
) -> None:
    node = NodeDef(name=where, op=op_def.name)
    for argument, tensors in zip(op_def.input_arg, arguments, strict=True):
        for key in (argument.type_attr, argument.number_attr, argument.type_list_attr):
            if key:
                node.attr[key].CopyFrom(attrs[key])
        wanted = argument_types(argument, node)
        if len(wanted) != len(tensors):
            raise errors.InvalidOperation(
                f"input {argument.name!r} of {where} must be a list of {len(wanted)} tensors, "
                f"found {len(tensors)}"
            )
        for tensor, dtype in zip(tensors, wanted, strict=True):
            if not can_feed(tensor.data_type, dtype):
                raise errors.GraphTypeError(
                    f"input {argument.name!r} of {where} has type {tensor.dtype.name} that does "
                    f"not match expected type of {dtypes.name(dtype)}"
                )


def can_feed(given: DataType, wanted: DataType) -> bool:
    """Whether a tensor of one type can go into an input of another.

    A reference can be read as the value; a type that is not known can be any.
    """
    if DataType.DT_INVALID in (given, wanted):
        return True
    return given == wanted or base(given) == wanted


# --------------------------------------------------------------------------- attributes


def _attributes(
    op_def: OpDef, arguments: list[list[Tensor]], given: Mapping[str, Any], where: str
) -> dict[str, AttrValue]:
    """Every attribute of the node: given, inferred or the default."""
    definitions = {attr.name: attr for attr in op_def.attr}
    values: dict[str, AttrValue] = {}
    for key, value in given.items():
        try:
            values[key] = (
                encode_attr(value, definitions[key].type)
                if key in definitions
                else _encode_unknown(key, value)
            )
        except errors.GraphTypeError as error:
            raise errors.GraphTypeError(f"attribute {key!r} of {where}: {error}") from None
    for argument, tensors in zip(op_def.input_arg, arguments, strict=True):
        for key, inferred in _inferred(argument, tensors):
            _add_inferred(values, key, inferred, f"input {argument.name!r} of {where}")
    for key, definition in definitions.items():
        if key not in values:
            if not definition.HasField("default_value"):
                raise errors.InvalidOperation(f"{where} needs a value for attribute {key!r}")
            values[key] = definition.default_value
        problem = check_allowed(values[key], definition)
        if problem:
            kind = errors.GraphTypeError if "type" in definition.type else errors.InvalidOperation
            raise kind(f"attribute {key!r} of {where}: {problem}")
    return values


def _encode_unknown(key: str, value: Any) -> AttrValue:
    if not key.startswith("_"):
        raise errors.GraphTypeError("there is no such attribute; one of your own begins with _")
    return encode_free_attr(value)


def _inferred(argument: OpDef.ArgDef, tensors: list[Tensor]) -> Iterable[tuple[str, AttrValue]]:
    types = [tensor.data_type if argument.is_ref else base(tensor.data_type) for tensor in tensors]
    if argument.type_list_attr:
        value = AttrValue()
        value.list.SetInParent()
        value.list.type.extend(int(base(dtype)) for dtype in types)  # type: ignore[misc]
        yield argument.type_list_attr, value
        return
    if argument.number_attr:
        yield argument.number_attr, AttrValue(i=len(tensors))
    if argument.type_attr and types:
        yield argument.type_attr, AttrValue(type=int(base(types[0])))  # type: ignore[arg-type]


def _add_inferred(values: dict[str, AttrValue], key: str, inferred: AttrValue, what: str) -> None:
    known = values.setdefault(key, inferred)
    if known == inferred:
        return
    if inferred.WhichOneof("value") == "type":
        if 0 in (known.type, inferred.type):  # DT_INVALID
            return
        raise errors.GraphTypeError(
            f"{what} has type {dtypes.name(inferred.type)} that does not match type "
            f"{dtypes.name(known.type)} of attribute {key!r}"
        )
    if inferred.WhichOneof("value") == "i":
        raise errors.InvalidOperation(
            f"{what} is a list of {inferred.i} tensors; attribute {key!r} says {known.i}"
        )
    # A list of types may hold some that are not known; they are compared one by one later.
