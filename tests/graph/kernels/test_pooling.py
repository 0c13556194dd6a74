"""Pooling, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.kernels.oracle import (
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    compute,
    i32,
    name_of,
    random,
)

IMAGES, VOLUMES = random((2, 7, 6, 4)), random((2, 5, 4, 6, 3))
PLAIN: dict[str, Any] = {"ksize": [1, 3, 2, 1], "strides": [1, 2, 1, 1], "padding": "SAME"}
VALID = PLAIN | {"padding": "VALID"}
CUBE: dict[str, Any] = {"ksize": [1, 2, 3, 2, 1], "strides": [1, 2, 1, 3, 1]}

CASES: list[Case] = [
    *[
        (op, [IMAGES.astype(d)], attrs)
        for op in ("MaxPool", "AvgPool")
        for d in FLOATS
        for attrs in (PLAIN, VALID)
    ],
    *[("MaxPool", [random((1, 4, 4, 2), d)], PLAIN) for d in INTS[:6]],
    (
        "MaxPool",
        [IMAGES],
        PLAIN | {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 2, 1, 0, 0, 0]},
    ),
    ("MaxPool", [IMAGES], {"ksize": [1, 1, 1, 2], "strides": [1, 1, 1, 2], "padding": "VALID"}),
    ("MaxPoolV2", [IMAGES, i32([1, 3, 2, 1]), i32([1, 2, 1, 1])], {"padding": "SAME"}),
    *[
        (op, [VOLUMES], CUBE | {"padding": padding})
        for op in ("MaxPool3D", "AvgPool3D")
        for padding in ("SAME", "VALID")
    ],
    *[
        ("MaxPoolWithArgmax", [IMAGES], attrs | {"include_batch_in_index": included})
        for attrs in (PLAIN, VALID)
        for included in (False, True)
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_pooling(tf: Any, case: Case) -> None:
    is_narrow = case[1][0].dtype.itemsize == 2
    # TensorFlow adds up narrow floats without wider digits.
    check(tf, case, tolerance=2e-2 if is_narrow else 0)


REFUSED: list[tuple[Case, str]] = [
    (("MaxPool", [IMAGES[0]], PLAIN), "input must have 4 dimensions"),
    (("AvgPool", [IMAGES], VALID | {"ksize": [1, 9, 1, 1]}), "a window of 9 does not fit"),
    (("MaxPool", [IMAGES], PLAIN | {"ksize": [1, 0, 1, 1]}), "ksize must be 4 positive numbers"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=30)
@given(
    op=st.sampled_from(["MaxPool", "AvgPool", "MaxPoolWithArgmax"]),
    sizes=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_any_window(tf: Any, op: str, sizes: Any, window: Any, strides: Any, padding: str) -> None:
    attrs = {"ksize": [1, *window, 1], "strides": [1, *strides, 1], "padding": padding}
    check(tf, (op, [random((2, *sizes, 2))], attrs))


@pytest.mark.parametrize("op", ["MaxPool", "AvgPool"])
def test_channels_first_is_a_transposition(op: str) -> None:
    attrs = {"padding": b"SAME", "explicit_paddings": []}
    wanted = compute(
        op, [IMAGES], ksize=[1, 3, 2, 1], strides=[1, 2, 1, 1], data_format=b"NHWC", **attrs
    )
    found = compute(
        op,
        [IMAGES.transpose(0, 3, 1, 2)],
        ksize=[1, 1, 3, 2],
        strides=[1, 1, 2, 1],
        data_format=b"NCHW",
        **attrs,
    )
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), wanted)
