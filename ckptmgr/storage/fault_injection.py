"""A storage that fails where a test wants it to.

It wraps any storage, numbers every call that goes through it, and lets chosen calls go wrong: the
process dies there, or the call is refused with an errno. A test that wants every crash point of an
operation counts up until a run met no fault any more:

    for number in itertools.count(1):
        storage = FaultInjectingStorage(MemoryStorage(), [Fault(at=number, kill=True)])
        try:
            save(storage)
        except ProcessKilled:
            check(storage.inner)  # what a restarted process finds
        else:
            break

Calls are numbered from 1, those of the files and locks that came from this storage included. What
takes no system call (`Storage.lock`, `ReadableFile.size_bytes`) has no number. `calls` is the
trace: printed one call in a line, it shows what an operation does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ckptmgr.storage.buffers import as_bytes
from ckptmgr.storage.failures import reported, system_error
from ckptmgr.storage.faults import METHODS, Call, Countdown, Fault
from ckptmgr.storage.protocol import (
    Buffer,
    FileInfo,
    FileLock,
    ReadableFile,
    Storage,
    WritableFile,
)


class ProcessKilled(BaseException):
    """The process is dead as far as its storage goes.

    Not an Exception: as with a real kill, nothing may handle it and go on.
    """


class FaultInjectingStorage:
    """Passes every call on to `inner`, except those that meet a fault.

    Args:
        faults: None only records. If a call meets several, the first of them happens.
    """

    def __init__(self, inner: Storage, faults: Iterable[Fault] = ()) -> None:
        self.inner = inner
        #: Every call so far, in order; those that a dead process tried are not there.
        self.calls: list[Call] = []
        self._countdowns = [Countdown(fault) for fault in faults]
        self._killed = False
        self._held: set[FileLock] = set()
        # Re-entrant: a signal handler may save while this very thread is in the middle of a call.
        self._mutex = threading.RLock()

    @property
    def is_killed(self) -> bool:
        return self._killed

    @property
    def met(self) -> list[Call]:
        """The calls that met a fault."""
        return [call for call in self.calls if call.fault is not None]

    def create(self, path: str) -> WritableFile:
        """Open a new file for writing; `errors.FileExists` if the name is taken."""
        self._enter("create", path)
        return _FaultyWritableFile(self, self.inner.create(path), path)

    def open(self, path: str) -> ReadableFile:
        """Open a regular file for reading; anything else that has the name is refused."""
        self._enter("open", path)
        return _FaultyReadableFile(self, self.inner.open(path), path)

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing what was there."""
        self._enter("rename", target, source=source)
        self.inner.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """Give a file one more name; `errors.FileExists` if the name is taken."""
        self._enter("link", target, source=source)
        self.inner.link(source, target)

    def sync_file(self, path: str) -> None:
        """Return once the content of a finished file is on stable storage."""
        self._enter("sync_file", path)
        self.inner.sync_file(path)

    def unlink(self, path: str) -> None:
        """Remove the name of a file; those who have it open keep its content."""
        self._enter("unlink", path)
        self.inner.unlink(path)

    def make_dirs(self, path: str) -> list[str]:
        """Create the directory and its parents; returns those that were not there."""
        self._enter("make_dirs", path)
        return self.inner.make_dirs(path)

    def sync_dir(self, path: str) -> None:
        """Return once the names in this directory are on stable storage."""
        self._enter("sync_dir", path)
        self.inner.sync_dir(path)

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        self._enter("list_dir", path)
        return self.inner.list_dir(path)

    def stat(self, path: str) -> FileInfo | None:
        """None when there is nothing of that name."""
        self._enter("stat", path)
        return self.inner.stat(path)

    def lock(self, path: str) -> FileLock:
        """A lock on the file `path`, which is created when it is not there."""
        return _FaultyLock(self, self.inner.lock(path), path)

    def _enter(
        self,
        method: str,
        path: str,
        *,
        partly: Callable[[float], None] | None = None,
        source: str | None = None,
        offset: int | None = None,
        size_bytes: int | None = None,
    ) -> None:
        """Number a call and raise if it is to fail; `partly` does a share of its work first."""
        with self._mutex:
            self._refuse_the_dead()
            call = Call(len(self.calls) + 1, method, path, source, offset, size_bytes)
            met = [countdown.fault for countdown in self._countdowns if countdown.meets(call)]
            fault = met[0] if met else None
            self.calls.append(replace(call, fault=fault))
        if fault is None:
            return
        if partly is not None and fault.written:
            partly(fault.written)
        if fault.error is None:
            self._die(call, fault)
        with reported(METHODS[method], path):
            raise system_error(fault.error or 0)

    def kill(self) -> None:
        """End the process between two calls: from now on, each raises `ProcessKilled`."""
        with self._mutex:
            self._killed = True
            held, self._held = self._held, set()
        for lock in held:
            lock.release()

    def _refuse_the_dead(self) -> None:
        if self._killed:
            raise ProcessKilled(f"killed after {len(self.calls)} calls")

    def _die(self, call: Call, fault: Fault) -> None:
        if fault.kill == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.kill()
        raise ProcessKilled(f"killed at {call}")

    def _took(self, lock: FileLock) -> None:
        """Remember a lock, to drop it when the process dies, which it may have done meanwhile."""
        with self._mutex:
            if not self._killed:
                self._held.add(lock)
                return
        lock.release()
        self._refuse_the_dead()

    def _gave_up(self, lock: FileLock) -> bool:
        """Forget a lock; whether it was held."""
        with self._mutex:
            was_held = lock in self._held
            self._held.discard(lock)
            return was_held


