"""The short version of `make torture-kills`, and that it notices what it is there to notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager
from ckptmgr.storage import PosixStorage
from tests.torture.promises import PromiseBroken, Promises
from tests.torture.trainer import BEST, MAX_TO_KEEP
from tests.torture.training import Training, UndisturbedRun


def torture(*arguments: str) -> str:
    # In a process of its own: it forks, and frameworks that other tests have loaded have threads.
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_trainer_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    report = torture("kills", "40", "--seed", "3", "--directory", str(tmp_path))
    assert "equals that of an undisturbed run, to the last bit" in report
    assert os.listdir(tmp_path) == []


def test_a_trainer_of_a_large_state_is_killed(tmp_path: Path) -> None:
    """Of a size that is written by several threads, past the system's cache."""
    large = ("--frozen-bytes", str(17 << 20))
    report = torture("kills", "8", "--seed", "4", "--directory", str(tmp_path), *large)
    assert "equals that of an undisturbed run, to the last bit" in report


FROZEN_BYTES = 4000
Damage = Callable[[Path], object]


def newest(directory: Path) -> Path:
    return Path(ckptmgr.latest_checkpoint(directory) or "")


def name_an_older_one(directory: Path) -> None:
    listed = ckptmgr.get_checkpoint_state(directory)
    assert listed is not None
    ckptmgr.update_checkpoint_state(directory, listed.all_model_checkpoint_paths[-2])


def forget_one(directory: Path) -> None:
    listed = ckptmgr.get_checkpoint_state(directory)
    assert listed is not None
    paths = [path for path in listed.all_model_checkpoint_paths if not path.endswith("-5")]
    ckptmgr.update_checkpoint_state(directory, paths[-1], paths)


def save_what_was_trained_differently(directory: Path) -> None:
    training = Training(FROZEN_BYTES)
    restored = CheckpointManager(training.state, directory).restore()
    assert restored is not None
    training.state.momentum[0, 0] += 1e-6
    with CheckpointManager(training.state, directory, max_to_keep=None) as manager:
        manager.save(restored.step, force=True)


def save_by_another_attempt(directory: Path) -> None:
    training = Training(FROZEN_BYTES)
    restored = CheckpointManager(training.state, directory).restore()
    assert restored is not None
    training.state["attempt"] = 99
    with CheckpointManager(training.state, directory, max_to_keep=None) as manager:
        manager.save(restored.step, force=True)


def save_what_nobody_lists(directory: Path) -> None:
    prefix = newest(directory).with_name("model.ckpt-9")
    ckptmgr.Saver({"w": np.zeros(1)}).save(str(prefix), write_state=False)


def leave_temporaries_of_two(directory: Path) -> None:
    for digit in "ab":
        (directory / f"model.ckpt-9.index.tmp-{digit * 32}").touch()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "the newest is gone": (
        lambda d: ckptmgr.remove_checkpoint(newest(d)),
        "acknowledged step 6 is gone",
    ),
    "an older one is gone": (
        lambda d: ckptmgr.remove_checkpoint(d / "model.ckpt-5"),
        "the state lists",
    ),
    "the state is gone": (lambda d: (d / "checkpoint").unlink(), "the state is gone"),
    "the state names an older one": (name_an_older_one, "the state names 5, acknowledged was 6"),
    "an entry is lost": (forget_one, "5. of the latest are gone"),
    "other weights": (save_what_was_trained_differently, "is not that of an undisturbed run"),
    "an older generation": (save_by_another_attempt, "step 6 is that of attempt 99"),
    "an entry that never was": (save_what_nobody_lists, "9. are there, and no save will ever"),
    "temporaries": (leave_temporaries_of_two, "after a save that should have removed them"),
}


@pytest.fixture
def promises(tmp_path: Path) -> Promises:
    """Those of six saves of the first attempt."""
    directory = tmp_path / "run"
    undisturbed = UndisturbedRun(FROZEN_BYTES)
    promises = Promises(str(directory), undisturbed, FROZEN_BYTES)
    promises.begin_attempt()
    training = Training(FROZEN_BYTES)
    training.state["attempt"] = 1
    with CheckpointManager(
        training.state, directory, max_to_keep=MAX_TO_KEEP, keep_best=BEST
    ) as manager:
        for step in range(1, 7):
            promises.began(step)
            training.advance()
            manager.save(step, metrics={"loss": training.loss})
            promises.acknowledged(step, 1)
    return promises


def test_a_run_that_keeps_its_promises(promises: Promises) -> None:
    assert not promises.check(1, thorough=True)
    promises.check_end()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_promise_is_noticed(promises: Promises, tmp_path: Path, damage: str) -> None:
    act, message = DAMAGES[damage]
    act(tmp_path / "run")
    with pytest.raises(PromiseBroken, match=message):
        promises.check(1, thorough=True)


def test_a_lock_that_is_held_is_noticed(promises: Promises, tmp_path: Path) -> None:
    with (
        PosixStorage().lock(str(tmp_path / "run" / ".ckptmgr" / "lock")),
        pytest.raises(PromiseBroken, match="left its lock behind"),
    ):
        promises.check(1, thorough=False)


def test_what_is_left_over_in_the_end_is_noticed(promises: Promises, tmp_path: Path) -> None:
    (tmp_path / "run" / "model.ckpt-77.data-00000-of-00001").touch()
    promises.check(1, thorough=True)
    with pytest.raises(PromiseBroken, match="shards without an index"):
        promises.check_end()
