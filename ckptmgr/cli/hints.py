"""What a person who typed the wrong path probably meant."""

from __future__ import annotations

import os

from ckptmgr import errors, naming
from ckptmgr.storage import Storage

_MAX_EXAMPLES = 3
# A directory of ten thousand runs must not take long to say that it is none itself.
_MAX_DIRECTORIES = 200


def checkpoint_at(storage: Storage, path: str) -> str | None:
    """The V2 checkpoint whose prefix, or one of whose files, a path is."""
    name = naming.base_of(path)
    for base in _indexed_bases(storage, naming.directory_of(path)):
        own = {base, naming.index_file(base), naming.meta_graph_file(base)}
        if name in own or naming.shards_of(base, [name]):
            prefix = naming.in_directory_of(path, base)
            # A directory may be called like a checkpoint beside it.
            info = storage.stat(path)
            return None if info is not None and info.is_dir else prefix
    return None


def no_checkpoints(storage: Storage, directory: str) -> str:
    """A sentence for a directory without any, which names those below it that have some."""
    found: list[str] = []
    for name in _names(storage, directory)[:_MAX_DIRECTORIES]:
        below = os.path.join(directory, name)
        if len(found) < _MAX_EXAMPLES and _has_checkpoints(storage, below):
            found.append(below)
    sentence = f"no checkpoints in {directory}"
    return f"{sentence}; there are some in {', '.join(found)}" if found else sentence


def _has_checkpoints(storage: Storage, directory: str) -> bool:
    is_named = storage.stat(naming.state_file(directory)) is not None
    return is_named or bool(_indexed_bases(storage, directory))


def _indexed_bases(storage: Storage, directory: str) -> list[str]:
    return [base for base in map(naming.prefix_of_index, _names(storage, directory)) if base]


def _names(storage: Storage, directory: str) -> list[str]:
    try:
        return storage.list_dir(directory)
    except errors.StorageError:
        return []
