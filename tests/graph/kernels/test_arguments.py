"""Outputs that are too big to be meant are refused before memory is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.formats.dtypes import DataType
from tests.graph.kernels.oracle import compute, f32, i32, i64, name_of, random

MANY = 10**12
IMAGE = random((1, 2, 2, 1))
SPREAD: dict[str, Any] = {
    "strides": [1, MANY, 1, 1],
    "dilations": [1, 1, 1, 1],
    "padding": b"SAME",
    "data_format": b"NHWC",
    "explicit_paddings": [],
}

HUGE: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Fill", [i64([MANY]), f32(0)], {}),
    ("Fill", [i64([2**40, 2**40]), f32(0)], {}),
    ("Empty", [i64([MANY])], {"dtype": DataType.DT_FLOAT}),
    ("Tile", [f32([1]), i64([MANY])], {}),
    ("BroadcastTo", [f32([1]), i64([MANY])], {}),
    ("Pad", [f32([1]), i64([[MANY, 0]])], {}),
    ("PadV2", [f32([1]), i64([[0, MANY]]), f32(0)], {}),
    ("Range", [i64(0), i64(MANY), i64(1)], {}),
    ("Range", [np.array(0.0), np.array(1.0), np.array(1e-300)], {}),
    ("LinSpace", [f32(0), f32(1), i64(MANY)], {}),
    ("OneHot", [i32([0]), i64(MANY), f32(1), f32(0)], {"axis": -1}),
    ("ScatterNd", [i64([[0]]), f32([1]), i64([MANY])], {"bad_indices_policy": b""}),
    ("UnsortedSegmentSum", [f32([1]), i32([0]), i64(MANY)], {}),
    ("SegmentSum", [f32([1]), i64([MANY])], {}),
    ("Bincount", [i32([0]), i64(MANY), f32([])], {}),
    ("MatrixDiagV3", [f32([1]), i32(0), i64(MANY), i64(MANY), f32(0)], {"align": b"RIGHT_LEFT"}),
    ("MatrixDiagV3", [f32([1]), i32(2**30), i32(-1), i32(-1), f32(0)], {"align": b"RIGHT_LEFT"}),
    ("SpaceToBatchND", [IMAGE, i64([1]), i64([[0, MANY]])], {}),
    (
        "ResizeBilinear",
        [IMAGE, i32([2**31 - 1, 2**31 - 1])],
        {"align_corners": False, "half_pixel_centers": False},
    ),
    (
        "ResizeNearestNeighbor",
        [IMAGE, i32([2**31 - 1, 2**31 - 1])],
        {"align_corners": False, "half_pixel_centers": False},
    ),
    ("Conv2DBackpropInput", [i64([1, MANY, 2, 1]), random((1, 1, 1, 1)), IMAGE[:, :1]], SPREAD),
    ("Gather", [np.zeros((1, 10**6), np.int8), np.zeros(10**5, np.int32)], {}),
]


@pytest.mark.parametrize("case", HUGE, ids=name_of)
def test_huge_outputs_are_refused(case: Any) -> None:
    op, inputs, attrs = case
    with pytest.raises(errors.InvalidArgument, match=r"the output would have shape .* at most"):
        compute(op, inputs, **attrs)
