"""Locks that the kernel drops when their owner dies, and what every lock has in common.

A lock is taken on an open file description (flock), so two descriptors of one process exclude each
other as two processes do. Each acquire therefore makes its own `filelock.FileLock`: an object kept
between acquires would count a second thread's acquire as a re-entry, and would be unusable in a
forked child. At a fork, filelock closes the child's copy of a held descriptor: a data loader's
worker that outlives its trainer keeps no lock.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from ckptmgr.errors import LockTimeout
from ckptmgr.storage.failures import reported

if TYPE_CHECKING:
    import filelock

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
        self._new_lock = filelock.FileLock
        self._timeout = filelock.Timeout
        self._held: filelock.BaseFileLock | None = None

    def _attempt(self, limit_secs: float | None) -> bool:
        with reported("lock", self._path):
            # filelock would quietly create a directory that is not there, a mistyped one even.
            os.stat(os.path.join(os.path.dirname(self._path), "."))
            lock = self._new_lock(
                self._path,
                # The manager may release in a thread other than the one that acquired.
                thread_local=False,
                poll_interval=POLL_INTERVAL_SECS,
                # A lock file without a kernel lock outlives its owner, who may have been killed.
                fallback_to_soft=False,
                # See Storage.lock: removing the file lets two owners in.
                preserve_lock_file=True,
            )
            try:
                lock.acquire(timeout=-1 if limit_secs is None else limit_secs)
            except self._timeout:
                return False
            except RuntimeError as error:
                # filelock's word for a wait that cannot end: this thread is the owner.
                raise OSError(errno.EDEADLK, "this thread already holds the lock") from error
        self._held = lock
        return True

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""
        # Forgotten before it is free: the thread that gets it next stores its own hold here.
        held, self._held = self._held, None
        if held is not None:
            with reported("unlock", self._path):
                held.release()
