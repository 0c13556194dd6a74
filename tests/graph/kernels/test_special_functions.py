"""The error function and its kin, against TensorFlow and the C library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import FLOATS, Case, check, compute, f32, name_of

# Without infinity, whose erf TensorFlow takes for NaN in float64.
NEAR = [0.0, -0.0, 0.1, 0.46875, 0.5, -0.5, 1.0, -1.0, 3.9, 4.0, 4.1, -4.1, 30.0, -30.0, np.nan]
UNIT = [-1.0, -0.999, -0.5, -1e-3, 0.0, 1e-6, 0.3, 0.9, 0.9999, 1.0]

CASES: list[Case] = [
    *[(op, [np.array(NEAR, dtype)], {}) for op in ("Erf", "Erfc") for dtype in FLOATS],
    *[("Erfinv", [np.array(UNIT, dtype)], {}) for dtype in (np.float32, np.float64)],
    *[("Ndtri", [np.array([0.001, 0.3, 0.5, 0.9], dtype)], {}) for dtype in FLOATS[2:]],
    *[
        ("Lgamma", [np.array([0.1, 1, 2, 3.5, 100, -0.5, -1.5], dtype)], {})
        for dtype in (np.float32, np.float64)
    ],
    ("Lgamma", [f32([[0.0, np.inf, np.nan]])], {}),
    *[
        ("Digamma", [np.array([0.1, 0.4, 1, 2, 3.5, 100, -0.5, -1.25], dtype)], {})
        for dtype in (np.float32, np.float64)
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_special_functions(tf: Any, case: Case) -> None:
    check(tf, case, tolerance=1e-5 if case[0] in ("Erfinv", "Ndtri") else 0)


@pytest.mark.parametrize(("op", "function"), [("Erf", math.erf), ("Erfc", math.erfc)])
def test_error_functions_hold_every_digit(op: str, function: Any) -> None:
    edges = [1e-300, 1e-10, 27.5, np.inf, -np.inf]
    x = np.concatenate([np.linspace(-6, 6, 4001), np.linspace(6, 26, 101), edges])
    wanted = np.array([function(value) for value in x])
    np.testing.assert_allclose(compute(op, [x]), wanted, rtol=2e-15, atol=1e-307)


def test_inverse_error_function_inverts() -> None:
    y = np.concatenate([np.linspace(-0.9999, 0.9999, 501), [1e-12, 1 - 1e-12]])
    x = compute("Erfinv", [y])
    np.testing.assert_allclose([math.erf(value) for value in x], y, rtol=1e-14, atol=0)
