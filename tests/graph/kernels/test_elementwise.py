"""Functions of each element, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
    COMPLEX,
    DOUBLE,
    FLOAT,
    FLOATS,
    INTS,
    Case,
    check,
    compute,
    f32,
    name_of,
    random,
)

SPECIAL = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1.0, -1.0, 3e-5, 30.0, -30.0]
NOT_FINITE = [np.inf, -np.inf, np.nan]

EVERYWHERE = (
    *("Neg", "Abs", "Sign", "Square", "Reciprocal", "Exp", "Expm1", "Sin", "Cos", "Tan", "Atan"),
    *("Sinh", "Cosh", "Tanh", "Asinh", "Ceil", "Floor", "Round", "Rint"),
)
POSITIVE = ("Sqrt", "Rsqrt", "Log", "Log1p")
UNIT = ("Asin", "Acos", "Atanh")

CASES: list[Case] = [
    *[
        (op, [np.array(SPECIAL + NOT_FINITE, dtype)], {})
        for op in EVERYWHERE
        for dtype in (FLOAT, DOUBLE)
    ],
    # TensorFlow has no Rint of narrow floats.
    *[(op, [np.array(SPECIAL, FLOATS[1])], {}) for op in EVERYWHERE[:-1]],
    *[(op, [np.array(SPECIAL[:10], FLOATS[0])], {}) for op in EVERYWHERE[:-1]],
    *[(op, [np.array([0, 0.25, 1, 2, np.inf], dtype)], {}) for op in POSITIVE for dtype in FLOATS],
    *[(op, [np.array([-1.0, -0.5, 0, 0.5, 1], dtype)], {}) for op in UNIT for dtype in FLOATS],
    *[("Acosh", [np.array([1.0, 1.5, 2, 30], dtype)], {}) for dtype in FLOATS],
    *[(op, [random((3,), dtype)], {}) for op in ("Neg", "Sign", "Square") for dtype in COMPLEX],
    *[(op, [random((3,), dtype)], {}) for op in ("Exp", "Sqrt", "Tanh") for dtype in COMPLEX],
    *[(op, [random((5,), dtype)], {}) for op in ("Neg", "Abs", "Sign") for dtype in INTS[2:4]],
    *[("Square", [random((5,), dtype)], {}) for dtype in INTS],
    ("Neg", [np.array([-128, 127], np.int8)], {}),
    ("Abs", [np.array([-(2**31)], np.int32)], {}),
    ("Inv", [f32([1, 4])], {}),
    *[(op, [f32([1, *NOT_FINITE])], {}) for op in ("IsNan", "IsInf", "IsFinite")],
    ("IsNan", [np.array(NOT_FINITE, np.float16)], {}),
    ("Complex", [f32([1, 2]), f32([[3], [4]])], {}),
    *[(op, [random((3,), np.complex64)], {}) for op in ("Real", "Imag", "Angle", "Conj")],
    ("ComplexAbs", [random((3,), np.complex128)], {"Tout": "float64"}),
    ("Exp", [f32(1.0)], {}),
    ("Exp", [np.zeros((0, 3), np.float32)], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_elementwise(tf: Any, case: Case) -> None:
    check(tf, case)


def test_integers_are_round_already() -> None:
    """TensorFlow 2.21 answers zeros."""
    np.testing.assert_array_equal(compute("Round", [np.array([1, -2])]), [1, -2])
