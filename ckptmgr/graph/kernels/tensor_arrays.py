"""Arrays of tensors, which loops of TensorFlow 1 collect their results in.

An array lives for one run. What orders its uses is a number, its flow, that goes from one to the
next.

Source: tensorflow/core/kernels/tensor_array_ops.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.arguments import check_size, integer, integers, zero
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.tensor_shape import Shape, are_compatible

_MAX_LENGTH = 2**26


class TensorArray:
    """What the handle of an array leads to."""

    def __init__(self, dtype: int, shape: Shape, size: int, *, is_dynamic: bool) -> None:
        self.dtype = dtypes.to_numpy(dtype)
        self.shape = shape
        self.is_dynamic = is_dynamic
        self.items: list[Array | None] = [None] * self._length(size)

    def write(self, index: int, value: Array) -> None:
        if value.dtype != self.dtype or not are_compatible(self.shape, value.shape):
            raise errors.InvalidArgument(
                f"TensorArray: Could not write to TensorArray index {index} because the value is "
                f"{value.dtype} of shape {list(value.shape)} but the array's are {self.dtype} "
                f"of shape {self.shape}"
            )
        if index >= len(self.items) and self.is_dynamic:
            self.items += [None] * (self._length(index + 1) - len(self.items))
        self._check(index)
        self.items[index] = value

    def read(self, index: int) -> Array:
        self._check(index)
        item = self.items[index]
        if item is not None:
            return item
        if self.shape is None or None in self.shape:
            raise errors.InvalidArgument(
                f"TensorArray: Could not read from TensorArray index {index}. Furthermore, the "
                f"element shape is not fully defined: {self.shape}."
            )
        sizes = [size or 0 for size in self.shape]
        check_size(sizes, self.dtype)
        return np.full(sizes, zero(self.dtype), self.dtype)

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self.items):
            raise errors.InvalidArgument(
                f"TensorArray: Tried to access index {index} but array is not resizeable and size "
                f"is: {len(self.items)}"
            )

    def _length(self, size: int) -> int:
        if not 0 <= size <= _MAX_LENGTH:
            raise errors.InvalidArgument(
                f"a TensorArray has between 0 and {_MAX_LENGTH} elements, got {size}"
            )
        return size


def _flow() -> Array:
    return np.zeros((), np.float32)


@kernel("TensorArrayV3")
def tensor_array(node: KernelNode, size: Array) -> tuple[TensorArray, Array]:
    made = TensorArray(
        node.attr("dtype"),
        node.attr("element_shape"),
        integer(size, "size"),
        is_dynamic=node.attr("dynamic_size"),
    )
    return made, _flow()


@kernel("TensorArrayWriteV3")
def write(node: KernelNode, handle: TensorArray, index: Array, value: Array, flow: Array) -> Array:
    _array(handle).write(integer(index, "index"), value)
    return flow


@kernel("TensorArrayReadV3")
def read(node: KernelNode, handle: TensorArray, index: Array, flow: Array) -> Array:
    return _array(handle).read(integer(index, "index"))


@kernel("TensorArraySizeV3")
def size_of(node: KernelNode, handle: TensorArray, flow: Array) -> Array:
    return np.array(len(_array(handle).items), np.int32)


@kernel("TensorArrayGatherV3")
def gather(node: KernelNode, handle: TensorArray, indices: Array, flow: Array) -> Array:
    found = _array(handle)
    rows = [found.read(index) for index in integers(indices, "indices")]
    if not rows:
        shape = found.shape if found.shape is not None else node.attr("element_shape")
        return np.zeros((0, *(size or 0 for size in shape or ())), found.dtype)
    if any(row.shape != rows[0].shape for row in rows):
        raise errors.InvalidArgument("TensorArray has inconsistent shapes.")
    check_size((len(rows), *rows[0].shape), found.dtype)
    result = np.empty((len(rows), *rows[0].shape), found.dtype)
    for place, row in enumerate(rows):
        result[place] = row
    return result


@kernel("TensorArrayScatterV3")
def scatter(
    node: KernelNode, handle: TensorArray, indices: Array, value: Array, flow: Array
) -> Array:
    places = integers(indices, "indices")
    if not value.ndim or len(places) != len(value):
        raise errors.InvalidArgument(
            f"Expected len(indices) == values.shape[0], but saw: {len(places)} vs. "
            f"{list(value.shape)}"
        )
    for place, row in zip(places, value, strict=True):
        _array(handle).write(place, _row(row, value.dtype))
    return flow


@kernel("TensorArraySplitV3")
def split(
    node: KernelNode, handle: TensorArray, value: Array, lengths: Array, flow: Array
) -> Array:
    sizes = integers(lengths, "lengths")
    if not value.ndim or any(size < 0 for size in sizes) or sum(sizes) != len(value):
        raise errors.InvalidArgument(
            f"Expected sum of lengths to be equal to values.shape[0], but sum of lengths is "
            f"{sum(sizes)} and value's shape is: {list(value.shape)}"
        )
    start = 0
    for place, size in enumerate(sizes):
        _array(handle).write(place, value[start : start + size])
        start += size
    return flow


@kernel("TensorArrayConcatV3")
def concat(node: KernelNode, handle: TensorArray, flow: Array) -> tuple[Array, Array]:
    found = _array(handle)
    rows = [found.read(index) for index in range(len(found.items))]
    if any(not row.ndim for row in rows):
        raise errors.InvalidArgument("Concat saw a scalar shape at an index; use gather")
    sizes = np.array([len(row) for row in rows], np.int64)
    return (np.concatenate(rows) if rows else np.zeros((0,), found.dtype)), sizes


@kernel("TensorArrayCloseV3")
def close(node: KernelNode, handle: TensorArray) -> tuple[()]:
    _array(handle).items.clear()
    return ()


def _row(row: Any, dtype: np.dtype[Any]) -> Array:
    return np.array(row, dtype) if not isinstance(row, np.ndarray) else row


def _array(value: Any) -> TensorArray:
    if not isinstance(value, TensorArray):
        raise errors.InvalidArgument(
            f"the handle must be one of a TensorArray, found {type(value).__name__}"
        )
    return value
