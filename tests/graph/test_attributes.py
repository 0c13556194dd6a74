"""Python values and AttrValue messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.attributes import FunctionName, decode_attr, encode_attr, encode_free_attr
from ckptmgr.graph.dtypes import as_dtype

CASES: list[tuple[str, Any]] = [
    ("int", 3),
    ("float", 0.5),
    ("bool", True),
    ("string", b"text"),
    ("type", DataType.DT_FLOAT),
    ("shape", (2, None)),
    ("shape", ()),
    ("shape", None),
    ("func", FunctionName("f", {"T": DataType.DT_INT32, "n": 2})),
    ("list(int)", [1, -2]),
    ("list(float)", [0.5, 2.0]),
    ("list(bool)", [True, False]),
    ("list(string)", [b"a", b""]),
    ("list(type)", [DataType.DT_INT8, DataType.DT_FLOAT_REF]),
    ("list(shape)", [(1,), None, ()]),
    ("list(func)", [FunctionName("g")]),
    ("list(int)", []),
]


@pytest.mark.parametrize(("kind", "value"), CASES, ids=str)
def test_a_value_comes_back(kind: str, value: Any) -> None:
    message = encode_attr(value, kind)
    assert decode_attr(message) == value
    assert encode_attr(message, kind) is message


@pytest.mark.parametrize(
    ("kind", "value", "decoded"),
    [
        ("string", "ünï", "ünï".encode()),
        ("type", "float32", DataType.DT_FLOAT),
        ("type", as_dtype("int8"), DataType.DT_INT8),
        ("type", np.int64, DataType.DT_INT64),
        ("shape", [None, 3], (None, 3)),
        ("int", np.int64(4), 4),
        ("float", 2, 2.0),
        ("func", "name", FunctionName("name", {})),
        ("list(type)", (np.float32, "int32"), [DataType.DT_FLOAT, DataType.DT_INT32]),
    ],
    ids=str,
)
def test_other_spellings(kind: str, value: Any, decoded: Any) -> None:
    assert decode_attr(encode_attr(value, kind)) == decoded


def test_arrays() -> None:
    array = decode_attr(encode_attr(np.arange(3, dtype=np.int32), "tensor"))
    assert array.tolist() == [0, 1, 2]
    assert array.dtype == np.int32
    both = decode_attr(encode_attr([np.float32(1), TensorProto(dtype="DT_FLOAT")], "list(tensor)"))
    assert [item.tolist() for item in both] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", 1.0),
        ("int", True),
        ("int", 2**63),
        ("int", "1"),
        ("float", "1"),
        ("bool", 1),
        ("string", 1),
        ("type", "no type"),
        ("shape", "ab"),
        ("func", 3),
        ("list(int)", 3),
        ("list(string)", "abc"),
        ("list(int)", [1, "a"]),
        ("int", AttrValue(f=1.0)),
        ("list(int)", AttrValue(list=AttrValue.ListValue(f=[1.0]))),
        ("int", AttrValue()),
    ],
    ids=str,
)
def test_values_of_another_kind(kind: str, value: Any) -> None:
    with pytest.raises(errors.GraphTypeError):
        encode_attr(value, kind)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "b"),
        (1, "i"),
        (1.5, "f"),
        ("a", "s"),
        (b"a", "s"),
        (DataType.DT_INT8, "type"),
        ((1, None), "shape"),
        (np.zeros(2), "tensor"),
        (FunctionName("f"), "func"),
        ([b"a"], "list"),
        ([], "list"),
    ],
    ids=str,
)
def test_the_kind_of_a_free_attribute_is_that_of_its_value(value: Any, field: str) -> None:
    assert encode_free_attr(value).WhichOneof("value") == field


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (AttrValue(), "no value"),
        (AttrValue(placeholder="T"), "stands for 'T'"),
        (AttrValue(type=999), "unknown dtype 999"),  # type: ignore[arg-type]
        (AttrValue(tensor=TensorProto(dtype="DT_FLOAT", tensor_content=b"1")), "found 1"),
    ],
    ids=["empty", "placeholder", "dtype", "tensor"],
)
def test_messages_that_hold_no_value(message: AttrValue, problem: str) -> None:
    with pytest.raises(errors.InvalidGraph, match=problem):
        decode_attr(message)
