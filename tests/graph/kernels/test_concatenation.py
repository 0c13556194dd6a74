"""Joining tensors and taking them apart, against TensorFlow."""

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
    i32,
    i64,
    name_of,
    random,
    strings,
)

A, B = random((2, 3, 4)), random((2, 1, 4), seed=1)

CASES: list[Case] = [
    ("Concat", [i32(1), [A, B]], {}),
    *[("ConcatV2", [[A, B], i32(axis)], {}) for axis in (1, -2)],
    ("ConcatV2", [[A.astype(BFLOAT16), B.astype(BFLOAT16)], i64(1)], {}),
    ("ConcatV2", [[strings([b"a"]), strings([b"b", b"c"])], i32(0)], {}),
    ("ConcatV2", [[A, np.zeros((2, 0, 4), np.float32)], i32(1)], {}),
    ("ConcatOffset", [i32(1), [i32([2, 3, 4]), i32([2, 1, 4]), i32([2, 5, 4])]], {}),
    *[("Split", [i32(axis), A], {"num_split": 2}) for axis in (0, -1)],
    ("Split", [i32(0), A], {"num_split": 1}),
    ("SplitV", [A, i32([1, 2]), i32(1)], {"num_split": 2}),
    ("SplitV", [A, i64([1, -1, 0]), i32(-1)], {"num_split": 3}),
    *[("Pack", [[A, A + 1, A + 2]], {"axis": axis}) for axis in (0, 1, -1, 3)],
    ("Pack", [[f32(1), f32(2)]], {}),
    ("Pack", [[strings(b"a"), strings(b"b")]], {}),
    *[("Unpack", [A], {"num": num, "axis": axis}) for num, axis in ((2, 0), (4, -1), (3, 1))],
    ("Unpack", [f32([1, 2])], {"num": 2}),
    ("Unpack", [strings([b"a", b"b"])], {"num": 2}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_concatenation(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("ConcatV2", [[A, B], i32(0)], {}), "should match but for dimension 0"),
    (("ConcatV2", [[A, B[0]], i32(1)], {}), "should match but for dimension 1"),
    (("ConcatV2", [[A, B], i32(3)], {}), "axis must be in [-3, 3), got 3"),
    (("Split", [i32(1), A], {"num_split": 2}), "evenly divide the split dimension"),
    (("SplitV", [A, i32([1, 1]), i32(1)], {"num_split": 2}), "size_splits must sum up to 3"),
    (("SplitV", [A, i32([-1, -1]), i32(1)], {"num_split": 2}), "with at most one -1"),
    (("Pack", [[A, B]], {}), "Shapes of all inputs must match"),
    (("Unpack", [A], {"num": 3}), "Input shape axis 0 must equal 3"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)
