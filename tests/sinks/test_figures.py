from __future__ import annotations

import pytest

from ckptmgr import events
from ckptmgr.sinks.figures import Stalls, gb_per_sec


@pytest.mark.parametrize(
    ("size_bytes", "duration_secs", "speed"),
    [(3_000_000_000, 2.0, 1.5), (0, 1.0, 0.0), (1000, 0.0, None)],
)
def test_gb_per_sec(size_bytes: int, duration_secs: float, speed: float | None) -> None:
    committed = events.SaveCommitted("p", 1, size_bytes, duration_secs)
    restored = events.CheckpointRestored("p", 1, size_bytes, duration_secs)

    assert gb_per_sec(committed) == gb_per_sec(restored) == speed


def test_an_asynchronous_save_stalls_for_its_copy_only() -> None:
    stalls = Stalls()
    stalls.note(events.SaveStaged("a", 1, 10, 0.25))
    stalls.note(events.SaveStaged("b", 1, 10, 0.5))

    assert stalls.end(events.SaveCommitted("b", 1, 10, 4.0)) == 0.5
    assert stalls.end(events.SaveCommitted("a", 1, 10, 4.0)) == 0.25
    assert stalls.end(events.SaveCommitted("a", 1, 10, 4.0)) == 4.0


def test_a_failed_save_is_forgotten() -> None:
    stalls = Stalls()
    stalls.note(events.SaveStaged("a", 1, 10, 0.25))
    stalls.note(events.SaveFailed("a", 1, OSError()))

    assert stalls.end(events.SaveCommitted("a", 1, 10, 4.0)) == 4.0
