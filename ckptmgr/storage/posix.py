"""Files on a disk, through the system calls of Linux and macOS.

Each method is one system call, or one repeated until all bytes are moved: reads and writes go to C
as large vectors and run without the GIL, and Python does nothing per byte and little per buffer.
Python itself repeats a call that a signal interrupted (PEP 475).

Windows has neither positional vector I/O nor a way to sync a directory, so this storage refuses to
be made there instead of promising a durability that it cannot give.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Iterator, Sequence

from ckptmgr.errors import StorageError
from ckptmgr.storage import reclaiming
from ckptmgr.storage.buffers import as_bytes
from ckptmgr.storage.failures import reported, system_error
from ckptmgr.storage.lock import KernelLock
from ckptmgr.storage.preallocation import reserve
from ckptmgr.storage.protocol import Buffer, FileInfo, FileLock, ReadableFile, WritableFile

if sys.platform != "win32":
    import fcntl

#: Buffers in one pwritev: UIO_MAXIOV of linux/uio.h, IOV_MAX of macOS; more are refused.
MAX_CALL_BUFFERS = 1024

#: Bytes in one call. Linux moves at most 0x7ffff000 (read(2)), macOS refuses more than INT_MAX;
#: below both, a multiple of every block size, so that aligned buffers are cut at aligned places.
MAX_CALL_BYTES = 1 << 30

#: What O_DIRECT asks of addresses, offsets and lengths: the device's logical block size (open(2)).
#: No device in use has larger blocks than 4096 bytes, and smaller ones divide it.
DIRECT_ALIGNMENT_BYTES = 4096


class PosixStorage:
    """The local file system, and whatever is mounted into it."""

    def __init__(self) -> None:
        if not hasattr(os, "pwritev"):
            raise StorageError(errno.ENOTSUP, "PosixStorage needs pwritev; this platform has none")

    def create(self, path: str) -> WritableFile:
        """Open a new file for writing; `errors.FileExists` if the name is taken."""
        # Whoever has just deleted to make room for it finds that room.
        reclaiming.wait()
        with reported("create", path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return _PosixWritableFile(os.open(path, flags, 0o666), path)

    def open(self, path: str) -> ReadableFile:
        """Open a regular file for reading; anything else that has the name is refused."""
        with reported("open", path):
            # O_NONBLOCK: opening a pipe would wait for a writer; for a file it changes nothing.
            file = _PosixReadableFile(
                os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), path
            )
            try:
                file.measure()
            except OSError:
                file.close()
                raise
            return file

    def rename(self, source: str, target: str) -> None:
        """Atomically give `source` the name `target`, replacing what was there."""
        with reported(f"rename {source} to", target):
            os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """Give a file one more name; `errors.FileExists` if the name is taken."""
        with reported(f"link {source} to", target):
            # link(2) on Linux gives a symbolic link itself the name, and so not the file.
            os.link(os.path.realpath(source), target)

    def sync_file(self, path: str) -> None:
        """Return once the content of a finished file is on stable storage."""
        with reported("sync", path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                _flush(fd)
            finally:
                os.close(fd)

    def unlink(self, path: str) -> None:
        """Remove the name of a file; those who have it open keep its content."""
        with reported("remove", path):
            reclaiming.unlink(path)

    def make_dirs(self, path: str) -> list[str]:
        """Create the directory and its parents; returns those that were not there."""
        with reported("make directory", path):
            missing = []
            head = path
            while not _is_dir(head):
                missing.append(head)
                parent = os.path.dirname(head.rstrip("/")) or "."
                if parent == head:
                    break
                head = parent
            return [directory for directory in reversed(missing) if _make_dir(directory)]

    def sync_dir(self, path: str) -> None:
        """Return once the names in this directory are on stable storage."""
        with reported("sync directory", path):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _flush(fd)
            except OSError as error:
                # fsync(2): this file system does not sync directories (some network and FUSE
                # mounts). There is nothing else to call, and a checkpoint is better than none.
                if error.errno != errno.EINVAL:
                    raise
            finally:
                os.close(fd)

    def list_dir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        with reported("list", path):
            return sorted(os.listdir(path))

    def stat(self, path: str) -> FileInfo | None:
        """None when there is nothing of that name."""
        with reported("stat", path):
            try:
                found = os.lstat(path)
                is_link = stat.S_ISLNK(found.st_mode)
                if is_link:
                    found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return FileInfo(
            name=os.path.basename(os.path.normpath(path)),
            size_bytes=found.st_size,
            mtime_secs=found.st_mtime,
            is_dir=stat.S_ISDIR(found.st_mode),
            # The inode alone is not enough: it is given out again once its file is gone.
            identity=(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size),
            is_link=is_link,
        )

    def lock(self, path: str) -> FileLock:
        """A lock on the file `path`, which is created when it is not there."""
        return KernelLock(path)


class _PosixFile:
    """A descriptor and the path that messages name."""

    def __init__(self, fd: int, path: str) -> None:
        self._open_fd: int | None = fd
        self._path = path

    @property
    def _fd(self) -> int:
        if self._open_fd is None:
            raise system_error(errno.EBADF)
        return self._open_fd

    def close(self) -> None:
        """Give the file up; a second call does nothing."""
        # Forgotten first: the number is free for the next open, even when close reports an error.
        fd, self._open_fd = self._open_fd, None
        if fd is not None:
            with reported("close", self._path):
                os.close(fd)

    def __del__(self) -> None:
        # Readers of TensorFlow's kind are dropped, never closed: they must not run out of files.
        self.close()


class _PosixWritableFile(_PosixFile):
    def preallocate(self, size_bytes: int) -> None:
        """Reserve space for the final size, where the file system can."""
        with reported("reserve space for", self._path):
            reserve(self._fd, size_bytes)

    def bypass_cache(self) -> int:
        """Set O_DIRECT, where the system and the file system have it."""
        with reported("write past the cache to", self._path):
            return DIRECT_ALIGNMENT_BYTES if _set_direct(self._fd, on=True) else 1

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all bytes of `buffers`, one after the other, beginning at `offset`."""
        with reported("write", self._path):
            _check_offset(offset)
            for batch, size_bytes in _batches(buffers):
                _write_batch(self._fd, batch, size_bytes, offset)
                offset += size_bytes

    def truncate(self, size_bytes: int) -> None:
        """Make the file exactly this long, cutting it or adding zeros."""
        with reported("truncate", self._path):
            os.ftruncate(self._fd, size_bytes)

    def sync(self) -> None:
        """Return once the content is on stable storage."""
        with reported("sync", self._path):
            _flush(self._fd)


