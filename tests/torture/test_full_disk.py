"""A disk that is really full: memory and ext4 of a few megabytes, and a limit on files' sizes.

In each case: the error says what happened, what was acknowledged stands, nothing is left of what
failed, and once there is room the same manager saves again.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, Saver, errors
from tests.torture import mounts

MIB = 1 << 20

#: Files of this size are written by several threads, past the cache, into reserved space.
LARGE_BYTES = 17 * MIB

Disk = Callable[[int], Path]


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Makes a file system of that many bytes."""
    make: Callable[..., AbstractContextManager[Path]] = getattr(mounts, request.param)
    opened: list[AbstractContextManager[Path]] = []

    def mount(size_bytes: int) -> Path:
        context = make(tmp_path / request.param, size_bytes)
        try:
            path = context.__enter__()
        except mounts.CannotMount as error:
            pytest.skip(f"cannot run here: {error}")
        opened.append(context)
        return path

    yield mount
    for context in opened:
        context.__exit__(None, None, None)


def state(size_bytes: int, value: int) -> dict[str, Any]:
    return {"w": np.full(size_bytes // 8, value, np.float64)}


def save_and_wait(manager: CheckpointManager, step: int, size_bytes: int) -> None:
    manager.save(step, state(size_bytes, step))
    manager.wait()


def fill_up(disk: Path, *, but_bytes: int = 0) -> Path:
    """Take all space but so much."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * MIB)
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 512)
    if but_bytes:
        os.truncate(ballast, max(0, ballast.stat().st_size - but_bytes))
    return ballast


def require_whole(manager: CheckpointManager, step: int) -> None:
    assert manager.latest_step() == step
    restored = CheckpointManager(None, manager.directory).restore()
    assert restored is not None
    assert restored.step == step
    assert np.unique(restored.state["w"]).tolist() == [step]


def leftovers(directory: str | os.PathLike[str]) -> list[str]:
    names = [name for _, _, files in os.walk(directory) for name in files]
    return [name for name in names if ".tmp-" in name]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("size_bytes", [MIB, LARGE_BYTES])
def test_the_data_does_not_fit(disk: Disk, asynchronous: bool, size_bytes: int) -> None:
    place = disk(4 * size_bytes + 8 * MIB)
    with CheckpointManager(
        None, place / "run", asynchronous=asynchronous, max_to_keep=1
    ) as manager:
        save_and_wait(manager, 1, size_bytes)
        ballast = fill_up(place, but_bytes=size_bytes // 2)
        for step in (2, 3):
            with pytest.raises(errors.StorageError, match="No space left on device") as caught:
                save_and_wait(manager, step, size_bytes)
            assert caught.value.errno == errno.ENOSPC
            assert str(place / "run" / f"model.ckpt-{step}.data") in str(caught.value)
            require_whole(manager, 1)
            assert leftovers(place) == []
        ballast.unlink()
        save_and_wait(manager, 4, size_bytes)
        require_whole(manager, 4)
        assert manager.all_steps() == [4]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_there_is_room_for_the_checkpoint_and_not_for_the_state(
    disk: Disk, asynchronous: bool
) -> None:
    """However much room there is, what is named is whole, and a save that returned is named."""
    place = disk(12 * MIB)
    size_bytes = 64 << 10
    with CheckpointManager(
        None, place / "run", asynchronous=asynchronous, max_to_keep=2
    ) as manager:
        manager.save(1, state(size_bytes, 1))
        save_and_wait(manager, 2, size_bytes)
        newest, failures = 2, 0
        for step, blocks in enumerate(range(26), start=3):
            ballast = fill_up(place, but_bytes=blocks * 4096)
            failed = None
            try:
                save_and_wait(manager, step, size_bytes)
                newest = step
            except errors.StorageError as error:
                failed = error.errno
            assert failed in {None, errno.ENOSPC}
            failures += failed is not None
            ballast.unlink()
            assert manager.latest_step() in {newest, step}
            require_whole(manager, manager.latest_step() or 0)
            assert {newest} <= set(manager.all_steps())
            assert leftovers(place) == []
        assert failures > 10
        assert newest == step  # with a hundred kilobytes, it fits
        save_and_wait(manager, 100, size_bytes)
        require_whole(manager, 100)
        assert len(manager.all_steps()) == 2


def test_saving_over_a_step_on_a_full_disk_leaves_the_old_one(disk: Disk) -> None:
    place = disk(12 * MIB)
    with CheckpointManager(None, place / "run") as manager:
        manager.save(5, state(MIB, 5))
    ballast = fill_up(place)
    with CheckpointManager(None, place / "run") as manager:
        with pytest.raises(errors.StorageError, match="No space left on device"):
            manager.save(5, state(MIB, 6))
        require_whole(manager, 5)
        ballast.unlink()
        manager.save(5, state(MIB, 5))
        require_whole(manager, 5)
        assert len([name for name in os.listdir(place / "run") if ".data-" in name]) == 1


def test_a_first_save_on_a_full_disk_leaves_an_empty_run(disk: Disk) -> None:
    place = disk(12 * MIB)
    ballast = fill_up(place)
    with CheckpointManager(None, place / "run") as manager:
        with pytest.raises(errors.StorageError, match="No space left on device"):
            manager.save(1, state(MIB, 1))
        assert manager.restore() is None
        ballast.unlink()
        manager.save(1, state(MIB, 1))
        require_whole(manager, 1)


def test_a_saver_on_a_full_disk(disk: Disk) -> None:
    place = disk(12 * MIB)
    saver = Saver({"w": np.zeros(MIB // 8)}, max_to_keep=1)
    first = saver.save(str(place / "m"), 1)
    ballast = fill_up(place, but_bytes=MIB // 2)
    with pytest.raises(errors.StorageError, match="No space left on device"):
        saver.save(str(place / "m"), 2)
    assert ckptmgr.latest_checkpoint(place) == first
    assert leftovers(place) == []
    ballast.unlink()
    second = saver.save(str(place / "m"), 3)
    assert ckptmgr.latest_checkpoint(place) == second
    assert first is not None
    assert not ckptmgr.checkpoint_exists(first)


LIMITED = """
import resource, signal, sys
import numpy as np
from ckptmgr import CheckpointManager, errors

directory, asynchronous = sys.argv[1], sys.argv[2] == "True"
elements, limit = map(int, sys.argv[3:])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does by itself
manager = CheckpointManager(None, directory, asynchronous=asynchronous, max_to_keep=1)
manager.save(1, {"w": np.full(10, 1.0)})
manager.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    manager.save(2, {"w": np.full(elements, 2.0)})
    manager.wait()
except errors.StorageError as error:
    print(error.errno, manager.all_steps(), manager.latest_step())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
manager.save(3, {"w": np.full(elements, 3.0)})
manager.close()
print(manager.all_steps(), np.unique(manager.restore().state["w"]).tolist())
"""


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("elements", [10_000, LARGE_BYTES // 8])
def test_a_limit_on_the_size_of_files(tmp_path: Path, asynchronous: bool, elements: int) -> None:
    """What a full disk looks like to whoever may not mount one."""
    arguments = [str(tmp_path), str(asynchronous), str(elements), "65536"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{errno.EFBIG} [1] 1\n[3] [3.0]\n"
    assert leftovers(tmp_path) == []
