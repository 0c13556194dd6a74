"""How far a training loop has come, as the question whether to save asks it."""

from __future__ import annotations

from dataclasses import dataclass

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
