"""What makes the session of a monitored session, and makes another when that one fails.

Source: tensorflow/python/training/monitored_session.py.
"""

from __future__ import annotations

import abc
from typing import Any

from ckptmgr.compat.v1.training.scaffold import Scaffold
from ckptmgr.compat.v1.training.session_manager import SessionManager
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.session import Session


class SessionCreator(abc.ABC):
    """Something that makes sessions."""

    @abc.abstractmethod
    def create_session(self) -> Any:
        """Make one whose variables have values."""


class _ScaffoldedCreator(SessionCreator):
    """Makes sessions with the operations of a scaffold."""

    def __init__(self, scaffold: Scaffold | None, master: str, config: Any) -> None:
        self._scaffold = scaffold or Scaffold()
        self._master = master
        self._config = config
        self._manager: SessionManager | None = None

    def _session_manager(self) -> SessionManager:
        self._scaffold.finalize()
        if self._manager is None:
            self._manager = SessionManager(
                local_init_op=self._scaffold.local_init_op,
                local_init_feed_dict=self._scaffold.local_init_feed_dict,
                ready_op=self._scaffold.ready_op,
                ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
                graph=get_default_graph(),
            )
        return self._manager


class ChiefSessionCreator(_ScaffoldedCreator):
    """Makes a session and restores or initializes it.

    Args:
        checkpoint_dir: Its latest checkpoint is restored, if there is one.
        checkpoint_filename_with_path: The prefix that is restored, instead.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._directory = checkpoint_dir
        self._prefix = checkpoint_filename_with_path

    def create_session(self) -> Session:
        manager = self._session_manager()
        return manager.prepare_session(
            self._master,
            saver=self._scaffold.saver,
            checkpoint_dir=self._directory,
            checkpoint_filename_with_path=self._prefix,
            config=self._config,
            init_op=self._scaffold.init_op,
            init_feed_dict=self._scaffold.init_feed_dict,
            init_fn=self._scaffold.init_fn,
        )


class WorkerSessionCreator(_ScaffoldedCreator):
    """Makes a session and waits until somebody else has given it values.

    Args:
        max_wait_secs: How long; then `DeadlineExceededError` is raised.
    """

    def __init__(
        self,
        scaffold: Scaffold | None = None,
        master: str = "",
        config: Any = None,
        max_wait_secs: float | None = 30 * 60,
    ) -> None:
        super().__init__(scaffold, master, config)
        self._max_wait_secs = max_wait_secs

    def create_session(self) -> Session:
        return self._session_manager().wait_for_session(
            self._master, config=self._config, max_wait_secs=self._max_wait_secs
        )
