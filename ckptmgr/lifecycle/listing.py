"""The checkpoints of a directory as a person wants to see them: `ckptmgr ls`.

Only looks: takes no lock and makes no file, so it works where the directory is read-only, where
another process saves into it, and where TensorFlow wrote it.

    state file     which checkpoint is the latest, which ones are under retention, saved when
    noted policy   why each of those stays
    every index    step, metrics and time of the save, and whether its data is all there

Tensors are not read: a flipped bit in one is not found here, a shard that is gone or short is.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ckptmgr import errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import catalog, retention, retention_file, state
from ckptmgr.lifecycle.metadata import CheckpointMetadata
from ckptmgr.lifecycle.retention import AnyOf, CheckpointRecord, Policy, View
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import PosixStorage, Storage

_log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

# How often a checkpoint may be replaced while we look at it.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ListedCheckpoint:
    """One checkpoint of a directory."""

    prefix: str
    #: None if neither a manager nor the name says it.
    step: int | None
    #: Unix time of the save, or of the file where nothing else is known.
    saved_at_secs: float
    #: Of all its files.
    size_bytes: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: The user's own.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The policies that want it ("latest", "best loss", "pinned", ...); "preserved" if it stays for
    #: good; "listed" if the state lists it and says no more; "not managed" if nobody deletes it.
    kept_because: str = ""
    #: Whether a restart continues from it.
    latest: bool = False
    #: What is wrong with its files.
    damaged: str | None = None


def list_checkpoints(
    directory: StrPath, *, checkpoint_name: str | None = None, storage: Storage | None = None
) -> list[ListedCheckpoint]:
    """Every checkpoint in a directory, in the order in which they were saved.

    Whoever wrote them: a manager, a Saver, TensorFlow. V1 checkpoints only if the state lists them.

    Args:
        checkpoint_name: Only the steps of this one; `model.ckpt` for `model.ckpt-100`.
    Raises:
        FileMissing, NotADirectory: There is no such directory.
    """
    storage = storage or PosixStorage()
    run = RunDirectory(storage, errors.path_text(directory))
    run.require()
    stored = _stored_state(storage, run.path)
    found = [
        checkpoint
        for prefix in _prefixes(storage, run.path, stored, checkpoint_name)
        if (checkpoint := _look_at(storage, prefix)) is not None
    ]
    saved_at = _times_in(stored)
    found = [replace(c, saved_at_secs=saved_at.get(_base(c), c.saved_at_secs)) for c in found]
    # Files that were copied may have times in any order; within one second, the step decides.
    found.sort(key=lambda c: (math.floor(c.saved_at_secs), -1 if c.step is None else c.step))
    reasons = _reasons(run, stored, found)
    latest = _latest_base(stored, found)
    return [_listed(c, reasons[_base(c)], latest=_base(c) == latest) for c in found]


def newest_prefix(directory: StrPath, *, storage: Storage | None = None) -> str | None:
    """The checkpoint that a restart continues from, None if the directory has none.

    It is the one that the state names; without a usable state, the one saved last.

    Raises:
        FileMissing, NotADirectory: There is no such directory.
    """
    storage = storage or PosixStorage()
    run = RunDirectory(storage, errors.path_text(directory))
    run.require()
    stored = _stored_state(storage, run.path)
    if stored is not None:
        return state.existing_prefix(storage, run.path, stored.model_checkpoint_path)
    return next((c.prefix for c in list_checkpoints(run.path, storage=storage) if c.latest), None)


def checkpoint_files(storage: Storage, prefix: str) -> dict[str, int]:
    """The files of one checkpoint, V2 or V1, with their sizes in bytes."""
    shards = naming.shards_of(naming.base_of(prefix), storage.list_dir(naming.directory_of(prefix)))
    paths = [
        naming.index_file(prefix),
        *(naming.in_directory_of(prefix, filename) for filename in shards),
        naming.meta_graph_file(prefix),
        *(naming.v1_shard_files(prefix) or [prefix]),
    ]
    infos = {path: storage.stat(path) for path in paths}
    return {path: info.size_bytes for path, info in infos.items() if info and not info.is_dir}


def damage_of(storage: Storage, prefix: str) -> errors.CheckpointError | None:
    """What is wrong with a V2 checkpoint's index, or with the sizes of its shards."""
    path = naming.index_file(prefix)
    for _ in range(_ATTEMPTS):
        before = storage.stat(path)
        if before is None:
            return None
        try:
            _check_shard_sizes(storage, prefix)
            return None
        except (errors.CorruptCheckpoint, errors.StorageError) as error:
            damage = error
        after = storage.stat(path)
        if after is not None and after.identity == before.identity:
            return damage
    return None  # somebody saves it over and over


