"""Every failure of a storage leaves as a `StorageError` that says what was done to which path.

Both storages raise the operating system's own errors inside and translate them in one place, at
their public methods, so that no call can leak another exception or forget the path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ckptmgr.errors import StorageError


@contextmanager
def reported(doing: str, path: str) -> Iterator[None]:
    """Turn an OSError raised inside into the `StorageError` for `doing` this to `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, doing, path) from error
    except MemoryError as error:
        # A file, or what it says of its parts, may be longer than any memory: most of it holes.
        raise StorageError.of(system_error(errno.ENOMEM), doing, path) from error
    except ValueError as error:
        # What Python says to a path that no system call could be given: a NUL byte, or a character
        # that has no file system encoding. Names read from a state file can hold either.
        raise StorageError.of(OSError(errno.EINVAL, str(error)), doing, path) from error


def system_error(number: int) -> OSError:
    """The OSError subclass and text that the system would give for this errno."""
    return OSError(number, os.strerror(number))
