"""A disk that loses its machine: after a given number of changes every call fails.

`survivors` is what a restarted machine finds. After a killed process that is every change made.
After a power cut it is what was synced, and of the rest any part: a later rename may have reached
the disk and an earlier one not, and content that was not synced is gone though its name is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ckptmgr.storage import MemoryStorage
from ckptmgr.storage.protocol import Buffer, FileLock, WritableFile


class MachineLost(BaseException):
    """Not an Exception: nothing may handle it and go on."""


@dataclass(eq=False)
class _Content:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class _Change:
    """One change of a directory: what `path` means from now on, and the name that it came from."""

    path: str
    content: _Content | None
    source: str | None = None
    is_synced: bool = False


class CrashingStorage(MemoryStorage):
    """Memory that keeps a journal and fails for good after `changes_left` changes."""

    def __init__(self) -> None:
        self._journal: list[_Change] = []
        self._named: dict[str, _Content] = {}
        self._made: list[str] = []
        self.changes_left: int | None = None
        super().__init__()

    def count(self) -> None:
        if self.changes_left is not None:
            if self.changes_left == 0:
                raise MachineLost
            self.changes_left -= 1

    def create(self, path: str) -> WritableFile:
        self.count()
        file = super().create(path)
        content = self._link(path)
        return cast("WritableFile", _CrashingFile(self, file, content))

    def rename(self, source: str, target: str) -> None:
        self.count()
        super().rename(source, target)
        content = self._named.pop(source)
        self._named[target] = content
        self._journal.append(_Change(target, content, source))

    def link(self, source: str, target: str) -> None:
        self.count()
        super().link(source, target)
        content = self._named[target] = self._named[source]
        self._journal.append(_Change(target, content))

    def sync_file(self, path: str) -> None:
        self.count()
        super().sync_file(path)
        content = self._named[path]
        content.synced = bytes(content.data)

    def unlink(self, path: str) -> None:
        self.count()
        super().unlink(path)
        del self._named[path]
        self._journal.append(_Change(path, None))

    def make_dirs(self, path: str) -> list[str]:
        made = super().make_dirs(path)
        self._made += made  # whoever makes one syncs it at once; not what is tested here
        return made

    def sync_dir(self, path: str) -> None:
        self.count()
        super().sync_dir(path)
        for change in self._journal:
            change.is_synced |= os.path.dirname(change.path) == path

    def lock(self, path: str) -> FileLock:
        if self.stat(path) is None:
            self._link(path)
        return super().lock(path)

    def _link(self, path: str) -> _Content:
        content = self._named[path] = _Content()
        self._journal.append(_Change(path, content))
        return content

    def survivors(self, lost: Callable[[], bool] | None = None) -> CrashingStorage:
        """The disk after the restart.

        Args:
            lost: Whether to lose the next thing that a power cut may lose; None: nothing is lost,
                as when only the process died.
        """
        named: dict[str, _Content] = {}
        for change in self._journal:
            if lost is not None and not change.is_synced and lost():
                continue
            if change.source is not None and named.get(change.source) is change.content:
                del named[change.source]
            if change.content is None:
                named.pop(change.path, None)
            else:
                named[change.path] = change.content
        after = CrashingStorage()
        for directory in self._made:
            after.make_dirs(directory)
        for path, content in named.items():
            whole = lost is None or bytes(content.data) == content.synced or not lost()
            file = after.create(path)
            file.write([bytes(content.data) if whole else content.synced], 0)
            file.sync()
            file.close()
        for directory in self._made:
            after.sync_dir(directory)
        return after


class _CrashingFile:
    def __init__(self, storage: CrashingStorage, file: WritableFile, content: _Content) -> None:
        self._storage = storage
        self._file = file
        self._content = content

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        self._storage.count()
        self._file.write(buffers, offset)
        data = b"".join(map(bytes, buffers))
        self._content.data[offset : offset + len(data)] = data

    def sync(self) -> None:
        self._storage.count()
        self._content.synced = bytes(self._content.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
