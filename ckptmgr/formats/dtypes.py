"""TensorFlow's dtypes: their numbers, their names, and the NumPy dtype that holds each.

One table, `_HELD_AS`, says how each stored dtype looks in memory; everything else is derived from
it. On disk an element has the same width as in memory: the 2- and 4-bit types take a whole byte
each, unpacked, and the quantised types are plain integers.

Dtypes come from files as bare numbers, and a later TensorFlow may know more of them than this
module: functions here take any int, and those that need to understand it raise `UnsupportedDtype`.

Source: tensorflow/core/framework/types.proto, tensorflow/python/framework/dtypes.py.
"""

from __future__ import annotations

import enum
from typing import Any

import ml_dtypes
import numpy as np

from ckptmgr.errors import UnsupportedDtype


class DataType(enum.IntEnum):
    """The enum `DataType` of tensorflow/core/framework/types.proto."""

    DT_INVALID = 0
    DT_FLOAT = 1
    DT_DOUBLE = 2
    DT_INT32 = 3
    DT_UINT8 = 4
    DT_INT16 = 5
    DT_INT8 = 6
    DT_STRING = 7
    DT_COMPLEX64 = 8
    DT_INT64 = 9
    DT_BOOL = 10
    DT_QINT8 = 11
    DT_QUINT8 = 12
    DT_QINT32 = 13
    DT_BFLOAT16 = 14
    DT_QINT16 = 15
    DT_QUINT16 = 16
    DT_UINT16 = 17
    DT_COMPLEX128 = 18
    DT_HALF = 19
    DT_RESOURCE = 20
    DT_VARIANT = 21
    DT_UINT32 = 22
    DT_UINT64 = 23
    DT_FLOAT8_E5M2 = 24
    DT_FLOAT8_E4M3FN = 25
    DT_FLOAT8_E4M3FNUZ = 26
    DT_FLOAT8_E4M3B11FNUZ = 27
    DT_FLOAT8_E5M2FNUZ = 28
    DT_INT4 = 29
    DT_UINT4 = 30
    DT_INT2 = 31
    DT_UINT2 = 32
    DT_FLOAT4_E2M1FN = 33

    DT_FLOAT_REF = 101
    DT_DOUBLE_REF = 102
    DT_INT32_REF = 103
    DT_UINT8_REF = 104
    DT_INT16_REF = 105
    DT_INT8_REF = 106
    DT_STRING_REF = 107
    DT_COMPLEX64_REF = 108
    DT_INT64_REF = 109
    DT_BOOL_REF = 110
    DT_QINT8_REF = 111
    DT_QUINT8_REF = 112
    DT_QINT32_REF = 113
    DT_BFLOAT16_REF = 114
    DT_QINT16_REF = 115
    DT_QUINT16_REF = 116
    DT_UINT16_REF = 117
    DT_COMPLEX128_REF = 118
    DT_HALF_REF = 119
    DT_RESOURCE_REF = 120
    DT_VARIANT_REF = 121
    DT_UINT32_REF = 122
    DT_UINT64_REF = 123
    DT_FLOAT8_E5M2_REF = 124
    DT_FLOAT8_E4M3FN_REF = 125
    DT_FLOAT8_E4M3FNUZ_REF = 126
    DT_FLOAT8_E4M3B11FNUZ_REF = 127
    DT_FLOAT8_E5M2FNUZ_REF = 128
    DT_INT4_REF = 129
    DT_UINT4_REF = 130
    DT_INT2_REF = 131
    DT_UINT2_REF = 132
    DT_FLOAT4_E2M1FN_REF = 133


# kDataTypeRefOffset in tensorflow/core/framework/types.h.
_REF_OFFSET = 100

# Keyed by plain int so that a number from a file can be looked up as it is.
_HELD_AS: dict[int, np.dtype[Any]] = {
    dtype: np.dtype(scalar)
    for dtype, scalar in (
        (DataType.DT_FLOAT, np.float32),
        (DataType.DT_DOUBLE, np.float64),
        (DataType.DT_HALF, np.float16),
        (DataType.DT_BFLOAT16, ml_dtypes.bfloat16),
        (DataType.DT_FLOAT8_E5M2, ml_dtypes.float8_e5m2),
        (DataType.DT_FLOAT8_E4M3FN, ml_dtypes.float8_e4m3fn),
        (DataType.DT_FLOAT8_E4M3FNUZ, ml_dtypes.float8_e4m3fnuz),
        (DataType.DT_FLOAT8_E4M3B11FNUZ, ml_dtypes.float8_e4m3b11fnuz),
        (DataType.DT_FLOAT8_E5M2FNUZ, ml_dtypes.float8_e5m2fnuz),
        (DataType.DT_FLOAT4_E2M1FN, ml_dtypes.float4_e2m1fn),
        (DataType.DT_BOOL, np.bool_),
        (DataType.DT_INT8, np.int8),
        (DataType.DT_INT16, np.int16),
        (DataType.DT_INT32, np.int32),
        (DataType.DT_INT64, np.int64),
        (DataType.DT_UINT8, np.uint8),
        (DataType.DT_UINT16, np.uint16),
        (DataType.DT_UINT32, np.uint32),
        (DataType.DT_UINT64, np.uint64),
        (DataType.DT_INT2, ml_dtypes.int2),
        (DataType.DT_INT4, ml_dtypes.int4),
        (DataType.DT_UINT2, ml_dtypes.uint2),
        (DataType.DT_UINT4, ml_dtypes.uint4),
        (DataType.DT_COMPLEX64, np.complex64),
        (DataType.DT_COMPLEX128, np.complex128),
        (DataType.DT_STRING, np.object_),
    )
}
_FROM_NUMPY = {held: DataType(dtype) for dtype, held in _HELD_AS.items()}
#: `numpy.dtype.num` of those that hold numbers, in either byte order: the quickest thing to ask
#: of tens of thousands of arrays.
NUMERIC_NUMBERS = frozenset(held.num for held in _FROM_NUMPY if not held.hasobject)
# After _FROM_NUMPY was derived: a NumPy int8 is DT_INT8, never DT_QINT8.
_HELD_AS |= {
    DataType.DT_QINT8: np.dtype(np.int8),
    DataType.DT_QINT16: np.dtype(np.int16),
    DataType.DT_QINT32: np.dtype(np.int32),
    DataType.DT_QUINT8: np.dtype(np.uint8),
    DataType.DT_QUINT16: np.dtype(np.uint16),
}

