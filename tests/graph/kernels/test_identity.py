"""Operations that hand on what they get, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.graph.kernels.oracle import (
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

VALUE = random((2, 3))

CASES: list[Case] = [
    *[
        (op, [VALUE], {})
        for op in ("Identity", "Snapshot", "StopGradient", "DeepCopy", "GuaranteeConst")
    ],
    ("Identity", [strings([b"a"])], {}),
    ("PreventGradient", [VALUE], {"message": "no"}),
    ("PlaceholderWithDefault", [VALUE], {"shape": [None, 3]}),
    ("IdentityN", [[VALUE, i32(1), strings(b"a")]], {}),
    ("NoOp", [], {}),
    *[(op, [VALUE], {"message": "m"}) for op in ("CheckNumerics", "CheckNumericsV2")],
    *[("EnsureShape", [VALUE], {"shape": shape}) for shape in ([2, 3], [None, 3])],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_identity(tf: Any, case: Case) -> None:
    check(tf, case)


REFUSED: list[tuple[Case, str]] = [
    (("CheckNumerics", [f32([1, np.nan])], {"message": "here"}), "here : Tensor had NaN values"),
    (
        ("CheckNumerics", [f32([np.inf, np.nan])], {"message": "here"}),
        "here : Tensor had Inf and NaN values",
    ),
    (("CheckNumerics", [np.array([np.inf], np.float16)], {"message": ""}), "had Inf values"),
    (
        ("EnsureShape", [VALUE], {"shape": [3, None]}),
        "not compatible with expected shape [3, None]",
    ),
    (("EnsureShape", [VALUE], {"shape": [2]}), "Shape of tensor [2, 3] is not compatible"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_any_shape_is_ensured() -> None:
    assert compute("EnsureShape", [VALUE], shape=None) is VALUE


def test_handles_pass() -> None:
    handle = object()
    assert compute("Identity", [handle]) is handle  # type: ignore[list-item]
