"""The other programs of the demo: processes whose lines come into one queue, as they are said."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

# The folder that `examples` is a package in; the programs are started there as modules of it.
_ROOT = Path(__file__).parents[2]

_ENVIRONMENT = {
    # So small a network gains nothing from threads, and the programs share the processors.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # TensorFlow is to read, not to talk nor to look for accelerators.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
}

# The longest silence is the import of TensorFlow: a few seconds on an idle machine.
_SILENCE_LIMIT_SECS = 60


class ProgramFailed(Exception):
    """A program ended in another way than it should; says what it said."""


class Program:
    """A module of the examples, running in a process of its own."""

    def __init__(self, module: str, *arguments: str, lines: Lines) -> None:
        self.name = module
        self.has_ended = False
        self._output: list[str] = []
        self._was_killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=_ROOT,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def _read(self, lines: Lines) -> None:
        for line in self._process.stdout or ():
            self._output.append(line)
            lines.put((self, line.rstrip("\n")))
        lines.put((self, None))

    def kill(self) -> None:
        """End it as a power cut would; it gets no chance to tidy up."""
        self._was_killed = True
        self._process.kill()
        status = self._process.wait()
        if status != -signal.SIGKILL:
            raise ProgramFailed(self._description(f"ended with status {status} before the kill"))

    def require_good_end(self) -> None:
        """Call it after the last line; raises ProgramFailed if it failed of its own accord."""
        self.has_ended = True
        status = self._process.wait()
        if status != 0 and not self._was_killed:
            raise ProgramFailed(self._description(f"ended with status {status}"))

    def end(self) -> None:
        """Make sure that it is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def last_line(self) -> str:
        return self._output[-1].rstrip("\n")

    def _description(self, what: str) -> str:
        return f"{self.name} {what}; it said:\n{''.join(self._output)}"


#: Who said what; None when there is no more to come.
Lines = queue.Queue[tuple[Program, str | None]]


def next_line(lines: Lines) -> tuple[Program, str | None]:
    """Wait for the next line of anybody."""
    try:
        return lines.get(timeout=_SILENCE_LIMIT_SECS)
    except queue.Empty:
        raise ProgramFailed(f"no program said anything for {_SILENCE_LIMIT_SECS} s") from None
