"""Moving a shard's tensors into its file at the speed of the device.

The file is cut into chunks of equal size. Threads take one chunk after the other: they bring its
tensors together, take their checksums while the bytes are in the processor's cache, and write it
with one call. All three run in C without the GIL, so a few threads keep the device and the memory
busy at once; Python's share is a few microseconds per tensor.

Past the system's cache (`WritableFile.bypass_cache`) memory, offsets and lengths must be aligned,
so tensors are copied into an aligned buffer; that saves the kernel its own copy and is the fastest
way to stable storage. Otherwise, and where the file stands in memory as a whole (`staging`), the
chunk is written from where it is. In all cases no more than `THREADS` chunks are in memory besides
the tensors, however large the save; of chunks of many small tensors, which are joined first, that
is two in each of fewer threads.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.layout import ShardLayout
from ckptmgr.formats.crc32c import combine, crc32c, mask_all
from ckptmgr.storage.protocol import WritableFile
from ckptmgr.threads import Worker

#: Large enough that a call to the device costs nothing beside its bytes, small enough that a chunk
#: is still in cache between its checksum and its write. A multiple of every alignment.
CHUNK_BYTES = 4 << 20

#: Two keep a device busy while two others copy and take checksums.
THREADS = 4

# Of chunks with so many tensors each, Python's share is most of the work, and of more threads than
# one at it and one at the device the others only wait.
_MANY_TENSORS = CHUNK_BYTES // (16 << 10)
_THREADS_FOR_MANY = 2

#: Below this, opening the device's direct path and starting threads cost more than they gain.
SMALL_BYTES = 4 * CHUNK_BYTES

# Tensors up to this size are brought together before they are copied or written, if there are so
# many in a row: joining them takes a tenth of handling each by itself, and another copy.
_NEIGHBOUR_BYTES = 16 << 10
_FEWEST_NEIGHBOURS = 8

# np.copyto lets other threads run and costs a microsecond more than a slice assignment.
_COPY_WITHOUT_GIL_BYTES = 256 << 10


class WriteObserver:
    """Told how a shard is written, from whichever thread; does nothing by itself."""

    def wrote(self, size_bytes: int) -> None:
        """So many bytes more were handed to the storage."""

    def bypasses_cache(self) -> None:
        """What follows goes past the system's cache."""


def write_shard(
    file: WritableFile, shard: ShardLayout, *, durable: bool, observer: WriteObserver | None = None
) -> Array:
    """Write the tensors of a shard into its empty file; returns their masked checksums, uint32."""
    observer = observer or WriteObserver()
    alignment = file.bypass_cache() if durable and shard.size_bytes >= SMALL_BYTES else 1
    if alignment > 1:
        observer.bypasses_cache()
    writer = _ShardWriter(file, shard, alignment, observer)
    num_chunks = writer.pieces.num_chunks
    num_threads = _THREADS_FOR_MANY if len(shard) > _MANY_TENSORS * num_chunks else THREADS
    for_each_chunk(num_chunks, writer.new_worker, num_threads)
    if shard.size_bytes % alignment:
        file.truncate(shard.size_bytes)  # the last chunk was written up to the alignment
    return writer.checksums.masked()


