"""Arithmetic on two tensors, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.graph.kernels.oracle import (
    COMPLEX,
    DOUBLE,
    FLOAT,
    FLOATS,
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

SPECIAL = [0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 7.0]


def pairs(dtype: Any) -> list[Any]:
    """Two operands that broadcast; of integers the second is not 0, but wraps."""
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return [
            np.array([[low, high, 7, 3, high]] * 2, dtype),
            np.array([1, 2, 3, low or high, high], dtype),
        ]
    return [random((2, 1, 4), dtype), random((3, 1), dtype, seed=1)]


def special(dtype: Any) -> list[Any]:
    values = np.array(SPECIAL, dtype)
    return [values[:, None], values]


NUMBERS = FLOATS + INTS
CASES: list[Case] = [
    *[(op, pairs(dtype), {}) for op in ("AddV2", "Sub", "Mul") for dtype in NUMBERS + COMPLEX],
    *[
        (op, pairs(dtype), {})
        for op in ("FloorDiv", "FloorMod", "Maximum", "Minimum")
        for dtype in NUMBERS
    ],
    *[
        (op, special(FLOAT), {})
        for op in ("AddV2", "Mul", "RealDiv", "DivNoNan", "MulNoNan", "FloorDiv", "Pow")
    ],
    *[(op, special(DOUBLE), {}) for op in ("Maximum", "Minimum", "Xdivy", "Xlogy", "Atan2")],
    *[("RealDiv", pairs(dtype), {}) for dtype in FLOATS + COMPLEX],
    *[("Div", pairs(dtype), {}) for dtype in (*FLOATS, *INTS[:4])],
    *[("TruncateDiv", pairs(dtype), {}) for dtype in INTS],
    *[("Mod", pairs(dtype), {}) for dtype in (FLOAT, DOUBLE, INTS[2], INTS[3])],
    *[("DivNoNan", pairs(dtype), {}) for dtype in FLOATS],
    *[("SquaredDifference", pairs(dtype), {}) for dtype in (*FLOATS, *COMPLEX, INTS[2])],
    ("TruncateMod", [i32([7, -7, 7, -7]), i32([3, 3, -3, -3])], {}),
    ("Mod", [f32([7, -7, 7, -7, 5]), f32([3, 3, -3, -3, np.inf])], {}),
    ("FloorMod", [f32([7, -7, 7, -7, 5, -5]), f32([3, 3, -3, -3, np.inf, np.inf])], {}),
    ("Pow", [i32([2, -3, 0, 50]), i32([10, 3, 0, 50])], {}),
    ("Xlog1py", [f32([0, 1, 2]), f32([-1, 3, 4])], {}),
    ("NextAfter", [f32([0, 1, 2]), f32([1, 3, -4])], {}),
    ("Add", [strings([b"a", b"b"]), strings(b"\xff")], {}),
    ("Add", [strings(b"a"), strings(b"b")], {}),
    ("Add", [f32([1, 2]), f32([[3], [4]])], {}),
    ("AddN", [[f32([1, 2]), f32([3, 4]), f32([5, 6])]], {}),
    ("AddN", [[random((3,), np.float16, seed) for seed in range(3)]], {}),
    ("AccumulateNV2", [[f32([1, 2]), f32([3, 4])]], {"shape": [2]}),
    ("ClipByValue", [random((3, 4)), f32(-0.5), f32(0.5)], {}),
    ("ClipByValue", [i32([1, 5, 9]), i32([2, 2, 2]), i32([6, 6, 6])], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_arithmetic(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("FloorDiv", [i32([1]), i32([0])], {}), "Integer division by zero"),
    (("FloorMod", [i32([1]), i32([0])], {}), "Integer division by zero"),
    (("TruncateDiv", [i32([1]), i32([0])], {}), "Integer division by zero"),
    (("Mod", [i32([1]), i32([0])], {}), "Integer division by zero"),
    (("Pow", [i32([2]), i32([-1])], {}), "Integers to negative integer powers"),
    (("AddV2", [f32([1, 2, 3]), f32([1, 2])], {}), "inputs of shapes [3], [2]"),
    (("ClipByValue", [f32([1]), f32([1, 2]), f32([3, 4])], {}), "bounds must be scalars"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=25)
@given(shapes=arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_broadcasting(tf: Any, shapes: arrays.BroadcastableShapes) -> None:
    first, second = (random(shape, seed=n) for n, shape in enumerate(shapes.input_shapes))
    check(tf, ("Sub", [first, second], {}))


@settings(max_examples=25)
@given(
    dtype=st.sampled_from(INTS),
    op=st.sampled_from(["FloorDiv", "FloorMod", "TruncateDiv"]),
    data=st.data(),
)
def test_integer_division(tf: Any, dtype: Any, op: str, data: st.DataObject) -> None:
    x = data.draw(arrays.arrays(dtype, 4))
    y = data.draw(arrays.arrays(dtype, 4).filter(np.all))
    if dtype.kind == "i":
        # The one quotient that no integer holds stops the process in C.
        y = np.where((y == -1) & (x == np.iinfo(dtype).min), dtype.type(1), y)
    check(tf, (op, [x, y], {}))