# --------------------------------------------------------------------------- which there are


def _stored_state(storage: Storage, directory: str) -> CheckpointState | None:
    try:
        return state.read_state(storage, directory)
    except errors.MalformedState as error:
        _log.warning("%s: checkpoint state ignored", error)
        return None


def _prefixes(
    storage: Storage, directory: str, stored: CheckpointState | None, checkpoint_name: str | None
) -> list[str]:
    """The V2 checkpoints in a directory, and the V1 checkpoints in it that the state lists."""
    bases = [naming.prefix_of_index(filename) for filename in storage.list_dir(directory)]
    listed = [] if stored is None else [naming.base_of(path) for path in _paths_in(stored)]
    candidates = dict.fromkeys(base for base in [*bases, *listed] if base)
    prefixes = [
        os.path.join(directory, base)
        for base in candidates
        if checkpoint_name is None or naming.is_checkpoint_of(_stem(base), checkpoint_name)
    ]
    return [prefix for prefix in prefixes if state.checkpoint_exists(prefix, storage=storage)]


def _paths_in(stored: CheckpointState) -> tuple[str, ...]:
    return (*stored.all_model_checkpoint_paths, stored.model_checkpoint_path)


def _times_in(stored: CheckpointState | None) -> dict[str, float]:
    """When each checkpoint was saved, by base name, as far as the state says it."""
    if stored is None:
        return {}
    paths, times = stored.all_model_checkpoint_paths, stored.all_model_checkpoint_timestamps
    if len(paths) != len(times):
        return {}
    return {naming.base_of(path): time for path, time in zip(paths, times, strict=True)}


def _stem(base: str) -> str:
    """A base name without the part that stands for the shards of a V1 checkpoint."""
    return naming.meta_graph_file(base, "").removesuffix(".")


# --------------------------------------------------------------------------- one of them


@dataclass(frozen=True, slots=True)
class _Found:
    prefix: str
    step: int | None
    saved_at_secs: float
    size_bytes: int
    #: None if no manager wrote it, or if it cannot be read.
    details: CheckpointMetadata | None
    damaged: str | None


def _look_at(storage: Storage, prefix: str) -> _Found | None:
    """None if it is gone meanwhile, or has only the name of a checkpoint."""
    files = checkpoint_files(storage, prefix)
    mtimes = state.get_checkpoint_mtimes([prefix], storage=storage)
    if not mtimes:
        return None
    details = None
    damage = damage_of(storage, prefix)
    if isinstance(damage, errors.CorruptCheckpoint) and len(files) == 1:
        return None
    try:
        with CheckpointReader(prefix, storage=storage) as reader:
            details = catalog.read_metadata(reader)
    except errors.CheckpointNotFound:
        return None
    except (errors.CorruptCheckpoint, errors.StorageError) as error:
        damage = damage or error
    return _Found(
        prefix,
        naming.parse_step(_stem(prefix)) if details is None else details.step,
        mtimes[0] if details is None else details.saved_at_secs,
        sum(files.values()),
        details,
        None if damage is None else str(damage),
    )


