"""Replacing a small file so that a reader finds the old content or the new, never a part.

The new content is written beside the old under a temporary name and then takes the name in one
step. With `durable`, a crash of the machine, too, leaves one or the other.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ckptmgr.errors import StorageError
from ckptmgr.storage.protocol import Storage


def replace_file(
    storage: Storage, path: str, data: bytes, *, temporary: str, durable: bool
) -> None:
    """Give `path` the content `data`, in one step for every reader.

    Args:
        temporary: A name in the same directory that is not taken; gone when this returns or raises.
        durable: Return only once the replacement survives a loss of power.
    """
    # Refused if the name is taken: another writer's temporary is not ours to overwrite or remove.
    file = storage.create(temporary)
    try:
        file.write([data], 0)
        if durable:
            # Before the rename: the name may become stable before the content does, and the old
            # content is gone by then.
            file.sync()
        # Before the rename: a network file system reports a failed write here at the latest.
        file.close()
        # The step that readers see: whoever opens the name gets all of the old or all of the new.
        storage.rename(temporary, path)
    except BaseException:
        # Nobody else will: the caller learns of the failure, not of the name.
        with suppress(StorageError):
            file.close()
        with suppress(StorageError):
            storage.unlink(temporary)
        raise
    if durable:
        # After the rename: until the directory is stable, a crash may bring back the old content.
        storage.sync_dir(os.path.dirname(path) or ".")
