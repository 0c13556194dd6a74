"""NumPy arrays and their bytes, in both directions without a copy where there need be none.

Stored bytes are in C order and, but for bundles from big-endian machines, little-endian. Arrays of
ml_dtypes have no buffer interface of their own; seen as bytes they have.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.formats import dtypes

Array = np.ndarray[Any, Any]


def stored_bytes(array: Array) -> memoryview:
    """The bytes to store of a numeric array: its own memory, if that is what they are."""
    array = native_array(array)
    if sys.byteorder == "big":
        array = array.byteswap()
    return memory_of(np.ascontiguousarray(array))


def native_array(array: Array) -> Array:
    """The array in the byte order of this machine: itself, if it is."""
    if array.dtype.isnative:
        return array
    native: Array = array.byteswap().view(array.dtype.newbyteorder("="))
    return native


def memory_of(array: Array) -> memoryview:
    """The memory of a contiguous numeric array."""
    flat: Array = np.asarray(array).reshape(-1).view(np.uint8)
    return flat.data


def numpy_dtype(name: str, dtype: int) -> np.dtype[Any]:
    """The NumPy dtype that holds a tensor.

    Raises:
        UnsupportedDtype: Naming the tensor.
    """
    try:
        return dtypes.to_numpy(dtype)
    except errors.UnsupportedDtype as error:
        raise errors.UnsupportedDtype(f"tensor {name!r}: {error}") from None


def new_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array to be filled, of a shape that came from a file and is known to be affordable.

    Raises:
        MalformedEntry: No array has so many dimensions.
        StorageError: There is not so much memory.
    """
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        raise errors.StorageError(errno.ENOMEM, f"no memory for a tensor: {error}") from None
    except ValueError:
        raise errors.MalformedEntry(
            "a tensor has more dimensions than a NumPy array can",
            expected="32 (NumPy 1) or 64 (NumPy 2) at most",
            found=len(shape),
        ) from None


def check_asked(targets: Iterable[str], names: Container[str]) -> None:
    """Raise unless each target is of a tensor that is to be read.

    Raises:
        TensorNotFound: Naming the target.
    """
    for name in targets:
        if name not in names:
            raise errors.TensorNotFound(
                f"tensor {name!r} has an array to be read into, but is not among those to be read"
            )


def check_target(name: str, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless a tensor of this shape and dtype can be copied into `target`.

    Either byte order will do, and any layout.

    Raises:
        ShapeMismatch, DtypeMismatch, InvalidArgument: Naming the tensor.
    """
    if not isinstance(target, np.ndarray):
        raise errors.InvalidArgument(
            f"tensor {name!r}: wanted a NumPy array to read into, found {type(target).__name__}"
        )
    if target.shape != shape:
        raise errors.ShapeMismatch(
            f"tensor {name!r}: wanted shape {target.shape}, found {shape} in the checkpoint"
        )
    if target.dtype.newbyteorder("=") != dtype:
        raise errors.DtypeMismatch(
            f"tensor {name!r}: wanted dtype {target.dtype}, found {dtype} in the checkpoint"
        )
    if not target.flags.writeable:
        raise errors.InvalidArgument(f"tensor {name!r}: the array to read into is read-only")


def can_fill(target: Array) -> bool:
    """Whether the bytes of a tensor, in C order and native, can be read straight into an array."""
    return target.flags.c_contiguous and target.dtype.isnative and not target.dtype.hasobject


def string_array(shape: tuple[int, ...], strings: Sequence[bytes]) -> Array:
    """The strings, in C order, as an object array of bytes."""
    array = new_array(shape, np.dtype(object))
    array.reshape(-1)[:] = strings
    return array


def swap_bytes(array: Array) -> None:
    """Reverse the bytes of each number of a contiguous array, in place."""
    # A complex number is two; the dtypes of ml_dtypes need not know how to swap themselves.
    width = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    array.reshape(-1).view(f"u{width}").byteswap(inplace=True)
