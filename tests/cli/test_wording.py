from __future__ import annotations

import json
import math

import pytest

from ckptmgr.cli import wording


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (123 * 1024**2, "123.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (2 * 1024**5, "2.0 PiB"),
    ],
)
def test_size(size_bytes: int, text: str) -> None:
    assert wording.size(size_bytes) == text


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (0, "0 s"),
        (-0.5, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (2 * 86400, "2 d"),
        (800 * 86400, "2 y"),
        (-90, "in 90 s"),
        (math.nan, "?"),
        (-math.inf, "?"),
    ],
)
def test_age(secs: float, text: str) -> None:
    assert wording.age(secs) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([], []),
        ([0.91321, 0.3, 1.0], ["0.9132", "0.3000", "1.0000"]),
        ([12, 1_280_000.0], ["12", "1280000"]),
        ([1e-5, 0.5], ["1e-05", "0.5"]),
        ([1e20], ["1e+20"]),
        ([0.5, None, math.nan, -math.inf], ["0.5", "-", "nan", "-inf"]),
        ([None], ["-"]),
    ],
)
def test_numbers(values: list[float | None], texts: list[str]) -> None:
    assert wording.numbers(values) == texts


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("model/w", "model/w"),
        ("Schicht/größe", "Schicht/größe"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bad\udcff", r"bad\udcff"),
    ],
)
def test_printable(text: str, printed: str) -> None:
    assert wording.printable(text) == printed


def test_count() -> None:
    assert wording.count(1, "tensor") == "1 tensor"
    assert wording.count(12345, "tensor") == "12,345 tensors"


def test_times() -> None:
    assert wording.json_time(1.5) == {
        "saved_at": "1970-01-01T00:00:01.500+00:00",
        "saved_at_secs": 1.5,
    }
    for never in (math.nan, math.inf, 1e300):
        assert wording.json_time(never) == {"saved_at": None, "saved_at_secs": None}
        assert wording.local_time(never) == "?"


def test_metrics_that_json_cannot_hold() -> None:
    metrics = wording.json_metrics({"a": 0.5, "b": math.nan, "c": -math.inf})
    assert json.loads(wording.json_text(metrics)) == {"a": 0.5, "b": "nan", "c": "-inf"}
