from __future__ import annotations

import re

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from ckptmgr import events
from ckptmgr.errors import ChecksumMismatch, InvalidArgument
from ckptmgr.sinks.prometheus import export_events

PREFIX = "run/model.ckpt-7"

EVENTS = [
    events.SaveStarted(PREFIX, 7),
    events.SaveStaged(PREFIX, 7, 100, 0.25),
    events.Progress(PREFIX, "save", 50, 100),
    events.SaveWritten(PREFIX, 7, 100, 1.5),
    events.SaveCommitted(PREFIX, 7, 100, 2.0),
    events.SaveCommitted(PREFIX, 8, 50, 4.0),
    events.SaveFailed(PREFIX, 9, OSError("disk full")),
    events.Preempted(PREFIX, 9, 15, 0.1),
    events.CheckpointRestored(PREFIX, 8, 50, 0.5),
    events.RestoreFailed(PREFIX, OSError("the disk went away")),
    events.RestoreFailed(PREFIX, OSError("the disk went away")),
    events.CheckpointSkipped(PREFIX, ChecksumMismatch("a tensor changed")),
    events.CheckpointDeleted(PREFIX),
    events.CheckpointDeleted(PREFIX),
    events.CheckpointDeleted(PREFIX),
    events.DeletionDeferred(PREFIX),
    events.StateRebuilt("run/checkpoint", "it does not parse"),
]
FIGURES = {
    "ckptmgr_saves_total": 2,
    "ckptmgr_save_failures_total": 1,
    "ckptmgr_restores_total": 1,
    "ckptmgr_restore_failures_total": 2,
    "ckptmgr_skipped_total": 1,
    "ckptmgr_deleted_total": 3,
    "ckptmgr_saved_bytes_total": 150,
    "ckptmgr_restored_bytes_total": 50,
    "ckptmgr_save_seconds_count": 2,
    "ckptmgr_save_seconds_sum": 6.0,
    "ckptmgr_stall_seconds_sum": 4.25,
    "ckptmgr_restore_seconds_count": 1,
    "ckptmgr_restore_seconds_sum": 0.5,
    "ckptmgr_last_saved_step": 8,
}


@pytest.fixture
def exported() -> CollectorRegistry:
    registry = CollectorRegistry()
    listener = export_events(registry)
    for event in EVENTS:
        listener(event)
    return registry


@pytest.mark.parametrize(("name", "value"), FIGURES.items())
def test_figure(exported: CollectorRegistry, name: str, value: float) -> None:
    assert exported.get_sample_value(name) == value


def test_every_kind_of_event_was_heard() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type)}

    assert {type(event) for event in EVENTS} == kinds - {events.Event}


def test_seconds_fall_into_buckets(exported: CollectorRegistry) -> None:
    def up_to(bound: str) -> float | None:
        return exported.get_sample_value("ckptmgr_save_seconds_bucket", {"le": bound})

    assert [up_to(bound) for bound in ("1.0", "3.0", "10.0", "+Inf")] == [0, 1, 2, 2]


def test_what_prometheus_reads(exported: CollectorRegistry) -> None:
    page = generate_latest(exported).decode()

    assert "\nckptmgr_saves_total 2.0\n" in page
    assert set(re.findall(r"# TYPE (\w+) (\w+)", page)) >= {
        ("ckptmgr_saves_total", "counter"),
        ("ckptmgr_last_saved_step", "gauge"),
        ("ckptmgr_save_seconds", "histogram"),
    }


def test_a_registry_takes_one_listener() -> None:
    registry = CollectorRegistry()
    listener = export_events(registry)

    with pytest.raises(InvalidArgument, match="this registry has the figures of ckptmgr already"):
        export_events(registry)

    listener(events.CheckpointDeleted(PREFIX))
    assert registry.get_sample_value("ckptmgr_deleted_total") == 1


def test_the_registry_is_that_of_the_package() -> None:
    before = set(REGISTRY._collector_to_names)
    try:
        export_events()(events.CheckpointDeleted(PREFIX))

        assert REGISTRY.get_sample_value("ckptmgr_deleted_total") == 1
    finally:
        for collector in set(REGISTRY._collector_to_names) - before:
            REGISTRY.unregister(collector)
