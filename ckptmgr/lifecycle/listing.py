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

from ckptmgr import arguments, errors, naming, retention
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.bundle.opening import open_unchanged
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import catalog, retention_file, state
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.retention import AnyOf, CheckpointRecord, Policy, View
from ckptmgr.storage import FileInfo, PosixStorage, Storage

_log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

# What one checkpoint may be, without keeping the others from being listed.
_UNREADABLE = (errors.CorruptCheckpoint, errors.StorageError, errors.MissingExtra)


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
    #: Of these, in files that are those of an earlier checkpoint in the list as well: hard links.
    shared_bytes: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: The user's own.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Whether a manager wrote it.
    managed: bool = False
    #: The policies that want it ("latest", "best loss", "pinned", ...), or "preserved" if it stays
    #: for good; without a policy "listed in the state" or, if nobody deletes it, "not managed".
    kept_because: str = ""
    #: Whether a restart continues from it.
    latest: bool = False
    #: What is wrong with its files.
    damaged: str | None = None
    files: tuple[FileInfo, ...] = field(default=(), repr=False)


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
    run = RunDirectory(storage, arguments.path_text(directory))
    run.require()
    stored = _stored_state(storage, run.path)
    found = _with_shared_bytes(find_checkpoints(run, stored, checkpoint_name))
    reasons = _reasons(run, stored, found)
    latest = _latest_base(stored, found)
    return [replace(c, kept_because=reasons[_base(c)], latest=_base(c) == latest) for c in found]


def find_checkpoints(
    run: RunDirectory, stored: CheckpointState | None, checkpoint_name: str | None = None
) -> list[ListedCheckpoint]:
    """As `list_checkpoints`, without what only the state and the policy can tell.

    Args:
        stored: The state, for the times of the saves, and for V1 checkpoints.
    """
    storage = run.storage
    listed = listed_bases(stored)
    saved_at = _times_in(stored)
    filenames = storage.list_dir(run.path)
    found = []
    for base in _bases(filenames, listed, checkpoint_name):
        prefix = os.path.join(run.path, base)
        if base not in listed and _is_something_else(storage, prefix, filenames):
            continue
        checkpoint = _look_at(storage, prefix, filenames)
        if checkpoint is not None:
            saved_at_secs = saved_at.get(base, checkpoint.saved_at_secs)
            found.append(replace(checkpoint, saved_at_secs=saved_at_secs))
    # Files that were copied may have times in any order; within one second, the step decides.
    found.sort(key=lambda c: (_whole_secs(c.saved_at_secs), -1 if c.step is None else c.step))
    return found


def look_at(prefix: StrPath, *, storage: Storage | None = None) -> ListedCheckpoint | None:
    """One checkpoint, V2 or V1, as far as its own files tell; None if there is none."""
    storage = storage or PosixStorage()
    text = arguments.path_text(prefix)
    try:
        filenames = storage.list_dir(naming.directory_of(text))
    except (errors.FileMissing, errors.NotADirectory):
        return None
    return _look_at(storage, text, filenames)


def newest_prefix(directory: StrPath, *, storage: Storage | None = None) -> str | None:
    """The checkpoint that a restart continues from, None if the directory has none.

    It is the one that the state names; without a usable state, the one saved last.

    Raises:
        FileMissing, NotADirectory: There is no such directory.
    """
    storage = storage or PosixStorage()
    run = RunDirectory(storage, arguments.path_text(directory))
    run.require()
    stored = _stored_state(storage, run.path)
    if stored is not None:
        return state.own_prefix(storage, run.path, stored.model_checkpoint_path)
    return next((c.prefix for c in list_checkpoints(run.path, storage=storage) if c.latest), None)


# --------------------------------------------------------------------------- which there are


def _stored_state(storage: Storage, directory: str) -> CheckpointState | None:
    try:
        return state.read_state(storage, directory)
    except errors.MalformedState as error:
        _log.warning("%s: checkpoint state ignored", error)
        return None


def listed_bases(stored: CheckpointState | None) -> set[str]:
    """The base names of the checkpoints that a state names."""
    if stored is None:
        return set()
    paths = (*stored.all_model_checkpoint_paths, stored.model_checkpoint_path)
    return {naming.base_of(path) for path in paths}


