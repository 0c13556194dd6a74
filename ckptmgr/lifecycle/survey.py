"""What stands in a run's directory, as one moment shows it; no tensor is read.

The listing is made under the directory's lock where there is one that may be taken: then no save of
ours is half way between its shards and its index, and it can be told whose writer is gone. Nothing
is made, so that a directory that is read-only, or of TensorFlow, is looked at as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ckptmgr import errors, naming
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import listing, retention_file, state
from ckptmgr.lifecycle.listing import ListedCheckpoint
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.retention import Policy
from ckptmgr.storage import Storage


@dataclass(frozen=True, slots=True)
class Named:
    """A checkpoint that the state names."""

    #: As the state has it, joined with the directory.
    path: str
    #: The checkpoint that is meant: the one in this directory, if there is one of that name.
    prefix: str | None
    #: Whether there is one at `path` itself, where TensorFlow looks.
    is_at_path: bool


@dataclass(frozen=True, slots=True)
class Survey:
    directory: str
    #: Paths joined with the directory; None without a state that can be used.
    stored: CheckpointState | None
    state_error: errors.MalformedState | None
    #: The latest, then all that the state lists, in its order.
    named: tuple[Named, ...]
    #: In the order of saving.
    checkpoints: tuple[ListedCheckpoint, ...]
    #: What writers that are gone have left behind, in the order in which it can be removed.
    leftovers: tuple[str, ...]
    #: Data shards that belong to no checkpoint.
    orphans: tuple[str, ...]
    #: How many writers are alive; None where that cannot be told.
    num_writers: int | None
    #: Base names of the checkpoints that were given up.
    deleting: frozenset[str]
    pinned: frozenset[str]
    #: What the directory's retention last was.
    policy: Policy | None
    #: Of the state and of every index: tells whether anything has changed since.
    identities: tuple[tuple[int, ...] | None, ...]


def survey(run: RunDirectory) -> Survey:
    """Look around in a directory.

    Raises:
        FileMissing, NotADirectory, StorageError: It cannot be looked at.
    """
    run.require()
    with _locked_if_possible(run) as is_locked:
        found = _look(run, run.living_writers() if is_locked else None)
    # Reads every index, which training must not wait for. What was deleted meanwhile is not found.
    return replace(found, checkpoints=tuple(listing.find_checkpoints(run, found.stored)))


@contextmanager
def _locked_if_possible(run: RunDirectory) -> Iterator[bool]:
    path = naming.lock_file(run.path)
    lock = run.storage.lock(path)
    try:
        is_locked = run.storage.stat(path) is not None
        if is_locked:
            lock.acquire()
    except errors.StorageError:  # of another user, or read-only
        is_locked = False
    try:
        yield is_locked
    finally:
        if is_locked:
            lock.release()


def _look(run: RunDirectory, living: set[str] | None) -> Survey:
    """A survey without the checkpoints.

    Args:
        living: The tokens of the living writers; None if that could not be found out.
    """
    stored, error = None, None
    try:
        stored = state.read_state(run.storage, run.path)
    except errors.MalformedState as malformed:
        error = malformed
    # Where nobody can tell, all that have an entry may live.
    writers = run.writers()
    if living is None and not writers:
        living = set()
    leftovers = run.leftovers(writers if living is None else living)
    filenames = run.storage.list_dir(run.path)
    return Survey(
        directory=run.path,
        stored=stored,
        state_error=error,
        named=tuple(_named(run, path) for path in _paths_in(stored)),
        checkpoints=(),
        leftovers=tuple(leftovers),
        orphans=tuple(_orphans(run.path, filenames, leftovers)),
        num_writers=None if living is None else len(living),
        deleting=frozenset(run.deleting.names()),
        pinned=frozenset(run.pins.names()),
        policy=retention_file.read(run.storage, run.path),
        identities=identities(run.storage, run.path),
    )


def identities(storage: Storage, directory: str) -> tuple[tuple[int, ...] | None, ...]:
    """Of the state and of every index in a directory."""
    filenames = [name for name in storage.list_dir(directory) if naming.prefix_of_index(name)]
    paths = [naming.state_file(directory), *(os.path.join(directory, name) for name in filenames)]
    infos = [storage.stat(path) for path in paths]
    return tuple(info.identity if info else None for info in infos)


def _paths_in(stored: CheckpointState | None) -> list[str]:
    if stored is None:
        return []
    paths = (stored.model_checkpoint_path, *stored.all_model_checkpoint_paths)
    return list(dict.fromkeys(paths))


def _named(run: RunDirectory, path: str) -> Named:
    # The copy of a directory may name the original's files; its own are meant.
    own = os.path.join(run.path, naming.base_of(path))
    is_at_path = state.checkpoint_exists(path, storage=run.storage)
    if state.checkpoint_exists(own, storage=run.storage):
        return Named(path, own, is_at_path)
    return Named(path, path if is_at_path else None, is_at_path)


def _orphans(directory: str, filenames: list[str], leftovers: list[str]) -> list[str]:
    found = []
    present, going = set(filenames), set(leftovers)
    for filename in filenames:
        base = naming.checkpoint_of_shard(filename)
        path = os.path.join(directory, filename)
        if base is not None and naming.index_file(base) not in present and path not in going:
            found.append(path)
    return found
