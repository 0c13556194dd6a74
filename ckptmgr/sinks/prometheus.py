"""Events as figures that Prometheus collects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptmgr import errors, events
from ckptmgr.sinks.combination import Listener, all_of
from ckptmgr.sinks.figures import Stalls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# From a small model on a local disk to a large one on a network file system.
_BUCKETS_SECS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


def export_events(registry: CollectorRegistry | None = None) -> Listener:
    """A listener that counts and times saves, restores and deletions.

    Args:
        registry: `prometheus_client`'s own by default.
    Raises:
        InvalidArgument: The registry has these figures already: make one listener for all managers.
        MissingExtra: `prometheus_client` is not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise errors.MissingExtra(
            "figures for Prometheus need prometheus_client: pip install ckptmgr[prometheus]"
        ) from error
    try:
        figures = _Figures(registry or prometheus_client.REGISTRY)
    except ValueError as error:
        raise errors.InvalidArgument(
            "this registry has the figures of ckptmgr already; give the listener that you have to "
            f"every manager, or another registry: {error}"
        ) from error
    return all_of(figures.note)


class _Figures:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, what: str) -> Counter:
            return Counter(name, what, registry=registry)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(name, what, registry=registry, buckets=_BUCKETS_SECS)

        self._saves = counter("ckptmgr_saves", "Checkpoints committed")
        self._failures = counter("ckptmgr_save_failures", "Saves that raised")
        self._restores = counter("ckptmgr_restores", "Checkpoints restored")
        self._restore_failures = counter("ckptmgr_restore_failures", "Restores that raised")
        self._skipped = counter("ckptmgr_skipped", "Damaged checkpoints that a restore passed over")
        self._deleted = counter("ckptmgr_deleted", "Checkpoints that retention deleted")
        self._saved_bytes = counter("ckptmgr_saved_bytes", "Bytes of committed checkpoints")
        self._restored_bytes = counter("ckptmgr_restored_bytes", "Bytes of restored checkpoints")
        self._save_secs = histogram("ckptmgr_save_seconds", "From a save's start to its commit")
        self._stall_secs = histogram(
            "ckptmgr_stall_seconds", "The state could not change for a save"
        )
        self._restore_secs = histogram("ckptmgr_restore_seconds", "Restoring a checkpoint")
        self._last_step = Gauge(
            "ckptmgr_last_saved_step", "Step of the last commit", registry=registry
        )
        self._stalls = Stalls()

    def note(self, event: events.Event) -> None:
        self._stalls.note(event)
        match event:
            case events.SaveCommitted():
                self._saves.inc()
                self._saved_bytes.inc(event.size_bytes)
                self._save_secs.observe(event.duration_secs)
                self._stall_secs.observe(self._stalls.end(event))
                self._last_step.set(event.step)
            case events.CheckpointRestored():
                self._restores.inc()
                self._restored_bytes.inc(event.size_bytes)
                self._restore_secs.observe(event.duration_secs)
            case events.SaveFailed():
                self._failures.inc()
            case events.RestoreFailed():
                self._restore_failures.inc()
            case events.CheckpointSkipped():
                self._skipped.inc()
            case events.CheckpointDeleted():
                self._deleted.inc()
            case _:
                pass
