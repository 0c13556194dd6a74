"""A disk that stands still in the middle of a save, so that somebody can pull the plug.

python -m examples.digits.stopping RUN_DIR --steps 9000 --every 500 --step 1500 --point data-renamed

Trains like `train.py`, up to the named point of one save. There it prints `stopped` and waits to be
killed, as a machine would wait that is slow at just this moment. The library is not changed for
it: whatever a save does to the disk goes through a `Storage`, and this one is in between.
"""

from __future__ import annotations

import argparse
import os
import sys
from fnmatch import fnmatch

from ckptmgr.storage import PosixStorage
from ckptmgr.storage.protocol import WritableFile
from examples.digits.train import train

#: The points of a save, in its order: the call before which the disk stands still, and its file.
POINTS = {
    "data-written": ("create", "*.index.tmp-*"),
    "data-renamed": ("rename", "*.index"),
    "index-renamed": ("rename", "checkpoint"),
    "old-half-deleted": ("unlink", "*.data-*"),
}

STOPPED = "stopped"


class StoppingStorage(PosixStorage):
    """The file system, until the save of `step` has come to `point`."""

    def __init__(self, step: int, point: str) -> None:
        super().__init__()
        self._step = step
        self._stop_before = POINTS[point]
        self._saving = False

    def create(self, path: str) -> WritableFile:
        self._maybe_stop("create", path)
        return super().create(path)

    def rename(self, source: str, target: str) -> None:
        self._maybe_stop("rename", target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._maybe_stop("unlink", path)
        super().unlink(path)

    def _maybe_stop(self, call: str, path: str) -> None:
        filename = os.path.basename(path)
        self._saving = self._saving or f"-{self._step}." in filename
        wanted_call, pattern = self._stop_before
        if self._saving and call == wanted_call and fnmatch(filename, pattern):
            print(STOPPED, flush=True)
            sys.stdin.read()
            raise SystemExit("nobody killed us")  # whoever should have done it is gone


def main() -> None:
    parser = argparse.ArgumentParser(description="Train until the middle of a save.")
    parser.add_argument("run_dir")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("--step", type=int, required=True, help="the save to stop in")
    parser.add_argument("--point", choices=POINTS, required=True, help="where in that save")
    arguments = parser.parse_args()
    storage = StoppingStorage(arguments.step, arguments.point)
    train(arguments.run_dir, steps=arguments.steps, every=arguments.every, storage=storage)


if __name__ == "__main__":
    main()
