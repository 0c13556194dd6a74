"""What is drawn is fed to a terminal emulator, whose screen is looked at."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyte
import pytest
from rich.console import Console

from ckptmgr import CheckpointManager, events
from ckptmgr.errors import ChecksumMismatch
from ckptmgr.sinks.progress import progress_bar

A, B = "run/model.ckpt-1", "run/model.ckpt-2"
SOON_SECS = 0.05
PATIENCE_SECS = 10.0


class Terminal(io.StringIO):
    """A file that is a terminal of 100 columns."""

    def __init__(self) -> None:
        super().__init__()
        self._screen: Any = pyte.Screen(100, 10)
        self._stream: Any = pyte.Stream(self._screen)
        self._lock = threading.Lock()
        self.written = 0
        self.write("before\n")

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._stream.feed(text.replace("\n", "\r\n"))
            self.written += len(text)
        return len(text)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def cursor(self) -> tuple[int, int, bool]:
        """Row, column, and whether it is hidden."""
        with self._lock:
            cursor = self._screen.cursor
            return cursor.y, cursor.x, cursor.hidden

    @property
    def is_clean(self) -> bool:
        return self.lines == ["before"] and self.cursor == (1, 0, False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def console(terminal: io.StringIO) -> Console:
    return Console(file=terminal, width=100, color_system=None)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_secs = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline_secs, "it did not come"
        time.sleep(0.01)


def shows(terminal: Terminal, *words: str) -> Callable[[], bool]:
    return lambda: all(word in "\n".join(terminal.lines) for word in words)


@pytest.mark.parametrize(
    "end", [events.SaveCommitted(A, 1, 2000, 1.0), events.SaveFailed(A, 1, OSError("disk full"))]
)
def test_a_long_save_shows_and_leaves_nothing(terminal: Terminal, end: events.Event) -> None:
    listener = progress_bar(console(terminal), SOON_SECS)
    listener(events.SaveStarted(A, 1))
    listener(events.Progress(A, "save", 500_000_000, 2_000_000_000))
    wait_until(shows(terminal, "saving model.ckpt-1", "0.5/2.0 GB"))
    assert terminal.cursor[2], "the cursor should be hidden"
    listener(events.Progress(A, "save", 1_500_000_000, 2_000_000_000))
    wait_until(shows(terminal, "1.5/2.0 GB"))

    listener(end)

    assert terminal.is_clean


@pytest.mark.parametrize(
    "end",
    [
        events.CheckpointRestored(A, 1, 2000, 1.0),
        events.CheckpointSkipped(A, ChecksumMismatch("a tensor changed")),
        events.RestoreFailed(A, OSError("the disk went away")),
    ],
)
def test_a_long_restore_shows_and_leaves_nothing(terminal: Terminal, end: events.Event) -> None:
    listener = progress_bar(console(terminal), SOON_SECS)
    listener(events.Progress(A, "restore", 500, 2000))
    wait_until(shows(terminal, "restoring model.ckpt-1", "0.5/2.0 kB"))

    listener(end)

    assert terminal.is_clean


def test_a_save_that_says_nothing_shows_too(terminal: Terminal) -> None:
    listener = progress_bar(console(terminal), SOON_SECS)
    listener(events.SaveStarted(A, 1))
    wait_until(shows(terminal, "saving model.ckpt-1"))
    listener(events.SaveCommitted(A, 1, 2000, 1.0))

    assert terminal.is_clean


def test_a_quick_save_shows_nothing(terminal: Terminal) -> None:
    listener = progress_bar(console(terminal))
    before = terminal.written
    for _ in range(20):
        listener(events.SaveStarted(A, 1))
        listener(events.Progress(A, "save", 2000, 2000))
        time.sleep(0.02)
        listener(events.SaveCommitted(A, 1, 2000, 0.1))

    assert terminal.written == before


def test_what_is_no_terminal_gets_nothing() -> None:
    file = io.StringIO()
    listener = progress_bar(console(file), 0.0)
    listener(events.SaveStarted(A, 1))
    time.sleep(0.2)
    listener(events.SaveCommitted(A, 1, 2000, 1.0))

    assert file.getvalue() == ""


def test_bars_of_saves_that_overlap_end_one_by_one(terminal: Terminal) -> None:
    listener = progress_bar(console(terminal), 0.0)
    listener(events.SaveStarted(A, 1))
    listener(events.SaveStarted(B, 2))
    listener(events.Progress(A, "save", 100, 2000))
    listener(events.Progress(B, "save", 300, 3000))
    wait_until(shows(terminal, "model.ckpt-1", "0.1/2.0 kB", "model.ckpt-2", "0.3/3.0 kB"))

    listener(events.SaveCommitted(A, 1, 2000, 1.0))
    assert [line.split()[1] for line in terminal.lines[1:]] == ["model.ckpt-2"]
    listener(events.SaveCommitted(B, 2, 3000, 1.0))

    assert terminal.is_clean


def test_progress_from_many_threads(terminal: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    listener = progress_bar(console(terminal), 0.0)
    listener(events.SaveStarted(A, 1))

    def write(offsets: range) -> None:
        for done in offsets:
            listener(events.Progress(A, "save", done, 4000))
            time.sleep(0.001)

    threads = [threading.Thread(target=write, args=(range(n, 4000, 40),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listener(events.Progress(A, "save", 4000, 4000))
    listener(events.Progress(A, "save", 1000, 4000))  # heard late
    wait_until(shows(terminal, "4.0/4.0 kB"))
    listener(events.SaveCommitted(A, 1, 4000, 1.0))
    listener(events.Progress(A, "save", 2000, 4000))  # heard too late
    time.sleep(0.3)

    assert terminal.is_clean
    assert caplog.records == []


def test_what_is_printed_meanwhile_stays(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", log)
    listener = progress_bar(console(terminal), 0.0)
    listener(events.SaveStarted(A, 1))
    wait_until(shows(terminal, "model.ckpt-1"))

    print("step 12, loss 0.3")  # noqa: T201 - what a training loop does
    print("to a file", file=sys.stderr)  # noqa: T201
    wait_until(shows(terminal, "step 12, loss 0.3", "model.ckpt-1"))
    listener(events.SaveCommitted(A, 1, 4000, 1.0))

    assert terminal.lines == ["before", "step 12, loss 0.3"]
    assert log.getvalue() == "to a file\n"
    assert sys.stdout is terminal


def test_a_name_is_text_and_no_markup(terminal: Terminal) -> None:
    listener = progress_bar(console(terminal), 0.0)
    listener(events.SaveStarted("run/[bold]x-1", 1))
    wait_until(shows(terminal, "saving [bold]x-1"))
    listener(events.SaveCommitted("run/[bold]x-1", 1, 1, 1.0))

    assert terminal.is_clean


def test_a_terminal_that_goes_away_breaks_nothing(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(terminal, "write", gone)
    listener = progress_bar(console(terminal), 0.0)
    for step in (1, 2):
        listener(events.SaveStarted(A, step))
        time.sleep(0.3)
        listener(events.SaveCommitted(A, step, 100, 1.0))

    assert caplog.text.count("the progress bar cannot be drawn") == 1


def test_a_broken_pipe_neither_ends_the_program_nor_silences_it() -> None:
    """Standard error is taken for a terminal, as FORCE_COLOR says, and its reader is gone."""
    source = f"""
