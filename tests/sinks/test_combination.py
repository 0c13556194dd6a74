from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptmgr import CheckpointManager, events
from ckptmgr.sinks import all_of

STARTED = events.SaveStarted("run/model.ckpt-1", 1)
DELETED = events.CheckpointDeleted("run/model.ckpt-1")
LOGGER = "ckptmgr.sinks.combination"


def test_each_gets_each_event_in_order() -> None:
    heard: list[tuple[str, events.Event]] = []

    listener = all_of(
        lambda event: heard.append(("a", event)), lambda event: heard.append(("b", event))
    )
    listener(STARTED)
    listener(DELETED)

    assert heard == [("a", STARTED), ("b", STARTED), ("a", DELETED), ("b", DELETED)]


def test_one_that_raises_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[events.Event] = []

    def fail(event: events.Event) -> None:
        raise OSError("disk full")

    all_of(fail, heard.append)(STARTED)

    assert heard == [STARTED]
    assert [record.name for record in caplog.records] == [LOGGER]
    assert "SaveStarted of run/model.ckpt-1" in caplog.text
    assert "disk full" in caplog.text


def test_a_failure_that_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    problems = iter([OSError("one"), OSError("two"), ValueError("three"), OSError("four")])

    def fail(event: events.Event) -> None:
        raise next(problems)

    listener = all_of(fail)
    for event in (STARTED, STARTED, STARTED, DELETED):
        listener(event)

    said = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert said == ["one", "three", "four"]


def test_an_interruption_passes() -> None:
    def interrupt(event: events.Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        all_of(interrupt)(STARTED)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_save_breaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, asynchronous: bool
) -> None:
    def fail(event: events.Event) -> None:
        raise RuntimeError("a bad listener")

    with CheckpointManager(
        {"w": np.arange(3)},
        tmp_path,
        max_to_keep=1,
        asynchronous=asynchronous,
        on_event=all_of(fail),
    ) as manager:
        manager.save(1)
        manager.save(2)
        manager.wait()
        restored = manager.restore()

        assert manager.all_steps() == [2]
        assert restored is not None
        assert restored.step == 2
    assert "a bad listener" in caplog.text
