from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptmgr.graph.kernels.partitioning  # noqa: F401
from ckptmgr import errors
from tests.graph.kernels.oracle import assert_equal, both, compute

FLOATS = np.arange(12, dtype=np.float32).reshape(4, 3)
INDICES = np.array([[2, 1], [0, 0], [0, 3]], np.int64)
VALUES = np.array([1.5, -2.0, 3.0], np.float32)
SHAPE = np.array([4, 4], np.int64)


def whole(*values: int) -> Any:
    return np.array(values, np.int32)


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("DynamicPartition", [FLOATS, whole(1, 0, 2, 1)], {"num_partitions": 4}),
    ("DynamicPartition", [FLOATS, FLOATS.astype(np.int32) % 2], {"num_partitions": 2}),
    ("DynamicPartition", [np.array([b"a", b"b"], object), whole(1, 0)], {"num_partitions": 2}),
    ("DynamicStitch", [[whole(3, 0), whole(1, 3)], [FLOATS[:2], FLOATS[2:]]], {}),
    ("DynamicStitch", [[np.array(1, np.int32), whole(0)], [FLOATS[0], FLOATS[1:2]]], {}),
    ("ParallelDynamicStitch", [[whole(2, 0), whole(1)], [FLOATS[:2], FLOATS[2:3]]], {}),
    ("SparseReshape", [INDICES, SHAPE, np.array([2, -1, 2], np.int64)], {}),
    ("SparseReorder", [INDICES, VALUES, SHAPE], {}),
    ("SparseFillEmptyRows", [INDICES[[1, 2, 0]], VALUES, SHAPE, np.array(-1, np.float32)], {}),
    ("SparseTensorDenseMatMul", [INDICES, VALUES, SHAPE, FLOATS], {}),
    ("SparseTensorDenseMatMul", [INDICES, VALUES, SHAPE, FLOATS], {"adjoint_a": True}),
    ("SparseTensorDenseMatMul", [INDICES, VALUES, SHAPE, FLOATS.T.copy()], {"adjoint_b": True}),
]


@pytest.mark.parametrize(("op", "inputs", "attrs"), CASES)
def test_rows_dealt_out(tf: Any, op: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    wanted, found = both(tf, op, inputs, attrs)
    assert_equal(found, wanted)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        ("DynamicPartition", [FLOATS, whole(1, 0)], {"num_partitions": 2}, "must start with"),
        ("DynamicPartition", [FLOATS, whole(1, 0, 5, 0)], {"num_partitions": 2}, r"\[2\] = 5 is"),
        ("DynamicStitch", [whole(0), FLOATS], {"N": 1}, "each data.shape must be"),
        ("DynamicStitch", [whole(-1), FLOATS[:1]], {"N": 1}, "must not be negative"),
        ("DynamicStitch", [whole(2**31 - 1), FLOATS[:1]], {"N": 1}, "at most"),
        ("SparseReshape", [INDICES, SHAPE, whole(3, -1)], {}, "Cannot infer"),
        ("SparseReshape", [INDICES, SHAPE, whole(3, 3)], {}, "16 dense values"),
        ("SparseReorder", [INDICES, VALUES, SHAPE // 2], {}, r"indices\[0\] = \[2, 1\] is out"),
        ("SparseReorder", [INDICES, VALUES, SHAPE * 2**40], {}, "do not fit a sparse tensor"),
        (
            "SparseTensorDenseMatMul",
            [INDICES, VALUES, SHAPE, FLOATS[:2]],
            {"adjoint_a": False, "adjoint_b": False},
            "inner dimension does not match",
        ),
    ],
)
def test_rows_that_cannot_be(
    op: str, inputs: list[Any], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        compute(op, inputs, **attrs)
