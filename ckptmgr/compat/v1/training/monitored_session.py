"""Sessions that get themselves ready, call hooks around each run, and are closed in order.

    hooks begin, the graph is finalized, the session made and restored or initialized,
    hooks are told of the session
    each run
    hooks end, unless an error ended it; threads are waited for; the session is closed

Source: tensorflow/python/training/monitored_session.py.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ckptmgr import arguments, errors
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.scopes import get_collection
from ckptmgr.compat.v1.training.checkpoint_hooks import CheckpointSaverHook
from ckptmgr.compat.v1.training.coordinator import Coordinator
from ckptmgr.compat.v1.training.hooks import SessionRunHook
from ckptmgr.compat.v1.training.scaffold import Scaffold
from ckptmgr.compat.v1.training.session_creators import (
    ChiefSessionCreator,
    SessionCreator,
    WorkerSessionCreator,
)
from ckptmgr.compat.v1.training.step_hooks import StepCounterHook
from ckptmgr.compat.v1.training.wrapped_sessions import (
    CoordinatedSession,
    HookedSession,
    RecoverableSession,
    StepContext,
    StoppableSession,
)
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.keys import GraphKeys

_log = get_logger()

#: What means that the training is at its end, and is no failure.
_ENDS = (errors.OutOfRange, StopIteration)
#: TensorFlow's way to tell "nothing was said" from None, which turns saving off.
USE_DEFAULT: Any = object()
_DEFAULT_SAVE_SECS = 600


class _MonitoredSession:
    """What both kinds have in common."""

    StepContext = StepContext

    def __init__(
        self,
        session_creator: SessionCreator | None,
        hooks: Iterable[SessionRunHook] | None,
        stop_grace_period_secs: float,
        *,
        recovers: bool,
    ) -> None:
        self._default_graph = get_default_graph()
        self._was_finalized = self._default_graph.finalized
        self._hooks = list(hooks or ())
        self._creator = session_creator
        self._grace_secs = stop_grace_period_secs
        self._raw: Any = None
        for hook in self._hooks:
            hook.begin()
        if self._creator is None:
            self._creator = ChiefSessionCreator()
        self._sess: StoppableSession | None = (
            RecoverableSession(self._create) if recovers else self._create()
        )

    def _create(self) -> CoordinatedSession:
        """Make a session and tell the hooks of it."""
        assert self._creator is not None
        raw = self._creator.create_session()
        # Whatever ends a thread is to be raised.
        coord = Coordinator(clean_stop_exception_types=())
        warn_of_queue_runners()
        try:
            for hook in self._hooks:
                hook.after_create_session(raw, coord)
        except BaseException:
            raw.close()
            raise
        self._raw = raw
        return CoordinatedSession(HookedSession(raw, self._hooks), coord, self._grace_secs)

    @property
    def graph(self) -> Graph | None:
        """The graph; None once it is closed."""
        return None if self._raw is None else self._raw.graph

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        """As `Session.run`, with the hooks around it."""
        return self._open().run(fetches, feed_dict, options, run_metadata)

    def run_step_fn(self, step_fn: Callable[..., Any]) -> Any:
        """Call a function of one argument `step_context`, which runs what it wants.

        Raises:
            InvalidArgument: It takes other arguments.
            StopIteration: It asked for the end; the block of the session takes it.
        """
        taken = [name for name in inspect.signature(step_fn).parameters if name != "self"]
        if taken != ["step_context"]:
            raise errors.InvalidArgument(
                f"`step_fn` may either have one `step_context` argument, or `self` and "
                f"`step_context` arguments if it's an instance method. Got {taken} instead."
            )
        return self._open().run_step_fn(step_fn, self._raw)

    def should_stop(self) -> bool:
        """Whether the training is at its end; also once it is closed."""
        return self._sess is None or self._sess.should_stop()

    def close(self) -> None:
        """Let the hooks end, and close the session."""
        self._close(is_failed=False)

    def _open(self) -> StoppableSession:
        if self._sess is None:
            raise errors.SessionClosed("Session is already closed.")
        return self._sess

    def _close(self, *, is_failed: bool) -> None:
        sess = self._open()
        try:
            if not is_failed:
                for hook in self._hooks:
                    hook.end(self._raw)
        finally:
            try:
                sess.close()
            finally:
                self._sess = self._raw = None
                if not self._was_finalized:
                    self._default_graph._unsafe_unfinalize()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        is_failed = kind is not None and not issubclass(kind, _ENDS)
        self._close(is_failed=is_failed)
        return not is_failed


class MonitoredSession(_MonitoredSession):
    """A session that is restored or initialized, calls hooks, and is made again when it is lost.

    It is no `Session`: a Saver saves the one that hooks are given.
    """

    def __init__(
        self,
        session_creator: SessionCreator | None = None,
        hooks: Iterable[SessionRunHook] | None = None,
        stop_grace_period_secs: float = 120,
    ) -> None:
        super().__init__(session_creator, hooks, stop_grace_period_secs, recovers=True)


class SingularMonitoredSession(_MonitoredSession):
    """The same for one process, which gives its session away and makes no other."""

    def __init__(
        self,
        hooks: Iterable[SessionRunHook] | None = None,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        creator = ChiefSessionCreator(
            scaffold, master, config, checkpoint_dir, checkpoint_filename_with_path
        )
        super().__init__(creator, hooks, stop_grace_period_secs, recovers=False)

    def raw_session(self) -> Any:
        """The session itself, which a Saver can save."""
        return self._raw


def MonitoredTrainingSession(
    master: str = "",
    is_chief: bool = True,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    scaffold: Scaffold | None = None,
    hooks: Sequence[SessionRunHook] | None = None,
    chief_only_hooks: Sequence[SessionRunHook] | None = None,
    save_checkpoint_secs: Any = USE_DEFAULT,
    save_summaries_steps: Any = USE_DEFAULT,
    save_summaries_secs: Any = USE_DEFAULT,
    config: Any = None,
    stop_grace_period_secs: float = 120,
    log_step_count_steps: int | None = 100,
    max_wait_secs: float | None = 7200,
    save_checkpoint_steps: Any = USE_DEFAULT,
    summary_dir: str | None = None,
    save_graph_def: bool = True,
) -> MonitoredSession:
    """A session for training, which restores the latest checkpoint of a directory and saves there.

    Args:
        is_chief: Whether it restores, initializes and saves; otherwise it waits for who does.
        hooks: After the saving one; those of `chief_only_hooks` come first.
        save_checkpoint_secs, save_checkpoint_steps: How often to save; 600 seconds if neither is
            said, never if both are None.
        log_step_count_steps: How often the steps per second are logged.
        save_summaries_steps, save_summaries_secs, summary_dir: For TensorFlow, which writes
            summaries.
    """
    scaffold = scaffold or Scaffold()
    if not is_chief:
        worker = WorkerSessionCreator(scaffold, master, config, max_wait_secs)
        return MonitoredSession(worker, hooks, stop_grace_period_secs)
    directory = None if not checkpoint_dir else arguments.path_text(checkpoint_dir)
    all_hooks = list(chief_only_hooks or ())
    if (summary_dir or directory) and log_step_count_steps and log_step_count_steps > 0:
        all_hooks.append(StepCounterHook(log_step_count_steps))
    if get_collection(GraphKeys.SUMMARIES):
        _log.warning("the graph has summaries, and none are written")
    secs, steps = _save_interval(save_checkpoint_secs, save_checkpoint_steps)
    if directory and max(secs or 0, steps or 0) > 0:
        all_hooks.append(
            CheckpointSaverHook(
                directory,
                save_steps=steps,
                save_secs=secs,
                scaffold=scaffold,
                save_graph_def=save_graph_def,
            )
        )
    all_hooks.extend(hooks or ())
    chief = ChiefSessionCreator(scaffold, master, config, directory)
    return MonitoredSession(chief, all_hooks, stop_grace_period_secs)


def _save_interval(secs: Any, steps: Any) -> tuple[Any, Any]:
    if secs is USE_DEFAULT and steps is USE_DEFAULT:
        return _DEFAULT_SAVE_SECS, None
    return (None if value is USE_DEFAULT else value for value in (secs, steps))  # type: ignore[return-value]


def warn_of_queue_runners() -> None:
    """Tell of queues that an imported graph is fed by, and that nothing here fills."""
    found = get_collection(GraphKeys.QUEUE_RUNNERS)
    if found:
        _log.warning("%d queue runners of the graph are not started: feed the values", len(found))
