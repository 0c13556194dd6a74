"""Moving a shard's tensors into its file at the speed of the device.

The file is cut into chunks of equal size. Threads take one chunk after the other: they bring its
tensors together, take their checksums while the bytes are in the processor's cache, and write it
with one call. All three run in C without the GIL, so a few threads keep the device and the memory
busy at once; Python's share is a few microseconds per tensor.

Past the system's cache (`WritableFile.bypass_cache`) memory, offsets and lengths must be aligned,
so tensors are copied into an aligned buffer; that saves the kernel its own copy and is the fastest
way to stable storage. Otherwise the chunk is written straight from the tensors. In both cases no
more than `THREADS` chunks are in memory besides the tensors, however large the save.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ckptmgr.bundle.layout import Placement, ShardLayout
from ckptmgr.formats.crc32c import combine, crc32c, mask
from ckptmgr.storage.protocol import WritableFile

#: Large enough that a call to the device costs nothing beside its bytes, small enough that a chunk
#: is still in cache between its checksum and its write. A multiple of every alignment.
CHUNK_BYTES = 4 << 20

#: Two keep a device busy while two others copy and take checksums.
THREADS = 4

#: Below this, opening the device's direct path and starting threads cost more than they gain.
SMALL_BYTES = 4 * CHUNK_BYTES

# np.copyto lets other threads run and costs a microsecond more than a slice assignment.
_COPY_WITHOUT_GIL_BYTES = 256 << 10


class _Piece(NamedTuple):
    """Part of a tensor that lies in one chunk."""

    placement: int
    #: Where it begins in the tensor, and in the file.
    start: int
    offset: int
    size_bytes: int


def write_shard(file: WritableFile, shard: ShardLayout, *, durable: bool) -> list[int]:
    """Write the tensors of a shard into its empty file; returns each one's masked checksum."""
    alignment = file.bypass_cache() if durable and shard.size_bytes >= SMALL_BYTES else 1
    checksums = _Checksums(shard.placements)
    pieces = _Pieces(shard)

    def write_unaligned(chunk: int) -> None:
        start, end = pieces.bounds(chunk)
        buffers: list[bytes | memoryview] = []
        position = start
        for piece in pieces.of_chunk(chunk):
            if piece.offset > position:
                buffers.append(bytes(piece.offset - position))
            view = pieces.view(piece)
            checksums.add(piece, crc32c(view))
            buffers.append(view)
            position = piece.offset + piece.size_bytes
        if end > position:
            buffers.append(bytes(end - position))
        file.write(buffers, start)

    def write_aligned(chunk: int, buffer: memoryview) -> None:
        start, end = pieces.bounds(chunk)
        position = 0
        for piece in pieces.of_chunk(chunk):
            at = piece.offset - start
            buffer[position:at] = bytes(at - position)
            position = at + piece.size_bytes
            part = buffer[at:position]
            _copy(part, pieces.view(piece))
            # Of the copy: a tensor that changes while it is saved is still stored as it is summed.
            checksums.add(piece, crc32c(part))
        length = -(-(end - start) // alignment) * alignment
        buffer[position:length] = bytes(length - position)
        file.write([buffer[:length]], start)

    def aligned_worker() -> Callable[[int], None]:
        buffer = memoryview(mmap.mmap(-1, CHUNK_BYTES))  # page-aligned
        return lambda chunk: write_aligned(chunk, buffer)

    make_worker = (lambda: write_unaligned) if alignment == 1 else aligned_worker
    for_each_chunk(pieces.num_chunks, make_worker)
    if shard.size_bytes % alignment:
        file.truncate(shard.size_bytes)  # the last chunk was written up to the alignment
    return checksums.masked()


def for_each_chunk(num_chunks: int, make_worker: Callable[[], Callable[[int], None]]) -> None:
    """Let a few threads take the chunks in order; raises what the first one that failed raised.

    Args:
        make_worker: Called once in each thread; returns what handles a chunk.
    """
    if num_chunks <= SMALL_BYTES // CHUNK_BYTES:
        worker = make_worker()
        for chunk in range(num_chunks):
            worker(chunk)
        return
    chunks = iter(range(num_chunks))
    taking = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            worker = make_worker()
            while not failures:
                with taking:
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                worker(chunk)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=work, name="ckptmgr-io") for _ in range(THREADS - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _copy(target: memoryview, source: memoryview) -> None:
    if len(source) < _COPY_WITHOUT_GIL_BYTES:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))


class _Pieces:
    """Which parts of which tensors lie in each chunk."""

    def __init__(self, shard: ShardLayout) -> None:
        self._placements = shard.placements
        self._size_bytes = shard.size_bytes
        self._ends = [placement.offset + placement.size_bytes for placement in shard.placements]
        self._views: dict[int, memoryview] = {}
        self._making = threading.Lock()
        self.num_chunks = -(-shard.size_bytes // CHUNK_BYTES)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Where a chunk begins and ends in the file."""
        start = chunk * CHUNK_BYTES
        return start, min(start + CHUNK_BYTES, self._size_bytes)

    def of_chunk(self, chunk: int) -> list[_Piece]:
        """The pieces in a chunk, in the order of the file; tensors without bytes are in none."""
        chunk_start, chunk_end = self.bounds(chunk)
        found = []
        # The first tensor that ends behind the start of the chunk.
        for index in range(bisect_right(self._ends, chunk_start), len(self._placements)):
            offset = self._placements[index].offset
            if offset >= chunk_end:
                break
            start = max(offset, chunk_start)
            size_bytes = min(self._ends[index], chunk_end) - start
            if size_bytes > 0:
                found.append(_Piece(index, start - offset, start, size_bytes))
        return found

    def view(self, piece: _Piece) -> memoryview:
        """The bytes of a piece."""
        placement = self._placements[piece.placement]
        if piece.size_bytes == placement.size_bytes:
            return placement.payload()
        with self._making:  # a tensor that is not contiguous is copied once, not for each chunk
            view = self._views.get(piece.placement)
            if view is None:
                view = self._views[piece.placement] = placement.payload()
            end = piece.start + piece.size_bytes
            if end == placement.size_bytes:
                # Later chunks have been taken already or do not need it; let a copy go.
                del self._views[piece.placement]
        return view[piece.start : end]


class _Checksums:
    """The checksums of tensors whose parts are summed in any order, by several threads."""

    def __init__(self, placements: tuple[Placement, ...]) -> None:
        self._placements = placements
        self._whole: list[int] = [0] * len(placements)
        self._parts: dict[int, list[tuple[int, int, int]]] = {}
        self._adding = threading.Lock()

    def add(self, piece: _Piece, crc: int) -> None:
        index = piece.placement
        if piece.size_bytes == self._placements[index].size_bytes:
            self._whole[index] = crc
            return
        with self._adding:
            self._parts.setdefault(index, []).append((piece.start, piece.size_bytes, crc))

    def masked(self) -> list[int]:
        """One for each tensor, once all of its parts are in."""
        for index, parts in self._parts.items():
            for _, size_bytes, crc in sorted(parts):
                self._whole[index] = combine(self._whole[index], crc, size_bytes)
        pairs = zip(self._placements, self._whole, strict=True)
        # The checksum of strings is not that of their bytes; the layout has it already.
        return [mask(crc) if placed.crc32c is None else placed.crc32c for placed, crc in pairs]
