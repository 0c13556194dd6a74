"""Saves and restores as spans of OpenTelemetry.

A save's span is kept by its prefix from its start to its end, so that saves which overlap do not
mix, and is never made the current one: the end may come in another thread than the start. Its
parent is whatever span is current where the save starts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ckptmgr import errors, events
from ckptmgr.sinks.combination import Listener, all_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


def trace_events(tracer: Tracer | None = None) -> Listener:
    """A listener that makes a span of each save and of each restore that succeeds.

    Args:
        tracer: By default the one named `ckptmgr` of the global provider.
    Raises:
        MissingExtra: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise errors.MissingExtra(
            "traces need opentelemetry-api: pip install ckptmgr[opentelemetry]"
        ) from error
    return all_of(_Spans(tracer or trace.get_tracer("ckptmgr")).note)


class _Spans:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[str, Span] = {}

    def note(self, event: events.Event) -> None:
        match event:
            case events.SaveStarted():
                self._open[event.prefix] = self._tracer.start_span(
                    "ckptmgr.save", attributes=_identity(event)
                )
            case events.SaveStaged():
                self._add_phase("staged", event)
            case events.SaveWritten():
                self._add_phase("written", event)
            case events.SaveCommitted() | events.SaveFailed():
                span = self._open.pop(event.prefix, None)
                if span is not None:
                    _end(span, event)
            case events.CheckpointRestored():
                self._add_restore(event)
            case _:
                pass

    def _add_phase(self, name: str, event: events.SaveStaged | events.SaveWritten) -> None:
        span = self._open.get(event.prefix)
        if span is not None:
            span.add_event(name, {"ckptmgr.duration_secs": event.duration_secs})

    def _add_restore(self, event: events.CheckpointRestored) -> None:
        # Nothing says that a restore starts; how long it took does.
        started_ns = time.time_ns() - int(event.duration_secs * 1e9)
        span = self._tracer.start_span(
            "ckptmgr.restore", start_time=started_ns, attributes=_identity(event)
        )
        span.set_attribute("ckptmgr.size_bytes", event.size_bytes)
        span.end()


def _identity(event: events.SaveStarted | events.CheckpointRestored) -> dict[str, str | int]:
    return {"ckptmgr.prefix": event.prefix, "ckptmgr.step": event.step}


def _end(span: Span, event: events.SaveCommitted | events.SaveFailed) -> None:
    from opentelemetry.trace import Status, StatusCode

    if isinstance(event, events.SaveCommitted):
        span.set_attribute("ckptmgr.size_bytes", event.size_bytes)
        span.set_status(Status(StatusCode.OK))
    else:
        span.record_exception(event.error)
        span.set_status(Status(StatusCode.ERROR, f"{type(event.error).__name__}: {event.error}"))
    span.end()
