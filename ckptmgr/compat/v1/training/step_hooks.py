"""Hooks that look at the global step: stop at one, wait for one, tell how fast they come.

Source: tensorflow/python/training/basic_session_run_hooks.py.
"""

# ruff: noqa: ARG002 - a hook's arguments

from __future__ import annotations

import time
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.training.global_steps import get_global_step, needed_global_step_read
from ckptmgr.compat.v1.training.hooks import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from ckptmgr.compat.v1.training.timers import SecondOrStepTimer

_log = get_logger()

# TensorFlow's numbers: how often a waiting worker looks, how many steps pass between two lines of
# its log, and how often it is said that the step stands still.
_LOOK_SECS = 0.5
_LOGGED_STEPS = 1000
_WARNINGS = 5


class StopAtStepHook(SessionRunHook):
    """Ends the training at a step.

    Args:
        num_steps: How many steps to make from where the session begins.
        last_step: The last one; instead.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if num_steps is None and last_step is None:
            raise errors.InvalidArgument("One of num_steps or last_step must be specified.")
        if num_steps is not None and last_step is not None:
            raise errors.InvalidArgument("Only one of num_steps or last_step can be specified.")
        self._num_steps = num_steps
        self._last_step = last_step
        self._step: Any = None

    def begin(self) -> None:
        self._step = needed_global_step_read("StopAtStepHook")

    def after_create_session(self, session: Any, coord: Any) -> None:
        # Once only: a session that replaces one that failed makes the rest of the steps.
        if self._last_step is None:
            assert self._num_steps is not None
            self._last_step = session.run(self._step) + self._num_steps

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        assert self._last_step is not None
        # What the run itself gave may be the step before it, or after.
        if run_values.results + 1 < self._last_step:
            return
        if run_context.session.run(self._step) >= self._last_step:
            run_context.request_stop()


class GlobalStepWaiterHook(SessionRunHook):
    """Lets the first run wait for a step, which somebody else has to reach."""

    def __init__(self, wait_until_step: int) -> None:
        self._wait_until_step = wait_until_step
        self._step: Any = None
        self._has_begun = False

    def begin(self) -> None:
        self._has_begun = False
        self._step = needed_global_step_read("GlobalStepWaiterHook")

    def before_run(self, run_context: SessionRunContext) -> None:
        if self._has_begun or self._wait_until_step <= 0:
            self._has_begun = True
            return
        _log.info("waiting for step %d", self._wait_until_step)
        logged = 0
        while (step := run_context.session.run(self._step)) < self._wait_until_step:
            if step - logged > _LOGGED_STEPS:
                _log.info("waiting for step %d, now at %d", self._wait_until_step, step)
                logged = step
            time.sleep(_LOOK_SECS)
        self._has_begun = True


class StepCounterHook(SessionRunHook):
    """Logs how many steps are made in a second.

    Args:
        every_n_steps, every_n_secs: How often; one of the two.
        output_dir: Where TensorFlow also writes a summary of it; none is written here.
        summary_writer: Nobody can give one.
    """

    def __init__(
        self,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: None = None,
    ) -> None:
        if (every_n_steps is None) == (every_n_secs is None):
            raise errors.InvalidArgument(
                "exactly one of every_n_steps and every_n_secs should be provided."
            )
        if summary_writer is not None:
            raise errors.InvalidArgument("no summaries are written here; leave summary_writer out")
        self._timer = SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_steps)
        self._step: Any = None
        self._tag = ""
        self._previous: int | None = None
        self._warnings_left = _WARNINGS

    def begin(self) -> None:
        self._step = needed_global_step_read("StepCounterHook")
        self._tag = f"{get_global_step().op.name}/sec"

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        found = run_values.results
        if self._timer.should_trigger_for_step(found + 1):
            step = run_context.session.run(self._step)
            if self._timer.should_trigger_for_step(step):
                secs, steps = self._timer.update_last_triggered_step(step)
                if secs and steps is not None:
                    _log.info("%s: %g", self._tag, steps / secs)
        if found == self._previous and self._warnings_left:
            self._warnings_left -= 1
            _log.warning("the global step is still %d after a run", found)
        self._previous = found
