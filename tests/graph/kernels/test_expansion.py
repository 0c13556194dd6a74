"""Tensors repeated and padded, against TensorFlow."""

from __future__ import annotations

from typing import Any

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

VALUE = random((2, 3))
WORDS = strings([b"a", b"b"])

CASES: list[Case] = [
    *[("Tile", [VALUE, multiples([2, 3])], {}) for multiples in (i32, i64)],
    ("Tile", [VALUE, i32([0, 1])], {}),
    ("Tile", [WORDS, i32([2])], {}),
    ("Tile", [f32(1), i32([])], {}),
    *[("BroadcastTo", [VALUE, shape([4, 2, 3])], {}) for shape in (i32, i64)],
    ("BroadcastTo", [f32([[1], [2]]), i32([2, 0])], {}),
    *[("Pad", [VALUE, paddings([[1, 0], [2, 3]])], {}) for paddings in (i32, i64)],
    ("Pad", [VALUE.astype(BFLOAT16), i32([[1, 0], [2, 3]])], {}),
    ("PadV2", [VALUE, i32([[1, 0], [2, 3]]), f32(7)], {}),
    ("PadV2", [WORDS, i32([[1, 1]]), strings(b"x")], {}),
    ("MirrorPad", [VALUE, i32([[1, 0], [2, 1]])], {"mode": "REFLECT"}),
    ("MirrorPad", [VALUE, i32([[2, 0], [3, 1]])], {"mode": "SYMMETRIC"}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_expansion(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Tile", [VALUE, i32([2])], {}), "vector of length 2 but got length 1"),
    (("Tile", [VALUE, i32([2, -1])], {}), "multiples must not be negative"),
    (("BroadcastTo", [VALUE, i32([2, 4])], {}), "[2, 3] does not broadcast to [2, 4]"),
    (("Pad", [VALUE, i32([[1, 0]])], {}), "paddings must be a matrix of 2 rows"),
    (("Pad", [VALUE, i32([[1, 0], [0, -1]])], {}), "Paddings must be non-negative"),
    (
        ("MirrorPad", [VALUE, i32([[2, 0], [0, 0]])], {"mode": "REFLECT"}),
        "no greater than 1 for dimension 0",
    ),
    (
        ("MirrorPad", [VALUE, i32([[3, 0], [0, 0]])], {"mode": "SYMMETRIC"}),
        "no greater than 2 for dimension 0",
    ),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)
