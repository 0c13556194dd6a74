"""Large files: the name goes at once, their space in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckptmgr import errors
from ckptmgr.storage import PosixStorage, reclaiming

LARGE_BYTES = 64 << 20

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="cannot run here: other systems free files at once"
)


def large_file(path: Path) -> str:
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, LARGE_BYTES)
    return str(path)


def space_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bfree * found.f_frsize


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_the_name_is_gone(tmp_path: Path) -> None:
    path = large_file(tmp_path / "large")
    PosixStorage().unlink(path)
    assert os.listdir(tmp_path) == []
    reclaiming.wait()
    assert not [t for t in threading.enumerate() if t.name == "ckptmgr-reclaim"]


@needs_linux
def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = descriptors()
    for number in range(5):
        PosixStorage().unlink(large_file(tmp_path / str(number)))
    reclaiming.wait()
    assert descriptors() == before


def test_a_new_file_finds_the_space(tmp_path: Path) -> None:
    storage = PosixStorage()
    taken = [large_file(tmp_path / str(number)) for number in range(8)]
    full_bytes = space_bytes(tmp_path)
    for path in taken:
        storage.unlink(path)
    storage.create(str(tmp_path / "next")).close()
    assert space_bytes(tmp_path) - full_bytes > 4 * LARGE_BYTES  # others use the disk, too


@needs_linux
def test_the_space_of_a_file_that_is_open_elsewhere_is_not_waited_for(tmp_path: Path) -> None:
    path = large_file(tmp_path / "large")
    with open(path, "rb") as file:
        PosixStorage().unlink(path)
        reclaiming.wait()
        assert len(file.read()) == LARGE_BYTES


@pytest.mark.parametrize("kind", ["missing", "directory", "link"])
def test_what_is_no_large_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "directory":
        path.mkdir()
    if kind == "link":
        path.symlink_to(large_file(tmp_path / "large"))
        PosixStorage().unlink(str(path))
        assert os.listdir(tmp_path) == ["large"]
        return
    with pytest.raises(errors.StorageError, match="cannot remove"):
        PosixStorage().unlink(str(path))


@needs_linux
def test_without_a_descriptor_to_spare(tmp_path: Path) -> None:
    """Deleting is what makes room, so it must not need any."""
    program = f"""
import os, resource
from ckptmgr.storage import PosixStorage
storage = PosixStorage()
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
resource.setrlimit(resource.RLIMIT_NOFILE, (kept[-1] + 1,) * 2)
storage.unlink({large_file(tmp_path / "large")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert os.listdir(tmp_path) == []


@needs_linux
def test_as_the_interpreter_ends(tmp_path: Path) -> None:
    program = f"""
import atexit
from ckptmgr.storage import PosixStorage
atexit.register(PosixStorage().unlink, {large_file(tmp_path / "large")!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


@needs_linux
def test_waiting_while_others_remove_files(tmp_path: Path) -> None:
    """A thread that is about to be started cannot be joined."""
    storage = PosixStorage()
    removed = threading.Event()
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            while not removed.is_set():
                reclaiming.wait()
        except RuntimeError as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    for _ in range(200):
        (tmp_path / "large").touch()
        os.truncate(tmp_path / "large", LARGE_BYTES)
        storage.unlink(str(tmp_path / "large"))
    removed.set()
    waiter.join()
    assert failures == []
