"""Rectangular parts of tensors, and elements in reverse or rotated order.

StridedSlice is Python's indexing, as five bit masks over vectors begin, end and strides: bit i says
how their i-th entry is meant. Where several are set, an ellipsis counts before a new axis, and that
before an index.

Source: the operation's documentation in tensorflow/core/ops/array_ops.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import (
    axes_within,
    axis_within,
    integers,
    require_rank,
)
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Slice")
def slice_of(node: KernelNode, value: Array, begin: Array, size: Array) -> Array:
    starts, lengths = integers(begin, "begin"), integers(size, "size")
    if len(starts) != value.ndim or len(lengths) != value.ndim:
        raise errors.InvalidArgument(
            f"begin and size must have {value.ndim} elements, got {starts} and {lengths}"
        )
    index: list[Any] = []
    for axis, (start, length, available) in enumerate(
        zip(starts, lengths, value.shape, strict=True)
    ):
        end = available if length == -1 else start + length
        if not 0 <= start <= end <= available:
            raise errors.InvalidArgument(
                f"Expected begin and size of dimension {axis} within its size {available}, got "
                f"begin {start} and size {length}"
            )
        index.append(slice(start, end))
    # With an ellipsis, an element too is an array.
    index.append(...)
    return value[tuple(index)]


@kernel("StridedSlice")
def strided_slice(
    node: KernelNode, value: Array, begin: Array, end: Array, strides: Array
) -> Array:
    return value[strided_index(node, value.shape, (begin, end, strides))]


@kernel("TensorStridedSliceUpdate")
def strided_slice_update(
    node: KernelNode, value: Array, begin: Array, end: Array, strides: Array, update: Array
) -> Array:
    result = value.copy()
    index = strided_index(node, value.shape, (begin, end, strides))
    try:
        result[index] = update
    except ValueError as error:
        raise errors.InvalidArgument(
            f"an update of shape {list(update.shape)} does not fit the slice, of shape "
            f"{list(result[index].shape)}"
        ) from error
    return result


@kernel("ReverseV2")
def reverse(node: KernelNode, value: Array, axes: Array) -> Array:
    return np.flip(value, axes_within(integers(axes, "axis"), value.ndim))


@kernel("Reverse")
def reverse_marked(node: KernelNode, value: Array, marks: Array) -> Array:
    if marks.shape != (value.ndim,):
        raise errors.InvalidArgument(
            f"dims must have {value.ndim} elements, got shape {list(marks.shape)}"
        )
    return np.flip(value, tuple(np.flatnonzero(marks).tolist()))


@kernel("ReverseSequence")
def reverse_sequence(node: KernelNode, value: Array, lengths: Array) -> Array:
    """Of each entry of the batch, as many elements as it says are reversed, the rest stay."""
    along = axis_within(node.attr("seq_dim"), value.ndim, "seq_dim")
    batch = axis_within(node.attr("batch_dim"), value.ndim, "batch_dim")
    size = value.shape[along]
    if along == batch or lengths.shape != (value.shape[batch],):
        raise errors.InvalidArgument(
            f"seq_lengths must have one element per entry of batch_dim {batch}, which is not "
            f"seq_dim {along}, got shapes {list(lengths.shape)} and {list(value.shape)}"
        )
    if np.logical_or(np.less(lengths, 0), np.greater(lengths, size)).any():
        raise errors.InvalidArgument(f"seq_lengths must be in [0, {size}]")
    positions = np.arange(size)
    ends = lengths[:, None]
    source = np.where(np.less(positions, ends), ends - 1 - positions, positions)
    front = np.moveaxis(value, (batch, along), (0, 1))
    reversed_front = front[np.arange(len(lengths))[:, None], source]
    return np.moveaxis(reversed_front, (0, 1), (batch, along))


@kernel("Roll")
def roll(node: KernelNode, value: Array, shifts: Array, axes: Array) -> Array:
    amounts, along = integers(shifts, "shift"), integers(axes, "axis")
    if value.ndim < 1 or len(amounts) != len(along):
        raise errors.InvalidArgument(
            f"shift and axis must have the same size, and input at least 1 dimension, got "
            f"{amounts}, {along} and shape {list(value.shape)}"
        )
    for amount, axis in zip(amounts, along, strict=True):
        value = np.roll(value, amount, axis_within(axis, value.ndim))
    return value


# --------------------------------------------------------------------------- strided slices


@dataclass(frozen=True, slots=True)
class _Masks:
    """The five attributes, one bit per entry."""

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink: int


def strided_index(
    node: KernelNode, shape: Sequence[int], bounds: tuple[Array, Array, Array]
) -> tuple[Any, ...]:
    """What to index an array of that shape with for a node's begin, end and strides."""
    begin, end, strides = bounds
    for value, what in ((begin, "begin"), (end, "end"), (strides, "strides")):
        require_rank(value, 1, what)
    if not begin.size == end.size == strides.size:
        raise errors.InvalidArgument(
            f"begin, end and strides must have the same size, got {begin.size}, {end.size} and "
            f"{strides.size}"
        )
    masks = _Masks(
        node.attr("begin_mask"),
        node.attr("end_mask"),
        node.attr("ellipsis_mask"),
        node.attr("new_axis_mask"),
        node.attr("shrink_axis_mask"),
    )
    entries = list(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True))
    spared = _dimensions_under_ellipsis(masks, len(entries), len(shape))
    index: list[Any] = []
    axis = 0
    for position, entry in enumerate(entries):
        if masks.ellipsis >> position & 1:
            index += [slice(None)] * spared
            axis += spared
        elif masks.new_axis >> position & 1:
            index.append(np.newaxis)
        else:
            index.append(_range(masks, position, entry, shape[axis]))
            axis += 1
    # With an ellipsis, an element too is an array.
    return (*index, ...)


def _dimensions_under_ellipsis(masks: _Masks, count: int, rank: int) -> int:
    """How many dimensions the ellipsis stands for; without one, it is at the end."""
    used = (1 << count) - 1
    ellipses = masks.ellipsis & used
    if ellipses & (ellipses - 1):
        raise errors.InvalidArgument("Multiple ellipses in slice spec not allowed")
    new_axes = (masks.new_axis & used & ~ellipses).bit_count()
    taken = count - new_axes - bool(ellipses)
    if taken > rank:
        raise errors.InvalidArgument(
            f"Index out of range using input dim {rank}; input has only {rank} dims"
        )
    return rank - taken


def _range(masks: _Masks, position: int, entry: tuple[int, int, int], size: int) -> slice | int:
    begin, end, stride = entry
    if stride == 0:
        raise errors.InvalidArgument(f"strides[{position}] must be non-zero")
    if masks.shrink >> position & 1:
        if stride < 0:
            raise errors.InvalidArgument("only stride 1 allowed on non-range indexing.")
        if not -size <= begin < size:
            raise errors.InvalidArgument(
                f"slice index {begin} of dimension {position} out of bounds."
            )
        return begin
    is_open = (bool(masks.begin >> position & 1), bool(masks.end >> position & 1))
    return slice(None if is_open[0] else begin, None if is_open[1] else end, stride)
