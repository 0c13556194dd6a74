"""The directories that one owner saves into, each registered once for as long as the owner lives.

To register as a writer costs a listing of the directory, so whoever saves often does it once.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

from ckptmgr import errors
from ckptmgr.lifecycle.run_directory import RunDirectory, working_directory_of
from ckptmgr.storage import Storage

_Directories = dict[tuple[str | None, str], RunDirectory]


class WriterRegistrations:
    """Ends its registrations when it is garbage, or with the process.

    A copy, such as the one that another process unpickles, begins without any.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._directories: _Directories = {}
        weakref.finalize(self, _close_all, self._directories)

    def __reduce__(self) -> tuple[Any, ...]:
        return WriterRegistrations, (self._storage,)

    def directory(self, path: str) -> RunDirectory:
        """The directory at `path`, which the caller registers when it is about to write."""
        # A relative path is another directory in another place.
        key = (working_directory_of(path), path)
        if key not in self._directories:
            self._directories[key] = RunDirectory(self._storage, path)
        return self._directories[key]


def _close_all(directories: _Directories) -> None:
    for directory in directories.values():
        # Nobody is left to be told; whatever stays goes with the sweep of the next writer.
        with suppress(errors.StorageError):
            directory.close()
