"""What `PosixStorage` asks of the system beyond the contract of every storage."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import errors
from ckptmgr.storage import PosixStorage, posix

SOURCE = str(Path(ckptmgr.__file__).parents[1])


@pytest.fixture
def storage() -> PosixStorage:
    return PosixStorage()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# --------------------------------------------------------------------------- creating and opening


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_the_mode(
    storage: PosixStorage, tmp_path: Path, umask: int, mode: int
) -> None:
    previous = os.umask(umask)
    try:
        storage.create(f"{tmp_path}/file").close()
        with storage.lock(f"{tmp_path}/lock"):
            pass
    finally:
        os.umask(previous)
    for name in ("file", "lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


LIST_DESCRIPTORS = """
import os
for fd in range(200):
    if os.path.islink(f"/proc/self/fd/{fd}"):
        print(os.readlink(f"/proc/self/fd/{fd}"))
"""


def test_child_processes_inherit_no_descriptor(storage: PosixStorage, tmp_path: Path) -> None:
    writer, reader = storage.create(f"{tmp_path}/file"), storage.open(f"{tmp_path}/file")
    with storage.lock(f"{tmp_path}/lock"), open(tmp_path / "inherited", "w") as inherited:
        os.set_inheritable(inherited.fileno(), True)  # positional only
        ended = subprocess.run(
            [sys.executable, "-c", LIST_DESCRIPTORS],
            close_fds=False,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert [line for line in ended.stdout.splitlines() if str(tmp_path) in line] == [
        f"{tmp_path}/inherited"
    ]
    writer.close()
    reader.close()


def test_a_dangling_link_is_not_created_through(storage: PosixStorage, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.FileExists):
        storage.create(f"{tmp_path}/link")
    assert storage.stat(f"{tmp_path}/link") is None
    assert os.listdir(tmp_path) == ["link"]


def test_a_pipe_is_refused_without_waiting(storage: PosixStorage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = open_descriptors()
    with pytest.raises(errors.StorageError) as raised:
        storage.open(f"{tmp_path}/pipe")
    assert str(raised.value) == f"cannot open {tmp_path}/pipe: Not a regular file"
    assert len(open_descriptors()) == len(before)


def test_a_refused_directory_leaves_no_descriptor(storage: PosixStorage, tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(errors.StorageError, match="Is a directory"):
        storage.open(str(tmp_path))
    assert len(open_descriptors()) == len(before)


def test_dropped_files_are_closed(storage: PosixStorage, tmp_path: Path) -> None:
    before = open_descriptors()
    writer: object = storage.create(f"{tmp_path}/file")
    reader: object = storage.open(f"{tmp_path}/file")
    assert len(open_descriptors()) == len(before) + 2
    del writer, reader
    assert len(open_descriptors()) == len(before)


def test_a_file_left_open_at_exit_says_nothing(tmp_path: Path) -> None:
    script = "import sys, ckptmgr.storage as s; file = s.PosixStorage().create(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", script, f"{tmp_path}/file"],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""


def test_a_platform_without_positional_writes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pwritev")
    with pytest.raises(errors.StorageError, match="needs pwritev; this platform has none"):
        PosixStorage()


def test_links_loop_in_stat(storage: PosixStorage, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(errors.StorageError, match=f"cannot stat {tmp_path}/loop: Too many levels"):
        storage.stat(f"{tmp_path}/loop")


def test_a_link_is_told_from_what_it_leads_to(storage: PosixStorage, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    folder, link = (storage.stat(str(tmp_path / name)) for name in ("folder", "link"))
    assert folder is not None
    assert link is not None
    assert (folder.is_link, link.is_link) == (False, True)
    assert link.is_dir
    assert link.identity == folder.identity


def test_make_dirs_makes_nothing_of_a_path_that_is_too_long(
    storage: PosixStorage, tmp_path: Path
) -> None:
    with pytest.raises(errors.StorageError, match="File name too long"):
        storage.make_dirs(f"{tmp_path}/" + "a/" * 3000)
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_no_text_can_be_listed_and_opened(
    storage: PosixStorage, tmp_path: Path
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"data")
    (name,) = storage.list_dir(str(tmp_path))
    file = storage.open(f"{tmp_path}/{name}")
    assert file.read(0, 4) == b"data"
    file.close()


# --------------------------------------------------------------------------- moving bytes


class Calls:
    """Stands before a call of `os`, counts it and lets it move at most `most_bytes`."""

    def __init__(self, call: Callable[..., Any], most_bytes: int) -> None:
        self._call = call
        self._most_bytes = most_bytes
        self.count = 0

    def vector(self, fd: int, buffers: Sequence[Any], offset: int) -> Any:
        self.count += 1
        views, rest = [], self._most_bytes
        for buffer in buffers:
            view = memoryview(buffer)[:rest]
            views.append(view)
            rest -= view.nbytes
        return self._call(fd, views, offset)

    def single(self, fd: int, size_bytes: int, offset: int) -> Any:
        self.count += 1
        return self._call(fd, min(size_bytes, self._most_bytes), offset)


@pytest.mark.parametrize("most_bytes", [1, 2, 5, 100])
def test_short_writes_go_on_where_they_stopped(
    storage: PosixStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    calls = Calls(os.pwritev, most_bytes)
    monkeypatch.setattr(os, "pwritev", calls.vector)
    file = storage.create(f"{tmp_path}/file")
    file.write([b"abc", b"d", b"", b"efghij", b"k"], 2)
    file.close()
    assert (tmp_path / "file").read_bytes() == b"\0\0abcdefghijk"
    assert calls.count == -(-11 // most_bytes)


@pytest.mark.parametrize("most_bytes", [1, 2, 5, 100])
def test_short_reads_go_on_where_they_stopped(
    storage: PosixStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    monkeypatch.setattr(os, "preadv", Calls(os.preadv, most_bytes).vector)
    monkeypatch.setattr(os, "pread", Calls(os.pread, most_bytes).single)
    file = storage.open(f"{tmp_path}/file")
    assert file.read(1, 7) == b"1234567"
    assert file.read(1, 70) == b"123456789"
    buffer = bytearray(7)
    assert file.read_into(memoryview(buffer), 1) == 7
    assert buffer == b"1234567"
    file.close()


def test_a_write_that_makes_no_progress_ends(
    storage: PosixStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwritev", Calls(os.pwritev, 0).vector)
    file = storage.create(f"{tmp_path}/file")
    with pytest.raises(errors.StorageError, match=f"cannot write {tmp_path}/file: ") as raised:
        file.write([b"data"], 0)
    file.close()
    assert raised.value.errno == errno.EIO


@pytest.mark.parametrize("limit_bytes", [1, 3, 4, 7, 100])
def test_more_bytes_than_a_call_takes_are_spread(
    storage: PosixStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    monkeypatch.setattr(posix, "MAX_CALL_BYTES", limit_bytes)
    file = storage.create(f"{tmp_path}/file")
    file.write([b"abcd", b"", b"e", b"fghijkl", b"mn"], 0)
    file.close()
    reader = storage.open(f"{tmp_path}/file")
    assert reader.read(0, 14) == b"abcdefghijklmn"
    buffer = bytearray(20)
    assert reader.read_into(memoryview(buffer), 1) == 13
    assert bytes(buffer[:13]) == b"bcdefghijklmn"
    reader.close()


@pytest.mark.parametrize(("buffers", "count"), [(1, 1), (1024, 1), (1025, 2), (4096, 4)])
def test_a_large_write_is_few_calls(
    storage: PosixStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    buffers: int,
    count: int,
) -> None:
    calls = Calls(os.pwritev, sys.maxsize)
    monkeypatch.setattr(os, "pwritev", calls.vector)
    data = bytes(16 << 20)
    size_bytes = len(data) // buffers
    file = storage.create(f"{tmp_path}/file")
    file.write([data[:size_bytes]] * buffers, 0)
    file.close()
    assert calls.count == count
    assert os.path.getsize(tmp_path / "file") == size_bytes * buffers


def test_one_read_goes_beyond_two_gibibytes(storage: PosixStorage, tmp_path: Path) -> None:
    # Above the 0x7ffff000 bytes that Linux moves in one call.
    size_bytes = 0x7FFFF000 + 4096
    # A file of holes takes no room; in memory, reading them takes a fraction of a second.
    memory = Path("/dev/shm")  # noqa: S108  # the folder made is not predictable
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        with open(f"{directory}/file", "wb") as written:
            written.seek(size_bytes - 3)
            written.write(b"end")
        buffer = np.empty(size_bytes, np.uint8)
        file = storage.open(f"{directory}/file")
        assert file.read_into(buffer.data, 0) == size_bytes
        file.close()
    assert buffer[-4:].tobytes() == b"\0end"


# --------------------------------------------------------------------------- what is refused

# Runs in its own process: the limit on file sizes holds for all of it.
WRITE_UNDER_LIMIT = """
import resource, sys
from ckptmgr import errors
from ckptmgr.storage import PosixStorage
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
file = PosixStorage().create(sys.argv[1])
for call in (lambda: file.preallocate(200_000), lambda: file.write([bytes(200_000)], 0)):
    try:
        call()
    except errors.StorageError as error:
        print(error)
