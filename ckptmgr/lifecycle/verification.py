"""Reading all of a checkpoint, or of every checkpoint of a directory, to see whether it is whole.

    checkpoint   index and header, slices, every shard's presence and length, the checksum of every
                 tensor, the manager's metadata, the checksum of the graph in a `.meta` file
    directory    that of each checkpoint, then the state file against them, then what is left over

Everything that is wrong is told, not only what comes first. Large tensors are read in chunks, by
several threads, at the speed of the disk; what is read is not kept. What has no checksum cannot be
verified: a `.meta` file that TensorFlow wrote, and bytes that no tensor covers.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.formats.crc32c import crc32c
from ckptmgr.formats.sealed_message import SEAL_BYTES, check_seal, stored_checksum
from ckptmgr.lifecycle import catalog, listing
from ckptmgr.lifecycle.listing import ListedCheckpoint
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.survey import Survey, survey
from ckptmgr.storage import PosixStorage, Storage

StrPath = str | os.PathLike[str]

# What is told of a checkpoint, instead of ending the verification.
_DAMAGE = (
    errors.CorruptCheckpoint,
    errors.StorageError,
    errors.MissingExtra,
    errors.UnsupportedDtype,
)

# What the system says of us, or of this moment, rather than of the file.
_HINDRANCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE}

# Of a graph, at a time.
_PART_BYTES = 4 << 20

#: Told the prefix that is being read, and how many bytes were and will be read of everything; every
#: few megabytes, from any thread.
ProgressListener = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    #: The name of the error's class (`ChecksumMismatch`), or `StateMismatch` or `Leftover`.
    kind: str
    #: The file.
    path: str
    problem: str
    tensor: str | None = None
    expected: str | None = None
    found: str | None = None
    #: Whether it only kept us from reading the file, which may be whole: a missing permission.
    is_hindrance: bool = False

    def __str__(self) -> str:
        return str(
            errors.CorruptCheckpoint(
                self.problem,
                path=self.path,
                tensor=self.tensor,
                expected=self.expected,
                found=self.found,
            )
        )


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """One checkpoint, all of which was read."""

    prefix: str
    step: int | None
    saved_at_secs: float
    #: Of all its files.
    size_bytes: int
    #: The manager's own included; 0 if the index does not say.
    num_tensors: int
    #: Whether a manager wrote it.
    managed: bool
    #: Whether the state names it; None of a checkpoint that was verified by itself.
    listed: bool | None = None
    #: What is wrong with it.
    damage: tuple[Finding, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.damage

    @property
    def is_damaged(self) -> bool:
        """Whether something is wrong with it; else, if it is not whole, we could not read it."""
        return any(not finding.is_hindrance for finding in self.damage)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` has found."""

    #: As it was given.
    target: str
    #: In the order in which they were saved.
    checkpoints: tuple[VerifiedCheckpoint, ...]
    #: What is wrong with the state file of a directory.
    state: tuple[Finding, ...] = ()
    #: Of a directory: what crashes have left behind. It does no harm.
    leftovers: tuple[Finding, ...] = ()

    @property
    def damage(self) -> tuple[Finding, ...]:
        """What is wrong with the checkpoints, then with the state."""
        return (*(finding for c in self.checkpoints for finding in c.damage), *self.state)

    @property
    def is_whole(self) -> bool:
        return not self.damage


def verify(
    prefix_or_directory: StrPath,
    *,
    on_progress: ProgressListener | None = None,
    storage: Storage | None = None,
) -> Verification:
    """Read all of one checkpoint, V2 or V1, or of all that are in a directory.

    Nothing is changed, and damage is no error: it is what is returned.

    Args:
        on_progress: Called with the prefix that is being read, and with how many bytes of
            everything were and will be read; every few megabytes, from any thread.
    Raises:
        CheckpointNotFound: There is nothing at the prefix.
    """
    storage = storage or PosixStorage()
    path = arguments.path_text(prefix_or_directory)
    info = storage.stat(path)
    if info is not None and info.is_dir:
        return verify_surveyed(storage, survey(RunDirectory(storage, path)), on_progress)
    listed = listing.look_at(path, storage=storage)
    verified = None
    if listed is not None:
        meter = _Meter(listed.size_bytes, on_progress)
        verified = _verify_checkpoint(storage, listed, meter)
    if verified is None:
        CheckpointReader(path, storage=storage).close()  # says what is there instead
        raise errors.CheckpointNotFound(f"{path} was deleted just now")
    return Verification(path, (verified,))


def verify_surveyed(
    storage: Storage, surveyed: Survey, on_progress: ProgressListener | None
) -> Verification:
    """Verify the checkpoints that a survey has found; those deleted meanwhile are left out."""
    meter = _Meter(sum(c.size_bytes for c in surveyed.checkpoints), on_progress)
    found = [_verify_checkpoint(storage, listed, meter) for listed in surveyed.checkpoints]
    bases = listing.listed_bases(surveyed.stored)
    return Verification(
        surveyed.directory,
        tuple(replace(c, listed=naming.base_of(c.prefix) in bases) for c in found if c is not None),
        tuple(_state_findings(surveyed)),
        tuple(_leftover_findings(surveyed)),
    )


# --------------------------------------------------------------------------- one checkpoint


