"""Batch normalization and local response normalization, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
    Case,
    assert_equal,
    both,
    both_refuse,
    compute,
    f32,
    name_of,
    random,
)

VALUE = random((2, 3, 4, 3))
VECTORS = [random((3,), seed=n) for n in (1, 2, 3)] + [np.abs(random((3,), seed=4))]
TRAINED = [*VECTORS[:2], f32([]), f32([])]
VERSIONS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")

CASES: list[Case] = [
    *[(op, [VALUE, *VECTORS], {"is_training": False}) for op in VERSIONS],
    *[(op, [VALUE, *TRAINED], {"is_training": True}) for op in VERSIONS],
    *[
        (op, [VALUE, *VECTORS], {"is_training": True, "exponential_avg_factor": 0.25})
        for op in VERSIONS
    ],
    (VERSIONS[2], [VALUE, *VECTORS], {"is_training": False, "epsilon": 0.1}),
    *[
        (VERSIONS[2], [VALUE.astype(np.float16), *VECTORS], {"is_training": training})
        for training in (False, True)
    ],
    (
        VERSIONS[2],
        [random((2, 2, 3, 4, 3)), *VECTORS],
        {"is_training": False, "data_format": "NDHWC"},
    ),
    (VERSIONS[2], [VALUE[:1, :1, :1], *TRAINED], {"is_training": True}),
    ("LRN", [VALUE], {}),
    ("LRN", [random((1, 2, 2, 9))], {"depth_radius": 2, "bias": 2.0, "alpha": 0.1, "beta": 0.75}),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_normalization(tf: Any, case: Case) -> None:
    wanted, found = both(tf, *case)
    if case[0].startswith("Fused") and not case[2]["is_training"]:
        # The fourth and the fifth are for a gradient, and TensorFlow leaves them as they come.
        del wanted[3:5], found[3:5]
    assert_equal(found, wanted, tolerance=1e-5)


@pytest.mark.parametrize("scales", [False, True])
def test_batch_norm_of_old_graphs(scales: bool) -> None:
    """TensorFlow no longer builds it."""
    offset, scale, mean, variance = VECTORS
    found = compute(
        "BatchNormWithGlobalNormalization",
        [VALUE, mean, variance, offset, scale],
        variance_epsilon=0.01,
        scale_after_normalization=scales,
    )
    wanted = (VALUE - mean) / np.sqrt(variance + 0.01) * (scale if scales else 1) + offset
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


def test_parameters_of_another_size(tf: Any) -> None:
    parameters = [random((2,))] * 4
    case: Case = (VERSIONS[2], [VALUE, *parameters], {"is_training": False})
    assert "must have one element for each channel" in both_refuse(tf, case)


@pytest.mark.parametrize("training", [False, True])
def test_channels_first_is_a_transposition(training: bool) -> None:
    attrs = {"is_training": training, "epsilon": 1e-3, "exponential_avg_factor": 1.0}
    wanted = compute(VERSIONS[2], [VALUE, *VECTORS], data_format=b"NHWC", **attrs)
    first = VALUE.transpose(0, 3, 1, 2)
    found = compute(VERSIONS[2], [first, *VECTORS], data_format=b"NCHW", **attrs)
    np.testing.assert_allclose(found[0].transpose(0, 2, 3, 1), wanted[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[4], wanted[4], rtol=1e-5)
