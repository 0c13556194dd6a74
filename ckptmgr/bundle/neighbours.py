"""Reading small tensors together with their neighbours in the file.

A call for each would take longer than its bytes, and so would an object for each: what is known of
them stays in columns (`bundle_entries`), one call reads a block of them, and arrays of one form at
equal distances are cut out of it together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.read_engine import ReadObserver, checksum_mismatch, read_exactly
from ckptmgr.formats.bundle_entries import EntryColumns
from ckptmgr.formats.crc32c import crc32c, mask_all
from ckptmgr.storage.protocol import ReadableFile

#: Tensors up to this size are read with their neighbours.
SMALL_BYTES = 16 << 10

#: What small tensors are read in, and about what one of them alone may keep in memory.
BLOCK_BYTES = 4 << 20

# Fewer neighbours are read as fast one by one, and keep no memory but their own.
_FEWEST_NEIGHBOURS = 16

# What may lie between two tensors of a block: padding, or a tensor that was not asked for.
_MAX_GAP_BYTES = 4 << 10

# As the writer aligns tensors in the file, so that they stand aligned in a block too.
_BLOCK_ALIGNMENT_BYTES = 64

# Fewer arrays are cut out as fast one by one.
_FEWEST_ALIKE = 8


class Rows(NamedTuple):
    """Numeric tensors that have bytes of their own."""

    names: list[str]
    columns: EntryColumns

    def take(self, rows: Array) -> Rows:
        return Rows([self.names[row] for row in rows.tolist()], self.columns.take(rows))


class Block(NamedTuple):
    """Neighbours, in the order of the file, and their bytes, verified."""

    rows: Rows
    memory: Array
    #: Where each begins in memory, int64.
    starts: Array


def group(rows: Rows) -> tuple[list[Rows], Array]:
    """The small tensors that stand near one another, in groups for a block each.

    Tensors whose bytes overlap come in different groups, so that none shows a change of another.

    Returns:
        The groups, each in the order of its file, and the numbers of all other rows.
    """
    _, _, shard_ids, offsets, sizes_bytes, _ = rows.columns
    is_small = (sizes_bytes > 0) & (sizes_bytes <= SMALL_BYTES)
    small = np.flatnonzero(is_small)
    if len(small) < _FEWEST_NEIGHBOURS:
        return [], np.arange(len(rows.names))
    small = small[np.lexsort((offsets[small], shard_ids[small]))]
    starts, shards = offsets[small], shard_ids[small]
    gaps = starts[1:] - (starts + sizes_bytes[small])[:-1]
    is_near = (shards[1:] == shards[:-1]) & (gaps >= 0) & (gaps <= _MAX_GAP_BYTES)
    # A block is cut where its tensors begin in another stretch of the file.
    is_near &= starts[1:] // BLOCK_BYTES == starts[:-1] // BLOCK_BYTES
    groups = []
    others = [np.flatnonzero(~is_small)]
    for members in np.split(small, np.flatnonzero(~is_near) + 1):
        if len(members) < _FEWEST_NEIGHBOURS:
            others.append(members)
        else:
            groups.append(rows.take(members))
    return groups, np.concatenate(others)


def read_block(file: ReadableFile, rows: Rows, observer: ReadObserver | None) -> Block:
    """Read one group of neighbours, all of which lie in the file.

    Raises:
        ChecksumMismatch, TruncatedFile, StorageError: Naming file and tensor.
    """
    _, _, _, offsets, sizes_bytes, checksums = rows.columns
    start = int(offsets[0])
    memory = _aligned_like_file(start, int(offsets[-1] + sizes_bytes[-1]) - start)
    data = memory.data
    read_exactly(file, data, start, rows.names[0])
    starts = offsets - start
    bounds = zip(starts.tolist(), (starts + sizes_bytes).tolist(), strict=True)
    crcs = [crc32c(data[low:high]) for low, high in bounds]
    different = np.flatnonzero(mask_all(np.array(crcs, np.uint32)) != checksums)
    if len(different):
        row = int(different[0])
        raise checksum_mismatch(file.path, rows.names[row], int(checksums[row]), crcs[row])
    if observer is not None:
        observer.read(int(sizes_bytes.sum()))
    return Block(rows, memory, starts)


def cut(block: Block, dtypes: list[np.dtype[Any]]) -> list[Array]:
    """The arrays of a block, aligned for their dtype; they may share its memory.

    Args:
        dtypes: What holds each of the columns' forms.
    """
    columns = block.rows.columns
    form_of, offsets, starts = columns.form_of, columns.offsets, block.starts
    found: list[Array] = []
    # Runs of one form at equal distances.
    distances = np.diff(starts)
    is_border = form_of[1:] != form_of[:-1]
    is_border[1:] |= distances[1:] != distances[:-1]
    for run in np.split(np.arange(len(starts)), np.flatnonzero(is_border) + 1):
        form = int(form_of[run[0]])
        shape, dtype = columns.forms[form][1], dtypes[form]
        distance = int(distances[run[0]]) if len(run) > 1 else 0
        # Memory is aligned as the file is.
        is_aligned = not (offsets[run[0]] | distance) % dtype.alignment
        if len(run) >= _FEWEST_ALIKE and is_aligned and shape:
            inner = np.ndarray(shape, dtype, block.memory).strides
            start = int(starts[run[0]])
            together = (len(run), *shape)
            found.extend(np.ndarray(together, dtype, block.memory, start, (distance, *inner)))
            continue
        for start, offset in zip(starts[run].tolist(), offsets[run].tolist(), strict=True):
            array: Array = np.ndarray(shape, dtype, block.memory, start)
            found.append(array.copy() if offset % dtype.alignment else array)
    return found


def _aligned_like_file(offset: int, size_bytes: int) -> Array:
    """Memory whose address is aligned as the offset is."""
    memory = np.empty(size_bytes + _BLOCK_ALIGNMENT_BYTES, np.uint8)
    skipped = (offset - memory.ctypes.data) % _BLOCK_ALIGNMENT_BYTES
    return memory[skipped : skipped + size_bytes]
