"""Shapes, and the same elements in another shape or order, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr.formats.dtypes import DataType
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

VALUE = random((2, 3, 4))
COMPLEX = random((2, 3), np.complex64)

CASES: list[Case] = [
    *[
        (op, [value], {"out_type": out_type})
        for op in ("Shape", "Size")
        for value in (VALUE, f32(1), strings([b"a", b"b"]))
        for out_type in (DataType.DT_INT32, DataType.DT_INT64)
    ],
    ("ShapeN", [[VALUE, f32(1)]], {"out_type": DataType.DT_INT64}),
    ("Rank", [VALUE], {}),
    ("Reshape", [VALUE, i32([4, -1])], {}),
    ("Reshape", [VALUE, i64([24])], {}),
    ("Reshape", [f32([5]), i32([])], {}),
    ("Reshape", [np.zeros((0, 3), np.float32), i32([-1, 2])], {}),
    ("Reshape", [strings([b"a", b"b"]), i32([2, 1])], {}),
    ("Reshape", [VALUE.astype(BFLOAT16), i32([6, 4])], {}),
    *[("ExpandDims", [VALUE, i32(axis)], {}) for axis in (0, 3, -1, -4)],
    ("ExpandDims", [VALUE, i64([1])], {}),
    ("Squeeze", [VALUE[:, :1, None]], {}),
    ("Squeeze", [VALUE[:, :1, None]], {"squeeze_dims": [-3]}),
    ("Squeeze", [VALUE[:1, :1, :1]], {}),
    *[("Transpose", [VALUE, i32([2, 0, 1])], {}), ("Transpose", [f32(1), i32([])], {})],
    ("ConjugateTranspose", [COMPLEX, i32([1, 0])], {}),
    ("InvertPermutation", [i32([2, 0, 3, 1])], {}),
    ("BroadcastArgs", [i32([3, 1]), i32([2, 1, 4])], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_shapes(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Reshape", [VALUE, i32([5, -1])], {}), "tensor with 24 values"),
    (("Reshape", [VALUE, i32([-1, -1])], {}), "but for one -1"),
    (("Reshape", [VALUE, i32([-2])], {}), "shape must not be negative"),
    (("Reshape", [VALUE, i32([[24]])], {}), "must be a scalar or a vector"),
    (("ExpandDims", [VALUE, i32(4)], {}), "axis must be in [-4, 4), got 4"),
    (("Squeeze", [VALUE], {"squeeze_dims": [0]}), "Can not squeeze dim[0]"),
    (("Transpose", [VALUE, i32([0, 1])], {}), "of rank 3 must have as many elements"),
    (("Transpose", [VALUE, i32([0, 1, 1])], {}), "must name each dimension once"),
    (("InvertPermutation", [i32([0, 2])], {}), "expected the numbers 0 to 1 in some order"),
    (("BroadcastArgs", [i32([3]), i32([2])], {}), "Incompatible shapes"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)
