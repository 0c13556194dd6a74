"""What kernels read from their inputs and attributes, each value checked before it is used.

A graph is untrusted: an axis may leave the tensor, a shape may be negative, and a few bytes may ask
for terabytes. Whatever decides the size of an output passes `check_size`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.registry import KernelNode

#: The most that one output may take whose size an operation's inputs decide freely. The biggest
#: tensors of models that are in use, embedding tables, stay below.
MAX_OUTPUT_BYTES = 1 << 33


def check_size(shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse an output that is too big to be meant, were it not for dimensions of size 0."""
    size_bytes = math.prod(max(size, 1) for size in shape) * dtype.itemsize
    if size_bytes > MAX_OUTPUT_BYTES:
        raise errors.InvalidArgument(
            f"the output would have shape {list(shape)} of {dtype} and take {size_bytes:,} bytes; "
            f"at most {MAX_OUTPUT_BYTES:,} are allowed"
        )


def integer(value: Array, what: str) -> int:
    """The only element of a scalar input."""
    if value.size != 1:
        raise errors.InvalidArgument(f"{what} must be a scalar, got shape {list(value.shape)}")
    return int(value.reshape(())[()])


def integers(value: Array, what: str) -> list[int]:
    """The elements of an input that is a vector, or a scalar meant as one."""
    if value.ndim > 1:
        raise errors.InvalidArgument(
            f"{what} must be a scalar or a vector, got shape {list(value.shape)}"
        )
    return [int(element) for element in value.reshape(-1).tolist()]


def sizes(value: Array, what: str = "shape") -> tuple[int, ...]:
    """A shape that an input holds."""
    found = tuple(integers(value, what))
    if any(size < 0 for size in found):
        raise errors.InvalidArgument(f"{what} must not be negative, got {list(found)}")
    return found


def axis_within(axis: int, rank: int, what: str = "axis") -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise errors.InvalidArgument(f"{what} must be in [{-rank}, {rank}), got {axis}")
    return axis % rank


def axes_within(axes: Iterable[int], rank: int, what: str = "axis") -> tuple[int, ...]:
    """Distinct axes counted from the front."""
    found = tuple(axis_within(axis, rank, what) for axis in axes)
    if len(set(found)) != len(found):
        raise errors.InvalidArgument(f"{what} must name each dimension once, got {list(found)}")
    return found


def dtype_attr(node: KernelNode, name: str) -> np.dtype[Any]:
    """The NumPy dtype of an attribute that is a type."""
    return dtypes.to_numpy(node.attr(name))


def zero(dtype: np.dtype[Any]) -> Any:
    """What TensorFlow fills a new tensor with."""
    return b"" if dtype.hasobject else dtype.type(0)


def require_rank(value: Array, rank: int, what: str) -> None:
    if value.ndim != rank:
        raise errors.InvalidArgument(
            f"{what} must have {rank} dimensions, got shape {list(value.shape)}"
        )


def require_same_shape(value: Array, other: Array, what: str) -> None:
    if value.shape != other.shape:
        raise errors.InvalidArgument(
            f"{what} must have the same shape, got {list(value.shape)} and {list(other.shape)}"
        )
