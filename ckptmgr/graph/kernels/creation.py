"""New tensors from a shape, a range or a few values."""

from __future__ import annotations

import math
import sys

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import (
    axis_within,
    check_size,
    dtype_attr,
    integer,
    sizes,
    zero,
)
from ckptmgr.graph.kernels.precision import widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Fill")
def fill(node: KernelNode, dims: Array, value: Array) -> Array:
    shape = sizes(dims, "dims")
    if value.ndim:
        raise errors.InvalidArgument(f"value must be a scalar, got shape {list(value.shape)}")
    check_size(shape, value.dtype)
    result = np.empty(shape, value.dtype)
    result[...] = value
    return result


@kernel("Empty")
def empty(node: KernelNode, shape: Array) -> Array:
    """Zeros, even where `init` allows anything."""
    wanted, dtype = sizes(shape), dtype_attr(node, "dtype")
    check_size(wanted, dtype)
    return np.full(wanted, zero(dtype), dtype)


@kernel("ZerosLike")
def zeros_like(node: KernelNode, value: Array) -> Array:
    return np.full(value.shape, zero(value.dtype), value.dtype)


@kernel("OnesLike")
def ones_like(node: KernelNode, value: Array) -> Array:
    return np.ones(value.shape, value.dtype)


@kernel("Range")
def range_of(node: KernelNode, start: Array, limit: Array, delta: Array) -> Array:
    dtype = start.dtype
    first, end, step = (value.item() for value in map(widened, (start, limit, delta)))
    if step == 0:
        raise errors.InvalidArgument("Requires delta != 0: 0")
    if not all(map(math.isfinite, (first, end, step))):
        raise errors.InvalidArgument(
            f"start, limit and delta must be finite, got {first}, {end} and {step}"
        )
    if (step > 0 and first > end) or (step < 0 and first < end):
        raise errors.InvalidArgument(
            f"Requires start <= limit when delta > 0 and start >= limit when delta < 0, got "
            f"{first}, {end} and {step}"
        )
    if dtype.kind in "iu":
        count = -((first - end) // step)  # rounded up
        check_size([count], dtype)
        return np.arange(count, dtype=dtype) * delta + start
    with np.errstate(all="ignore"):
        # In the narrow dtype, as TensorFlow counts.
        span = float(np.abs((limit - start) / delta))
    count = math.ceil(span) if math.isfinite(span) else sys.maxsize
    check_size([count], dtype)
    return (np.arange(count, dtype=np.float64) * step + first).astype(dtype)


@kernel("LinSpace")
def linear_space(node: KernelNode, start: Array, stop: Array, number: Array) -> Array:
    count = integer(number, "num")
    if count < 1:
        raise errors.InvalidArgument(f"Requires num > 0: {count}")
    check_size([count], start.dtype)
    first, last = float(start), float(stop)
    return np.linspace(first, last, count).astype(start.dtype)


@kernel("OneHot")
def one_hot(
    node: KernelNode, indices: Array, classes: Array, on_value: Array, off_value: Array
) -> Array:
    depth = integer(classes, "depth")
    if depth < 0:
        raise errors.InvalidArgument(f"depth must be non-negative, got: {depth}")
    axis = axis_within(node.attr("axis"), indices.ndim + 1)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    check_size(shape, on_value.dtype)
    numbers = np.arange(depth).reshape((-1,) + (1,) * (indices.ndim - axis))
    result = np.empty(shape, on_value.dtype)
    result[...] = off_value
    result[np.equal(np.expand_dims(indices, axis), numbers)] = on_value[()]
    return result
