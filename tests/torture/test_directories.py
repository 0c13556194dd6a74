"""Directories that refuse writes, go away, move, or have odd names; a clock that goes backwards."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors, events
from tests.torture import mounts


def state(value: float) -> dict[str, Any]:
    return {"w": np.full(1000, value)}


def save_and_wait(manager: CheckpointManager, step: int) -> None:
    manager.save(step, state(step))
    manager.wait()


def require_whole(directory: Path, steps: list[int]) -> None:
    """These checkpoints are all there are, and each holds what was saved."""
    manager = CheckpointManager(None, directory)
    assert manager.all_steps() == steps
    for step in steps:
        restored = manager.restore(step)
        assert restored is not None
        assert np.unique(restored.state["w"]).tolist() == [step]


# --------------------------------------------------------------------------- read-only


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_file_system_becomes_read_only_under_a_running_manager(
    tmp_path: Path, asynchronous: bool
) -> None:
    directory = tmp_path / "run"
    manager = CheckpointManager(None, directory, asynchronous=asynchronous)
    save_and_wait(manager, 1)
    try:
        with mounts.read_only(directory):
            for step in (2, 3):
                with pytest.raises(errors.StorageError, match="Read-only file system") as caught:
                    save_and_wait(manager, step)
                assert caught.value.errno == errno.EROFS
                assert str(directory) in str(caught.value)
            assert manager.latest_step() == 1
            require_whole(directory, [1])
            with CheckpointManager(None, directory) as other:
                assert other.restore() is not None
            assert list(ckptmgr.CheckpointWatcher(directory, timeout_secs=0))
    except mounts.CannotMount as error:
        pytest.skip(f"cannot run here: {error}")
    save_and_wait(manager, 4)
    manager.close()
    require_whole(directory, [1, 4])


# --------------------------------------------------------------------------- removed, moved


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("gone", ["run", "run/.ckptmgr", "run/.ckptmgr/writers"])
def test_removed_between_two_saves(tmp_path: Path, asynchronous: bool, gone: str) -> None:
    directory = tmp_path / "run"
    with CheckpointManager(None, directory, asynchronous=asynchronous) as manager:
        save_and_wait(manager, 1)
        shutil.rmtree(tmp_path / gone)
        save_and_wait(manager, 2)
        save_and_wait(manager, 3)
    require_whole(directory, [2, 3] if gone == "run" else [1, 2, 3])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("moment", [events.SaveStarted, events.SaveWritten])
@pytest.mark.parametrize("away", [shutil.rmtree, lambda path: path.rename(f"{path}-moved")])
def test_removed_or_moved_in_the_middle_of_a_save(
    tmp_path: Path, asynchronous: bool, moment: type[events.Event], away: Any
) -> None:
    directory = tmp_path / "run"

    def interfere(event: events.Event) -> None:
        if isinstance(event, moment) and getattr(event, "step", None) == 2 and directory.exists():
            away(directory)

    with CheckpointManager(
        None, directory, asynchronous=asynchronous, on_event=interfere
    ) as manager:
        save_and_wait(manager, 1)
        if moment is events.SaveStarted:
            # Before the first write of a save, it is a removal between two saves.
            save_and_wait(manager, 2)
            saved = [2]
        else:
            with pytest.raises(errors.FileMissing, match=str(directory)):
                save_and_wait(manager, 2)
            saved = []
        save_and_wait(manager, 3)
    require_whole(directory, [*saved, 3])
    if (tmp_path / "run-moved").exists():
        require_whole(tmp_path / "run-moved", [1])
        with CheckpointManager(None, tmp_path / "run-moved") as other:
            save_and_wait(other, 5)
        assert [n for n in os.listdir(tmp_path / "run-moved") if ".tmp-" in n] == []


def test_a_file_takes_the_place_of_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with CheckpointManager(None, directory) as manager:
        save_and_wait(manager, 1)
        directory.rename(tmp_path / "moved")
        directory.write_text("not a directory")
        for step in (2, 3):
            with pytest.raises(errors.StorageError, match=str(directory)):
                save_and_wait(manager, step)
        directory.unlink()
        (tmp_path / "moved").rename(directory)
        save_and_wait(manager, 4)
    require_whole(directory, [1, 4])


def test_another_directory_takes_the_place_of_one_that_moved(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with CheckpointManager(None, directory, max_to_keep=2) as manager:
        for step in (1, 2):
            save_and_wait(manager, step)
        directory.rename(tmp_path / "moved")
        with CheckpointManager(None, directory) as other:
            save_and_wait(other, 50)
        save_and_wait(manager, 3)
        assert manager.all_steps() == [3, 50]
    require_whole(tmp_path / "moved", [1, 2])


# --------------------------------------------------------------------------- names


def test_a_directory_behind_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "here").symlink_to("runs")
    directory = tmp_path / "link" / "here" / "run"
    with CheckpointManager(None, directory, max_to_keep=2, deduplicate=True) as manager:
        for step in (1, 2, 3):
            save_and_wait(manager, step)
        with ckptmgr.hold(manager.latest_checkpoint or ""):
            save_and_wait(manager, 4)
        (tmp_path / "disk" / "here").unlink()
        (tmp_path / "disk" / "here").symlink_to(tmp_path / "disk" / "runs")
        save_and_wait(manager, 5)
    require_whole(directory, [4, 5])
    require_whole(tmp_path / "disk" / "runs" / "run", [4, 5])


def test_a_link_that_leads_elsewhere_from_one_save_to_the_next(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("first")
    with CheckpointManager(None, link) as manager:
        save_and_wait(manager, 1)
        link.unlink()
        link.symlink_to("second")
        save_and_wait(manager, 2)
        assert manager.latest_checkpoint == str(link / "model.ckpt-2")
    require_whole(tmp_path / "first", [1])
    require_whole(tmp_path / "second", [2])


def test_a_name_that_leaves_no_room_for_what_is_added_to_it(tmp_path: Path) -> None:
    fits = "m" * 150
    with CheckpointManager(None, tmp_path / "run", checkpoint_name=fits) as manager:
        save_and_wait(manager, 1)
        assert manager.restore() is not None
    for length in (200, 240, 255):
        with CheckpointManager(
            None, tmp_path / f"long{length}", checkpoint_name="m" * length
        ) as manager:
            with pytest.raises(errors.StorageError, match="File name too long") as caught:
                save_and_wait(manager, 1)
            assert caught.value.errno == errno.ENAMETOOLONG
            assert manager.restore() is None
            assert [n for n in os.listdir(tmp_path / f"long{length}") if "m" in n[:1]] == []


def test_a_directory_deeper_than_a_path_may_be_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    absolute = os.path.join(tmp_path, *["d" * 250] * 20, "run")
    with pytest.raises(errors.StorageError, match="File name too long"):
        CheckpointManager(None, absolute)
    # By a relative path it can be reached.
    with CheckpointManager(None, "run") as manager:
        save_and_wait(manager, 1)
        assert manager.all_steps() == [1]


# --------------------------------------------------------------------------- the clock


class Clock:
    def __init__(self, secs: float) -> None:
        self.secs = secs

    def __call__(self) -> float:
        return self.secs


@pytest.mark.parametrize("back_secs", [1.0, 3600.0, 10 * 365 * 86400.0, 2e9])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_clock_goes_backwards(tmp_path: Path, back_secs: float, restarts: bool) -> None:
    clock = Clock(2e9)

    def manager_again() -> CheckpointManager:
        return CheckpointManager(
            None,
            tmp_path,
            max_to_keep=2,
            keep_checkpoint_every_n_hours=1,
            clock=clock,
        )

    manager = manager_again()
    saved: list[int] = []
    for step in range(1, 21):
        clock.secs += 600 if step != 10 else -back_secs
        if restarts:
            manager.close()
            manager = manager_again()
        save_and_wait(manager, step)
        saved.append(step)
        assert manager.latest_step() == step
        # The latest ones are those saved last, whatever the clock said.
        assert set(saved[-2:]) <= set(manager.all_steps())
    manager.close()
    # An hour is six steps; those kept for their hour stay, on both sides of the jump.
    kept = [step for step in manager.all_steps() if step <= 18]
    assert [step for step in kept if step < 10], kept
    assert [step for step in kept if step >= 10], kept
    assert len(kept) <= 6


@pytest.mark.parametrize("back_secs", [30.0, 3600.0, 2e9])
def test_an_interval_in_seconds_does_not_wait_for_the_clock_to_catch_up(
    tmp_path: Path, back_secs: float
) -> None:
    clock = Clock(2e9)
    manager = CheckpointManager(None, tmp_path, save_interval_secs=60, clock=clock)
    saved = []
    for step in range(1, 41):
        clock.secs += 10 if step != 20 else -back_secs
        if manager.save(step, state(step)) is not None:
            saved.append(step)
    gaps = np.diff(saved)
    assert max(gaps) <= 7, saved
    assert [step for step in saved if step > 20]


# --------------------------------------------------------------------------- no descriptors

EMFILE = """
import errno, os, resource, sys
import numpy as np
from ckptmgr import CheckpointManager, errors, hold, load_checkpoint

