"""Bringing the bytes of tensors into memory at the speed of the disk, their checksums verified.

Large tensors are cut into chunks, which a few threads read straight to where the tensor will stand.
Each takes a chunk's checksum while the bytes are in the processor's cache; those of one tensor are
combined. Reading and summing run in C without the GIL, so that they keep memory and disk busy.

Of small tensors, neighbours are read together, one call for a block of them, and cut out of it:
a call for each would take longer than its bytes.

Files are read through the system's cache: with several reads of this size under way at a time that
was as fast as reading past it, and needs neither aligned memory nor a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.write_engine import for_each_chunk
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import combine, crc32c, mask
from ckptmgr.storage.protocol import ReadableFile

#: One page of the largest kind that systems commonly use, and still in cache for its checksum.
#: A power of two: the checksum of what such a chunk is appended to takes one step to combine.
CHUNK_BYTES = 2 << 20

# For bytes that are read only for their checksum: small enough for the nearest large cache.
_SCRATCH_BYTES = 512 << 10

#: Tensors up to this size are read with their neighbours.
SMALL_BYTES = 16 << 10

#: What small tensors are read in, and what one of them alone may keep in memory.
BLOCK_BYTES = 4 << 20

# What may lie between two tensors of a block: padding, or a tensor that was not asked for.
_MAX_GAP_BYTES = 4 << 10

# As the writer aligns tensors in the file, so that they stand aligned in a block too.
_BLOCK_ALIGNMENT_BYTES = 64


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
    """Part of a run that one call reads."""

    run: int
    number: int
    start: int
    size_bytes: int


def fill(runs: Sequence[Run]) -> None:
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
                run = runs[piece.run]
                offset = run.offset + piece.start
                if run.target is None:
                    crc = _checksum(run, offset, piece.size_bytes, scratch)
                else:
                    view = run.target[piece.start : piece.start + piece.size_bytes]
                    read_exactly(run.file, view, offset, run.tensor)
                    crc = crc32c(view)
                checksums[piece.run][piece.number] = crc

        return work

    for_each_chunk(len(tasks), make_worker)
    for run, parts in zip(runs, checksums, strict=True):
        crc = parts[0] if parts else 0
        for part in parts[1:]:
            crc = combine(crc, part, CHUNK_BYTES)
        if mask(crc) != run.crc32c:
            raise checksum_mismatch(run.file.path, run.tensor, run.crc32c, crc)


def neighbours(small: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut small tensors, in the order of their offsets in one file, into groups for a block each.

    Tensors whose bytes overlap come in different blocks, so that none shows a change of another.
    """
    first = start = end = 0
    for index, (_, (_, _, _, offset, size_bytes, _, _)) in enumerate(small):
        is_near = end <= offset <= end + _MAX_GAP_BYTES
        if not is_near or offset + size_bytes - start > BLOCK_BYTES:
            if index > first:
                yield small[first:index]
            first, start = index, offset
        end = offset + size_bytes
    if first < len(small):
        yield small[first:]


def read_block(file: ReadableFile, members: Sequence[Item]) -> tuple[Array, int]:
    """Read one group of neighbours; returns their memory, verified, and its offset in the file.

    Raises:
        ChecksumMismatch, TruncatedFile, StorageError: Naming file and tensor.
    """
    start, last = members[0][1].offset, members[-1][1]
    memory = _aligned_like_file(start, last.offset + last.size_bytes - start)
    data = memory.data
    read_exactly(file, data, start, members[0][0])
    sums = [
        crc32c(data[offset - start : offset - start + size_bytes])
        for _, (_, _, _, offset, size_bytes, _, _) in members
    ]
    for (tensor, entry), crc, masked in zip(members, sums, map(mask, sums), strict=True):
        if masked != entry.crc32c:
            raise checksum_mismatch(file.path, tensor, entry.crc32c, crc)
    return memory, start


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


def _checksum(run: Run, offset: int, size_bytes: int, scratch: memoryview) -> int:
    """The checksum of a part of a run, of which nothing is kept."""
    crc = 0
    for start in range(0, size_bytes, len(scratch)):
        view = scratch[: size_bytes - start]
        read_exactly(run.file, view, offset + start, run.tensor)
        crc = crc32c(view, crc)
    return crc


def _aligned_like_file(offset: int, size_bytes: int) -> Array:
    """Memory whose address is aligned as the offset is."""
    memory = np.empty(size_bytes + _BLOCK_ALIGNMENT_BYTES, np.uint8)
    skipped = (offset - memory.ctypes.data) % _BLOCK_ALIGNMENT_BYTES
    return memory[skipped : skipped + size_bytes]
