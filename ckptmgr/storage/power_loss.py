"""A disk in memory that can tell what a cut of the power would have left of it.

`PowerLossStorage` writes down each change made to it. From that trace `power_cuts` yields the
states of the disk that POSIX allows for a cut behind each change (`disk_states` says which those
are), each as a `DiskImage` from which `storage()` makes a disk to run a recovery on:

    storage = PowerLossStorage()
    save(storage)
    for cut in storage.power_cuts():
        check(cut.image.storage())
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckptmgr.storage.buffers import as_bytes
from ckptmgr.storage.disk_states import (
    DIRECTORY,
    Bounds,
    Change,
    Disk,
    DiskImage,
    Named,
    SyncedDirectory,
    SyncedFile,
    Written,
)
from ckptmgr.storage.protocol import Buffer, FileInfo, FileLock, ReadableFile, WritableFile


@dataclass(frozen=True, slots=True)
class PowerCut:
    """One disk that a cut may leave."""

    #: So many changes had been made. Equal states of later cuts are not yielded again.
    num_changes: int
    image: DiskImage
    #: Whether every combination of names that this cut may leave was looked at.
    exhaustive: bool


class PowerLossStorage:
    """A disk in memory, and the trace of what was done to it.

    Args:
        start: What is on it, all of it stable.
    """

    def __init__(self, start: DiskImage | None = None) -> None:
        self._start = start or DiskImage()
        self._memory = self._start.storage()
        self._names = {**dict.fromkeys(self._start.directories, DIRECTORY), **self._start.names}
        self._next_number = max(self._start.contents, default=0) + 1
        self._changes: list[Change] = []
        self._mutex = threading.RLock()

    # ----------------------------------------------------------------------- looking

    @property
    def num_changes(self) -> int:
        """The changes and syncs so far."""
        return len(self._changes)

    def image(self) -> DiskImage:
        """The disk as it is now: what a process finds after another one was killed."""
        return self._replayed(self.num_changes).kept()

    def synced_image(self) -> DiskImage:
        """The disk without anything that was not synced."""
        return self._replayed(self.num_changes).synced()

    def rewound(self, num_changes: int) -> PowerLossStorage:
        """The disk as it was after so many changes, with what was not synced by then as it was.

        What a process finds after another one was killed there, and whose trace goes on.
        """
        kept = self._replayed(num_changes).kept()
        rewound = PowerLossStorage(kept)
        rewound._start = self._start
        rewound._changes = self._changes[:num_changes]
        rewound._next_number = self._next_number
        return rewound

    def power_cuts(
        self, first: int = 0, last: int | None = None, *, bounds: Bounds | None = None
    ) -> Iterator[PowerCut]:
        """The distinct states of the disk after a cut behind the change `first`, or a later one.

        Args:
            first: 0 is a cut before any change.
            last: Of the cuts; None goes to the end of the trace.
        """
        bounds = bounds or Bounds()
        last = self.num_changes if last is None else last
        disk = self._replayed(first)
        seen: set[object] = set()
        for num_changes in range(first, last + 1):
            if num_changes > first:
                disk.apply(self._changes[num_changes - 1])
            for image in disk.possible(bounds):
                key = image.key()
                if key not in seen:
                    seen.add(key)
                    exhaustive = disk.num_pending <= bounds.max_operations
                    yield PowerCut(num_changes, image, exhaustive)

    def _replayed(self, num_changes: int) -> Disk:
        disk = Disk(self._start)
        for change in self._changes[:num_changes]:
            disk.apply(change)
        return disk

    # ----------------------------------------------------------------------- the storage

    def create(self, path: str) -> WritableFile:
        """Open a new file for writing; `errors.FileExists` if the name is taken."""
        with self._mutex:
            file = self._memory.create(path)
            return _TracedFile(self, file, self._add_file(os.path.abspath(path)))

    def open(self, path: str) -> ReadableFile:
        """Open a file for reading; a directory is refused."""
        return self._memory.open(path)

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing what was there."""
        with self._mutex:
            self._memory.rename(source, target)
            old, new = os.path.abspath(source), os.path.abspath(target)
            number = self._names[old]
            if number == DIRECTORY:
                self._move_directory(old, new)
            elif self._names.get(new) != number:  # two links to one file are left alone: rename(2)
                self._change_names(((new, number), (old, None)))

    def link(self, source: str, target: str) -> None:
        """Give a file one more name; `errors.FileExists` if the name is taken."""
        with self._mutex:
            self._memory.link(source, target)
            self._change_names(((os.path.abspath(target), self._names[os.path.abspath(source)]),))

    def sync_file(self, path: str) -> None:
        """Make the content of a file stable."""
        with self._mutex:
            self._memory.sync_file(path)
            self._changes.append(SyncedFile(self._names[os.path.abspath(path)]))

    def unlink(self, path: str) -> None:
        """Remove the name of a file; those who have it open keep its content."""
        with self._mutex:
            self._memory.unlink(path)
            self._change_names(((os.path.abspath(path), None),))

    def make_dirs(self, path: str) -> list[str]:
        """Create the directory and its parents; returns those that were not there."""
        with self._mutex:
            made = self._memory.make_dirs(path)
            for directory in made:
                self._change_names(((directory, DIRECTORY),))
            return made

    def sync_dir(self, path: str) -> None:
        """Make the names in this directory stable."""
        with self._mutex:
            self._memory.sync_dir(path)
            self._changes.append(SyncedDirectory(os.path.abspath(path)))

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        return self._memory.list_dir(path)

    def stat(self, path: str) -> FileInfo | None:
        """None when there is nothing of that name."""
        return self._memory.stat(path)

    def lock(self, path: str) -> FileLock:
        """A lock between the threads of this process on the file `path`."""
        return _TracedLock(self, self._memory.lock(path), os.path.abspath(path))

    def _add_file(self, path: str) -> int:
        number = self._next_number
        self._next_number += 1
        self._change_names(((path, number),))
        return number

    def _move_directory(self, old: str, new: str) -> None:
        """What is in a directory moves with it, and is then as stable as its new name."""
        below = [path for path in self._names if path.startswith(f"{old}/")]
        moved = [(new + path[len(old) :], self._names[path]) for path in (old, *below)]
        self._change_names((*moved, *((path, None) for path in (old, *below))))

    def _change_names(self, entries: tuple[tuple[str, int | None], ...]) -> None:
        for path, number in entries:
            if number is None:
                del self._names[path]
            else:
                self._names[path] = number
        self._changes.append(Named(entries))

    def _attempt_lock(self, path: str) -> None:
        """Note the lock file that the attempt is about to make, where it can make one."""
        with self._mutex:
            parent = self._memory.stat(os.path.dirname(path))
            if parent is not None and parent.is_dir and self._memory.stat(path) is None:
                self._memory.create(path).close()
                self._add_file(path)


