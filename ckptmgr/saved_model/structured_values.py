"""The nested Python values of a SavedModel, such as the signature that a function was traced with.

Lists, tuples, dicts, numbers, text and None become themselves. What only TensorFlow has becomes a
small record here, whose `str` and `repr` are those of TensorFlow's object.

Source: tensorflow/core/protobuf/struct.proto,
tensorflow/python/saved_model/nested_structure_coder.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.struct_pb2 import (
    BoundedTensorSpecProto,
    NamedTupleValue,
    StructuredValue,
    TensorSpecProto,
    TypeSpecProto,
)
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.formats import dtypes


@dataclass(frozen=True, slots=True)
class DtypeValue:
    dtype: int

    def __str__(self) -> str:
        return f"<dtype: {dtypes.name(self.dtype)!r}>"

    def __repr__(self) -> str:
        return f"tf.{dtypes.name(self.dtype)}"


@dataclass(frozen=True, slots=True)
class ShapeValue:
    #: None for an unknown rank; within, None for an unknown size.
    dimensions: tuple[int | None, ...] | None

    def __str__(self) -> str:
        return "<unknown>" if self.dimensions is None else str(self.dimensions)

    def __repr__(self) -> str:
        sizes = None if self.dimensions is None else list(self.dimensions)
        return f"TensorShape({sizes})"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An argument that is a tensor."""

    shape: ShapeValue
    dtype: DtypeValue
    name: str | None

    def __repr__(self) -> str:
        return f"TensorSpec({_fields_of(self)})"


@dataclass(frozen=True, slots=True)
class BoundedTensorSpec(TensorSpec):
    """An argument that is a tensor with values within bounds."""

    minimum: TensorProto
    maximum: TensorProto

    def __repr__(self) -> str:
        return f"BoundedTensorSpec({_fields_of(self)})"


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """An argument of several tensors, such as a sparse or a ragged one."""

    name: str
    state: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.state!r}"


@dataclass(frozen=True, slots=True)
class NamedTuple:
    name: str
    fields: dict[str, Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.fields.items())})"


@dataclass(frozen=True, slots=True)
class TensorValue:
    """A constant array; it is not decoded."""

    proto: TensorProto

    def __repr__(self) -> str:
        return f"<{dtypes.name(self.proto.dtype)} array {_shape(self.proto.tensor_shape)}>"


def decode_structured_value(value: StructuredValue) -> Any:
    """The Python value that a message stands for; dicts in the order of their keys.

    Raises:
        MalformedGraph: It stands for none.
    """
    kind = value.WhichOneof("kind")
    if kind is None:
        raise errors.MalformedGraph("a structured value has no kind")
    return _DECODERS[kind](getattr(value, kind))


def _dict(fields: Any) -> dict[str, Any]:
    # A map has no order of its own.
    return {key: decode_structured_value(fields.fields[key]) for key in sorted(fields.fields)}


def _named_tuple(value: NamedTupleValue) -> NamedTuple:
    return NamedTuple(
        value.name, {pair.key: decode_structured_value(pair.value) for pair in value.values}
    )


def _shape(proto: TensorShapeProto) -> ShapeValue:
    if proto.unknown_rank:
        return ShapeValue(None)
    return ShapeValue(tuple(None if dim.size < 0 else dim.size for dim in proto.dim))


def _tensor_spec(proto: TensorSpecProto) -> TensorSpec:
    return TensorSpec(_shape(proto.shape), DtypeValue(proto.dtype), proto.name or None)


def _bounded_tensor_spec(proto: BoundedTensorSpecProto) -> BoundedTensorSpec:
    return BoundedTensorSpec(
        _shape(proto.shape),
        DtypeValue(proto.dtype),
        proto.name or None,
        proto.minimum,
        proto.maximum,
    )


def _type_spec(proto: TypeSpecProto) -> TypeSpec:
    state = decode_structured_value(proto.type_state)
    name = proto.type_spec_class_name.rpartition(".")[2]
    return TypeSpec(name, state if isinstance(state, tuple) else (state,))


def _fields_of(spec: TensorSpec) -> str:
    return f"shape={spec.shape}, dtype={spec.dtype!r}, name={spec.name!r}"


_DECODERS: dict[str, Any] = {
    "none_value": lambda _: None,
    "float64_value": float,
    "int64_value": int,
    "string_value": str,
    "bool_value": bool,
    "tensor_shape_value": _shape,
    "tensor_dtype_value": DtypeValue,
    "tensor_spec_value": _tensor_spec,
    "type_spec_value": _type_spec,
    "bounded_tensor_spec_value": _bounded_tensor_spec,
    "list_value": lambda value: [decode_structured_value(item) for item in value.values],
    "tuple_value": lambda value: tuple(decode_structured_value(item) for item in value.values),
    "dict_value": _dict,
    "named_tuple_value": _named_tuple,
    "tensor_value": TensorValue,
    "numpy_value": TensorValue,
}
