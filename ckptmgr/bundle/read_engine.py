"""Bringing the bytes of tensors into memory at the speed of the disk, their checksums verified.

Large tensors are cut into chunks, which a few threads read straight to where the tensor will
stand, each one chunk at a time, whose checksum it takes while the bytes are in the processor's
cache; those of the chunks of one tensor are combined. Reading and summing run in C without the
GIL, so that they keep memory and disk busy.

Files are read through the system's cache: with several reads of this size under way at a time that
was as fast as reading past it, and needs neither aligned memory nor a copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ckptmgr import errors
from ckptmgr.bundle.write_engine import for_each_chunk
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import combine, crc32c, mask
from ckptmgr.storage.protocol import ReadableFile

#: What a thread reads at a time: short enough to be in a cache of the processor for its checksum,
#: long enough for the share of Python to be small. From the system's cache, quarters of it took
#: up to 15 % longer, larger ones as long. A power of two: the checksum of what such a chunk is
#: appended to takes one step to combine.
CHUNK_BYTES = 2 << 20

# What is read for its checksum only goes through as much memory in each thread, which stays in the
# cache of its core.
_SCRATCH_BYTES = 512 << 10

# From the cache of the system one keeps a processor busy, and more cost a little; from a disk the
# system reads ahead of each.
_THREADS = max(2, min(4, os.cpu_count() or 1))

#: A tensor's name and its entry.
Item = tuple[str, BundleEntry]


class Run(NamedTuple):
    """The bytes of one tensor, or of one stored slice, and where they go."""

    tensor: str
    file: ReadableFile
    offset: int
    size_bytes: int
    #: As its entry has it: masked.
    crc32c: int
    #: As long as the run; None to read it for its checksum only.
    target: memoryview | None


class _Piece(NamedTuple):
    """Part of a run, a chunk or less."""

    run: int
    number: int
    start: int
    size_bytes: int


class ReadObserver(Protocol):
    """Told how reading goes on, from whichever thread."""

    def read(self, size_bytes: int) -> None:
        """So many bytes more were read, and their checksum was taken."""


def fill(runs: Sequence[Run], observer: ReadObserver | None = None) -> None:
    """Read every run into its target; they should stand in the order of the files.

    Raises:
        ChecksumMismatch: Of the first run that differs. All targets have been written to.
        TruncatedFile, StorageError: Some targets have been written to.
    """
    tasks, checksums = _cut(runs)
    all_wanted = all(run.target is not None for run in runs)

    def make_worker() -> Callable[[int], None]:
        scratch = memoryview(bytearray(0 if all_wanted else _SCRATCH_BYTES))

        def work(task: int) -> None:
            for piece in tasks[task]:
                checksums[piece.run][piece.number] = _read(runs[piece.run], piece, scratch)
            if observer is not None:
                observer.read(sum(piece.size_bytes for piece in tasks[task]))

        return work

    for_each_chunk(len(tasks), make_worker, _THREADS)
    for run, parts in zip(runs, checksums, strict=True):
        crc = parts[0] if parts else 0
        for part in parts[1:]:
            crc = combine(crc, part, CHUNK_BYTES)
        if mask(crc) != run.crc32c:
            raise checksum_mismatch(run.file.path, run.tensor, run.crc32c, crc)


def read_exactly(file: ReadableFile, view: memoryview, offset: int, tensor: str) -> None:
    """Fill `view` from an offset that was within the file when it was opened.

    Raises:
        TruncatedFile, StorageError: The first names file and tensor.
    """
    count = file.read_into(view, offset)
    if count != len(view):
        raise errors.TruncatedFile(
            "the file became shorter while it was read",
            path=file.path,
            tensor=tensor,
            expected=f"{len(view)} bytes at {offset}",
            found=f"{count} bytes",
        )


def checksum_mismatch(path: str, tensor: str, stored: int, crc: int) -> errors.ChecksumMismatch:
    """The error of a tensor whose checksum, not masked yet, is not the stored one."""
    return errors.ChecksumMismatch(
        "the checksum of the tensor differs",
        path=path,
        tensor=tensor,
        expected=f"0x{stored:08x}",
        found=f"0x{mask(crc):08x}",
    )


def _cut(runs: Sequence[Run]) -> tuple[list[list[_Piece]], list[list[int]]]:
    """Pieces grouped into tasks of about a chunk, and a place for the checksum of each piece."""
    tasks: list[list[_Piece]] = []
    checksums = []
    room = 0
    for index, run in enumerate(runs):
        count = -(-run.size_bytes // CHUNK_BYTES)
        checksums.append([0] * count)
        # The odd piece comes first, since combining takes time by the length of what is appended.
        start, end = 0, run.size_bytes - (count - 1) * CHUNK_BYTES
        for number in range(count):
            if end - start > room:
                tasks.append([])
                room = CHUNK_BYTES
            tasks[-1].append(_Piece(index, number, start, end - start))
            room -= end - start
            start, end = end, end + CHUNK_BYTES
    return tasks, checksums


def _read(run: Run, piece: _Piece, scratch: memoryview) -> int:
    """Read a piece of a run; returns its checksum."""
    end = piece.start + piece.size_bytes
    if run.target is not None:
        view = run.target[piece.start : end]
        read_exactly(run.file, view, run.offset + piece.start, run.tensor)
        return crc32c(view)
    crc = 0
    for start in range(piece.start, end, len(scratch)):
        view = scratch[: end - start]
        read_exactly(run.file, view, run.offset + start, run.tensor)
        crc = crc32c(view, crc)
    return crc
