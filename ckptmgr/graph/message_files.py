"""Files that hold one message: graphs, MetaGraphs, models."""

from __future__ import annotations

from contextlib import closing

from ckptmgr import errors
from ckptmgr.storage.protocol import Storage

# protobuf's own limit for one message, on every platform.
_MAX_MESSAGE_BYTES = 2**31 - 1


def read_message_bytes(storage: Storage, path: str) -> bytes:
    """The whole content of a file.

    Raises:
        MalformedGraph: It is longer than any message; a sparse file may have any length.
        StorageError: It cannot be read.
    """
    with closing(storage.open(path)) as file:
        if file.size_bytes > _MAX_MESSAGE_BYTES:
            raise errors.MalformedGraph(
                "larger than a message can be",
                path=path,
                expected=f"{_MAX_MESSAGE_BYTES} bytes at most",
                found=file.size_bytes,
            )
        return file.read(0, file.size_bytes)
