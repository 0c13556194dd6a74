"""How far a long reading is, on the terminal: a bar, or lines where `rich` is not installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ckptmgr import naming
from ckptmgr.cli import wording
from ckptmgr.lifecycle.verification import ProgressListener

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# What is done sooner needs no bar.
_SILENT_SECS = 0.5
_LINE_EVERY_SECS = 2.0


@contextmanager
def shown() -> Iterator[ProgressListener | None]:
    """In the block, what to tell of the progress; None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
    except ImportError:
        yield Lines(sys.stderr)
        return
    from rich import progress

    display = progress.Progress(
        progress.TextColumn("reading {task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        yield _Bar(display)
    finally:
        display.stop()


class _Bar:
    def __init__(self, display: Progress) -> None:
        self._display = display
        self._task: TaskID | None = None
        self._began_secs = time.monotonic()

    def __call__(self, prefix: str, done_bytes: int, total_bytes: int) -> None:
        if time.monotonic() - self._began_secs < _SILENT_SECS:
            return
        if self._task is None:
            self._display.start()
            self._task = self._display.add_task("", total=total_bytes)
        self._display.update(
            self._task, completed=done_bytes, description=wording.printable(naming.base_of(prefix))
        )


class Lines:
    """A line every other second."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began_secs = self._told_secs = time.monotonic()

    def __call__(self, prefix: str, done_bytes: int, total_bytes: int) -> None:
        now_secs = time.monotonic()
        if now_secs - self._told_secs < _LINE_EVERY_SECS:
            return
        self._told_secs = now_secs
        speed = wording.size(int(done_bytes / (now_secs - self._began_secs)))
        self._out.write(
            f"ckptmgr: reading {wording.printable(naming.base_of(prefix))}, "
            f"{wording.size(done_bytes)} of {wording.size(total_bytes)}, {speed}/s\n"
        )
        self._out.flush()
