"""A storage that delegates every call to another, and tells of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckptmgr.storage import MemoryStorage, Storage
from ckptmgr.storage.protocol import Buffer, FileInfo, FileLock, ReadableFile, WritableFile

Hook = Callable[[str, str], None]

#: The calls that change what is on disk or bring it to safety.
CHANGES = frozenset(
    {
        *("create", "preallocate", "write", "truncate", "sync"),
        *("link", "sync_file", "rename", "unlink", "sync_dir"),
    }
)


def _nothing(operation: str, path: str) -> None:
    """Do nothing."""


class ObservedStorage:
    """Appends each call to `calls`, and runs a hook before and after it."""

    def __init__(
        self, inner: Storage | None = None, *, before: Hook = _nothing, after: Hook = _nothing
    ) -> None:
        self.inner: Storage = inner if inner is not None else MemoryStorage()
        self.calls: list[tuple[str, str]] = []
        self.before = before
        self.after = after

    def changes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in CHANGES]

    def note(self, operation: str, path: str) -> None:
        self.calls.append((operation, path))
        self.before(operation, path)

    def create(self, path: str) -> WritableFile:
        self.note("create", path)
        file = self.inner.create(path)
        self.after("create", path)
        return _Writable(self, file, path)

    def open(self, path: str) -> ReadableFile:
        self.note("open", path)
        file = self.inner.open(path)
        self.after("open", path)
        return _Readable(self, file)

    def rename(self, source: str, target: str) -> None:
        self.note("rename", target)
        self.inner.rename(source, target)
        self.after("rename", target)

    def link(self, source: str, target: str) -> None:
        self.note("link", target)
        self.inner.link(source, target)
        self.after("link", target)

    def sync_file(self, path: str) -> None:
        self.note("sync_file", path)
        self.inner.sync_file(path)
        self.after("sync_file", path)

    def unlink(self, path: str) -> None:
        self.note("unlink", path)
        self.inner.unlink(path)
        self.after("unlink", path)

    def make_dirs(self, path: str) -> list[str]:
        return self.inner.make_dirs(path)

    def sync_dir(self, path: str) -> None:
        self.note("sync_dir", path)
        self.inner.sync_dir(path)
        self.after("sync_dir", path)

    def list_dir(self, path: str) -> list[str]:
        self.note("list_dir", path)
        return self.inner.list_dir(path)

    def stat(self, path: str) -> FileInfo | None:
        self.note("stat", path)
        return self.inner.stat(path)

    def lock(self, path: str) -> FileLock:
        return self.inner.lock(path)


class _Writable:
    def __init__(self, storage: ObservedStorage, file: WritableFile, path: str) -> None:
        self._storage = storage
        self._file = file
        self._path = path

    def preallocate(self, size_bytes: int) -> None:
        self._storage.note("preallocate", self._path)
        self._file.preallocate(size_bytes)

    def bypass_cache(self) -> int:
        return self._file.bypass_cache()

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        self._storage.note("write", self._path)
        self._file.write(buffers, offset)

    def truncate(self, size_bytes: int) -> None:
        self._storage.note("truncate", self._path)
        self._file.truncate(size_bytes)

    def sync(self) -> None:
        self._storage.note("sync", self._path)
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class _Readable:
    def __init__(self, storage: ObservedStorage, file: ReadableFile) -> None:
        self._storage = storage
        self._file = file

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        self._storage.note("read", self.path)
        return self._file.read(offset, size_bytes)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self._storage.note("read", self.path)
        return self._file.read_into(buffer, offset)

    def map(self) -> memoryview:
        self._storage.note("map", self.path)
        return self._file.map()

    def close(self) -> None:
        self._storage.note("close", self.path)
        self._file.close()