"""


def test_a_file_that_may_not_grow_is_an_error(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WRITE_UNDER_LIMIT, f"{tmp_path}/file"],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        f"cannot reserve space for {tmp_path}/file: File too large",
        f"cannot write {tmp_path}/file: File too large",
    ]
    # The kernel took what fits before it refused: the first call was a short write.
    assert os.path.getsize(tmp_path / "file") == 100_000


def test_a_full_disk_is_an_error() -> None:
    file = posix._PosixWritableFile(os.open("/dev/full", os.O_WRONLY), "/dev/full")
    with pytest.raises(errors.StorageError) as raised:
        file.write([b"data"], 0)
    file.close()
    assert raised.value.errno == errno.ENOSPC
    assert str(raised.value) == "cannot write /dev/full: No space left on device"


def test_a_failed_sync_is_an_error() -> None:
    file = posix._PosixWritableFile(os.open("/proc/self/comm", os.O_WRONLY), "comm")
    with pytest.raises(errors.StorageError, match="cannot sync comm: Invalid argument"):
        file.sync()
    file.close()


def test_a_directory_that_cannot_be_synced_is_let_pass(storage: PosixStorage) -> None:
    fd = os.open("/proc", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(fd)
    finally:
        os.close(fd)
    storage.sync_dir("/proc")


# Each call in the directory given, as a user that may only look at it.
AS_NOBODY = """
import json, os, sys
import filelock
from ckptmgr import errors
from ckptmgr.storage import PosixStorage
storage = PosixStorage()
calls = {
    "create": lambda: storage.create("new"),
    "open": lambda: storage.open("file"),
    "rename": lambda: storage.rename("file", "new"),
    "unlink": lambda: storage.unlink("file"),
    "make_dirs": lambda: storage.make_dirs("new"),
    "make_dirs below": lambda: storage.make_dirs("closed/new"),
    "sync_dir": lambda: storage.sync_dir("closed"),
    "list_dir": lambda: storage.list_dir("closed"),
    "stat": lambda: storage.stat("closed/inner"),
    "lock": lambda: storage.lock("new").acquire(1),
    "lock of another": lambda: storage.lock("file").acquire(1),
}
# Before the change of user: the way here may be closed to the other.
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
outcomes = {}
for name, call in calls.items():
    try:
        outcomes[name] = ["returned", repr(call())]
    except errors.StorageError as error:
        outcomes[name] = [type(error).__name__, str(error)]
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes_as_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What each call comes to for a user without permission; root itself is never denied."""
    directory = tmp_path_factory.mktemp("closed")
    (directory / "file").write_bytes(b"data")
    (directory / "closed").mkdir()
    (directory / "closed" / "inner").write_bytes(b"")
    (directory / "file").chmod(0)
    (directory / "closed").chmod(0)
    directory.chmod(0o555)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(directory)],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            check=True,
        )
        yield json.loads(ended.stdout)
    finally:
        directory.chmod(0o755)
        (directory / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("create", "cannot create new"),
        ("open", "cannot open file"),
        ("rename", "cannot rename file to new"),
        ("unlink", "cannot remove file"),
        ("make_dirs", "cannot make directory new"),
        ("make_dirs below", "cannot make directory closed/new"),
        ("sync_dir", "cannot sync directory closed"),
        ("list_dir", "cannot list closed"),
        ("stat", "cannot stat closed/inner"),
        ("lock", "cannot lock new"),
        ("lock of another", "cannot lock file"),
    ],
)
def test_a_user_without_permission_is_denied(
    outcomes_as_nobody: dict[str, list[str]], call: str, text: str
) -> None:
    assert outcomes_as_nobody[call] == ["PermissionDenied", f"{text}: Permission denied"]
