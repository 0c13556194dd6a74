"""A bar on the terminal for saves and restores that take long.

The listener only notes what it is told. A thread, which lives while a save or restore does, draws;
but the end of the last one takes the bar away in the thread that says so, before the caller goes on
to print. One lock covers both.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from ckptmgr import errors, events, naming
from ckptmgr.sinks.combination import Listener, all_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_REFRESH_SECS = 0.1

_WORDS = {"save": "saving", "restore": "restoring"}

_log = logging.getLogger(__name__)


def progress_bar(console: Console | None = None, after_secs: float = 0.5) -> Listener:
    """A listener that shows a bar for each save or restore which lasts longer than `after_secs`.

    Args:
        console: Standard error by default. Where it is not a terminal nothing is ever shown.
        after_secs: What is quicker shows no bar.
    Raises:
        MissingExtra: `rich` is not installed.
    """
    try:
        import rich  # noqa: F401 - it is there, or say so now
    except ImportError as error:
        raise errors.MissingExtra(
            "a progress bar needs rich: pip install ckptmgr[progress]"
        ) from error
    shown_on = _standard_error() if console is None else console
    if not shown_on.is_interactive:
        return all_of()
    bars = _Bars(shown_on, after_secs)
    # Nobody may leave the terminal with a hidden cursor, also who ends in the middle of a restore.
    atexit.register(bars.hide)
    return all_of(bars.note)


@dataclass
class _Work:
    """One save or restore under way."""

    began_secs: float  # of `time.monotonic`
    done_bytes: int = 0
    total_bytes: int | None = None
    task: TaskID | None = None


class _Bars:
    def __init__(self, console: Console, after_secs: float) -> None:
        self._console = console
        self._after_secs = after_secs
        self._lock = threading.RLock()
        self._work: dict[tuple[str, str], _Work] = {}  # by verb and prefix
        self._display: Progress | None = None
        self._drawing = False

    def note(self, event: events.Event) -> None:
        try:
            self._note(event)
        except SystemExit as error:  # what a console that was given does at a broken pipe
            raise BrokenPipeError("nobody reads what the console writes") from error

    def _note(self, event: events.Event) -> None:
        match event:
            case events.SaveStarted(prefix):
                self._begin("save", prefix)
            case events.Progress():
                self._advance(event)
            case events.SaveCommitted(prefix) | events.SaveFailed(prefix):
                self._end("save", prefix)
            case (
                events.CheckpointRestored(prefix)
                | events.CheckpointSkipped(prefix)
                | events.RestoreFailed(prefix)
            ):
                self._end("restore", prefix)
            case _:
                pass

    def hide(self) -> None:
        """Take every bar away and leave the terminal as it was."""
        with self._lock:
            display, self._display = self._display, None
            for work in self._work.values():
                work.task = None
            if display is not None:
                display.stop()

    # ----------------------------------------------------------------------- what is said

    def _begin(self, verb: str, prefix: str) -> _Work:
        with self._lock:
            work = self._work[verb, prefix] = _Work(time.monotonic())
            if not self._drawing:
                self._drawing = True
                threading.Thread(target=self._draw, name="ckptmgr-progress", daemon=True).start()
        return work

    def _advance(self, event: events.Progress) -> None:
        with self._lock:
            work = self._work.get((event.doing, event.prefix))
            if work is None:
                if event.doing == "save":
                    return  # the tail of one that has ended
                work = self._begin(event.doing, event.prefix)
            # Of two threads the later one may be heard first.
            work.done_bytes = max(work.done_bytes, event.done_bytes)
            work.total_bytes = event.total_bytes

    def _end(self, verb: str, prefix: str) -> None:
        with self._lock:
            work = self._work.pop((verb, prefix), None)
            if work is None or work.task is None or self._display is None:
                return
            if any(other.task is not None for other in self._work.values()):
                self._display.remove_task(work.task)
                self._display.refresh()
            else:
                self.hide()

    # ----------------------------------------------------------------------- what is shown

    def _draw(self) -> None:
        try:
            while self._draw_once():
                time.sleep(_REFRESH_SECS)
        except (Exception, SystemExit):  # noqa: BLE001 - a thread has nobody to raise it to
            # `_drawing` stays set: a terminal that went away does not come back.
            _log.exception("the progress bar cannot be drawn, and will not be tried again")

    def _draw_once(self) -> bool:
        """Bring the bars up to date; whether there is anything to come back for."""
        now_secs = time.monotonic()
        with self._lock:
            for (verb, prefix), work in list(self._work.items()):
                if now_secs - work.began_secs >= self._after_secs:
                    self._show(verb, prefix, work)
            if self._display is not None:
                self._display.refresh()
            self._drawing = bool(self._work)
            return self._drawing

    def _show(self, verb: str, prefix: str, work: _Work) -> None:
        from rich.errors import LiveError

        if self._display is None:
            display = _new_display(self._console)
            try:
                display.start()
            except LiveError:
                return  # another display has this console; ours waits until that one is gone
            self._display = display
        if work.task is None:
            name = f"{_WORDS[verb]} {naming.base_of(prefix)}"
            work.task = self._display.add_task(name, total=work.total_bytes)
        self._display.update(work.task, completed=work.done_bytes, total=work.total_bytes)


def _standard_error() -> Console:
    from rich.console import Console

    class StandardError(Console):
        def on_broken_pipe(self) -> None:
            # rich would send all that the program prints to nowhere, and end it.
            raise BrokenPipeError("nobody reads standard error")

    return StandardError(stderr=True)


def _new_display(console: Console) -> Progress:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        transient=True,
        # While a bar shows, rich sends what is printed through the console, to stay above the bar.
        # What goes to a file must go on to do so.
        redirect_stdout=_is_terminal(sys.stdout),
        redirect_stderr=_is_terminal(sys.stderr),
    )


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
