"""The `checkpoint` file of a directory: which checkpoint is the newest, which there are.

The functions have TensorFlow's names and meaning, with two improvements. Names are looked up as
they are, never as glob patterns. And `latest_checkpoint` finds a checkpoint whose directory was
moved, though the state names it by the absolute path that it had.

Source: tensorflow/python/checkpoint/checkpoint_management.py.
"""

from __future__ import annotations

import errno
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.index import read_header
from ckptmgr.formats.checkpoint_state import (
    CheckpointState,
    decode_checkpoint_state,
    encode_checkpoint_state,
)
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import PosixStorage, Storage
from ckptmgr.storage.atomic import replace_file

_log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

# Of more shards than this, or of a damaged index that claims them, the names are looked up.
_COUNTED_SHARDS_LIMIT = 256

# NAME_MAX of linux/limits.h, less the `.index` that makes a checkpoint exist.
_MAX_NAME_BYTES = 255 - len(".index")
# Half of PATH_MAX there, which leaves as much for the directory.
_MAX_PATH_BYTES = 2048
# Enough of such a path to recognise it by.
_MAX_QUOTED_CHARS = 120


# --------------------------------------------------------------------------- deciding


def build_state(
    save_dir: str,
    latest: str,
    all_paths: Sequence[str] = (),
    *,
    timestamps: Sequence[float] = (),
    last_preserved_timestamp: float = 0.0,
    relative: bool = False,
) -> CheckpointState:
    """The state to be stored in `save_dir`, its paths rewritten as TensorFlow would.

    Args:
        latest: Appended to `all_paths` if it is not the last of them.
        relative: Whether absolute paths are made relative to `save_dir`, so that the directory can
            be moved. Relative ones are understood from the working directory, unless `save_dir` is
            absolute.
    Raises:
        InvalidArgument: There are timestamps, but not one for each path.
    """
    paths = list(all_paths)
    if not paths or paths[-1] != latest:
        paths.append(latest)
    if timestamps and len(timestamps) != len(paths):
        raise errors.InvalidArgument(
            f"Checkpoint timestamps, if provided, must match checkpoint paths "
            f"(got paths {paths} and timestamps {list(timestamps)})"
        )

    def stored(path: str) -> str:
        if os.path.isabs(path):
            return os.path.relpath(path, save_dir) if relative else path
        return path if os.path.isabs(save_dir) else os.path.relpath(path, save_dir)

    return CheckpointState(
        stored(latest), tuple(map(stored, paths)), tuple(timestamps), last_preserved_timestamp
    )


def resolve_paths(state: CheckpointState, directory: str) -> CheckpointState:
    """The state with each relative path joined to its directory."""

    def joined(path: str) -> str:
        return path if os.path.isabs(path) else os.path.join(directory, path)

    return replace(
        state,
        model_checkpoint_path=joined(state.model_checkpoint_path),
        all_model_checkpoint_paths=tuple(map(joined, state.all_model_checkpoint_paths)),
    )


# --------------------------------------------------------------------------- reading and writing


def read_state(
    storage: Storage, directory: str, latest_filename: str | None = None
) -> CheckpointState | None:
    """The state with its paths resolved, None if there is no file.

    Raises:
        MalformedState: It does not parse, names no checkpoint, or a path that no file can have.
    """
    path = naming.state_file(directory, latest_filename)
    try:
        file = storage.open(path)
    except errors.FileMissing:
        return None
    except errors.StorageError:
        refuse_directory(storage, path)
        raise
    try:
        data = file.read(0, file.size_bytes)
    finally:
        file.close()
    try:
        state = decode_checkpoint_state(data)
    except errors.MalformedState as error:
        raise error.located(path=path) from None
    if not state.model_checkpoint_path:
        raise errors.MalformedState(
            "the checkpoint state names no checkpoint",
            path=path,
            expected="a model_checkpoint_path",
        )
    for named in (state.model_checkpoint_path, *state.all_model_checkpoint_paths):
        if not _can_be_path(os.fsencode(named)):
            raise errors.MalformedState(
                "the checkpoint state names a path that no file can have",
                path=path,
                expected=f"at most {_MAX_PATH_BYTES} bytes, {_MAX_NAME_BYTES} in a name, no NUL",
                found=repr(named[:_MAX_QUOTED_CHARS]),
            )
    return resolve_paths(state, directory)


def _can_be_path(path: bytes) -> bool:
    longest = max(map(len, path.split(b"/")))
    return longest <= _MAX_NAME_BYTES and len(path) <= _MAX_PATH_BYTES and b"\0" not in path


def warn_of_doubt(state: CheckpointState, directory: str) -> None:
    """Log a state that does not list the latest checkpoint last, as every writer does.

    The file has no checksum: nothing else tells that a flipped bit made it name another checkpoint.
    """
    last = state.all_model_checkpoint_paths[-1:]
    if last and naming.base_of(last[0]) != naming.base_of(state.model_checkpoint_path):
        _log.warning(
            "the checkpoint state in %s names %s as the latest but lists %s last: it was edited, "
            "or is damaged",
            directory,
            state.model_checkpoint_path,
            last[0],
        )


