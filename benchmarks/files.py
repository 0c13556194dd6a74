"""What is done alike to everybody's files: synced, brought into the cache, put out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

_CHUNK_BYTES = 8 << 20


def sync_tree(directory: str) -> None:
    """Bring every file and every name below a directory, and its own name, to stable storage."""
    for path in _files(directory):
        _sync(path)
    for folder, _, _ in os.walk(directory, topdown=False):
        _sync(folder)
    _sync(os.path.dirname(directory))


def warm_tree(directory: str) -> None:
    """Read every file, so that it is in the system's cache."""
    buffer = bytearray(_CHUNK_BYTES)
    for path in _files(directory):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def chill_tree(directory: str) -> None:
    """Put every file out of the system's cache; dirty pages must be synced for that."""
    sync_tree(directory)
    for path in _files(directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _files(directory: str) -> Iterator[str]:
    for folder, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(folder, name)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
