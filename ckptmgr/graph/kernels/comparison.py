"""Comparisons, logic, and operations on bits."""

from __future__ import annotations

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Equal")
@numeric
def equal(node: KernelNode, x: Array, y: Array) -> Array:
    if _differ_in_shape(node, x, y):
        return np.zeros((), np.bool_)
    return np.equal(x, y).astype(np.bool_)


@kernel("NotEqual")
@numeric
def not_equal(node: KernelNode, x: Array, y: Array) -> Array:
    if _differ_in_shape(node, x, y):
        return np.ones((), np.bool_)
    return np.not_equal(x, y).astype(np.bool_)


@kernel("Less")
@numeric
def less(node: KernelNode, x: Array, y: Array) -> Array:
    return np.less(x, y)


@kernel("LessEqual")
@numeric
def less_equal(node: KernelNode, x: Array, y: Array) -> Array:
    return np.less_equal(x, y)


@kernel("Greater")
@numeric
def greater(node: KernelNode, x: Array, y: Array) -> Array:
    return np.greater(x, y)


@kernel("GreaterEqual")
@numeric
def greater_equal(node: KernelNode, x: Array, y: Array) -> Array:
    return np.greater_equal(x, y)


@kernel("ApproximateEqual")
@numeric
def approximate_equal(node: KernelNode, x: Array, y: Array) -> Array:
    return np.less(np.abs(np.subtract(x, y)), node.attr("tolerance"))


@kernel("LogicalAnd")
@numeric
def logical_and(node: KernelNode, x: Array, y: Array) -> Array:
    return np.logical_and(x, y)


@kernel("LogicalOr")
@numeric
def logical_or(node: KernelNode, x: Array, y: Array) -> Array:
    return np.logical_or(x, y)


@kernel("LogicalNot")
@numeric
def logical_not(node: KernelNode, x: Array) -> Array:
    return np.logical_not(x)


@kernel("BitwiseAnd")
@numeric
def bitwise_and(node: KernelNode, x: Array, y: Array) -> Array:
    return np.bitwise_and(x, y)


@kernel("BitwiseOr")
@numeric
def bitwise_or(node: KernelNode, x: Array, y: Array) -> Array:
    return np.bitwise_or(x, y)


@kernel("BitwiseXor")
@numeric
def bitwise_xor(node: KernelNode, x: Array, y: Array) -> Array:
    return np.bitwise_xor(x, y)


@kernel("Invert")
@numeric
def invert(node: KernelNode, x: Array) -> Array:
    return np.invert(x)


@kernel("LeftShift")
@numeric
def left_shift(node: KernelNode, x: Array, y: Array) -> Array:
    return np.left_shift(x, _within_width(x, y))


@kernel("RightShift")
@numeric
def right_shift(node: KernelNode, x: Array, y: Array) -> Array:
    return np.right_shift(x, _within_width(x, y))


@kernel("PopulationCount")
@numeric
def population_count(node: KernelNode, x: Array) -> Array:
    bits = np.unpackbits(np.ascontiguousarray(x).reshape(-1, 1).view(np.uint8), axis=1)
    return np.sum(bits, axis=1, dtype=np.uint8).reshape(x.shape)


def _differ_in_shape(node: KernelNode, x: Array, y: Array) -> bool:
    """Whether the answer is that of different tensors, as TensorFlow 2's `==` asks for."""
    if node.attr("incompatible_shape_error"):
        return False
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return True
    return False


def _within_width(x: Array, shift: Array) -> Array:
    """C leaves shifts outside the width open; TensorFlow clamps them."""
    return np.clip(shift, x.dtype.type(0), x.dtype.type(x.dtype.itemsize * 8 - 1))
