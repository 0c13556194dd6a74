"""How long after its commit another process is given a checkpoint.

The commit is the rename of the `checkpoint` file, from which on everybody can see which checkpoint
is the newest. The follower says when it was given each one, on the same clock.

usage: python -m benchmarks.sections.discovery {ckptmgr,tensorflow} DIRECTORY TIMEOUT_SECS
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

import ckptmgr
from benchmarks import contestants
from benchmarks.fleet import REPOSITORY, Failed
from benchmarks.sections import Bench
from ckptmgr.storage import PosixStorage

SECTION = "discovery"

OURS = "ckptmgr"
TENSORFLOW = "tensorflow"

#: What follows the directory.
FOLLOWERS = {OURS: "CheckpointWatcher", TENSORFLOW: "tf.train.checkpoints_iterator"}

_SAVES = 400
_LEAST_SAVES = 20
_INTERVAL_SECS = 0.02

# TensorFlow sleeps for a second between two looks; a small run does without it.
_TENSORFLOW_SAVES = 12
_TENSORFLOW_LEAST_SAVES = 3
_TENSORFLOW_INTERVAL_SECS = 1.3

_START_LIMIT_SECS = 60.0


def measure(bench: Bench) -> None:
    if bench.fleet.has(contestants.OURS):
        bench.say(f"{SECTION}: ckptmgr")
        count = max(_LEAST_SAVES, round(_SAVES * bench.scale))
        _follow(bench, OURS, count, _INTERVAL_SECS)
    count = round(_TENSORFLOW_SAVES * bench.scale)
    if count >= _TENSORFLOW_LEAST_SAVES and bench.fleet.has(contestants.TENSORFLOW_CHECKPOINT):
        bench.say(f"{SECTION}: TensorFlow")
        _follow(bench, TENSORFLOW, count, _TENSORFLOW_INTERVAL_SECS)


class _TimedStorage(PosixStorage):
    """Notes when the state file is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.last_commit_secs = 0.0

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        if os.path.basename(target) == "checkpoint":
            self.last_commit_secs = time.monotonic()


def _follow(bench: Bench, kind: str, count: int, interval_secs: float) -> None:
    storage = _TimedStorage()
    state = {"weights": np.zeros(256, np.float32)}
    commits_secs: dict[str, float] = {}
    with (
        bench.scratch.fresh() as run,
        ckptmgr.CheckpointManager(state, run, storage=storage) as manager,
        subprocess.Popen(
            [sys.executable, "-m", __name__, kind, run, str(_START_LIMIT_SECS)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"},
        ) as follower,
    ):
        assert follower.stdout is not None
        manager.save(0)
        if not follower.stdout.readline():  # it is following when it has seen the first
            raise Failed(f"the follower ended (status {follower.wait()})")
        for step in range(1, count + 1):
            time.sleep(interval_secs)
            prefix = manager.save(step)
            assert prefix is not None, "every step is due"
            commits_secs[prefix] = storage.last_commit_secs
        time.sleep(interval_secs)
        follower.terminate()
        seen = dict(line.rsplit(maxsplit=1) for line in follower.stdout)
    latencies = [float(at) - commits_secs[prefix] for prefix, at in seen.items()]
    # Negative: it was told of the rename before the writer had looked at its watch.
    bench.results.add(SECTION, kind, latency=[max(0.0, latency) for latency in latencies])


def _followed(kind: str, directory: str, timeout_secs: float) -> Iterator[str]:
    if kind == TENSORFLOW:
        import tensorflow as tf

        iterator: Iterator[str] = tf.train.checkpoints_iterator(directory, timeout=timeout_secs)
        return iterator
    return ckptmgr.CheckpointWatcher(directory, timeout_secs=timeout_secs)


def main() -> None:
    kind, directory, timeout_secs = sys.argv[1:]
    for prefix in _followed(kind, directory, float(timeout_secs)):
        print(prefix, time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
