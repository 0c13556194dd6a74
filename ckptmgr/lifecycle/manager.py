"""The manager of a run's checkpoints: what a training loop calls.

`save` puts a save together in this order, each step elsewhere:

    decide   is the step due (`steps`), is what it was given sound (`metadata`, `tree`)
    stage    write and sync the bundle where nobody looks (`bundle.writer`)
    commit   under the directory's lock: rename the bundle into existence, then name it in the
             state, then delete what retention gives up (`ledger`)
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from ckptmgr import arguments, errors, events, naming, retention
from ckptmgr.lifecycle import catalog
from ckptmgr.lifecycle.background import SaveHandle
from ckptmgr.lifecycle.fill import Names
from ckptmgr.lifecycle.ledger import Ledger, Listener
from ckptmgr.lifecycle.metadata import (
    CheckpointMetadata,
    as_metrics,
    as_user_metadata,
    metadata_tensor,
)
from ckptmgr.lifecycle.pipeline import PipelineOptions, SavePipeline, SaveStats
from ckptmgr.lifecycle.preemption import Preemption
from ckptmgr.lifecycle.progress import Progress, RevocableProgress
from ckptmgr.lifecycle.restore import Restored, Restorer
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.saver import is_durable
from ckptmgr.lifecycle.steps import SaveInterval, as_step
from ckptmgr.lifecycle.subject import subject_of
from ckptmgr.retention import BestN, CheckpointRecord, Policy
from ckptmgr.storage import PosixStorage, Storage

_log = logging.getLogger(__name__)


class CheckpointManager:
    """Saves a training loop's state every so often, keeps some checkpoints, and restores them.

    Args:
        state: A tree (dicts, lists, tuples of arrays, numbers and strings), an object with
            `state_dict()` and `load_state_dict()`, a `Saver`, or None to give the state to each
            `save`. What it refers to is looked at anew at each save.
        directory: Made at the first save.
        max_to_keep: The latest so many stay; None keeps all.
        keep_checkpoint_every_n_hours: Of those that leave the latest, keep one per such period.
        checkpoint_name: `model.ckpt` gives `model.ckpt-100`.
        save_interval_steps: Save at the multiples of this; other steps are not due.
        save_interval_secs: The least time between two saves; both intervals must have passed.
        keep_best: Keep the best by a metric as well, for example `BestN("loss", 2)`.
        keep_every_n_steps: Keep for good each whose step is a multiple of this.
        retention: A policy that replaces the four arguments about keeping.
        asynchronous: `save` copies the state and returns; writing goes on in a thread. An error
            there is raised by the next `save`, `wait` or `close`. The copy takes as much memory as
            the state, and is kept for the next save; arrays that cannot change are not copied.
        copy_in_background: An asynchronous `save` returns at once and copies meanwhile: the state
            must not change before `wait_staged()` has returned.
        when_busy: Whether a save that is due while another is in flight waits for it ("wait") or
            is left out, and made up for at the next step ("skip").
        durability: "fsync" returns from a save when it is on stable storage; "none" leaves that to
            the system, so that a crash of the machine (not of the process) may lose it.
        deduplicate: Do not write again what the latest checkpoint holds bit for bit: such tensors
            stay in its files, which get further names (hard links). For states of which much is
            frozen; finding out reads those tensors back. Where there are no hard links, all is
            written.
        save_on_signal: True for SIGTERM and SIGUSR1, or the signals that say that the process will
            be ended soon. The `save` after one saves whatever the interval, returns when the
            checkpoint is committed, and `preempted` is true from then on. Only in the main thread.
        preemption_grace_secs: How long after the signal that may take. A save that takes longer is
            given up and raises GraceExceeded.
        on_event: Called with each record of `ckptmgr.events`, in the thread where it happened;
            what it raises is logged.
        storage: Where to save; the file system by default.
        clock: Unix time in seconds.
    """

    def __init__(  # noqa: PLR0913 - the public surface
        self,
        state: Any,
        directory: str | os.PathLike[str],
        *,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float | None = None,
        checkpoint_name: str = "model.ckpt",
        save_interval_steps: int = 1,
        save_interval_secs: float | None = None,
        keep_best: BestN | None = None,
        keep_every_n_steps: int | None = None,
        retention: Policy | None = None,
        asynchronous: bool = False,
        copy_in_background: bool = False,
        when_busy: str = "wait",
        durability: str = "fsync",
        deduplicate: bool = False,
        save_on_signal: bool | int | Iterable[int] = False,
        preemption_grace_secs: float | None = None,
        on_event: Listener | None = None,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        path = arguments.path_text(directory)
        naming.validate_filename(checkpoint_name, "checkpoint_name")
        naming.validate_prefix(os.path.join(path, checkpoint_name))
        self._state = state
        self._name = checkpoint_name
        self._interval = SaveInterval(save_interval_steps, save_interval_secs)
        self._policy = _policy(
            retention,
            max_to_keep=max_to_keep,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            keep_every_n_steps=keep_every_n_steps,
            keep_best=keep_best,
        )
        options = PipelineOptions(
            is_durable(durability), asynchronous, copy_in_background, when_busy, deduplicate
        )
        self._listener = _guarded(on_event)
        self._storage = storage or PosixStorage()
        self._clock = clock
        self._directory = RunDirectory(self._storage, path)
        self._directory.refuse_file()
        self._ledger = Ledger(
            self._directory, checkpoint_name, self._policy, clock=clock, listener=self._listener
        )
        self._pipeline = SavePipeline(
            self._directory, self._ledger, self._policy, options, self._listener
        )
        self._restorer = Restorer(self._directory, checkpoint_name, self._ledger, self._listener)
        self._progress = RevocableProgress(Progress(saved_secs=self._newest_saved_at()))
        self._closed = False
        # Last: of a manager that could not be made, no signal handler stays.
        self._preemption = Preemption(
            save_on_signal,
            preemption_grace_secs,
            pipeline=self._pipeline,
            progress=self._progress,
            listener=self._listener,
            path_of_name=self._path_of_name(),
        )

    def __enter__(self) -> CheckpointManager:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # ----------------------------------------------------------------------- saving

    def should_save(self, step: int) -> bool:
        """Whether `save(step)` would save."""
        number = as_step(step)
        return self._is_due(number, force=self._preemption.is_pending)

    @property
    def preempted(self) -> bool:
        """Whether a signal came and its save was made (or given up): the loop should end."""
        return self._preemption.is_answered

    def save(
        self,
        step: int,
        state: Any = None,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> SaveHandle | None:
        """Save a checkpoint if the step is due.

        Args:
            step: The global step. If a checkpoint of it exists, it is replaced atomically.
            state: Instead of the manager's own.
            metrics: Numbers that `keep_best` can look at; kept with the checkpoint.
            metadata: Anything JSON can hold; kept with the checkpoint.
            force: Save although the step is not due. The step that was saved (or restored) last is
                never saved twice, so a last `save(step, force=True)` behind the loop is safe.
        Returns:
            The checkpoint's prefix, or None if nothing was saved. It is a str that can also be
            waited for: `wait_staged()`, `wait()`, `is_done`.
        Raises:
            InvalidArgument: Something given cannot be saved; nothing was written.
            StorageError: The system refused; the checkpoints that there were are untouched.
            GraceExceeded: A signal came, and its save took too long; what stood still stands.
            SaveInProgress: Called by a listener of this manager's save.
        """
        number = as_step(step)
        given = as_metrics(metrics), as_user_metadata(metadata)
        with self._pipeline.turn():
            self._require_open()
            if self._preemption.is_pending:
                self._preemption.begin(number)
                force = True
            details = CheckpointMetadata(number, self._clock(), *given)
            handle = self._save_if_due(details, state, force=force)
            self._preemption.end(number)
        return handle

    def _save_if_due(
        self, details: CheckpointMetadata, state: Any, *, force: bool
    ) -> SaveHandle | None:
        number = details.step
        if not self._pipeline.is_busy:
            self.wait()  # a failure is heard of at once, also at a step that is not due
        if not self._is_due(number, force=force):
            self._progress.update(seen_step=number)
            return None
        if not force and self._pipeline.skips():
            return None  # not seen: the step after it is as late as this one is
        if self._progress.now.seen_step is None:
            # Should the first save fail, the steps after it are as late as this one is.
            self._progress.update(seen_step=number - 1)
        snapshot = subject_of(self._state if state is None else state).snapshot()
        details = replace(details, skeleton=snapshot.skeleton)
        now_secs = details.saved_at_secs
        prefix = naming.checkpoint_prefix(self._path_of_name(), number)
        record = CheckpointRecord(prefix, number, now_secs, details.metrics)
        # Encoded here: what the caller does to its metadata later must not reach a thread.
        self.wait()
        handle = self._pipeline.save(
            snapshot.beside(metadata_tensor(details)), record, bounded=self._preemption.is_bounded
        )
        # Remembered once it is there, so that a step whose save failed stays due.
        self._progress.saving(number, now_secs, lambda: handle.has_failed)
        return handle

    def _is_due(self, step: int, *, force: bool) -> bool:
        now = self._progress.now
        if force:
            return step != now.saved_step
        return now.is_due(step, self._interval, self._clock())

    # ----------------------------------------------------------------------- restoring

    def restore(
        self,
        step: int | str | None = None,
        state: Any = None,
        *,
        names: Names = None,
        strict: bool = False,
    ) -> Restored | None:
        """Restore a checkpoint.

        Args:
            step: A global step, "latest" (as None: the one saved last), or "best".
            state: The target instead of the manager's own; without either, the state is rebuilt
                from what was recorded.
            names: Leaf of the target to tensor in the checkpoint, for other names; a leaf mapped to
                None is left as it is. Leaves that are not mentioned have their own names.
            strict: Take the latest or raise: no older one in place of one that is damaged or gone.
        Returns:
            None if there is no checkpoint at all. `skipped` says what was damaged and passed over.
        Raises:
            CheckpointNotFound: There is none of that step, or none has the metric of "best".
            TensorNotFound, ShapeMismatch, DtypeMismatch: Naming the tensor, what was wanted and
                what was found. The target has not been changed.
            StateRefused: The `load_state_dict` of an object raised; the message names the objects
                that had loaded theirs before, and nothing else has changed.
            CorruptCheckpoint: A step was named and it is damaged; or every checkpoint is. Asked
                for the latest, a damaged one is reported and the newest that is whole is taken.
        """
        self.wait()
        subject = subject_of(self._state if state is None else state)
        restored = self._restorer.restore(step, subject, names, strict=strict)
        if restored is not None:
            self._progress.restored(restored.step)
        return restored

    def restore_or_initialize(self, init_fn: Callable[[], Any] | None = None) -> str | None:
        """Restore the latest checkpoint and return its prefix; if there is none, call `init_fn`.

        Raises:
            CorruptCheckpoint: There are some, and every one is damaged; `init_fn` was not called.
        """
        restored = self.restore()
        if restored is not None:
            return restored.path
        if init_fn is not None:
            init_fn()
        return None

    # ----------------------------------------------------------------------- what there is

    @property
    def directory(self) -> str:
        return self._directory.path

    @property
    def latest_checkpoint(self) -> str | None:
        """The prefix saved last, by whichever process."""
        return self._ledger.refresh().latest

    @property
    def checkpoints(self) -> list[str]:
        """Prefixes that the state lists, in the order of saving; those kept for good are not."""
        return [record.prefix for record in self._ledger.refresh().tracked]

    def all_steps(self) -> list[int]:
        """The steps of all checkpoints on disk, ascending."""
        self._directory.require_same_place()
        prefixes = catalog.list_prefixes(self._storage, self._directory.path, self._name)
        return [naming.parse_step(prefix) or 0 for prefix in prefixes]

    def latest_step(self) -> int | None:
        """The step saved last."""
        latest = self.latest_checkpoint
        return None if latest is None else naming.parse_step(latest)

    def best_step(self) -> int | None:
        """The best step by `keep_best`; None if no checkpoint has that metric.

        Raises:
            InvalidArgument: The manager was made without `keep_best`.
        """
        best = self._ledger.best()
        return None if best is None else best.step

    # ----------------------------------------------------------------------- pins

    def pin(self, step: int) -> None:
        """Keep this checkpoint, across restarts, until `unpin`."""
        self._with_checkpoint(as_step(step), self._directory.pins.add)

    def unpin(self, step: int) -> None:
        """Leave this checkpoint to retention again, from the next save on."""
        self._with_checkpoint(as_step(step), self._directory.pins.remove)

    def _with_checkpoint(self, step: int, change: Callable[[str], None]) -> None:
        self._require_open()
        prefix = naming.checkpoint_prefix(self._path_of_name(), step)
        self.wait()
        self._directory.require()
        with self._directory.locked():
            if self._storage.stat(naming.index_file(prefix)) is None:
                raise errors.CheckpointNotFound(f"no checkpoint at {prefix}")
            change(naming.base_of(prefix))

    # ----------------------------------------------------------------------- ending

    def wait(self) -> None:
        """Return when no save is in flight; raises what an asynchronous save raised."""
        self._pipeline.wait()

    def wait_staged(self) -> None:
        """Return when the state of a save in flight was copied, so that it may be changed."""
        self._pipeline.wait_staged()

    @property
    def stats(self) -> SaveStats:
        """Figures over the saves of this manager."""
        return self._pipeline.stats

    def finish(self) -> None:
        """Say that training is done, so that those who follow the directory end; then close."""
        self.wait()
        self._require_open()
        self._directory.create()
        with self._directory.locked():
            self._directory.mark_finished()
        self.close()

    def close(self) -> None:
        """Wait for a save in flight and let go of the directory; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._preemption.close()
        # Another thread may just be saving; a listener of that save cannot wait for its end.
        with nullcontext() if self._pipeline.is_within else self._pipeline.turn():
            try:
                self.wait()
            finally:
                self._directory.close()

    def _require_open(self) -> None:
        if self._closed:
            raise errors.ManagerClosed(f"the manager of {self._directory.path} is closed")

    def _path_of_name(self) -> str:
        return os.path.join(self._directory.path, self._name)

    def _newest_saved_at(self) -> float | None:
        return max((r.saved_at_secs for r in self._ledger.refresh().tracked), default=None)


def _policy(policy: Policy | None, **arguments: Any) -> Policy:
    if policy is None:
        return retention.from_arguments(**arguments)
    if not isinstance(policy, Policy):
        raise errors.InvalidArgument(
            f"retention must be a policy, for example LatestN(5) | BestN('loss'), found {policy!r}"
        )
    return policy


def _guarded(listener: Listener | None) -> Listener:
    """A listener that cannot fail a save: what it raises is logged."""
    if listener is not None and not callable(listener):
        raise errors.InvalidArgument(
            f"on_event must be a function of one event, found {listener!r:.80}; for several, "
            f"sinks.all_of(...)"
        )

    def tell(event: events.Event) -> None:
        if listener is None:
            return
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - a listener may raise anything
            _log.exception("the listener failed at %r", event)

    return tell
