"""Marks on checkpoints: what several processes, and those that come after a crash, know of them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from ckptmgr import errors
from ckptmgr.lifecycle.directories import make_directory, names_in
from ckptmgr.storage import Storage


@dataclass(frozen=True, slots=True)
class Marks:
    """A set of checkpoints' base names, as empty files; changed only under the directory's lock.

    A mark that is not durable may be lost in a power cut: it then leaves a checkpoint too many on
    the disk, never too few.
    """

    storage: Storage
    path: str
    durable: bool

    def names(self) -> list[str]:
        return names_in(self.storage, self.path)

    def add(self, base: str) -> None:
        make_directory(self.storage, self.path)
        with suppress(errors.FileExists):
            self.storage.create(os.path.join(self.path, base)).close()
        self._sync()

    def remove(self, base: str) -> None:
        mark = os.path.join(self.path, base)
        info = self.storage.stat(mark)
        # A file with content is none of ours: somebody made this directory a link to another.
        if info is not None and not info.size_bytes:
            with suppress(errors.FileMissing):
                self.storage.unlink(mark)
            self._sync()

    def _sync(self) -> None:
        if self.durable:  # the user was told that it holds
            internal = os.path.dirname(self.path)
            # Whoever made the directories may have been killed before it synced their names.
            for directory in (self.path, internal, os.path.dirname(internal)):
                self.storage.sync_dir(directory)
