"""Convolutions of every kind, against TensorFlow, which on a CPU has channels last only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr.graph.kernels import convolution
from tests.graph.kernels.oracle import (
    DOUBLE,
    FLOAT,
    FLOATS,
    HALF,
    Case,
    both_refuse,
    check,
    compute,
    i32,
    name_of,
    random,
)

IMAGES, FILTERS = random((2, 7, 6, 4)), random((3, 2, 4, 6), seed=1)
PLAIN: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
EXPLICIT: dict[str, Any] = {
    "strides": [1, 2, 1, 1],
    "padding": "EXPLICIT",
    "explicit_paddings": [0, 0, 1, 2, 0, 3, 0, 0],
}
VOLUMES, KERNELS = random((2, 5, 4, 6, 3)), random((2, 3, 2, 3, 4), seed=1)

CASES: list[Case] = [
    *[("Conv2D", [IMAGES.astype(dtype), FILTERS.astype(dtype)], PLAIN) for dtype in FLOATS],
    ("Conv2D", [IMAGES, FILTERS], PLAIN | {"padding": "VALID"}),
    ("Conv2D", [IMAGES, FILTERS], PLAIN | {"strides": [1, 2, 3, 1]}),
    ("Conv2D", [IMAGES, FILTERS], PLAIN | {"dilations": [1, 2, 3, 1]}),
    ("Conv2D", [IMAGES, FILTERS], EXPLICIT),
    ("Conv2D", [IMAGES, random((1, 1, 4, 5))], PLAIN),
    ("Conv2D", [IMAGES, random((3, 3, 2, 6))], PLAIN),  # two groups
    ("Conv2D", [np.zeros((0, 7, 6, 4), np.float32), FILTERS], PLAIN),
    *[
        ("DepthwiseConv2dNative", [IMAGES.astype(d), random((3, 2, 4, 2), d)], PLAIN)
        # TensorFlow adds up bfloat16 without wider digits.
        for d in (HALF, FLOAT, DOUBLE)
    ],
    ("DepthwiseConv2dNative", [IMAGES, random((3, 3, 4, 1))], PLAIN | {"padding": "VALID"}),
    ("DepthwiseConv2dNative", [IMAGES, random((3, 3, 4, 1))], PLAIN | {"strides": [1, 2, 2, 1]}),
    *[
        (
            "Conv2DBackpropInput",
            [i32(IMAGES.shape), FILTERS, random(shape, seed=2)],
            PLAIN | {"padding": padding, "strides": [1, *strides, 1]},
        )
        for padding, strides, shape in (
            ("SAME", [1, 1], (2, 7, 6, 6)),
            ("SAME", [2, 3], (2, 4, 2, 6)),
            ("VALID", [1, 1], (2, 5, 5, 6)),
            ("VALID", [2, 2], (2, 3, 3, 6)),
        )
    ],
    (
        "Conv2DBackpropInput",
        [i32(IMAGES.shape), FILTERS, random((2, 4, 8, 6), seed=2)],
        EXPLICIT,
    ),
    (
        "Conv2DBackpropInput",
        [i32([7, 6]), FILTERS, random((2, 7, 6, 6), seed=2)],
        PLAIN,
    ),
    *[
        ("Conv3D", [VOLUMES, KERNELS], {"strides": [1, *strides, 1], "padding": padding})
        for strides in ([1, 1, 1], [2, 1, 3])
        for padding in ("SAME", "VALID")
    ],
    (
        "Conv3DBackpropInputV2",
        [i32(VOLUMES.shape), KERNELS, random((2, 3, 4, 2, 4), seed=2)],
        {"strides": [1, 2, 1, 3, 1], "padding": "SAME"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_convolution(tf: Any, case: Case) -> None:
    is_narrow = case[1][-1].dtype.itemsize == 2
    check(tf, case, tolerance=5e-2 if is_narrow else 1e-5)


REFUSED: list[tuple[Case, str]] = [
    (("Conv2D", [IMAGES, random((3, 3, 3, 6))], PLAIN), "input of 4 channels does not fit"),
    (("Conv2D", [IMAGES[0], FILTERS], PLAIN), "input must have 4 dimensions"),
    (
        ("Conv2D", [IMAGES, FILTERS], PLAIN | {"strides": [2, 1, 1, 1]}),
        "strides of the batch and of the channels must be 1",
    ),
    (
        ("Conv2D", [IMAGES, random((9, 1, 4, 1))], PLAIN | {"padding": "VALID"}),
        "a window of 9 does not fit dimension 1 of size 7",
    ),
    (("DepthwiseConv2dNative", [IMAGES, random((3, 3, 2, 1))], PLAIN), "filter's 2 channels"),
    (
        ("Conv2DBackpropInput", [i32(IMAGES.shape), FILTERS, random((2, 6, 6, 6))], PLAIN),
        "out_backprop must have shape [2, 7, 6, 6]",
    ),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


@settings(max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_any_window(
    tf: Any, sizes: Any, window: Any, strides: Any, dilations: Any, padding: str
) -> None:
    if padding == "VALID":
        extents = [(w - 1) * d + 1 for w, d in zip(window, dilations, strict=True)]
        sizes = [max(pair) for pair in zip(sizes, extents, strict=True)]
    attrs = {
        "strides": [1, *strides, 1],
        "dilations": [1, *dilations, 1],
        "padding": padding,
    }
    images, filters = random((2, *sizes, 2)), random((*window, 2, 3), seed=1)
    check(tf, ("Conv2D", [images, filters], attrs), tolerance=1e-5)
    result = compute("Conv2D", [images, filters], **_ours(attrs))
    gradient = random(result.shape, seed=2)
    case: Case = ("Conv2DBackpropInput", [i32(images.shape), filters, gradient], attrs)
    if dilations == (1, 1):  # TensorFlow's transposed convolution has no dilations on a CPU
        check(tf, case, tolerance=1e-5)
    transposed = compute(case[0], case[1], **_ours(attrs))
    # What makes the one the transpose of the other.
    np.testing.assert_allclose(
        np.vdot(result, gradient), np.vdot(images, transposed), rtol=1e-3, atol=1e-3
    )


def test_channels_first_is_a_transposition() -> None:
    last = {
        "strides": [1, 2, 1, 1],
        "dilations": [1, 1, 2, 1],
        "explicit_paddings": [0, 0, 1, 2, 0, 3, 0, 0],
    }
    first = {
        "strides": [1, 1, 2, 1],
        "dilations": [1, 1, 1, 2],
        "explicit_paddings": [0, 0, 0, 0, 1, 2, 0, 3],
    }
    wanted = compute("Conv2D", [IMAGES, FILTERS], padding=b"EXPLICIT", data_format=b"NHWC", **last)
    found = compute(
        "Conv2D",
        [IMAGES.transpose(0, 3, 1, 2), FILTERS],
        padding=b"EXPLICIT",
        data_format=b"NCHW",
        **first,
    )
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), wanted)


def test_groups_of_a_transposed_convolution() -> None:
    attrs = _ours(PLAIN)
    filters, gradient = random((3, 3, 2, 6)), random((2, 7, 6, 6))
    result = compute("Conv2D", [IMAGES, filters], **attrs)
    transposed = compute("Conv2DBackpropInput", [i32(IMAGES.shape), filters, gradient], **attrs)
    np.testing.assert_allclose(np.vdot(result, gradient), np.vdot(IMAGES, transposed), rtol=1e-4)


def test_a_batch_is_computed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compute("Conv2D", [IMAGES, FILTERS], **_ours(PLAIN))
    monkeypatch.setattr(convolution, "_CHUNK_BYTES", 1)
    chunked = compute("Conv2D", [IMAGES, FILTERS], **_ours(PLAIN))
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)


def _ours(attrs: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        "dilations": [1, 1, 1, 1],
        "data_format": b"NHWC",
        "explicit_paddings": [],
    }
    return defaults | attrs | {"padding": attrs["padding"].encode()}
