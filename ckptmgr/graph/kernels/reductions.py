"""Sums, means and extremes over some dimensions of a tensor, and running sums along one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import axes_within, axis_within, integer
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Sum")
@numeric
def sum_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return _sum(x, _axes(x, axes), keepdims=_keeps(node))


@kernel("Mean")
@numeric
def mean_of(node: KernelNode, x: Array, axes: Array) -> Array:
    """Of integers, the quotient is truncated."""
    over = _axes(x, axes)
    total = _sum(x, over, keepdims=_keeps(node))
    count = math.prod(x.shape[axis] for axis in over)
    if x.dtype.kind in "iu":
        wide = total.astype(f"{x.dtype.kind}8")
        divisor = wide.dtype.type(max(count, 1))
        return np.floor_divide(wide - np.fmod(wide, divisor), divisor).astype(x.dtype)
    return np.divide(total, x.dtype.type(count))


@kernel("Prod")
@numeric
def product_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return np.asarray(np.prod(x, axis=_axes(x, axes), keepdims=_keeps(node), dtype=x.dtype))


@kernel("Max")
@numeric
def maximum_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return np.asarray(
        np.max(x, axis=_axes(x, axes), keepdims=_keeps(node), initial=lowest(x.dtype))
    )


@kernel("Min")
@numeric
def minimum_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return np.asarray(
        np.min(x, axis=_axes(x, axes), keepdims=_keeps(node), initial=highest(x.dtype))
    )


@kernel("All")
@numeric
def all_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return np.asarray(np.all(x, axis=_axes(x, axes), keepdims=_keeps(node)))


@kernel("Any")
@numeric
def any_of(node: KernelNode, x: Array, axes: Array) -> Array:
    return np.asarray(np.any(x, axis=_axes(x, axes), keepdims=_keeps(node)))


@kernel("EuclideanNorm")
@numeric
def euclidean_norm(node: KernelNode, x: Array, axes: Array) -> Array:
    squares = np.multiply(x, np.conj(x))
    norm = np.sqrt(_sum(squares, _axes(x, axes), keepdims=_keeps(node)))
    return norm.astype(x.dtype)


@kernel("L2Loss")
@numeric
def half_sum_of_squares(node: KernelNode, x: Array) -> Array:
    return _sum(np.multiply(x, x), None, keepdims=False) / x.dtype.type(2)


@kernel("Cumsum")
@numeric
def cumulative_sum(node: KernelNode, x: Array, axis: Array) -> Array:
    return _cumulative(np.cumsum, node, x, axis)


@kernel("Cumprod")
@numeric
def cumulative_product(node: KernelNode, x: Array, axis: Array) -> Array:
    return _cumulative(np.cumprod, node, x, axis)


def lowest(dtype: np.dtype[Any]) -> Any:
    """The identity of maximum."""
    if dtype.kind in "iu":
        return dtype.type(np.iinfo(dtype).min)
    return dtype.type(-np.inf)


def highest(dtype: np.dtype[Any]) -> Any:
    """The identity of minimum."""
    if dtype.kind in "iu":
        return dtype.type(np.iinfo(dtype).max)
    return dtype.type(np.inf)


def _axes(x: Array, axes: Array) -> tuple[int, ...]:
    return axes_within(axes.reshape(-1).tolist(), x.ndim, "reduction dimension")


def _keeps(node: KernelNode) -> bool:
    return bool(node.attr("keep_dims"))


def _sum(x: Array, axes: tuple[int, ...] | None, *, keepdims: bool) -> Array:
    # Without the dtype, NumPy would add small integers in 64 bits.
    return np.asarray(np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype))


def _cumulative(accumulate: Any, node: KernelNode, x: Array, axis: Array) -> Array:
    along = axis_within(integer(axis, "axis"), x.ndim)
    values = np.flip(x, along) if node.attr("reverse") else x
    result: Array = accumulate(values, axis=along, dtype=x.dtype)
    if node.attr("exclusive"):
        first = (slice(None),) * along + (slice(0, 1),)
        neutral = 1 if accumulate is np.cumprod else 0
        rest = (slice(None),) * along + (slice(0, -1),)
        head = np.full_like(result[first], neutral)
        result = np.concatenate([head, result[rest]], axis=along)
    return np.flip(result, along) if node.attr("reverse") else result
