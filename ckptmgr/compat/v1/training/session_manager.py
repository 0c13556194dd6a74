"""Sessions whose variables have values: from a checkpoint, from initializers, or from elsewhere.

    restore, or else init_op and init_fn      what is saved
    local_init_op                             what is not: local variables, tables
    ready_op                                  names what has no value after that

Source: tensorflow/python/training/session_manager.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.session import Session
from ckptmgr.lifecycle.state import get_checkpoint_state

_log = get_logger()

# Where TensorFlow keeps what sets up the SavedModels that a graph was made of.
_SAVED_MODEL_INITIALIZERS = "saved_model_initializers"


class SessionManager:
    """Makes sessions of one graph and gets them ready.

    Args:
        local_init_op: Run in every new session.
        ready_op: Names what has no value: strings, none if all is ready.
        ready_for_local_init_op: The same for what `local_init_op` needs.
        recovery_wait_secs: How long to wait before looking again.
    """

    def __init__(
        self,
        local_init_op: Any = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        graph: Graph | None = None,
        recovery_wait_secs: float = 30,
        local_init_run_options: Any = None,
        local_init_feed_dict: Mapping[Any, Any] | None = None,
    ) -> None:
        if ready_for_local_init_op is not None and local_init_op is None:
            raise errors.InvalidArgument(
                f"If you pass a ready_for_local_init_op you must also pass a local_init_op, "
                f"ready_for_local_init_op [{ready_for_local_init_op}]"
            )
        self._local_init_op = local_init_op
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._graph = get_default_graph() if graph is None else graph
        self._wait_secs = recovery_wait_secs
        self._local_init_run_options = local_init_run_options
        self._local_init_feed_dict = local_init_feed_dict

    def prepare_session(
        self,
        master: str,
        init_op: Any = None,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
        init_feed_dict: Mapping[Any, Any] | None = None,
        init_fn: Callable[[Session], Any] | None = None,
    ) -> Session:
        """A session that is restored, or else initialized.

        Args:
            checkpoint_dir: Its latest checkpoint is restored, if there is one.
            checkpoint_filename_with_path: The prefix that is restored, instead.
            wait_for_checkpoint: Wait for one at most `max_wait_secs`, then initialize.
            init_fn: Called with the session after `init_op`.
        Raises:
            ModelNotReady: Something has no value after all.
        """
        sess, is_restored = self._restored(
            master,
            config,
            saver,
            (checkpoint_dir, checkpoint_filename_with_path),
            max_wait_secs if wait_for_checkpoint else 0,
        )
        if not is_restored:
            if init_op is None and init_fn is None and self._local_init_op is None:
                raise errors.ModelNotReady(
                    "Model is not initialized and no init_op or init_fn or local_init_op was given"
                )
            if init_op is not None:
                sess.run(init_op, init_feed_dict)
            if init_fn is not None:
                init_fn(sess)
        told = f"Init op: {_name_of(init_op)}, init fn: {init_fn}"
        missing = self._run_local_init(sess)
        if missing is not None:
            raise errors.ModelNotReady(
                f"Init operations did not make model ready for local_init. {told}, error: {missing}"
            )
        missing = self._missing(sess)
        if missing is not None:
            raise errors.ModelNotReady(
                f"Init operations did not make model ready. {told}, local_init_op: "
                f"{_name_of(self._local_init_op)}, error: {missing}"
            )
        return sess

    def recover_session(
        self,
        master: str,
        saver: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
        wait_for_checkpoint: bool = False,
        max_wait_secs: float = 7200,
        config: Any = None,
    ) -> tuple[Session, bool]:
        """A session, and whether it was restored and is ready."""
        sess, is_restored = self._restored(
            master,
            config,
            saver,
            (checkpoint_dir, checkpoint_filename_with_path),
            max_wait_secs if wait_for_checkpoint else 0,
        )
        missing = self._run_local_init(sess)
        if not is_restored:
            return sess, False
        missing = missing or self._missing(sess)
        source = checkpoint_dir or checkpoint_filename_with_path
        if missing is not None:
            _log.info("restored from %s, and not ready: %s", source, missing)
            return sess, False
        _log.info("restored from %s", source)
        return sess, True

    def wait_for_session(
        self, master: str, config: Any = None, max_wait_secs: float | None = math.inf
    ) -> Session:
        """A session that somebody else gets ready.

        Raises:
            DeadlineExceeded: Nobody has after `max_wait_secs`.
        """
        longest_secs = math.inf if max_wait_secs is None else max_wait_secs
        deadline = time.monotonic() + longest_secs
        while True:
            sess = Session(master, self._graph, config)
            missing = self._run_local_init(sess) or self._missing(sess)
            if missing is None:
                return sess
            sess.close()
            if time.monotonic() + self._wait_secs > deadline:
                raise errors.DeadlineExceeded(
                    f"Session was not ready after waiting {longest_secs:g} secs: {missing}"
                )
            _log.info("waiting for the model: %s", missing)
            time.sleep(self._wait_secs)

    # ----------------------------------------------------------------- one step of it

    def _restored(
        self,
        master: str,
        config: Any,
        saver: Any,
        places: tuple[str | None, str | None],
        wait_secs: float,
    ) -> tuple[Session, bool]:
        """A new session, and whether anything was restored into it."""
        directory, prefix = places
        if directory and prefix:
            raise errors.InvalidArgument(
                "Can not provide both checkpoint_dir and checkpoint_filename_with_path."
            )
        sess = Session(master, self._graph, config)
        if saver is None or not (directory or prefix):
            return sess, False
        if prefix:
            self._restore(sess, saver, prefix)
            return sess, True
        assert directory is not None
        state = get_checkpoint_state(directory)
        waited_secs = 0.0
        while state is None or not state.model_checkpoint_path:
            if waited_secs >= wait_secs:
                return sess, False
            _log.info("waiting for a checkpoint in %s", directory)
            time.sleep(self._wait_secs)
            waited_secs += self._wait_secs
            state = get_checkpoint_state(directory)
        self._restore(sess, saver, state.model_checkpoint_path)
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
        return sess, True

    def _restore(self, sess: Session, saver: Any, prefix: str) -> None:
        # Before the checkpoint, which has the last word on variables that both know.
        initializers = get_default_graph().get_collection(_SAVED_MODEL_INITIALIZERS)
        if initializers:
            sess.run(initializers)
        saver.restore(sess, prefix)

    def _run_local_init(self, sess: Session) -> str | None:
        """Initialize what is not saved; says why it could not."""
        if self._local_init_op is None:
            return None
        missing = _missing(self._ready_for_local_init_op, sess)
        if missing is None:
            sess.run(self._local_init_op, self._local_init_feed_dict, self._local_init_run_options)
        return missing

    def _missing(self, sess: Session) -> str | None:
        return _missing(self._ready_op, sess)


def _missing(ready_op: Any, sess: Session) -> str | None:
    """What an operation that looks for it says has no value; None if all have."""
    if ready_op is None:
        return None
    try:
        names = sess.run(ready_op)
    except errors.UninitializedVariable as error:
        if "uninitialized" not in str(error):
            raise
        return str(error)
    # An operation gives None; older programs had a number.
    if names is None or names.dtype == np.int32 or names.size == 0:
        return None
    listed = ", ".join(name.decode("utf-8", "replace") for name in names.reshape(-1).tolist())
    return f"Variables not initialized: {listed}"


def _name_of(item: Any) -> str:
    if item is None:
        return "None"
    return getattr(item, "name", f"<no name for {type(item)}>")
