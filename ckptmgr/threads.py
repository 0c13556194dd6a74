"""Threads that are started and waited for while Ctrl-C may come between any two instructions.

A `threading.Event`, with which a thread is also started, is made of Python code. An exception from
a signal handler may leave it with its own lock taken: from then on whoever waits for it, or sets
it, hangs. Signal handlers run in the main thread alone.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable

# Of several who wait, one that is interrupted between two instructions may keep the lock: the
# others then look this late.
_LOOK_SECS = 1.0


class Latch:
    """What is waited for, once."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let go of those who wait; for one thread, as often as it likes."""
        if not self.is_set:
            self.is_set = True
            self._lock.release()

    def wait(self, timeout_secs: float | None = None) -> bool:
        """Return when it is set, or after so long; says whether it is."""
        deadline_secs = None if timeout_secs is None else time.monotonic() + timeout_secs
        while not self.is_set:
            pause_secs = _LOOK_SECS
            if deadline_secs is not None:
                pause_secs = min(pause_secs, deadline_secs - time.monotonic())
            if pause_secs <= 0:
                break
            if self._lock.acquire(timeout=pause_secs):
                self._lock.release()  # for the others who wait
        return self.is_set


def _nothing() -> None:
    pass


class Worker:
    """Something that is done once, in a thread of its own."""

    def __init__(self, work: Callable[[], None], name: str, *, daemon: bool = False) -> None:
        self._work = work
        # Says who comes first: the thread that begins (True), or who calls it off (False).
        # `setdefault` is one instruction.
        self._is_wanted: dict[None, bool] = {}
        self._is_started = Latch()
        self._ended = Latch()
        self.thread = threading.Thread(target=self._begin, name=name, daemon=daemon)

    def start(self) -> bool:
        """Start the thread; False if Python starts no more of them.

        So it does when the system has none to give, and, from 3.12 on, at the interpreter's end;
        3.12.0 to 3.12.2 from the end of the main thread on, while others go on.
        """
        try:
            if threading.current_thread() is threading.main_thread():
                self._start_from_elsewhere()
            else:
                self.thread.start()
        except RuntimeError:
            return False
        finally:
            self._is_started.set()
        return True

    def call_off(self) -> bool:
        """Let the thread do nothing any more; False if it has begun.

        A `start` that is interrupted may have started it, or not, or be about to.
        """
        is_off = not self._is_wanted.setdefault(None, False)
        if is_off:
            self._work = _nothing  # it may hold large arrays, and the thread may outlive this call
        return is_off

    def end(self) -> None:
        """Return when nothing is done, and nothing will be: call it off, or wait."""
        if not self.call_off():
            self.wait()

    def wait(self) -> None:
        """Return when it has ended; it must have begun."""
        # First, for before Python 3.13 a join() that is interrupted takes the thread for ended.
        self._ended.wait()
        self.thread.join()

    def _begin(self) -> None:
        # Whoever starts it waits, up to 5 ms each time, until this thread lets go of the
        # interpreter; so it does nothing before. Not for ever: Ctrl-C may come there as well.
        self._is_started.wait(_LOOK_SECS)
        if not self._is_wanted.setdefault(None, True):
            return
        try:
            self._work()
        finally:
            self._ended.set()

    def _start_from_elsewhere(self) -> None:
        """Start the thread from another one, where no signal handler runs."""
        failures: list[BaseException] = []
        has_started = Latch()

        def start() -> None:
            try:
                self.thread.start()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
            finally:
                has_started.set()

        _thread.start_new_thread(start, ())
        has_started.wait()
        if failures:
            raise failures[0]