class _PosixReadableFile(_PosixFile):
    _size_bytes = 0

    def measure(self) -> None:
        """Take the size, and refuse what is not a regular file and so has none."""
        found = os.fstat(self._fd)
        if stat.S_ISDIR(found.st_mode):
            raise system_error(errno.EISDIR)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        self._size_bytes = found.st_size

    @property
    def path(self) -> str:
        """The path it was opened by."""
        return self._path

    @property
    def size_bytes(self) -> int:
        """The size when it was opened."""
        return self._size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Up to `size_bytes` bytes from `offset`; fewer only at the end of the file."""
        with reported("read", self._path):
            # pread allocates all that it is asked for, and a damaged index may ask for anything.
            offset = min(offset, self._size_bytes)
            wanted = min(size_bytes, self._size_bytes - offset)
            chunk = os.pread(self._fd, min(wanted, MAX_CALL_BYTES), offset)
            if len(chunk) == wanted:
                return chunk
            chunks = []
            while chunk:
                chunks.append(chunk)
                wanted -= len(chunk)
                offset += len(chunk)
                chunk = os.pread(self._fd, min(wanted, MAX_CALL_BYTES), offset)
            return b"".join(chunks)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer only at the end."""
        with reported("read", self._path):
            _check_offset(offset)
            offset = min(offset, self._size_bytes)
            view = as_bytes(buffer)[: self._size_bytes - offset]
            filled = 0
            while True:
                rest = view[filled : filled + MAX_CALL_BYTES]
                count = os.preadv(self._fd, [rest], offset + filled)
                filled += count
                if not count or filled == len(view):
                    return filled

    def map(self) -> memoryview:
        """All of the file as memory to be read, which outlives `close`."""
        with reported("map", self._path):
            fd = self._fd
            if not self._size_bytes:
                return memoryview(b"")  # mmap(2) refuses to map nothing
            return memoryview(mmap.mmap(fd, self._size_bytes, access=mmap.ACCESS_READ))


