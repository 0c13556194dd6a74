"""Rows and elements by index, read and written, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.kernels.oracle import (
    FLOATS,
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

PARAMS = random((4, 3, 5))
WORDS = strings([b"a", b"b", b"c"])
SCATTERS = ("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin")
UPDATES = random((3, 3, 5), seed=1)

CASES: list[Case] = [
    ("Gather", [PARAMS, i32([[0, 3], [1, 1]])], {}),
    *[("GatherV2", [PARAMS, i64([2, 0]), i32(axis)], {}) for axis in (0, 1, -1)],
    ("GatherV2", [PARAMS, i32(2), i32(0)], {}),
    ("GatherV2", [WORDS, i32(2), i32(0)], {}),
    ("GatherV2", [PARAMS, i32([]), i32(1)], {}),
    ("GatherV2", [PARAMS, i32([[0], [1], [2], [0]]), i32(1)], {"batch_dims": 1}),
    ("GatherV2", [PARAMS, i32([[0, 4], [1, 1], [2, 0], [0, 0]]), i32(2)], {"batch_dims": -1}),
    ("GatherV2", [PARAMS, np.ones((4, 3, 2), np.int32), i32(-1)], {"batch_dims": 2}),
    ("GatherNd", [PARAMS, i32([[0, 1], [3, 2]])], {}),
    ("GatherNd", [PARAMS, i64([[[0, 1, 2]], [[3, 2, 4]]])], {}),
    ("GatherNd", [PARAMS, i32([1])], {}),
    ("GatherNd", [PARAMS, np.zeros((2, 0), np.int32)], {}),
    ("GatherNd", [WORDS, i32([[2], [0]])], {}),
    ("GatherNd", [f32([1, 2]), i32([[1], [7]])], {"bad_indices_policy": "IGNORE"}),
    *[("ScatterNd", [i32([[1], [3], [1]]), UPDATES.astype(d), i32([4, 3, 5])], {}) for d in FLOATS],
    ("ScatterNd", [i64([[0, 1], [2, 2]]), i64([5, 6]), i64([3, 3])], {}),
    ("ScatterNd", [i32([[1], [9]]), f32([5, 6]), i32([3])], {"bad_indices_policy": "IGNORE"}),
    ("ScatterNd", [i32([[1], [2]]), np.array([True, False]), i32([3])], {}),
    ("TensorScatterUpdate", [PARAMS, i32([[1], [3], [0]]), UPDATES], {}),
    ("TensorScatterUpdate", [WORDS, i32([[1]]), strings([b"z"])], {}),
    *[(op, [PARAMS, i32([[1], [3], [1]]), UPDATES], {}) for op in SCATTERS],
    ("ScatterNdNonAliasingAdd", [PARAMS, i32([[1], [3], [1]]), UPDATES], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_gathering(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Gather", [PARAMS, i32([0, 4])], {}), "indices[1] = 4 is not in [0, 4)"),
    (("GatherV2", [PARAMS, i32([[0], [-1]]), i32(1)], {}), "indices[1, 0] = -1 is not in [0, 3)"),
    (("GatherV2", [PARAMS, i32([0]), i32(3)], {}), "axis must be in [-3, 3), got 3"),
    (("GatherV2", [PARAMS, i32([[0]]), i32(1)], {"batch_dims": 1}), "the first dimensions agree"),
    (("GatherNd", [PARAMS, i32([[0, 3]])], {}), "indices[0] = [0, 3] does not index into shape"),
    (("GatherNd", [WORDS, i32([[0, 0]])], {}), "must be at most the rank of the tensor"),
    (("ScatterNd", [i32([[3]]), f32([1]), i32([3])], {}), "indices[0] = [3] does not index"),
    (("ScatterNd", [i32([[0]]), f32([1, 2]), i32([3])], {}), "updates must have shape [1]"),
    (("TensorScatterAdd", [PARAMS, i32([[-1]]), UPDATES[:1]], {}), "indices[0] = [-1] does not"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_whole_tensors_are_scattered_to() -> None:
    """An index without numbers means all of the tensor."""
    indices = np.zeros((2, 0), np.int32)
    found = compute("TensorScatterAdd", [f32([1, 2]), indices, f32([[1, 1], [5, 5]])])
    np.testing.assert_array_equal(found, [7, 8])


def test_inputs_are_left_alone() -> None:
    before = PARAMS.copy()
    compute("TensorScatterUpdate", [PARAMS, i32([[1], [3], [0]]), UPDATES])
    np.testing.assert_array_equal(PARAMS, before)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    extra=st.lists(st.integers(0, 2), max_size=2),
    data=st.data(),
)
def test_any_batch_dims(tf: Any, shape: list[int], extra: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    batch = data.draw(st.integers(0, axis))
    indices_shape = shape[:batch] + extra
    indices = np.random.default_rng(0).integers(0, shape[axis], indices_shape).astype(np.int32)
    case: Case = ("GatherV2", [random(shape), indices, i32(axis)], {"batch_dims": batch})
    check(tf, case)
