"""What is called around each run of a monitored session, and what it is told and may ask for.

    begin                   the graph may still be changed
    after_create_session    it may not; once more for each session that replaces one that failed
    before_run, after_run   around each run
    end                     before the session is closed, unless an error ended it

Source: tensorflow/python/training/session_run_hook.py.
"""

# ruff: noqa: ARG002 - a hook's arguments

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunArgs(NamedTuple):
    """What a hook adds to a run; also what the caller gave."""

    fetches: Any
    feed_dict: Any = None
    options: Any = None


class SessionRunValues(NamedTuple):
    """What a run gave for the fetches of one hook; None if it asked for nothing."""

    results: Any
    options: Any
    run_metadata: Any


class SessionRunContext:
    """One run, as hooks see it."""

    def __init__(self, original_args: SessionRunArgs, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._is_stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        """What the caller of `run` gave."""
        return self._original_args

    @property
    def session(self) -> Any:
        """The session itself: what it runs calls no hooks."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        return self._is_stop_requested

    def request_stop(self) -> None:
        """Let this run be the last one."""
        self._is_stop_requested = True


class SessionRunHook:
    """Something that is called around each run; every method may be left as it is."""

    def begin(self) -> None:
        """Get ready; the graph may be changed for the last time."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Take note of a new session, whose variables have values."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Give what is to be fetched and fed besides."""
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """Take what was fetched; not called when the run failed."""

    def end(self, session: Any) -> None:
        """Do what is to be done at last; not called after an error."""
