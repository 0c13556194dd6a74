"""Arithmetic on two tensors, which broadcast, and sums of many."""

from __future__ import annotations

import functools

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Add", "AddV2")
@numeric
def add(node: KernelNode, x: Array, y: Array) -> Array:
    return np.add(x, y)


@kernel("AddN", "AccumulateNV2")
@numeric
def add_n(node: KernelNode, *values: Array) -> Array:
    return functools.reduce(np.add, values)


@kernel("Sub")
@numeric
def subtract(node: KernelNode, x: Array, y: Array) -> Array:
    return np.subtract(x, y)


@kernel("Mul")
@numeric
def multiply(node: KernelNode, x: Array, y: Array) -> Array:
    return np.multiply(x, y)


@kernel("MulNoNan")
@numeric
def multiply_no_nan(node: KernelNode, x: Array, y: Array) -> Array:
    """Zero where `y` is, even where `x` is infinite or NaN."""
    return np.where(np.equal(y, 0), y.dtype.type(0), np.multiply(x, y))


@kernel("Div", "RealDiv", "TruncateDiv")
@numeric
def divide(node: KernelNode, x: Array, y: Array) -> Array:
    """Integers are divided as in C: towards zero."""
    if x.dtype.kind not in "iu":
        return np.divide(x, y)
    _refuse_zero(y)
    return np.floor_divide(x - np.fmod(x, y), y)


@kernel("DivNoNan")
@numeric
def divide_no_nan(node: KernelNode, x: Array, y: Array) -> Array:
    return np.where(np.equal(y, 0), y.dtype.type(0), np.divide(x, y))


@kernel("FloorDiv")
@numeric
def floor_divide(node: KernelNode, x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        _refuse_zero(y)
        return np.floor_divide(x, y)
    return np.floor(np.divide(x, y))


@kernel("FloorMod")
@numeric
def floor_modulo(node: KernelNode, x: Array, y: Array) -> Array:
    """The remainder with the sign of `y`."""
    if x.dtype.kind in "iu":
        _refuse_zero(y)
    return np.mod(x, y)


@kernel("Mod", "TruncateMod")
@numeric
def truncate_modulo(node: KernelNode, x: Array, y: Array) -> Array:
    """The remainder with the sign of `x`."""
    if x.dtype.kind in "iu":
        _refuse_zero(y)
    return np.fmod(x, y)


@kernel("Pow")
@numeric
def power(node: KernelNode, x: Array, y: Array) -> Array:
    if x.dtype.kind == "i" and np.less(y, 0).any():
        raise errors.InvalidArgument("Integers to negative integer powers are not allowed")
    return np.power(x, y)


@kernel("Maximum")
@numeric
def maximum(node: KernelNode, x: Array, y: Array) -> Array:
    return np.maximum(x, y)


@kernel("Minimum")
@numeric
def minimum(node: KernelNode, x: Array, y: Array) -> Array:
    return np.minimum(x, y)


@kernel("SquaredDifference")
@numeric
def squared_difference(node: KernelNode, x: Array, y: Array) -> Array:
    difference = np.subtract(x, y)
    return np.multiply(np.conj(difference), difference)


@kernel("Atan2")
@numeric
def arc_tangent_2(node: KernelNode, y: Array, x: Array) -> Array:
    return np.arctan2(y, x)


@kernel("NextAfter")
@numeric
def next_after(node: KernelNode, x: Array, y: Array) -> Array:
    return np.nextafter(x, y)


@kernel("Xdivy")
@numeric
def x_divided_by_y(node: KernelNode, x: Array, y: Array) -> Array:
    """Zero where `x` is, whatever `y` is; so are the next two."""
    return np.where(np.equal(x, 0), x.dtype.type(0), np.divide(x, y))


@kernel("Xlogy")
@numeric
def x_times_log_y(node: KernelNode, x: Array, y: Array) -> Array:
    return np.where(np.equal(x, 0), x.dtype.type(0), np.multiply(x, np.log(y)))


@kernel("Xlog1py")
@numeric
def x_times_log1p_y(node: KernelNode, x: Array, y: Array) -> Array:
    return np.where(np.equal(x, 0), x.dtype.type(0), np.multiply(x, np.log1p(y)))


@kernel("ClipByValue")
@numeric
def clip_by_value(node: KernelNode, value: Array, least: Array, most: Array) -> Array:
    clipped = np.maximum(np.minimum(value, most), least)
    if clipped.shape != value.shape:
        raise errors.InvalidArgument(
            f"bounds must be scalars or have the shape of the value {list(value.shape)}, "
            f"got {list(least.shape)} and {list(most.shape)}"
        )
    return clipped


def _refuse_zero(divisor: Array) -> None:
    if not np.all(divisor):
        raise errors.InvalidArgument("Integer division by zero")
