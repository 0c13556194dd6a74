from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckptmgr import errors
from ckptmgr.storage import Fault, FaultInjectingStorage, MemoryStorage, PosixStorage, ProcessKilled
from ckptmgr.storage.faults import METHODS


def write(storage: FaultInjectingStorage, path: str, data: bytes = b"12345678") -> None:
    file = storage.create(path)
    try:
        file.write([data[:3], data[3:]], 0)
        file.sync()
    finally:
        file.close()


def content(storage: MemoryStorage, path: str) -> bytes:
    file = storage.open(path)
    return file.read(0, file.size_bytes)


def test_calls_are_numbered_and_readable() -> None:
    storage = FaultInjectingStorage(MemoryStorage())
    write(storage, "/a")
    storage.rename("/a", "/b")
    with storage.lock("/lock"):
        assert storage.stat("/b") is not None
    assert [" ".join(str(call).split()) for call in storage.calls] == [
        "1 create /a",
        "2 write /a 8 bytes at 0",
        "3 sync /a",
        "4 close /a",
        "5 rename /a -> /b",
        "6 acquire /lock",
        "7 stat /b",
        "8 release /lock",
    ]
    assert storage.met == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.StorageError),
        (errno.ENOENT, errors.FileMissing),
        (errno.EEXIST, errors.FileExists),
        (errno.EACCES, errors.PermissionDenied),
        (errno.ENOTDIR, errors.NotADirectory),
        (errno.EINTR, InterruptedError),
    ],
)
def test_an_errno_is_raised_as_the_disk_would(number: int, kind: type[BaseException]) -> None:
    storage = FaultInjectingStorage(MemoryStorage(), [Fault(error=number)])
    with pytest.raises(errors.StorageError) as raised:
        storage.create("/a")
    assert (raised.value.errno, raised.value.filename) == (number, "/a")
    if number == errno.EINTR:
        kind = errors.StorageError
    assert type(raised.value) is kind
    assert str(raised.value) == f"cannot create /a: {os.strerror(number)}"
    storage.create("/a")  # it was once


def test_a_lasting_fault_fails_what_it_admits_and_nothing_else() -> None:
    fault = Fault(at=2, error=errno.EDQUOT, lasting=True, method="create", path=str.isascii)
    storage = FaultInjectingStorage(MemoryStorage(), [fault])
    storage.create("/a")
    storage.create("/ä")
    for name in ("/b", "/c"):
        with pytest.raises(errors.StorageError):
            storage.create(name)
    assert storage.list_dir("/") == sorted({"a", "ä", *os.getcwd().split("/")[1:2]})
    assert [call.path for call in storage.met] == ["/b", "/c"]


def test_a_rename_is_asked_for_by_either_name() -> None:
    inner = MemoryStorage()
    inner.create("/a").close()
    storage = FaultInjectingStorage(inner, [Fault(error=5, path="/a".__eq__)])
    with pytest.raises(errors.StorageError, match="rename to /b"):
        storage.rename("/a", "/b")
    assert inner.stat("/a") is not None


def test_a_short_write_leaves_a_part() -> None:
    inner = MemoryStorage()
    storage = FaultInjectingStorage(inner, [Fault(error=errno.ENOSPC, method="write", written=0.5)])
    with pytest.raises(errors.StorageError, match="No space left"):
        write(storage, "/a")
    assert content(inner, "/a") == b"1234"


def test_a_failed_close_and_release_let_go_all_the_same() -> None:
    inner = MemoryStorage()
    storage = FaultInjectingStorage(
        inner, [Fault(error=5, method="close"), Fault(error=5, method="release")]
    )
    file = storage.create("/a")
    with pytest.raises(errors.StorageError, match="close"):
        file.close()
    with pytest.raises(errors.StorageError, match="EBADF|Bad file"):
        file.write([b"1"], 0)
    lock = storage.lock("/lock")
    lock.acquire()
    with pytest.raises(errors.StorageError, match="unlock"):
        lock.release()
    assert inner.lock("/lock").try_acquire()


def test_the_dead_do_nothing_more_in_any_thread_and_hold_no_lock() -> None:
    inner = MemoryStorage()
    storage = FaultInjectingStorage(inner, [Fault(at=3, kill=True)])
    lock = storage.lock("/lock")
    lock.acquire()
    file = storage.create("/a")
    with pytest.raises(ProcessKilled, match="3 write"):
        file.write([b"1"], 0)
    assert inner.lock("/lock").try_acquire()
    heard = []

    def go_on() -> None:
        try:
            storage.unlink("/a")
        except ProcessKilled as error:
            heard.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
    assert len(heard) == 1
    for refused in (file.sync, lock.try_acquire, lambda: storage.stat("/a")):
        with pytest.raises(ProcessKilled):
            refused()
    file.close()  # the system has, and says nothing
    lock.release()
    assert not inner.lock("/lock").try_acquire()  # it is another's by now
    assert storage.is_killed
    assert len(storage.calls) == 3


KILLED_CHILD = """
import sys
from ckptmgr.storage import Fault, FaultInjectingStorage, PosixStorage
fault = Fault(method="write", at=2, kill="sigkill", written=0.5)
storage = FaultInjectingStorage(PosixStorage(), [fault])
file = storage.create(sys.argv[1])
file.write([b"first"], 0)
file.write([b"second"], 5)
print("alive")
"""


def test_a_child_process_is_really_killed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_CHILD, str(path)], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert path.read_bytes() == b"firstsec"


def test_a_real_file_system_can_be_made_to_fail(tmp_path: Path) -> None:
    storage = FaultInjectingStorage(PosixStorage(), [Fault(error=errno.EIO, method="sync")])
    with pytest.raises(errors.StorageError, match="cannot sync .*: Input/output error"):
        write(storage, str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "an error or kills"),
        ({"error": 5, "kill": True}, "an error or kills"),
        ({"error": 5, "at": 0}, "at must be a positive integer"),
        ({"kill": "term"}, "kill must be a bool or 'sigkill', found 'term'"),
        ({"error": 5, "written": 2.0}, "written must be at most 1"),
        ({"error": 5, "method": "fsync"}, "method must be one of create, open"),
    ],
)
def test_a_fault_that_cannot_be_meant_is_refused(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=text):
        Fault(**arguments)  # type: ignore[arg-type]


def test_every_call_of_the_protocol_has_a_number() -> None:
    storage = FaultInjectingStorage(MemoryStorage())
    storage.make_dirs("/d")
    file = storage.create("/d/a")
    file.preallocate(4)
    file.bypass_cache()
    file.write([b"1234"], 0)
    file.truncate(2)
    file.sync()
    file.close()
    storage.link("/d/a", "/d/b")
    storage.rename("/d/b", "/d/c")
    storage.sync_file("/d/a")
    storage.sync_dir("/d")
    storage.list_dir("/d")
    storage.stat("/d")
    found = storage.open("/d/a")
    found.read(0, 1)
    found.read_into(memoryview(bytearray(1)), 0)
    found.map()
    lock = storage.lock("/d/lock")
    lock.acquire()
    lock.release()
    lock.try_acquire()
    storage.unlink("/d/a")
    assert {call.method for call in storage.calls} == set(METHODS)
    assert [call.number for call in storage.calls] == list(range(1, len(storage.calls) + 1))
