"""Where bytes live. Knows no file format."""

from __future__ import annotations

from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.memory import MemoryStorage
from ckptmgr.storage.posix import PosixStorage
from ckptmgr.storage.protocol import (
    Buffer,
    FileInfo,
    FileLock,
    ReadableFile,
    Storage,
    WritableFile,
)

__all__ = [
    "Buffer",
    "FileInfo",
    "FileLock",
    "MemoryStorage",
    "PosixStorage",
    "ReadableFile",
    "Storage",
    "WritableFile",
    "replace_file",
]
