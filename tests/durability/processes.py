"""What a process does to a run's directory, short enough to be cut off at each of its calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr import CheckpointManager, Saver
from ckptmgr.storage import Storage

DIRECTORY = "/runs/one"
NAME = f"{DIRECTORY}/model.ckpt"

#: Three blocks of a disk, so that some can be lost and others not.
SIZE = 1300
FROZEN = np.arange(2600.0)

_times = itertools.count(1000.0)

Acknowledge = Callable[[], None]


def now_secs() -> float:
    """A clock that never shows the same time twice."""
    return next(_times)


def set_clock(secs: float) -> None:
    """Let what is tried twice write the same bytes twice."""
    global _times  # noqa: PLW0603 -- one clock for all processes, as on a machine
    _times = itertools.count(secs)


def value_of(step: int, generation: int = 0) -> float:
    return 100.0 * step + generation


def state_of(step: int, generation: int = 0) -> dict[str, Any]:
    return {"w": np.full(SIZE, value_of(step, generation)), "frozen": FROZEN}


class Trainer:
    """A process with a manager."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        self.storage = storage
        self.manager = CheckpointManager(
            None, DIRECTORY, storage=storage, clock=now_secs, **{"max_to_keep": 2, **options}
        )

    def save(self, step: int, generation: int = 0) -> None:
        self.manager.save(step, state_of(step, generation))
        self.manager.wait()

    def close(self) -> None:
        self.manager.close()

    def abandon(self) -> None:
        """It was killed."""


@dataclass
class _OnDevice:
    array: np.ndarray[Any, Any]
    device: str
    dtype: np.dtype[Any] = field(init=False)
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.dtype, self.shape = self.array.dtype, self.array.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.array


class SaverProcess:
    """A process with a Saver of two variables on two devices."""

    def __init__(self, storage: Storage, **options: Any) -> None:
        self.storage = storage
        self._values = np.zeros(SIZE)
        variables = {"w": _OnDevice(self._values, "0"), "frozen": _OnDevice(FROZEN, "1")}
        self._saver = Saver(
            variables, storage=storage, clock=now_secs, **{"max_to_keep": 2, **options}
        )

    def take_over(self, steps: list[int]) -> None:
        entries = [(f"{NAME}-{step}", now_secs()) for step in steps]
        self._saver.set_last_checkpoints_with_time(entries)

    def save(self, step: int, generation: int = 0) -> None:
        self._values[:] = value_of(step, generation)
        self._saver.save(NAME, step)

    def close(self) -> None:
        for directory in self._directories.values():
            directory.close()
        self.abandon()

    def abandon(self) -> None:
        # The end of a process runs nothing; here the Saver would say good-bye when it is collected.
        self._directories.clear()

    @property
    def _directories(self) -> dict[Any, Any]:
        return self._saver._registrations._directories


class Bystander:
    """A process that calls functions and holds nothing."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def save(self, step: int, generation: int = 0) -> None:
        trainer = Trainer(self.storage)
        trainer.save(step, generation)
        trainer.close()

    def close(self) -> None:
        """It has nothing to let go of."""

    def abandon(self) -> None:
        """It was killed."""


Process = Trainer | SaverProcess | Bystander
