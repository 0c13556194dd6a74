"""Which of the checkpoints that a state lists a follower has not seen yet. Decides; reads nothing.

A checkpoint is known by its prefix and by when it was saved, so that a step which is saved again,
after training went back, is new. When that was is told twice, and both must have changed:

* The state says so: by the timestamp that it has for the checkpoint, or, where it has none (that
  of TensorFlow 1's Saver), by being another file. Before the state is replaced, a save is not
  committed, whatever is already happening to the index; TensorFlow rewrites that in place.
* The index is another file. A timestamp alone may be rewritten (a clock that was set back, a
  manager that takes over a Saver's directory), and a state alone is replaced for every checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptmgr import naming
from ckptmgr.formats.checkpoint_state import CheckpointState

Identity = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint as the state lists it."""

    path: str
    #: Seconds since the epoch; None where the state has no timestamps.
    saved_secs: float | None
    #: Of the state file.
    state_identity: Identity


@dataclass(frozen=True, slots=True)
class Located:
    """Where a listed checkpoint is."""

    prefix: str
    #: Of its index.
    identity: Identity


#: Finds a listed checkpoint by its path; None if it does not exist.
Locate = Callable[[str], Located | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a checkpoint was like when we were done with it."""

    listed: Listed
    #: Of its index; None if it did not exist.
    index_identity: Identity | None

    def is_outdated(self, listed: Listed) -> bool:
        """Whether the state says that it was saved again."""
        before = self.listed
        if listed.saved_secs is not None and before.saved_secs is not None:
            return listed.saved_secs != before.saved_secs
        return listed.state_identity != before.state_identity


def listing(state: CheckpointState, state_identity: Identity) -> list[Listed]:
    """Each checkpoint of a state once, in the order of saving, the latest last."""
    paths = state.all_model_checkpoint_paths
    times = state.all_model_checkpoint_timestamps
    saved_secs = dict(zip(paths, times, strict=True)) if len(paths) == len(times) else {}
    latest = state.model_checkpoint_path
    # A path that stands twice was saved last where it stands last.
    earlier = reversed(dict.fromkeys(path for path in reversed(paths) if path != latest))
    return [Listed(path, saved_secs.get(path), state_identity) for path in (*earlier, latest)]


class History:
    """What a follower has seen, or has passed over for something newer.

    Args:
        every: Whether to see every checkpoint, oldest first, instead of the newest one only.
        last_checkpoint: The prefix that an earlier follower saw last. Where the first state lists
            it, it and all before it are taken as seen.
    """

    def __init__(self, *, every: bool, last_checkpoint: str | None) -> None:
        self._every = every
        self._last_checkpoint = last_checkpoint
        self._marks: dict[str, Mark] = {}

    def take(self, checkpoints: Sequence[Listed], locate: Locate) -> str | None:
        """The prefix of the next checkpoint to see, now seen; None if there is none."""
        if checkpoints and self._last_checkpoint is not None:
            self._skip_past(self._last_checkpoint, checkpoints, locate)
            self._last_checkpoint = None
        positions = range(len(checkpoints))
        for position in positions if self._every else reversed(positions):
            prefix = self._take_one(checkpoints, position, locate)
            if prefix is not None:
                return prefix
            if not self._every and self._is_done_with(checkpoints[position]):
                break  # all before it was passed over
        return None

    def _is_done_with(self, listed: Listed) -> bool:
        mark = self._marks.get(listed.path)
        return mark is not None and not mark.is_outdated(listed)

    def _take_one(self, checkpoints: Sequence[Listed], position: int, locate: Locate) -> str | None:
        listed = checkpoints[position]
        if self._is_done_with(listed):
            return None
        located = locate(listed.path)
        if located is None:
            return None
        mark = self._marks.get(listed.path)
        self._marks[listed.path] = Mark(listed, located.identity)
        if mark is not None and mark.index_identity == located.identity:
            return None  # only the state was written again
        # What could not be found before it would come out of order later.
        self._pass_over(checkpoints[:position], locate)
        return located.prefix

    def _skip_past(self, prefix: str, checkpoints: Sequence[Listed], locate: Locate) -> None:
        for position, listed in enumerate(checkpoints):
            if naming.base_of(listed.path) == naming.base_of(prefix):
                # The directory may have been moved since its paths were written.
                located = locate(listed.path)
                found = located.prefix if located else listed.path
                if os.path.abspath(found) == os.path.abspath(prefix):
                    self._pass_over(checkpoints[: position + 1], locate)

    def _pass_over(self, checkpoints: Sequence[Listed], locate: Locate) -> None:
        for listed in checkpoints:
            if not self._is_done_with(listed):
                located = locate(listed.path)
                self._marks[listed.path] = Mark(listed, located.identity if located else None)


class LatestChanges:
    """Sees the latest checkpoint whenever another one is named, or it is saved again.

    As TensorFlow's iterator does, it sees a checkpoint a second time when the state returns to it.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._history = History(every=False, last_checkpoint=None)

    def take(self, checkpoints: Sequence[Listed], locate: Locate) -> str | None:
        """The prefix of the latest checkpoint if it has changed, now seen; else None."""
        latest = checkpoints[-1:]
        if not latest or latest[0].path == self._path:
            return self._history.take(latest, locate)
        history = History(every=False, last_checkpoint=None)
        prefix = history.take(latest, locate)
        if prefix is not None:
            self._path, self._history = latest[0].path, history
        return prefix
