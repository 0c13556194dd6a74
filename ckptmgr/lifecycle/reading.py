"""Reading a checkpoint, or a directory's latest, by TensorFlow's names.

Source: tensorflow/python/training/checkpoint_utils.py.
"""

from __future__ import annotations

import os
from typing import Any

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle.state import latest_checkpoint
from ckptmgr.storage import PosixStorage, Storage

StrPath = str | os.PathLike[str]


def load_checkpoint(
    ckpt_dir_or_file: StrPath, *, mmap: bool = False, storage: Storage | None = None
) -> CheckpointReader:
    """A reader of the checkpoint at a prefix, or of the latest in a directory.

    Args:
        mmap: Give read-only arrays over the mapped file instead of copies; each is verified when
            it is first asked for.
    Raises:
        CheckpointNotFound: There is none.
    """
    storage = storage or PosixStorage()
    prefix = _prefix_of(storage, arguments.path_text(ckpt_dir_or_file))
    return CheckpointReader(prefix, mmap=mmap, storage=storage)


def load_variable(ckpt_dir_or_file: StrPath, name: str, *, storage: Storage | None = None) -> Any:
    """The value of one tensor; `name` may be that of a graph's tensor, `w:0`."""
    with load_checkpoint(ckpt_dir_or_file, storage=storage) as reader:
        return reader.get_tensor(name.removesuffix(":0") if isinstance(name, str) else name)


def list_variables(
    ckpt_dir_or_file: StrPath, *, storage: Storage | None = None
) -> list[tuple[str, list[int]]]:
    """Name and shape of every tensor, sorted by name."""
    with load_checkpoint(ckpt_dir_or_file, storage=storage) as reader:
        return sorted(reader.get_variable_to_shape_map().items())


def _prefix_of(storage: Storage, path: str) -> str:
    info = storage.stat(path)
    if info is None:
        return path
    if not info.is_dir:
        if _is_state_file(storage, path):
            raise errors.CheckpointNotFound(
                f"{path} is the checkpoint state of its directory; give "
                f"{naming.directory_of(path)!r}"
            )
        return path
    prefix = latest_checkpoint(path, storage=storage)
    if prefix is None:
        raise errors.CheckpointNotFound(
            f"Couldn't find 'checkpoint' file or checkpoints in given directory {path}"
        )
    return prefix


def _is_state_file(storage: Storage, path: str) -> bool:
    is_called_so = naming.base_of(path) == naming.STATE_FILENAME
    return is_called_so and storage.stat(naming.index_file(path)) is None
