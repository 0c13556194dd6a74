"""DType objects, against TensorFlow's."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import DType, as_dtype, base, data_type, reference

NUMBERS = [number for number in DataType if number != DataType.DT_INVALID]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_what_a_dtype_says_of_itself(tf: Any, number: DataType) -> None:
    mine, theirs = as_dtype(number), tf.as_dtype(int(number))
    for name in (
        "name",
        "is_bool",
        "is_integer",
        "is_floating",
        "is_complex",
        "is_unsigned",
        "is_quantized",
        "is_numpy_compatible",
        "_is_ref_dtype",
        "size",
        "as_datatype_enum",
    ):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.base_dtype.name == theirs.base_dtype.name
    assert mine.real_dtype.name == theirs.real_dtype.name
    assert str(mine) == str(theirs)
    assert repr(mine) == repr(theirs)


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "int8", "uint16", "int4"])
def test_limits(tf: Any, name: str) -> None:
    assert as_dtype(name).min == tf.as_dtype(name).min
    assert as_dtype(name).max == tf.as_dtype(name).max


@pytest.mark.parametrize("name", ["bool", "string", "complex64", "qint8", "resource"])
def test_types_without_limits(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} has no minimum"):
        _ = as_dtype(name).min


@pytest.mark.parametrize(
    "value",
    [
        *("float32", "float", "double", "half", "int32_ref", "string", "bfloat16"),
        *(np.float32, np.dtype("int64"), np.bool_, np.int64(3), 1, 103),
        *(float, bool, object),
    ],
    ids=repr,
)
def test_what_stands_for_a_dtype(tf: Any, value: Any) -> None:
    assert int(as_dtype(value)) == tf.as_dtype(value).as_datatype_enum


@pytest.mark.parametrize(
    "value",
    [
        "flot32",
        99,
        None,
        [],
        {},
        pytest.param(object(), id="an object"),
        True,
        int,
        str,
        np.dtype("M8[s]"),
    ],
)
def test_what_stands_for_none(value: Any) -> None:
    with pytest.raises(errors.GraphTypeError, match="cannot convert"):
        as_dtype(value)


def test_one_object_per_dtype() -> None:
    assert as_dtype("float32") is as_dtype(np.float32)
    assert pickle.loads(pickle.dumps(as_dtype("int8"))) is as_dtype("int8")  # noqa: S301


def test_equality_takes_all_that_stands_for_a_dtype() -> None:
    assert as_dtype("float32") == np.float32
    assert as_dtype("float32") == "float32"
    assert as_dtype("float32") == DataType.DT_FLOAT
    assert (DataType.DT_FLOAT == as_dtype("float32")) is True  # noqa: SIM300
    assert as_dtype("float32") != np.float64
    assert as_dtype("float32") != "no dtype"
    assert as_dtype("float32") != None  # noqa: E711
    assert {as_dtype("int8"): 1}[DataType.DT_INT8] == 1  # type: ignore[index]


def test_references() -> None:
    assert reference(DataType.DT_FLOAT) == DataType.DT_FLOAT_REF
    assert base(DataType.DT_FLOAT_REF) == base(DataType.DT_FLOAT) == DataType.DT_FLOAT
    assert as_dtype("float32").is_compatible_with("float32_ref")
    assert not as_dtype("float32_ref").is_compatible_with("float32")
    assert not as_dtype("float32").is_compatible_with("float64")
    assert data_type(as_dtype("int4")) == DataType.DT_INT4
    assert isinstance(as_dtype(1), DType)
