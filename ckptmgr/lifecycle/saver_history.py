"""What a `Saver` remembers of its checkpoints, and which one it gives up: TensorFlow's rule.

A Saver keeps the last `max_to_keep` it wrote. One that falls out of that window waits in a queue,
from which each save takes one: it is kept for good if it was saved after the clock of hours, which
then moves on by one period, and is deleted otherwise. Pure: the Saver does the deleting.

Source: BaseSaverBuilder and Saver in tensorflow/python/training/saver.py (_RecordLastCheckpoint,
_MaybeDeleteOldCheckpoints).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class SaverHistory:
    #: None or 0 keeps everything, and remembers nothing.
    max_to_keep: int | None
    keep_every_secs: float
    #: The next checkpoint that is saved after this leaves the window for good rather than deleted.
    next_kept_after_secs: float
    #: (prefix, time saved), oldest first.
    last: list[tuple[str, float]] = field(default_factory=list)
    _outgoing: list[tuple[str, float]] = field(default_factory=list)

    def record(self, prefix: str, now_secs: float) -> None:
        """A checkpoint was written."""
        if not self.max_to_keep:
            return
        self.last = [entry for entry in self.last if entry[0] != prefix]
        self.last.append((prefix, now_secs))
        if len(self.last) > self.max_to_keep:
            self._outgoing.append(self.last.pop(0))

    def replace_last(self, entries: Iterable[tuple[str, float]]) -> None:
        self.last = list(entries)

    def take_victim(self) -> str | None:
        """The checkpoint to delete now, if there is one; at most one per save, as TensorFlow."""
        if not self._outgoing:
            return None
        prefix, saved_at_secs = self._outgoing.pop(0)
        if saved_at_secs > self.next_kept_after_secs:
            self.next_kept_after_secs += self.keep_every_secs
            return None
        return prefix

    def put_back(self, victim: str) -> None:
        """The victim could not be deleted; it is the next one to be tried."""
        self._outgoing.insert(0, (victim, -math.inf))
