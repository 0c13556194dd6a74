"""The checkpoints of a directory, as records: from the state file, from the bundles, from a scan.

The state file says which checkpoints are under retention and when they were saved; each bundle
says its own step, metrics and time. Checkpoints that are on disk and not in the state stay for
good: retention preserved them, or somebody else wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckptmgr import errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle.metadata import METADATA_NAME, CheckpointMetadata, decode_metadata
from ckptmgr.retention import CheckpointRecord
from ckptmgr.storage import Storage


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    record: CheckpointRecord
    #: Whether a manager wrote it.
    managed: bool


def read_metadata(reader: CheckpointReader) -> CheckpointMetadata | None:
    """The manager's metadata of an open checkpoint; None if no manager wrote it.

    Raises:
        CorruptCheckpoint: Naming the file.
    """
    if not reader.has_tensor(METADATA_NAME):
        return None
    value = reader.get_tensor(METADATA_NAME)
    path = naming.index_file(reader.prefix)
    if not isinstance(value, bytes):
        raise errors.MalformedMetadata(
            "the manager's metadata is not one string", path=path, tensor=METADATA_NAME
        )
    try:
        return decode_metadata(value)
    except errors.CorruptCheckpoint as error:
        raise error.located(path=path, tensor=METADATA_NAME) from None


def find_checkpoint(storage: Storage, prefix: str) -> FoundCheckpoint | None:
    """The checkpoint at `prefix`; None if there is none.

    One whose metadata is damaged, or that no manager wrote, has the step of its name and the time
    of its file.
    """
    info = storage.stat(naming.index_file(prefix))
    if info is None:
        return None
    fallback = CheckpointRecord(prefix, naming.parse_step(prefix) or 0, info.mtime_secs)
    try:
        with CheckpointReader(prefix, storage=storage) as reader:
            metadata = read_metadata(reader)
    except errors.CheckpointNotFound:
        return None
    except errors.CorruptCheckpoint:
        return FoundCheckpoint(fallback, managed=False)
    if metadata is None:
        return FoundCheckpoint(fallback, managed=False)
    record = CheckpointRecord(prefix, metadata.step, metadata.saved_at_secs, metadata.metrics)
    return FoundCheckpoint(record, managed=True)


def list_prefixes(storage: Storage, directory: str, checkpoint_name: str) -> list[str]:
    """Every committed `<directory>/<checkpoint_name>-<step>`, by step."""
    try:
        filenames = storage.list_dir(directory)
    except (errors.FileMissing, errors.NotADirectory):
        return []
    bases = [naming.prefix_of_index(filename) for filename in filenames]
    found = [base for base in bases if base and naming.is_checkpoint_of(base, checkpoint_name)]
    found.sort(key=lambda base: (naming.parse_step(base), base))
    return [os.path.join(directory, base) for base in found]


def scan(storage: Storage, directory: str, checkpoint_name: str) -> list[FoundCheckpoint]:
    """Every checkpoint on disk, in the order in which they were saved."""
    prefixes = list_prefixes(storage, directory, checkpoint_name)
    found = [find_checkpoint(storage, prefix) for prefix in prefixes]
    present = [checkpoint for checkpoint in found if checkpoint is not None]
    return sorted(present, key=lambda checkpoint: checkpoint.record.saved_at_secs)


def tracked_records(
    storage: Storage,
    directory: str,
    state: CheckpointState,
    known: Sequence[CheckpointRecord],
) -> list[CheckpointRecord]:
    """The checkpoints that a state puts under retention, in its order.

    A state without timestamps is that of a `Saver`: it looks after its own, and as in TensorFlow
    they are left alone.

    Args:
        known: Records that need not be read again.
    """
    by_key = {(naming.base_of(record.prefix), record.saved_at_secs): record for record in known}
    records = []
    paths, timestamps = state.all_model_checkpoint_paths, state.all_model_checkpoint_timestamps
    if len(paths) != len(timestamps):
        return []
    for path, saved_at_secs in zip(paths, timestamps, strict=True):
        record = by_key.get((naming.base_of(path), saved_at_secs))
        if record is None:
            # By base name: the directory may have been moved since its paths were written.
            found = find_checkpoint(storage, os.path.join(directory, naming.base_of(path)))
            record = found.record if found else None
        if record is not None:
            records.append(replace(record, saved_at_secs=saved_at_secs))
    return records
