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
            size_bytes += -(-shard.size_bytes // _SHARD_ALIGNMENT_BYTES) * _SHARD_ALIGNMENT_BYTES
        self._reserve(size_bytes)
        shards = [
            self._copy_shard(shard, start, is_immutable)
            for shard, start in zip(plan.shards, starts, strict=True)
        ]
        return replace(plan, shards=tuple(shards))

    def _copy_shard(
        self, shard: ShardLayout, start: int, is_immutable: Callable[[Array], bool]
    ) -> ShardLayout:
        padded = -(-shard.size_bytes // _SHARD_ALIGNMENT_BYTES) * _SHARD_ALIGNMENT_BYTES
        image = self._memory[start : start + padded]
        kept = frozenset(
            index
            for index, placed in enumerate(shard.placements)
            if not isinstance(placed.source, bytes) and is_immutable(placed.source)
        )
        pieces = Pieces(shard, skip=kept)

        def copy_chunk(chunk: int) -> None:
            position, end = pieces.bounds(chunk)
            for _, _, offset, view in pieces.of_chunk(chunk):
                if offset != position:
                    image[position:offset] = bytes(offset - position)
                position = offset + len(view)
                copy_bytes(image[offset:position], view)
            image[position:end] = bytes(end - position)

        for_each_chunk(pieces.num_chunks, lambda: copy_chunk)
        image[shard.size_bytes :] = bytes(padded - shard.size_bytes)
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
