"""New tensors, against TensorFlow."""

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
    Case,
    both_refuse,
    check,
    f32,
    i32,
    i64,
    name_of,
    strings,
)

TRILLION = 10**12

CASES: list[Case] = [
    *[("Fill", [i32([2, 3]), np.array(5, dtype)], {}) for dtype in (*FLOATS, np.int8, np.bool_)],
    ("Fill", [i64([2]), strings(b"x")], {}),
    ("Fill", [i32([]), f32(3)], {}),
    ("Empty", [i32([2, 3])], {"dtype": DataType.DT_FLOAT, "init": True}),
    *[
        (op, [np.zeros((2, 3), dtype)], {})
        for op in ("ZerosLike", "OnesLike")
        for dtype in (np.float32, BFLOAT16, np.int64, np.bool_, np.complex64)
    ],
    ("ZerosLike", [strings([b"a", b"b"])], {}),
    ("Range", [i32(3), i32(18), i32(4)], {}),
    ("Range", [i64(5), i64(-4), i64(-2)], {}),
    ("Range", [f32(0), f32(1), f32(0.1)], {}),
    ("Range", [f32(3), f32(3), f32(1)], {}),
    *[("Range", [np.array(n, dtype) for n in (1, 4, 0.5)], {}) for dtype in FLOATS],
    *[("LinSpace", [f32(1), f32(10), i32(n)], {}) for n in (1, 2, 7)],
    ("LinSpace", [np.array(1.0), np.array(-1.0), i64(5)], {}),
    *[
        ("OneHot", [i32([[0, 2], [-1, 5]]), i32(3), f32(1), f32(0)], {"axis": axis})
        for axis in (-1, 0, 1, 2)
    ],
    ("OneHot", [i64(1), i32(3), np.array(True), np.array(False)], {}),
    ("OneHot", [np.array([1, 0], np.uint8), i32(2), strings(b"on"), strings(b"off")], {}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_creation(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("Fill", [i32([-1]), f32(0)], {}), "dims must not be negative, got [-1]"),
    (("Fill", [i32([1]), f32([0])], {}), "value must be a scalar, got shape [1]"),
    (("Range", [i32(0), i32(5), i32(0)], {}), "Requires delta != 0"),
    (("Range", [i32(5), i32(0), i32(1)], {}), "Requires start <= limit"),
    (("LinSpace", [f32(0), f32(1), i32(0)], {}), "Requires num > 0: 0"),
    (("OneHot", [i32([0]), i32(-1), f32(1), f32(0)], {}), "depth must be non-negative"),
    (("OneHot", [i32([0]), i32(3), f32(1), f32(0)], {"axis": 2}), "axis must be in [-2, 2)"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=40)
@given(
    start=st.integers(-20, 20), limit=st.integers(-20, 20), delta=st.integers(-5, 5).filter(bool)
)
def test_any_range(tf: Any, start: int, limit: int, delta: int) -> None:
    if (limit - start) * delta < 0:
        start, limit = limit, start
    for dtype in (np.int32, np.float32):
        check(tf, ("Range", [np.array(n, dtype) for n in (start, limit, delta)], {}))