# tf.DType.name where it is not the enum's own name in lower case.
_NAMES = {
    DataType.DT_FLOAT: "float32",
    DataType.DT_DOUBLE: "float64",
    DataType.DT_HALF: "float16",
}

REASSEMBLABLE: frozenset[DataType] = frozenset(
    {
        DataType.DT_FLOAT,
        DataType.DT_DOUBLE,
        DataType.DT_BFLOAT16,
        DataType.DT_BOOL,
        DataType.DT_INT4,
        DataType.DT_INT8,
        DataType.DT_INT16,
        DataType.DT_INT32,
        DataType.DT_INT64,
        DataType.DT_UINT4,
        DataType.DT_UINT8,
        DataType.DT_COMPLEX64,
        DataType.DT_COMPLEX128,
        DataType.DT_QINT8,
        DataType.DT_QINT32,
        DataType.DT_QUINT8,
    }
)
"""Dtypes whose stored slices TensorFlow can put together into another slice; of any other it
restores only exactly the slices that are stored ("Dtype half not supported.")."""

V1_WRITABLE: frozenset[DataType] = frozenset(
    {
        DataType.DT_FLOAT,
        DataType.DT_DOUBLE,
        DataType.DT_HALF,
        DataType.DT_BOOL,
        DataType.DT_INT8,
        DataType.DT_INT16,
        DataType.DT_INT32,
        DataType.DT_INT64,
        DataType.DT_UINT8,
        DataType.DT_UINT16,
        DataType.DT_COMPLEX64,
        DataType.DT_COMPLEX128,
        DataType.DT_STRING,
        DataType.DT_QINT8,
        DataType.DT_QINT32,
        DataType.DT_QUINT8,
    }
)
"""Dtypes that TensorFlow's V1 checkpoint format can hold."""


def known(number: int) -> int:
    """`number` as a DataType where it is one, else unchanged, so that it can still be listed."""
    try:
        return DataType(number)
    except ValueError:
        return number


def from_numpy(dtype: np.dtype[Any]) -> DataType:
    """The TensorFlow dtype that stores arrays of this NumPy dtype.

    Non-native byte order is ignored and every kind of text (`S`, `U`, StringDType, object) is
    DT_STRING: converting the values to what `to_numpy` names is the caller's.

    Raises:
        UnsupportedDtype: TensorFlow has no dtype for it.
    """
    if dtype.kind in "SUTO":
        return DataType.DT_STRING
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    found = _FROM_NUMPY.get(native)
    if found is None:
        raise UnsupportedDtype(
            f"a TensorFlow checkpoint cannot hold NumPy dtype {dtype}; {_way_out(dtype)}"
        )
    return found


def to_numpy(dtype: int) -> np.dtype[Any]:
    """The native NumPy dtype of a restored tensor; object (elements are bytes) for DT_STRING.

    Raises:
        UnsupportedDtype: No array can hold it: a reference, resource or variant, or a dtype
            number this package does not know.
    """
    held = _HELD_AS.get(dtype)
    if held is None:
        raise UnsupportedDtype(f"no NumPy array can hold TensorFlow dtype {name(dtype)}")
    return held


def item_size_bytes(dtype: int) -> int:
    """The width of one element on disk, in a tensor bundle.

    Raises:
        UnsupportedDtype: Its elements have no fixed width, or it cannot be stored.
    """
    held = to_numpy(dtype)
    if held.hasobject:
        raise UnsupportedDtype(f"elements of TensorFlow dtype {name(dtype)} have no fixed size")
    return held.itemsize


def name(dtype: int) -> str:
    """What `tf.DType.name` calls it ("float32"); "unknown_<number>" for a number not known here."""
    member = known(dtype)
    if not isinstance(member, DataType):
        return f"unknown_{member}"
    if member > _REF_OFFSET:
        return f"{name(member - _REF_OFFSET)}_ref"
    return _NAMES.get(member, member.name.removeprefix("DT_").lower())


def _way_out(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return "store each of its fields as a tensor of its own"
    if dtype.kind in "Mm":
        return "store its int64 view, values.view('int64'), and keep the unit apart"
    if dtype.kind == "f":
        return "convert the values to float64"
    if dtype.kind == "c":
        return "convert the values to complex128"
    return "store its bytes, values.view('uint8')"
