"""What a `Saver` remembers of its checkpoints, and which one it gives up: TensorFlow's rule.

A Saver keeps the last `max_to_keep` it wrote. One that falls out of that window waits in a queue,
from which each save takes one: it is kept for good if it was saved after the clock of hours, which
then moves on by one period, and is deleted otherwise. Pure: the Saver does the deleting.

Source: BaseSaverBuilder and Saver in tensorflow/python/training/saver.py (_RecordLastCheckpoint,
_MaybeDeleteOldCheckpoints).
"""

from __future__ import annotations

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
    #: Victims that were in use when they were to go.
    _put_back: list[str] = field(default_factory=list)

    def record(self, prefix: str, now_secs: float) -> None:
        """A checkpoint was written."""
        if not self.max_to_keep:
            return
        self.last = [entry for entry in self.last if entry[0] != prefix]
        # A victim that is saved again is one no longer.
        self._outgoing = [entry for entry in self._outgoing if entry[0] != prefix]
        self._put_back = [victim for victim in self._put_back if victim != prefix]
        self.last.append((prefix, now_secs))
        if len(self.last) > self.max_to_keep:
            self._outgoing.append(self.last.pop(0))

    def replace_last(self, entries: Iterable[tuple[str, float]]) -> None:
        self.last = list(entries)

    def take_victims(self) -> list[str]:
        """The checkpoints to delete now: those put back, and at most one new one, as TensorFlow."""
        victims, self._put_back = self._put_back, []
        if self._outgoing:
            prefix, saved_at_secs = self._outgoing.pop(0)
            if saved_at_secs > self.next_kept_after_secs:
                self.next_kept_after_secs += self.keep_every_secs
            else:
                victims.append(prefix)
        return victims

    def put_back(self, victim: str) -> None:
        """The victim is in use; it is tried again at the next save."""
        self._put_back.append(victim)
