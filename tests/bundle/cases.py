"""Tensors of every kind, and the few lines that every test of bundles needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.storage import Storage

Array = np.ndarray[Any, Any]

TOKEN = "0123456789abcdef" * 2

NUMPY_DTYPES = [
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]
ML_DTYPES = [
    *("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz"),
    *("float8_e5m2fnuz", "float4_e2m1fn", "int2", "int4", "uint2", "uint4"),
]


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def numbers(dtype: str, shape: tuple[int, ...] = (3, 4)) -> Array:
    """Different values, as far as the dtype has them."""
    count = int(np.prod(shape))
    values = np.arange(count) % (2 if dtype in {"int2", "uint2"} else 7)
    scalar = getattr(ml_dtypes, dtype) if dtype in ML_DTYPES else dtype
    array: Array = values.astype(np.float32).astype(scalar).reshape(shape)
    if array.dtype.kind == "c":
        array += array.dtype.type(1j)
    return array


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


#: What a user may hand over, and what comes back is always native, in C order, bytes for text.
LAYOUTS: dict[str, Array] = {
    "scalar": np.array(2.5, np.float32),
    "scalar_string": np.array(b"one", object),
    "empty": np.zeros((0, 3), np.float64),
    "empty_huge": np.zeros((2**30, 0), np.int8),
    "empty_strings": np.zeros((2, 0), object),
    "fortran": np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4)),
    "strided": np.arange(24, dtype=np.int16)[::-2],
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "broadcast": np.broadcast_to(np.float32(3), (4, 2)),
    "big_endian": np.arange(6, dtype=">f8").reshape(2, 3),
    "big_endian_scalar": np.array(7, ">i4"),
    "big_endian_complex": np.array([1 + 2j, 3 - 4j], ">c8"),
    "big_endian_strided": np.arange(9, dtype=">u2")[::2],
    "read_only": read_only(np.arange(5, dtype=np.uint32)),
    "fortran_bfloat16": np.asfortranarray(np.ones((2, 3), ml_dtypes.bfloat16)),
    "strings": strings(b"", b"a\0b\0", b"\xff\xfe", b"x" * 127, b"y" * 128, b"z" * 20000),
    "string_matrix": strings(b"a\0", b"b\0", b"c\0", b"\0\0").reshape(2, 2),
    "fixed_width": np.array([b"ab", b"c"], "S2"),
    "text": np.array(["zwölf", "日本"], "U5"),
    "text_objects": np.array(["a", b"b"], object),
    "nan_payload": np.array([0x7F800001, 0xFFC12345], np.uint32).view(np.float32),
}

ALL: dict[str, Array] = {
    **{dtype: numbers(dtype) for dtype in (*NUMPY_DTYPES, *ML_DTYPES)},
    **LAYOUTS,
}


def restored(array: Array) -> Array:
    """What is read back of an array that was written."""
    native: Array = array.astype(array.dtype.newbyteorder("="), order="C")
    if array.dtype.kind in "SUO":
        items = [v if isinstance(v, bytes) else v.encode() for v in array.reshape(-1).tolist()]
        native = strings(*items).reshape(array.shape)
    return native


def assert_identical(found: Any, expected: Array) -> None:
    """Same dtype, same shape, same bits; a scalar stands for an array of rank 0."""
    if not isinstance(found, np.ndarray):
        found = np.array(found, expected.dtype if expected.dtype == object else None)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        assert found.tobytes() == expected.tobytes()


def named(tensors: Mapping[str, Array]) -> list[NamedTensor]:
    return [NamedTensor(name, array) for name, array in tensors.items()]


def parts(name: str, full: Array, *bounds: tuple[slice, ...]) -> list[NamedTensor]:
    """A tensor cut into the parts that these indexes pick."""
    found = []
    for bound in bounds:
        starts = tuple(part.start or 0 for part in bound)
        found.append(NamedTensor(name, full[bound], Partition(full.shape, starts)))
    return found


def options(
    *, durable: bool = False, alignment_bytes: int = 64, token: str = TOKEN
) -> WriteOptions:
    return WriteOptions(token, durable, alignment_bytes)


def save(storage: Storage, prefix: str, *shards: list[NamedTensor], **kwargs: Any) -> None:
    stage(storage, prefix, shards, options(**kwargs)).publish()
