from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, Saver, errors
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle.repair import apply_repair
from ckptmgr.retention import BestN
from ckptmgr.storage import Fault, FaultInjectingStorage, PosixStorage, PowerLossStorage

DEAD = "0" * 32


def save_steps(directory: Path | str, *steps: int, **arguments: Any) -> None:
    times = itertools.count(1_700_000_000)
    arguments = {"clock": lambda: float(next(times)), "durability": "none", **arguments}
    with CheckpointManager(None, directory, **arguments) as manager:
        for step in steps:
            manager.save(step, {"w": np.full(40, step)}, metrics={"loss": 1 / (1 + step)})


def damage(directory: Path, *steps: int) -> None:
    for step in steps:
        path = directory / f"model.ckpt-{step}.data-00000-of-00001"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "lock"  # older versions of filelock touch it
    }


def stored(directory: Path) -> CheckpointState:
    """The state, its paths as base names."""
    state = ckptmgr.get_checkpoint_state(directory)
    assert state is not None
    bases = tuple(map(os.path.basename, state.all_model_checkpoint_paths))
    return CheckpointState(
        os.path.basename(state.model_checkpoint_path),
        bases,
        state.all_model_checkpoint_timestamps,
        state.last_preserved_timestamp,
    )


def named(*steps: int) -> tuple[str, ...]:
    return tuple(f"model.ckpt-{step}" for step in steps)


# --------------------------------------------------------------------------- nothing to do


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_to_keep": 1, "keep_every_n_steps": 2},
        {"keep_best": BestN("loss", mode="max"), "max_to_keep": 1},
        {"clock": itertools.count(2_000_000_000.0, -1000).__next__},
    ],
)
def test_a_whole_directory_stays_as_it_is(tmp_path: Path, arguments: dict[str, Any]) -> None:
    save_steps(tmp_path, 1, 2, 3, 4, **arguments)
    before = snapshot(tmp_path)

    plan = ckptmgr.repair(tmp_path, apply=True)

    assert plan.is_empty
    assert plan.reasons == ()
    assert snapshot(tmp_path) == before


def test_a_directory_of_tensorflow_stays_as_it_is(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "obj_ckpt", tmp_path / "run")
    before = snapshot(tmp_path)
    assert ckptmgr.repair(tmp_path / "run", apply=True).is_empty
    assert snapshot(tmp_path) == before


def test_where_nothing_is_whole_the_state_stays(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    damage(tmp_path, 1, 2)
    before = snapshot(tmp_path)
    assert ckptmgr.repair(tmp_path, apply=True).is_empty
    assert snapshot(tmp_path) == before


# --------------------------------------------------------------------------- the state


def remove_state(directory: Path) -> None:
    (directory / "checkpoint").unlink()


def spoil_state(directory: Path) -> None:
    (directory / "checkpoint").write_bytes(b"\x00\xff")


def remove_last(directory: Path) -> None:
    ckptmgr.remove_checkpoint(directory / "model.ckpt-4")


@pytest.mark.parametrize(
    ("harm", "latest", "listed"),
    [
        (lambda directory: damage(directory, 4), 3, (2, 3)),
        (lambda directory: damage(directory, 3), 4, (2, 4)),
        (lambda directory: damage(directory, 3, 4), 2, (2,)),
        (remove_last, 3, (2, 3)),
        (remove_state, 4, (2, 3, 4)),
        (spoil_state, 4, (2, 3, 4)),
    ],
)
def test_the_state_names_what_is_whole(
    tf: Any, tmp_path: Path, harm: Callable[[Path], None], latest: int, listed: tuple[int, ...]
) -> None:
    save_steps(tmp_path, 1, 2, 3, 4, max_to_keep=3)
    before = stored(tmp_path)
    times = dict(
        zip(before.all_model_checkpoint_paths, before.all_model_checkpoint_timestamps, strict=True)
    )
    harm(tmp_path)
    found = snapshot(tmp_path)

    plan = ckptmgr.repair(tmp_path)
    assert snapshot(tmp_path) == found, "it was only asked what it would do"
    assert plan.reasons
    apply_repair(plan)

    after = stored(tmp_path)
    assert after.model_checkpoint_path == f"model.ckpt-{latest}"
    assert after.all_model_checkpoint_paths == named(*listed)
    assert after.all_model_checkpoint_timestamps == tuple(times[base] for base in named(*listed))
    untouched = {name for name in found if not name.startswith(("checkpoint", ".ckptmgr"))}
    assert {name: found[name] for name in untouched} == {
        name: content for name, content in snapshot(tmp_path).items() if name in untouched
    }
    restored = CheckpointManager(None, tmp_path).restore(strict=True)
    assert restored is not None
    assert restored.step == latest
    prefix = str(tmp_path / f"model.ckpt-{latest}")
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    assert tf.train.load_checkpoint(str(tmp_path)).get_tensor("w").tolist() == [latest] * 40
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(), str(tmp_path), max_to_keep=3)
    assert manager.latest_checkpoint == prefix
    assert manager.checkpoints == [str(tmp_path / base) for base in named(*listed)]
    assert ckptmgr.repair(tmp_path).is_empty


