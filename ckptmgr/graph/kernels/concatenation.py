"""Joining tensors along a dimension, and taking them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import axis_within, integer, integers
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Concat")
def concat(node: KernelNode, axis: Array, *values: Array) -> Array:
    return _concatenated(values, integer(axis, "concat_dim"))


@kernel("ConcatV2")
def concat_v2(node: KernelNode, *values_and_axis: Array) -> Array:
    *values, axis = values_and_axis
    return _concatenated(values, integer(axis, "axis"))


@kernel("ConcatOffset")
def concat_offset(node: KernelNode, axis: Array, *shapes: Array) -> tuple[Array, ...]:
    """Where each tensor of a concatenation begins in the result."""
    along = axis_within(integer(axis, "concat_dim"), shapes[0].size)
    offsets = []
    end = 0
    for shape in shapes:
        offset = np.zeros_like(shape)
        offset[along] = end
        end += int(shape[along])
        offsets.append(offset)
    return tuple(offsets)


@kernel("Split")
def split(node: KernelNode, axis: Array, value: Array) -> tuple[Array, ...]:
    along = axis_within(integer(axis, "split_dim"), value.ndim)
    count, size = node.attr("num_split"), value.shape[along]
    if count < 1 or size % count:
        raise errors.InvalidArgument(
            f"Number of ways to split should evenly divide the split dimension, but got split_dim "
            f"{along} (size = {size}) and num_split {count}"
        )
    return _cut(value, [size // count] * count, along)


@kernel("SplitV")
def split_v(node: KernelNode, value: Array, size_splits: Array, axis: Array) -> tuple[Array, ...]:
    along = axis_within(integer(axis, "split_dim"), value.ndim)
    found = integers(size_splits, "size_splits")
    lengths = list(found)
    if lengths.count(-1) == 1:
        lengths[lengths.index(-1)] = value.shape[along] - (sum(lengths) + 1)
    if min(lengths, default=0) < 0 or sum(lengths) != value.shape[along]:
        raise errors.InvalidArgument(
            f"size_splits must sum up to {value.shape[along]}, the size of dimension {along}, "
            f"with at most one -1, got {found}"
        )
    return _cut(value, lengths, along)


@kernel("Pack")
def pack(node: KernelNode, *values: Array) -> Array:
    if any(value.shape != values[0].shape for value in values):
        shapes = [list(value.shape) for value in values]
        raise errors.InvalidArgument(f"Shapes of all inputs must match, got {shapes}")
    axis = axis_within(node.attr("axis"), values[0].ndim + 1)
    return np.stack(values, axis)


@kernel("Unpack")
def unpack(node: KernelNode, value: Array) -> tuple[Array, ...]:
    axis = axis_within(node.attr("axis"), value.ndim)
    count = node.attr("num")
    if value.shape[axis] != count:
        raise errors.InvalidArgument(
            f"Input shape axis {axis} must equal {count}, got shape {list(value.shape)}"
        )
    front = np.moveaxis(value, axis, 0)
    # With an ellipsis, an element too is an array.
    return tuple(front[index, ...] for index in range(count))


def _concatenated(values: Sequence[Array], axis: int) -> Array:
    along = axis_within(axis, values[0].ndim)
    rest = [value.shape[:along] + value.shape[along + 1 :] for value in values]
    if any(shape != rest[0] for shape in rest) or any(
        value.ndim != values[0].ndim for value in values
    ):
        shapes = [list(value.shape) for value in values]
        raise errors.InvalidArgument(
            f"Dimensions of inputs should match but for dimension {along}, got {shapes}"
        )
    return np.concatenate(values, along)


def _cut(value: Array, lengths: Sequence[int], axis: int) -> tuple[Array, ...]:
    parts = []
    end = 0
    for length in lengths:
        start, end = end, end + length
        parts.append(value[(slice(None),) * axis + (slice(start, end),)])
    return tuple(parts)
