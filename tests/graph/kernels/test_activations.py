"""Biases, activations, softmax and its losses, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    compute,
    f32,
    i32,
    i64,
    name_of,
    random,
)

VALUES = [0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 7.0, 30.0, -30.0]
NOT_FINITE = [np.inf, -np.inf, np.nan]
ACTIVATIONS = ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign")
LOGITS = f32([[1, 2, 3], [1000, 0, -1000], [-np.inf, 0, 0]])

CASES: list[Case] = [
    *[(op, [np.array(VALUES, dtype)], {}) for op in (*ACTIVATIONS, "Sigmoid") for dtype in FLOATS],
    *[(op, [f32(NOT_FINITE)], {}) for op in (*ACTIVATIONS, "Sigmoid", "LeakyRelu")],
    *[("Relu", [random((5,), dtype)], {}) for dtype in INTS],
    *[("LeakyRelu", [np.array(VALUES, dtype)], {}) for dtype in FLOATS],
    ("LeakyRelu", [f32(VALUES)], {"alpha": 0.01}),
    *[("BiasAdd", [random((2, 3, 4), d), random((4,), d, 1)], {}) for d in (*FLOATS, INTS[2])],
    ("BiasAdd", [random((2, 3, 4, 5)), random((3,), seed=1)], {"data_format": "NCHW"}),
    ("BiasAddV1", [random((2, 3)), random((3,), seed=1)], {}),
    *[(op, [random((2, 5), d)], {}) for op in ("Softmax", "LogSoftmax") for d in FLOATS],
    *[(op, [LOGITS], {}) for op in ("Softmax", "LogSoftmax")],
    *[(op, [np.zeros((0, 3), np.float32)], {}) for op in ("Softmax", "LogSoftmax")],
    *[
        ("SoftmaxCrossEntropyWithLogits", [random((2, 5), d), np.eye(5, dtype=d)[:2]], {})
        for d in FLOATS
    ],
    ("SoftmaxCrossEntropyWithLogits", [random((2, 5)), np.full((1, 5), 0.2, np.float32)], {}),
    *[
        ("SparseSoftmaxCrossEntropyWithLogits", [random((2, 5), d), label([4, 0])], {})
        for d in FLOATS
        for label in (i32, i64)
    ],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_activations(tf: Any, case: Case) -> None:
    is_narrow = case[1][0].dtype.itemsize == 2
    # TensorFlow rounds narrow floats at each step.
    check(tf, case, tolerance=2e-2 if is_narrow else 0)


REFUSED: list[tuple[Case, str]] = [
    (("BiasAdd", [random((2, 3)), random((4,))], {}), "bias of 4 elements does not fit"),
    (("Softmax", [f32(1)], {}), "at least 1 dimension"),
    (
        ("SparseSoftmaxCrossEntropyWithLogits", [random((2, 3)), i32([0])], {}),
        "labels must have shape [2], got [1]",
    ),
    (
        ("SparseSoftmaxCrossEntropyWithLogits", [random((2, 3)), i32([0, 3])], {}),
        "outside the valid range of [0, 3)",
    ),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_inputs_are_left_alone() -> None:
    logits, labels = random((2, 3)), i32([0, 1])
    before = logits.copy()
    compute("SparseSoftmaxCrossEntropyWithLogits", [logits, labels])
    np.testing.assert_array_equal(logits, before)
