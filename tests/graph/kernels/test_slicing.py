"""Parts of tensors, and elements in another order, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr import errors
from tests.graph.kernels.oracle import (
    Case,
    assert_equal,
    both_refuse,
    check,
    compute,
    f32,
    i32,
    i64,
    name_of,
    random,
    run_tensorflow,
    strings,
)

VALUE = random((4, 3, 5))
WORDS = strings([b"a", b"b", b"c"])
MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def bounds(begin: list[int], end: list[int], strides: list[int]) -> list[Any]:
    return [i32(begin), i32(end), i32(strides)]


CASES: list[Case] = [
    ("Slice", [VALUE, i32([1, 0, 2]), i32([2, -1, 1])], {}),
    ("Slice", [VALUE, i64([4, 0, 0]), i64([0, 3, 5])], {}),
    ("Slice", [WORDS, i32([1]), i32([2])], {}),
    ("Slice", [f32(1), i32([]), i32([])], {}),
    ("StridedSlice", [VALUE, *bounds([1], [2], [1])], {"shrink_axis_mask": 1}),
    ("StridedSlice", [WORDS, *bounds([-1], [0], [1])], {"shrink_axis_mask": 1}),
    ("StridedSlice", [f32([1, 2]), *bounds([1], [2], [1])], {"shrink_axis_mask": 1}),
    ("StridedSlice", [VALUE, *bounds([3, 2], [0, -9], [-2, -1])], {}),
    (
        "StridedSlice",
        [VALUE, *bounds([0, 0, 1], [0, 0, 3], [1, 1, 1])],
        {"ellipsis_mask": 1, "new_axis_mask": 2},
    ),
    *[
        (
            "TensorStridedSliceUpdate",
            [VALUE, *bounds([1, 0], [3, 0], [1, 1]), random(shape, seed=1)],
            {"end_mask": 2},
        )
        for shape in ((2, 3, 5), (1, 1), ())
    ],
    *[("ReverseV2", [VALUE, i32(axes)], {}) for axes in ([], [0, -1], [1])],
    ("Reverse", [VALUE, np.array([True, False, True])], {}),
    ("ReverseSequence", [VALUE, i32([0, 2, 3, 1])], {"seq_dim": 1}),
    ("ReverseSequence", [VALUE, i64([0, 2, 4])], {"seq_dim": 0, "batch_dim": 1}),
    ("Roll", [VALUE, i32(7), i32(1)], {}),
    ("Roll", [VALUE, i32([1, -2, 1]), i32([0, 2, -3])], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_slicing(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Slice", [VALUE, i32([1]), i32([1])], {}), "begin and size must have 3 elements"),
    (("Slice", [VALUE, i32([3, 0, 0]), i32([2, 1, 1])], {}), "within its size 4, got begin 3"),
    (("StridedSlice", [VALUE, *bounds([0], [1], [0])], {}), "strides[0] must be non-zero"),
    (
        ("StridedSlice", [VALUE, *bounds([4], [5], [1])], {"shrink_axis_mask": 1}),
        "slice index 4 of dimension 0 out of bounds",
    ),
    (
        ("StridedSlice", [VALUE, *bounds([1], [0], [-1])], {"shrink_axis_mask": 1}),
        "only stride 1 allowed",
    ),
    (
        ("StridedSlice", [VALUE, *bounds([0] * 4, [1] * 4, [1] * 4)], {}),
        "input has only 3 dims",
    ),
    (
        ("StridedSlice", [VALUE, *bounds([0, 0], [1, 1], [1, 1])], {"ellipsis_mask": 3}),
        "Multiple ellipses",
    ),
    (("StridedSlice", [VALUE, i32([0]), i32([1, 2]), i32([1])], {}), "must have the same size"),
    (("ReverseV2", [VALUE, i32([3])], {}), "axis must be in [-3, 3), got 3"),
    (("ReverseSequence", [VALUE, i32([0, 2, 4, 1])], {"seq_dim": 1}), "must be in [0, 3]"),
    (("Roll", [VALUE, i32([1]), i32([3])], {}), "axis must be in [-3, 3), got 3"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=100)
@given(
    rank=st.integers(1, 3),
    entries=st.lists(
        st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([1, 2, -1, -2])),
        max_size=4,
    ),
    masks=st.tuples(
        *[st.integers(0, 15)] * 2, st.sampled_from([0, 0, 1, 2, 4]), *[st.integers(0, 15)] * 2
    ),
)
def test_any_strided_slice(tf: Any, rank: int, entries: Any, masks: Any) -> None:
    columns = [i32([entry[place] for entry in entries]) for place in range(3)]
    value = random((4, 3, 5)[:rank])
    attrs = dict(zip(MASKS, masks, strict=True))
    case: Case = ("StridedSlice", [value, *columns], attrs)
    try:
        wanted, complete = run_tensorflow(tf, *case)
    except (tf.errors.OpError, ValueError):
        with pytest.raises(errors.InvalidArgument):
            compute("StridedSlice", [value, *columns], **attrs)
    else:
        assert_equal([compute("StridedSlice", [value, *columns], **complete)], wanted)
