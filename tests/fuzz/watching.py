"""Which files and processes are touched meanwhile, by the interpreter's own audit events.

An audit hook cannot be taken away again; ours does nothing while nobody watches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ckptmgr
from tests.fuzz.guard import Finding

#: Events whose first arguments are paths.
_PATHS = {
    **dict.fromkeys(("open", "os.listdir", "os.scandir", "os.mkdir", "os.rmdir", "os.remove"), 1),
    **dict.fromkeys(("os.chmod", "os.truncate", "os.utime"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), 2),
}
_PROCESSES = ("subprocess.", "socket.connect", "os.system", "os.exec", "os.fork", "os.posix_spawn")


class _Watch:
    def __init__(self) -> None:
        self.touched: list[str] | None = None
        self.is_hooked = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.touched is None:
            return
        if event in _PATHS:
            paths = arguments[: _PATHS[event]]
            self.touched += [os.fsdecode(path) for path in paths if isinstance(path, str | bytes)]
        elif event.startswith(_PROCESSES):
            self.touched.append(event)


_watch = _Watch()
# Modules that are imported late, and what they read.
_PACKAGE = os.path.dirname(ckptmgr.__file__)
_OURS = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, _PACKAGE))


@contextmanager
def confined_to(directory: str) -> Iterator[None]:
    """Raise Finding if a file outside of a directory is touched, or anything else is."""
    if not _watch.is_hooked:
        _watch.is_hooked = True
        sys.addaudithook(_watch.hook)
    touched: list[str] = []
    _watch.touched = touched
    try:
        yield
    finally:
        _watch.touched = None
    top = os.path.realpath(directory)
    for path in touched:
        real = os.path.realpath(path)
        if os.path.commonpath([top, real]) != top and not real.startswith(_OURS):
            raise Finding(f"{path!r} outside of {directory!r} was touched")
