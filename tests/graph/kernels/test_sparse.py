"""Sparse tensors, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptmgr.graph.kernels.sparse  # noqa: F401 - registers what is tested
from tests.graph.kernels.oracle import Case, both_refuse, check, f32, i32, i64, name_of, strings

PLACES = i64([[0, 1], [1, 0], [1, 2]])

CASES: list[Case] = [
    ("SparseToDense", [PLACES, i64([2, 3]), f32([1, 2, 3]), f32(-1)], {}),
    ("SparseToDense", [PLACES, i64([2, 3]), f32(5), f32(0)], {}),
    ("SparseToDense", [i32([1, 3]), i32([4]), strings([b"a", b"b"]), strings(b"")], {}),
    ("SparseToDense", [i32(2), i32([4]), f32(1), f32(0)], {}),
    ("SparseToDense", [np.zeros((0, 2), np.int64), i64([2, 2]), f32([]), f32(7)], {}),
    (
        "SparseToDense",
        [i64([[1, 0], [0, 1]]), i64([2, 2]), f32([1, 2]), f32(0)],
        {"validate_indices": False},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_sparse(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("SparseToDense", [PLACES, i64([2]), f32([1, 2, 3]), f32(0)], {}), "do not fit output_shape"),
    (("SparseToDense", [PLACES, i64([2, 3]), f32([1]), f32(0)], {}), "has incorrect shape [1]"),
    (("SparseToDense", [PLACES, i64([2, 3]), f32(1), f32([0])], {}), "should be a scalar"),
    (("SparseToDense", [PLACES, i64([2, 2]), f32(1), f32(0)], {}), "is not in [0, 2)"),
    (("SparseToDense", [i32([2, 1]), i32([4]), f32(1), f32(0)], {}), "is out of order"),
    (("SparseToDense", [i32([1, 1]), i32([4]), f32(1), f32(0)], {}), "is repeated"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)
