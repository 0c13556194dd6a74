"""The checks that every layer shares."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import arguments, errors


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "a path must not be empty"),
        (b"run", "a path must be text, found bytes b'run'"),
        (3, "a path must be a str or os.PathLike, found int"),
        ("~/run", "path '~/run' begins with ~, which only a shell expands; use os.path.expanduser"),
        ("~root/run", "begins with ~"),
    ],
)
def test_what_is_no_path(path: Any, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        arguments.path_text(path)


def test_a_tilde_elsewhere_is_one_of_a_name() -> None:
    assert arguments.path_text("./~") == "./~"
    assert arguments.path_text("run~1") == "run~1"


@pytest.mark.parametrize("value", [5, np.int64(5), np.uint8(5), np.array(5)])
def test_whole_number(value: Any) -> None:
    number = arguments.whole_number("n", value)
    assert number == 5
    assert type(number) is int


@pytest.mark.parametrize("value", ["5", 5.0, None, True, np.True_, np.float32(5), 0, -1, [5]])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="n must be a positive integer or x, found"):
        arguments.whole_number("n", value, also=" or x")


def test_a_whole_number_with_another_least() -> None:
    assert arguments.whole_number("n", 0, least=0) == 0
    with pytest.raises(
        errors.InvalidArgument, match="n must be an integer of at least 0, found -1"
    ):
        arguments.whole_number("n", -1, least=0)


@pytest.mark.parametrize("value", [1, 0.5, math.inf, np.float32(0.5), np.int16(3), 10**300])
def test_real_number(value: Any) -> None:
    assert arguments.real_number("x", value) == value
    assert isinstance(arguments.real_number("x", value), int | float)


@pytest.mark.parametrize(
    "value", ["5", None, True, math.nan, 0, -0.5, -math.inf, 10**400, 1j, ml_dtypes.bfloat16(-1)]
)
def test_what_is_no_real_number(value: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="x must be a positive number or y, found"):
        arguments.real_number("x", value, also=" or y")


def test_a_real_number_that_may_be_zero() -> None:
    assert arguments.real_number("x", 0, zero=True) == 0
    with pytest.raises(errors.InvalidArgument, match="x must be a number of at least zero, found"):
        arguments.real_number("x", -1, zero=True)
