"""Following a directory: being given each checkpoint as soon as it is committed.

A follower waits until something may have changed and then looks for itself, always in this order:

1. Set up what will wake it, so that a change after the look cannot be missed.
2. See whether training says that it is done, so that everything saved before that is in the state
   that is read next.
3. Read the checkpoint state and decide which checkpoint in it is new (`sightings`).

On a local file system the system wakes it (`directory_events`); beside that, and on all other
storages, it looks again every `poll_interval_secs`.

Source: tensorflow/python/training/checkpoint_utils.py, for the functions with TensorFlow's names.
"""

from __future__ import annotations

import logging
import math
import numbers
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ckptmgr import arguments, errors, naming
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.sightings import (
    History,
    LatestChanges,
    Listed,
    Locate,
    Located,
    listing,
)
from ckptmgr.lifecycle.state import own_prefix, read_state
from ckptmgr.storage import PosixStorage, Storage

if TYPE_CHECKING:
    from ckptmgr.lifecycle.directory_events import DirectoryEvents

_log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]
_Take = Callable[[Sequence[Listed], Locate], str | None]

# A sleep of zero seconds is legal in TensorFlow; here it would keep a processor busy.
_MIN_POLL_SECS = 0.01


# --------------------------------------------------------------------------- TensorFlow's functions


def wait_for_new_checkpoint(
    checkpoint_dir: StrPath,
    last_checkpoint: str | None = None,
    seconds_to_sleep: float = 1,
    timeout: float | None = None,
) -> str | None:
    """Wait until the latest checkpoint of a directory is another one than `last_checkpoint`.

    TensorFlow sleeps between its looks and gives up when the next sleep would outlast the timeout,
    so it may return early. This one is woken by the save, and uses the whole timeout.

    Args:
        seconds_to_sleep: Time between looks where the system does not tell of changes.
        timeout: In seconds; None waits without limit.
    Returns:
        Its prefix; None after the timeout, or when training said that it is done.
    Raises:
        NotADirectory: That is a file, or the prefix of a checkpoint.
    """

    def take(checkpoints: Sequence[Listed], locate: Locate) -> str | None:
        located = locate(checkpoints[-1].path) if checkpoints else None
        return located.prefix if located and located.prefix != last_checkpoint else None

    _check_number("seconds_to_sleep", seconds_to_sleep)
    if timeout is not None:
        _check_number("timeout", timeout)
    poll_interval_secs = max(seconds_to_sleep, _MIN_POLL_SECS)
    with _Follower(checkpoint_dir, poll_interval_secs=poll_interval_secs) as follower:
        return follower.wait(take, timeout)


def checkpoints_iterator(
    checkpoint_dir: StrPath,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
) -> Iterator[str]:
    """Yield the latest checkpoint of a directory whenever it changes.

    Ends when training says that it is done, after its last checkpoint. Checkpoints that were saved
    and followed by another while the caller was busy are left out.

    Args:
        min_interval_secs: The least time between two checkpoints.
        timeout: The most seconds to wait for a checkpoint; without `timeout_fn` the iterator then
            ends.
        timeout_fn: Called after each timeout and, as in TensorFlow, after each checkpoint that was
            dealt with; the iterator ends when it returns true.
    Raises:
        NotADirectory: At once, if that is a file, or the prefix of a checkpoint.
    """
    _check_number("min_interval_secs", min_interval_secs)
    if timeout is not None:
        _check_number("timeout", timeout)
    follower = _Follower(checkpoint_dir)
    return _iterate(follower, min_interval_secs, timeout, timeout_fn)


def _iterate(
    follower: _Follower,
    min_interval_secs: float,
    timeout: float | None,
    timeout_fn: Callable[[], bool] | None,
) -> Iterator[str]:
    changes = LatestChanges()
    with follower:
        while True:
            prefix = follower.wait(changes.take, timeout)
            if prefix is not None:
                start_secs = time.monotonic()
                yield prefix
                follower.rest(start_secs + min_interval_secs)
            elif follower.is_finished or timeout_fn is None:
                return
            if timeout_fn is not None and timeout_fn():
                return


# --------------------------------------------------------------------------- our own


