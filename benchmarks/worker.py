"""The process of one contestant: it does what it is told, one line of JSON at a time.

usage: python -m benchmarks.worker CONTESTANT

Each line on standard input is a call, `{"verb": "save", "run": ..., "step": 1}`, and is answered by
one line on the descriptor that was standard output: `{"answer": ...}` or `{"failure": text}`. What
libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks import files, training, workloads
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.memory import PeakMemory, release_memory
from benchmarks.savers import Loads, LoadsInPlace, Manages, Restores

# Of the workload that a contestant must bring back unchanged before it is measured.
_REHEARSAL_SCALE = 0.002


#: The verbs that read a checkpoint, and what has them.
LOADING: dict[str, type] = {"load": Loads, "load_in_place": LoadsInPlace, "restore": Restores}


class WrongValues(Exception):
    """A contestant did not bring back what it saved."""


class Worker:
    """The verbs; each answers with what JSON can hold, times in seconds."""

    def __init__(self, contestant: Contestant) -> None:
        self._distribution = contestant.distribution
        self._saver = contestant.make()

    def version(self) -> str:
        return version(self._distribution)

    def can(self) -> list[str]:
        """What beside saving it can do."""
        kinds: dict[str, type] = {**LOADING, "manage": Manages}
        return [verb for verb, kind in kinds.items() if isinstance(self._saver, kind)]

    # ----------------------------------------------------------------------- the state

    def hold(self, workload: str, scale: float) -> None:
        self._saver.hold(workloads.make(workload, scale))

    def change(self, workload: str, scale: float) -> None:
        held = {name: np.asarray(array) for name, array in self._saver.held().items()}
        self._saver.hold({**held, **workloads.make_changes(workload, scale)})

    def release(self) -> None:
        """Give the memory back: there are many workers, and one machine."""
        self._saver.close()
        self._saver.hold({"nothing": np.zeros(1, np.float32)})
        release_memory()

    # ----------------------------------------------------------------------- saving and loading

    def rehearse(self, run: str) -> None:
        """Import and set up what the first use does, and see that the values come back."""
        expected = workloads.make(workloads.GPT, _REHEARSAL_SCALE)
        self._saver.hold({name: array.copy() for name, array in expected.items()})
        self.save(run, 1)
        if isinstance(self._saver, Loads):
            check_values(self._saver.load(1), expected)
        for verb in sorted({"load_in_place", "restore"} & set(self.can())):
            self._saver.hold({name: np.zeros_like(array) for name, array in expected.items()})
            getattr(self._saver, verb)(1)
            check_values(self._saver.held(), expected)
        self.release()

    def save(self, run: str, step: int) -> dict[str, float | None]:
        """Save, and sync what was saved unless the saver did."""
        if step == 1:
            self._saver.open(run)
        memory = PeakMemory()
        began_secs = time.perf_counter()
        self._saver.begin(step)
        returned_secs = time.perf_counter() - began_secs
        self._saver.finish()
        extra_bytes = memory.extra_bytes()
        if not self._saver.is_durable:
            files.sync_tree(run)
        durable_secs = time.perf_counter() - began_secs
        return {
            "save_returned": returned_secs,
            "save_durable": durable_secs,
            "save_extra_bytes": extra_bytes,
        }

    def load(self, how: str, step: int) -> dict[str, float | None]:
        """Load what was saved, with one of the verbs of `LOADING`."""
        load = getattr(self._saver, how)
        memory = PeakMemory()
        began_secs = time.perf_counter()
        loaded = load(step)
        secs = time.perf_counter() - began_secs
        extra_bytes = memory.extra_bytes()
        del loaded
        return {"secs": secs, "extra_bytes": extra_bytes}

    def manage(self, run: str, count: int) -> list[float]:
        """Save with a manager so many times; the seconds of each."""
        self._saver.open_manager(run)
        times_secs = []
        for step in range(1, count + 1):
            began_secs = time.perf_counter()
            self._saver.manager_save(step)
            times_secs.append(time.perf_counter() - began_secs)
        return times_secs

    def train(self, run: str, secs: float) -> dict[str, list[float]]:
        """A training loop around one save in the background, which is not the first."""
        self.save(run, 1)
        os.sync()
        return training.train(self._saver, 2, secs)

    # ----------------------------------------------------------------------- the machine's limits

    def measure_limits(self, run: str) -> dict[str, float]:
        measured: dict[str, float] = self._saver.measure(run)
        return measured

    def commit_little(self, run: str, count: int) -> list[float]:
        return [self._saver.commit_little(run, step) for step in range(count)]


def check_values(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare what was loaded with what was saved.

    Raises:
        WrongValues: Naming the tensor.
    """
    if len(found) != len(expected):
        raise WrongValues(f"wanted {len(expected)} tensors, found {len(found)}")
    for name, array in expected.items():
        if name not in found:
            raise WrongValues(f"tensor {name!r} is missing")
        if not np.array_equal(np.asarray(found[name]), array):
            raise WrongValues(f"tensor {name!r} came back changed")


def answer(worker: Worker, call: dict[str, Any]) -> dict[str, Any]:
    """Do what one line asked for."""
    try:
        return {"answer": getattr(worker, call.pop("verb"))(**call)}
    except Exception as error:  # noqa: BLE001 - whatever a library raises
        return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    traceback.print_exc()
    return {"failure": f"{type(error).__name__}: {error}"}


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker: Worker | None = None
    failure: dict[str, Any] = {}
    try:
        # At once, so that all workers import their libraries at the same time.
        worker = Worker(CONTESTANTS[sys.argv[1]])
    except Exception as error:  # noqa: BLE001 - whatever an import raises
        failure = _failure(error)
    for line in sys.stdin:
        reply = answer(worker, json.loads(line)) if worker else failure
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
