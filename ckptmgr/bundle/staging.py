"""Copies of tensors that a background save writes while the training changes the originals.

The copies stand in one buffer in the layout of the files, so that they go to disk as they are. The
buffer is page-aligned, for writing past the system's cache, and is kept from save to save: memory
that was touched before takes a copy four times as fast as new memory. Tensors that cannot change
are not copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.layout import BundleLayout, Placement, ShardLayout
from ckptmgr.bundle.write_engine import Pieces, copy_bytes, for_each_chunk

#: The start of each shard in the buffer; the size of a page, and of what O_DIRECT asks at most.
_SHARD_ALIGNMENT_BYTES = 4096


class StagingBuffer:
    """Memory for one copy of a state, reused by the next."""

    def __init__(self) -> None:
        self._memory = memoryview(b"")

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
            for index, placed in enumerate(shard.placements)
            if not isinstance(placed.source, bytes) and is_immutable(placed.source)
        )
        texts = sum(isinstance(placed.source, bytes) for placed in shard.placements)
        if kept and len(kept) + texts == len(shard.placements):
            return shard  # none of it can change
        image = self._memory[start : start + _padded(shard.size_bytes)]
        _copy_pieces(Pieces(shard, skip=kept), image, is_whole=not kept)
        if not kept:
            return replace(shard, image=image)
        placements = [
            placed if index in kept else _moved(placed, image)
            for index, placed in enumerate(shard.placements)
        ]
        return replace(shard, placements=tuple(placements))

    def _reserve(self, size_bytes: int) -> None:
        if size_bytes <= len(self._memory):
            return
        memory = mmap.mmap(-1, size_bytes)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            # Touching new memory costs a fault per page: 512 times fewer with pages of 2 MB.
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._memory = memoryview(memory)


def _moved(placed: Placement, image: memoryview) -> Placement:
    """A placement whose bytes are taken from the image."""
    if isinstance(placed.source, bytes):
        return placed
    view = image[placed.offset : placed.offset + placed.size_bytes]
    return placed._replace(source=np.frombuffer(view, np.uint8))


def _copy_pieces(pieces: Pieces, image: memoryview, *, is_whole: bool) -> None:
    """Copy tensors to where they stand in the file; zeros between them, if the rest counts too."""

    def copy_chunk(chunk: int) -> None:
        position, end = pieces.bounds(chunk)
        for _, _, offset, view in pieces.of_chunk(chunk):
            if is_whole and offset != position:
                image[position:offset] = bytes(offset - position)
            position = offset + len(view)
            copy_bytes(image[offset:position], view)
        if is_whole:
            image[position:end] = bytes(end - position)

    for_each_chunk(pieces.num_chunks, lambda: copy_chunk)
    if is_whole:
        _, end = pieces.bounds(pieces.num_chunks - 1) if pieces.num_chunks else (0, 0)
        image[end:] = bytes(len(image) - end)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _SHARD_ALIGNMENT_BYTES) * _SHARD_ALIGNMENT_BYTES
