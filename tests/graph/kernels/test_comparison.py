"""Comparisons, logic and bits, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
    BFLOAT16,
    INTS,
    Case,
    both_refuse,
    check,
    f32,
    i32,
    name_of,
    random,
    strings,
)

VALUES = [1.0, 2.0, np.nan, np.inf, -np.inf, 0.0, -0.0]
ORDERS = ("Less", "LessEqual", "Greater", "GreaterEqual")
TRUTHS = [random((2, 1, 3), np.bool_), random((4, 1), np.bool_, seed=1)]

CASES: list[Case] = [
    *[
        (op, [np.array(VALUES, dtype)[:, None], np.array(VALUES, dtype)], {})
        for op in (*ORDERS, "Equal", "NotEqual")
        for dtype in (np.float16, BFLOAT16, np.float32, np.float64)
    ],
    *[(op, [random((3, 1), d), random((4,), d, 1)], {}) for op in ORDERS for d in INTS],
    *[(op, [strings([b"a", b"b"]), strings(b"a")], {}) for op in ("Equal", "NotEqual")],
    *[(op, [strings(b"a"), strings(b"a")], {}) for op in ("Equal", "NotEqual")],
    *[
        (op, [f32([1, 2]), f32([1, 2, 3])], {"incompatible_shape_error": False})
        for op in ("Equal", "NotEqual")
    ],
    ("Equal", [f32([1, 2]), f32([[1], [2]])], {"incompatible_shape_error": False}),
    ("Equal", [np.array([1 + 2j], np.complex64), np.array([1 + 2j, 1], np.complex64)], {}),
    ("ApproximateEqual", [f32([1, 2]), f32([1.000001, 2.1])], {}),
    ("ApproximateEqual", [f32([1, 2]), f32([1.05, 2.2])], {"tolerance": 0.1}),
    ("LogicalAnd", TRUTHS, {}),
    ("LogicalOr", TRUTHS, {}),
    ("LogicalNot", [TRUTHS[0]], {}),
    *[
        (op, [random((3, 1), d), random((4,), d, 1)], {})
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
        for d in INTS
    ],
    *[("Invert", [random((5,), dtype)], {}) for dtype in INTS],
    *[("PopulationCount", [random((5,), dtype)], {}) for dtype in INTS],
    *[
        (op, [np.array([-100, 100, -1, 1], np.int8), np.array([1, 2, 3, 0], np.int8)], {})
        for op in ("LeftShift", "RightShift")
    ],
    *[(op, [i32([-5, 5, 5]), i32([40, 40, -1])], {}) for op in ("LeftShift", "RightShift")],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_comparison(tf: Any, case: Case) -> None:
    check(tf, case)


def test_shapes_that_do_not_broadcast(tf: Any) -> None:
    message = both_refuse(tf, ("Equal", [f32([1, 2]), f32([1, 2, 3])], {}))
    assert "inputs of shapes [2], [3] do not fit together" in message
