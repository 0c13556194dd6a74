"""The error function, the gamma function and their kin, in float64 for every width.

`erf` and `erfc` are W. J. Cody's rational Chebyshev approximations (Mathematics of Computation 23,
1969), whose relative error stays below 1e-15.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel

# Coefficients from the highest power down, as np.polyval takes them.
_SMALL = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e00,
        1.13864154151050156e02,
        3.77485237685302021e02,
        3.20937758913846947e03,
    ),
    (
        1.0,
        2.36012909523441209e01,
        2.44024637934444173e02,
        1.28261652607737228e03,
        2.84423683343917062e03,
    ),
)
_MIDDLE = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e00,
        6.61191906371416295e01,
        2.98635138197400131e02,
        8.81952221241769090e02,
        1.71204761263407058e03,
        2.05107837782607147e03,
        1.23033935479799725e03,
    ),
    (
        1.0,
        1.57449261107098347e01,
        1.17693950891312499e02,
        5.37181101862009858e02,
        1.62138957456669019e03,
        3.29079923573345963e03,
        4.36261909014324716e03,
        3.43936767414372164e03,
        1.23033935480374942e03,
    ),
)
_LARGE = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e00,
        1.87295284992346725e00,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)
_SMALL_END = 0.46875
_MIDDLE_END = 4.0
# Beyond it erfc is 0 in float64.
_LARGE_END = 27.5

# B(2k) / 2k of the asymptotic series of the digamma function, from the highest power down.
_DIGAMMA = (-691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12, 0.0)
_DIGAMMA_START = 10.0


@kernel("Erf")
@numeric
def erf(node: KernelNode, x: Array) -> Array:
    return error_function(x)


@kernel("Erfc")
@numeric
def erfc(node: KernelNode, x: Array) -> Array:
    wide = x.astype(np.float64)
    tail = _upper_tail(np.abs(wide))
    inner = 1 - _near_zero(wide)
    outer = np.where(np.less(wide, 0), 2 - tail, tail)
    return np.where(np.less_equal(np.abs(wide), _SMALL_END), inner, outer).astype(x.dtype)


@kernel("Erfinv")
@numeric
def inverse_erf(node: KernelNode, x: Array) -> Array:
    return _inverse_erf(x.astype(np.float64)).astype(x.dtype)


@kernel("Ndtri")
@numeric
def normal_quantile(node: KernelNode, x: Array) -> Array:
    return (math.sqrt(2) * _inverse_erf(2 * x.astype(np.float64) - 1)).astype(x.dtype)


@kernel("Lgamma")
@numeric
def log_gamma(node: KernelNode, x: Array) -> Array:
    values = [_log_gamma(float(element)) for element in x.reshape(-1)]
    return np.array(values, x.dtype).reshape(x.shape)


@kernel("Digamma")
@numeric
def digamma(node: KernelNode, x: Array) -> Array:
    wide = x.astype(np.float64)
    is_reflected = np.less(wide, 0.5)
    positive = np.where(is_reflected, 1 - wide, wide)
    shifted = np.zeros_like(positive)
    for _ in range(int(_DIGAMMA_START)):
        is_small = np.less(positive, _DIGAMMA_START)
        shifted = shifted - np.where(is_small, 1 / positive, 0)
        positive = positive + is_small
    series = np.polyval(_DIGAMMA, 1 / (positive * positive))
    result = shifted + np.log(positive) - 0.5 / positive - series
    # The fraction alone: the tangent of a large argument would lose its digits.
    reflection = math.pi / np.tan(math.pi * np.fmod(wide, 1))
    result = np.where(is_reflected, result - reflection, result)
    is_pole = np.logical_and(np.less_equal(wide, 0), np.equal(wide, np.floor(wide)))
    return np.where(is_pole, np.nan, result).astype(x.dtype)


def error_function(x: Array) -> Array:
    wide = x.astype(np.float64)
    size = np.abs(wide)
    outer = np.copysign(1 - _upper_tail(size), wide)
    return np.where(np.less_equal(size, _SMALL_END), _near_zero(wide), outer).astype(x.dtype)


def _near_zero(x: Array) -> Array:
    """erf(x) for |x| <= _SMALL_END."""
    return x * _ratio(_SMALL, np.minimum(x * x, _SMALL_END**2))


def _upper_tail(size: Array) -> Array:
    """erfc(x) for x > _SMALL_END."""
    clipped = np.clip(size, _SMALL_END, _LARGE_END)
    middle = _ratio(_MIDDLE, np.minimum(clipped, _MIDDLE_END))
    inverse_square = 1 / (clipped * clipped)
    large = (1 / math.sqrt(math.pi) - inverse_square * _ratio(_LARGE, inverse_square)) / clipped
    # exp(-x * x) in two factors, the first exact: the rounding of x * x would cost digits.
    coarse = np.floor(clipped * 16) / 16
    scale = np.exp(-coarse * coarse) * np.exp(-(clipped - coarse) * (clipped + coarse))
    return scale * np.where(np.less_equal(clipped, _MIDDLE_END), middle, large)


def _ratio(coefficients: tuple[Sequence[float], Sequence[float]], x: Array) -> Array:
    numerator, denominator = coefficients
    return np.divide(np.polyval(numerator, x), np.polyval(denominator, x))


def _inverse_erf(y: Array) -> Array:
    """By Halley's method, from an estimate with two correct digits (S. Winitzki, 2008)."""
    size = np.abs(y)
    logarithm = np.log1p(-size * size)
    half = 2 / (math.pi * 0.147) + logarithm / 2
    x = np.sqrt(np.sqrt(half * half - logarithm / 0.147) - half)
    for _ in range(4):
        # Where erf is near 1, its distance from 1 has the digits.
        near, far = _near_zero(x) - size, (1 - size) - _upper_tail(x)
        excess = np.where(np.less_equal(x, _SMALL_END), near, far)
        step = excess * np.exp(x * x) * (math.sqrt(math.pi) / 2)
        x = np.where(np.isfinite(x), x - step / (1 + x * step), x)
    return np.copysign(np.where(np.equal(size, 1), np.inf, x), y)


def _log_gamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or beyond what a float holds
        return math.inf