class _ShardWriter:
    """Three ways of writing a chunk; their loops run once per tensor, of which there are many."""

    def __init__(
        self, file: WritableFile, shard: ShardLayout, alignment: int, observer: WriteObserver
    ) -> None:
        self.pieces = Pieces(shard)
        self.checksums = _Checksums(shard)
        self._file = file
        self._image = shard.image
        self._alignment = alignment
        self._observer = observer

    def new_worker(self) -> Callable[[int], None]:
        """What one thread does with each chunk that it takes."""
        write: Callable[[int], None] = self._write_from_tensors
        if self._image is not None:
            write = partial(self._write_image, self._image)
        elif self._alignment > 1:
            write = partial(self._write_aligned, memoryview(mmap.mmap(-1, CHUNK_BYTES)))

        def write_and_tell(chunk: int) -> None:
            write(chunk)
            start, end = self.pieces.bounds(chunk)
            self._observer.wrote(end - start)

        return write_and_tell

    def _write_image(self, image: memoryview, chunk: int) -> None:
        chunk_start, chunk_end = self.pieces.bounds(chunk)
        for piece in self.pieces.of_chunk(chunk):
            self.checksums.add(piece, piece.view)
        self._file.write([image[chunk_start : self._aligned(chunk_end)]], chunk_start)

    def _write_from_tensors(self, chunk: int) -> None:
        chunk_start, chunk_end = self.pieces.bounds(chunk)
        buffers: list[bytes | memoryview] = []
        position = chunk_start
        for piece in self.pieces.of_chunk(chunk):
            view = piece.view
            if piece.offset != position:
                buffers.append(bytes(piece.offset - position))
            self.checksums.add(piece, view)
            buffers.append(view)
            position = piece.offset + len(view)
        if position != chunk_end:
            buffers.append(bytes(chunk_end - position))
        self._file.write(buffers, chunk_start)

    def _write_aligned(self, buffer: memoryview, chunk: int) -> None:
        chunk_start, chunk_end = self.pieces.bounds(chunk)
        position = 0
        for piece in self.pieces.of_chunk(chunk):
            at = piece.offset - chunk_start
            if at != position:
                buffer[position:at] = bytes(at - position)
            position = at + len(piece.view)
            copy = buffer[at:position]
            copy_bytes(copy, piece.view)
            # Of the copy: a tensor that changes while it is saved is still stored as it is summed.
            self.checksums.add(piece, copy)
        length = self._aligned(chunk_end - chunk_start)
        buffer[position:length] = bytes(length - position)
        self._file.write([buffer[:length]], chunk_start)

    def _aligned(self, size_bytes: int) -> int:
        return -(-size_bytes // self._alignment) * self._alignment


def for_each_chunk(
    num_chunks: int, make_worker: Callable[[], Callable[[int], None]], num_threads: int = THREADS
) -> None:
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

    _do_at_once(work, num_threads, stop=failures.append)
    if failures:
        raise failures[0]


def _do_at_once(
    work: Callable[[], None], num_threads: int, stop: Callable[[BaseException], None]
) -> None:
    """Do something here and in other threads; also when interrupted, none goes on behind it.

    Args:
        stop: Has the threads end soon; called with what a signal's handler raised here.
    """
    workers = [Worker(work, "ckptmgr-io") for _ in range(num_threads - 1)]
    try:
        for worker in workers:
            worker.start()
        work()
        for worker in workers:
            worker.end()
    except BaseException as error:
        stop(error)
        # The caller is about to close the file, or has its memory back: nobody may be at it then.
        for worker in workers:
            worker.end()
        raise


def copy_bytes(target: memoryview, source: memoryview) -> None:
    """Copy memory; other threads run meanwhile if it is more than a little."""
    if len(source) < _COPY_WITHOUT_GIL_BYTES:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))


class Piece(NamedTuple):
    """Bytes that stand together in a chunk: small tensors, or one or a part of one."""

    #: The tensors, by their indexes in the shard.
    first: int
    end: int
    #: Where it begins in its tensor, if that is one, and in the file.
    start: int
    offset: int
    view: memoryview


