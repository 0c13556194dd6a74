"""The shapes of tensors, and the same elements in another shape or order."""

from __future__ import annotations

import math

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import (
    axes_within,
    axis_within,
    dtype_attr,
    integer,
    integers,
    require_rank,
)
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Shape")
def shape_of(node: KernelNode, value: Array) -> Array:
    return np.array(value.shape, dtype_attr(node, "out_type"))


@kernel("ShapeN")
def shapes_of(node: KernelNode, *values: Array) -> tuple[Array, ...]:
    return tuple(shape_of(node, value) for value in values)


@kernel("Size")
def size_of(node: KernelNode, value: Array) -> Array:
    return np.array(value.size, dtype_attr(node, "out_type"))


@kernel("Rank")
def rank_of(node: KernelNode, value: Array) -> Array:
    return np.array(value.ndim, np.int32)


@kernel("Reshape")
def reshape(node: KernelNode, value: Array, shape: Array) -> Array:
    wanted = integers(shape, "shape")
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        raise errors.InvalidArgument(
            f"shape must not be negative but for one -1, which is inferred, got {wanted}"
        )
    if -1 in wanted:
        known = math.prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = value.size // known if known else 0
    if math.prod(wanted) != value.size:
        raise errors.InvalidArgument(
            f"Input to reshape is a tensor with {value.size} values, but the requested shape "
            f"{integers(shape, 'shape')} does not fit them"
        )
    return value.reshape(wanted)


@kernel("ExpandDims")
def expand_dims(node: KernelNode, value: Array, axis: Array) -> Array:
    return np.expand_dims(value, axis_within(integer(axis, "axis"), value.ndim + 1))


@kernel("Squeeze")
def squeeze(node: KernelNode, value: Array) -> Array:
    axes = axes_within(node.attr("squeeze_dims"), value.ndim)
    if not axes:
        axes = tuple(axis for axis, size in enumerate(value.shape) if size == 1)
    for axis in axes:
        if value.shape[axis] != 1:
            raise errors.InvalidArgument(
                f"Can not squeeze dim[{axis}], expected a dimension of 1, got shape "
                f"{list(value.shape)}"
            )
    return value.reshape([size for axis, size in enumerate(value.shape) if axis not in axes])


@kernel("Transpose")
def transpose(node: KernelNode, value: Array, permutation: Array) -> Array:
    return np.transpose(value, _permutation(value, permutation))


@kernel("ConjugateTranspose")
def conjugate_transpose(node: KernelNode, value: Array, permutation: Array) -> Array:
    return np.conj(np.transpose(value, _permutation(value, permutation)))


@kernel("InvertPermutation")
def invert_permutation(node: KernelNode, permutation: Array) -> Array:
    require_rank(permutation, 1, "permutation")
    if not np.array_equal(np.sort(permutation), np.arange(permutation.size)):
        raise errors.InvalidArgument(
            f"expected the numbers 0 to {permutation.size - 1} in some order"
        )
    return np.argsort(permutation).astype(permutation.dtype)


@kernel("BroadcastArgs")
def broadcast_args(node: KernelNode, first: Array, second: Array) -> Array:
    shapes = [tuple(integers(shape, "shape")) for shape in (first, second)]
    try:
        return np.array(np.broadcast_shapes(*shapes), first.dtype)
    except ValueError as error:
        raise errors.InvalidArgument(
            f"Incompatible shapes for broadcasting: {list(shapes[0])} and {list(shapes[1])}"
        ) from error


def _permutation(value: Array, permutation: Array) -> list[int]:
    found = integers(permutation, "permutation")
    axes = axes_within(found, value.ndim, "permutation")
    if len(axes) != value.ndim:
        raise errors.InvalidArgument(
            f"permutation of a tensor of rank {value.ndim} must have as many elements, got {found}"
        )
    return list(axes)
