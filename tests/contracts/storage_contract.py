"""What every `Storage` must do. A subclass gives the storage and a directory in it.

The cases of refused calls are one table: the same call, error class, errno and text for each
storage.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.storage import ReadableFile, Storage, WritableFile

Call = Callable[[Storage, str], object]

_NO_ENTRY = "No such file or directory"
_NOT_DIRECTORY = "Not a directory"
_IS_DIRECTORY = "Is a directory"
_TOO_LONG = "n" * 256


def put(storage: Storage, path: str, data: bytes) -> None:
    file = storage.create(path)
    file.write([data], 0)
    file.close()


def get(storage: Storage, path: str) -> bytes:
    file = storage.open(path)
    try:
        return file.read(0, file.size_bytes)
    finally:
        file.close()


class Refusal(NamedTuple):
    """One call on the tree of `prepared`, and how it must fail; `{r}` stands for its root."""

    name: str
    call: Call
    kind: type[errors.StorageError]
    number: int
    text: str


REFUSALS = [
    Refusal(
        "create a name that is taken",
        lambda s, r: s.create(f"{r}/file"),
        errors.FileExists,
        errno.EEXIST,
        "cannot create {r}/file: File exists",
    ),
    Refusal(
        "create over a directory",
        lambda s, r: s.create(f"{r}/full"),
        errors.FileExists,
        errno.EEXIST,
        "cannot create {r}/full: File exists",
    ),
    Refusal(
        "create in no directory",
        lambda s, r: s.create(f"{r}/missing/new"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot create {r}/missing/new: " + _NO_ENTRY,
    ),
    Refusal(
        "create below a file",
        lambda s, r: s.create(f"{r}/file/new"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot create {r}/file/new: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "create a name that is too long",
        lambda s, r: s.create(f"{r}/{_TOO_LONG}"),
        errors.StorageError,
        errno.ENAMETOOLONG,
        "cannot create {r}/" + _TOO_LONG + ": File name too long",
    ),
    Refusal(
        "create without a name",
        lambda s, _: s.create(""),
        errors.FileMissing,
        errno.ENOENT,
        "cannot create : " + _NO_ENTRY,
    ),
    Refusal(
        "open what is not there",
        lambda s, r: s.open(f"{r}/missing"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot open {r}/missing: " + _NO_ENTRY,
    ),
    Refusal(
        "open below a file",
        lambda s, r: s.open(f"{r}/file/inner"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot open {r}/file/inner: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "open a directory",
        lambda s, r: s.open(f"{r}/full"),
        errors.StorageError,
        errno.EISDIR,
        "cannot open {r}/full: " + _IS_DIRECTORY,
    ),
    Refusal(
        "rename what is not there",
        lambda s, r: s.rename(f"{r}/missing", f"{r}/new"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot rename {r}/missing to {r}/new: " + _NO_ENTRY,
    ),
    Refusal(
        "rename into no directory",
        lambda s, r: s.rename(f"{r}/file", f"{r}/missing/new"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot rename {r}/file to {r}/missing/new: " + _NO_ENTRY,
    ),
    Refusal(
        "rename a file over a directory",
        lambda s, r: s.rename(f"{r}/file", f"{r}/empty"),
        errors.StorageError,
        errno.EISDIR,
        "cannot rename {r}/file to {r}/empty: " + _IS_DIRECTORY,
    ),
    Refusal(
        "rename a directory over a file",
        lambda s, r: s.rename(f"{r}/empty", f"{r}/file"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot rename {r}/empty to {r}/file: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "rename a directory over a full one",
        lambda s, r: s.rename(f"{r}/empty", f"{r}/full"),
        errors.StorageError,
        errno.ENOTEMPTY,
        "cannot rename {r}/empty to {r}/full: Directory not empty",
    ),
    Refusal(
        "rename a directory into itself",
        lambda s, r: s.rename(f"{r}/full", f"{r}/full/new"),
        errors.StorageError,
        errno.EINVAL,
        "cannot rename {r}/full to {r}/full/new: Invalid argument",
    ),
    Refusal(
        "link what is not there",
        lambda s, r: s.link(f"{r}/missing", f"{r}/new"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot link {r}/missing to {r}/new: " + _NO_ENTRY,
    ),
    Refusal(
        "link into no directory",
        lambda s, r: s.link(f"{r}/file", f"{r}/missing/new"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot link {r}/file to {r}/missing/new: " + _NO_ENTRY,
    ),
    Refusal(
        "link to a name that is taken",
        lambda s, r: s.link(f"{r}/full/inner", f"{r}/file"),
        errors.FileExists,
        errno.EEXIST,
        "cannot link {r}/full/inner to {r}/file: File exists",
    ),
    Refusal(
        "link a file to its own name",
        lambda s, r: s.link(f"{r}/file", f"{r}/file"),
        errors.FileExists,
        errno.EEXIST,
        "cannot link {r}/file to {r}/file: File exists",
    ),
    Refusal(
        "link a directory",
        lambda s, r: s.link(f"{r}/full", f"{r}/new"),
        errors.PermissionDenied,
        errno.EPERM,
        "cannot link {r}/full to {r}/new: Operation not permitted",
    ),
    Refusal(
        "sync a file that is not there",
        lambda s, r: s.sync_file(f"{r}/missing"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot sync {r}/missing: " + _NO_ENTRY,
    ),
    Refusal(
        "unlink what is not there",
        lambda s, r: s.unlink(f"{r}/missing"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot remove {r}/missing: " + _NO_ENTRY,
    ),
    Refusal(
        "unlink a directory",
        lambda s, r: s.unlink(f"{r}/empty"),
        errors.StorageError,
        errno.EISDIR,
        "cannot remove {r}/empty: " + _IS_DIRECTORY,
    ),
    Refusal(
        "make a directory where a file stands",
        lambda s, r: s.make_dirs(f"{r}/file"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot make directory {r}/file: {r}/file is not a directory",
    ),
    Refusal(
        "make a directory below a file",
        lambda s, r: s.make_dirs(f"{r}/file/a/b"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot make directory {r}/file/a/b: {r}/file is not a directory",
    ),
    Refusal(
        "sync a directory that is not there",
        lambda s, r: s.sync_dir(f"{r}/missing"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot sync directory {r}/missing: " + _NO_ENTRY,
    ),
    Refusal(
        "sync a file as a directory",
        lambda s, r: s.sync_dir(f"{r}/file"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot sync directory {r}/file: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "list a directory that is not there",
        lambda s, r: s.list_dir(f"{r}/missing"),
        errors.FileMissing,
        errno.ENOENT,
        "cannot list {r}/missing: " + _NO_ENTRY,
    ),
    Refusal(
        "list a file",
        lambda s, r: s.list_dir(f"{r}/file"),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot list {r}/file: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "stat a name that is too long",
        lambda s, r: s.stat(f"{r}/{_TOO_LONG}"),
        errors.StorageError,
        errno.ENAMETOOLONG,
        "cannot stat {r}/" + _TOO_LONG + ": File name too long",
    ),
    Refusal(
        "lock in no directory",
        lambda s, r: s.lock(f"{r}/missing/lock").acquire(),
        errors.FileMissing,
        errno.ENOENT,
        "cannot lock {r}/missing/lock: " + _NO_ENTRY,
    ),
    Refusal(
        "lock below a file",
        lambda s, r: s.lock(f"{r}/file/lock").try_acquire(),
        errors.NotADirectory,
        errno.ENOTDIR,
        "cannot lock {r}/file/lock: " + _NOT_DIRECTORY,
    ),
    Refusal(
        "lock a directory",
        lambda s, r: s.lock(f"{r}/full").acquire(1.0),
        errors.StorageError,
        errno.EISDIR,
        "cannot lock {r}/full: " + _IS_DIRECTORY,
    ),
]

#: Calls with a path that no system call can be given.
UNUSABLE_PATHS = [
    pytest.param(call, path, id=f"{name} {path!a}")
    for (name, call), path in itertools.product(
        [
            ("create", lambda s, p: s.create(p)),
            ("open", lambda s, p: s.open(p)),
            ("rename", lambda s, p: s.rename(p, "new")),
            ("link", lambda s, p: s.link(p, "new")),
            ("sync_file", lambda s, p: s.sync_file(p)),
            ("unlink", lambda s, p: s.unlink(p)),
            ("make_dirs", lambda s, p: s.make_dirs(p)),
            ("sync_dir", lambda s, p: s.sync_dir(p)),
            ("list_dir", lambda s, p: s.list_dir(p)),
            ("stat", lambda s, p: s.stat(p)),
            ("lock", lambda s, p: s.lock(p).acquire()),
        ],
        ["nul\0byte", "surrogate\ud800"],
    )
]

WRITER_CALLS: list[tuple[str, Callable[[WritableFile], object]]] = [
    ("reserve space for", lambda f: f.preallocate(10)),
    ("write", lambda f: f.write([b"x"], 0)),
    ("truncate", lambda f: f.truncate(0)),
    ("sync", lambda f: f.sync()),
]

READER_CALLS: list[tuple[str, Callable[[ReadableFile], object]]] = [
    ("read", lambda f: f.read(0, 1)),
    ("read", lambda f: f.read_into(memoryview(bytearray(1)), 0)),
    ("map", lambda f: f.map()),
]

NEGATIVE_WRITER_CALLS: list[tuple[str, Callable[[WritableFile], object]]] = [
    ("reserve space for", lambda f: f.preallocate(-1)),
    ("write", lambda f: f.write([b"x"], -1)),
    ("truncate", lambda f: f.truncate(-1)),
]

NEGATIVE_READER_CALLS: list[tuple[str, Callable[[ReadableFile], object]]] = [
    ("read", lambda f: f.read(-1, 1)),
    ("read", lambda f: f.read(0, -1)),
    ("read", lambda f: f.read_into(memoryview(bytearray(1)), -1)),
]


class StorageContract(ABC):
    """Subclass with the two fixtures; every test runs against that storage."""

    @pytest.fixture
    @abstractmethod
    def storage(self) -> Storage:
        """A storage to test."""

    @pytest.fixture
    @abstractmethod
    def root(self, tmp_path: Path, storage: Storage) -> str:
        """An empty directory in it, as an absolute path."""

    @pytest.fixture
    def prepared(self, storage: Storage, root: str) -> str:
        """A root with a file, an empty directory and one with a file in it."""
        put(storage, f"{root}/file", b"data")
        storage.make_dirs(f"{root}/empty")
        storage.make_dirs(f"{root}/full")
        put(storage, f"{root}/full/inner", b"")
        return root

    # ----------------------------------------------------------------------- refusals

    @pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
    def test_refuses(self, storage: Storage, prepared: str, case: Refusal) -> None:
        with pytest.raises(errors.StorageError) as raised:
            case.call(storage, prepared)
        assert type(raised.value) is case.kind
        assert raised.value.errno == case.number
        assert str(raised.value) == case.text.replace("{r}", prepared)
        assert raised.value.filename in str(raised.value)
        assert storage.list_dir(prepared) == ["empty", "file", "full"]
        assert get(storage, f"{prepared}/file") == b"data"

    @pytest.mark.parametrize(("call", "path"), UNUSABLE_PATHS)
    def test_refuses_paths_the_system_cannot_be_given(
        self, storage: Storage, call: Call, path: str
    ) -> None:
        with pytest.raises(errors.StorageError) as raised:
            call(storage, path)
        assert raised.value.errno == errno.EINVAL
        assert path in str(raised.value)

    # ----------------------------------------------------------------------- writing

    @pytest.mark.parametrize(
        ("buffers", "offset", "expected"),
        [
            ([b"one", bytearray(b"two"), memoryview(b"three")], 0, b"onetwothree"),
            ([b"", b"a", b"", b"b", b""], 0, b"ab"),
            ([], 7, b""),
            ([b""], 7, b""),
            ([b"x"], 3, b"\0\0\0x"),
            ([np.array([[1, 2], [3, 4]], "<u2").data], 0, b"\1\0\2\0\3\0\4\0"),
            ([np.array(5, "<u4").data, b"!"], 0, b"\5\0\0\0!"),
            ([np.zeros((0, 3)).data, b"!"], 0, b"!"),
            ([bytes([i % 251]) * (i % 3) for i in range(5000)], 1, None),
        ],
        ids=["kinds", "empty between", "none", "empty", "gap", "2-d", "0-d", "no rows", "many"],
    )
    def test_writes_buffers_one_after_the_other(
        self, storage: Storage, root: str, buffers: list[Any], offset: int, expected: bytes | None
    ) -> None:
        file = storage.create(f"{root}/file")
        file.write(buffers, offset)
        file.close()
        joined = b"\0" * offset + b"".join(buffers)
        assert get(storage, f"{root}/file") == (joined if expected is None else expected)

    def test_writes_at_offsets_in_any_order(self, storage: Storage, root: str) -> None:
        file = storage.create(f"{root}/file")
        file.write([b"5678"], 4)
        file.write([b"abcd"], 0)
        file.write([b"XY"], 3)
        file.close()
        assert get(storage, f"{root}/file") == b"abcXY678"

    def test_threads_write_one_file(self, storage: Storage, root: str) -> None:
        size_bytes = 4096
        file = storage.create(f"{root}/file")
        with ThreadPoolExecutor(8) as threads:
            list(
                threads.map(
                    lambda i: file.write([bytes([i]) * size_bytes], i * size_bytes), range(64)
                )
            )
        file.close()
        expected = b"".join(bytes([i]) * size_bytes for i in range(64))
        assert get(storage, f"{root}/file") == expected

    @pytest.mark.parametrize(
        ("size_bytes", "expected"), [(0, b""), (2, b"da"), (4, b"data"), (6, b"data\0\0")]
    )
    def test_truncate_cuts_or_adds_zeros(
        self, storage: Storage, root: str, size_bytes: int, expected: bytes
    ) -> None:
        file = storage.create(f"{root}/file")
        file.write([b"data"], 0)
        file.truncate(size_bytes)
        file.close()
        assert get(storage, f"{root}/file") == expected

    @pytest.mark.parametrize("reserved_bytes", [0, 3, 4, 1 << 20])
    def test_preallocated_space_is_written_or_cut(
        self, storage: Storage, root: str, reserved_bytes: int
    ) -> None:
        file = storage.create(f"{root}/file")
        file.preallocate(reserved_bytes)
        file.write([b"data"], 0)
        file.truncate(4)
        file.sync()
        file.close()
        assert get(storage, f"{root}/file") == b"data"

    @pytest.mark.parametrize(("doing", "call"), WRITER_CALLS)
    def test_a_closed_writer_refuses(
        self, storage: Storage, root: str, doing: str, call: Callable[[WritableFile], object]
    ) -> None:
        file = storage.create(f"{root}/file")
        file.close()
        file.close()
        with pytest.raises(errors.StorageError) as raised:
            call(file)
        assert raised.value.errno == errno.EBADF
        assert str(raised.value) == f"cannot {doing} {root}/file: Bad file descriptor"

    @pytest.mark.parametrize(("doing", "call"), NEGATIVE_WRITER_CALLS)
    def test_a_writer_refuses_negative_numbers(
        self, storage: Storage, root: str, doing: str, call: Callable[[WritableFile], object]
    ) -> None:
        file = storage.create(f"{root}/file")
        with pytest.raises(errors.StorageError) as raised:
            call(file)
        file.close()
        assert str(raised.value) == f"cannot {doing} {root}/file: Invalid argument"

    def test_a_writer_goes_on_after_its_file_is_renamed(self, storage: Storage, root: str) -> None:
        file = storage.create(f"{root}/old")
        file.write([b"da"], 0)
        storage.rename(f"{root}/old", f"{root}/new")
        file.write([b"ta"], 2)
        file.close()
        assert get(storage, f"{root}/new") == b"data"

    # ----------------------------------------------------------------------- reading

    @pytest.mark.parametrize(
        ("offset", "size_bytes", "expected"),
        [
            (0, 10, b"0123456789"),
            (2, 3, b"234"),
            (0, 0, b""),
            (8, 5, b"89"),
            (10, 1, b""),
            (11, 1, b""),
            (0, 1 << 62, b"0123456789"),
            (1 << 70, 1 << 70, b""),
        ],
    )
    def test_reads_what_is_there(
        self, storage: Storage, root: str, offset: int, size_bytes: int, expected: bytes
    ) -> None:
        put(storage, f"{root}/file", b"0123456789")
        file = storage.open(f"{root}/file")
        assert file.path == f"{root}/file"
        assert file.size_bytes == 10
        assert file.read(offset, size_bytes) == expected
        wanted = min(size_bytes, 20)
        buffer = bytearray(b"-" * wanted)
        assert file.read_into(memoryview(buffer), offset) == len(expected)
        assert buffer == expected + b"-" * (wanted - len(expected))
        file.close()

    def test_reads_into_an_array(self, storage: Storage, root: str) -> None:
        stored = np.arange(6, dtype=np.float32).reshape(2, 3)
        put(storage, f"{root}/file", b"head" + stored.tobytes())
        found = np.zeros((2, 3), np.float32)
        file = storage.open(f"{root}/file")
        assert file.read_into(found.data, 4) == 24
        assert file.read_into(np.zeros((0, 3)).data, 4) == 0
        file.close()
        np.testing.assert_array_equal(found, stored)

    @pytest.mark.parametrize("content", [b"", b"0123456789", bytes(range(256)) * 100])
    def test_a_map_outlives_file_and_reader(
        self, storage: Storage, root: str, content: bytes
    ) -> None:
        put(storage, f"{root}/file", content)
        file = storage.open(f"{root}/file")
        mapped = file.map()
        file.close()
        storage.unlink(f"{root}/file")
        del file
        assert mapped == content
        assert mapped.readonly

    @pytest.mark.parametrize(("doing", "call"), READER_CALLS)
    def test_a_closed_reader_refuses(
        self, storage: Storage, root: str, doing: str, call: Callable[[ReadableFile], object]
    ) -> None:
        put(storage, f"{root}/file", b"data")
        file = storage.open(f"{root}/file")
        file.close()
        file.close()
        with pytest.raises(errors.StorageError) as raised:
            call(file)
        assert raised.value.errno == errno.EBADF
        assert str(raised.value) == f"cannot {doing} {root}/file: Bad file descriptor"

    @pytest.mark.parametrize(("doing", "call"), NEGATIVE_READER_CALLS)
    def test_a_reader_refuses_negative_numbers(
        self, storage: Storage, root: str, doing: str, call: Callable[[ReadableFile], object]
    ) -> None:
        put(storage, f"{root}/file", b"data")
        file = storage.open(f"{root}/file")
        with pytest.raises(errors.StorageError) as raised:
            call(file)
        file.close()
        assert str(raised.value) == f"cannot {doing} {root}/file: Invalid argument"

    @pytest.mark.parametrize("lost_by", ["unlink", "replacement", "rename"])
    def test_a_reader_keeps_what_it_opened(self, storage: Storage, root: str, lost_by: str) -> None:
        put(storage, f"{root}/file", b"old content")
        file = storage.open(f"{root}/file")
        if lost_by == "unlink":
            storage.unlink(f"{root}/file")
        elif lost_by == "replacement":
            put(storage, f"{root}/new", b"new")
            storage.rename(f"{root}/new", f"{root}/file")
        else:
            storage.rename(f"{root}/file", f"{root}/elsewhere")
        assert file.read(0, 100) == b"old content"
        assert file.size_bytes == 11
        file.close()

    def test_a_reader_sees_a_file_as_long_as_it_was_opened(
        self, storage: Storage, root: str
    ) -> None:
        writer = storage.create(f"{root}/file")
        writer.write([b"1234"], 0)
        reader = storage.open(f"{root}/file")
        writer.write([b"5678"], 4)
        assert reader.read(0, 8) == b"1234"
        assert reader.read_into(memoryview(bytearray(8)), 2) == 2
        writer.truncate(3)
        assert reader.read(1, 8) == b"23"
        assert reader.read_into(memoryview(bytearray(8)), 1) == 2
        writer.close()
        reader.close()

    # ----------------------------------------------------------------------- names

    def test_rename_replaces(self, storage: Storage, root: str) -> None:
        put(storage, f"{root}/old", b"old")
        put(storage, f"{root}/new", b"new")
        storage.rename(f"{root}/new", f"{root}/old")
        assert storage.list_dir(root) == ["old"]
        assert get(storage, f"{root}/old") == b"new"

    def test_rename_to_itself_changes_nothing(self, storage: Storage, root: str) -> None:
        put(storage, f"{root}/file", b"data")
        storage.rename(f"{root}/file", f"{root}/file")
        assert get(storage, f"{root}/file") == b"data"

    def test_rename_moves_a_directory_over_an_empty_one(
        self, storage: Storage, prepared: str
    ) -> None:
        storage.rename(f"{prepared}/full", f"{prepared}/empty")
        assert storage.list_dir(prepared) == ["empty", "file"]
        assert storage.list_dir(f"{prepared}/empty") == ["inner"]

    @pytest.mark.parametrize("gone", ["old", "new"])
    def test_a_linked_file_has_two_names(self, storage: Storage, root: str, gone: str) -> None:
        put(storage, f"{root}/old", b"data")
        storage.link(f"{root}/old", f"{root}/new")
        storage.sync_file(f"{root}/new")
        assert [get(storage, f"{root}/{name}") for name in ("old", "new")] == [b"data", b"data"]
        storage.unlink(f"{root}/{gone}")
        (left,) = storage.list_dir(root)
        assert get(storage, f"{root}/{left}") == b"data"

    def test_replacing_one_name_leaves_the_other(self, storage: Storage, root: str) -> None:
        put(storage, f"{root}/old", b"data")
        storage.link(f"{root}/old", f"{root}/new")
        put(storage, f"{root}/next", b"other")
        storage.rename(f"{root}/next", f"{root}/old")
        assert get(storage, f"{root}/old") == b"other"
        assert get(storage, f"{root}/new") == b"data"

    def test_rename_between_names_of_one_file_leaves_both(
        self, storage: Storage, root: str
    ) -> None:
        put(storage, f"{root}/old", b"data")
        storage.link(f"{root}/old", f"{root}/new")
        storage.rename(f"{root}/old", f"{root}/new")
        assert storage.list_dir(root) == ["new", "old"]

    def test_unlink_frees_the_name(self, storage: Storage, root: str) -> None:
        put(storage, f"{root}/file", b"old")
        storage.unlink(f"{root}/file")
        assert storage.list_dir(root) == []
        put(storage, f"{root}/file", b"new")
        assert get(storage, f"{root}/file") == b"new"

    def test_make_dirs_returns_what_it_made(self, storage: Storage, root: str) -> None:
        assert storage.make_dirs(f"{root}/a/b") == [f"{root}/a", f"{root}/a/b"]
        assert storage.make_dirs(f"{root}/a/b/c/d") == [f"{root}/a/b/c", f"{root}/a/b/c/d"]
        assert storage.make_dirs(f"{root}/a/b/c/d") == []
        put(storage, f"{root}/a/b/c/d/file", b"data")
        assert storage.list_dir(f"{root}/a/b") == ["c"]

    def test_many_threads_make_one_directory(self, storage: Storage, root: str) -> None:
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda _: storage.make_dirs(f"{root}/a/b/c"), range(32)))
        assert sorted(itertools.chain.from_iterable(made)) == [
            f"{root}/a",
            f"{root}/a/b",
            f"{root}/a/b/c",
        ]

    def test_list_dir_is_sorted(self, storage: Storage, root: str) -> None:
        for name in ["model.ckpt-9.index", "b", "a", "é", "model.ckpt-10.index", "B"]:
            put(storage, f"{root}/{name}", b"")
        names = ["B", "a", "b", "model.ckpt-10.index", "model.ckpt-9.index", "é"]
        assert storage.list_dir(root) == names

    def test_sync_dir_accepts_a_directory(self, storage: Storage, prepared: str) -> None:
        storage.sync_dir(prepared)
        assert storage.list_dir(prepared) == ["empty", "file", "full"]

    def test_relative_paths_start_at_the_working_directory(
        self, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.make_dirs(str(tmp_path))
        monkeypatch.chdir(tmp_path)
        put(storage, "file", b"data")
        assert get(storage, f"{tmp_path}/file") == b"data"
        storage.make_dirs("a/b")
        assert storage.list_dir(".") == ["a", "file"]
        with storage.lock("lock"):
            assert not storage.lock(f"{tmp_path}/a/../lock").try_acquire()

    # ----------------------------------------------------------------------- stat

    def test_stat_tells_of_a_file(self, storage: Storage, root: str) -> None:
        put(storage, f"{root}/file", b"data")
        info = storage.stat(f"{root}/file")
        assert info is not None
        assert (info.name, info.size_bytes, info.is_dir) == ("file", 4, False)
        assert abs(info.mtime_secs - time.time()) < 60

    def test_stat_tells_of_a_directory(self, storage: Storage, prepared: str) -> None:
        info = storage.stat(f"{prepared}/full/")
        assert info is not None
        assert (info.name, info.is_dir) == ("full", True)

    @pytest.mark.parametrize("name", ["missing", "missing/below", "file/below"])
    def test_stat_of_nothing_is_none(self, storage: Storage, prepared: str, name: str) -> None:
        assert storage.stat(f"{prepared}/{name}") is None

    def test_identity_changes_when_another_file_takes_the_name(
        self, storage: Storage, root: str
    ) -> None:
        put(storage, f"{root}/file", b"same")
        before = storage.stat(f"{root}/file")
        get(storage, f"{root}/file")
        assert storage.stat(f"{root}/file") == before
        put(storage, f"{root}/new", b"same")
        new = storage.stat(f"{root}/new")
        storage.rename(f"{root}/new", f"{root}/file")
        after = storage.stat(f"{root}/file")
        assert before is not None
        assert after is not None
        assert new is not None
        assert after.identity != before.identity
        assert after.identity == new.identity

    # ----------------------------------------------------------------------- locks

    def test_a_lock_excludes_every_other(self, storage: Storage, root: str) -> None:
        held = storage.lock(f"{root}/lock")
        assert held.try_acquire()
        assert not held.try_acquire()
        other = storage.lock(f"{root}/lock")
        assert not other.try_acquire()
        with ThreadPoolExecutor(1) as threads:
            assert not threads.submit(held.try_acquire).result()
            assert not threads.submit(other.try_acquire).result()
        assert storage.lock(f"{root}/another").try_acquire()
        held.release()
        assert other.try_acquire()
        other.release()

    @pytest.mark.parametrize("timeout_secs", [0.05, 0, -1.0])
    def test_a_lock_times_out(self, storage: Storage, root: str, timeout_secs: float) -> None:
        with storage.lock(f"{root}/lock"):
            began = time.monotonic()
            with pytest.raises(errors.LockTimeout) as raised:
                storage.lock(f"{root}/lock").acquire(timeout_secs)
            waited_secs = time.monotonic() - began
        assert str(raised.value) == (
            f"cannot lock {root}/lock: another owner still held it after {timeout_secs} s"
        )
        assert max(timeout_secs, 0) <= waited_secs < 10

    @pytest.mark.parametrize("timeout_secs", [None, 30, float("inf")])
    @pytest.mark.parametrize("waiter", ["the same object", "another object"])
    def test_a_lock_is_handed_to_the_thread_that_waits(
        self, storage: Storage, root: str, timeout_secs: float | None, waiter: str
    ) -> None:
        held = storage.lock(f"{root}/lock")
        waiting = held if waiter == "the same object" else storage.lock(f"{root}/lock")
        got_it = threading.Event()

        def wait() -> None:
            waiting.acquire(timeout_secs)
            got_it.set()

        held.acquire()
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got_it.wait(0.05)
        held.release()
        assert got_it.wait(30)
        thread.join()
        assert not storage.lock(f"{root}/lock").try_acquire()
        waiting.release()
        assert storage.lock(f"{root}/lock").try_acquire()

    def test_threads_under_a_lock_take_turns(self, storage: Storage, root: str) -> None:
        inside = 0
        most_inside = 0

        def enter(_: int) -> None:
            nonlocal inside, most_inside
            with storage.lock(f"{root}/lock"):
                inside += 1
                most_inside = max(most_inside, inside)
                time.sleep(0.001)
                inside -= 1

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(enter, range(20)))
        assert most_inside == 1

    def test_waiting_for_a_lock_of_ones_own_is_refused(self, storage: Storage, root: str) -> None:
        with storage.lock(f"{root}/lock") as held:
            for again in (held, storage.lock(f"{root}/lock")):
                with pytest.raises(errors.StorageError) as raised:
                    again.acquire()
                assert raised.value.errno == errno.EDEADLK
                assert str(raised.value) == (
                    f"cannot lock {root}/lock: this thread already holds the lock"
                )
        assert storage.lock(f"{root}/lock").try_acquire()

    def test_another_thread_may_release(self, storage: Storage, root: str) -> None:
        lock = storage.lock(f"{root}/lock")
        lock.acquire()
        thread = threading.Thread(target=lock.release)
        thread.start()
        thread.join()
        lock.acquire(0)
        lock.release()

    def test_releasing_what_is_not_held_does_nothing(self, storage: Storage, root: str) -> None:
        with storage.lock(f"{root}/lock"):
            loser = storage.lock(f"{root}/lock")
            assert not loser.try_acquire()
            loser.release()
            assert not storage.lock(f"{root}/lock").try_acquire()

    def test_the_lock_file_is_made_by_acquire_and_stays(self, storage: Storage, root: str) -> None:
        lock = storage.lock(f"{root}/lock")
        assert storage.stat(f"{root}/lock") is None
        with lock:
            info = storage.stat(f"{root}/lock")
            assert info is not None
            assert not info.is_dir
        assert storage.stat(f"{root}/lock") == info

    def test_an_exception_releases_the_lock(self, storage: Storage, root: str) -> None:
        with pytest.raises(KeyboardInterrupt), storage.lock(f"{root}/lock"):
            raise KeyboardInterrupt
        assert storage.lock(f"{root}/lock").try_acquire()

    def test_the_working_directory_needs_no_name(
        self, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        storage.make_dirs(os.curdir)
        assert storage.make_dirs("new") != []
        storage.sync_dir(".")
        with storage.lock("lock"):
            assert storage.list_dir(".") == ["lock", "new"]