class Pieces:
    """Which parts of which tensors lie in each chunk of a shard.

    Args:
        skip: Tensors to leave out; then each of the others comes by itself. None: small neighbours
            come together, with zeros between them.
    """

    def __init__(self, shard: ShardLayout, skip: frozenset[int] | None = None) -> None:
        self._shard = shard
        self._skip = skip or frozenset()
        self._offsets: list[int] = shard.offsets.tolist()
        self._ends: list[int] = (shard.offsets + shard.sizes_bytes).tolist()
        # Arrays of the other forms must be looked at one by one.
        self._joins = all(form.is_stored_as_held for form in shard.forms)
        self._group_ends = None if skip is not None else _ends_of_groups(shard.sizes_bytes)
        self._divided: dict[int, memoryview] = {}
        self._making = threading.Lock()
        self.num_chunks = -(-shard.size_bytes // CHUNK_BYTES)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Where a chunk begins and ends in the file."""
        start = chunk * CHUNK_BYTES
        return start, min(start + CHUNK_BYTES, self._shard.size_bytes)

    def of_chunk(self, chunk: int) -> Iterator[Piece]:
        """The pieces in a chunk, in the order of the file; empty tensors have none."""
        chunk_start, chunk_end = self.bounds(chunk)
        offsets, ends, group_ends = self._offsets, self._ends, self._group_ends
        skip, image = self._skip, self._shard.image
        # From the first tensor that ends behind the start of the chunk to the first that begins
        # behind its end.
        index = bisect_right(ends, chunk_start)
        last = bisect_left(offsets, chunk_end, index)
        whole_end = last - (index < last and ends[last - 1] > chunk_end)
        while index < last:
            offset, end = offsets[index], ends[index]
            if group_ends is not None and offset >= chunk_start:
                group_end = min(group_ends[index], whole_end)
                if group_end - index >= _FEWEST_NEIGHBOURS:
                    yield Piece(index, group_end, 0, offset, self._group(index, group_end))
                    index = group_end
                    continue
            if end > offset and index not in skip:
                start = max(offset, chunk_start)
                if image is not None:
                    view = image[start : min(end, chunk_end)]
                elif offset >= chunk_start and end <= chunk_end:
                    view = self._shard.payload(index)
                else:
                    view = self._view_of_divided(index)[start - offset : chunk_end - offset]
                yield Piece(index, index + 1, start - offset, start, view)
            index += 1

    def _group(self, first: int, end: int) -> memoryview:
        """The bytes of small neighbours as they stand in the file."""
        shard = self._shard
        if shard.image is not None:
            return shard.image[self._offsets[first] : self._ends[end - 1]]
        gaps = shard.offsets[first + 1 : end] - shard.offsets[first : end - 1]
        gaps -= shard.sizes_bytes[first : end - 1]
        if self._joins:
            with suppress(TypeError):  # one of them is not contiguous
                return _joined(shard.sources[first:end], gaps)
        return _joined([shard.payload(index) for index in range(first, end)], gaps)

    def _view_of_divided(self, index: int) -> memoryview:
        """The bytes of a tensor in several chunks; one that is not contiguous is copied once."""
        with self._making:
            view = self._divided.get(index)
            if view is None:
                # Chunks are taken in order: what lies before this one is written or has its view.
                for other in [other for other in self._divided if other < index]:
                    del self._divided[other]
                view = self._divided[index] = self._shard.payload(index)
        return view


def _ends_of_groups(sizes_bytes: Array) -> list[int]:
    """For each tensor where the small ones that it begins end; that is itself if it is large."""
    large = np.flatnonzero(sizes_bytes > _NEIGHBOUR_BYTES)
    bounds = np.append(large, len(sizes_bytes))
    ends: list[int] = bounds[np.searchsorted(large, np.arange(len(sizes_bytes)))].tolist()
    return ends


def _joined(sources: Sequence[Any], gaps: Array) -> memoryview:
    """The bytes of sources with so many zeros between them; TypeError if one is not contiguous."""
    if not gaps.any():
        return memoryview(b"".join(sources))
    parts: list[Any] = [b""] * (2 * len(sources) - 1)
    parts[::2] = sources
    parts[1::2] = map(bytes, gaps.tolist())
    return memoryview(b"".join(parts))


class _Checksums:
    """The checksums of tensors whose parts are summed in any order, by several threads."""

    def __init__(self, shard: ShardLayout) -> None:
        self._shard = shard
        self._whole = [0] * len(shard)
        self._parts: dict[int, list[tuple[int, int, int]]] = {}
        self._adding = threading.Lock()

    def add(self, piece: Piece, content: memoryview) -> None:
        """Take the checksums of a piece from its bytes, or from a copy of them."""
        first, end, start, offset, _ = piece
        if end - first > 1:
            starts = self._shard.offsets[first:end] - offset
            ends = starts + self._shard.sizes_bytes[first:end]
            bounds = zip(starts.tolist(), ends.tolist(), strict=True)
            self._whole[first:end] = [crc32c(content[low:high]) for low, high in bounds]
        elif len(content) == self._shard.sizes_bytes[first]:
            self._whole[first] = crc32c(content)
        else:
            part = start, len(content), crc32c(content)
            with self._adding:
                self._parts.setdefault(first, []).append(part)

    def masked(self) -> Array:
        """One uint32 for each tensor, once all of its parts are in."""
        for index, parts in self._parts.items():
            for _, size_bytes, crc in sorted(parts):
                self._whole[index] = combine(self._whole[index], crc, size_bytes)
        found = mask_all(np.array(self._whole, np.uint32))
        # The checksum of strings is not that of their bytes; the layout has it already.
        for index, crc in self._shard.text_checksums.items():
            found[index] = crc
        return found
