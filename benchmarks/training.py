"""A training loop that is saved in the background: how long it stands still, how much it slows.

A step is a multiplication of matrices in one thread, which leaves a core to whoever saves.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import numpy as np

from benchmarks.savers import Saver, Updates

_STEP_SECS = 0.01
_MATRIX_SIZE = 256


def train(saver: Saver, step_number: int, secs: float) -> dict[str, list[float]]:
    """Train for `secs`, save, train until that is done, and `secs` again.

    Where the state may not be changed at once, the first `secs` behind the call that saves are
    forward and backward, and then the optimizer comes.

    Returns:
        The seconds of each step before, during and after the save; "stall", that the loop stood
        still; and "saved", from the call that saves until the save is complete.
    """
    step = _make_step()
    _steps_until(step, _after(secs / 2))  # the processor's clock goes up
    before = _steps_until(step, _after(secs))
    began_secs = time.perf_counter()
    saver.begin(step_number)
    stall_secs = time.perf_counter() - began_secs
    waiting = _Waiting(saver)
    during = []
    if isinstance(saver, Updates):
        is_time = _after(secs)
        during = _steps_until(step, lambda: waiting.is_over or is_time())
        update_secs = time.perf_counter()
        saver.update()
        stall_secs += time.perf_counter() - update_secs
    during += _steps_until(step, lambda: waiting.is_over)
    saved_secs = waiting.end_secs() - began_secs
    after = _steps_until(step, _after(secs))
    return {
        "step_before": before,
        "stall": [stall_secs],
        "step_during": during,
        "saved": [saved_secs],
        "step_after": after,
    }


def _make_step() -> Callable[[], None]:
    matrix = np.random.default_rng(0).standard_normal((_MATRIX_SIZE, _MATRIX_SIZE), np.float32)
    product = np.empty_like(matrix)
    samples = []
    for _ in range(50):
        began_secs = time.perf_counter()
        np.matmul(matrix, matrix, out=product)
        samples.append(time.perf_counter() - began_secs)
    times = max(1, round(_STEP_SECS / statistics.median(samples)))

    def step() -> None:
        for _ in range(times):
            np.matmul(matrix, matrix, out=product)

    return step


def _after(secs: float) -> Callable[[], bool]:
    end_secs = time.perf_counter() + secs
    return lambda: time.perf_counter() >= end_secs


def _steps_until(step: Callable[[], None], is_over: Callable[[], bool]) -> list[float]:
    """Take steps, at least one; the seconds of each."""
    times_secs: list[float] = []
    while not times_secs or not is_over():
        began_secs = time.perf_counter()
        step()
        times_secs.append(time.perf_counter() - began_secs)
    return times_secs


class _Waiting:
    """Waits for a save in a thread, so that the loop need not ask."""

    def __init__(self, saver: Saver) -> None:
        self._saver = saver
        self._end_secs = 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def end_secs(self) -> float:
        """When the save was complete; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._end_secs

    def _wait(self) -> None:
        try:
            self._saver.finish()
        except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
            self._error = error
        self._end_secs = time.perf_counter()
