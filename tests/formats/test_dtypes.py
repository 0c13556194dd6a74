from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr._proto import types_pb2
from ckptmgr.errors import UnsupportedDtype
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType

# DataType, its name, and the NumPy dtype of its values.
STORED: list[tuple[DataType, str, Any]] = [
    (DataType.DT_FLOAT, "float32", np.float32),
    (DataType.DT_DOUBLE, "float64", np.float64),
    (DataType.DT_HALF, "float16", np.float16),
    (DataType.DT_BFLOAT16, "bfloat16", ml_dtypes.bfloat16),
    (DataType.DT_FLOAT8_E5M2, "float8_e5m2", ml_dtypes.float8_e5m2),
    (DataType.DT_FLOAT8_E4M3FN, "float8_e4m3fn", ml_dtypes.float8_e4m3fn),
    (DataType.DT_FLOAT8_E4M3FNUZ, "float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz),
    (DataType.DT_FLOAT8_E4M3B11FNUZ, "float8_e4m3b11fnuz", ml_dtypes.float8_e4m3b11fnuz),
    (DataType.DT_FLOAT8_E5M2FNUZ, "float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz),
    (DataType.DT_FLOAT4_E2M1FN, "float4_e2m1fn", ml_dtypes.float4_e2m1fn),
    (DataType.DT_BOOL, "bool", np.bool_),
    (DataType.DT_INT2, "int2", ml_dtypes.int2),
    (DataType.DT_INT4, "int4", ml_dtypes.int4),
    (DataType.DT_INT8, "int8", np.int8),
    (DataType.DT_INT16, "int16", np.int16),
    (DataType.DT_INT32, "int32", np.int32),
    (DataType.DT_INT64, "int64", np.int64),
    (DataType.DT_UINT2, "uint2", ml_dtypes.uint2),
    (DataType.DT_UINT4, "uint4", ml_dtypes.uint4),
    (DataType.DT_UINT8, "uint8", np.uint8),
    (DataType.DT_UINT16, "uint16", np.uint16),
    (DataType.DT_UINT32, "uint32", np.uint32),
    (DataType.DT_UINT64, "uint64", np.uint64),
    (DataType.DT_COMPLEX64, "complex64", np.complex64),
    (DataType.DT_COMPLEX128, "complex128", np.complex128),
    (DataType.DT_STRING, "string", np.object_),
]
QUANTISED: list[tuple[DataType, str, Any]] = [
    (DataType.DT_QINT8, "qint8", np.int8),
    (DataType.DT_QINT16, "qint16", np.int16),
    (DataType.DT_QINT32, "qint32", np.int32),
    (DataType.DT_QUINT8, "quint8", np.uint8),
    (DataType.DT_QUINT16, "quint16", np.uint16),
]
ONE_BYTE = {"bool", "int2", "int4", "int8", "uint2", "uint4", "uint8", "qint8", "quint8"}


def test_enum_is_the_one_of_the_proto() -> None:
    assert {member.name: member.value for member in DataType} == dict(types_pb2.DataType.items())


@pytest.mark.parametrize(("dtype", "name", "scalar"), STORED + QUANTISED)
def test_stored_dtype(dtype: DataType, name: str, scalar: Any) -> None:
    assert dtypes.name(dtype) == name
    assert dtypes.to_numpy(dtype) == np.dtype(scalar)
    if dtype is not DataType.DT_STRING:
        assert dtypes.item_size_bytes(dtype) == np.dtype(scalar).itemsize
    if name in ONE_BYTE or name.startswith(("float8", "float4")):
        assert dtypes.item_size_bytes(dtype) == 1


@pytest.mark.parametrize(("dtype", "name", "scalar"), STORED)
def test_numpy_dtype(dtype: DataType, name: str, scalar: Any) -> None:
    assert dtypes.from_numpy(np.dtype(scalar)) is dtype, name


@pytest.mark.parametrize(
    ("spelled", "dtype"),
    [
        (">f4", DataType.DT_FLOAT),
        (">i8", DataType.DT_INT64),
        (">u2", DataType.DT_UINT16),
        (">c16", DataType.DT_COMPLEX128),
        ("q", DataType.DT_INT64),
        ("S", DataType.DT_STRING),
        ("S12", DataType.DT_STRING),
        ("U3", DataType.DT_STRING),
        (">U3", DataType.DT_STRING),
    ],
)
def test_other_spellings_of_a_numpy_dtype(spelled: str, dtype: DataType) -> None:
    assert dtypes.from_numpy(np.dtype(spelled)) is dtype


def test_bfloat16_of_the_other_byte_order() -> None:
    swapped = np.dtype(ml_dtypes.bfloat16).newbyteorder(">")
    assert dtypes.from_numpy(swapped) is DataType.DT_BFLOAT16


@pytest.mark.parametrize(
    ("unsupported", "says"),
    [
        ("datetime64[s]", r"datetime64\[s\].*view\('int64'\)"),
        ("timedelta64[ms]", r"timedelta64\[ms\].*view\('int64'\)"),
        ([("x", "f4"), ("y", "i4")], r"x.*each of its fields"),
        ("V4", r"V4.*view\('uint8'\)"),
        (ml_dtypes.float6_e2m3fn, r"float6_e2m3fn.*view\('uint8'\)"),
        (ml_dtypes.float8_e4m3, r"float8_e4m3;.*view\('uint8'\)"),
    ],
)
def test_numpy_dtype_without_a_place(unsupported: Any, says: str) -> None:
    with pytest.raises(UnsupportedDtype, match=says):
        dtypes.from_numpy(np.dtype(unsupported))


@pytest.mark.skipif(np.dtype("g") == np.dtype("d"), reason="cannot run here: long double is double")
@pytest.mark.parametrize(("code", "says"), [("g", "float64"), ("G", "complex128")])
def test_long_double_names_what_to_convert_to(code: str, says: str) -> None:
    with pytest.raises(UnsupportedDtype, match=f"{np.dtype(code)}; convert the values to {says}"):
        dtypes.from_numpy(np.dtype(code))


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "invalid"),
        (20, "resource"),
        (21, "variant"),
        (101, "float32_ref"),
        (107, "string_ref"),
        (133, "float4_e2m1fn_ref"),
        (34, "unknown_34"),
        (100, "unknown_100"),
        (134, "unknown_134"),
        (-1, "unknown_-1"),
    ],
)
def test_dtype_that_no_array_holds(number: int, name: str) -> None:
    assert dtypes.name(number) == name
    for function in (dtypes.to_numpy, dtypes.item_size_bytes):
        with pytest.raises(UnsupportedDtype, match=f"dtype {name}$"):
            function(number)


