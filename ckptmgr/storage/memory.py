"""A file system in memory, for tests and for runs that need no disk.

It answers as a POSIX file system does: a tree of nodes with names that point to them, so that an
open file outlives its name and a rename moves a node without touching its content. One mutex
guards the whole tree; a file's bytes are copied in and out, never shared with the caller.

There are no users, symbolic links or sizes to run out of. What syncs finds everything stable
already. Relative paths start at the working directory, which is there from the beginning.
"""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from ckptmgr.storage.buffers import as_bytes
from ckptmgr.storage.failures import reported, system_error
from ckptmgr.storage.lock import TimedLock
from ckptmgr.storage.protocol import Buffer, FileInfo, FileLock, ReadableFile, WritableFile

#: Bytes in one name: NAME_MAX of linux/limits.h.
_NAME_MAX_BYTES = 255

_serials = itertools.count(1)


class _Node:
    """A file or directory apart from its name; its serial is never given out again."""

    def __init__(self) -> None:
        self.serial = next(_serials)
        self.mtime_ns = time.time_ns()


class _File(_Node):
    def __init__(self) -> None:
        super().__init__()
        self.content = bytearray()


class _Directory(_Node):
    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, _File | _Directory] = {}


class MemoryStorage:
    """A directory tree that lives as long as this object; safe to use from several threads."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler may save while this very thread is in the middle of a call.
        self._mutex = threading.RLock()
        self._root = _Directory()
        self._gates: dict[str, _Gate] = {}
        self.make_dirs(".")

    def create(self, path: str) -> WritableFile:
        """Open a new file for writing; `errors.FileExists` if the name is taken."""
        with reported("create", path), self._mutex:
            parent, name = self._place(path)
            if name in parent.entries:
                raise system_error(errno.EEXIST)
            return _MemoryWritableFile(_add_file(parent, name), path, self._mutex)

    def open(self, path: str) -> ReadableFile:
        """Open a file for reading; a directory is refused."""
        with reported("open", path), self._mutex:
            node = self._find(path)
            if isinstance(node, _Directory):
                raise system_error(errno.EISDIR)
            return _MemoryReadableFile(node, path, self._mutex)

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing what was there."""
        with reported(f"rename {source} to", target), self._mutex:
            node = self._find(source)
            old_parent, old_name = self._place(source)
            new_parent, new_name = self._place(target)
            if isinstance(node, _Directory) and _is_below(target, source):
                raise system_error(errno.EINVAL)
            replaced = new_parent.entries.get(new_name)
            if replaced is node:
                return
            if replaced is not None:
                _check_replaceable(node, replaced)
            new_parent.entries[new_name] = node
            del old_parent.entries[old_name]
            old_parent.mtime_ns = new_parent.mtime_ns = time.time_ns()

    def link(self, source: str, target: str) -> None:
        """Give a file one more name; `errors.FileExists` if the name is taken."""
        with reported(f"link {source} to", target), self._mutex:
            node = self._find(source)
            parent, name = self._place(target)
            if name in parent.entries:
                raise system_error(errno.EEXIST)
            if isinstance(node, _Directory):
                raise system_error(errno.EPERM)
            parent.entries[name] = node
            parent.mtime_ns = time.time_ns()

    def sync_file(self, path: str) -> None:
        """Check that the file is there; memory is as stable as it gets."""
        with reported("sync", path), self._mutex:
            self._find(path)

    def unlink(self, path: str) -> None:
        """Remove the name of a file; those who have it open keep its content."""
        with reported("remove", path), self._mutex:
            if isinstance(self._find(path), _Directory):
                raise system_error(errno.EISDIR)
            parent, name = self._place(path)
            del parent.entries[name]
            parent.mtime_ns = time.time_ns()

    def make_dirs(self, path: str) -> list[str]:
        """Create the directory and its parents; returns those that were not there."""
        with reported("make directory", path), self._mutex:
            made = []
            parent = self._root
            reached = ""
            for name in _names(path):
                reached += "/" + name
                if name not in parent.entries:
                    parent.entries[name] = _Directory()
                    parent.mtime_ns = time.time_ns()
                    made.append(reached)
                node = parent.entries[name]
                if isinstance(node, _File):
                    raise OSError(errno.ENOTDIR, f"{reached} is not a directory")
                parent = node
            return made

    def sync_dir(self, path: str) -> None:
        """Check that the directory is there; its names cannot be lost."""
        with reported("sync directory", path), self._mutex:
            _as_directory(self._find(path))

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        with reported("list", path), self._mutex:
            return sorted(_as_directory(self._find(path)).entries)

    def stat(self, path: str) -> FileInfo | None:
        """None when there is nothing of that name."""
        with reported("stat", path), self._mutex:
            try:
                node = self._find(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            size_bytes = len(node.content) if isinstance(node, _File) else 0
            return FileInfo(
                name=posixpath.basename(os.path.normpath(path)),
                size_bytes=size_bytes,
                mtime_secs=node.mtime_ns / 1e9,
                is_dir=isinstance(node, _Directory),
                identity=(node.serial, node.mtime_ns, size_bytes),
            )

    def lock(self, path: str) -> FileLock:
        """A lock between the threads of this process on the file `path`."""
        return _MemoryLock(path, partial(self._gate, path))

    def _gate(self, path: str) -> _Gate:
        """What all locks on this path wait for; creates the lock file if it is not there."""
        with self._mutex:
            parent, name = self._place(path)
            node = parent.entries.get(name)
            if isinstance(node, _Directory):
                raise system_error(errno.EISDIR)
            if node is None:
                _add_file(parent, name)
            return self._gates.setdefault("/".join(_names(path)), _Gate())

    def _find(self, path: str) -> _File | _Directory:
        """The node of that name; FileNotFoundError or NotADirectoryError if there is none."""
        node: _File | _Directory = self._root
        for name in _names(path):
            entries = _as_directory(node).entries
            if name not in entries:
                raise system_error(errno.ENOENT)
            node = entries[name]
        return node

    def _place(self, path: str) -> tuple[_Directory, str]:
        """The directory that holds, or would hold, this name."""
        names = _names(path)
        if not names:
            raise system_error(errno.EBUSY)  # the root has no name that could be changed
        *parents, name = names
        parent = self._find("/" + "/".join(parents))
        return _as_directory(parent), name


class _MemoryFile:
    """A node that stays alive while it is open, whatever becomes of its name."""

    def __init__(self, node: _File, path: str, mutex: threading.RLock) -> None:
        self._open_node: _File | None = node
        self._path = path
        self._mutex = mutex

    @property
    def _node(self) -> _File:
        if self._open_node is None:
            raise system_error(errno.EBADF)
        return self._open_node

    def close(self) -> None:
        """Give the file up; a second call does nothing."""
        self._open_node = None


class _MemoryWritableFile(_MemoryFile):
    def preallocate(self, size_bytes: int) -> None:
        """Check the request; memory needs no reservation."""
        with reported("reserve space for", self._path):
            _ = self._node
            if size_bytes < 0:
                raise system_error(errno.EINVAL)

    def bypass_cache(self) -> int:
        """Memory has no cache in front of it."""
        return 1

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all bytes of `buffers`, one after the other, beginning at `offset`."""
        with reported("write", self._path), self._mutex:
            content = self._node.content
            if offset < 0:
                raise system_error(errno.EINVAL)
            data = b"".join(map(as_bytes, buffers))
            if data:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
            self._node.mtime_ns = time.time_ns()

    def truncate(self, size_bytes: int) -> None:
        """Make the file exactly this long, cutting it or adding zeros."""
        with reported("truncate", self._path), self._mutex:
            content = self._node.content
            if size_bytes < 0:
                raise system_error(errno.EINVAL)
            del content[size_bytes:]
            content.extend(bytes(size_bytes - len(content)))
            self._node.mtime_ns = time.time_ns()

    def sync(self) -> None:
        """Check that the file is open; memory is as stable as it gets."""
        with reported("sync", self._path):
            _ = self._node


class _MemoryReadableFile(_MemoryFile):
    def __init__(self, node: _File, path: str, mutex: threading.RLock) -> None:
        super().__init__(node, path, mutex)
        self._size_bytes = len(node.content)

    @property
    def path(self) -> str:
        """The path it was opened by."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """The size when it was opened."""
        return self._size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""
        with reported("read", self._path), self._mutex:
            if offset < 0 or size_bytes < 0:
                raise system_error(errno.EINVAL)
            return self._between(offset, size_bytes)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer only at the end."""
        with reported("read", self._path), self._mutex:
            if offset < 0:
                raise system_error(errno.EINVAL)
            found = self._between(offset, buffer.nbytes)
            as_bytes(buffer)[: len(found)] = found
            return len(found)

    def map(self) -> memoryview:
        """A copy of the file: while its own memory is in use elsewhere, it could not grow."""
        with reported("map", self._path), self._mutex:
            return memoryview(self._between(0, self._size_bytes))

    def _between(self, offset: int, size_bytes: int) -> bytes:
        end = min(offset + size_bytes, self._size_bytes)
        return bytes(memoryview(self._node.content)[offset:end])


class _Gate:
    """What the locks on one path share: who may pass, and who has."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: int | None = None


class _MemoryLock(TimedLock):
    def __init__(self, path: str, find_gate: Callable[[], _Gate]) -> None:
        super().__init__(path)
        self._find_gate = find_gate
        self._held: _Gate | None = None

    def _attempt(self, limit_secs: float | None) -> bool:
        with reported("lock", self._path):
            gate = self._find_gate()
            if limit_secs is None and gate.owner == threading.get_ident():
                raise OSError(errno.EDEADLK, "this thread already holds the lock")
            wait_secs = -1 if limit_secs is None else min(limit_secs, threading.TIMEOUT_MAX)
            if not gate.lock.acquire(timeout=wait_secs):
                return False
        gate.owner = threading.get_ident()
        self._held = gate
        return True

    def release(self) -> None:
        """Let the next one in; does nothing when the lock is not held."""
        # Forgotten before it is free: the thread that gets it next stores its own hold here.
        gate, self._held = self._held, None
        if gate is not None:
            gate.owner = None
            gate.lock.release()


def _names(path: str) -> list[str]:
    """The names from the root down to `path`."""
    if not path:
        raise system_error(errno.ENOENT)
    if "\0" in path:
        raise system_error(errno.EINVAL)
    names = [name for name in os.path.abspath(path).split("/") if name]
    if any(len(os.fsencode(name)) > _NAME_MAX_BYTES for name in names):
        raise system_error(errno.ENAMETOOLONG)
    return names


def _as_directory(node: _File | _Directory) -> _Directory:
    if isinstance(node, _File):
        raise system_error(errno.ENOTDIR)
    return node


def _add_file(parent: _Directory, name: str) -> _File:
    node = _File()
    parent.entries[name] = node
    parent.mtime_ns = node.mtime_ns
    return node


def _is_below(path: str, ancestor: str) -> bool:
    above = _names(ancestor)
    below = _names(path)
    return len(below) > len(above) and below[: len(above)] == above


def _check_replaceable(node: _File | _Directory, replaced: _File | _Directory) -> None:
    """The refusals of rename(2)."""
    if isinstance(replaced, _Directory):
        if isinstance(node, _File):
            raise system_error(errno.EISDIR)
        if replaced.entries:
            raise system_error(errno.ENOTEMPTY)
    elif isinstance(node, _Directory):
        raise system_error(errno.ENOTDIR)