def _verify_checkpoint(
    storage: Storage, listed: ListedCheckpoint, meter: _Meter
) -> VerifiedCheckpoint | None:
    meter.begin(listed.prefix, listed.size_bytes)
    try:
        num_tensors, damage = _read_all(storage, listed.prefix, meter)
    except errors.CheckpointNotFound:
        return None
    return VerifiedCheckpoint(
        listed.prefix,
        listed.step,
        listed.saved_at_secs,
        listed.size_bytes,
        num_tensors,
        listed.managed,
        None,
        # A tensor's own entry and that of its slice may tell the same.
        tuple(dict.fromkeys(map(_finding_of, damage))),
    )


def _read_all(
    storage: Storage, prefix: str, meter: _Meter
) -> tuple[int, list[errors.CheckpointError]]:
    """How many tensors there are, and everything that is wrong."""
    damage: list[errors.CheckpointError] = []
    num_tensors = 0
    try:
        with CheckpointReader(prefix, storage=storage, observer=meter) as reader:
            num_tensors = len(reader.get_variable_to_shape_map())
            damage += reader.damage()
            catalog.read_metadata(reader)
    except errors.CheckpointNotFound:
        raise
    except _DAMAGE as error:
        damage.append(error)
    try:
        _check_meta_graph(storage, naming.meta_graph_file(prefix), meter)
    except errors.FileMissing:
        pass  # not every checkpoint has one
    except _DAMAGE as error:
        damage.append(error)
    return num_tensors, damage


def _check_meta_graph(storage: Storage, path: str, meter: _Meter) -> None:
    with closing(storage.open(path)) as file:
        try:
            stored = stored_checksum(file.read(0, min(SEAL_BYTES, file.size_bytes)))
            if stored is None:
                return
            crc = 0
            for start in range(SEAL_BYTES, file.size_bytes, _PART_BYTES):
                part = file.read(start, min(_PART_BYTES, file.size_bytes - start))
                crc = crc32c(part, crc)
                meter.read(len(part))
            check_seal(stored, crc)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=path) from None


def _finding_of(error: errors.CheckpointError) -> Finding:
    kind = type(error).__name__
    if isinstance(error, errors.CorruptCheckpoint):
        expected = None if error.expected is None else str(error.expected)
        found = None if error.found is None else str(error.found)
        return Finding(kind, error.path or "", error.problem, error.tensor, expected, found)
    path = error.filename if isinstance(error, errors.StorageError) else None
    return Finding(kind, str(path or ""), str(error), is_hindrance=_is_hindrance(error))


def _is_hindrance(error: errors.CheckpointError) -> bool:
    if isinstance(error, errors.StorageError):
        return isinstance(error, errors.PermissionDenied) or error.errno in _HINDRANCES
    return isinstance(error, errors.MissingExtra)


class _Meter:
    """Adds up what is read, from any thread."""

    def __init__(self, total_bytes: int, on_progress: ProgressListener | None) -> None:
        self._total_bytes = total_bytes
        self._on_progress = on_progress
        self._prefix = ""
        self._done_bytes = 0
        self._end_bytes = 0
        self._lock = threading.Lock()

    def begin(self, prefix: str, size_bytes: int) -> None:
        """The next checkpoint; all of the one before counts as read, whatever it was."""
        self._prefix = prefix
        self._done_bytes = self._end_bytes
        self._end_bytes += size_bytes

    def read(self, size_bytes: int) -> None:
        if self._on_progress is None:
            return
        with self._lock:
            # What is damaged is read twice, and tensors may share their bytes.
            self._done_bytes = min(self._done_bytes + size_bytes, self._end_bytes)
            self._on_progress(self._prefix, self._done_bytes, self._total_bytes)


# --------------------------------------------------------------------------- the directory


def _state_findings(surveyed: Survey) -> Iterator[Finding]:
    path = naming.state_file(surveyed.directory)
    if surveyed.state_error is not None:
        yield _finding_of(surveyed.state_error)
    elif surveyed.stored is None:
        # A Saver may have been told to write none; a manager always writes one.
        if any(checkpoint.managed for checkpoint in surveyed.checkpoints):
            yield Finding("StateMismatch", path, "there is no checkpoint state")
    else:
        yield from _findings_of_paths(surveyed, path)
        yield from _findings_of_times(surveyed.stored, path)


def _findings_of_paths(surveyed: Survey, path: str) -> Iterator[Finding]:
    for named in surveyed.named:
        if named.prefix is None:
            problem = "the state names a checkpoint that is not there"
            yield Finding("StateMismatch", path, problem, expected=named.path, found="no such file")
        elif not named.is_at_path:
            # TensorFlow does not look elsewhere.
            problem = "the state names a checkpoint by a path that it no longer has"
            yield Finding("StateMismatch", path, problem, expected=named.path, found=named.prefix)


def _findings_of_times(stored: CheckpointState, path: str) -> Iterator[Finding]:
    num_paths = len(stored.all_model_checkpoint_paths)
    num_times = len(stored.all_model_checkpoint_timestamps)
    if num_times not in (0, num_paths):
        yield Finding(
            "StateMismatch",
            path,
            "the state has timestamps, but not one for each path",
            expected=f"{num_paths} timestamps, or none",
            found=f"{num_times} timestamps",
        )


def _leftover_findings(surveyed: Survey) -> Iterator[Finding]:
    yield from _each(
        surveyed.leftovers, "a save that did not end left it; the next save removes it"
    )
    yield from _each(surveyed.orphans, "a data shard without an index, which no checkpoint uses")
    directory = surveyed.directory
    marks = [os.path.join(directory, base) for base in sorted(surveyed.deleting)]
    yield from _each(marks, "was given up; the next save removes it, unless it is pinned or held")


def _each(paths: Iterable[str], problem: str) -> Iterator[Finding]:
    for path in paths:
        yield Finding("Leftover", path, problem)
