"""Largest, distinct, counted and searched elements, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr.formats.dtypes import DataType
from tests.graph.kernels.oracle import (
    BFLOAT16,
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    compute,
    f32,
    i32,
    i64,
    name_of,
    random,
    strings,
)

WORDS = strings([b"b", b"a", b"b", b"c"])
TIED = f32([[1, 3, 3, 2], [0, 0, 0, 0]])

CASES: list[Case] = [
    *[
        (op, [random((3, 4), dtype), i32(axis)], {"output_type": out})
        for op in ("ArgMax", "ArgMin")
        for dtype in (*FLOATS, *INTS)
        for axis, out in ((0, DataType.DT_INT64), (-1, DataType.DT_INT32))
    ],
    *[(op, [TIED, i32(1)], {}) for op in ("ArgMax", "ArgMin")],
    *[("TopKV2", [random((2, 7), dtype), i32(3)], {}) for dtype in FLOATS + INTS],
    *[("TopKV2", [TIED, i32(k)], {}) for k in (0, 1, 4)],
    ("TopKV2", [f32([3, -np.inf, np.inf, -0.0]), i32(4)], {}),
    ("TopKV2", [random((2, 3, 4)), i32(2)], {}),
    ("InTopK", [TIED, i32([2, 1])], {"k": 1}),
    ("InTopKV2", [TIED, i32([3, 0]), i32(2)], {}),
    ("InTopKV2", [f32([[1, np.nan], [np.inf, 1], [2, 1]]), i64([0, 0, 7]), i64(2)], {}),
    *[
        ("Unique", [i32([3, 1, 3, 2, 1])], {"out_idx": out})
        for out in (DataType.DT_INT32, DataType.DT_INT64)
    ],
    ("Unique", [WORDS], {}),
    ("Unique", [np.array([2, 1, 2], BFLOAT16)], {}),
    ("Unique", [i32([])], {}),
    ("UniqueWithCounts", [f32([3, 1, 3, 2, 1])], {}),
    ("UniqueWithCounts", [WORDS], {}),
    ("ListDiff", [i32([1, 2, 3, 2, 4]), i32([2, 4])], {}),
    ("ListDiff", [WORDS, strings([b"b"])], {}),
    ("Bincount", [i32([1, 3, 1, 9]), i32(4), f32([])], {}),
    ("Bincount", [i32([1, 3, 1, 9]), i32(4), f32([0.5, 1, 2, 3])], {}),
    ("DenseBincount", [i32([1, 3, 1, 9]), i32(4), i32([])], {}),
    ("DenseBincount", [i64([[1, 3], [1, 1]]), i64(4), f32([[1, 2], [3, 4]])], {}),
    ("DenseBincount", [i32([[1, 3], [1, 1]]), i32(4), f32([])], {"binary_output": True}),
    *[
        (op, [f32([[1, 2, 2, 5]]), f32([[0, 2, 3, 9]])], {"out_type": out})
        for op in ("LowerBound", "UpperBound")
        for out in (DataType.DT_INT32, DataType.DT_INT64)
    ],
    ("Bucketize", [f32([-1, 0, 3.5, 10, 99])], {"boundaries": [0.0, 10.0, 100.0]}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_ordering(tf: Any, case: Case) -> None:
    check(tf, case)


def test_top_k_of_old_graphs() -> None:
    """TensorFlow no longer builds it."""
    values, indices = compute("TopK", [TIED], k=2)
    np.testing.assert_array_equal(values, [[3, 3], [0, 0]])
    np.testing.assert_array_equal(indices, i32([[1, 2], [0, 1]]))
    assert indices.dtype == np.int32


REFUSED: list[tuple[Case, str]] = [
    (("ArgMax", [TIED, i32(2)], {}), "dimension must be in [-2, 2), got 2"),
    (("ArgMax", [np.zeros((0, 2), np.float32), i32(0)], {}), "Reduction axis 0 is empty"),
    (("TopKV2", [TIED, i32(5)], {}), "input must have at least k columns, 5"),
    (("InTopKV2", [TIED, i32([0]), i32(1)], {}), "targets must have one element per row"),
    (("Unique", [TIED], {}), "x must have 1 dimensions"),
    (("Bincount", [i32([-1]), i32(4), f32([])], {}), "must be non-negative"),
    (("Bincount", [i32([1]), i32(-4), f32([])], {}), "size must be non-negative, got -4"),
    (("LowerBound", [TIED, TIED[:1]], {}), "the same number of rows"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=25)
@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=9), data=st.data())
def test_equals_come_in_order(tf: Any, values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values)))
    check(tf, ("TopKV2", [f32(values), i32(k)], {}))
    check(tf, ("UniqueWithCounts", [i32(values)], {}))