def test_strings_have_no_item_size() -> None:
    with pytest.raises(UnsupportedDtype, match="string have no fixed size"):
        dtypes.item_size_bytes(DataType.DT_STRING)


def test_known_keeps_a_number_it_does_not_know() -> None:
    assert dtypes.known(1) is DataType.DT_FLOAT
    assert dtypes.known(101) is DataType.DT_FLOAT_REF
    assert dtypes.known(34) == 34
    assert not isinstance(dtypes.known(34), DataType)


def test_names_are_tensorflows(tf: Any) -> None:
    for member in DataType:
        if member is not DataType.DT_INVALID:
            assert dtypes.name(member) == tf.as_dtype(int(member)).name


def test_numpy_dtypes_are_tensorflows(tf: Any) -> None:
    for dtype, name, _ in STORED:
        assert dtypes.to_numpy(dtype) == np.dtype(tf.as_dtype(name).as_numpy_dtype)


def test_reassemblable_is_what_tensorflow_reassembles(tf: Any, tmp_path: Path) -> None:
    able, refusals = set(), []
    for dtype, name, scalar in STORED + QUANTISED:
        prefix = str(tmp_path / name)
        values = np.array([b""] * 2, object) if name == "string" else np.zeros(2, scalar)
        half = tf.constant(values)
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=["t", "t"],
            shape_and_slices=["4 0,2", "4 2,2"],
            tensors=[tf.bitcast(half, name) if "q" in name else half] * 2,
        )
        try:
            tf.raw_ops.RestoreV2(
                prefix=prefix, tensor_names=["t"], shape_and_slices=[""], dtypes=[name]
            )
            able.add(dtype)
        except tf.errors.OpError as error:
            refusals.append(str(error))
    assert able == dtypes.REASSEMBLABLE
    assert all("not supported" in refusal for refusal in refusals)
