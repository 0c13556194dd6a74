"""The hook that saves: at the start, every so many steps or seconds, and at the end.

Source: tensorflow/python/training/basic_session_run_hooks.py (CheckpointSaverHook).
"""

# ruff: noqa: ARG002 - a hook's arguments

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ckptmgr import arguments, errors
from ckptmgr.compat.v1.gfile import MakeDirs
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.scopes import get_collection
from ckptmgr.compat.v1.training.global_steps import needed_global_step_read
from ckptmgr.compat.v1.training.hooks import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from ckptmgr.compat.v1.training.timers import SecondOrStepTimer
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.graph_def import write_graph
from ckptmgr.graph.keys import GraphKeys

_log = get_logger()

#: More than one run makes; the number is TensorFlow's.
_MORE_STEPS = 1_000_000


class CheckpointSaverListener:
    """Something that is called around each save; every method may be left as it is."""

    def begin(self) -> None:
        """Get ready; the graph may be changed for the last time."""

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Called before a save."""

    def after_save(self, session: Any, global_step_value: int) -> bool | None:
        """Called once the checkpoint is there; True ends the training."""
        return None

    def end(self, session: Any, global_step_value: int) -> None:
        """Called at last, after the last save."""


class CheckpointSaverHook(SessionRunHook):
    """Saves checkpoints of a session, and its graph beside them.

    Args:
        save_secs, save_steps: How often; one of the two.
        saver: What saves; that of `scaffold`, or of the collection `savers`, where it is None.
        save_graph_def: Whether to write `graph.pbtxt` and the `.meta` files.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str],
        save_secs: float | None = None,
        save_steps: int | None = None,
        saver: Any = None,
        checkpoint_basename: str = "model.ckpt",
        scaffold: Any = None,
        listeners: Iterable[CheckpointSaverListener] | None = None,
        save_graph_def: bool = True,
    ) -> None:
        if saver is not None and scaffold is not None:
            raise errors.InvalidArgument("You cannot provide both saver and scaffold.")
        self._directory = arguments.path_text(checkpoint_dir)
        self._save_path = os.path.join(self._directory, checkpoint_basename)
        self._saver = saver
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(every_secs=save_secs, every_steps=save_steps)
        self._listeners = list(listeners or ())
        self._save_graph_def = save_graph_def
        self._step: Any = None

    def begin(self) -> None:
        MakeDirs(self._directory)
        self._step = needed_global_step_read("CheckpointSaverHook")
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        step = session.run(self._step)
        if self._save_graph_def:
            # Only now: another hook's `begin` may have changed the graph after this one's.
            graph_def = get_default_graph().as_graph_def(add_shapes=True)
            write_graph(graph_def, self._directory, "graph.pbtxt")
        self._save(session, step)
        self._timer.update_last_triggered_step(step)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        # What the run itself gave may be the step before it, or after: only the clock says no here.
        if not self._timer.should_trigger_for_step(run_values.results + _MORE_STEPS):
            return
        step = run_context.session.run(self._step)
        if self._timer.should_trigger_for_step(step):
            self._timer.update_last_triggered_step(step)
            if self._save(run_context.session, step):
                run_context.request_stop()

    def end(self, session: Any) -> None:
        step = session.run(self._step)
        if step != self._timer.last_triggered_step():
            self._save(session, step)
        for listener in self._listeners:
            listener.end(session, step)

    def _save(self, session: Any, step: int) -> bool:
        """Save; whether a listener wants the training to end."""
        for listener in self._listeners:
            listener.before_save(session, step)
        _log.info("saving step %d at %s", step, self._save_path)
        self._get_saver().save(
            session, self._save_path, global_step=step, write_meta_graph=self._save_graph_def
        )
        wants_end = False
        for listener in self._listeners:
            # Each is told, also when one before it wants the end.
            wants_end |= bool(listener.after_save(session, step))
        return wants_end

    def _get_saver(self) -> Any:
        if self._saver is not None:
            return self._saver
        if self._scaffold is not None:
            return self._scaffold.saver
        savers = get_collection(GraphKeys.SAVERS)
        if len(savers) != 1:
            raise errors.NotExactlyOne(
                f"the collection {GraphKeys.SAVERS!r} has {len(savers)} items, not one; give "
                f"CheckpointSaverHook a saver or a scaffold"
            )
        self._saver = savers[0]
        return self._saver