def write_state(
    directory: RunDirectory,
    state: CheckpointState,
    latest_filename: str | None = None,
    *,
    durable: bool = True,
) -> None:
    """Replace the state atomically; the directory's lock must be held."""
    path = naming.state_file(directory.path, latest_filename)
    if path == state.model_checkpoint_path or (
        os.path.join(directory.path, state.model_checkpoint_path) == path
    ):
        raise errors.InvalidName(
            f"Save path '{path}' conflicts with path used for checkpoint state.  Please use a "
            f"different save path."
        )
    refuse_directory(directory.storage, path)
    replace_file(
        directory.storage,
        path,
        encode_checkpoint_state(state),
        temporary=naming.temporary(path, directory.token),
        durable=durable,
    )


def refuse_directory(storage: Storage, path: str) -> None:
    """Raise StorageError if there is a directory where a state file is to be."""
    info = storage.stat(path)
    if info is not None and info.is_dir:
        raise errors.StorageError(
            errno.EISDIR,
            f"{path} is a directory where the state file belongs; move it away",
            path,
        )


# --------------------------------------------------------------------------- TensorFlow's functions


def get_checkpoint_state(
    checkpoint_dir: StrPath, latest_filename: str | None = None, *, storage: Storage | None = None
) -> CheckpointState | None:
    """What the `checkpoint` file says, paths joined with the directory; None if there is none.

    A file that does not parse is logged and counts as absent, as in TensorFlow.

    Raises:
        MalformedState: The file parses but names no checkpoint.
    """
    directory = arguments.path_text(checkpoint_dir)
    try:
        found = read_state(storage or PosixStorage(), directory, latest_filename)
    except errors.MalformedState as error:
        if error.expected == "a model_checkpoint_path":
            raise
        _log.warning("%s: checkpoint state ignored", error)
        return None
    if found is not None:
        warn_of_doubt(found, directory)
    return found


def latest_checkpoint(
    checkpoint_dir: StrPath, latest_filename: str | None = None, *, storage: Storage | None = None
) -> str | None:
    """The prefix that the state names as the newest, if that checkpoint exists; else None."""
    storage = storage or PosixStorage()
    directory = arguments.path_text(checkpoint_dir)
    state = get_checkpoint_state(directory, latest_filename, storage=storage)
    if state is None:
        return None
    prefix = existing_prefix(storage, directory, state.model_checkpoint_path)
    if prefix is None:
        _log.error("Couldn't match files for checkpoint %s", state.model_checkpoint_path)
    return prefix


def existing_prefix(storage: Storage, directory: str, prefix: str) -> str | None:
    """`prefix`, or where it is now that its directory was moved; None if it is nowhere."""
    if _exists(storage, prefix):
        return prefix
    moved = os.path.join(directory, naming.base_of(prefix))
    return moved if _exists(storage, moved) else None


def own_prefix(storage: Storage, directory: str, path: str) -> str | None:
    """The checkpoint in `directory` that a path of its state means; None if there is none.

    The copy of a directory may name the original's files, and a state that comes from elsewhere
    any file at all: what lies outside is never meant.
    """
    own = os.path.join(directory, naming.base_of(path))
    if _exists(storage, own):
        return own
    is_below = naming.lies_in(directory, path)
    return path if is_below and storage.stat(naming.index_file(path)) is not None else None


def checkpoint_exists(checkpoint_prefix: StrPath, *, storage: Storage | None = None) -> bool:
    """Whether there is a V2 or V1 checkpoint at that prefix."""
    return _exists(storage or PosixStorage(), arguments.path_text(checkpoint_prefix))


def get_checkpoint_mtimes(
    checkpoint_prefixes: Iterable[StrPath], *, storage: Storage | None = None
) -> list[float]:
    """When each checkpoint was written, in whole seconds since the epoch; missing ones left out."""
    storage = storage or PosixStorage()
    found = (_stat(storage, arguments.path_text(prefix)) for prefix in checkpoint_prefixes)
    return [float(math.floor(mtime_secs)) for mtime_secs in found if mtime_secs is not None]


def update_checkpoint_state(  # noqa: PLR0913 - TensorFlow's arguments
    save_dir: StrPath,
    model_checkpoint_path: StrPath,
    all_model_checkpoint_paths: Sequence[StrPath] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    *,
    storage: Storage | None = None,
) -> None:
    """Write the `checkpoint` file, atomically and durably.

    Raises:
        InvalidArgument: Timestamps were given, but not one for each path.
    """
    save_directory = arguments.path_text(save_dir)
    state = build_state(
        save_directory,
        arguments.path_text(model_checkpoint_path),
        [arguments.path_text(path) for path in all_model_checkpoint_paths or ()],
        timestamps=all_model_checkpoint_timestamps or (),
        last_preserved_timestamp=last_preserved_timestamp or 0.0,
    )
    with RunDirectory(storage or PosixStorage(), save_directory) as directory:
        directory.require()
        with directory.locked():
            write_state(directory, state, latest_filename)


def remove_checkpoint(
    checkpoint_prefix: StrPath,
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


def _exists(storage: Storage, prefix: str) -> bool:
    return _stat(storage, prefix) is not None


def _stat(storage: Storage, prefix: str) -> float | None:
    """The time of a checkpoint's index, or of its V1 file or first V1 shard there is."""
    for path in chain([naming.index_file(prefix)], naming.v1_shard_files(prefix) or [prefix]):
        info = storage.stat(path)
        if info is not None and not info.is_dir:
            return info.mtime_secs
    return None
