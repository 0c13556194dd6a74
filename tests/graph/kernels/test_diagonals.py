"""Diagonals and bands, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.kernels.oracle import (
    Case,
    both_refuse,
    check,
    f32,
    i32,
    i64,
    name_of,
    random,
)

MATRICES = random((2, 4, 5))
ALIGNS = ("LEFT_LEFT", "LEFT_RIGHT", "RIGHT_LEFT", "RIGHT_RIGHT")

CASES: list[Case] = [
    ("Diag", [random((3,))], {}),
    ("Diag", [random((2, 3))], {}),
    ("DiagPart", [random((3, 3))], {}),
    ("DiagPart", [random((2, 3, 2, 3))], {}),
    *[("MatrixBandPart", [MATRICES, i64(n), i64(m)], {}) for n in (-1, 0, 2) for m in (-1, 0, 1)],
    ("MatrixBandPart", [MATRICES > 0, i32(0), i32(-1)], {}),
    ("MatrixDiag", [random((2, 3))], {}),
    ("MatrixDiagPart", [MATRICES], {}),
    ("MatrixSetDiag", [MATRICES, random((2, 4), seed=1)], {}),
    ("MatrixDiagV2", [random((2, 2, 3)), i32([-1, 0]), i32(-1), i32(-1), f32(9)], {}),
    ("MatrixDiagPartV2", [MATRICES, i32([-1, 2]), f32(9)], {}),
    ("MatrixSetDiagV2", [MATRICES, random((2, 2, 4), seed=1), i32([-1, 0])], {}),
    ("MatrixDiagV3", [random((2, 3)), i32(1), i32(-1), i32(-1), f32(9)], {}),
    ("MatrixDiagV3", [random((2, 3)), i32(-1), i32(6), i32(-1), f32(9)], {}),
    ("MatrixDiagPartV3", [MATRICES, i32(-2), f32(9)], {}),
    ("MatrixSetDiagV3", [MATRICES, random((2, 3), seed=1), i32(-1)], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_diagonals(tf: Any, case: Case) -> None:
    check(tf, case)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    align=st.sampled_from(ALIGNS),
    data=st.data(),
)
def test_any_band(tf: Any, rows: int, columns: int, align: str, data: st.DataObject) -> None:
    low = data.draw(st.integers(1 - rows, columns - 1))
    high = data.draw(st.integers(low, columns - 1))
    k, attrs = i32([low, high]), {"align": align}
    matrices = random((2, rows, columns))
    check(tf, ("MatrixDiagPartV3", [matrices, k, f32(9)], attrs))
    count, longest = high - low + 1, min(rows + min(high, 0), columns - max(low, 0))
    shape = (2, count, longest) if count > 1 else (2, longest)
    diagonals = random(shape, seed=1)
    check(tf, ("MatrixSetDiagV3", [matrices, diagonals, k], attrs))
    check(tf, ("MatrixDiagV3", [diagonals, k, i32(rows), i32(columns), f32(9)], attrs))


REFUSED: list[tuple[Case, str]] = [
    (("DiagPart", [random((2, 3))], {}), "the same dimensions twice"),
    (("MatrixBandPart", [MATRICES, i32(5), i32(0)], {}), "num_lower must be negative or at most 4"),
    (("MatrixSetDiag", [MATRICES, random((2, 5))], {}), "have shape [2, 1, 4]"),
    (("MatrixDiagPartV3", [MATRICES, i32(5), f32(0)], {}), "k must be a band within matrices"),
    (("MatrixDiagPartV3", [MATRICES, i32([1, 0]), f32(0)], {}), "the lowest and the highest"),
    (
        ("MatrixDiagV3", [random((3,)), i32(0), i32(2), i32(-1), f32(0)], {}),
        "do not fit a matrix of 2 rows",
    ),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_inputs_are_left_alone(tf: Any) -> None:
    before = MATRICES.copy()
    check(tf, ("MatrixSetDiag", [MATRICES, random((2, 4), seed=1)], {}))
    np.testing.assert_array_equal(MATRICES, before)
