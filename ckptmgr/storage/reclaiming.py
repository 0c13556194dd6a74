"""Removing the name of a large file at once, and giving back its space in the background.

ext4 takes about 140 ms to free a file of 1 GB, a third of the time that saving as much takes. The
name is what others see; the space is free when the last descriptor is closed. So the file is
opened before its name is removed, and a thread closes it. A process that dies has closed it, too,
and after a power cut the file system frees what no name leads to.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from ckptmgr.threads import Worker

# ext4 frees so much in about 2 ms.
_LARGE_BYTES = 16 << 20

# All of them have been started: one that has not cannot be waited for.
_workers: set[Worker] = set()


def unlink(path: str) -> None:
    """Remove the name of a file."""
    fd = _open_large(path)
    try:
        os.unlink(path)
    finally:
        if fd is not None:
            _close_in_background(fd)


def wait() -> None:
    """Return once the space of all files that were removed before is free."""
    for worker in _workers.copy():
        worker.wait()
        _workers.discard(worker)


def _open_large(path: str) -> int | None:
    """A descriptor that keeps a large file's space; None where there is no need, or no way."""
    if sys.platform != "linux":
        return None
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None  # unlink says what is wrong, if anything: it needs no descriptor
    try:
        if os.fstat(fd).st_size >= _LARGE_BYTES:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _close_in_background(fd: int) -> None:
    # A process that ends need not wait: the system closes what it leaves open.
    worker = Worker(partial(os.close, fd), "ckptmgr-reclaim", daemon=True)
    if worker.start():
        _workers.add(worker)
    else:
        os.close(fd)
