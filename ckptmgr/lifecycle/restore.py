"""Restoring the checkpoint at one prefix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckptmgr import naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle import catalog
from ckptmgr.lifecycle.subject import Names, Subject
from ckptmgr.storage import Storage


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


def restore_checkpoint(storage: Storage, prefix: str, subject: Subject, names: Names) -> Restored:
    """Put a checkpoint's values into `subject`; one that no manager wrote has no metrics.

    Raises:
        CheckpointNotFound, CorruptCheckpoint: What is at `prefix` cannot be restored.
        TensorNotFound, ShapeMismatch, DtypeMismatch: It does not fit; nothing has changed.
    """
    with CheckpointReader(prefix, storage=storage) as reader:
        details = catalog.read_metadata(reader)
        state = subject.restore(reader, details, names)
        size_bytes = _size_of(reader)
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
