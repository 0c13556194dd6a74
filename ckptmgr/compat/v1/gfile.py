"""`tf.gfile`: a user's own files, under TensorFlow's names for what Python can do with them.

Nothing here is about checkpoints: these are the functions that programs read a graph with, or
clear a directory. A failure is an `errors.StorageError` that names the path, as everywhere.

Source: tensorflow/python/lib/io/file_io.py, tensorflow/python/platform/gfile.py.
"""

from __future__ import annotations

import glob as _glob
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any

from ckptmgr import arguments, errors
from ckptmgr.storage.failures import reported
from ckptmgr.storage.protocol import FileInfo

Path = str | os.PathLike[str]


class GFile:
    """A file that is opened when it is first used.

    Args:
        mode: As Python's: r, w or a, with "b" for bytes and "+" for both ways.
    """

    def __init__(self, name: Path, mode: str = "r") -> None:
        self._name = arguments.path_text(name)
        self._mode = mode
        self._file: IO[Any] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def mode(self) -> str:
        return self._mode

    def _opened(self) -> IO[Any]:
        if self._file is None:
            encoding = None if "b" in self._mode else "utf-8"
            with reported("open", self._name):
                self._file = open(self._name, self._mode, encoding=encoding)  # noqa: SIM115 - closed by close()
        return self._file

    def read(self, n: int = -1) -> Any:
        """The next `n` bytes or characters, or all that is left."""
        file = self._opened()
        with reported("read", self._name):
            return file.read(n)

    def readline(self) -> Any:
        return self._opened().readline()

    def readlines(self) -> list[Any]:
        return self._opened().readlines()

    def write(self, file_content: Any) -> None:
        file = self._opened()
        with reported("write", self._name):
            file.write(file_content)

    def seek(self, offset: int, whence: int = 0) -> None:
        self._opened().seek(offset, whence)

    def tell(self) -> int:
        return self._opened().tell()

    def size(self) -> int:
        """How long the file is, in bytes."""
        return Stat(self._name).size_bytes

    def flush(self) -> None:
        if self._file is not None:
            with reported("write", self._name):
                self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with reported("close", self._name):
                self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._opened())

    def __enter__(self) -> GFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Open = FastGFile = GFile


def Exists(filename: Path) -> bool:
    return os.path.exists(filename)


def IsDirectory(dirname: Path) -> bool:
    return os.path.isdir(dirname)


def Glob(filename: Path | list[Path]) -> list[str]:
    """The files that a pattern, or one of several, fits, sorted."""
    patterns = filename if isinstance(filename, list) else [filename]
    return sorted(path for pattern in patterns for path in _glob.glob(os.fspath(pattern)))


def MkDir(dirname: Path) -> None:
    with reported("create", os.fspath(dirname)):
        os.mkdir(dirname)


def MakeDirs(dirname: Path) -> None:
    """Make a directory and those around it, where they are missing."""
    with reported("create", os.fspath(dirname)):
        os.makedirs(dirname, exist_ok=True)


def Remove(filename: Path) -> None:
    with reported("remove", os.fspath(filename)):
        os.remove(filename)


def DeleteRecursively(dirname: Path) -> None:
    """Remove a directory and all in it."""
    with reported("remove", os.fspath(dirname)):
        shutil.rmtree(dirname)


def Copy(oldpath: Path, newpath: Path, overwrite: bool = False) -> None:
    _check_target(newpath, overwrite=overwrite)
    with reported("copy", os.fspath(oldpath)):
        shutil.copyfile(oldpath, newpath)


def Rename(oldname: Path, newname: Path, overwrite: bool = False) -> None:
    _check_target(newname, overwrite=overwrite)
    with reported("rename", os.fspath(oldname)):
        os.replace(oldname, newname)


def _check_target(path: Path, *, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise errors.FileExists(17, f"{os.fspath(path)} exists; pass overwrite=True", str(path))


def ListDirectory(dirname: Path) -> list[str]:
    """The names in a directory."""
    with reported("list", os.fspath(dirname)):
        return sorted(os.listdir(dirname))


def Stat(filename: Path) -> FileInfo:
    with reported("look at", os.fspath(filename)):
        found = os.stat(filename)
    name = os.path.basename(os.fspath(filename))
    identity = (found.st_dev, found.st_ino)
    return FileInfo(name, found.st_size, found.st_mtime, os.path.isdir(filename), identity)


def Walk(top: Path, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each directory below `top` with the names in it; the outer ones first if `in_order`."""
    return os.walk(os.fspath(top), topdown=in_order)


# The names of tf.io.gfile.
copy, exists, glob, isdir, listdir = Copy, Exists, Glob, IsDirectory, ListDirectory
makedirs, mkdir, remove, rename, rmtree = MakeDirs, MkDir, Remove, Rename, DeleteRecursively
stat, walk = Stat, Walk
