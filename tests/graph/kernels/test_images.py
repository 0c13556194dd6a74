"""Resizing images, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.kernels.oracle import Case, both_refuse, check, i32, name_of, random

CONVENTIONS = [{}, {"align_corners": True}, {"half_pixel_centers": True}]
OPS = ("ResizeBilinear", "ResizeNearestNeighbor")

CASES: list[Case] = [
    *[(op, [random((2, 4, 5, 3)), i32([7, 3])], attrs) for op in OPS for attrs in CONVENTIONS],
    *[
        (op, [random((1, 3, 3, 2), dtype), i32([5, 1])], attrs)
        for op in OPS
        for attrs in CONVENTIONS
        for dtype in (np.uint8, np.int32, np.float16, np.float64)
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_images(tf: Any, case: Case) -> None:
    check(tf, case, tolerance=1e-5)


@pytest.mark.parametrize("op", OPS)
def test_empty_sizes(tf: Any, op: str) -> None:
    case: Case = (op, [random((1, 2, 2, 1)), i32([0, 3])], {})
    assert "size must be two positive numbers" in both_refuse(tf, case)


@settings(max_examples=25)
@given(
    op=st.sampled_from(OPS),
    old=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    attrs=st.sampled_from(CONVENTIONS),
)
def test_any_size(tf: Any, op: str, old: Any, new: Any, attrs: Any) -> None:
    check(tf, (op, [random((1, *old, 2)), i32(new)], attrs), tolerance=1e-5)
