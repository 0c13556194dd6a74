"""The only place where a file name is built or parsed.

A checkpoint `run/model.ckpt-100` is a *prefix*, never a file of that name:

    run/model.ckpt-100.index                  makes the checkpoint exist
    run/model.ckpt-100.data-00000-of-00001    tensor bytes, one file per shard
    run/model.ckpt-100.meta                   the graph, where there is one
    run/checkpoint                            the checkpoint state: names the newest

Our own additions stand in one hidden directory, so that a listing shows what TensorFlow's would:

    run/.ckptmgr/lock                         taken for each change of the directory
    run/.ckptmgr/writers/<token>              locked while that writer lives
    run/.ckptmgr/holds/<base>.<token>         locked while a reader holds that checkpoint
    run/.ckptmgr/pins/<base>                  exists while that checkpoint is pinned
    run/.ckptmgr/publishing/<base>            exists, but the state may not say so yet
    run/.ckptmgr/deleting/<base>              given up; whoever saves next finishes its deletion
    run/.ckptmgr/retention.json               the policy last used here, for `ckptmgr ls`
    run/.ckptmgr/finished                     exists when training said that it is done

A file being written is called `<final name>.tmp-<token>`; the token leads to its owner's lock.

Source: tensorflow/core/util/tensor_bundle/naming.cc,
tensorflow/python/checkpoint/checkpoint_management.py.
"""

from __future__ import annotations

import os
import re
import uuid
from bisect import bisect_left
from collections.abc import Sequence
from typing import overload

from ckptmgr import errors

STATE_FILENAME = "checkpoint"
INTERNAL_DIRECTORY = ".ckptmgr"

_INDEX_SUFFIX = ".index"
_META_SUFFIX = "meta"
_TEMPORARY_MARK = ".tmp-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"\.data-(\d{5,})-of-(\d{5,})\Z")
_STEP = re.compile(r"-(\d+)\Z")
# TensorFlow takes these out of a sharded V1 pattern before it names the meta graph.
_V1_SHARD = re.compile(r"-[\d?]+-of-\d+\Z")
_V1_FIRST_SHARD = re.compile(r"-00000-of-(\d{5})\Z")
# TensorFlow looks checkpoints up with a glob on the prefix: these would match something else.
_GLOB_CHARACTERS = frozenset("[]*?\\")


# --------------------------------------------------------------------------- a checkpoint's files


def checkpoint_prefix(save_path: str, step: int | None, *, pad_step_number: bool = False) -> str:
    """`run/model.ckpt` and 100 -> `run/model.ckpt-100`, or `-00000100` when padded."""
    if step is None:
        return save_path
    return f"{save_path}-{step:08d}" if pad_step_number else f"{save_path}-{step:d}"


def parse_step(prefix: str) -> int | None:
    """The global step at the end of a prefix, or None."""
    match = _STEP.search(prefix)
    return int(match.group(1)) if match else None


def index_file(prefix: str) -> str:
    return prefix + _INDEX_SUFFIX


def data_shard(prefix: str, shard_id: int, num_shards: int) -> str:
    return f"{prefix}.data-{shard_id:05d}-of-{num_shards:05d}"


def meta_graph_file(prefix: str, suffix: str = _META_SUFFIX) -> str:
    """The MetaGraph beside a checkpoint; a sharded V1 pattern has one, under its stem."""
    return f"{_V1_SHARD.sub('', prefix)}.{suffix}"


def v1_shard(prefix: str, shard_id: int, num_shards: int) -> str:
    return f"{prefix}-{shard_id:05d}-of-{num_shards:05d}"


def v1_shard_pattern(prefix: str, num_shards: int) -> str:
    """What TensorFlow returns, and records, for a sharded V1 checkpoint."""
    return f"{prefix}-?????-of-{num_shards:05d}"


class _V1Shards(Sequence[str]):
    """The names of V1 shards, made when they are asked for: a pattern may count 99,999."""

    def __init__(self, prefix: str, num_shards: int) -> None:
        self._prefix = prefix
        self._numbers = range(num_shards)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        numbers = self._numbers[index]
        if isinstance(numbers, range):
            return [v1_shard(self._prefix, number, len(self)) for number in numbers]
        return v1_shard(self._prefix, numbers, len(self))


def v1_shard_files(pattern: str) -> Sequence[str] | None:
    """The files that `run/model-?????-of-00002` stands for, or None for any other path."""
    match = re.search(r"-\?{5}-of-(\d{5})\Z", pattern)
    if match is None:
        return None
    return _V1Shards(pattern[: match.start()], int(match.group(1)))


def v1_shards_of(pattern: str, filenames: list[str]) -> list[str]:
    """Which of a directory's sorted names `model-?????-of-00002` stands for."""
    shards = v1_shard_files(pattern)
    if not shards:
        return []
    found = []
    for filename in _that_begin_with(pattern[: -len("?????-of-00000")], filenames):
        number = filename[-len("00000-of-00000") : -len("-of-00000")]
        if number.isdecimal() and int(number) < len(shards) and shards[int(number)] == filename:
            found.append(filename)
    return found


def v1_shards_behind(filename: str, filenames: list[str]) -> list[str]:
    """Those of a directory's sorted names for which a first V1 shard vouches.

    `model-00000-of-00002` -> [`model-00001-of-00002`], if that is there.
    """
    match = _V1_FIRST_SHARD.search(filename)
    if match is None:
        return []
    pattern = v1_shard_pattern(filename[: match.start()], int(match.group(1)))
    return [name for name in v1_shards_of(pattern, filenames) if name != filename]