class _TracedFile:
    def __init__(self, storage: PowerLossStorage, file: WritableFile, number: int) -> None:
        self._storage = storage
        self._file = file
        self._number = number

    def preallocate(self, size_bytes: int) -> None:
        """Check the request; memory needs no reservation."""
        self._file.preallocate(size_bytes)

    def bypass_cache(self) -> int:
        """Memory has no cache in front of it."""
        return self._file.bypass_cache()

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all bytes of `buffers`, one after the other, beginning at `offset`."""
        with self._storage._mutex:  # noqa: SLF001 -- one class in two parts
            self._file.write(buffers, offset)
            self._note(Written(self._number, offset, b"".join(map(as_bytes, buffers))))

    def truncate(self, size_bytes: int) -> None:
        """Make the file exactly this long, cutting it or adding zeros."""
        with self._storage._mutex:  # noqa: SLF001
            self._file.truncate(size_bytes)
            self._note(Written(self._number, size_bytes, None))

    def sync(self) -> None:
        """Make the content stable."""
        with self._storage._mutex:  # noqa: SLF001
            self._file.sync()
            self._note(SyncedFile(self._number))

    def close(self) -> None:
        """Give the file up; a second call does nothing."""
        self._file.close()

    def _note(self, change: Change) -> None:
        self._storage._changes.append(change)  # noqa: SLF001


class _TracedLock:
    def __init__(self, storage: PowerLossStorage, lock: FileLock, path: str) -> None:
        self._storage = storage
        self._lock = lock
        self._path = path

    def acquire(self, timeout_secs: float | None = None) -> None:
        """Wait for the lock; `errors.LockTimeout` after `timeout_secs`, None waits for ever."""
        self._storage._attempt_lock(self._path)  # noqa: SLF001
        self._lock.acquire(timeout_secs)

    def try_acquire(self) -> bool:
        """Take the lock if it is free now; says whether it was."""
        self._storage._attempt_lock(self._path)  # noqa: SLF001
        return self._lock.try_acquire()

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""
        self._lock.release()

    def __enter__(self) -> _TracedLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
