"""Directories that are on stable storage once they are made, and that may not be there."""

from __future__ import annotations

import os

from ckptmgr import errors
from ckptmgr.storage import Storage


def make_durable(storage: Storage, path: str) -> None:
    """Make a directory and its parents, durably, also if the process that began to was killed.

    The parent of one that is there already is synced: it may have been made and not synced. Those
    further up were, before anything was made in them.
    """
    parent = os.path.dirname(path.rstrip("/")) or "."
    if parent != path and storage.stat(path) is None:
        make_durable(storage, parent)
    made = storage.make_dirs(path)
    try:
        storage.sync_dir(parent)
    except errors.PermissionDenied:
        if made:
            raise
        # Where we may not look we cannot have made it.


def make_directory(storage: Storage, path: str) -> None:
    """Make a directory and its parents, durably."""
    for made in storage.make_dirs(path):
        # Synced data in a directory whose own name was lost is lost as well.
        storage.sync_dir(os.path.dirname(made.rstrip("/")) or ".")


def names_in(storage: Storage, directory: str) -> list[str]:
    """The names in a directory, sorted; none if it is not there."""
    try:
        return storage.list_dir(directory)
    except errors.FileMissing:
        return []
