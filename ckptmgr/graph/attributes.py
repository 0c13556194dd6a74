"""The attributes of operations: Python values <-> AttrValue messages.

| kind in an OpDef | in Python |
| --- | --- |
| int, float, bool | int, float, bool |
| string | bytes (text is encoded) |
| type | DataType (whatever `as_dtype` takes) |
| shape | tuple of int or None, None for an unknown rank |
| tensor | array |
| func | FunctionName |
| list(kind) | list of these |

Source: tensorflow/core/framework/attr_value.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue, NameAttrList
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import DType, data_type
from ckptmgr.graph.tensor_shape import (
    Shape,
    TensorShape,
    decode_partial_shape,
    encode_partial_shape,
)
from ckptmgr.graph.tensor_values import as_array, decode_tensor, encode_tensor


@dataclass(frozen=True, slots=True)
class FunctionName:
    """A function of the graph's library, with the values of its attributes."""

    name: str
    attrs: Mapping[str, Any] = field(default_factory=dict)


def encode_attr(value: Any, kind: str) -> AttrValue:
    """The message for a value of a kind, as an OpDef names it.

    Raises:
        GraphTypeError: The value is of another kind.
    """
    if isinstance(value, AttrValue):
        if not is_of_kind(value, kind):
            raise errors.GraphTypeError(f"expected a value of kind {kind}, found {value!s:.80}")
        return value
    message = AttrValue()
    if kind.startswith("list("):
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            raise errors.GraphTypeError(f"expected a list, found {value!r:.80}")
        name, encode = _ENCODERS[kind[5:-1]]
        # Marks the kind even where the list is empty.
        message.list.SetInParent()
        getattr(message.list, name).extend(encode(item) for item in value)
        return message
    name, encode = _ENCODERS[kind]
    if name in ("shape", "tensor", "func"):
        getattr(message, name).CopyFrom(encode(value))
    else:
        setattr(message, name, encode(value))
    return message


def encode_free_attr(value: Any) -> AttrValue:
    """The message for a value of an attribute that no OpDef names, as "_class"."""
    if isinstance(value, AttrValue):
        return value
    if isinstance(value, list):
        kind = _kind_of(value[0]) if value else "string"
        return encode_attr(value, f"list({kind})")
    return encode_attr(value, _kind_of(value))


def decode_attr(message: AttrValue) -> Any:
    """The value in a message.

    Raises:
        InvalidGraph: It holds none, or one that cannot be decoded.
    """
    name = message.WhichOneof("value")
    if name is None:
        raise errors.InvalidGraph("an attribute has no value")
    if name == "list":
        for item, values in message.list.ListFields():
            return [_decode_single(item.name, value) for value in values]
        return []
    return _decode_single(name, getattr(message, name))


def is_of_kind(message: AttrValue, kind: str) -> bool:
    """Whether a message holds a value of a kind, as an OpDef names it."""
    found = message.WhichOneof("value")
    if kind.startswith("list("):
        wanted = _ENCODERS[kind[5:-1]][0] if kind[5:-1] in _ENCODERS else ""
        return found == "list" and all(
            field.name == wanted for field, _ in message.list.ListFields()
        )
    return kind in _ENCODERS and found == _ENCODERS[kind][0]


def check_allowed(value: AttrValue, definition: OpDef.AttrDef) -> str:
    """What is wrong with the value of an attribute, by its definition; empty if nothing is."""
    if definition.has_minimum:
        number = value.i if definition.type == "int" else _list_length(value)
        if number < definition.minimum:
            return f"must be at least {definition.minimum}, found {number}"
    allowed = definition.allowed_values.list
    if definition.type in ("type", "list(type)") and allowed.type:
        for number in [value.type] if definition.type == "type" else value.list.type:
            if number not in allowed.type:
                names = ", ".join(sorted(_type_name(option) for option in allowed.type))
                return f"{_type_name(number)} is not one of {names}"
    if definition.type == "string" and allowed.s and value.s not in allowed.s:
        return f"{value.s!r} is not one of {', '.join(repr(option) for option in allowed.s)}"
    return ""


def _list_length(value: AttrValue) -> int:
    return sum(len(values) for _, values in value.list.ListFields())


def _type_name(number: int) -> str:
    return DataType(number).name if number in DataType.__members__.values() else str(number)


# --------------------------------------------------------------------------- one value


def _encode_string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise errors.GraphTypeError(f"expected a string, found {value!r:.80}")


def _encode_int(value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        number = getattr(value, "value", None)  # a Dimension
        if isinstance(number, int) and not isinstance(value, bool):
            return number
        raise errors.GraphTypeError(f"expected a whole number, found {value!r:.80}")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise errors.GraphTypeError(f"expected a number of 64 bits, found {number}")
    return number


def _encode_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise errors.GraphTypeError(f"expected a number, found {value!r:.80}")
    return float(value)


def _encode_bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise errors.GraphTypeError(f"expected True or False, found {value!r:.80}")
    return bool(value)


def _encode_tensor(value: Any) -> TensorProto:
    if isinstance(value, TensorProto):
        return value
    array, dtype = as_array(value)
    return encode_tensor(array, dtype)


def _encode_shape(value: Any) -> TensorShapeProto:
    if isinstance(value, TensorShapeProto):
        return value
    return encode_partial_shape(TensorShape(value).as_tuple())


def _encode_function(value: Any) -> NameAttrList:
    if isinstance(value, NameAttrList):
        return value
    if isinstance(value, str):
        return NameAttrList(name=value)
    if not isinstance(value, FunctionName):
        raise errors.GraphTypeError(f"expected a function, found {value!r:.80}")
    message = NameAttrList(name=value.name)
    for name, attr in value.attrs.items():
        message.attr[name].CopyFrom(encode_free_attr(attr))
    return message


_ENCODERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "string": ("s", _encode_string),
    "int": ("i", _encode_int),
    "float": ("f", _encode_float),
    "bool": ("b", _encode_bool),
    "type": ("type", lambda value: int(data_type(value))),
    "shape": ("shape", _encode_shape),
    "tensor": ("tensor", _encode_tensor),
    "func": ("func", _encode_function),
}

_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "bool"),
    ((DataType, DType), "type"),
    ((int, np.integer), "int"),
    ((float, np.floating), "float"),
    ((str, bytes), "string"),
    ((tuple, TensorShape, TensorShapeProto), "shape"),
    ((np.ndarray, TensorProto), "tensor"),
    ((FunctionName, NameAttrList), "func"),
)


def _kind_of(value: Any) -> str:
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    raise errors.GraphTypeError(f"no attribute can have the value {value!r:.80}")


def _decode_single(name: str, value: Any) -> Any:
    if name == "type":
        if value not in DataType.__members__.values():
            raise errors.InvalidGraph(f"an attribute names the unknown dtype {value}")
        return DataType(value)
    if name == "shape":
        return decode_partial_shape(value)
    if name == "tensor":
        return decode_tensor(value)
    if name == "func":
        return FunctionName(
            value.name, {key: decode_attr(attr) for key, attr in value.attr.items()}
        )
    if name == "placeholder":
        raise errors.InvalidGraph(
            f"an attribute stands for {value!r} of a function and has no value of its own"
        )
    return value


__all__ = [
    "FunctionName",
    "Shape",
    "check_allowed",
    "decode_attr",
    "encode_attr",
    "encode_free_attr",
    "is_of_kind",
]