class CheckpointWatcher:
    """Yields each checkpoint of a directory once, in the order of saving, as it is committed.

    A checkpoint that is saved again at the same step counts as another one. Whoever is slower than
    training gets the newest next; with `every`, all that the state still lists. Only checkpoints
    that exist are yielded, but retention may delete one at any later time: `hold` keeps it.

    The iteration ends when training said that it is done and everything was yielded, after a
    timeout, and after `close()`, which any thread may call. Use it as a context manager, or close
    it; one thread at a time may wait.

    Args:
        every: Yield all checkpoints, beginning with the oldest there is, instead of the newest.
        last_checkpoint: What an earlier watcher yielded last: it and what was saved before it is
            not yielded again.
        min_interval_secs: The least time between two checkpoints.
        timeout_secs: End the iteration when there was nothing new for so long; None never does.
        poll_interval_secs: How often to look where the system does not tell of changes.
        latest_filename: The name of the state file, if not `checkpoint`.
        storage: Where the directory is; the file system by default. Others are polled.
    Raises:
        NotADirectory: That is a file, or the prefix of a checkpoint.
    """

    def __init__(  # noqa: PLR0913 - independent options, each by its name
        self,
        checkpoint_dir: StrPath,
        *,
        every: bool = False,
        last_checkpoint: str | None = None,
        min_interval_secs: float = 0.0,
        timeout_secs: float | None = None,
        poll_interval_secs: float = 1.0,
        latest_filename: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        _check_number("min_interval_secs", min_interval_secs)
        if not 0 <= min_interval_secs <= threading.TIMEOUT_MAX:
            raise errors.InvalidArgument(
                f"min_interval_secs must be at least zero and finite, found {min_interval_secs!r}"
            )
        _check_timeout(timeout_secs)
        self._follower = _Follower(
            checkpoint_dir,
            poll_interval_secs=poll_interval_secs,
            latest_filename=latest_filename,
            storage=storage,
        )
        self._history = History(every=every, last_checkpoint=last_checkpoint)
        self._min_interval_secs = min_interval_secs
        self._timeout_secs = timeout_secs
        self._next_due_secs = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether, when last looked, training had said that it is done and nothing was left."""
        return self._follower.is_finished

    def wait(self, timeout_secs: float | None = None) -> str | None:
        """The next checkpoint's prefix, as soon as there is one.

        Args:
            timeout_secs: None waits without limit; 0 only looks.
        Returns:
            None after the timeout, when training is done, or once the watcher is closed.
        """
        _check_timeout(timeout_secs)
        deadline_secs = None if timeout_secs is None else time.monotonic() + timeout_secs
        if deadline_secs is not None and deadline_secs < self._next_due_secs:
            self._follower.rest(deadline_secs)
            return None
        self._follower.rest(self._next_due_secs)
        left_secs = None if deadline_secs is None else deadline_secs - time.monotonic()
        prefix = self._follower.wait(self._history.take, left_secs)
        if prefix is not None:
            self._next_due_secs = time.monotonic() + self._min_interval_secs
        return prefix

    def close(self) -> None:
        """End the iteration, whichever thread is in it; a second call does nothing."""
        self._follower.close()

    def __iter__(self) -> CheckpointWatcher:
        return self

    def __next__(self) -> str:
        self._follower.rest(self._next_due_secs)  # the timeout is that of the wait behind it
        prefix = self.wait(self._timeout_secs)
        if prefix is None:
            self.close()
            raise StopIteration
        return prefix

    def __enter__(self) -> CheckpointWatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A loop that was left by `break` drops its watcher, and with it the system's watches.
        if hasattr(self, "_follower"):
            self.close()


class _Follower:
    """Looks at a directory whenever it may have changed, until what it looks for is there."""

    def __init__(
        self,
        checkpoint_dir: StrPath,
        *,
        poll_interval_secs: float = 1.0,
        latest_filename: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        _check_number("poll_interval_secs", poll_interval_secs)
        if not 0 < poll_interval_secs <= threading.TIMEOUT_MAX:
            raise errors.InvalidArgument(
                f"poll_interval_secs must be greater than zero and finite, found "
                f"{poll_interval_secs!r}"
            )
        self.is_finished = False
        self._directory = arguments.path_text(checkpoint_dir)
        self._state_file = naming.state_file(self._directory, latest_filename)
        self._latest_filename = latest_filename
        self._poll_interval_secs = poll_interval_secs
        self._storage = storage or PosixStorage()
        self._refuse_what_is_no_directory()
        self._events: DirectoryEvents | None = None
        self._wake = threading.Event()
        self._closed = threading.Event()
        # Held by the thread that waits; it takes the watches down if it is closed meanwhile.
        self._waiting = threading.Lock()
        self._last_problem = ""

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _refuse_what_is_no_directory(self) -> None:
        try:
            RunDirectory(self._storage, self._directory).refuse_file()
        except errors.NotADirectory:
            raise
        except errors.StorageError as error:
            # As in each look: what a storage refuses now it may answer later.
            _log.warning("cannot look at %s yet: %s", self._directory, error)

    def wait(self, take: _Take, timeout_secs: float | None) -> str | None:
        """What `take` finds; None after the timeout, at the end of training, or when closed."""
        deadline_secs = None if timeout_secs is None else time.monotonic() + timeout_secs
        try:
            with self._waiting:
                return self._wait_until(deadline_secs, take)
        finally:
            if self._closed.is_set():
                self._stop_events()

    def rest(self, until_secs: float) -> None:
        """Sleep until then, or until closed."""
        self._closed.wait(max(0.0, until_secs - time.monotonic()))

    def close(self) -> None:
        """End the wait of whichever thread is in it; a second call does nothing."""
        self._closed.set()
        self._wake.set()
        self._stop_events()

    def _stop_events(self) -> None:
        # Never waits: a signal handler may close what its own thread is waiting in. The thread that
        # has the lock sees that we are closed when it has let it go.
        if self._waiting.acquire(blocking=False):
            try:
                if self._events is not None:
                    self._events.close()
            finally:
                self._waiting.release()

    def _wait_until(self, deadline_secs: float | None, take: _Take) -> str | None:
        while True:
            # Before the look: a change during it must wake us again.
            self._wake.clear()
            if self._closed.is_set():
                return None
            self._arm()
            prefix = self._look(take)
            if prefix is not None or self.is_finished:
                return prefix
            pause_secs = self._poll_interval_secs
            if deadline_secs is not None:
                pause_secs = min(pause_secs, deadline_secs - time.monotonic())
            if pause_secs <= 0:
                return None
            self._wake.wait(pause_secs)

    def _arm(self) -> None:
        if not isinstance(self._storage, PosixStorage):
            return
        if self._events is None:
            from ckptmgr.lifecycle.directory_events import DirectoryEvents

            filename = os.path.basename(self._state_file)
            self._events = DirectoryEvents(self._directory, filename, self._wake)
        self._events.arm()

    def _look(self, take: _Take) -> str | None:
        self.is_finished = False
        try:
            # Before the state: what was saved before the end is then in the state that we read.
            is_done = self._storage.stat(naming.finished_file(self._directory)) is not None
            prefix = take(self._read_listing(), self._locate)
        except errors.StorageError as error:
            self._report(error)  # a network's hiccup must not end an evaluator
            return None
        self.is_finished = is_done and prefix is None
        return prefix

    def _read_listing(self) -> list[Listed]:
        # Before the content: if the file is replaced in between, the next look finds another one.
        info = self._storage.stat(self._state_file)
        if info is None:
            return []
        try:
            state = read_state(self._storage, self._directory, self._latest_filename)
        except errors.MalformedState as error:
            self._report(error)  # half written by somebody who does not rename; tried again
            return []
        self._last_problem = ""
        return listing(state, info.identity) if state else []

    def _locate(self, path: str) -> Located | None:
        prefix = own_prefix(self._storage, self._directory, path)
        if prefix is None:
            return None
        shards = naming.v1_shard_files(prefix)
        for file in (naming.index_file(prefix), shards[0] if shards else prefix):
            info = self._storage.stat(file)
            if info is not None:
                return Located(prefix, info.identity)
        return None

    def _report(self, error: Exception) -> None:
        if str(error) != self._last_problem:
            self._last_problem = str(error)
            _log.warning("still waiting for checkpoints: %s", error)


def _check_timeout(timeout_secs: float | None) -> None:
    if timeout_secs is not None:
        arguments.real_number("timeout_secs", timeout_secs, zero=True, also=" or None (no limit)")


def _check_number(name: str, secs: object) -> None:
    # Not its sign: TensorFlow's functions take a time below zero for none. With NaN as the limit
    # of a wait there would be no limit.
    if not isinstance(secs, numbers.Real) or math.isnan(secs):
        raise errors.InvalidArgument(f"{name} must be a number of seconds, found {secs!r:.80}")
