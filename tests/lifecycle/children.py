"""Programs in processes of their own, to which signals are sent and whose status is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PRELUDE = """
import gc, os, signal, sys, threading, time
import numpy as np
from ckptmgr import CheckpointManager, errors, events
from ckptmgr.storage import PosixStorage

directory = sys.argv[1]
state = {"w": np.zeros(3)}

class Gate(PosixStorage):
    def __init__(self):
        super().__init__()
        self.opened = threading.Event()
        self.opened.set()

    def create(self, path):
        if ".data-" in path:
            self.opened.wait(30)
        return super().create(path)

class Full(PosixStorage):
    def create(self, path):
        if ".data-" in path:
            raise errors.StorageError(28, f"cannot create {path}: No space left on device", path)
        return super().create(path)

def send(number=signal.SIGTERM):
    signal.raise_signal(number)  # in this thread: it has come when the call returns

def tell(*values):
    print(*values, flush=True)
"""


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str, directory: Path) -> tuple[int, list[str], str]:
    """The status, the lines of stdout, and stderr of a program."""
    with start(program, directory) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), err
