"""Child processes that tell what happens to them, line by line, until they end or are killed.

A child is forked from a process that has imported everything, so that a thousand of them start in
seconds, or is a fresh interpreter. What it told before a SIGKILL stands in its pipe and is read.
Forking needs a parent without threads: each command of this package is a process of its own.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

#: Writes one line; at most PIPE_BUF bytes, so that threads do not mix their lines (pipe(7)).
Tell = Callable[[str], None]

_MAX_LINE_BYTES = 4000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildFailed(Exception):
    """A child ended of its own accord in another way than it should."""


class Child:
    """One child process, and the lines that it tells."""

    def __init__(self, name: str, pid: int, reading: int) -> None:
        self.name = name
        self.pid = pid
        self.fd = reading
        self._heard_secs = time.monotonic()
        self.has_ended = False
        self._rest = b""
        self._status: int | None = None

    def lines(self, until_secs: float) -> list[str]:
        """What it tells next, if it does so until then (by time.monotonic)."""
        left_secs = max(0.0, until_secs - time.monotonic())
        return self.read() if select.select([self.fd], [], [], left_secs)[0] else []

    def read(self) -> list[str]:
        """What there is to read; waits if there is nothing."""
        data = os.read(self.fd, 1 << 16)
        self._heard_secs = time.monotonic()
        if not data:
            self.has_ended = True
            os.close(self.fd)
        *complete, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in complete]

    def is_silent_since(self, secs: float) -> bool:
        """Whether it has told nothing since then, not even what was not read yet."""
        return (
            not self.has_ended
            and self._heard_secs < secs
            and not select.select([self.fd], [], [], 0)[0]
        )

    def kill(self) -> None:
        """SIGKILL; what it told before can still be read."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def end(self) -> int:
        """Wait for its end after the last line; its exit status, negative for a signal."""
        return self._wait()

    def _wait(self) -> int:
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status


def fork(name: str, run: Callable[[Tell], None]) -> Child:
    """Run a function in a fork of this process."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run_and_exit(run, writing)
    os.close(writing)
    return Child(name, pid, reading)


def start(name: str, arguments: Sequence[str]) -> Child:
    """Run a command of this package in a fresh interpreter; it gets `--fd` to tell through."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    command = [sys.executable, "-m", "tests.torture", *arguments, "--fd", str(writing)]
    pid = os.posix_spawn(sys.executable, command, os.environ)
    os.close(writing)
    return Child(name, pid, reading)


def run_and_exit(run: Callable[[Tell], None], fd: int) -> None:
    """In the child: run, tell what it raised, and leave without the parent's cleaning up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody outlives the harness
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it hangs, should it hang

    def tell(line: str) -> None:
        os.write(fd, line.replace("\n", "\\n").encode()[:_MAX_LINE_BYTES] + b"\n")

    status = 1
    try:
        run(tell)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it was, the parent is to know
        text = traceback.format_exc()
        tell(f"failed {text[-_MAX_LINE_BYTES // 2 :]}")
    finally:
        sys.stdout.flush()
        os._exit(status)
