from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, get_current_span

from ckptmgr import events
from ckptmgr.sinks.opentelemetry import trace_events

A, B = "run/model.ckpt-1", "run/model.ckpt-2"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("a test")


def secs(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_save(exporter: InMemorySpanExporter, tracer: Tracer) -> None:
    listener = trace_events(tracer)
    listener(events.SaveStarted(A, 1))
    assert exporter.get_finished_spans() == ()
    listener(events.SaveStaged(A, 1, 100, 0.25))
    listener(events.SaveWritten(A, 1, 100, 0.5))
    listener(events.SaveCommitted(A, 1, 100, 1.0))

    (span,) = exporter.get_finished_spans()
    assert span.name == "ckptmgr.save"
    assert dict(span.attributes or {}) == {
        "ckptmgr.prefix": A,
        "ckptmgr.step": 1,
        "ckptmgr.size_bytes": 100,
    }
    assert [(phase.name, dict(phase.attributes or {})) for phase in span.events] == [
        ("staged", {"ckptmgr.duration_secs": 0.25}),
        ("written", {"ckptmgr.duration_secs": 0.5}),
    ]
    assert span.status.status_code is StatusCode.OK


def test_a_save_that_fails(exporter: InMemorySpanExporter, tracer: Tracer) -> None:
    listener = trace_events(tracer)
    listener(events.SaveStarted(A, 1))
    listener(events.SaveFailed(A, 1, OSError("disk full")))

    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "OSError: disk full"
    (raised,) = span.events
    assert raised.name == "exception"
    assert raised.attributes is not None
    assert raised.attributes["exception.message"] == "disk full"


def test_saves_that_overlap_do_not_mix(exporter: InMemorySpanExporter, tracer: Tracer) -> None:
    listener = trace_events(tracer)
    listener(events.SaveStarted(A, 1))
    listener(events.SaveStarted(B, 2))
    listener(events.SaveWritten(B, 2, 200, 0.5))
    listener(events.SaveFailed(A, 1, OSError("disk full")))
    listener(events.SaveCommitted(B, 2, 200, 1.0))

    failed, committed = exporter.get_finished_spans()
    assert (failed.attributes or {})["ckptmgr.step"] == 1
    assert [event.name for event in failed.events] == ["exception"]
    assert (committed.attributes or {})["ckptmgr.size_bytes"] == 200
    assert [event.name for event in committed.events] == ["written"]
    assert committed.parent is None


def test_the_end_may_come_in_another_thread(exporter: InMemorySpanExporter, tracer: Tracer) -> None:
    listener = trace_events(tracer)
    with tracer.start_as_current_span("training") as training:
        listener(events.SaveStarted(A, 1))
        assert get_current_span() is training
        thread = threading.Thread(target=listener, args=(events.SaveCommitted(A, 1, 100, 1.0),))
        thread.start()
        thread.join()

    save, parent = exporter.get_finished_spans()
    assert parent.name == "training"
    assert save.parent is not None
    assert save.parent == training.get_span_context()


def test_a_restore(exporter: InMemorySpanExporter, tracer: Tracer) -> None:
    trace_events(tracer)(events.CheckpointRestored(A, 1, 100, 3.0))

    (span,) = exporter.get_finished_spans()
    assert span.name == "ckptmgr.restore"
    assert (span.attributes or {})["ckptmgr.size_bytes"] == 100
    assert secs(span) == pytest.approx(3.0, abs=1.0)


@pytest.mark.parametrize(
    "event",
    [
        events.SaveStaged(A, 1, 100, 0.25),
        events.SaveWritten(A, 1, 100, 0.25),
        events.SaveCommitted(A, 1, 100, 1.0),
        events.SaveFailed(A, 1, OSError()),
        events.CheckpointDeleted(A),
        events.Progress(A, "save", 1, 2),
    ],
)
def test_what_belongs_to_no_span_makes_none(
    exporter: InMemorySpanExporter,
    tracer: Tracer,
    caplog: pytest.LogCaptureFixture,
    event: events.Event,
) -> None:
    trace_events(tracer)(event)

    assert exporter.get_finished_spans() == ()
    assert caplog.records == []


def test_without_a_provider_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    listener = trace_events()
    listener(events.SaveStarted(A, 1))
    listener(events.SaveCommitted(A, 1, 100, 1.0))

    assert caplog.records == []