directory, asynchronous = sys.argv[1], sys.argv[2] == "True"
manager = CheckpointManager(None, directory, asynchronous=asynchronous, max_to_keep=2)
manager.save(1, {"w": np.full(1000, 1.0)})
manager.wait()
newest, failures = 1, 0
limit = len(os.listdir("/proc/self/fd")) + 20
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
for free in range(12):
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for fd in taken[:free]:
        os.close(fd)
    step = 2 + free
    try:
        manager.save(step, {"w": np.full(1000, float(step))})
        manager.wait()
        newest = step
    except errors.StorageError as error:
        assert error.errno == errno.EMFILE, error
        assert directory in str(error), error
        failures += 1
    for read in (manager.restore, lambda: load_checkpoint(f"{directory}/model.ckpt-1").close()):
        try:
            read()
        except (errors.StorageError, errors.CheckpointNotFound) as error:
            assert getattr(error, "errno", errno.EMFILE) in (errno.EMFILE, None), error
    for fd in taken[free:]:
        os.close(fd)
    latest = manager.latest_step()
    assert latest in (newest, step), (latest, newest)
    restored = CheckpointManager(None, directory).restore()
    assert np.unique(restored.state["w"]).tolist() == [latest]
    newest = latest
assert failures >= 2, failures
assert newest == step
manager.save(100, {"w": np.full(1000, 100.0)})
manager.close()
assert CheckpointManager(None, directory).all_steps()[-1] == 100
left = [n for d, _, names in os.walk(directory) for n in names if ".tmp-" in n]
assert not left, left
"""


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_file_can_be_opened(tmp_path: Path, asynchronous: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EMFILE, str(tmp_path), str(asynchronous)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


EMFILE_FOLLOWER = """
import os, resource, sys
import numpy as np
from ckptmgr import CheckpointManager, CheckpointWatcher

directory = sys.argv[1]
manager = CheckpointManager(None, directory)
manager.save(1, {"w": np.zeros(3)})
with CheckpointWatcher(directory) as watcher:  # imports all that it needs
    assert watcher.wait(10) is not None
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, 4096))
for free in range(8):
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for fd in taken[:free]:
        os.close(fd)
    with CheckpointWatcher(directory, poll_interval_secs=0.05) as watcher:
        found = watcher.wait(0.1)
        for fd in taken[free:]:
            os.close(fd)
        assert (found or watcher.wait(10)) == manager.latest_checkpoint
        manager.save(10 + free, {"w": np.zeros(3)})
        assert watcher.wait(10) == manager.latest_checkpoint
"""


def test_who_follows_waits_until_there_are_files_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EMFILE_FOLLOWER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "polling it instead" in done.stderr
