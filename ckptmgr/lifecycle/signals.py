"""Signals that say that the process will be ended soon, for any number of managers.

A handler may run between any two instructions of the main thread, inside a save and inside a lock
that is held. So ours assigns one attribute and returns; what follows from it is decided by whoever
looks at that attribute. One handler per signal serves the process. What was there before it:

    a function         is called each time, behind ours
    the default        would end the process: not while somebody is still to answer
    Python's Ctrl-C    raises KeyboardInterrupt, but not the first time
    ignored            nothing

In a fork, such as a data loader's worker, the handlers are those that were there before ours.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ckptmgr import errors

#: What schedulers send before they take a machine away: Kubernetes and Slurm SIGTERM, Slurm the
#: other one, too, where it is asked to (`--signal=USR1@120`).
DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True, slots=True)
class Notice:
    """A signal that came, and when, in seconds of `time.monotonic`."""

    signal_number: int
    received_secs: float


class SignalWatch:
    """What one of those who listen has received, and whether it has answered.

    Raises:
        InvalidArgument: This is not the main thread.
    """

    def __init__(self, signals: tuple[int, ...]) -> None:
        self.signals = signals
        #: The first one; assigned by the handler.
        self.notice: Notice | None = None
        self.is_answered = False
        self.is_closed = False
        if signals:
            _require_main_thread()
            _watches.append(weakref.ref(self))
            for number in signals:
                _install(number)

    @property
    def is_pending(self) -> bool:
        """Whether there is something to answer."""
        return self.notice is not None and not self.is_answered

    def close(self) -> None:
        """Listen no more; the last one puts back what was there before."""
        self.is_closed = True
        # In another thread Python lets nobody do that: then our handler stays, and passes all on.
        if threading.current_thread() is threading.main_thread():
            _put_back()


def signals_of(given: bool | int | Iterable[int]) -> tuple[int, ...]:  # noqa: FBT001 - as users say it
    """The signals that `save_on_signal` stands for; raises InvalidArgument for anything else."""
    if isinstance(given, bool):
        return DEFAULT_SIGNALS if given else ()
    try:
        signals = tuple(map(signal.Signals, [given] if isinstance(given, int) else given))
    except (TypeError, ValueError):
        signals = ()
    if not signals or {signal.SIGKILL, signal.SIGSTOP}.intersection(signals):
        raise errors.InvalidArgument(
            "save_on_signal must be True, False, or signals that can be handled, such as "
            f"(signal.SIGTERM, signal.SIGUSR1), found {given!r:.80}"
        )
    return signals


def _require_main_thread() -> None:
    current = threading.current_thread()
    if current is not threading.main_thread():
        raise errors.InvalidArgument(
            "a manager with save_on_signal must be made in the main thread, the only one in which "
            f"Python installs signal handlers; this is thread {current.name!r}"
        )


# --------------------------------------------------------------------------- the handlers

# Changed in the main thread only, where the handlers run, too.
_watches: list[weakref.ref[SignalWatch]] = []
_installed: dict[int, _Handler] = {}


class _Handler:
    """What is installed for one signal."""

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self._process_id = os.getpid()

    def __call__(self, number: int, frame: Any) -> None:
        is_first = is_pending = False
        # A signal can reach a fork before the fork has put back what was there before.
        if os.getpid() == self._process_id:
            notice = Notice(number, time.monotonic())
            for watch in _open_watches():
                if number in watch.signals:
                    if watch.notice is None:
                        watch.notice = notice
                        is_first = True
                    is_pending |= watch.is_pending
        self._pass_on(number, frame, is_first=is_first, is_pending=is_pending)

    def _pass_on(self, number: int, frame: Any, *, is_first: bool, is_pending: bool) -> None:
        previous = self.previous
        if previous == signal.SIG_DFL:
            if not is_pending:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
        elif callable(previous) and not (is_first and previous is signal.default_int_handler):
            previous(number, frame)


def _open_watches() -> list[SignalWatch]:
    watches = [reference() for reference in _watches]
    return [watch for watch in watches if watch is not None and not watch.is_closed]


def _install(number: int) -> None:
    current = signal.getsignal(number)
    if current is not _installed.get(number):
        _installed[number] = handler = _Handler(current)
        signal.signal(number, handler)


def _put_back() -> None:
    watches = _open_watches()
    _watches[:] = map(weakref.ref, watches)
    for number in set(_installed).difference(*(watch.signals for watch in watches)):
        _uninstall(number)


def _uninstall(number: int) -> None:
    handler = _installed.pop(number)
    previous = handler.previous
    # Whoever installed another one since may call ours, which then passes everything on. What was
    # not installed from Python (None) cannot be put back from there.
    if signal.getsignal(number) is handler and previous is not None:
        signal.signal(number, previous)


def _forget_in_fork() -> None:
    _watches.clear()
    for number in list(_installed):
        _uninstall(number)


os.register_at_fork(after_in_child=_forget_in_fork)
