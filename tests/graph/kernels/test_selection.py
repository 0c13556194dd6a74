"""Elements by a condition, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
    BFLOAT16,
    Case,
    both_refuse,
    check,
    f32,
    name_of,
    random,
    strings,
)

A, B = random((2, 3)), random((2, 3), seed=1)
MASK = np.array([[True, False, True], [False, False, True]])

CASES: list[Case] = [
    *[("Where", [value], {}) for value in (MASK, np.zeros((2, 0), np.bool_))],
    *[("Where", [MASK.astype(dtype)], {}) for dtype in (np.float32, np.int64, np.complex64)],
    ("Select", [MASK, A, B], {}),
    ("Select", [np.array([True, False]), A, B], {}),
    ("Select", [np.array(False), A, B], {}),
    ("Select", [MASK, A.astype(BFLOAT16), B.astype(BFLOAT16)], {}),
    ("SelectV2", [MASK, A, f32(0)], {}),
    ("SelectV2", [np.array(True), A, B], {}),
    ("SelectV2", [np.array([[True], [False]]), f32([1, 2, 3]), f32(0)], {}),
    ("SelectV2", [np.array([True, False]), strings([b"a", b"b"]), strings(b"z")], {}),
    ("SelectV2", [np.array(True), strings(b"a"), strings(b"z")], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_selection(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Select", [MASK, A, B[:1]], {}), "the two branches must have the same shape"),
    (("Select", [MASK[0], A, B], {}), "the condition must be a scalar"),
    (("SelectV2", [MASK, A, f32([1, 2])], {}), "must be broadcastable"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)
