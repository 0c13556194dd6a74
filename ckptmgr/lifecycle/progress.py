"""How far a training loop has come, as the question whether to save asks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptmgr.lifecycle.steps import SaveInterval


@dataclass(frozen=True, slots=True)
class Progress:
    #: The step of the last `save` that had nothing to do, or that did it.
    seen_step: int | None = None
    #: The step that was saved or restored last.
    saved_step: int | None = None
    #: Unix time of the last save, be it that of an earlier process.
    saved_secs: float | None = None

    def is_due(self, step: int, interval: SaveInterval, now_secs: float) -> bool:
        """Whether to save at `step`; never the one that was saved last."""
        # A clock that was set back does not tell how much time has passed.
        unknown = self.saved_secs is None or now_secs < self.saved_secs
        return step != self.saved_step and interval.is_due(
            step,
            last_seen_step=self.seen_step,
            secs_since_save=None if unknown else now_secs - (self.saved_secs or 0.0),
        )


class RevocableProgress:
    """Progress that counts a save when it begins, and no more once it has failed."""

    def __init__(self, progress: Progress) -> None:
        # In one piece, so that a thread which only asks sees them as they belong together.
        self._standing = progress, progress, _never

    @property
    def now(self) -> Progress:
        progress, before, has_failed = self._standing
        return before if has_failed() else progress

    def update(self, **changes: int) -> None:
        """Change fields; what a save that is not over yet has changed may still be taken back."""
        progress, before, has_failed = self._standing
        if has_failed():
            progress, has_failed = before, _never
        self._standing = replace(progress, **changes), before, has_failed

    def restored(self, step: int) -> None:
        self._standing = replace(self.now, seen_step=step, saved_step=step), Progress(), _never

    def saving(self, step: int, now_secs: float, has_failed: Callable[[], bool]) -> None:
        """A save began, of which `has_failed` will tell."""
        self._standing = Progress(step, step, now_secs), self.now, has_failed


def _never() -> bool:
    return False
