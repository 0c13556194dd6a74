"""What the machine can do at all with the bytes of a workload: no format, no checksum, no names."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from crc32c import crc32c

from benchmarks.workloads import Array

_Item = TypeVar("_Item")

# The fastest of those that were tried: 1, 2, 4 and 8 threads, 4 and 8 MB.
_THREADS = 2
_CHUNK_BYTES = 8 << 20
# Of those that were tried, 512 KB to 8 MB, none was faster for reading with checksums.
_CHECKED_BYTES = 2 << 20

_ALIGNMENT_BYTES = 4096
# The most buffers that Linux takes in one call (IOV_MAX).
_MAX_BUFFERS = 1024


class Limits:
    """Each measurement is a method without arguments that returns its seconds."""

    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._sources = list(tensors.values())
        self._targets = [np.zeros_like(array) for array in self._sources]
        for array in self._targets:
            array.fill(1)  # zeros has not touched the memory
        self._size_bytes = sum(array.nbytes for array in self._sources)

    def close(self) -> None:
        """It keeps nothing."""

    def measure(self, run: str) -> dict[str, float]:
        """All of them, in seconds; without those with O_DIRECT where the file system has none."""
        path = os.path.join(run, "limit")
        found = {"memcpy": _timed(self._copy)}
        found["buffered_write"], found["buffered_write_durable"] = self._write(path)
        found["cached_read"] = self._read(path)
        found["verified_read"] = self._read_verified(path)
        os.unlink(path)
        os.sync()
        try:
            found["direct_write"] = self._write_direct(path)
            found["direct_read"] = self._read_direct(path)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return found

    def commit_little(self, run: str, step: int) -> float:
        """The least a durable save of few bytes takes: write, sync, rename, sync the name."""
        began_secs = time.perf_counter()
        path = os.path.join(run, f"little-{step}")
        with open(path + ".tmp", "wb", buffering=0) as file:
            _write_all(file.fileno(), self._sources)
            os.fsync(file.fileno())
        os.rename(path + ".tmp", path)
        _sync_directory(run)
        return time.perf_counter() - began_secs

    def _copy(self) -> None:
        for target, source in zip(self._targets, self._sources, strict=True):
            np.copyto(target, source)

    def _write(self, path: str) -> tuple[float, float]:
        began_secs = time.perf_counter()
        with open(path, "wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, self._size_bytes)
            _write_all(file.fileno(), self._sources)
            written_secs = time.perf_counter() - began_secs
            os.fsync(file.fileno())
        _sync_directory(os.path.dirname(path))
        return written_secs, time.perf_counter() - began_secs

    def _read(self, path: str) -> float:
        began_secs = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            for array in self._targets:
                file.readinto(array.data.cast("B"))
        return time.perf_counter() - began_secs

    def _read_verified(self, path: str) -> float:
        """Into memory, with checksums: the least that a verified restore in place does."""
        views: list[tuple[memoryview, int]] = []
        offset = 0
        for array in self._targets:
            view = array.data.cast("B")
            for at in range(0, len(view), _CHECKED_BYTES):
                part = view[at : at + _CHECKED_BYTES]
                views.append((part, offset))
                offset += len(part)
        began_secs = time.perf_counter()
        descriptor = os.open(path, os.O_RDONLY)

        def transfer(item: tuple[memoryview, int]) -> None:
            part, at = item
            os.preadv(descriptor, [part], at)
            crc32c(part)

        try:
            _in_threads([transfer] * _THREADS, views)
        finally:
            os.close(descriptor)
        return time.perf_counter() - began_secs

    def _write_direct(self, path: str) -> float:
        buffers = _aligned_buffers()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_DIRECT
        began_secs = time.perf_counter()
        descriptor = os.open(path, flags, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            self._transfer(buffers, lambda part, at: os.pwrite(descriptor, part, at))
            os.ftruncate(descriptor, self._size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_directory(os.path.dirname(path))
        return time.perf_counter() - began_secs

    def _read_direct(self, path: str) -> float:
        buffers = _aligned_buffers()
        began_secs = time.perf_counter()
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            self._transfer(buffers, lambda part, at: os.preadv(descriptor, [part], at))
        finally:
            os.close(descriptor)
        return time.perf_counter() - began_secs

    def _transfer(
        self, buffers: Sequence[memoryview], move: Callable[[memoryview, int], int]
    ) -> None:
        """Move every chunk, in a thread for each buffer."""

        def through(buffer: memoryview) -> Callable[[tuple[int, int]], None]:
            def transfer(chunk: tuple[int, int]) -> None:
                move(buffer[: chunk[1]], chunk[0])

            return transfer

        _in_threads([through(buffer) for buffer in buffers], self._chunks())

    def _chunks(self) -> list[tuple[int, int]]:
        """Offset and length of each, the last one up to the alignment."""
        end = -(-self._size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        return [(at, min(_CHUNK_BYTES, end - at)) for at in range(0, end, _CHUNK_BYTES)]


def _timed(work: Callable[[], None]) -> float:
    began_secs = time.perf_counter()
    work()
    return time.perf_counter() - began_secs


def _aligned_buffers() -> list[memoryview]:
    buffers = [memoryview(mmap.mmap(-1, _CHUNK_BYTES)) for _ in range(_THREADS)]
    for buffer in buffers:
        buffer[:] = os.urandom(1 << 20) * (_CHUNK_BYTES >> 20)  # some devices know zeros
    return buffers


def _in_threads(transfers: Sequence[Callable[[_Item], None]], items: Iterable[_Item]) -> None:
    """Let each transfer take items in a thread of its own until there are no more."""
    waiting = iter(items)
    taking = threading.Lock()
    failures: list[OSError] = []

    def work(transfer: Callable[[_Item], None]) -> None:
        try:
            while not failures:
                with taking:
                    item = next(waiting, None)
                if item is None:
                    return
                transfer(item)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(transfer,)) for transfer in transfers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _write_all(descriptor: int, arrays: Sequence[Array]) -> None:
    offset = 0
    for start in range(0, len(arrays), _MAX_BUFFERS):
        views = [array.data.cast("B") for array in arrays[start : start + _MAX_BUFFERS]]
        while views:
            written = os.pwritev(descriptor, views, offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views:
                views[0] = views[0][written:]


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