def _check_shard_sizes(storage: Storage, prefix: str) -> None:
    ends: dict[int, int] = {}
    index = BundleIndex(storage.open(naming.index_file(prefix)))
    try:
        for _, entry in index.stored_entries():
            end = entry.offset + entry.size_bytes
            ends[entry.shard_id] = max(end, ends.get(entry.shard_id, 0))
    finally:
        index.close()
    for shard_id, end in ends.items():
        path = naming.data_shard(prefix, shard_id, index.header.num_shards)
        info = storage.stat(path)
        if info is None and end > 0:
            raise errors.MissingShard("the data shard is missing", path=path)
        if info is not None and info.size_bytes < end:
            raise errors.TruncatedFile(
                "the file ends before its tensors do",
                path=path,
                expected=f"at least {end} bytes",
                found=f"{info.size_bytes} bytes",
            )


def _listed(found: _Found, reason: str, *, latest: bool) -> ListedCheckpoint:
    details = found.details
    return ListedCheckpoint(
        found.prefix,
        found.step,
        found.saved_at_secs,
        found.size_bytes,
        metrics={} if details is None else details.metrics,
        metadata={} if details is None else details.user,
        kept_because=reason,
        latest=latest,
        damaged=found.damaged,
    )


def _base(found: _Found) -> str:
    return naming.base_of(found.prefix)


# --------------------------------------------------------------------------- why they stay


def _latest_base(stored: CheckpointState | None, found: list[_Found]) -> str | None:
    if stored is not None:
        return naming.base_of(stored.model_checkpoint_path)
    return _base(found[-1]) if found else None


def _reasons(
    run: RunDirectory, stored: CheckpointState | None, found: list[_Found]
) -> dict[str, str]:
    """Why each checkpoint stays, by base name."""
    policy = retention_file.read(run.storage, run.path)
    listed = {naming.base_of(path) for path in _paths_in(stored)} if stored is not None else set()
    pinned = run.pinned_bases()
    records = {_base(c): _record(c, pinned=_base(c) in pinned) for c in found}
    tracked = _tracked(run, stored, records.values()) if policy is not None else []
    tracked_bases = {naming.base_of(record.prefix) for record in tracked}
    reasons = {}
    for checkpoint in found:
        base = _base(checkpoint)
        if base in listed:
            reasons[base] = "listed"
        elif checkpoint.details is not None:
            reasons[base] = _why_preserved(policy, records[base])
        else:
            reasons[base] = "not managed"
    if policy is not None and stored is not None:
        preserved = tuple(record for base, record in records.items() if base not in tracked_bases)
        view = View(tuple(tracked), preserved, last_preserved_secs=stored.last_preserved_timestamp)
        wanted = retention.decide(policy, view).reasons
        reasons |= {naming.base_of(prefix): reason for prefix, reason in wanted.items() if reason}
    going = dict.fromkeys(run.bases_being_deleted(), "being deleted")
    return reasons | {base: text for base, text in going.items() if base in reasons.keys() - listed}


def _record(found: _Found, *, pinned: bool) -> CheckpointRecord:
    metrics = {} if found.details is None else found.details.metrics
    step = found.step or 0
    return CheckpointRecord(found.prefix, step, found.saved_at_secs, metrics, pinned)


def _tracked(
    run: RunDirectory, stored: CheckpointState | None, records: Iterable[CheckpointRecord]
) -> list[CheckpointRecord]:
    if stored is None:
        return []
    return catalog.tracked_records(run.storage, run.path, stored, list(records))


def _why_preserved(policy: Policy | None, record: CheckpointRecord) -> str:
    """The permanent wish that a checkpoint stays for, as far as it can be told afterwards."""
    parts = policy.policies if isinstance(policy, AnyOf) else ()
    view = View((record,), last_preserved_secs=-math.inf)
    wishes = [wish for part in parts for wish in part.wants(view).values() if wish.permanent]
    # A multiple of steps is one for certain; that it was the one of its hour can only be guessed.
    sure = [wish.reason for wish in wishes if not wish.advances_clock]
    reason = ", ".join(sure or [wish.reason for wish in wishes]) or "preserved"
    return f"{reason}, pinned" if record.pinned else reason
