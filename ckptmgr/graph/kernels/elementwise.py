"""Functions of each element: powers, exponentials, rounding, parts of complex numbers."""

from __future__ import annotations

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import dtype_attr
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Neg")
@numeric
def negate(node: KernelNode, x: Array) -> Array:
    return np.negative(x)


@kernel("Abs")
@numeric
def absolute(node: KernelNode, x: Array) -> Array:
    return np.abs(x)


@kernel("Sign")
@numeric
def sign(node: KernelNode, x: Array) -> Array:
    if x.dtype.kind != "c":
        return np.sign(x)
    size = np.abs(x)
    return np.where(np.equal(size, 0), x.dtype.type(0), x / size)


@kernel("Square")
@numeric
def square(node: KernelNode, x: Array) -> Array:
    return np.multiply(x, x)


@kernel("Sqrt")
@numeric
def square_root(node: KernelNode, x: Array) -> Array:
    return np.sqrt(x)


@kernel("Rsqrt")
@numeric
def reciprocal_square_root(node: KernelNode, x: Array) -> Array:
    return np.divide(x.dtype.type(1), np.sqrt(x))


@kernel("Reciprocal", "Inv")
@numeric
def reciprocal(node: KernelNode, x: Array) -> Array:
    return np.divide(x.dtype.type(1), x)


@kernel("Exp")
@numeric
def exponential(node: KernelNode, x: Array) -> Array:
    return np.exp(x)


@kernel("Expm1")
@numeric
def exponential_minus_1(node: KernelNode, x: Array) -> Array:
    return np.expm1(x)


@kernel("Log")
@numeric
def logarithm(node: KernelNode, x: Array) -> Array:
    return np.log(x)


@kernel("Log1p")
@numeric
def logarithm_of_1_plus(node: KernelNode, x: Array) -> Array:
    return np.log1p(x)


@kernel("Sin")
@numeric
def sine(node: KernelNode, x: Array) -> Array:
    return np.sin(x)


@kernel("Cos")
@numeric
def cosine(node: KernelNode, x: Array) -> Array:
    return np.cos(x)


@kernel("Tan")
@numeric
def tangent(node: KernelNode, x: Array) -> Array:
    return np.tan(x)


@kernel("Asin")
@numeric
def arc_sine(node: KernelNode, x: Array) -> Array:
    return np.arcsin(x)


@kernel("Acos")
@numeric
def arc_cosine(node: KernelNode, x: Array) -> Array:
    return np.arccos(x)


@kernel("Atan")
@numeric
def arc_tangent(node: KernelNode, x: Array) -> Array:
    return np.arctan(x)


@kernel("Sinh")
@numeric
def hyperbolic_sine(node: KernelNode, x: Array) -> Array:
    return np.sinh(x)


@kernel("Cosh")
@numeric
def hyperbolic_cosine(node: KernelNode, x: Array) -> Array:
    return np.cosh(x)


@kernel("Tanh")
@numeric
def hyperbolic_tangent(node: KernelNode, x: Array) -> Array:
    return np.tanh(x)


@kernel("Asinh")
@numeric
def inverse_hyperbolic_sine(node: KernelNode, x: Array) -> Array:
    return np.arcsinh(x)


@kernel("Acosh")
@numeric
def inverse_hyperbolic_cosine(node: KernelNode, x: Array) -> Array:
    return np.arccosh(x)


@kernel("Atanh")
@numeric
def inverse_hyperbolic_tangent(node: KernelNode, x: Array) -> Array:
    return np.arctanh(x)


@kernel("Ceil")
@numeric
def round_up(node: KernelNode, x: Array) -> Array:
    return np.ceil(x)


@kernel("Floor")
@numeric
def round_down(node: KernelNode, x: Array) -> Array:
    return np.floor(x)


@kernel("Round", "Rint")
@numeric
def round_to_nearest(node: KernelNode, x: Array) -> Array:
    """Halves go to the even neighbour."""
    return x if x.dtype.kind in "iu" else np.rint(x)


@kernel("IsNan")
@numeric
def is_nan(node: KernelNode, x: Array) -> Array:
    return np.isnan(x)


@kernel("IsInf")
@numeric
def is_infinite(node: KernelNode, x: Array) -> Array:
    return np.isinf(x)


@kernel("IsFinite")
@numeric
def is_finite(node: KernelNode, x: Array) -> Array:
    return np.isfinite(x)


@kernel("Complex")
@numeric
def complex_number(node: KernelNode, real: Array, imaginary: Array) -> Array:
    shape = np.broadcast_shapes(real.shape, imaginary.shape)
    result = np.empty(shape, dtype_attr(node, "Tout"))
    result.real = real
    result.imag = imaginary
    return result


@kernel("Real")
@numeric
def real_part(node: KernelNode, x: Array) -> Array:
    return np.real(x)


@kernel("Imag")
@numeric
def imaginary_part(node: KernelNode, x: Array) -> Array:
    return np.imag(x)


@kernel("Conj")
@numeric
def conjugate(node: KernelNode, x: Array) -> Array:
    return np.conj(x)


@kernel("ComplexAbs")
@numeric
def complex_absolute(node: KernelNode, x: Array) -> Array:
    return np.abs(x)


@kernel("Angle")
@numeric
def angle(node: KernelNode, x: Array) -> Array:
    return np.angle(x)
