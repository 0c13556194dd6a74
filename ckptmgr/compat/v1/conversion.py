"""What users pass to an operation, as tensors of the graph, and the operation that takes them.

Numbers, lists and arrays become constants, variables what they hold. The dtype follows from what
the operation takes: another input of the same type decides, then the type's default, then the
value itself. Constants are named after the argument, within the operation's own scope.

Source: tensorflow/python/framework/op_def_library.py, ops.py (convert_to_tensor).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import construction
from ckptmgr.graph.dtypes import base, data_type
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import Dimension, TensorShape
from ckptmgr.graph.tensor_values import as_array


def convert_to_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    preferred_dtype: Any = None,
    dtype_hint: Any = None,
) -> Tensor:
    """A tensor of the default graph for a tensor, variable, number, list or array.

    Args:
        dtype: What it must be.
        preferred_dtype: What it is to be where the value allows it; also called `dtype_hint`.
    """
    wanted = None if dtype is None else base(data_type(dtype))
    hint = preferred_dtype if dtype_hint is None else dtype_hint
    preferred = None if hint is None else base(data_type(hint))
    return as_tensor(value, wanted, name or "Const", preferred)


def as_tensor(
    value: Any, wanted: DataType | None, name: str, preferred: DataType | None = None
) -> Tensor:
    """`convert_to_tensor` for what is inside."""
    if isinstance(value, Tensor):
        return _checked(value, wanted)
    if hasattr(value, "_as_tensor"):
        return _checked(value._as_tensor(dtype=wanted, name=name, as_ref=False), wanted)
    if isinstance(value, TensorShape):
        value, wanted = value.as_list(), wanted or _size_type(value)
        name = "shape_as_tensor" if name == "Const" else name
    elif isinstance(value, Dimension):
        value, wanted = value.value, wanted or DataType.DT_INT32
    elif isinstance(value, list | tuple) and _holds_tensor(value):
        return _packed(value, wanted or _tensor_type(value), "packed" if name == "Const" else name)
    if wanted is None and preferred is not None:
        with suppress(errors.GraphError):
            return construction.constant(get_default_graph(), value, preferred, name=name)
    return construction.constant(get_default_graph(), _plain(value), wanted, name=name)


def _checked(tensor: Tensor, wanted: DataType | None) -> Tensor:
    if wanted is not None and not construction.can_feed(tensor.data_type, wanted):
        raise errors.GraphTypeError(
            f"Tensor conversion requested dtype {dtypes.name(wanted)} for Tensor with dtype "
            f"{tensor.dtype.name}: {tensor!r}"
        )
    return tensor


def _size_type(shape: TensorShape) -> DataType:
    sizes = [size or 0 for size in shape.as_list()]
    fits = all(size <= np.iinfo(np.int32).max for size in sizes)
    return DataType.DT_INT32 if fits else DataType.DT_INT64


def _plain(value: Any) -> Any:
    """Lists with sizes of shapes in them as lists of numbers."""
    if isinstance(value, Dimension):
        return value.value
    if isinstance(value, range):
        return list(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


# --------------------------------------------------------------------------- lists with tensors


def is_symbolic(value: Any) -> bool:
    """Whether it is a tensor or a variable of a graph."""
    return isinstance(value, Tensor) or hasattr(value, "_as_tensor")


def _holds_tensor(values: Iterable[Any]) -> bool:
    return any(
        _holds_tensor(item) if isinstance(item, list | tuple) else is_symbolic(item)
        for item in values
    )


def _tensor_type(values: Iterable[Any]) -> DataType | None:
    for item in values:
        if isinstance(item, list | tuple):
            found = _tensor_type(item)
            if found is not None:
                return found
        elif is_symbolic(item):
            return base(data_type(item.dtype))
    return None


def _packed(values: Sequence[Any], wanted: DataType | None, name: str) -> Tensor:
    graph = graph_of(values)
    with graph.name_scope(name) as scope:
        items = [_part(item, wanted, str(index)) for index, item in enumerate(values)]
        return construction.create_op(graph, "Pack", [items], {}, scope).outputs[0]


def _part(value: Any, wanted: DataType | None, name: str) -> Tensor:
    if isinstance(value, list | tuple):
        if _holds_tensor(value):
            return _packed(value, wanted, name)
        # TensorFlow looks for tensors in a scope of this name, and then needs another name.
        with get_default_graph().name_scope(name):
            pass
    return as_tensor(value, wanted, name)


# --------------------------------------------------------------------------- operations


def graph_of(values: Iterable[Any]) -> Graph:
    """The graph of the first tensor among the values, or else the default one."""
    for value in values:
        if isinstance(value, list | tuple):
            if _holds_tensor(value):
                return graph_of(value)
        elif isinstance(value, Tensor):
            return value.graph
        elif is_symbolic(value) and isinstance(getattr(value, "graph", None), Graph):
            return value.graph  # type: ignore[no-any-return]
    return get_default_graph()


def apply(
    op_type: str,
    inputs: Sequence[Any],
    attrs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Operation:
    """Add an operation on values that need not be tensors yet."""
    graph = graph_of(inputs)
    op_def = graph.op_def_for_type(op_type)
    if op_def is None:
        raise errors.InvalidOperation(f"there is no type of operation called {op_type!r}")
    with graph.as_default(), graph.name_scope(name or op_type) as scope:
        given = {key: value for key, value in (attrs or {}).items() if value is not None}
        tensors = _inputs(op_def, inputs, given)
        return construction.create_op(graph, op_type, tensors, given, scope)


def tensor(
    op_type: str,
    inputs: Sequence[Any],
    attrs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Tensor:
    """The only output of such an operation."""
    return apply(op_type, inputs, attrs, name).outputs[0]


def _inputs(op_def: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> list[Any]:
    types = {
        attr.name: base(data_type(attrs[attr.name]))
        for attr in op_def.attr
        if attr.type == "type" and attr.name in attrs
    }
    converted: list[Any] = []
    for argument, value in zip(op_def.input_arg, inputs, strict=True):
        if argument.is_ref:
            found: Any = _reference(value, argument.name)
            first = found
        elif argument.number_attr or argument.type_list_attr:
            found = _list_input(op_def, argument, value, types)
            first = found[0] if found else None
        else:
            first = found = _input(op_def, argument, value, types)
        if argument.type_attr and first is not None:
            types.setdefault(argument.type_attr, base(first.data_type))
        converted.append(found)
    return converted


def _reference(value: Any, argument: str) -> Tensor:
    element = value
    if hasattr(value, "_as_tensor"):
        element = value._as_tensor(dtype=None, name=argument, as_ref=True)
    if not isinstance(element, Tensor) or not element.dtype._is_ref_dtype:
        raise errors.GraphTypeError(
            f"input {argument!r} must be a mutable tensor (a variable), found {value!r:.80}"
        )
    return element


def _input(
    op_def: OpDef, argument: OpDef.ArgDef, value: Any, types: Mapping[str, DataType]
) -> Tensor:
    wanted = DataType(argument.type) if argument.type else types.get(argument.type_attr)
    preferred = None
    if wanted is None and not is_symbolic(value):
        preferred = _preferred(op_def, argument.type_attr, value)
    return as_tensor(value, wanted, argument.name, preferred)


def _preferred(op_def: OpDef, type_attr: str, value: Any) -> DataType | None:
    """The default of the type, unless the value by itself is of another that is allowed."""
    attr = next(attr for attr in op_def.attr if attr.name == type_attr)
    if not attr.HasField("default_value"):
        return None
    allowed = attr.allowed_values.list.type
    with suppress(errors.CheckpointError):
        if int(as_array(_plain(value))[1]) in map(int, allowed):
            return None
    return DataType(attr.default_value.type)


def _list_input(
    op_def: OpDef, argument: OpDef.ArgDef, values: Any, types: Mapping[str, DataType]
) -> list[Tensor]:
    if not isinstance(values, list | tuple):
        raise errors.GraphTypeError(
            f"Expected list for {argument.name!r} argument to {op_def.name!r} Op, "
            f"not {values!r:.80}"
        )
    wanted = DataType(argument.type) if argument.type else types.get(argument.type_attr)
    if wanted is None and argument.number_attr:
        symbolic = [item for item in values if is_symbolic(item)]
        wanted = _tensor_type(symbolic)
        if wanted is None and values and argument.type_attr:
            first = as_tensor(values[0], None, f"{argument.name}_0")
            rest = [
                as_tensor(item, base(first.data_type), f"{argument.name}_{index}")
                for index, item in enumerate(values[1:], 1)
            ]
            return [first, *rest]
    return [
        as_tensor(item, wanted, f"{argument.name}_{index}") for index, item in enumerate(values)
    ]