import time
from ckptmgr import events, sinks
listener = sinks.progress.progress_bar(after_secs=0.0)
listener(events.SaveStarted({A!r}, 1))
time.sleep(0.5)
listener(events.SaveCommitted({A!r}, 1, 100, 1.0))
print("alive")
"""
    reader, standard_error = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=standard_error,
        text=True,
        check=False,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"},
    )
    os.close(standard_error)

    assert done.stdout == "alive\n"


def test_a_console_that_ends_the_program_at_a_broken_pipe_ends_no_save(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Ending(Console):
        def on_broken_pipe(self) -> None:
            raise SystemExit(1)  # as rich's own does, after it has closed standard output

    write = terminal.write

    def broken(text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            raise BrokenPipeError
        return write(text)

    listener = progress_bar(Ending(file=terminal, force_terminal=True, width=100), 0.0)
    listener(events.SaveStarted(A, 1))
    wait_until(shows(terminal, "saving model.ckpt-1"))
    # The end of the save finds it out before the next drawing does.
    monkeypatch.setattr(terminal, "write", broken)
    listener(events.SaveCommitted(A, 1, 100, 1.0))

    assert "nobody reads what the console writes" in caplog.text


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_manager_leaves_nothing(
    tmp_path: Path, terminal: Terminal, caplog: pytest.LogCaptureFixture, *, asynchronous: bool
) -> None:
    state = {"w": np.ones(2_000_000)}
    listener = progress_bar(console(terminal), after_secs=0.0)
    before = terminal.written
    with CheckpointManager(
        state, tmp_path, asynchronous=asynchronous, on_event=listener
    ) as manager:
        for step in range(3):
            manager.save(step)
        manager.wait()
        assert terminal.is_clean
        manager.restore()
        assert terminal.is_clean

    assert terminal.written > before
    assert caplog.records == []


def test_a_bar_of_a_manager_that_restores(tmp_path: Path, terminal: Terminal) -> None:
    seen: list[str] = []
    listener = progress_bar(console(terminal), after_secs=0.0)

    def listen(event: events.Event) -> None:
        listener(event)
        if isinstance(event, events.Progress) and event.doing == "restore" and not seen:
            wait_until(shows(terminal, "restoring model.ckpt-1", "/16.0 MB"))
            seen.extend(terminal.lines)

    state = {"w": np.ones(2_000_000)}
    with CheckpointManager(state, tmp_path, on_event=listen) as manager:
        path = manager.save(1)
        manager.restore()
        assert terminal.is_clean
        assert len(seen) == 2

        seen.clear()
        with open(f"{path}.data-00000-of-00001", "r+b") as file:
            file.seek(15_000_000)
            file.write(b"damage")
        with pytest.raises(ChecksumMismatch):
            manager.restore(1)
        assert terminal.is_clean
        assert len(seen) == 2


def test_an_end_of_the_process_leaves_the_terminal_clean(terminal: Terminal) -> None:
    """One that is told to exit in the middle of a restore."""
    source = f"""
import time
from ckptmgr import events, sinks
listener = sinks.progress.progress_bar(after_secs=0.0)
listener(events.Progress({A!r}, "restore", 500, 2000))
time.sleep(0.5)
raise SystemExit(3)
"""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        drawn = bytearray()
        # Linux says by an error that the other end is closed.
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 4096):
                drawn += chunk
        os.close(ours)

    assert process.returncode == 3
    assert b"restoring model.ckpt-1" in drawn
    terminal.write(drawn.decode().replace("\r\n", "\n"))
    assert terminal.is_clean
