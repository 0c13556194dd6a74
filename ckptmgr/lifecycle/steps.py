"""Global steps: which values are one, and when the next save is due."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import arguments, errors

# A step is stored as an int64 wherever TensorFlow stores one.
_MAX_STEP = 2**63 - 1


def as_step(value: Any) -> int:
    """The step as an int: an int, a NumPy integer, or an array of one integer.

    Raises:
        InvalidStep: It is no whole number of at least zero.
    """
    if isinstance(value, bool | np.bool_):
        raise errors.InvalidStep(f"a step must be a whole number, found {value!r}")
    try:
        step = operator.index(value)
    except TypeError:
        array = np.asarray(value) if hasattr(value, "__array__") else None
        if array is None or array.ndim != 0 or array.dtype.kind not in "iu":
            raise errors.InvalidStep(
                f"a step must be a whole number, found {value!r:.80} ({type(value).__name__})"
            ) from None
        step = int(array)
    if not 0 <= step <= _MAX_STEP:
        raise errors.InvalidStep(f"a step must be between 0 and 2**63 - 1, found {step}")
    return step


@dataclass(frozen=True, slots=True)
class SaveInterval:
    """When a save is due. Both conditions must hold.

    Saves fall on the multiples of `steps`, so that they stand on the same grid after each restart;
    a loop that jumps over a multiple saves at the first step behind it.
    """

    steps: int = 1
    #: The least time between two saves.
    secs: float | None = None

    def __post_init__(self) -> None:
        steps = arguments.whole_number("save_interval_steps", self.steps)
        object.__setattr__(self, "steps", steps)  # frozen
        if self.secs is not None:
            arguments.real_number("save_interval_secs", self.secs, also=" or None")

    def is_due(
        self, step: int, *, last_seen_step: int | None, secs_since_save: float | None
    ) -> bool:
        """Whether to save at `step`.

        Args:
            last_seen_step: The step before it in the loop; None at the start of a run.
            secs_since_save: None if nothing was saved yet.
        """
        on_grid = step % self.steps == 0
        if last_seen_step is not None and last_seen_step < step:
            on_grid = step // self.steps > last_seen_step // self.steps
        rested = self.secs is None or secs_since_save is None or secs_since_save >= self.secs
        return on_grid and rested
