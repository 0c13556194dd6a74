"""Where bytes live: the calls that the rest of the package may make of a disk.

Every operation that touches storage goes through `Storage`, one method per system call that
matters for durability, so that a test can stand in for the disk and fail any call. A method does
exactly what it says: `rename` does not sync, `sync` is not tried again, nothing is ordered for the
caller. The order in which they must be called is the business of `bundle` and `lifecycle`.

Paths are text, as given by the user: absolute, or relative to the working directory.
Every failure is an `errors.StorageError` (`FileMissing`, `PermissionDenied`, ...) that names the
path. Nothing else leaves a storage, but for the `errors.LockTimeout` of a lock.

Reads and writes name their offset, so several threads may use one open file at a time, and a writer
that needs aligned buffers and offsets (O_DIRECT) can do its work behind the same calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

#: Must be contiguous: what cannot be handed to the system as one range of memory is not accepted.
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What `stat` tells of one file or directory."""

    name: str
    size_bytes: int
    mtime_secs: float
    is_dir: bool
    #: Changes whenever another file takes this name: lets a follower tell a replaced file.
    identity: tuple[int, ...]
    #: Whether the name is that of a symbolic link to it.
    is_link: bool = False


class WritableFile(Protocol):
    """A new file, private to its writer until it is renamed."""

    def preallocate(self, size_bytes: int) -> None:
        """Reserve space for the final size; a store that cannot do so ignores it.

        The file may or may not have that length afterwards: write all of it, or `truncate`.
        """

    def bypass_cache(self) -> int:
        """Write past the system's cache from now on, where that is possible.

        Returns:
            What the address, offset and length of every write must now be a multiple of, in bytes;
            1 if nothing has changed.
        """

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all bytes of `buffers`, one after the other, beginning at `offset`."""

    def truncate(self, size_bytes: int) -> None:
        """Make the file exactly this long, cutting it or adding zeros."""

    def sync(self) -> None:
        """Return once the content is on stable storage.

        After a failure the content is lost for good: a second call may well succeed without having
        written it, so the only sound answer is to give the file up.
        """

    def close(self) -> None:
        """Give the file up, without syncing; a second call does nothing."""


class ReadableFile(Protocol):
    """An open file; goes on reading the same content after the name is unlinked or replaced."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int:
        """The size when it was opened; nothing beyond is read, even if the file has grown."""

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer only at the end."""

    def map(self) -> memoryview:
        """All of the file as memory to be read, which outlives `close` for as long as it is used.

        Whether later changes to the content of the file show in it is not defined. It must not be
        cut short meanwhile: to touch memory behind the end of a file ends the process.
        """

    def close(self) -> None:
        """Give the file up; a second call does nothing."""


class FileLock(Protocol):
    """An exclusive lock that the system drops when its owner dies.

    It belongs to the thread that acquired it and excludes every other thread and process, those
    that use the same `FileLock` object included. It is not re-entrant: a thread that waits without
    limit for a lock of its own gets a `StorageError` (EDEADLK).
    """

    def acquire(self, timeout_secs: float | None = None) -> None:
        """Wait for the lock; `errors.LockTimeout` after `timeout_secs`, None waits for ever."""

    def try_acquire(self) -> bool:
        """Take the lock if it is free now; says whether it was."""

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held. The file stays."""

    def __enter__(self) -> FileLock: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Storage(Protocol):
    """A directory tree with POSIX rename semantics."""

    def create(self, path: str) -> WritableFile:
        """Open a new file for writing; `errors.FileExists` if the name is taken."""

    def open(self, path: str) -> ReadableFile:
        """Open a regular file for reading; anything else that has the name is refused."""

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing what was there.

        A file replaces a file; a directory replaces nothing but an empty directory.
        """

    def link(self, source: str, target: str) -> None:
        """Give a file one more name, a hard link; `errors.FileExists` if the name is taken.

        Each name can be removed or replaced without the other. Some stores have no such thing, and
        all have files that they refuse it to: on another file system, of another user, or with too
        many names already.
        """

    def sync_file(self, path: str) -> None:
        """Return once the content of a finished file, whoever wrote it, is on stable storage."""

    def unlink(self, path: str) -> None:
        """Remove the name of a file; those who have it open keep its content."""

    def make_dirs(self, path: str) -> list[str]:
        """Create the directory and its parents; no error when it exists.

        Returns:
            The directories that this call created, outermost first. Each is durable only once its
            parent is synced, and nobody but this call knows which those are.
        Raises:
            NotADirectory: A file has that name, or the name of a parent.
        """

    def sync_dir(self, path: str) -> None:
        """Return once the names in this directory are on stable storage."""

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def stat(self, path: str) -> FileInfo | None:
        """None when there is nothing of that name."""

    def lock(self, path: str) -> FileLock:
        """A lock on the file `path`, which is created when it is not there and holds nothing else.

        The file is made by the first acquire, in a directory that must exist, and is never removed:
        a waiter that has the removed file open would share the lock with one that made a new file.
        """