def _bases(filenames: list[str], listed: set[str], checkpoint_name: str | None) -> list[str]:
    """What has an index, and what the state lists: that may be V1."""
    indexed = set(map(naming.prefix_of_index, filenames))
    return [
        base
        for base in sorted(filter(None, indexed | listed))
        if checkpoint_name is None or naming.is_checkpoint_of(_stem(base), checkpoint_name)
    ]


def _times_in(stored: CheckpointState | None) -> dict[str, float]:
    """When each checkpoint was saved, by base name, as far as the state says it."""
    if stored is None:
        return {}
    paths, times = stored.all_model_checkpoint_paths, stored.all_model_checkpoint_timestamps
    if len(paths) != len(times):
        return {}
    return {naming.base_of(path): time for path, time in zip(paths, times, strict=True)}


def _whole_secs(secs: float) -> int:
    return math.floor(secs) if math.isfinite(secs) else 0


def _stem(base: str) -> str:
    """A base name without the part that stands for the shards of a V1 checkpoint."""
    return naming.meta_graph_file(base, "").removesuffix(".")


# --------------------------------------------------------------------------- one of them


def _look_at(storage: Storage, prefix: str, filenames: list[str]) -> ListedCheckpoint | None:
    """`look_at`, given the names in the checkpoint's directory."""
    files = _files(storage, prefix, filenames)
    size_bytes = sum(file.size_bytes for file in files)
    mtimes = state.get_checkpoint_mtimes([prefix], storage=storage)
    if not files or not mtimes:
        return None
    details = None
    damage = _damage_of(storage, prefix)
    try:
        with CheckpointReader(prefix, storage=storage) as reader:
            details = catalog.read_metadata(reader)
    except errors.CheckpointNotFound:
        return None
    except _UNREADABLE as error:
        damage = damage or error
    damaged = None if damage is None else str(damage)
    if details is None:
        step = naming.parse_step(_stem(prefix))
        return ListedCheckpoint(prefix, step, mtimes[0], size_bytes, damaged=damaged, files=files)
    return ListedCheckpoint(
        prefix,
        details.step,
        details.saved_at_secs,
        size_bytes,
        metrics=details.metrics,
        metadata=details.user,
        managed=True,
        damaged=damaged,
        files=files,
    )


def _files(storage: Storage, prefix: str, filenames: list[str]) -> tuple[FileInfo, ...]:
    """All of its files; none if those that make the checkpoint exist are not there."""
    shards = naming.shards_of(naming.base_of(prefix), filenames)
    beside = [naming.in_directory_of(prefix, filename) for filename in shards]
    committing = _infos(storage, state.committing_files(storage, prefix))
    others = _infos(storage, [*beside, naming.meta_graph_file(prefix)])
    return (*committing, *others) if committing else ()


def _infos(storage: Storage, paths: Iterable[str]) -> list[FileInfo]:
    infos = map(storage.stat, paths)
    return [info for info in infos if info is not None and not info.is_dir]


def _with_shared_bytes(found: list[ListedCheckpoint]) -> list[ListedCheckpoint]:
    """The same, with how much of each is in files of those before it."""
    seen: set[tuple[int, ...]] = set()
    counted = []
    for checkpoint in found:
        shared = sum(file.size_bytes for file in checkpoint.files if file.identity in seen)
        counted.append(replace(checkpoint, shared_bytes=shared))
        seen.update(file.identity for file in checkpoint.files)
    return counted


def _is_something_else(storage: Storage, prefix: str, filenames: list[str]) -> bool:
    """Whether a file is called an index, but that of something other than a checkpoint."""
    if naming.shards_of(naming.base_of(prefix), filenames):
        return False
    damage = _damage_of(storage, prefix)
    return isinstance(damage, errors.CorruptCheckpoint) and not isinstance(
        damage, errors.MissingShard
    )


def _damage_of(storage: Storage, prefix: str) -> errors.CheckpointError | None:
    """What is wrong with a V2 checkpoint's index, or with the sizes of its shards."""
    index = naming.index_file(prefix)
    try:
        open_unchanged(storage, [index], lambda: _open_checked(storage, prefix)).close()
    except (errors.FileMissing, errors.CheckpointNotFound):
        return None
    except _UNREADABLE as error:
        return error
    return None


