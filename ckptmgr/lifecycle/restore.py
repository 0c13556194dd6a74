"""Restoring: which checkpoint, and its values into the target.

Asked for the latest, a damaged one is passed over, loudly: an error in the log, an event, and a
record in what is returned. Every checkpoint is verified before the target is touched, so that the
next one finds it as it was.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ckptmgr import errors, events, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle import catalog
from ckptmgr.lifecycle.fill import Names
from ckptmgr.lifecycle.ledger import Ledger, Listener
from ckptmgr.lifecycle.restore_progress import RestoreProgress
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.steps import as_step
from ckptmgr.lifecycle.subject import Subject
from ckptmgr.storage import Storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """A checkpoint that was restored."""

    step: int
    #: The state: the target that was given, wherever it could be filled in place.
    state: Any
    metrics: Mapping[str, float]
    metadata: Mapping[str, Any]
    #: The checkpoint's prefix.
    path: str
    #: Of all its numeric tensors.
    size_bytes: int
    #: The later checkpoints that were damaged, the latest first, each with its `prefix` and the
    #: `error` that says which file and tensor, what was expected and what was found.
    skipped: tuple[events.CheckpointSkipped, ...] = ()


class Restorer:
    """Restores the checkpoints `<directory>/<checkpoint_name>-<step>`."""

    def __init__(
        self, directory: RunDirectory, checkpoint_name: str, ledger: Ledger, listener: Listener
    ) -> None:
        self._directory = directory
        self._storage = directory.storage
        self._name = checkpoint_name
        self._ledger = ledger
        self._listener = listener

    def restore(
        self, step: int | str | None, subject: Subject, names: Names, *, strict: bool
    ) -> Restored | None:
        """As `CheckpointManager.restore`."""
        self._directory.require_same_place()
        if step == "best":
            best = self._best()
            return None if best is None else self._restore_prefix(best, subject, names)
        if step is None or step == "latest":
            return self._restore_latest(subject, names, strict=strict)
        if isinstance(step, str):
            raise errors.InvalidStep(f"step must be an int, 'latest' or 'best', found {step!r}")
        return self._restore_prefix(self._of_step(as_step(step)), subject, names)

    def _best(self) -> str | None:
        best = self._ledger.best()
        if best is not None:
            return best.prefix
        records = self._ledger.records()
        if not records:
            return None
        metrics = sorted({name for record in records for name in record.metrics})
        raise errors.CheckpointNotFound(
            f"no checkpoint in {self._directory.path} has a number for the metric of keep_best; "
            f"metrics there: {', '.join(map(repr, metrics)) or 'none'}"
        )

    def _of_step(self, step: int) -> str:
        path_of_name = os.path.join(self._directory.path, self._name)
        prefix = naming.checkpoint_prefix(path_of_name, step)
        if self._storage.stat(naming.index_file(prefix)) is not None:
            return prefix
        found = catalog.list_prefixes(self._storage, self._directory.path, self._name)
        by_step = {naming.parse_step(prefix): prefix for prefix in found}
        if step not in by_step:  # it is there if a Saver padded its number
            there = ", ".join(map(str, by_step)) or "none"
            raise errors.CheckpointNotFound(
                f"no checkpoint of step {step} in {self._directory.path}; steps there: {there}"
            )
        return by_step[step]

    def _restore_latest(self, subject: Subject, names: Names, *, strict: bool) -> Restored | None:
        if strict:
            self._require_latest()
        first_error: Exception | None = None
        skipped: list[events.CheckpointSkipped] = []
        for prefix in self._ledger.newest_first():
            try:
                restored = self._restore_prefix(prefix, subject, names, may_skip=not strict)
            except errors.CheckpointNotFound as error:
                if strict:
                    raise
                first_error = first_error or error  # deleted since we looked
            except errors.CorruptCheckpoint as error:
                if strict:
                    raise
                first_error = first_error or error
                _log.error("checkpoint %s is damaged, trying an older one: %s", prefix, error)
                skipped.append(events.CheckpointSkipped(prefix, error))
                self._listener(skipped[-1])
            else:
                return replace(restored, skipped=tuple(skipped))
        if first_error is not None:
            raise first_error
        return None

    def _require_latest(self) -> None:
        """Raise CheckpointNotFound if the state lists checkpoints, and not one that is there."""
        known = self._ledger.refresh()
        if known.latest is None and known.num_listed:
            state_file = naming.state_file(self._directory.path)
            raise errors.CheckpointNotFound(f"the checkpoint that {state_file} names is not there")

    def _restore_prefix(
        self, prefix: str, subject: Subject, names: Names, *, may_skip: bool = False
    ) -> Restored:
        began_secs = time.perf_counter()
        try:
            restored = restore_checkpoint(self._storage, prefix, subject, names, self._listener)
        except BaseException as error:
            is_skipped = isinstance(error, errors.CheckpointNotFound | errors.CorruptCheckpoint)
            if not (may_skip and is_skipped):
                self._listener(events.RestoreFailed(prefix, error))
            raise
        duration_secs, size_bytes = time.perf_counter() - began_secs, restored.size_bytes
        self._listener(events.CheckpointRestored(prefix, restored.step, size_bytes, duration_secs))
        return restored


def restore_checkpoint(
    storage: Storage, prefix: str, subject: Subject, names: Names, listener: Listener
) -> Restored:
    """Put a checkpoint's values into `subject`; one that no manager wrote has no metrics.

    Raises:
        CheckpointNotFound, CorruptCheckpoint: What is at `prefix` cannot be restored.
        TensorNotFound, ShapeMismatch, DtypeMismatch: It does not fit; nothing has changed.
        StateRefused: An object of the state raised; the message tells what has changed.
    """
    progress = RestoreProgress(prefix, listener)
    with CheckpointReader(prefix, storage=storage, observer=progress) as reader:
        details = catalog.read_metadata(reader)
        size_bytes = _size_of(reader)
        progress.expect(size_bytes, read_bytes=size_bytes)
        state = subject.restore(reader, details, names, progress)
    if details is None:
        return Restored(naming.parse_step(prefix) or 0, state, {}, {}, prefix, size_bytes)
    return Restored(details.step, state, details.metrics, details.user, prefix, size_bytes)


def _size_of(reader: CheckpointReader) -> int:
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    return sum(
        math.prod(shape) * dtypes[name].itemsize
        for name, shape in shapes.items()
        if not dtypes[name].hasobject
    )
