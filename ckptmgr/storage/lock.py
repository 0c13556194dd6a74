"""Locks that the kernel drops when their owner dies, and what every lock has in common.

A lock is taken on an open file description (flock), so two descriptors of one process exclude each
other as two processes do. Each attempt opens the file anew: an object is good for several threads,
and in a fork. The child of a fork closes its copies of what is held: a data loader's worker that
outlives its trainer keeps no lock.

Of filelock only the lock on a descriptor is used. Its `FileLock` takes a `threading.Condition` of
the whole process, which Ctrl-C between two instructions may leave taken: then all other threads
hang. Here an exception leaves nothing but files, and those unlock themselves.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import time
from abc import ABC, abstractmethod
from typing import TypeVar
from weakref import ref

from ckptmgr.errors import LockTimeout
from ckptmgr.storage.failures import reported

#: A waiter tries this often: an attempt takes microseconds, what a lock guards takes milliseconds.
POLL_INTERVAL_SECS = 0.01

_Lock = TypeVar("_Lock", bound="TimedLock")


class TimedLock(ABC):
    """The waiting, the wording and the `with` statement over one attempt with a limit."""

    def __init__(self, path: str) -> None:
        self._path = path

    @abstractmethod
    def _attempt(self, limit_secs: float | None) -> bool:
        """Wait up to `limit_secs` (None: for ever) and say whether the lock is held now."""

    @abstractmethod
    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""

    def acquire(self, timeout_secs: float | None = None) -> None:
        """Wait for the lock; `errors.LockTimeout` after `timeout_secs`, None waits for ever."""
        # A deadline that has passed leaves a negative rest: one attempt, not filelock's "for ever".
        limit_secs = None if timeout_secs is None else max(0.0, timeout_secs)
        if not self._attempt(limit_secs):
            raise LockTimeout(
                f"cannot lock {self._path}: another owner still held it after {timeout_secs} s"
            )

    def try_acquire(self) -> bool:
        """Take the lock if it is free now; says whether it was."""
        return self._attempt(0.0)

    def __enter__(self: _Lock) -> _Lock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class KernelLock(TimedLock):
    """An flock on a file of a local or network file system."""

    def __init__(self, path: str) -> None:
        # Here, not at the top: it costs 30 ms, a sixth of what importing this package may take, and
        # whoever only reads checkpoints needs no lock.
        import filelock

        super().__init__(path)
        self._lock_descriptor = filelock.lock_descriptor
        self._unlock_descriptor = filelock.unlock_descriptor
        self._held: _LockFile | None = None

    def _attempt(self, limit_secs: float | None) -> bool:
        file = None
        try:
            with reported("lock", self._path):
                file = self._wait_for(limit_secs)
            if file is not None:
                self._held = file
        except BaseException:
            if file is not None:
                file.close()
            raise
        return file is not None

    def _wait_for(self, limit_secs: float | None) -> _LockFile | None:
        """The file once it is locked; None if that takes too long."""
        deadline_secs = None if limit_secs is None else time.monotonic() + limit_secs
        while (file := self._take(waits_for_ever=limit_secs is None)) is None:
            pause_secs = POLL_INTERVAL_SECS
            if deadline_secs is not None:
                pause_secs = min(pause_secs, deadline_secs - time.monotonic())
                if pause_secs <= 0:
                    return None
            time.sleep(pause_secs)
        return file

    def _take(self, *, waits_for_ever: bool) -> _LockFile | None:
        """The file, locked, if it is free."""
        file = _LockFile(self._path)
        try:
            fd = file.fileno()
            # One that was removed meanwhile excludes nobody.
            if self._lock_descriptor(fd, blocking=False) and os.fstat(fd).st_nlink:
                file.owner = threading.current_thread()
                return file
            if waits_for_ever:
                _refuse_own(fd)
        except BaseException:
            file.close()
            raise
        file.close()
        return None

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""
        # Forgotten before it is free: the thread that gets it next stores its own hold here.
        file, self._held = self._held, None
        if file is None or file.closed:
            return
        try:
            with reported("unlock", self._path):
                # Closing is not enough: a fork may be about to close its copy.
                self._unlock_descriptor(file.fileno())
                file.close()
        finally:
            file.close()


class _LockFile(io.FileIO):
    """A lock file that is open; closed, and so unlocked, when it is left behind."""

    #: Who holds the lock; None while nobody does.
    owner: threading.Thread | None = None

    def __init__(self, path: str) -> None:
        with _opening:
            super().__init__(path, "r+", opener=_open)
            # Without a callback, in which Ctrl-C would be lost.
            _open_files[:] = [*(other for other in _open_files if other() is not None), ref(self)]

    def __del__(self) -> None:
        self.close()


_open_files: list[ref[_LockFile]] = []
#: No fork comes between the opening of a file and its place in the list. One thread may take it
#: twice: a signal handler may fork.
_opening = threading.RLock()


def _open(path: str, flags: int) -> int:
    flags |= os.O_NOFOLLOW
    try:
        # In a directory such as /tmp Linux refuses O_CREAT of a file of another user.
        return os.open(path, flags)
    except FileNotFoundError:
        return os.open(path, flags | os.O_CREAT, 0o666)


def _refuse_own(fd: int) -> None:
    """Raise EDEADLK if this thread holds a lock on the same file: it would wait for itself."""
    thread = threading.current_thread()
    for file in [other() for other in _open_files]:
        if file is None or file.owner is not thread or file.closed:
            continue
        if os.path.sameopenfile(file.fileno(), fd):
            raise OSError(errno.EDEADLK, "this thread already holds the lock")


def _close_copies() -> None:
    for other in _open_files:
        if (file := other()) is not None:
            file.close()
    _opening.release()


os.register_at_fork(
    before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_copies
)
