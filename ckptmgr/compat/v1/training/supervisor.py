"""What programs had before there were hooks: a session that gets itself ready, saved by a thread.

Source: tensorflow/python/training/supervisor.py.
"""

# ruff: noqa: ARG002 - TensorFlow's arguments

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NoReturn

from ckptmgr import arguments, errors
from ckptmgr.compat.v1.gfile import MakeDirs
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.scopes import group
from ckptmgr.compat.v1.state_functions import report_uninitialized_variables, tables_initializer
from ckptmgr.compat.v1.training.coordinator import Coordinator, LooperThread
from ckptmgr.compat.v1.training.monitored_session import warn_of_queue_runners
from ckptmgr.compat.v1.training.scaffold import all_summaries
from ckptmgr.compat.v1.training.session_manager import SessionManager
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.graph_def import write_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import (
    REF_TYPES,
    global_variables,
    global_variables_initializer,
    local_variables_initializer,
)

_log = get_logger()


class Supervisor:
    """Makes a session, restored or initialized, and saves it now and then from a thread.

    Args:
        is_chief: Whether it restores, initializes and saves; otherwise it waits for who does.
        logdir: Where to restore from and to save.
        save_model_secs: How often to save; 0 never does.
        summary_op, summary_writer, save_summaries_secs: For TensorFlow, which writes summaries.
    """

    #: What is found in the graph's collections, or made.
    USE_DEFAULT: Any = 0

    def __init__(
        self,
        graph: Graph | None = None,
        ready_op: Any = USE_DEFAULT,
        ready_for_local_init_op: Any = USE_DEFAULT,
        is_chief: bool = True,
        init_op: Any = USE_DEFAULT,
        init_feed_dict: Mapping[Any, Any] | None = None,
        local_init_op: Any = USE_DEFAULT,
        logdir: str | os.PathLike[str] | None = None,
        summary_op: Any = USE_DEFAULT,
        saver: Any = USE_DEFAULT,
        global_step: Any = USE_DEFAULT,
        save_summaries_secs: float = 120,
        save_model_secs: float = 600,
        recovery_wait_secs: float = 30,
        stop_grace_secs: float = 120,
        checkpoint_basename: str = "model.ckpt",
        session_manager: SessionManager | None = None,
        summary_writer: Any = USE_DEFAULT,
        init_fn: Callable[[Session], Any] | None = None,
        local_init_run_options: Any = None,
    ) -> None:
        if not (summary_writer is None or summary_writer is Supervisor.USE_DEFAULT):
            raise errors.InvalidArgument("no summaries are written here; leave summary_writer out")
        self._graph = get_default_graph() if graph is None else graph
        with self._graph.as_default():
            self._ready_op = _found_or_made(
                ready_op, GraphKeys.READY_OP, report_uninitialized_variables
            )
            self._ready_for_local_init_op = _found_or_made(
                ready_for_local_init_op, GraphKeys.READY_FOR_LOCAL_INIT_OP, lambda: None
            )
            self._init_op = _found_or_made(init_op, GraphKeys.INIT_OP, global_variables_initializer)
            self._local_init_op = _found_or_made(
                local_init_op,
                GraphKeys.LOCAL_INIT_OP,
                lambda: group(local_variables_initializer(), tables_initializer()),
            )
            self._saver = _found_or_made(saver, GraphKeys.SAVERS, _default_saver)
            self._summary_op = _found_or_made(summary_op, GraphKeys.SUMMARY_OP, all_summaries)
            self._global_step = _found_or_made(
                global_step, GraphKeys.GLOBAL_STEP, _default_global_step
            )
        self._init_feed_dict = init_feed_dict
        self._init_fn = init_fn
        self._is_chief = is_chief
        self._coord = Coordinator()
        self._grace_secs = stop_grace_secs
        self._logdir: str | None = None
        self._save_path: str | None = None
        self._save_model_secs = save_model_secs if is_chief else None
        self._save_summaries_secs = save_summaries_secs if is_chief else None
        if is_chief and logdir:
            self._logdir = arguments.path_text(logdir)
            self._save_path = os.path.join(self._logdir, checkpoint_basename)
            MakeDirs(self._logdir)
        self._session_manager = session_manager or SessionManager(
            local_init_op=self._local_init_op,
            ready_op=self._ready_op,
            ready_for_local_init_op=self._ready_for_local_init_op,
            graph=self._graph,
            recovery_wait_secs=recovery_wait_secs,
            local_init_run_options=local_init_run_options,
        )
        if not is_chief:
            self._check_devices()
        self._graph.finalize()

    def _check_devices(self) -> None:
        """Replicas share variables by where they are."""
        for op in self._graph.get_operations():
            if op.type in REF_TYPES and not op.device:
                raise errors.GraphError(
                    f"When using replicas, all Variables must have their device set: {op!r}"
                )

    # ----------------------------------------------------------------- what it has

    @property
    def is_chief(self) -> bool:
        return self._is_chief

    @property
    def session_manager(self) -> SessionManager:
        return self._session_manager

    @property
    def coord(self) -> Coordinator:
        return self._coord

    @property
    def init_op(self) -> Any:
        return self._init_op

    @property
    def init_feed_dict(self) -> Mapping[Any, Any] | None:
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        return self._ready_for_local_init_op

    @property
    def summary_writer(self) -> None:
        """Nothing: no summaries are written here."""
        return

    @property
    def summary_op(self) -> Any:
        return self._summary_op

    @property
    def save_summaries_secs(self) -> float | None:
        return self._save_summaries_secs

    @property
    def global_step(self) -> Any:
        return self._global_step

    @property
    def saver(self) -> Any:
        return self._saver

    @property
    def save_model_secs(self) -> float | None:
        return self._save_model_secs

    @property
    def save_path(self) -> str | None:
        return self._save_path

    # ----------------------------------------------------------------- its session

    @contextmanager
    def managed_session(
        self,
        master: str = "",
        config: Any = None,
        start_standard_services: bool = True,
        close_summary_writer: bool = True,
    ) -> Iterator[Session]:
        """A session for a block; at its end the threads are stopped and the session is closed.

        What the block, or a thread, failed with is raised then.
        """
        sess: Session | None = None
        try:
            sess = self.prepare_or_wait_for_session(
                master, config, start_standard_services=start_standard_services
            )
            yield sess
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self.request_stop(error)
        finally:
            try:
                self.stop(close_summary_writer=close_summary_writer)
            finally:
                if sess is not None:
                    with suppress(Exception):
                        sess.close()

    def prepare_or_wait_for_session(
        self,
        master: str = "",
        config: Any = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        start_standard_services: bool = True,
    ) -> Session:
        """A session whose variables have values, which the thread saves from now on."""
        self._coord.clear_stop()
        if not self._is_chief:
            sess = self._session_manager.wait_for_session(master, config, max_wait_secs)
        else:
            sess = self._session_manager.prepare_session(
                master,
                init_op=self._init_op,
                saver=self._saver,
                checkpoint_dir=self._logdir,
                wait_for_checkpoint=wait_for_checkpoint,
                max_wait_secs=max_wait_secs,
                config=config,
                init_feed_dict=self._init_feed_dict,
                init_fn=self._init_fn,
            )
            if self._logdir:
                graph_def = self._graph.as_graph_def(add_shapes=True)
                write_graph(graph_def, self._logdir, "graph.pbtxt")
            if start_standard_services:
                self.start_standard_services(sess)
        if start_standard_services:
            self.start_queue_runners(sess)
        return sess

    def start_standard_services(self, sess: Session) -> list[threading.Thread] | None:
        """Start the thread that saves; None without a directory.

        Raises:
            SupervisorMisused: It is not the chief's.
        """
        if not self._is_chief:
            raise errors.SupervisorMisused("Only chief supervisor can start standard services.")
        if not self._logdir:
            _log.warning("nothing is saved: the Supervisor was given no logdir")
            return None
        if self._saver is None or not self._save_model_secs:
            return []
        thread = LooperThread(self._coord, self._save_model_secs, self._save, (sess,))
        thread.start()
        return [thread]

    def _save(self, sess: Session) -> None:
        assert self._save_path is not None
        self._saver.save(sess, self._save_path, global_step=self._global_step)

    def start_queue_runners(
        self, sess: Session, queue_runners: Iterable[Any] | None = None
    ) -> list[threading.Thread]:
        """Nothing here fills queues; says so where a graph has some."""
        with self._graph.as_default():
            warn_of_queue_runners()
        return []

    # ----------------------------------------------------------------- its threads

    def loop(
        self,
        timer_interval_secs: float | None,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Call a function again and again in a thread that stops with the others."""
        return LooperThread.loop(self._coord, timer_interval_secs, target, args, kwargs)

    def stop(
        self,
        threads: Iterable[threading.Thread] | None = None,
        close_summary_writer: bool = True,
        ignore_live_threads: bool = False,
    ) -> None:
        """Stop all threads and wait for them; the session stays open."""
        self._coord.request_stop()
        self._coord.join(threads, self._grace_secs, ignore_live_threads)

    def request_stop(self, ex: Any = None) -> None:
        self._coord.request_stop(ex)

    def should_stop(self) -> bool:
        return self._coord.should_stop()

    def stop_on_exception(self) -> AbstractContextManager[None]:
        return self._coord.stop_on_exception()

    def wait_for_stop(self) -> None:
        self._coord.wait_for_stop()

    def summary_computed(self, sess: Session, summary: Any, global_step: Any = None) -> NoReturn:
        """Raise SupervisorMisused: no summaries are written here."""
        raise errors.SupervisorMisused("Writing a summary requires a summary writer.")

    # The older names of the same.
    PrepareSession = prepare_or_wait_for_session
    StartQueueRunners = start_queue_runners
    StartStandardServices = start_standard_services
    Stop = stop
    RequestStop = request_stop
    Loop = loop
    ShouldStop = should_stop
    StopOnException = stop_on_exception
    WaitForStop = wait_for_stop
    SummaryComputed = summary_computed


def _found_or_made(given: Any, key: str, make: Callable[[], Any]) -> Any:
    """What was given; by default the first item of a collection, or what is made and put there."""
    if given is not Supervisor.USE_DEFAULT:
        return given
    graph = get_default_graph()
    found = graph.get_collection(key)
    if found:
        return found[0]
    made = make()
    if made is not None:
        graph.add_to_collection(key, made)
    return made


def _default_saver() -> Saver | None:
    return Saver() if global_variables() else None


def _default_global_step() -> Tensor | None:
    try:
        step = get_default_graph().get_tensor_by_name("global_step:0")
    except errors.NodeNotFound:
        return None
    if step.dtype.base_dtype.name in {"int32", "int64"}:
        return step
    _log.warning("'global_step' counts no steps: it is of type %s", step.dtype.name)
    return None
