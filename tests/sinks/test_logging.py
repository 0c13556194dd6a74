from __future__ import annotations

import logging
import signal

import pytest

from ckptmgr import events
from ckptmgr.errors import ChecksumMismatch
from ckptmgr.sinks.logging import log_events

PREFIX = "run/model.ckpt-1200"
SAVED = events.SaveCommitted(PREFIX, 1200, 1_120_000_000, 0.4)

LINES = [
    (events.SaveStarted(PREFIX, 1200), "saving step 1200 to run/model.ckpt-1200"),
    (
        events.SaveStaged(PREFIX, 1200, 1_120_000_000, 0.05),
        "copied step 1200: 1.1 GB in 50.0 ms, the state may change",
    ),
    (
        events.SaveWritten(PREFIX, 1200, 1_120_000_000, 0.31),
        "wrote step 1200: 1.1 GB in 0.3 s, not committed yet",
    ),
    (
        SAVED,
        "saved step 1200: 1.1 GB in 0.4 s (2.8 GB/s), training waited 0.4 s: run/model.ckpt-1200",
    ),
    (
        events.CheckpointRestored(PREFIX, 1200, 5_000_000, 0.0125),
        "restored step 1200: 5.0 MB in 12.5 ms (400.0 MB/s): run/model.ckpt-1200",
    ),
    (
        events.CheckpointRestored(PREFIX, 1200, 999, 0.0),
        "restored step 1200: 999 B in 0.0 ms: run/model.ckpt-1200",
    ),
    (
        events.Preempted(PREFIX, 1200, signal.SIGTERM, 0.0125),
        "preempted: SIGTERM 12.5 ms ago asks for step 1200 in run/model.ckpt-1200",
    ),
    (events.CheckpointDeleted(PREFIX), "deleted run/model.ckpt-1200"),
    (events.DeletionDeferred(PREFIX), "kept run/model.ckpt-1200 for now: it is held"),
]
PROBLEMS = [
    (
        events.SaveFailed(PREFIX, 1200, OSError("disk full")),
        logging.ERROR,
        "could not save step 1200 to run/model.ckpt-1200: OSError: disk full",
    ),
    (
        events.RestoreFailed(PREFIX, OSError("the disk went away")),
        logging.ERROR,
        "could not restore run/model.ckpt-1200: OSError: the disk went away",
    ),
    (
        events.CheckpointSkipped(PREFIX, ChecksumMismatch("a tensor changed", path="data")),
        logging.WARNING,
        "passed over run/model.ckpt-1200, which is damaged: data: a tensor changed",
    ),
    (
        events.StateRebuilt("run/checkpoint", "it does not parse"),
        logging.WARNING,
        "rebuilt the checkpoint state run/checkpoint: it does not parse",
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_line(caplog: pytest.LogCaptureFixture, event: events.Event, line: str) -> None:
    caplog.set_level(logging.DEBUG)

    log_events()(event)

    assert caplog.record_tuples == [("ckptmgr", logging.INFO, line)]


@pytest.mark.parametrize("given", [logging.DEBUG, logging.CRITICAL])
@pytest.mark.parametrize(("event", "least", "line"), PROBLEMS)
def test_problem(
    caplog: pytest.LogCaptureFixture, event: events.Event, least: int, line: str, given: int
) -> None:
    caplog.set_level(logging.DEBUG)

    log_events(level=given)(event)

    assert caplog.record_tuples == [("ckptmgr", max(least, given), line)]


def test_every_event_but_progress_has_a_line() -> None:
    told = {type(event) for event, *_ in (*LINES, *PROBLEMS)}
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type)}

    assert told == kinds - {events.Event, events.Progress}


def test_progress_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    log_events()(events.Progress(PREFIX, "save", 1, 2))

    assert caplog.records == []


def test_training_waits_for_the_copy_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    listener = log_events()

    listener(events.SaveStaged(PREFIX, 1200, 1_120_000_000, 0.05))
    listener(SAVED)

    assert "in 0.4 s (2.8 GB/s), training waited 50.0 ms:" in caplog.messages[-1]


def test_logger_and_level_are_the_given(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mine")

    log_events(logging.getLogger("mine"), logging.DEBUG)(SAVED)

    assert [record[:2] for record in caplog.record_tuples] == [("mine", logging.DEBUG)]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2_500_000_000_000, "2.5 TB"),
        (2_500_000_000_000_000, "2500.0 TB"),
    ],
)
@pytest.mark.parametrize(
    ("secs", "time"), [(0.0999, "99.9 ms"), (99.94, "99.9 s"), (3600, "3600 s")]
)
def test_figures(
    caplog: pytest.LogCaptureFixture, size_bytes: int, text: str, secs: float, time: str
) -> None:
    caplog.set_level(logging.INFO)

    log_events()(events.SaveWritten(PREFIX, 1, size_bytes, secs))

    assert f": {text} in {time}," in caplog.text
