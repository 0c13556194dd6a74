"""What processes that died have left in a run's directory and nobody will miss.

    *.tmp-<token>     of a writer that is gone, with the shards that its rename was to vouch for
    <base>.data-...   beside an index that counts other shards: of a generation that was replaced

Shards that no index and no temporary file leads to are not among them: they may be a checkpoint
that somebody is copying into the directory at this moment.
"""

from __future__ import annotations

import os

from ckptmgr import errors, naming
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.lifecycle.directories import names_in
from ckptmgr.storage import Storage


def left_behind(storage: Storage, path: str, living: set[str]) -> list[str]:
    """The files to remove, in an order in which it may be cut off at any time.

    Args:
        path: The run's directory, whose lock must be held if they are to be removed.
        living: The tokens of writers whose files are not left behind.
    """
    found: dict[str, None] = {}
    for directory in (path, naming.internal_directory(path)):
        names = names_in(storage, directory)
        for filename in names:
            owner = naming.owner_of_temporary(filename)
            # A power cut may keep a temporary and lose its writer's entry: no entry, no owner.
            if owner is not None and owner not in living:
                left = _left_with(storage, directory, filename, names)
                found.update(dict.fromkeys(os.path.join(directory, name) for name in left))
        if directory == path:
            found.update(dict.fromkeys(_superseded(storage, path, names)))
    return list(found)


def with_shards_of_several_counts(names: list[str]) -> set[str]:
    """The checkpoints among a directory's sorted names that have shards of two generations."""
    found = set()
    for base in filter(None, map(naming.prefix_of_index, names)):
        counts = {count for _, count in naming.shards_of(base, names).values()}
        if len(counts) > 1:
            found.add(base)
    return found


def _left_with(storage: Storage, directory: str, temporary: str, names: list[str]) -> list[str]:
    """What goes with a temporary file that was left behind; itself last, for it leads to them."""
    # An index, or the first shard of a V1 checkpoint, that was never renamed may have left shards
    # under their final names, and one that was taken away to be deleted, too.
    final = naming.without_temporary_mark(temporary)
    base = naming.prefix_of_index(final)
    if base is not None and final in names:
        shards = _uncounted(storage, directory, base, names)
    elif base is not None:
        shards = list(naming.shards_of(base, names))
    else:
        shards = [] if final in names else naming.v1_shards_behind(final, names)
    return [*shards, temporary]


def _superseded(storage: Storage, directory: str, names: list[str]) -> list[str]:
    """The shards that an index replaced, where whoever wrote it did not come to remove them."""
    found = []
    for base in sorted(with_shards_of_several_counts(names)):
        index = storage.stat(os.path.join(directory, naming.index_file(base)))
        for name in _uncounted(storage, directory, base, names):
            shard = storage.stat(os.path.join(directory, name))
            # A younger one may be of a foreign writer that is about to replace the index.
            if index is not None and shard is not None and shard.mtime_secs <= index.mtime_secs:
                found.append(os.path.join(directory, name))
    return found


def _uncounted(storage: Storage, directory: str, base: str, names: list[str]) -> list[str]:
    """The shards that belong to no generation that the standing index speaks of."""
    try:
        file = storage.open(os.path.join(directory, naming.index_file(base)))
        try:
            num_shards = BundleIndex(file).header.num_shards
        finally:
            file.close()
    except (errors.CorruptCheckpoint, errors.FileMissing, errors.MissingExtra):
        return []  # it does not tell
    shards = naming.shards_of(base, names)
    return [name for name, (_, counted) in shards.items() if counted != num_shards]
