"""Storages that leave out or put off single calls: what a broken commit order makes of the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ckptmgr import errors
from ckptmgr.storage import FaultInjectingStorage, Storage, WritableFile

# --------------------------------------------------------------------------- calls left out


class Skipping(FaultInjectingStorage):
    """Leaves out the syncs of some files."""

    def __init__(self, inner: Storage, of: str) -> None:
        super().__init__(inner)
        self._of = of

    def create(self, path: str) -> WritableFile:
        file = super().create(path)
        return _Unsynced(file) if self._of in path else file

    def sync_file(self, path: str) -> None:
        if self._of not in path:
            super().sync_file(path)


class _Unsynced:
    def __init__(self, file: WritableFile) -> None:
        self._file = file

    def sync(self) -> None:
        """Promise it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class SkippingDirectory(FaultInjectingStorage):
    """Leaves out a sync of a directory when the change before it was of a certain kind."""

    def __init__(self, inner: Storage, after: Callable[[str, str], bool]) -> None:
        super().__init__(inner)
        self._after = after
        self._skips = False

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self._skips = self._after(source, target)

    def make_dirs(self, path: str) -> list[str]:
        made = super().make_dirs(path)
        self._skips = bool(made) and self._after("", path)
        return made

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._skips = False

    def sync_dir(self, path: str) -> None:
        if not self._skips:
            super().sync_dir(path)


class Swallowing(FaultInjectingStorage):
    """Goes on when a file could not be synced."""

    def create(self, path: str) -> WritableFile:
        return _SyncSwallowed(super().create(path))


class _SyncSwallowed(_Unsynced):
    def sync(self) -> None:
        with suppress(errors.StorageError):
            self._file.sync()


# --------------------------------------------------------------------------- calls put off


class Deferring(FaultInjectingStorage):
    """Makes the renames to some names only after the one to another name."""

    def __init__(
        self, inner: Storage, deferred: Callable[[str], bool], until: Callable[[str], bool]
    ) -> None:
        super().__init__(inner)
        self._is_deferred = deferred
        self._until = until
        self._waiting: list[tuple[str, str]] = []

    def rename(self, source: str, target: str) -> None:
        if self._is_deferred(target) and source.startswith(f"{target}.tmp-"):
            self._waiting.append((source, target))
            return
        super().rename(source, target)
        if self._until(target):
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                super().rename(*one)


class InPlace(FaultInjectingStorage):
    """Writes some files anew under the name that they have, instead of renaming new ones."""

    def __init__(self, inner: Storage, suffix: str) -> None:
        super().__init__(inner)
        self._suffix = suffix

    def rename(self, source: str, target: str) -> None:
        if not target.endswith(self._suffix):
            super().rename(source, target)
            return
        old = self.open(source)
        with suppress(errors.FileMissing):
            self.unlink(target)
        new = self.create(target)
        new.write([old.read(0, old.size_bytes)], 0)
        new.sync()
        new.close()
        old.close()
        self.unlink(source)