def test_a_lost_state_lists_only_what_its_policy_wants(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, 4, 5, max_to_keep=2, keep_every_n_steps=2)
    before = stored(tmp_path)
    remove_state(tmp_path)
    ckptmgr.repair(tmp_path, apply=True)
    assert stored(tmp_path).all_model_checkpoint_paths == before.all_model_checkpoint_paths
    save_steps(tmp_path, 7, 9, max_to_keep=2, keep_every_n_steps=2)
    steps = CheckpointManager(None, tmp_path).all_steps()
    assert steps == [2, 4, 7, 9], "what was kept for good still is"


def test_what_was_kept_for_good_is_named_and_not_listed(tf: Any, tmp_path: Path) -> None:
    save_steps(tmp_path, 3, 4, max_to_keep=1, keep_every_n_steps=3)
    save_steps(tmp_path, 5, max_to_keep=1, clock=lambda: 1_800_000_000.0)
    assert CheckpointManager(None, tmp_path).all_steps() == [3, 5]
    damage(tmp_path, 5)

    ckptmgr.repair(tmp_path, apply=True)

    after = stored(tmp_path)
    assert (after.model_checkpoint_path, after.all_model_checkpoint_paths) == ("model.ckpt-3", ())
    prefix = str(tmp_path / "model.ckpt-3")
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(), str(tmp_path), max_to_keep=1)
    assert manager.latest_checkpoint == prefix
    save_steps(tmp_path, 6, 7, max_to_keep=1, clock=lambda: 1_800_000_001.0)
    assert CheckpointManager(None, tmp_path).all_steps() == [3, 5, 7]


def test_of_a_saver_nothing_comes_under_retention(tf: Any, tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(3)}, max_to_keep=None)
    for step in (1, 2, 10):
        saver.save(str(tmp_path / "model"), global_step=step)
        os.utime(tmp_path / f"model-{step}.index", (1000 + step, 1000 + step))
    del saver
    remove_state(tmp_path)

    ckptmgr.repair(tmp_path, apply=True)

    bases = ("model-1", "model-2", "model-10")
    assert stored(tmp_path) == CheckpointState("model-10", bases, (), 0.0)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model-10")


def test_of_a_saver_the_newest_whole_one_is_listed(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(3)}, max_to_keep=None)
    for step in (1, 2):
        saver.save(str(tmp_path / "model.ckpt"), global_step=step)
    del saver
    assert stored(tmp_path).all_model_checkpoint_paths == named(2)
    damage(tmp_path, 2)

    ckptmgr.repair(tmp_path, apply=True)

    assert stored(tmp_path) == CheckpointState("model.ckpt-1", named(1), (), 0.0)


def test_the_times_of_the_save_give_the_order(tmp_path: Path) -> None:
    for step, now_secs in ((30, 5.0), (10, 6.0), (20, 7.0)):
        save_steps(tmp_path, step, clock=lambda now_secs=now_secs: now_secs)
    remove_state(tmp_path)
    ckptmgr.repair(tmp_path, apply=True)
    assert stored(tmp_path).all_model_checkpoint_paths == named(30, 10, 20)
    assert stored(tmp_path).all_model_checkpoint_timestamps == (5.0, 6.0, 7.0)


def test_where_the_clock_was_set_back_the_order_of_the_state_counts(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, clock=itertools.count(2_000_000_000.0, -1000).__next__)
    damage(tmp_path, 3)
    ckptmgr.repair(tmp_path, apply=True)
    assert stored(tmp_path).model_checkpoint_path == "model.ckpt-2"
    assert stored(tmp_path).all_model_checkpoint_paths == named(1, 2)


