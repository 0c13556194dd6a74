"""Moving a shard's tensors into its file at the speed of the device.

The file is cut into chunks of equal size. Threads take one chunk after the other: they bring its
tensors together, take their checksums while the bytes are in the processor's cache, and write it
with one call. All three run in C without the GIL, so a few threads keep the device and the memory
busy at once; Python's share is a few microseconds per tensor.

Past the system's cache (`WritableFile.bypass_cache`) memory, offsets and lengths must be aligned,
so tensors are copied into an aligned buffer; that saves the kernel its own copy and is the fastest
way to stable storage. Otherwise, and where the file stands in memory as a whole (`staging`), the
chunk is written from where it is. In all cases no more than `THREADS` chunks are in memory besides
the tensors, however large the save.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import partial

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


class WriteObserver:
    """Told how a shard is written, from whichever thread; does nothing by itself."""

    def wrote(self, size_bytes: int) -> None:
        """So many bytes more were handed to the storage."""

    def bypasses_cache(self) -> None:
        """What follows goes past the system's cache."""


def write_shard(
    file: WritableFile, shard: ShardLayout, *, durable: bool, observer: WriteObserver | None = None
) -> list[int]:
    """Write the tensors of a shard into its empty file; returns each one's masked checksum."""
    observer = observer or WriteObserver()
    alignment = file.bypass_cache() if durable and shard.size_bytes >= SMALL_BYTES else 1
    if alignment > 1:
        observer.bypasses_cache()
    writer = _ShardWriter(file, shard, alignment, observer)
    for_each_chunk(writer.pieces.num_chunks, writer.new_worker)
    if shard.size_bytes % alignment:
        file.truncate(shard.size_bytes)  # the last chunk was written up to the alignment
    return writer.checksums.masked()


class _ShardWriter:
    """Three ways of writing a chunk; their loops run once per tensor, of which there are many."""

    def __init__(
        self, file: WritableFile, shard: ShardLayout, alignment: int, observer: WriteObserver
    ) -> None:
        self.pieces = Pieces(shard)
        self.checksums = _Checksums(shard.placements)
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
        for index, start, _, view in self.pieces.of_chunk(chunk):
            self.checksums.add(index, start, len(view), crc32c(view))
        self._file.write([image[chunk_start : self._aligned(chunk_end)]], chunk_start)

    def _write_from_tensors(self, chunk: int) -> None:
        chunk_start, chunk_end = self.pieces.bounds(chunk)
        buffers: list[bytes | memoryview] = []
        position = chunk_start
        for index, start, offset, view in self.pieces.of_chunk(chunk):
            if offset != position:
                buffers.append(bytes(offset - position))
            self.checksums.add(index, start, len(view), crc32c(view))
            buffers.append(view)
            position = offset + len(view)
        if position != chunk_end:
            buffers.append(bytes(chunk_end - position))
        self._file.write(buffers, chunk_start)

    def _write_aligned(self, buffer: memoryview, chunk: int) -> None:
        chunk_start, chunk_end = self.pieces.bounds(chunk)
        add = self.checksums.add
        position = 0
        for index, start, offset, view in self.pieces.of_chunk(chunk):
            at = offset - chunk_start
            if at != position:
                buffer[position:at] = bytes(at - position)
            size_bytes = len(view)
            position = at + size_bytes
            part = buffer[at:position]
            if size_bytes < _COPY_WITHOUT_GIL_BYTES:
                part[:] = view
            else:
                copy_bytes(part, view)
            # Of the copy: a tensor that changes while it is saved is still stored as it is summed.
            add(index, start, size_bytes, crc32c(part))
        length = self._aligned(chunk_end - chunk_start)
        buffer[position:length] = bytes(length - position)
        self._file.write([buffer[:length]], chunk_start)

    def _aligned(self, size_bytes: int) -> int:
        return -(-size_bytes // self._alignment) * self._alignment


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


def copy_bytes(target: memoryview, source: memoryview) -> None:
    """Copy memory; other threads run meanwhile if it is more than a little."""
    if len(source) < _COPY_WITHOUT_GIL_BYTES:
        target[:] = source
    else:
        np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8))


class Pieces:
    """Which parts of which tensors lie in each chunk of a shard; `skip` leaves tensors out."""

    def __init__(self, shard: ShardLayout, skip: frozenset[int] = frozenset()) -> None:
        self._placements = shard.placements
        self._image = shard.image
        self._skip = skip
        self._size_bytes = shard.size_bytes
        self._offsets = [placed.offset for placed in shard.placements]
        self._ends = [placed.offset + placed.size_bytes for placed in shard.placements]
        self._divided: dict[int, memoryview] = {}
        self._making = threading.Lock()
        self.num_chunks = -(-shard.size_bytes // CHUNK_BYTES)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Where a chunk begins and ends in the file."""
        start = chunk * CHUNK_BYTES
        return start, min(start + CHUNK_BYTES, self._size_bytes)

    def of_chunk(self, chunk: int) -> Iterator[tuple[int, int, int, memoryview]]:
        """The pieces in a chunk, in the order of the file; empty tensors have none.

        Yields:
            Index of the placement, where the piece begins in its tensor and in the file, its bytes.
        """
        chunk_start, chunk_end = self.bounds(chunk)
        placements, skip, image = self._placements, self._skip, self._image
        # From the first tensor that ends behind the start of the chunk to the first that begins
        # behind its end.
        first = bisect_right(self._ends, chunk_start)
        last = bisect_left(self._offsets, chunk_end, first)
        for index in range(first, last):
            placed = placements[index]
            offset, size_bytes = placed.offset, placed.size_bytes
            end = offset + size_bytes
            if not size_bytes or index in skip:
                continue
            if image is not None:
                start = max(offset, chunk_start)
                yield index, start - offset, start, image[start : min(end, chunk_end)]
            elif offset >= chunk_start and end <= chunk_end:
                yield index, 0, offset, placed.payload()
            else:
                start = max(offset, chunk_start)
                view = self._view_of_divided(index)[start - offset : min(end, chunk_end) - offset]
                yield index, start - offset, start, view

    def _view_of_divided(self, index: int) -> memoryview:
        """The bytes of a tensor in several chunks; one that is not contiguous is copied once."""
        with self._making:
            view = self._divided.get(index)
            if view is None:
                # Chunks are taken in order: what lies before this one is written or has its view.
                for other in [other for other in self._divided if other < index]:
                    del self._divided[other]
                view = self._divided[index] = self._placements[index].payload()
        return view


class _Checksums:
    """The checksums of tensors whose parts are summed in any order, by several threads."""

    def __init__(self, placements: tuple[Placement, ...]) -> None:
        self._placements = placements
        self._sizes_bytes = [placed.size_bytes for placed in placements]
        self._whole = [0] * len(placements)
        self._parts: dict[int, list[tuple[int, int, int]]] = {}
        self._adding = threading.Lock()

    def add(self, index: int, start: int, size_bytes: int, crc: int) -> None:
        if size_bytes == self._sizes_bytes[index]:
            self._whole[index] = crc
            return
        with self._adding:
            self._parts.setdefault(index, []).append((start, size_bytes, crc))

    def masked(self) -> list[int]:
        """One for each tensor, once all of its parts are in."""
        for index, parts in self._parts.items():
            for _, size_bytes, crc in sorted(parts):
                self._whole[index] = combine(self._whole[index], crc, size_bytes)
        pairs = zip(self._placements, self._whole, strict=True)
        # The checksum of strings is not that of their bytes; the layout has it already.
        return [mask(crc) if placed.crc32c is None else placed.crc32c for placed, crc in pairs]
