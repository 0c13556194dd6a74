"""When a hook is due: every so many steps, or seconds.

Source: tensorflow/python/training/basic_session_run_hooks.py.
"""

# ruff: noqa: ARG002 - the arguments of what it takes the place of

from __future__ import annotations

import time

from ckptmgr import errors


class SecondOrStepTimer:
    """Due at first, and then once the step or the clock is far enough from the last time.

    Args:
        every_secs, every_steps: How far; one of the two.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        if every_secs is None and every_steps is None:
            raise errors.InvalidArgument("Either every_secs or every_steps should be provided.")
        if every_secs is not None and every_steps is not None:
            raise errors.InvalidArgument("Can not provide both every_secs and every_steps.")
        self._every_secs = every_secs
        self._every_steps = every_steps
        self.reset()

    def reset(self) -> None:
        """Be due again."""
        self._last_step: int | None = None
        self._last_secs = 0.0

    def should_trigger_for_step(self, step: int) -> bool:
        if self._last_step is None:
            return True
        if step == self._last_step:
            return False
        if self._every_secs is not None:
            return time.monotonic() >= self._last_secs + self._every_secs
        assert self._every_steps is not None
        return step >= self._last_step + self._every_steps

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Note that it was done at a step; gives the seconds and steps since the last time."""
        now_secs = time.monotonic()
        since: tuple[float | None, int | None] = (None, None)
        if self._last_step is not None:
            since = now_secs - self._last_secs, step - self._last_step
        self._last_secs, self._last_step = now_secs, step
        return since

    def last_triggered_step(self) -> int | None:
        return self._last_step


class NeverTimer(SecondOrStepTimer):
    """Never due."""

    def __init__(self) -> None:
        super().__init__(every_steps=1)

    def should_trigger_for_step(self, step: int) -> bool:
        return False
