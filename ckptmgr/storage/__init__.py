"""Where bytes live. Knows no file format."""

from __future__ import annotations

from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.disk_states import Bounds, DiskImage
from ckptmgr.storage.fault_injection import FaultInjectingStorage, ProcessKilled
from ckptmgr.storage.faults import Call, Fault
from ckptmgr.storage.memory import MemoryStorage
from ckptmgr.storage.posix import PosixStorage
from ckptmgr.storage.power_loss import PowerCut, PowerLossStorage
from ckptmgr.storage.protocol import (
    Buffer,
    FileInfo,
    FileLock,
    ReadableFile,
    Storage,
    WritableFile,
)

__all__ = [
    "Bounds",
    "Buffer",
    "Call",
    "DiskImage",
    "Fault",
    "FaultInjectingStorage",
    "FileInfo",
    "FileLock",
    "MemoryStorage",
    "PosixStorage",
    "PowerCut",
    "PowerLossStorage",
    "ProcessKilled",
    "ReadableFile",
    "Storage",
    "WritableFile",
    "replace_file",
]
