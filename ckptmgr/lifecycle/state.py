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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.v1_files import v1_candidates
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

# NAME_MAX of linux/limits.h, less the `.index` that makes a checkpoint exist.
_MAX_NAME_BYTES = 255 - len(".index")
# Half of PATH_MAX there, which leaves as much for the directory.
_MAX_PATH_BYTES = 2048
# Enough of such a path to recognise it by.
_MAX_QUOTED_CHARS = 120

# That of a hundred thousand checkpoints takes a tenth; a sparse file may have any length.
_MAX_STATE_BYTES = 64 * 2**20

# What a state that names no checkpoint lacks, by which its error is told from the others.
_LATEST_FIELD = "a model_checkpoint_path"


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
    data = _content(storage, path)
    if data is None:
        return None
    try:
        state = decode_checkpoint_state(data)
    except errors.MalformedState as error:
        raise error.located(path=path) from None
    if not state.model_checkpoint_path:
        raise errors.MalformedState(
            "the checkpoint state names no checkpoint",
            path=path,
            expected=_LATEST_FIELD,
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


def _content(storage: Storage, path: str) -> bytes | None:
    """The bytes of a state file, None if there is no file."""
    try:
        file = storage.open(path)
    except errors.FileMissing:
        return None
    except errors.StorageError:
        refuse_directory(storage, path)
        raise
    try:
        if file.size_bytes > _MAX_STATE_BYTES:
            raise errors.MalformedState(
                "the checkpoint state is too long to be one",
                path=path,
                expected=f"{_MAX_STATE_BYTES} bytes at most",
                found=file.size_bytes,
            )
        return file.read(0, file.size_bytes)
    finally:
        file.close()


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
        if error.expected == _LATEST_FIELD:
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


def committing_files(storage: Storage, prefix: str) -> Iterator[str]:
    """The files any of which makes a V2 or V1 checkpoint exist."""
    yield naming.index_file(prefix)
    yield from v1_candidates(storage, prefix)


def checkpoint_exists(checkpoint_prefix: StrPath, *, storage: Storage | None = None) -> bool:
    """Whether there is a V2 or V1 checkpoint at that prefix."""
    return _exists(storage or PosixStorage(), arguments.path_text(checkpoint_prefix))


def get_checkpoint_mtimes(
    checkpoint_prefixes: Iterable[StrPath], *, storage: Storage | None = None
) -> list[float]:
    """When each checkpoint was written, in whole seconds since the epoch; missing ones left out."""
    storage = storage or PosixStorage()
    paths = _path_texts("checkpoint_prefixes", checkpoint_prefixes)
    found = (_stat(storage, path) for path in paths)
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
        _path_texts("all_model_checkpoint_paths", all_model_checkpoint_paths or ()),
        timestamps=all_model_checkpoint_timestamps or (),
        last_preserved_timestamp=last_preserved_timestamp or 0.0,
    )
    with RunDirectory(storage or PosixStorage(), save_directory) as directory:
        directory.require()
        with directory.locked():
            write_state(directory, state, latest_filename)


def _path_texts(name: str, paths: Iterable[StrPath]) -> list[str]:
    if isinstance(paths, str | bytes | os.PathLike):
        # Of a text each character would be taken for a path.
        raise errors.InvalidArgument(f"{name} must be a list of paths, found {paths!r}")
    return [arguments.path_text(path) for path in paths]


def _exists(storage: Storage, prefix: str) -> bool:
    return _stat(storage, prefix) is not None


def _stat(storage: Storage, prefix: str) -> float | None:
    """The time of a checkpoint's index, or of its V1 file or first V1 shard there is."""
    for path in committing_files(storage, prefix):
        info = storage.stat(path)
        if info is not None and not info.is_dir:
            return info.mtime_secs
    return None
