"""Deleting a checkpoint, so that at no moment a part of it looks whole.

First the index leaves its name, in one step: from then on there is no checkpoint. Then its shards
go, and what was the index last of all, for whoever cleans up behind a crash finds the shards by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.index import read_header
from ckptmgr.storage import PosixStorage, Storage

# Of more shards than this, or of a damaged index that claims them, the names are looked up.
_COUNTED_SHARDS_LIMIT = 256


def remove_checkpoint(
    checkpoint_prefix: str | os.PathLike[str],
    meta_graph_suffix: str = "meta",
    *,
    storage: Storage | None = None,
) -> None:
    """Delete the files of one checkpoint, V2 or V1, and its graph; none need exist."""
    storage = storage or PosixStorage()
    prefix = arguments.path_text(checkpoint_prefix)
    remove_files(storage, prefix, meta_graph_suffix=meta_graph_suffix)


def remove_files(
    storage: Storage, prefix: str, *, meta_graph_suffix: str = "meta", durable: bool = True
) -> None:
    """Delete a checkpoint, V2 or V1, so that at no moment a part of it looks whole."""
    if not _remove_bundle(storage, prefix, _shards_there(storage, prefix), durable=durable):
        # Only then: beside a V2 checkpoint, a file called as its prefix is somebody else's.
        info = storage.stat(prefix)
        for path in naming.v1_shard_files(prefix) or ([prefix] if info and not info.is_dir else []):
            _unlink(storage, path)
    _unlink(storage, naming.meta_graph_file(prefix, meta_graph_suffix))


def _remove_bundle(storage: Storage, prefix: str, shards: Iterable[str], *, durable: bool) -> bool:
    """Delete the index and the shards of a V2 checkpoint; says whether any was there."""
    retired = _retire_index(storage, prefix)
    shards = list(shards)
    if durable and (retired or shards):
        # Were a shard's removal to reach the disk first, a power cut would leave an index that
        # promises what is gone. Also where the index is gone already: who took it away may have
        # been killed before it came to this.
        storage.sync_dir(naming.directory_of(prefix))
    found = [_unlink(storage, path) for path in shards]
    if retired is not None:
        _unlink(storage, retired)
    return retired is not None or any(found)


def _retire_index(storage: Storage, prefix: str) -> str | None:
    """End a checkpoint in one step; returns what is still to be removed, None if it had no index.

    The index leaves its name but not the disk: should we be killed before its shards are gone, the
    sweep of the next writer finds them by it.
    """
    index = naming.index_file(prefix)
    retired = naming.temporary(index, naming.new_token())
    try:
        storage.rename(index, retired)
    except errors.FileMissing:
        return None
    except errors.StorageError:
        # A disk may be too full for one more name, and a name too long: deleting needs neither.
        storage.unlink(index)
        return index
    return retired


def remove_tracked(
    storage: Storage,
    prefix: str,
    *,
    replaced: bool,
    durable: bool,
    meta_graph_suffix: str = "meta",
) -> None:
    """Delete a V2 checkpoint and its graph, at a cost that does not grow with its directory.

    Args:
        replaced: Whether shards of an earlier generation may stand beside those of the index.
    """
    shards = _shards_there(storage, prefix) if replaced else _shards_counted(storage, prefix)
    _remove_bundle(storage, prefix, shards, durable=durable)
    _unlink(storage, naming.meta_graph_file(prefix, meta_graph_suffix))


def _shards_counted(storage: Storage, prefix: str) -> list[str]:
    """The shards that the index of a V2 checkpoint counts, without listing its directory.

    Where the index is gone or does not tell, those that are there.
    """
    try:
        file = storage.open(naming.index_file(prefix))
    except errors.StorageError:
        return _shards_there(storage, prefix)
    try:
        num_shards = read_header(file).num_shards
    except (errors.CorruptCheckpoint, errors.StorageError, errors.MissingExtra):
        return _shards_there(storage, prefix)
    finally:
        file.close()
    if num_shards > _COUNTED_SHARDS_LIMIT:
        return _shards_there(storage, prefix)
    return [naming.data_shard(prefix, shard_id, num_shards) for shard_id in range(num_shards)]


def _shards_there(storage: Storage, prefix: str) -> list[str]:
    """The shards with the name of `prefix` on disk, those of earlier generations included."""
    filenames = storage.list_dir(naming.directory_of(prefix))
    shards = naming.shards_of(naming.base_of(prefix), filenames)
    return [naming.in_directory_of(prefix, filename) for filename in shards]


def _unlink(storage: Storage, path: str) -> bool:
    try:
        storage.unlink(path)
    except errors.FileMissing:
        return False
    return True
