"""What several sinks work out of the events of a save."""

from __future__ import annotations

from ckptmgr.events import CheckpointRestored, Event, SaveCommitted, SaveFailed, SaveStaged


def gb_per_sec(event: SaveCommitted | CheckpointRestored) -> float | None:
    """Bytes over time, in 10**9 per second; None where the clock did not move."""
    return event.size_bytes / event.duration_secs / 1e9 if event.duration_secs > 0 else None


class Stalls:
    """How long the state could not change: the copy of an asynchronous save, or all of another."""

    def __init__(self) -> None:
        # By prefix: the saves of two managers may overlap.
        self._staged_secs: dict[str, float] = {}

    def note(self, event: Event) -> None:
        """Remember the copy of an asynchronous save until that save ends."""
        if isinstance(event, SaveStaged):
            self._staged_secs[event.prefix] = event.duration_secs
        elif isinstance(event, SaveFailed):
            self._staged_secs.pop(event.prefix, None)

    def end(self, event: SaveCommitted) -> float:
        """The seconds in which the state could not change for this save; then forget it."""
        return self._staged_secs.pop(event.prefix, event.duration_secs)