class _FaultyWritableFile:
    def __init__(self, storage: FaultInjectingStorage, file: WritableFile, path: str) -> None:
        self._storage = storage
        self._file = file
        self._path = path

    def preallocate(self, size_bytes: int) -> None:
        """Reserve space for the final size, where the storage can."""
        self._storage._enter("preallocate", self._path, size_bytes=size_bytes)  # noqa: SLF001
        self._file.preallocate(size_bytes)

    def bypass_cache(self) -> int:
        """Write past the system's cache from now on, where that is possible."""
        self._storage._enter("bypass_cache", self._path)  # noqa: SLF001
        return self._file.bypass_cache()

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all bytes of `buffers`, one after the other, beginning at `offset`."""
        size_bytes = sum(memoryview(buffer).nbytes for buffer in buffers)

        def partly(share: float) -> None:
            data = b"".join(map(as_bytes, buffers))
            self._file.write([data[: int(size_bytes * share)]], offset)

        self._storage._enter(  # noqa: SLF001
            "write", self._path, partly=partly, offset=offset, size_bytes=size_bytes
        )
        self._file.write(buffers, offset)

    def truncate(self, size_bytes: int) -> None:
        """Make the file exactly this long, cutting it or adding zeros."""
        self._storage._enter("truncate", self._path, size_bytes=size_bytes)  # noqa: SLF001
        self._file.truncate(size_bytes)

    def sync(self) -> None:
        """Return once the content is on stable storage."""
        self._storage._enter("sync", self._path)  # noqa: SLF001
        self._file.sync()

    def close(self) -> None:
        """Give the file up; a second call does nothing."""
        _close(self._storage, self._file, self._path)


class _FaultyReadableFile:
    def __init__(self, storage: FaultInjectingStorage, file: ReadableFile, path: str) -> None:
        self._storage = storage
        self._file = file
        self._path = path

    @property
    def path(self) -> str:
        """The path it was opened by."""
        return self._file.path

    @property
    def size_bytes(self) -> int:
        """The size when it was opened."""
        return self._file.size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""
        self._storage._enter("read", self._path, offset=offset, size_bytes=size_bytes)  # noqa: SLF001
        return self._file.read(offset, size_bytes)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer only at the end."""
        self._storage._enter(  # noqa: SLF001
            "read_into", self._path, offset=offset, size_bytes=buffer.nbytes
        )
        return self._file.read_into(buffer, offset)

    def map(self) -> memoryview:
        """All of the file as memory to be read, which outlives `close`."""
        self._storage._enter("map", self._path)  # noqa: SLF001
        return self._file.map()

    def close(self) -> None:
        """Give the file up; a second call does nothing."""
        _close(self._storage, self._file, self._path)


def _close(storage: FaultInjectingStorage, file: WritableFile | ReadableFile, path: str) -> None:
    """Close a file, also when that is reported to have failed, and for the dead, unasked."""
    try:
        if not storage.is_killed:
            storage._enter("close", path)  # noqa: SLF001
    finally:
        file.close()


class _FaultyLock:
    def __init__(self, storage: FaultInjectingStorage, lock: FileLock, path: str) -> None:
        self._storage = storage
        self._lock = lock
        self._path = path

    def acquire(self, timeout_secs: float | None = None) -> None:
        """Wait for the lock; `errors.LockTimeout` after `timeout_secs`, None waits for ever."""
        self._storage._enter("acquire", self._path)  # noqa: SLF001
        self._lock.acquire(timeout_secs)
        self._storage._took(self._lock)  # noqa: SLF001

    def try_acquire(self) -> bool:
        """Take the lock if it is free now; says whether it was."""
        self._storage._enter("try_acquire", self._path)  # noqa: SLF001
        is_ours = self._lock.try_acquire()
        if is_ours:
            self._storage._took(self._lock)  # noqa: SLF001
        return is_ours

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""
        if self._storage.is_killed:
            return  # dropped at the kill; by now it may be somebody else's
        try:
            self._storage._enter("release", self._path)  # noqa: SLF001
        finally:
            if self._storage._gave_up(self._lock):  # noqa: SLF001
                self._lock.release()

    def __enter__(self) -> _FaultyLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
