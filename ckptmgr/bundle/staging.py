"""Copies of tensors that a background save writes while the training changes the originals.

The copies stand in one buffer in the layout of the files, so that they go to disk as they are. The
buffer is page-aligned, for writing past the system's cache, and is kept from save to save: memory
that was touched before takes a copy four times as fast as new memory. Tensors that cannot change
are not copied.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.layout import BundleLayout, ShardLayout
from ckptmgr.bundle.write_engine import Pieces, copy_bytes, for_each_chunk

#: The start of each shard in the buffer; the size of a page, and of what O_DIRECT asks at most.
_SHARD_ALIGNMENT_BYTES = 4096

# Of the memory: touching it costs a fault per page, 512 times fewer with pages of 2 MB; and a fork,
# such as a worker that loads data, finds zeros there instead of keeping the copy that it saw (18 is
# MADV_WIPEONFORK of linux/mman.h, for which Python has no name).
_ADVICE = (mmap.MADV_HUGEPAGE, 18) if sys.platform == "linux" else ()


class StagingBuffer:
    """Memory for one copy of a state, reused by the next."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    @property
    def size_bytes(self) -> int:
        return len(self._memory)

    def copy(self, plan: BundleLayout, is_immutable: Callable[[Array], bool]) -> BundleLayout:
        """A plan for the same files whose tensors no longer change.

        The plan that was returned before must not be in use any more.
        """
        starts, size_bytes = [], 0
        for shard in plan.shards:
            starts.append(size_bytes)
            size_bytes += _padded(shard.size_bytes)
        self._reserve(size_bytes)
        shards = [
            self._copy_shard(shard, start, is_immutable)
            for shard, start in zip(plan.shards, starts, strict=True)
        ]
        return replace(plan, shards=tuple(shards))

    def _copy_shard(
        self, shard: ShardLayout, start: int, is_immutable: Callable[[Array], bool]
    ) -> ShardLayout:
        kept = frozenset(
            index
            for index, source in enumerate(shard.sources)
            if not isinstance(source, bytes) and is_immutable(source)
        )
        if kept and len(kept) + len(shard.text_checksums) == len(shard):
            return shard  # none of it can change
        image = self._memory[start : start + _padded(shard.size_bytes)]
        _copy_pieces(Pieces(shard, skip=kept or None), image, is_whole=not kept)
        if not kept:
            return replace(shard, image=image)
        sources = [
            source if index in kept or isinstance(source, bytes) else shard.in_image(index, image)
            for index, source in enumerate(shard.sources)
        ]
        return replace(shard, sources=sources)

    def _reserve(self, size_bytes: int) -> None:
        if size_bytes <= len(self._memory):
            return
        # Private: what mmap shares by default it shares with a fork, which may save as well.
        memory = mmap.mmap(-1, size_bytes, access=mmap.ACCESS_COPY)
        for advice in _ADVICE:
            with suppress(OSError):  # a kernel that does not know it; it only saves time or memory
                memory.madvise(advice)
        self._memory = memoryview(memory)


def _copy_pieces(pieces: Pieces, image: memoryview, *, is_whole: bool) -> None:
    """Copy tensors to where they stand in the file; zeros between them, if the rest counts too."""

    def copy_chunk(chunk: int) -> None:
        position, end = pieces.bounds(chunk)
        for piece in pieces.of_chunk(chunk):
            if is_whole and piece.offset != position:
                image[position : piece.offset] = bytes(piece.offset - position)
            position = piece.offset + len(piece.view)
            copy_bytes(image[piece.offset : position], piece.view)
        if is_whole:
            image[position:end] = bytes(end - position)

    for_each_chunk(pieces.num_chunks, lambda: copy_chunk)
    if is_whole:
        _, end = pieces.bounds(pieces.num_chunks - 1) if pieces.num_chunks else (0, 0)
        image[end:] = bytes(len(image) - end)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _SHARD_ALIGNMENT_BYTES) * _SHARD_ALIGNMENT_BYTES