def _open_checked(storage: Storage, prefix: str) -> BundleIndex:
    """The index of a bundle whose shards are as long as it says."""
    file = storage.open(naming.index_file(prefix))
    try:
        index = BundleIndex(file)
        ends: dict[int, int] = {}
        for _, entry in index.stored_entries():
            if entry.size_bytes:  # an empty tensor may lie anywhere
                end = entry.offset + entry.size_bytes
                ends[entry.shard_id] = max(end, ends.get(entry.shard_id, 0))
        for shard_id, end in ends.items():
            _check_size(storage, naming.data_shard(prefix, shard_id, index.header.num_shards), end)
    except BaseException:
        file.close()
        raise
    return index


def _check_size(storage: Storage, path: str, least_bytes: int) -> None:
    info = storage.stat(path)
    if info is None:
        raise errors.MissingShard("the data shard is missing", path=path)
    if info.size_bytes < least_bytes:
        raise errors.TruncatedFile(
            "the file ends before its tensors do",
            path=path,
            expected=f"at least {least_bytes} bytes",
            found=f"{info.size_bytes} bytes",
        )


def _base(checkpoint: ListedCheckpoint) -> str:
    return naming.base_of(checkpoint.prefix)


# --------------------------------------------------------------------------- why they stay


def _latest_base(stored: CheckpointState | None, found: list[ListedCheckpoint]) -> str | None:
    if stored is None:
        return _base(found[-1]) if found else None
    latest = naming.base_of(stored.model_checkpoint_path)
    if latest not in set(map(_base, found)):
        _log.warning("the checkpoint state names %s, which is not there", latest)
    return latest


def _reasons(
    run: RunDirectory, stored: CheckpointState | None, found: list[ListedCheckpoint]
) -> dict[str, str]:
    """Why each checkpoint stays, by base name."""
    policy = retention_file.read(run.storage, run.path)
    pinned = set(run.pins.names())
    listed = listed_bases(stored)
    going = set(run.deleting.names()) - listed
    standing = [checkpoint for checkpoint in found if _base(checkpoint) not in going]
    records = {_base(c): _record(c, pinned=_base(c) in pinned) for c in standing}
    managed = {_base(c) for c in standing if c.managed}
    reasons = {}
    for base, record in records.items():
        if base in listed:
            reason = "listed in the state"
        elif base in managed:
            reason = _why_preserved(policy, record)
        else:
            reason = "not managed"
        reasons[base] = f"{reason}, pinned" if record.pinned else reason
    if policy is not None:
        view = _view(run, stored, records, managed)
        for prefix, reason in retention.decide(policy, view).reasons.items():
            reasons[naming.base_of(prefix)] = reason
    return {**reasons, **dict.fromkeys(going, "being deleted")}


def _record(checkpoint: ListedCheckpoint, *, pinned: bool) -> CheckpointRecord:
    step = checkpoint.step or 0
    return CheckpointRecord(
        checkpoint.prefix, step, checkpoint.saved_at_secs, checkpoint.metrics, pinned
    )


def _view(
    run: RunDirectory,
    stored: CheckpointState | None,
    records: Mapping[str, CheckpointRecord],
    managed: set[str],
) -> View:
    """What the next manager of the directory will decide about."""
    if stored is None:
        # It takes back what a manager wrote.
        return View(tuple(record for base, record in records.items() if base in managed))
    tracked = catalog.tracked_records(run.storage, run.path, stored, list(records.values()))
    bases = {naming.base_of(record.prefix) for record in tracked}
    preserved = tuple(record for base, record in records.items() if base not in bases)
    return View(tuple(tracked), preserved, last_preserved_secs=stored.last_preserved_timestamp)


def _why_preserved(policy: Policy | None, record: CheckpointRecord) -> str:
    """The permanent wish that a checkpoint stays for, as far as it can be told afterwards."""
    parts = policy.policies if isinstance(policy, AnyOf) else ()
    view = View((record,), last_preserved_secs=-math.inf)
    wishes = [wish for part in parts for wish in part.wants(view).values() if wish.permanent]
    # A multiple of steps is one for certain; that it was the one of its hour can only be guessed.
    sure = [wish.reason for wish in wishes if not wish.advances_clock]
    return ", ".join(sure or [wish.reason for wish in wishes]) or "preserved"
