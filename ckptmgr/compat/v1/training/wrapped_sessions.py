"""What stands between a monitored session and the session itself, from the inside out.

    HookedSession           calls the hooks around each run
    CoordinatedSession      raises what a thread of the coordinator has failed with
    RecoverableSession      makes another session when this one is lost

Source: tensorflow/python/training/monitored_session.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from ckptmgr import errors
from ckptmgr.compat.v1.errors import AbortedError, UnavailableError
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.compat.v1.options import Options, RunMetadata, RunOptions
from ckptmgr.compat.v1.training.coordinator import Coordinator
from ckptmgr.compat.v1.training.hooks import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)

_log = get_logger()

#: What another session may help against.
_LOST = (AbortedError, UnavailableError)
_Run = Callable[..., Any]


class StepContext:
    """What a function of `run_step_fn` is given."""

    def __init__(self, session: Any, run_with_hooks: _Run) -> None:
        self._session = session
        self._run_with_hooks = run_with_hooks

    @property
    def session(self) -> Any:
        """The session itself: what it runs calls no hooks."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """`run` of the monitored session."""
        return self._run_with_hooks(*args, **kwargs)

    def request_stop(self) -> NoReturn:
        """Leave the function, and the block of the session, without an error."""
        raise StopIteration("step_fn has requested the iterations to stop.")


class StoppableSession(Protocol):
    """A session that may say that it should not be used any more."""

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        """As `Session.run`."""

    def run_step_fn(self, step_fn: Callable[[StepContext], Any], raw_session: Any) -> Any:
        """Call a function that runs what it wants."""

    def should_stop(self) -> bool:
        """Whether it should not be used any more."""

    def close(self) -> None:
        """Close what is inside."""


class HookedSession:
    """Calls hooks around each run of a session."""

    def __init__(self, sess: Any, hooks: Sequence[SessionRunHook]) -> None:
        self._sess = sess
        self._hooks = hooks
        self._is_stop_requested = False

    def should_stop(self) -> bool:
        return self._is_stop_requested

    def close(self) -> None:
        self._sess.close()

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        if self._is_stop_requested:
            raise errors.SessionClosed("Run called even after should_stop requested.")
        options = options or RunOptions()
        run_metadata = run_metadata or RunMetadata()
        context = SessionRunContext(SessionRunArgs(fetches, feed_dict), self._sess)
        requests = [hook.before_run(context) for hook in self._hooks]
        wanted = {"caller": fetches} | {
            number: request.fetches
            for number, request in enumerate(requests)
            if request is not None and request.fetches is not None
        }
        feeds = _merged_feeds(feed_dict, [r.feed_dict for r in requests if r is not None])
        for request in requests:
            if request is not None and request.options is not None:
                _merge_options(options, request.options)
        found = self._sess.run(wanted, feeds, options, run_metadata)
        for number, hook in enumerate(self._hooks):
            hook.after_run(context, SessionRunValues(found.get(number), options, run_metadata))
        if context.stop_requested:
            # Never back to False: a run of another thread may end after the one that asked.
            self._is_stop_requested = True
        return found["caller"]

    def run_step_fn(self, step_fn: Callable[[StepContext], Any], raw_session: Any) -> Any:
        return step_fn(StepContext(raw_session, self.run))


def _merged_feeds(
    of_user: Mapping[Any, Any] | None, of_hooks: Sequence[Mapping[Any, Any] | None]
) -> Mapping[Any, Any] | None:
    merged: dict[Any, Any] = {}
    for feeds in of_hooks:
        _check_disjoint(merged, feeds or {}, "Same tensor is fed by two hooks.")
        merged.update(feeds or {})
    if not merged:
        return of_user
    _check_disjoint(of_user or {}, merged, "Same tensor is fed by a SessionRunHook and user.")
    return merged | dict(of_user or {})


class FedTwice(errors.GraphError, RuntimeError):
    """Two of those who feed a run give values for one tensor."""


def _check_disjoint(first: Mapping[Any, Any], second: Mapping[Any, Any], problem: str) -> None:
    both = [key for key in first if key in second]
    if both:
        raise FedTwice(f"{problem} Conflict(s): {both}")


def _merge_options(options: Options, more: Options) -> None:
    """Let options be what anybody asks for: the larger number, or what is given."""
    given = vars(options)
    for name, value in vars(more).items():
        both_are_numbers = isinstance(value, int) and isinstance(given.get(name), int)
        given[name] = max(given[name], value) if both_are_numbers else value


class CoordinatedSession:
    """Raises what a thread of a coordinator has failed with, and waits for its threads."""

    def __init__(
        self, sess: HookedSession, coord: Coordinator, stop_grace_period_secs: float
    ) -> None:
        self._sess = sess
        self._coord = coord
        self._grace_secs = stop_grace_period_secs

    def should_stop(self) -> bool:
        self._coord.raise_requested_exception()
        return self._coord.should_stop() or self._sess.should_stop()

    def close(self) -> None:
        self._coord.request_stop()
        try:
            self._coord.join(stop_grace_period_secs=self._grace_secs, ignore_live_threads=True)
        finally:
            self._sess.close()

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        try:
            return self._sess.run(fetches, feed_dict, options, run_metadata)
        except _LOST:
            raise
        except Exception:
            # What a thread lost may be why this failed; then another session helps.
            try:
                self._coord.raise_requested_exception()
            except _LOST:
                raise
            except Exception:  # noqa: BLE001, S110 - `close` raises it; this run's own comes first
                pass
            raise

    def run_step_fn(self, step_fn: Callable[[StepContext], Any], raw_session: Any) -> Any:
        return step_fn(StepContext(raw_session, self.run))


class RecoverableSession:
    """Makes another session when `AbortedError` or `UnavailableError` ended one.

    Args:
        create: Makes a session.
    """

    def __init__(self, create: Callable[[], CoordinatedSession]) -> None:
        self._create_once = create
        self._sess: CoordinatedSession | None = self._create()

    def _create(self) -> CoordinatedSession:
        while True:
            try:
                return self._create_once()
            except _LOST as error:
                _log.info("a session was lost while it was made, and is made again: %s", error)

    def _replace(self, error: Exception) -> None:
        _log.info("the session was lost, and another one is made: %s", error)
        try:
            self.close()
        finally:
            self._sess = None

    def should_stop(self) -> bool:
        if self._sess is None:
            return True
        try:
            return self._sess.should_stop()
        except _LOST as error:
            self._replace(error)
            self._sess = self._create()
            return False
        except Exception:  # noqa: BLE001 - `close` raises it
            return True

    def close(self) -> None:
        if self._sess is None:
            return
        try:
            self._sess.close()
        except _LOST as error:
            _log.error("the session was lost before it was closed: %s", error)
        finally:
            self._sess = None

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        return self._retried(lambda sess: sess.run(fetches, feed_dict, options, run_metadata))

    def run_step_fn(self, step_fn: Callable[[StepContext], Any], raw_session: Any) -> Any:
        return self._retried(lambda sess: sess.run_step_fn(step_fn, raw_session))

    def _retried(self, use: Callable[[CoordinatedSession], Any]) -> Any:
        while True:
            if self._sess is None:
                self._sess = self._create()
            try:
                return use(self._sess)
            except _LOST as error:
                self._replace(error)
