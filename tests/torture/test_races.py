"""The short version of `make torture-races`, and that it notices what it is there to notice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager
from ckptmgr.storage import PosixStorage
from tests.torture import roles
from tests.torture.races import Race, RaceLost
from tests.torture.test_kills import torture


def test_all_at_once_on_one_directory(tmp_path: Path) -> None:
    report = torture("races", "10", "--seed", "5", "--directory", str(tmp_path))
    assert "no torn read" in report
    assert os.listdir(tmp_path) == []


@pytest.fixture
def race(tmp_path: Path) -> Race:
    """As if three checkpoints had been saved in it."""
    race = Race(str(tmp_path), secs=0, seed=1)
    state = roles.make_state()
    with CheckpointManager(state, tmp_path) as manager:
        for step in (1, 2, 3):
            roles.fill(state, step)
            manager.save(step)
            race.saved.add(f"model.ckpt-{step}")
    return race


def forget_one(directory: Path) -> None:
    ckptmgr.update_checkpoint_state(directory, "model.ckpt-3", ["model.ckpt-1", "model.ckpt-3"])


def tear_one(directory: Path) -> None:
    state = roles.make_state()
    roles.fill(state, 3)
    state["moments"][2][5] = 2.0
    with CheckpointManager(state, directory) as manager:
        manager.save(3)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a checkpoint is lost": (
        lambda d: ckptmgr.remove_checkpoint(d / "model.ckpt-2"),
        "nobody deleted these, and they are gone: .'model.ckpt-2'",
    ),
    "a state entry is lost": (forget_one, "there and not in the state: .'model.ckpt-2'"),
    "the state is lost": (lambda d: (d / "checkpoint").unlink(), "there is no state"),
    "a temporary": (
        lambda d: (d / f"model.ckpt-9.index.tmp-{'a' * 32}").touch(),
        "of those who died, these are left: .'model.ckpt-9.index.tmp-",
    ),
    "a shard": (
        lambda d: (d / "model.ckpt-9.data-00000-of-00001").touch(),
        "of those who died, these are left: .'model.ckpt-9.data-00000-of-00001'",
    ),
}


def test_a_race_that_was_won(race: Race) -> None:
    race._check()
    assert race.counts["checkpoints read in the end"] == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_went_wrong_is_noticed(race: Race, tmp_path: Path, damage: str) -> None:
    act, message = DAMAGES[damage]
    act(tmp_path)
    if damage == "a temporary":
        # Whose owner lives: nobody sweeps it.
        lock = PosixStorage().lock(str(tmp_path / ".ckptmgr" / "writers" / ("a" * 32)))
        lock.acquire()
    with pytest.raises(RaceLost, match=message):
        race._check()


def test_a_torn_read_is_noticed(race: Race, tmp_path: Path) -> None:
    tear_one(tmp_path)
    with pytest.raises(AssertionError, match="model.ckpt-3 is torn"):
        race._check()
    tensors = roles._read(str(tmp_path / "model.ckpt-2"))
    roles.require_whole("model.ckpt-2", tensors)
    with pytest.raises(AssertionError, match="model.ckpt-5 is torn"):
        roles.require_whole("model.ckpt-5", tensors)
    tensors["frozen"] = np.zeros_like(tensors["frozen"])
    with pytest.raises(AssertionError, match="model.ckpt-2 is torn"):
        roles.require_whole("model.ckpt-2", tensors)
