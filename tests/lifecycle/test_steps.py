from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.lifecycle.steps import SaveInterval, as_step


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (0, 0),
        (7, 7),
        (np.int32(8), 8),
        (np.uint64(9), 9),
        (np.array(10), 10),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_a_whole_number_is_a_step(value: Any, step: int) -> None:
    assert as_step(value) == step
    assert type(as_step(value)) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, r"between 0 and 2\*\*63 - 1, found -1"),
        (2**63, r"found 9223372036854775808"),
        (1.0, r"a whole number, found 1.0 \(float\)"),
        (np.float32(3), r"a whole number, found .*3"),
        ("5", r"a whole number, found '5' \(str\)"),
        (None, r"a whole number, found None"),
        (True, r"a whole number, found True"),
        (np.array([1, 2]), r"a whole number, found array"),
    ],
)
def test_anything_else_is_not(value: Any, message: str) -> None:
    with pytest.raises(errors.InvalidStep, match=message):
        as_step(value)


def saved_steps(
    interval: SaveInterval, steps: list[int], last_seen: int | None = None
) -> list[int]:
    saved = []
    for step in steps:
        if interval.is_due(step, last_seen_step=last_seen, secs_since_save=None):
            saved.append(step)
        last_seen = step
    return saved


@pytest.mark.parametrize(
    ("every", "steps", "last_seen", "saved"),
    [
        (1, [0, 1, 2], None, [0, 1, 2]),
        (10, list(range(1, 31)), None, [10, 20, 30]),
        (10, list(range(25)), None, [0, 10, 20]),
        (10, list(range(58, 72)), 57, [60, 70]),  # resumed at 57: the same grid
        (10, [3, 6, 9, 12, 15, 18, 21], None, [12, 21]),  # jumps: the first behind each multiple
        (10, [95, 96, 100, 50, 51, 60], None, [100, 50, 60]),  # going back
    ],
)
def test_saves_fall_on_multiples(
    every: int, steps: list[int], last_seen: int | None, saved: list[int]
) -> None:
    assert saved_steps(SaveInterval(every), steps, last_seen) == saved


@pytest.mark.parametrize(("secs_since", "due"), [(None, True), (59.9, False), (60.0, True)])
def test_seconds_must_have_passed_as_well(secs_since: float | None, due: bool) -> None:
    interval = SaveInterval(steps=5, secs=60)
    assert interval.is_due(10, last_seen_step=9, secs_since_save=secs_since) is due
    assert not interval.is_due(11, last_seen_step=10, secs_since_save=None)


def test_an_interval_may_be_an_integer_of_numpy() -> None:
    assert saved_steps(SaveInterval(cast(int, np.int64(10))), list(range(25))) == [0, 10, 20]
    assert type(SaveInterval(cast(int, np.int64(10))).steps) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "save_interval_steps must be a positive integer, found 0"),
        ({"steps": 1.5}, "save_interval_steps must be a positive integer, found 1.5"),
        ({"steps": True}, "found True"),
        ({"steps": "5"}, "save_interval_steps must be a positive integer, found '5'"),
        ({"secs": 0}, "save_interval_secs must be a positive number or None, found 0"),
        ({"secs": "5"}, "found '5'"),
    ],
)
def test_intervals_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        SaveInterval(**arguments)
