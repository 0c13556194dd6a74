from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ckptmgr import errors
from ckptmgr.storage import (
    Buffer,
    MemoryStorage,
    PosixStorage,
    Storage,
    WritableFile,
    replace_file,
)

PATH = "/run/checkpoint"
TEMPORARY = "/run/checkpoint.tmp"

DURABLE_CALLS = [
    f"create {TEMPORARY}",
    "write",
    "sync",
    "close",
    f"rename {TEMPORARY} {PATH}",
    "sync_dir /run",
]
QUICK_CALLS = [call for call in DURABLE_CALLS if not call.startswith("sync")]


class RecordingStorage(MemoryStorage):
    """Notes each call, and lets `before` fail it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    def note(self, call: str) -> None:
        self.calls.append(call)
        self.before(call)

    def create(self, path: str) -> WritableFile:
        self.note(f"create {path}")
        return RecordingFile(self, super().create(path))

    def rename(self, source: str, target: str) -> None:
        self.note(f"rename {source} {target}")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.note(f"unlink {path}")
        super().unlink(path)

    def sync_dir(self, path: str) -> None:
        self.note(f"sync_dir {path}")
        super().sync_dir(path)


class RecordingFile:
    def __init__(self, storage: RecordingStorage, file: WritableFile) -> None:
        self._storage = storage
        self._file = file

    def preallocate(self, size_bytes: int) -> None:
        self._storage.note("preallocate")
        self._file.preallocate(size_bytes)

    def bypass_cache(self) -> int:
        return self._file.bypass_cache()

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        self._storage.note("write")
        self._file.write(buffers, offset)

    def truncate(self, size_bytes: int) -> None:
        self._storage.note("truncate")
        self._file.truncate(size_bytes)

    def sync(self) -> None:
        self._storage.note("sync")
        self._file.sync()

    def close(self) -> None:
        self._storage.note("close")
        self._file.close()


@pytest.fixture
def storage() -> RecordingStorage:
    """A storage in which PATH holds the old content."""
    storage = RecordingStorage()
    storage.make_dirs("/run")
    replace_file(storage, PATH, b"old", temporary=TEMPORARY, durable=False)
    storage.calls.clear()
    return storage


def content(storage: Storage, path: str) -> bytes:
    file = storage.open(path)
    data = file.read(0, file.size_bytes)
    file.close()
    return data


@pytest.mark.parametrize(("durable", "calls"), [(True, DURABLE_CALLS), (False, QUICK_CALLS)])
def test_calls_come_in_the_order_that_a_crash_cannot_break(
    storage: RecordingStorage,
    durable: bool,  # the argument under test
    calls: list[str],
) -> None:
    replace_file(storage, PATH, b"new", temporary=TEMPORARY, durable=durable)
    assert storage.calls == calls
    assert content(storage, PATH) == b"new"
    assert storage.list_dir("/run") == ["checkpoint"]


@pytest.mark.parametrize("failure", [errors.StorageError(28, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", DURABLE_CALLS)
def test_any_failure_leaves_one_whole_content_and_no_temporary(
    storage: RecordingStorage, failing: str, failure: BaseException
) -> None:
    def fail_once(call: str) -> None:
        if call == failing and storage.calls.count(call) == 1:
            raise failure

    storage.before = fail_once
    with pytest.raises(type(failure)) as raised:
        replace_file(storage, PATH, b"new", temporary=TEMPORARY, durable=True)
    assert raised.value is failure
    assert content(storage, PATH) == (b"new" if failing == "sync_dir /run" else b"old")
    assert storage.list_dir("/run") == ["checkpoint"]


def test_the_first_of_several_failures_is_raised(storage: RecordingStorage) -> None:
    def fail_from_write_on(call: str) -> None:
        if not call.startswith("create"):
            raise errors.StorageError(5, f"{call} failed")

    storage.before = fail_from_write_on
    with pytest.raises(errors.StorageError, match="write failed"):
        replace_file(storage, PATH, b"new", temporary=TEMPORARY, durable=True)
    assert storage.calls == [f"create {TEMPORARY}", "write", "close", f"unlink {TEMPORARY}"]
    assert content(storage, PATH) == b"old"


def test_the_temporary_of_another_writer_is_left_alone(storage: RecordingStorage) -> None:
    file = storage.create(TEMPORARY)
    file.write([b"theirs"], 0)
    file.close()
    with pytest.raises(errors.FileExists, match=f"cannot create {TEMPORARY}: File exists"):
        replace_file(storage, PATH, b"new", temporary=TEMPORARY, durable=True)
    assert content(storage, TEMPORARY) == b"theirs"
    assert content(storage, PATH) == b"old"


def test_a_name_without_directory_syncs_the_working_directory(
    storage: RecordingStorage,
) -> None:
    replace_file(storage, "state", b"new", temporary="state.tmp", durable=True)
    assert storage.calls[-1] == "sync_dir ."
    assert content(storage, "state") == b"new"


def test_a_reader_never_finds_a_part(tmp_path: Path) -> None:
    storage = PosixStorage()
    path, temporary = f"{tmp_path}/state", f"{tmp_path}/state.tmp"
    contents = [bytes([65 + i]) * (1000 + i) for i in range(20)]
    replace_file(storage, path, contents[0], temporary=temporary, durable=True)
    done = threading.Event()
    found: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            found.add(content(storage, path))

    reader = threading.Thread(target=read)
    reader.start()
    for data in contents * 10:
        replace_file(storage, path, data, temporary=temporary, durable=False)
    done.set()
    reader.join()
    assert found
    assert found <= set(contents)
    assert content(storage, path) == contents[-1]
