"""Sizes, ages and numbers as people read them, and as JSON holds them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

# Ages in a unit are told up to twice the next one: "90 min" says more than "1 h".
_AGE_UNITS = ((120, 1, "s"), (7200, 60, "min"), (48 * 3600, 3600, "h"), (730 * 86400, 86400, "d"))
_YEAR_SECS = 365.25 * 86400
_SIGNIFICANT_DIGITS = 4


def size(size_bytes: int) -> str:
    """`1536` -> `1.5 KiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if round(value, 1) < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} PiB"


def age(secs: float) -> str:
    """`5400.0` -> `90 min`; a time to come, by a clock that is ahead, is `in 90 min`."""
    if not math.isfinite(secs):
        return "?"
    if secs <= -1:
        return f"in {age(-secs)}"
    for limit, unit_secs, unit in _AGE_UNITS:
        if secs < limit:
            return f"{max(secs, 0) // unit_secs:.0f} {unit}"
    return f"{secs // _YEAR_SECS:.0f} y"


def numbers(values: Sequence[float | None]) -> list[str]:
    """One column of numbers, with as many decimals as the one that needs most; None is `-`."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    if all(value.is_integer() and abs(value) < 1e15 for value in finite):
        decimals = 0
    else:
        short = [f"{value:.{_SIGNIFICANT_DIGITS}g}" for value in finite]
        if any("e" in text for text in short):
            return ["-" if v is None else f"{v:.{_SIGNIFICANT_DIGITS}g}" for v in values]
        decimals = max(len(text.partition(".")[2]) for text in short)
    return ["-" if value is None else f"{value:.{decimals}f}" for value in values]


def number(value: float) -> str:
    return numbers([value])[0]


def count(number: int, noun: str) -> str:
    """`3` and `tensor` -> `3 tensors`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """`text` on one line, with escapes for what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def local_time(secs: float) -> str:
    """`2026-11-20 06:12:43 +0100`, in the time zone of the machine."""
    try:
        return (
            datetime.fromtimestamp(secs, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        )
    except (OverflowError, OSError, ValueError):
        return "?"


# --------------------------------------------------------------------------- JSON


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def json_time(secs: float) -> dict[str, Any]:
    """A moment twice: in ISO 8601, UTC, and in seconds of Unix time; null if it is none."""
    try:
        text = datetime.fromtimestamp(secs, timezone.utc).isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        return {"saved_at": None, "saved_at_secs": None}
    return {"saved_at": text, "saved_at_secs": secs}


def json_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinity: they are the texts "nan", "inf", "-inf"."""
    return {name: v if math.isfinite(v) else str(v) for name, v in metrics.items()}
