"""Threads that stop together: any of them asks, or fails, and all are waited for.

Source: tensorflow/python/training/coordinator.py.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.logging import get_logger

_log = get_logger()

#: How long a wait for one of several threads may last before the others are looked at.
_LOOK_SECS = 0.1


class Coordinator:
    """Tells threads to stop, waits for them, and raises what one of them failed with.

    Args:
        clean_stop_exception_types: Errors that mean an end as wanted, and are not raised; by
            default `OutOfRangeError`.
    """

    def __init__(
        self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None
    ) -> None:
        if clean_stop_exception_types is None:
            clean_stop_exception_types = (errors.OutOfRange,)
        self._clean_types = tuple(clean_stop_exception_types)
        self._lock = threading.Lock()
        self._stop_event = threading.Event()
        self._error: BaseException | None = None
        self._is_joined = False
        self._threads: set[threading.Thread] = set()

    @property
    def joined(self) -> bool:
        return self._is_joined

    def request_stop(self, ex: Any = None) -> None:
        """Let all threads stop.

        Args:
            ex: Why: an exception, or what `sys.exc_info()` gives. The first one is raised by
                `join`; after that, by this call itself.
        """
        with self._lock:
            error = self._reported(ex)
            if self._is_joined and error is not None:
                raise error
            if self._stop_event.is_set():
                return
            if error is not None and self._error is None:
                _log.info("a thread stops all others: %s: %s", type(error).__name__, error)
                self._error = error
            self._stop_event.set()

    def _reported(self, ex: Any) -> BaseException | None:
        """The exception to be raised; None for one that means an end as wanted."""
        error = ex[1] if isinstance(ex, tuple) and len(ex) == 3 else ex
        if error is None and ex is None:
            return None
        if not isinstance(error, BaseException):
            return errors.InvalidArgument(
                f"ex must be an exception or what sys.exc_info() gives, found {ex!r:.80}"
            )
        return None if isinstance(error, self._clean_types) else error

    def clear_stop(self) -> None:
        """Begin anew, as if nobody had asked."""
        with self._lock:
            self._is_joined = False
            self._error = None
            self._stop_event.clear()

    def should_stop(self) -> bool:
        return self._stop_event.is_set()

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait until somebody asks; False after `timeout` seconds."""
        return self._stop_event.wait(timeout)

    def raise_requested_exception(self) -> None:
        """Raise what a thread has stopped with, if any."""
        with self._lock:
            if self._error is not None:
                raise self._error

    @contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Report what the block raises instead of raising it."""
        try:
            yield
        except BaseException:  # noqa: BLE001 - whatever it is, the other threads must stop
            self.request_stop(sys.exc_info())

    def register_thread(self, thread: threading.Thread) -> None:
        """Let `join` wait for this thread too."""
        with self._lock:
            self._threads.add(thread)

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Wait for these threads and the registered ones.

        Args:
            stop_grace_period_secs: How long they have once a stop is asked for.
            ignore_live_threads: Return even if some are still running after that.
        Raises:
            ThreadsStillRunning: Some are, and none has failed.
            Exception: What the first one that failed has reported.
        """
        with self._lock:
            waited_for = list(self._threads.union(threads or ()))
        while _running(waited_for) and not self.wait_for_stop(_LOOK_SECS):
            pass
        deadline = time.monotonic() + stop_grace_period_secs
        for thread in _running(waited_for):
            thread.join(max(0.0, deadline - time.monotonic()))
        late = _running(waited_for)
        with self._lock:
            self._is_joined = True
            self._threads = set()
            if self._error is not None:
                raise self._error
        if not late:
            return
        message = f"threads are still running: {' '.join(thread.name for thread in late)}"
        if not ignore_live_threads:
            raise errors.ThreadsStillRunning(message)
        _log.info(message)


def _running(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threads if thread.is_alive()]


class LooperThread(threading.Thread):
    """A thread that calls a function again and again until its coordinator stops it.

    Args:
        timer_interval_secs: When to begin each call, counted from the first; None calls it without
            a pause.
        target: The function; a subclass may have a method `run_loop` instead.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any] | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise errors.InvalidArgument(f"'coord' argument must be a Coordinator: {coord}")
        if target is None and (args or kwargs):
            raise errors.InvalidArgument(
                "'args' and 'kwargs' argument require that you also pass 'target'"
            )
        super().__init__(daemon=True)
        self._coord = coord
        self._interval_secs = timer_interval_secs
        self._called = target
        self._call_args = tuple(args or ())
        self._call_kwargs = dict(kwargs or {})
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Start such a thread."""
        looper = LooperThread(coord, timer_interval_secs, target, args, kwargs)
        looper.start()
        return looper

    def run(self) -> None:
        with self._coord.stop_on_exception():
            self.start_loop()
            next_secs = time.monotonic()
            while not self._has_to_stop(next_secs):
                if self._interval_secs is not None:
                    next_secs += self._interval_secs
                self.run_loop()
            self.stop_loop()

    def _has_to_stop(self, next_secs: float) -> bool:
        if self._interval_secs is None:
            return self._coord.should_stop()
        return self._coord.wait_for_stop(max(0.0, next_secs - time.monotonic()))

    def start_loop(self) -> None:
        """Called in the thread before the first call."""

    def stop_loop(self) -> None:
        """Called in the thread after the last call, unless one has failed."""

    def run_loop(self) -> None:
        """One call."""
        if self._called is not None:
            self._called(*self._call_args, **self._call_kwargs)
