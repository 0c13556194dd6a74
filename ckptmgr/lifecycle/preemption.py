"""The save that a signal asks for, before the machine is taken away.

    the signal     is noted (`signals`); training goes on to its next `save`
    begin          that save is due whatever the interval, and has what is left of the grace; the
                   one in flight has it first
    end            it is waited for; from then on the loop may leave

A signal that comes while a save is made is answered by that one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable

from ckptmgr import arguments, errors, events, naming
from ckptmgr.lifecycle.ledger import Listener
from ckptmgr.lifecycle.pipeline import SavePipeline
from ckptmgr.lifecycle.progress import RevocableProgress
from ckptmgr.lifecycle.signals import SignalWatch, signals_of


class Preemption:
    """What one manager has to do about a preemption.

    Args:
        save_on_signal: True, or the signals.
        grace_secs: How long after the signal the process may live; None: for as long as it takes.
        path_of_name: What the step is appended to.
    Raises:
        InvalidArgument: Signals that cannot be; or this is not the main thread.
    """

    def __init__(
        self,
        save_on_signal: bool | int | Iterable[int],  # noqa: FBT001 - as the user says it
        grace_secs: float | None,
        *,
        pipeline: SavePipeline,
        progress: RevocableProgress,
        listener: Listener,
        path_of_name: str,
    ) -> None:
        signals = signals_of(save_on_signal)
        if grace_secs is not None:
            arguments.real_number("preemption_grace_secs", grace_secs, also=" or None")
            if not signals:
                raise errors.InvalidArgument("preemption_grace_secs needs save_on_signal")
        self._grace_secs = grace_secs
        self._pipeline = pipeline
        self._progress = progress
        self._listener = listener
        self._path_of_name = path_of_name
        self._is_told = False
        self._watch = SignalWatch(signals)

    @property
    def is_pending(self) -> bool:
        """Whether a save is owed."""
        return self._watch.is_pending

    @property
    def is_bounded(self) -> bool:
        """Whether a save that is made now may not take as long as it likes."""
        return self.is_pending and self._grace_secs is not None

    @property
    def is_answered(self) -> bool:
        """Whether the save was made, or given up because the grace was over."""
        return self._watch.is_answered

    def begin(self, step: int) -> None:
        """Before a save of `step` that is owed: let the one in flight end.

        Raises:
            GraceExceeded: There is no time for another.
        """
        self._tell(step)
        if step != self._progress.now.saved_step:
            self._settle(step)
            if self._left_secs() == 0:
                raise self._too_late(step)

    def end(self, step: int) -> None:
        """Behind a save, if one is owed: return when it is committed, if it is that of `step`.

        Raises:
            GraceExceeded: It took too long, and was given up.
        """
        if self.is_pending and self._progress.now.saved_step == step:
            self._tell(step)
            self._settle(step)
            self._pipeline.wait()
            self._watch.is_answered = True

    def close(self) -> None:
        """Listen to no signal any more."""
        self._watch.close()

    def _settle(self, step: int) -> None:
        if not self._pipeline.settle(self._left_secs()):
            raise self._too_late(step)

    def _left_secs(self) -> float | None:
        notice = self._watch.notice
        if notice is None or self._grace_secs is None:
            return None
        return max(0.0, notice.received_secs + self._grace_secs - time.monotonic())

    def _too_late(self, step: int) -> errors.GraceExceeded:
        """The error for a save that was given up, after which nothing is owed any more."""
        assert self._watch.notice is not None
        self._watch.is_answered = True
        name = signal.Signals(self._watch.notice.signal_number).name
        standing_step = self._progress.now.saved_step
        stands = "nothing was saved before"
        if standing_step is not None:
            stands = f"the checkpoint of step {standing_step} stands"
        return errors.GraceExceeded(
            f"step {step} could not be saved within the {self._grace_secs} s of grace after "
            f"{name}; {stands}"
        )

    def _tell(self, step: int) -> None:
        notice = self._watch.notice
        if notice is not None and not self._is_told:
            self._is_told = True
            prefix = naming.checkpoint_prefix(self._path_of_name, step)
            delay_secs = time.monotonic() - notice.received_secs
            self._listener(events.Preempted(prefix, step, notice.signal_number, delay_secs))
