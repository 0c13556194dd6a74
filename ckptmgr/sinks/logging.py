"""Events as lines in a log of the standard library."""

from __future__ import annotations

import logging
import signal

from ckptmgr import events
from ckptmgr.sinks.combination import Listener, all_of
from ckptmgr.sinks.figures import Stalls, gb_per_sec


def log_events(logger: logging.Logger | None = None, level: int = logging.INFO) -> Listener:
    """A listener that logs a line per event, except for progress.

    Args:
        logger: The logger `ckptmgr` by default.
        level: Of what is as it should be. A damaged checkpoint or state is at least a warning, a
            save or restore that failed at least an error.
    """
    log = logger or logging.getLogger("ckptmgr")
    stalls = Stalls()

    def listen(event: events.Event) -> None:
        line = _line(event, stalls)
        if line is not None:
            log.log(max(level, _least_level(event)), "%s", line)

    return all_of(listen)


def _least_level(event: events.Event) -> int:
    if isinstance(event, events.SaveFailed | events.RestoreFailed):
        return logging.ERROR
    if isinstance(event, events.CheckpointSkipped | events.StateRebuilt):
        return logging.WARNING
    return logging.NOTSET


def _line(event: events.Event, stalls: Stalls) -> str | None:
    stalls.note(event)
    match event:
        case events.SaveStarted():
            return f"saving step {event.step} to {event.prefix}"
        case events.SaveStaged():
            size, time = _size(event.size_bytes), _time(event.duration_secs)
            return f"copied step {event.step}: {size} in {time}, the state may change"
        case events.SaveWritten():
            size, time = _size(event.size_bytes), _time(event.duration_secs)
            return f"wrote step {event.step}: {size} in {time}, not committed yet"
        case events.SaveCommitted():
            stall = _time(stalls.end(event))
            return f"saved {_transfer(event)}, training waited {stall}: {event.prefix}"
        case events.CheckpointRestored():
            return f"restored {_transfer(event)}: {event.prefix}"
        case _:
            return _other_line(event)


def _other_line(event: events.Event) -> str | None:
    match event:
        case events.SaveFailed(prefix, step, error):
            return f"could not save step {step} to {prefix}: {type(error).__name__}: {error}"
        case events.Preempted(prefix, step, number, delay_secs):
            name, time = signal.Signals(number).name, _time(delay_secs)
            return f"preempted: {name} {time} ago asks for step {step} in {prefix}"
        case events.RestoreFailed(prefix, error):
            return f"could not restore {prefix}: {type(error).__name__}: {error}"
        case events.CheckpointSkipped(prefix, error):
            return f"passed over {prefix}, which is damaged: {error}"
        case events.CheckpointDeleted(prefix):
            return f"deleted {prefix}"
        case events.DeletionDeferred(prefix):
            return f"kept {prefix} for now: it is held"
        case events.StateRebuilt(prefix, reason):
            return f"rebuilt the checkpoint state {prefix}: {reason}"
        case _:
            return None


def _transfer(event: events.SaveCommitted | events.CheckpointRestored) -> str:
    speed = gb_per_sec(event)
    rate = "" if speed is None else f" ({_size(speed * 1e9)}/s)"
    size, time = _size(event.size_bytes), _time(event.duration_secs)
    return f"step {event.step}: {size} in {time}{rate}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.95:  # 1000.0 is a 1.0 of the next unit
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def _time(duration_secs: float) -> str:
    if duration_secs < 0.1:
        return f"{duration_secs * 1000:.1f} ms"
    return f"{duration_secs:.1f} s" if duration_secs < 100 else f"{duration_secs:.0f} s"
