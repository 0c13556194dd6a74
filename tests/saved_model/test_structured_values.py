from __future__ import annotations

import collections
from typing import Any

import pytest

from ckptmgr import errors
from ckptmgr._proto import types_pb2
from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr.saved_model.structured_values import (
    BoundedTensorSpec,
    NamedTuple,
    TensorSpec,
    TypeSpec,
    decode_structured_value,
)

Point = collections.namedtuple("Point", "x y")


def values(tf: Any) -> list[Any]:
    spec = tf.TensorSpec([None, 3], tf.float32, "x")
    return [
        None,
        True,
        -(2**62),
        0.1,
        float("inf"),
        "text",
        [],
        (),
        {},
        [1, ("a", None), {"k": [2.5]}],
        tf.TensorShape(None),
        tf.TensorShape([]),
        tf.TensorShape([None, 3]),
        tf.float32,
        tf.string,
        tf.bfloat16,
        spec,
        tf.TensorSpec(None, tf.int8),
        [spec, (spec,)],
        tf.RaggedTensorSpec([3, None, 2], tf.string, ragged_rank=1, row_splits_dtype=tf.int32),
        tf.SparseTensorSpec([None, 4], tf.float32),
        tf.IndexedSlicesSpec([None, 4], tf.float32),
        tf.TensorArraySpec([2], tf.float32),
        tf.OptionalSpec(spec),
        Point(1, "a"),
        [Point(1, Point(2, 3))],
    ]


def test_prints_as_tensorflow_does(tf: Any) -> None:
    from tensorflow.python.saved_model import nested_structure_coder

    for value in values(tf):
        encoded = nested_structure_coder.encode_structure(value).SerializeToString()
        # What TensorFlow makes of it: it has other names for tuples of a reader's own.
        theirs = nested_structure_coder.decode_proto(nested_structure_coder.encode_structure(value))
        ours = decode_structured_value(StructuredValue.FromString(encoded))
        assert (str(ours), repr(ours)) == (str(theirs), repr(theirs))


def test_bounded_specs() -> None:
    value = StructuredValue()
    value.bounded_tensor_spec_value.dtype = types_pb2.DT_INT32
    value.bounded_tensor_spec_value.minimum.int_val.append(1)

    spec = decode_structured_value(value)

    assert isinstance(spec, BoundedTensorSpec)
    assert isinstance(spec, TensorSpec)
    assert repr(spec) == "BoundedTensorSpec(shape=(), dtype=tf.int32, name=None)"
    assert spec.minimum.int_val == [1]


def test_arrays() -> None:
    value = StructuredValue()
    value.numpy_value.dtype = types_pb2.DT_FLOAT
    value.numpy_value.tensor_shape.dim.add(size=2)
    assert repr(decode_structured_value(value)) == "<float32 array (2,)>"


def test_fields_of_composites() -> None:
    value = StructuredValue()
    value.type_spec_value.type_spec_class_name = "my.package.Spec"
    value.type_spec_value.type_state.int64_value = 3
    assert decode_structured_value(value) == TypeSpec("Spec", (3,))

    value = StructuredValue()
    value.named_tuple_value.name = "Point"
    value.named_tuple_value.values.add(key="x").value.none_value.SetInParent()
    assert decode_structured_value(value) == NamedTuple("Point", {"x": None})


def test_dicts_are_sorted() -> None:
    value = StructuredValue()
    for key in "zebra":
        value.dict_value.fields[key].bool_value = True
    assert list(decode_structured_value(value)) == sorted("zebra")


def test_no_value() -> None:
    with pytest.raises(errors.MalformedGraph, match="a structured value has no kind"):
        decode_structured_value(StructuredValue())
