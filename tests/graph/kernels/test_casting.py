"""Casts of numbers and of bits, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from tests.graph.kernels.oracle import (
    BFLOAT16,
    COMPLEX,
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    compute,
    f32,
    i32,
    name_of,
    random,
    strings,
)

KINDS = [*FLOATS, *INTS, *COMPLEX, np.dtype(np.bool_)]
WHOLE = np.array([0, 1, 2, 100])
NOT_WHOLE = [1.4, 1.5, 2.5, -1.7, 300.0, 65519.0, 3e-8]

CASES: list[Case] = [
    *[
        ("Cast", [WHOLE.astype(old)], {"DstT": dtypes.from_numpy(new)})
        for old in KINDS
        for new in KINDS
    ],
    *[
        ("Cast", [np.array(NOT_WHOLE[:4], old)], {"DstT": dtypes.from_numpy(new)})
        for old in FLOATS
        for new in (*FLOATS, INTS[2], INTS[3])
    ],
    *[
        (
            "Cast",
            [np.array(NOT_WHOLE, old)],
            {"DstT": dtypes.from_numpy(new), "Truncate": truncates},
        )
        for old in FLOATS[2:]
        for new in FLOATS[:3]
        for truncates in (False, True)
    ],
    ("Cast", [f32([np.nan, np.inf, -np.inf, 0.0])], {"DstT": DataType.DT_BOOL}),
    ("Cast", [f32([np.nan, np.inf, -np.inf])], {"DstT": DataType.DT_HALF}),
    ("Cast", [i32([300, -1, 2**31 - 1])], {"DstT": DataType.DT_UINT8}),
    ("Bitcast", [f32([1, -2])], {"type": DataType.DT_INT32}),
    ("Bitcast", [f32([1, -2])], {"type": DataType.DT_UINT8}),
    ("Bitcast", [f32(1)], {"type": DataType.DT_INT16}),
    ("Bitcast", [np.arange(8, dtype=np.uint8).reshape(2, 4)], {"type": DataType.DT_FLOAT}),
    ("Bitcast", [np.array([1, 2], np.int16)], {"type": DataType.DT_BFLOAT16}),
    ("Bitcast", [np.array([1, 2], BFLOAT16)], {"type": DataType.DT_HALF}),
    ("Bitcast", [random((2, 4)).T], {"type": DataType.DT_INT32}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_casting(tf: Any, case: Case) -> None:
    check(tf, case)


def test_bits_that_do_not_divide(tf: Any) -> None:
    case: Case = ("Bitcast", [np.zeros(3, np.uint8)], {"type": DataType.DT_FLOAT})
    assert "the last dimension must be 4" in both_refuse(tf, case)


def test_text_is_no_number() -> None:
    with pytest.raises(errors.InvalidArgument, match="Cast object to float32 is not supported"):
        compute("Cast", [strings([b"1"])], DstT=DataType.DT_FLOAT, Truncate=False)