@pytest.mark.parametrize("name", ["v2_saver", "v2_sharded", "v1_ckpt"])
def test_a_moved_directory(tf: Any, golden: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(golden / name, tmp_path / "new")
    assert tf.train.latest_checkpoint(str(tmp_path / "new")) is None
    listed = stored(tmp_path / "new").all_model_checkpoint_paths

    ckptmgr.repair(tmp_path / "new", apply=True)

    assert tf.train.latest_checkpoint(str(tmp_path / "new")) == str(tmp_path / "new" / listed[-1])
    assert stored(tmp_path / "new").all_model_checkpoint_paths == listed
    assert (tmp_path / "new" / "checkpoint").read_text().count("/") == 0


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_steps("run", 1, 2)
    damage(Path("run"), 2)
    ckptmgr.repair("run", apply=True)
    assert (
        (tmp_path / "run" / "checkpoint")
        .read_text()
        .startswith(
            'model_checkpoint_path: "model.ckpt-1"\nall_model_checkpoint_paths: "model.ckpt-1"\n'
        )
    )


def test_a_checkpoint_elsewhere_stays_named(tmp_path: Path) -> None:
    save_steps(tmp_path / "a", 1)
    save_steps(tmp_path / "b", 2, 3)
    elsewhere = str(tmp_path / "a" / "model.ckpt-1")
    paths = [elsewhere, str(tmp_path / "b" / "model.ckpt-3")]
    ckptmgr.update_checkpoint_state(tmp_path / "b", paths[1], paths)
    damage(tmp_path / "b", 3)

    ckptmgr.repair(tmp_path / "b", apply=True)

    state = ckptmgr.get_checkpoint_state(tmp_path / "b")
    assert state is not None
    assert state.all_model_checkpoint_paths[0] == elsewhere
    assert state.model_checkpoint_path == str(tmp_path / "b" / "model.ckpt-2")


# --------------------------------------------------------------------------- leftovers, writers


def test_what_a_crash_left_over_goes(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    orphan = tmp_path / "other.data-00000-of-00001"
    left = [
        tmp_path / "model.ckpt-2.data-00000-of-00001",
        tmp_path / f"model.ckpt-2.index.tmp-{DEAD}",
    ]
    for path in (orphan, *left):
        path.touch()
    state = (tmp_path / "checkpoint").read_bytes()

    plan = ckptmgr.repair(tmp_path, apply=True)

    assert plan.state is None
    assert plan.removals == tuple(map(str, left))
    assert not any(path.exists() for path in left)
    assert orphan.exists(), "nobody knows whose it is"
    assert (tmp_path / "checkpoint").read_bytes() == state
    assert os.listdir(tmp_path / ".ckptmgr" / "writers") == []


def test_not_while_a_writer_lives(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(4)}, tmp_path)
    manager.save(1)
    manager.save(2)
    damage(tmp_path, 2)
    before = snapshot(tmp_path)

    plan = ckptmgr.repair(tmp_path)
    assert plan.num_writers == 1
    with pytest.raises(errors.DirectoryInUse, match="1 writer has .* end it first"):
        apply_repair(plan)
    assert snapshot(tmp_path) == before

    manager.close()
    apply_repair(plan)
    assert stored(tmp_path).model_checkpoint_path == "model.ckpt-1"


def test_not_if_something_has_changed_meanwhile(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    damage(tmp_path, 2)
    plan = ckptmgr.repair(tmp_path)
    save_steps(tmp_path, 3)
    before = snapshot(tmp_path)
    with pytest.raises(errors.DirectoryInUse, match="has changed since"):
        apply_repair(plan)
    assert snapshot(tmp_path) == before


# --------------------------------------------------------------------------- crashes


def harmed_disk() -> PowerLossStorage:
    storage = PowerLossStorage()
    save_steps("/run", 1, 2, 3, storage=storage, durability="fsync")
    storage.unlink("/run/model.ckpt-3.index")
    storage.sync_dir("/run")
    storage.create(f"/run/model.ckpt-4.index.tmp-{DEAD}").close()
    return PowerLossStorage(storage.image())


@pytest.mark.parametrize("cuts_power", [False, True])
def test_a_crash_of_a_repair_loses_nothing(cuts_power: bool) -> None:
    disk = harmed_disk()
    ckptmgr.repair("/run", apply=True, storage=disk)
    images = [disk.rewound(point).image() for point in range(disk.num_changes + 1)]
    assert len(images) > 5
    if cuts_power:
        images = [cut.image for cut in disk.power_cuts()]
    for image in images:
        after = image.storage()
        restored = CheckpointManager(None, "/run", storage=after).restore()
        assert restored is not None
        assert restored.step == 2
        ckptmgr.repair("/run", apply=True, storage=after)
        assert ckptmgr.latest_checkpoint("/run", storage=after) == "/run/model.ckpt-2"
        names = after.list_dir("/run")
        assert {"model.ckpt-1.index", "model.ckpt-2.index"} < set(names)
        assert not any(".tmp-" in name for name in names)


def test_what_may_not_be_read_is_not_taken_out_of_the_state(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3)
    damage(tmp_path, 1)
    before = snapshot(tmp_path)
    newest = str(tmp_path / "model.ckpt-3.data-00000-of-00001")
    faults = [Fault(error=errno.EACCES, method="open", path=newest.__eq__, lasting=True)]
    with pytest.raises(errors.CannotVerify, match="model.ckpt-3 is whole cannot be said.*denied"):
        ckptmgr.repair(tmp_path, apply=True, storage=FaultInjectingStorage(PosixStorage(), faults))
    assert snapshot(tmp_path) == before
    ckptmgr.repair(tmp_path, apply=True)
    assert stored(tmp_path).all_model_checkpoint_paths == named(2, 3)