def prefix_of_index(filename: str) -> str | None:
    """`model.ckpt-100.index` -> `model.ckpt-100`; None for any other file."""
    return filename[: -len(_INDEX_SUFFIX)] if filename.endswith(_INDEX_SUFFIX) else None


def shards_of(base: str, filenames: list[str]) -> dict[str, tuple[int, int]]:
    """The data shards of checkpoint `base` among a directory's sorted names.

    Each with its (shard_id, num_shards).
    """
    found = {}
    for filename in _that_begin_with(f"{base}.data-", filenames):
        if match := _SHARD.fullmatch(filename, len(base)):
            found[filename] = (int(match.group(1)), int(match.group(2)))
    return found


def _that_begin_with(start: str, filenames: list[str]) -> list[str]:
    """Found by halving: whoever asks for each checkpoint of a directory must not read all names."""
    first = bisect_left(filenames, start)
    after = start[:-1] + chr(ord(start[-1]) + 1)
    return filenames[first : bisect_left(filenames, after, first)]


def checkpoint_of_shard(filename: str) -> str | None:
    """`model.ckpt-100.data-00000-of-00001` -> `model.ckpt-100`; None for any other file."""
    match = _SHARD.search(filename)
    return filename[: match.start()] if match else None


def is_checkpoint_of(base: str, checkpoint_name: str) -> bool:
    """Whether `model.ckpt-100` is a step of the checkpoints called `model.ckpt`."""
    match = _STEP.search(base)
    return match is not None and base[: match.start()] == checkpoint_name


# --------------------------------------------------------------------------- paths


def directory_of(path: str) -> str:
    """The directory part, `.` for a bare name."""
    return os.path.dirname(path) or "."


def in_directory_of(path: str, filename: str) -> str:
    """`filename` beside `path`; a bare path keeps it bare."""
    return os.path.join(os.path.dirname(path), filename)


def lies_in(directory: str, path: str) -> bool:
    """Whether the text of a path leads to something in a directory or below it."""
    try:
        top, inner = os.path.abspath(directory), os.path.abspath(path)
    except FileNotFoundError:  # relative, and the working directory was removed
        return False
    return inner != top and os.path.commonpath([top, inner]) == top


def base_of(prefix: str) -> str:
    return os.path.basename(prefix)


def state_file(directory: str, latest_filename: str | None = None) -> str:
    return os.path.join(directory, latest_filename or STATE_FILENAME)


def validate_prefix(prefix: str) -> None:
    """Raise InvalidName for a prefix that TensorFlow could write but never find again."""
    if not os.path.basename(prefix):
        raise errors.InvalidName(f"a checkpoint prefix must end in a file name, found {prefix!r}")
    bad = sorted(_GLOB_CHARACTERS.intersection(prefix))
    if bad:
        raise errors.InvalidName(
            f"checkpoint prefix {prefix!r} contains {' '.join(bad)}: TensorFlow looks prefixes up "
            f"as glob patterns and could not find this one; use a path without [ ] * ? \\"
        )
    if "\0" in prefix:
        raise errors.InvalidName(f"checkpoint prefix {prefix!r} contains a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in os.path.basename(prefix)):
        raise errors.InvalidName(
            f"checkpoint prefix {prefix!r} is not UTF-8, in which the state has its name"
        )


def validate_filename(name: str, what: str) -> None:
    """Raise InvalidName unless `name` is one path component that TensorFlow can find again."""
    is_name = isinstance(name, str) and os.path.basename(name) == name
    if not is_name or name in {"", ".", ".."}:
        raise errors.InvalidName(f"{what} must be a file name without directories, found {name!r}")
    validate_prefix(name)


# --------------------------------------------------------------------------- temporaries


def new_token() -> str:
    """A name for one writer, unique on all machines that share the directory."""
    return uuid.uuid4().hex


def is_token(filename: str) -> bool:
    return _TOKEN.fullmatch(filename) is not None


def temporary(path: str, token: str) -> str:
    return f"{path}{_TEMPORARY_MARK}{token}"


def owner_of_temporary(filename: str) -> str | None:
    """The token of the writer whose unfinished file this is; None for any other file."""
    _, mark, token = filename.rpartition(_TEMPORARY_MARK)
    return token if mark and _TOKEN.fullmatch(token) else None


def without_temporary_mark(filename: str) -> str:
    """The name that an unfinished file was to get."""
    return filename.rpartition(_TEMPORARY_MARK)[0]


# --------------------------------------------------------------------------- our own directory


def internal_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY)


def lock_file(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "lock")


def writers_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "writers")


def writer_file(directory: str, token: str) -> str:
    return os.path.join(writers_directory(directory), token)


def holds_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "holds")


def hold_file(directory: str, base: str, token: str) -> str:
    return os.path.join(holds_directory(directory), f"{base}.{token}")


def parse_hold(filename: str) -> tuple[str, str] | None:
    """`model.ckpt-100.<token>` -> (`model.ckpt-100`, token)."""
    base, dot, token = filename.rpartition(".")
    return (base, token) if dot and base and _TOKEN.fullmatch(token) else None


def pins_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "pins")


def publishing_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "publishing")


def deleting_directory(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "deleting")


def internal_directories(directory: str) -> tuple[str, ...]:
    """Ours in the directory of a run, the outer one first."""
    return (
        internal_directory(directory),
        writers_directory(directory),
        holds_directory(directory),
        pins_directory(directory),
        publishing_directory(directory),
        deleting_directory(directory),
    )


def retention_file(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "retention.json")


def finished_file(directory: str) -> str:
    return os.path.join(directory, INTERNAL_DIRECTORY, "finished")
