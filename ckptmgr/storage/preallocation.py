"""Reserving space for a file before it is written.

It makes a buffered write half as fast again (the file system finds one long extent instead of
growing many), and it tells of a full disk before a checkpoint is half written.

fallocate(2) is called through ctypes, because `os.posix_fallocate` is not it: where a file system
cannot reserve (NFS before 4.2, many FUSE mounts), glibc stands in by writing one byte into every
block, which is a quarter of a million small writes for a gigabyte over a network. There, nothing
is gained and nothing need be done.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import cast

#: The file system, the kernel or a sandbox does not offer fallocate: fallocate(2), ERRORS.
_NOT_OFFERED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The C library's function, or None on a system that has none (macOS)."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    # The variant with 64-bit offsets has its own name where long is 32 bits wide; musl dropped it.
    function = getattr(library, "fallocate64", None) or library.fallocate
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return cast("Callable[[int, int, int, int], int]", function)


def reserve(fd: int, size_bytes: int) -> None:
    """Reserve `size_bytes` from the start of the file; nothing happens where that is not offered.

    Raises:
        OSError: The space is not there (ENOSPC, EDQUOT, EFBIG), or the call failed.
    """
    if size_bytes < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # not for want of an fallocate
    fallocate = _fallocate()
    if fallocate is None or size_bytes == 0:
        return
    while fallocate(fd, 0, 0, size_bytes) != 0:
        number = ctypes.get_errno()
        if number in _NOT_OFFERED:
            return
        # Python repeats its own system calls after a signal, but not those made through ctypes.
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
