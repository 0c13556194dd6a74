"""Hooks that look at tensors: log them, stop at a NaN, compute some at the end, feed others.

Source: tensorflow/python/training/basic_session_run_hooks.py.
"""

# ruff: noqa: ARG002 - a hook's arguments

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.training.hooks import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from ckptmgr.compat.v1.training.timers import NeverTimer, SecondOrStepTimer
from ckptmgr.graph.graph import get_default_graph

_log = get_logger()


class LoggingTensorHook(SessionRunHook):
    """Logs tensors now and then.

    Args:
        tensors: Tensors or their names; in a dict, by what to call them.
        every_n_iter, every_n_secs: How often, in runs or seconds; at most one of the two.
        at_end: Log them when the training ends.
        formatter: Makes the line of the values by tag.
    """

    def __init__(
        self,
        tensors: Mapping[Any, Any] | Iterable[Any],
        every_n_iter: int | None = None,
        every_n_secs: float | None = None,
        at_end: bool = False,
        formatter: Callable[[dict[Any, Any]], str] | None = None,
    ) -> None:
        is_at_end_only = at_end and every_n_iter is None and every_n_secs is None
        if not is_at_end_only and (every_n_iter is None) == (every_n_secs is None):
            raise errors.InvalidArgument(
                "either at_end and/or exactly one of every_n_iter and every_n_secs must be "
                "provided."
            )
        if every_n_iter is not None and every_n_iter <= 0:
            raise errors.InvalidArgument(f"invalid every_n_iter={every_n_iter}.")
        if isinstance(tensors, Mapping):
            self._tensors = {tag: tensors[tag] for tag in sorted(tensors)}
        else:
            self._tensors = {item: item for item in tensors}
        self._formatter = formatter
        self._timer = (
            NeverTimer()
            if is_at_end_only
            else SecondOrStepTimer(every_secs=every_n_secs, every_steps=every_n_iter)
        )
        self._at_end = at_end
        self._found: dict[Any, Any] = {}
        self._num_runs = 0
        self._is_due = False

    def begin(self) -> None:
        self._timer.reset()
        self._num_runs = 0
        self._found = {tag: _element(item) for tag, item in self._tensors.items()}

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        self._is_due = self._timer.should_trigger_for_step(self._num_runs)
        return SessionRunArgs(self._found) if self._is_due else None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if self._is_due:
            self._write(run_values.results)
        self._num_runs += 1

    def end(self, session: Any) -> None:
        if self._at_end:
            self._write(session.run(self._found))

    def _write(self, values: dict[Any, Any]) -> None:
        secs, _ = self._timer.update_last_triggered_step(self._num_runs)
        with np.printoptions(suppress=True):
            if self._formatter is not None:
                _log.info(self._formatter(values))
                return
            line = ", ".join(f"{tag} = {values[tag]}" for tag in self._tensors)
            if secs is None:
                _log.info("%s", line)
            else:
                _log.info("%s (%.3f sec)", line, secs)


def _element(item: Any) -> Any:
    """What of the default graph is meant: a tensor, or the only one of a named operation."""
    graph = get_default_graph()
    if not isinstance(item, str):
        if getattr(item, "graph", None) is not graph:
            raise errors.GraphError(
                f"Passed {item} should have graph attribute that is equal to current graph {graph}."
            )
        return item
    if ":" in item:
        return graph.as_graph_element(item)
    op = graph.get_operation_by_name(item)
    if len(op.outputs) > 1:
        raise errors.GraphError(
            f"Name {item} is ambiguous, as this operation has {len(op.outputs)} outputs; ask for "
            f"'{item}:0' or another"
        )
    return graph.get_tensor_by_name(f"{item}:0")


class NanLossDuringTrainingError(errors.CheckpointError, RuntimeError):
    """The loss was no number."""

    def __str__(self) -> str:
        return "NaN loss during training."


class NanTensorHook(SessionRunHook):
    """Ends the training when the loss is no number.

    Args:
        fail_on_nan_loss: Whether it ends with `NanLossDuringTrainingError`.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fails = fail_on_nan_loss

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._loss_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if not np.isnan(run_values.results):
            return
        if self._fails:
            _log.error("the loss is NaN")
            raise NanLossDuringTrainingError
        _log.warning("the loss is NaN; the training ends")
        run_context.request_stop()


class FinalOpsHook(SessionRunHook):
    """Computes tensors when the training ends."""

    def __init__(
        self, final_ops: Any, final_ops_feed_dict: Mapping[Any, Any] | None = None
    ) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self._values: Any = None

    @property
    def final_ops_values(self) -> Any:
        """What came of them; None before the end."""
        return self._values

    def end(self, session: Any) -> None:
        if self._final_ops is None:
            return
        try:
            self._values = session.run(self._final_ops, self._final_ops_feed_dict)
        except (errors.OutOfRange, StopIteration):
            _log.warning("what FinalOpsHook computes asks for more input, and there is no more")
            raise


class FeedFnHook(SessionRunHook):
    """Feeds what a function gives before each run."""

    def __init__(self, feed_fn: Callable[[], Mapping[Any, Any]]) -> None:
        self.feed_fn = feed_fn

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(fetches=None, feed_dict=self.feed_fn())
