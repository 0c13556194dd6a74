"""Whether the 10,000th checkpoint of a run costs more than the 10th.

Nothing is synced: it is our own work that might grow, and the device's time would hide it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import ckptmgr
from benchmarks import contestants
from benchmarks.sections import Bench

SECTION = "history"

_SAVES = 10_000
_LEAST_SAVES = 300
#: The samples around the 10th and at the end.
_SAMPLES = 100
_FIRST = 10

#: By what is kept: the arguments of the manager.
KEEPING: dict[str, dict[str, Any]] = {
    "the last 5 kept": {"max_to_keep": 5},
    "all kept": {"max_to_keep": 1, "keep_every_n_steps": 1},
}


def measure(bench: Bench) -> None:
    if not bench.fleet.has(contestants.OURS):
        return
    count = max(_LEAST_SAVES, round(_SAVES * bench.scale))
    for words, arguments in KEEPING.items():
        bench.say(f"{SECTION}: {count} saves, {words}")
        times_secs = _save(bench, count, arguments)
        bench.results.add(
            SECTION,
            words,
            early=times_secs[_FIRST : _FIRST + _SAMPLES],
            late=times_secs[-_SAMPLES:],
        )


def _save(bench: Bench, count: int, arguments: dict[str, Any]) -> list[float]:
    state = {"weights": np.zeros(256, np.float32)}
    times_secs = []
    with (
        bench.scratch.fresh() as run,
        ckptmgr.CheckpointManager(state, run, durability="none", **arguments) as manager,
    ):
        for step in range(1, count + 1):
            began_secs = time.perf_counter()
            manager.save(step)
            times_secs.append(time.perf_counter() - began_secs)
    return times_secs
