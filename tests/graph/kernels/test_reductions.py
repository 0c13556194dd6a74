"""Sums, means, extremes and running sums, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.kernels.oracle import (
    COMPLEX,
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    f32,
    i32,
    i64,
    name_of,
    random,
)

SHAPE = (2, 3, 4)
REDUCTIONS = ("Sum", "Mean", "Prod", "Max", "Min")

CASES: list[Case] = [
    *[(op, [random(SHAPE, d), i32([0, 2])], {}) for op in REDUCTIONS for d in FLOATS + INTS],
    *[(op, [random(SHAPE, d), i32([-1])], {}) for op in REDUCTIONS[:3] for d in COMPLEX],
    *[(op, [random(SHAPE), i32(1)], {"keep_dims": True}) for op in REDUCTIONS],
    *[(op, [random(SHAPE), i64([0, 1, 2])], {}) for op in REDUCTIONS],
    *[(op, [random(SHAPE), i32([])], {}) for op in REDUCTIONS],
    *[(op, [np.zeros((0, 3), np.float32), i32([0])], {}) for op in REDUCTIONS],
    *[(op, [np.zeros((0, 3), np.int32), i32([0])], {}) for op in ("Sum", "Prod", "Max", "Min")],
    *[(op, [f32([[1, np.nan], [np.inf, 2]]), i32([1])], {}) for op in REDUCTIONS],
    ("Sum", [np.array([127, 1], np.int8), i32([0])], {}),
    ("Mean", [i32([-1, -2, 0, 0]), i32([0])], {}),
    *[
        (op, [random(SHAPE, np.bool_), i32([1])], {"keep_dims": keeps})
        for op in ("All", "Any")
        for keeps in (True, False)
    ],
    *[(op, [np.zeros((0,), np.bool_), i32([0])], {}) for op in ("All", "Any")],
    *[("EuclideanNorm", [random(SHAPE, d), i32([1, 2])], {}) for d in (*FLOATS, *COMPLEX)],
    *[("L2Loss", [random(SHAPE, d)], {}) for d in FLOATS],
    *[
        (op, [random(SHAPE, d), i32(-2)], {"exclusive": exclusive, "reverse": reverse})
        for op in ("Cumsum", "Cumprod")
        for d in (np.float32, np.int32, np.complex64, np.float16)
        for exclusive in (False, True)
        for reverse in (False, True)
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_reductions(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Sum", [random(SHAPE), i32([3])], {}), "reduction dimension must be in [-3, 3), got 3"),
    (("Max", [random(SHAPE), i32([0, -3])], {}), "must name each dimension once"),
    (("Cumsum", [random(SHAPE), i32(3)], {}), "axis must be in [-3, 3), got 3"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=25)
@given(
    op=st.sampled_from(REDUCTIONS),
    shape=st.lists(st.integers(1, 3), max_size=4),
    keeps=st.booleans(),
    data=st.data(),
)
def test_any_axes(tf: Any, op: str, shape: list[int], keeps: bool, data: st.DataObject) -> None:
    axes = (
        data.draw(st.lists(st.integers(0, 3).filter(lambda axis: axis < len(shape)), unique=True))
        if shape
        else []
    )
    check(tf, (op, [random(shape), i32(axes)], {"keep_dims": keeps}))
