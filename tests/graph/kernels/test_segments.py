"""Sums and extremes of segments, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
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

DATA = random((5, 2))
IDS = i32([0, 0, 2, 2, 3])
SORTED = ("SegmentSum", "SegmentProd", "SegmentMax", "SegmentMin")
UNSORTED = ("UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin")
SPARSE = ("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")

CASES: list[Case] = [
    *[(op, [random((5, 2), d), IDS], {}) for op in SORTED for d in (*FLOATS, *INTS[2:4])],
    ("SegmentMean", [DATA, IDS], {}),
    ("SegmentSum", [np.zeros((0, 2), np.float32), i32([])], {}),
    *[
        (op, [random((5, 2), d), i32([3, 0, -1, 3, 0]), i32(5)], {})
        for op in UNSORTED
        for d in (*FLOATS[2:], *INTS[2:4])
    ],
    *[(op, [random((2, 3, 2)), i64([[0, 1, 1], [1, 0, 1]]), i32(2)], {}) for op in UNSORTED],
    *[(op, [DATA, i32([4, 0, 0, 1, 2]), IDS], {}) for op in SPARSE],
    *[
        (f"{op}WithNumSegments", [DATA, i64([4, 0, 0]), i32([0, 2, 2]), i32(5)], {})
        for op in SPARSE
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_segments(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("SegmentSum", [DATA, i32([0, 1])], {}), "same size as dimension 0"),
    (("SegmentSum", [DATA, i32([0, 2, 1, 3, 3])], {}), "segment ids are not increasing"),
    (("UnsortedSegmentSum", [DATA, IDS, i32(3)], {}), "segment_ids must be below num_segments, 3"),
    (("UnsortedSegmentSum", [DATA, IDS[:2], i32(3)], {}), "does not start with segment_ids.shape"),
    (("SparseSegmentSum", [DATA, i32([7]), i32([0])], {}), "indices[0] = 7 is not in [0, 5)"),
    (
        ("SparseSegmentSumWithNumSegments", [DATA, i32([0]), i32([3]), i32(2)], {}),
        "segment ids must be < num_segments, 2",
    ),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_bfloat16_sums(tf: Any) -> None:
    check(
        tf, ("UnsortedSegmentSum", [f32([1, 2, 3]).astype(FLOATS[1]), i32([0, 1, 0]), i32(2)], {})
    )