def _is_dir(path: str) -> bool:
    """Whether it is a directory; raises where os.path.isdir would hide why that is unknown."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _make_dir(path: str) -> bool:
    """Whether this call, and no other process, created the directory."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not _is_dir(path):
            raise OSError(errno.ENOTDIR, f"{path} is not a directory") from None
        return False
    return True


def _check_offset(offset: int) -> None:
    # To pwritev2 and preadv2, which Python calls where they exist, -1 is the current position.
    if offset < 0:
        raise system_error(errno.EINVAL)


def _batches(buffers: Sequence[Buffer]) -> Iterator[tuple[list[memoryview], int]]:
    """The bytes of `buffers`, in vectors that one system call takes, with their sizes."""
    batch: list[memoryview] = []
    size_bytes = 0
    for buffer in buffers:
        view = as_bytes(buffer)
        while view:
            piece = view[: MAX_CALL_BYTES - size_bytes]
            batch.append(piece)
            size_bytes += len(piece)
            view = view[len(piece) :]
            if size_bytes == MAX_CALL_BYTES or len(batch) == MAX_CALL_BUFFERS:
                yield batch, size_bytes
                batch, size_bytes = [], 0
    if batch:
        yield batch, size_bytes


def _write_batch(fd: int, batch: list[memoryview], size_bytes: int, offset: int) -> None:
    """One pwritev, and further ones for what a short write left over."""
    written = _write_once(fd, batch, offset)
    while written < size_bytes:
        # A full disk takes what fits and reports the error to the next call.
        size_bytes -= written
        offset += written
        batch = _after(batch, written)
        written = _write_once(fd, batch, offset)
        if not written:
            raise OSError(errno.EIO, "the system accepts no more bytes and gives no reason")


def _write_once(fd: int, batch: list[memoryview], offset: int) -> int:
    try:
        return os.pwritev(fd, batch, offset)
    except OSError as error:
        # A file system may accept O_DIRECT and then not this write: larger blocks, or what a short
        # write left over. The cache takes it.
        if error.errno != errno.EINVAL:
            raise
        _set_direct(fd, on=False)
        return os.pwritev(fd, batch, offset)


def _set_direct(fd: int, *, on: bool) -> bool:
    """Switch O_DIRECT; whether the file is as asked. macOS has no such flag."""
    if sys.platform != "linux":
        return not on
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        fcntl.fcntl(fd, fcntl.F_SETFL, wanted)
    except OSError as error:
        if error.errno != errno.EINVAL:  # fcntl(2): the file system has no direct access
            raise
        return False
    return True


def _after(batch: list[memoryview], written: int) -> list[memoryview]:
    """What is left of `batch` after its first `written` bytes."""
    for index, view in enumerate(batch):
        if written < len(view):
            return [view[written:], *batch[index + 1 :]]
        written -= len(view)
    return []


def _flush(fd: int) -> None:
    """Bring the file to stable storage, past the cache of the drive itself."""
    if sys.platform == "darwin":
        # fsync on macOS stops at the drive's volatile cache; only this empties it (fcntl(2)).
        # File systems that do not know it (SMB, FAT) are left with what fsync does for them.
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(fd)
