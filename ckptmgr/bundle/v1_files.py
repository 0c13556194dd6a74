"""The files of a V1 checkpoint, and how to look for them.

A state file of a few bytes may name patterns that stand for 99,999 files each. Of so many, the
directory tells which are there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors, naming
from ckptmgr.storage.protocol import Storage

# Of more shards than this the directory is listed.
_LOOKED_UP_LIMIT = 256


def v1_candidates(storage: Storage, path: str) -> Sequence[str]:
    """The files, in order, of which one that exists makes a V1 checkpoint exist.

    All that are there are among them, and where they are few, those that are not.
    """
    files = naming.v1_shard_files(path) or [path]
    if len(files) <= _LOOKED_UP_LIMIT:
        return files
    try:
        names = storage.list_dir(naming.directory_of(path))
    except (errors.FileMissing, errors.NotADirectory):
        return []
    shards = naming.v1_shards_of(naming.base_of(path), names)
    return [naming.in_directory_of(path, name) for name in shards]
