"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator


def describe_machine(directory: str) -> dict[str, str]:
    """The processor, the memory, the system, and the file system of `directory`."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "file system": _file_system(directory),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _file_system(directory: str) -> str:
    """The type of the file system that holds a directory: that of the longest mount point."""
    best, kind = "", "unknown"
    path = os.path.realpath(directory)
    for line in _lines("/proc/mounts"):
        _, mount_point, found, *_ = line.split()
        if len(mount_point) >= len(best) and os.path.commonpath([path, mount_point]) == mount_point:
            best, kind = mount_point, found
    return kind


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from file
    except FileNotFoundError:
        return
