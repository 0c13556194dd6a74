"""Blocks of space, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import Case, both_refuse, check, compute, i32, i64, name_of, random

IMAGES = random((2, 4, 6, 8))
NONE = [[0, 0], [0, 0]]

CASES: list[Case] = [
    ("SpaceToBatchND", [IMAGES, i32([2, 3]), i32(NONE)], {}),
    ("SpaceToBatchND", [IMAGES, i64([3, 2]), i64([[1, 1], [2, 0]])], {}),
    ("SpaceToBatchND", [random((1, 6)), i32([3]), i32([[0, 0]])], {}),
    ("SpaceToBatchND", [IMAGES, i32([2, 1, 2]), i32([[0, 0], [0, 1], [1, 1]])], {}),
    ("BatchToSpaceND", [random((12, 2, 3, 2)), i32([2, 3]), i32(NONE)], {}),
    ("BatchToSpaceND", [random((6, 2, 3, 2)), i32([3, 2]), i32([[1, 2], [0, 3]])], {}),
    ("BatchToSpaceND", [random((6, 2)), i32([3]), i32([[1, 0]])], {}),
    ("SpaceToBatch", [IMAGES, i32([[0, 0], [1, 1]])], {"block_size": 2}),
    ("BatchToSpace", [random((8, 2, 3, 2)), i32([[0, 1], [1, 0]])], {"block_size": 2}),
    *[(op, [IMAGES], {"block_size": 2}) for op in ("SpaceToDepth", "DepthToSpace")],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_blocks(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("SpaceToBatchND", [IMAGES, i32([3, 3]), i32(NONE)], {}), "must be divisible by block_shape"),
    (("BatchToSpaceND", [IMAGES, i32([2, 2]), i32(NONE)], {}), "batch of 2 must be divisible"),
    (("BatchToSpaceND", [IMAGES, i32([2]), i32([[9, 0]])], {}), "exceed the size 8"),
    (("SpaceToBatchND", [IMAGES, i32([0, 1]), i32(NONE)], {}), "positive numbers"),
    (("SpaceToDepth", [IMAGES], {"block_size": 3}), "must be divisible by block_size 3"),
    (("DepthToSpace", [IMAGES], {"block_size": 3}), "the square of block_size 3"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@pytest.mark.parametrize("op", ["SpaceToDepth", "DepthToSpace"])
def test_channels_first_is_a_transposition(op: str) -> None:
    wanted = compute(op, [IMAGES], block_size=2, data_format=b"NHWC")
    found = compute(op, [IMAGES.transpose(0, 3, 1, 2)], block_size=2, data_format=b"NCHW")
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), wanted)
