from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors, events
from ckptmgr.retention import BestN, EveryNSteps, LatestN
from ckptmgr.storage import Fault, FaultInjectingStorage, MemoryStorage, PosixStorage


class Clock:
    def __init__(self) -> None:
        self.now_secs = 1000.0

    def __call__(self) -> float:
        return self.now_secs


def save_all(manager: CheckpointManager, steps: Any, **arguments: Any) -> list[int]:
    return [step for step in steps if manager.save(step, **arguments) is not None]


def save_and_wait(manager: CheckpointManager, step: int) -> None:
    manager.save(step)
    manager.wait()


def temporaries(directory: Path | str) -> list[str]:
    return [name for name in os.listdir(directory) if ".tmp-" in name]


# --------------------------------------------------------------------------- saving


def test_the_loop_of_the_readme(tmp_path: Path) -> None:
    state: dict[str, Any] = {"w": np.zeros(3), "step": 0}
    with CheckpointManager(state, tmp_path / "run", save_interval_steps=10) as manager:
        for step in range(1, 101):
            state["w"] += 1
            state["step"] = step
            manager.save(step)
    assert manager.all_steps() == [60, 70, 80, 90, 100]

    resumed: dict[str, Any] = {"w": np.zeros(3), "step": 0}
    with CheckpointManager(resumed, tmp_path / "run", save_interval_steps=10) as manager:
        restored = manager.restore()
    assert restored is not None
    assert (restored.step, resumed["step"]) == (100, 100)
    assert restored.state is resumed
    assert resumed["w"].tolist() == [100, 100, 100]


def test_save_returns_the_prefix_or_none(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, save_interval_steps=5)
    assert manager.save(4) is None
    assert manager.save(5) == str(tmp_path / "model.ckpt-5")
    assert manager.save(5) is None
    assert manager.latest_checkpoint == str(tmp_path / "model.ckpt-5")


def test_the_last_save_never_duplicates(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, save_interval_steps=5)
    assert save_all(manager, range(1, 11)) == [5, 10]
    assert manager.save(10, force=True) is None
    assert manager.save(12, force=True) is not None
    assert manager.save(12, force=True) is None
    assert manager.all_steps() == [5, 10, 12]


def test_a_restored_step_is_not_saved_again(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    CheckpointManager(state, tmp_path).save(7)
    manager = CheckpointManager(state, tmp_path)
    manager.restore()
    assert manager.save(7, force=True) is None


def test_should_save_asks_without_changing_anything(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, save_interval_steps=5)
    assert [step for step in range(12) if manager.should_save(step)] == [0, 5, 10]
    assert manager.all_steps() == []


def test_seconds_between_saves_count_across_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, save_interval_secs=60, clock=clock)
    assert manager.save(1) is not None
    clock.now_secs += 59
    assert manager.save(2) is None
    manager = CheckpointManager(state, tmp_path, save_interval_secs=60, clock=clock)
    assert manager.save(3) is None
    clock.now_secs += 1
    assert manager.save(4) is not None


def test_going_back(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, save_interval_steps=10, max_to_keep=4)
    for step in range(1, 51):
        state["w"][:] = step
        manager.save(step)
    assert manager.all_steps() == [20, 30, 40, 50]
    restored = manager.restore(20)
    assert restored is not None
    assert state["w"].tolist() == [20]
    for step in range(21, 41):
        state["w"][:] = -step
        manager.save(step)
    # The latest is the one saved last; the one given up is the one saved first.
    assert manager.latest_step() == 40
    assert manager.all_steps() == [20, 30, 40, 50]
    assert [os.path.basename(p) for p in manager.checkpoints] == [
        "model.ckpt-20",
        "model.ckpt-50",
        "model.ckpt-30",
        "model.ckpt-40",
    ]
    restored = CheckpointManager(state, tmp_path).restore()
    assert restored is not None
    assert (restored.step, state["w"].tolist()) == (40, [-40])


def test_a_step_saved_again_replaces_the_whole_checkpoint(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        CheckpointManager({"w": np.full(5, value)}, tmp_path).save(9)
        assert ckptmgr.load_variable(tmp_path, "w").tolist() == [value] * 5
        shards = [name for name in os.listdir(tmp_path) if ".data-" in name]
        assert len(shards) == 1


def test_the_state_can_be_given_to_each_save(tmp_path: Path) -> None:
    manager = CheckpointManager(None, tmp_path)
    manager.save(1, {"w": np.ones(2)})
    restored = manager.restore()
    assert restored is not None
    assert restored.state["w"].tolist() == [1, 1]
    with pytest.raises(errors.InvalidArgument, match="nothing to save: give the state"):
        manager.save(2)


def test_metrics_and_metadata_come_back(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path)
    manager.save(1, metrics={"loss": np.float32(0.5)}, metadata={"epoch": 3, "tags": ["a"]})
    restored = manager.restore()
    assert restored is not None
    assert restored.metrics == {"loss": 0.5}
    assert restored.metadata == {"epoch": 3, "tags": ["a"]}
    assert restored.path == str(tmp_path / "model.ckpt-1")


def test_events_tell_what_happened(tmp_path: Path) -> None:
    seen: list[events.Event] = []
    manager = CheckpointManager({"w": np.zeros(9)}, tmp_path, max_to_keep=1, on_event=seen.append)
    manager.save(1)
    manager.save(2)
    manager.restore()
    first, second = str(tmp_path / "model.ckpt-1"), str(tmp_path / "model.ckpt-2")
    assert [(type(event).__name__, event.prefix) for event in seen] == [
        ("SaveStarted", first),
        ("Progress", first),
        ("SaveWritten", first),
        ("SaveCommitted", first),
        ("SaveStarted", second),
        ("Progress", second),
        ("SaveWritten", second),
        ("CheckpointDeleted", first),
        ("SaveCommitted", second),
        ("Progress", second),
        ("CheckpointRestored", second),
    ]
    assert seen[-1] == events.CheckpointRestored(second, 2, 9 * 8, ANY)
    committed = seen[3]
    assert isinstance(committed, events.SaveCommitted)
    names = [n for n in os.listdir(tmp_path) if n.startswith("model.ckpt-2")]
    assert committed.size_bytes == sum((tmp_path / n).stat().st_size for n in names)


def test_it_saves_into_memory_just_as_well() -> None:
    storage = MemoryStorage()
    state = {"w": np.arange(3.0)}
    manager = CheckpointManager(state, "/run", max_to_keep=2, storage=storage)
    assert save_all(manager, range(5)) == [0, 1, 2, 3, 4]
    state["w"][:] = 0
    CheckpointManager(state, "/run", storage=storage).restore()
    assert state["w"].tolist() == [0, 1, 2]
    assert manager.all_steps() == [3, 4]


# --------------------------------------------------------------------------- keeping


def test_why_each_stays(tmp_path: Path) -> None:
    manager = CheckpointManager(
        {"w": np.zeros(1)},
        tmp_path,
        max_to_keep=2,
        keep_best=BestN("loss", 1),
        keep_every_n_steps=4,
    )
    for step in range(1, 10):
        manager.save(step, metrics={"loss": abs(step - 3)})
    assert manager.all_steps() == [3, 4, 8, 9]
    assert manager.best_step() == 3
    assert manager.latest_step() == 9


def test_the_second_best_stays_as_well(tmp_path: Path) -> None:
    # The newest was once counted twice, as tracked and as found on disk, and took two places.
    manager = CheckpointManager(
        {"w": np.zeros(2)}, tmp_path, max_to_keep=1, keep_best=BestN("acc", 2, "max")
    )
    for step, accuracy in enumerate([5.0, 4.0, 1.0, 2.0]):
        manager.save(step, metrics={"acc": accuracy})
    assert manager.all_steps() == [0, 1, 3]


def test_keeping_survives_a_restart(tmp_path: Path) -> None:
    def start() -> CheckpointManager:
        return CheckpointManager(
            {"w": np.zeros(1)}, tmp_path, max_to_keep=2, keep_best=BestN("acc", mode="max")
        )

    for step in range(1, 8):  # each save in a process of its own, so to say
        manager = start()
        manager.save(step, metrics={"acc": 1.0 if step == 2 else 0.1 * step})
        manager.close()
    assert start().all_steps() == [2, 6, 7]
    assert start().best_step() == 2


def test_a_lowered_limit_takes_effect_at_the_next_save(tmp_path: Path) -> None:
    save_all(CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=5), range(5))
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=2)
    manager.save(5)
    assert manager.all_steps() == [4, 5]


def test_a_moved_directory_goes_on(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path / "old", max_to_keep=2, keep_best=BestN("loss"))
    for step in range(1, 5):
        manager.save(step, metrics={"loss": step})
    manager.close()
    shutil.move(tmp_path / "old", tmp_path / "new")
    manager = CheckpointManager(state, tmp_path / "new", max_to_keep=2, keep_best=BestN("loss"))
    assert manager.latest_checkpoint == str(tmp_path / "new" / "model.ckpt-4")
    manager.save(5, metrics={"loss": 5})
    assert manager.all_steps() == [1, 4, 5]


def test_the_hours_clock_survives_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    for step in range(1, 13):
        clock.now_secs += 1500
        manager = CheckpointManager(
            {"w": np.zeros(1)},
            tmp_path,
            max_to_keep=2,
            keep_checkpoint_every_n_hours=1,
            clock=clock,
        )
        manager.save(step)
        manager.close()
    # The first manager started at the first save, so its clock did: 1, then each hour.
    assert manager.all_steps() == [4, 7, 10, 11, 12]


def test_a_clock_set_back_forgets_nothing(tmp_path: Path) -> None:
    # TensorFlow drops every managed checkpoint then, and never deletes them.
    clock = Clock()
    state = {"w": np.zeros(1)}
    save_all(CheckpointManager(state, tmp_path, max_to_keep=3, clock=clock), range(1, 4))
    clock.now_secs -= 500
    manager = CheckpointManager(state, tmp_path, max_to_keep=3, clock=clock)
    assert len(manager.checkpoints) == 3
    manager.save(4)
    assert manager.all_steps() == [2, 3, 4]
    assert manager.latest_step() == 4


def test_pins(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, max_to_keep=1)
    manager.save(1)
    manager.pin(1)
    manager.save(2)
    manager.close()
    manager = CheckpointManager(state, tmp_path, max_to_keep=1)
    manager.save(3)
    assert manager.all_steps() == [1, 3]
    manager.unpin(1)
    assert manager.all_steps() == [1, 3]
    manager.save(4)
    assert manager.all_steps() == [4]
    with pytest.raises(errors.CheckpointNotFound, match="no checkpoint at .*model.ckpt-1"):
        manager.pin(1)


def test_a_pin_goes_with_its_checkpoint(tmp_path: Path) -> None:
    # Else a later checkpoint of the same step would be pinned by it.
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=1)
    manager.save(1)
    manager.pin(1)
    manager.unpin(1)
    manager.save(2)
    manager.save(1)
    manager.save(3)
    assert manager.all_steps() == [3]


def test_a_held_checkpoint_outlives_retention_until_the_save_after(tmp_path: Path) -> None:
    seen: list[events.Event] = []
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, max_to_keep=1, on_event=seen.append)
    prefix = manager.save(1)
    assert prefix is not None
    with ckptmgr.hold(prefix):
        manager.save(2)
        assert ckptmgr.load_variable(prefix, "w").tolist() == [0]
        assert manager.all_steps() == [1, 2]
    manager.save(3)
    assert manager.all_steps() == [3]


def test_a_policy_replaces_the_arguments(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, retention=LatestN(1) | EveryNSteps(3))
    save_all(manager, range(1, 8))
    assert manager.all_steps() == [3, 6, 7]


def test_best_step_needs_to_know_what_best_is(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path)
    with pytest.raises(errors.InvalidArgument, match="give the manager keep_best"):
        manager.best_step()


def test_best_is_restored(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, max_to_keep=1, keep_best=BestN("loss"))
    assert manager.restore("best") is None
    for step, loss in [(1, 0.5), (2, 0.1), (3, float("nan")), (4, 0.7)]:
        state["w"][:] = step
        manager.save(step, metrics={"loss": loss})
    restored = manager.restore("best")
    assert restored is not None
    assert (restored.step, state["w"].tolist()) == (2, [2])


def test_when_no_checkpoint_has_the_metric_best_is_an_error(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, keep_best=BestN("loss"))
    manager.save(1, metrics={"val_loss": 1, "acc": 2})
    with pytest.raises(errors.CheckpointNotFound, match="metrics there: 'acc', 'val_loss'"):
        manager.restore("best")


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = [
        "model.ckpt-1.txt",
        "model.ckpt-best.index",
        "other-1.index",
        "model.ckpt-10.index.bak",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=1)
    save_all(manager, range(1, 5))
    assert [(tmp_path / name).read_text() for name in others] == ["mine"] * 4


def test_one_prefix_is_not_another_that_begins_with_it(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=2)
    for step in (1, 10, 11):
        manager.save(step)
    assert manager.all_steps() == [10, 11]
    assert ckptmgr.load_checkpoint(str(tmp_path / "model.ckpt-10")).has_tensor("w")


# --------------------------------------------------------------------------- restoring


def test_an_empty_directory_restores_nothing(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        manager = CheckpointManager({"w": np.zeros(1)}, directory)
        assert manager.restore() is None
        assert manager.restore("latest") is None
        assert manager.latest_checkpoint is None
        assert manager.checkpoints == []
        assert manager.latest_step() is None
    assert not (tmp_path / "missing").exists()


def test_restore_or_initialize(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    calls: list[str] = []
    manager = CheckpointManager(state, tmp_path)
    assert manager.restore_or_initialize(lambda: calls.append("init")) is None
    assert calls == ["init"]
    prefix = manager.save(1)
    assert (
        CheckpointManager(state, tmp_path).restore_or_initialize(lambda: calls.append("")) == prefix
    )
    assert calls == ["init"]


def test_a_step_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path)
    save_all(manager, (3, 7))
    with pytest.raises(errors.CheckpointNotFound, match=r"step 5 in .*; steps there: 3, 7"):
        manager.restore(5)
    with pytest.raises(errors.InvalidStep, match="'latest' or 'best', found 'newest'"):
        manager.restore("newest")


def test_restore_into_another_state_and_under_other_names(tmp_path: Path) -> None:
    manager = CheckpointManager({"encoder": {"w": np.ones(2)}, "head": np.ones(1)}, tmp_path)
    manager.save(1)
    target = {"backbone": {"w": np.zeros(2)}, "new_head": np.zeros(5)}
    restored = manager.restore(state=target, names={"backbone/w": "encoder/w", "new_head": None})
    assert restored is not None
    assert restored.state is target
    assert (target["backbone"]["w"].tolist(), target["new_head"].tolist()) == ([1, 1], [0] * 5)


def test_nothing_has_changed_when_a_restore_does_not_fit(tmp_path: Path) -> None:
    CheckpointManager({"a": np.ones(2), "b": np.ones((2, 3))}, tmp_path).save(1)
    state = {"a": np.zeros(2), "b": np.zeros((3, 2))}
    with pytest.raises(errors.ShapeMismatch, match=r"'b': wanted shape \(3, 2\), found \(2, 3\)"):
        CheckpointManager(state, tmp_path).restore()
    assert state["a"].tolist() == [0, 0]


def test_a_damaged_newest_is_reported_and_the_one_before_is_taken(tmp_path: Path) -> None:
    state = {"w": np.zeros(4)}
    for step in (1, 2, 3):
        state["w"][:] = step
        CheckpointManager(state, tmp_path).save(step)
    flip(tmp_path / "model.ckpt-3.data-00000-of-00001")
    (tmp_path / "model.ckpt-2.index").write_bytes(b"")
    seen: list[events.Event] = []
    restored = CheckpointManager(state, tmp_path, on_event=seen.append).restore()
    assert restored is not None
    assert (restored.step, state["w"].tolist()) == (1, [1] * 4)
    skipped = [event for event in seen if isinstance(event, events.CheckpointSkipped)]
    assert [os.path.basename(event.prefix) for event in skipped] == ["model.ckpt-3", "model.ckpt-2"]
    assert "tensor 'w'" in str(skipped[0].error)


def test_when_all_are_damaged_the_newest_ones_error_comes_out(tmp_path: Path) -> None:
    state = {"w": np.ones(4)}
    save_all(CheckpointManager(state, tmp_path), (1, 2))
    for step in (1, 2):
        flip(tmp_path / f"model.ckpt-{step}.data-00000-of-00001")
    with pytest.raises(errors.ChecksumMismatch, match="model.ckpt-2.data"):
        CheckpointManager(state, tmp_path).restore()


def test_when_the_newest_was_deleted_by_hand_the_one_before_is_taken(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    for step in (1, 2, 3):
        state["w"][:] = step
        CheckpointManager(state, tmp_path).save(step)
    ckptmgr.remove_checkpoint(tmp_path / "model.ckpt-3")
    manager = CheckpointManager(state, tmp_path)
    assert manager.latest_checkpoint is None  # as in TensorFlow
    restored = manager.restore()
    assert restored is not None
    assert (restored.step, state["w"].tolist()) == (2, [2])


def test_a_named_step_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    state = {"w": np.ones(4)}
    save_all(CheckpointManager(state, tmp_path), (1, 2))
    flip(tmp_path / "model.ckpt-2.data-00000-of-00001")
    with pytest.raises(errors.ChecksumMismatch):
        CheckpointManager(state, tmp_path).restore(2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# --------------------------------------------------------------------------- the state file


@pytest.mark.parametrize("content", [b"garbage", b"", b"\xff\xfe", None])
def test_a_lost_state_is_reported_and_rebuilt(tmp_path: Path, content: bytes | None) -> None:
    state = {"w": np.zeros(1)}
    save_all(CheckpointManager(state, tmp_path, max_to_keep=3), (1, 2, 3))
    if content is None:
        (tmp_path / "checkpoint").unlink()
    else:
        (tmp_path / "checkpoint").write_bytes(content)
    seen: list[events.Event] = []
    manager = CheckpointManager(state, tmp_path, max_to_keep=3, on_event=seen.append)
    assert [type(event) for event in seen] == [events.StateRebuilt]
    assert manager.latest_step() == 3
    restored = manager.restore()
    assert restored is not None
    assert restored.step == 3
    manager.save(4)
    assert manager.all_steps() == [2, 3, 4]
    assert ckptmgr.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-4")
    assert len(manager.checkpoints) == 3


def test_what_a_lost_state_had_preserved_is_not_deleted(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, max_to_keep=1, keep_every_n_steps=2)
    save_all(manager, range(1, 7))
    assert manager.all_steps() == [2, 4, 6]
    (tmp_path / "checkpoint").unlink()
    manager = CheckpointManager(state, tmp_path, max_to_keep=1)
    manager.save(7)
    assert manager.all_steps() == [2, 4, 7]


def test_checkpoints_of_others_are_never_deleted_for_a_lost_state(tmp_path: Path) -> None:
    saver = ckptmgr.Saver({"w": np.zeros(1)})
    for step in (1, 2, 3):
        saver.save(str(tmp_path / "model.ckpt"), step, write_state=False)
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=1)
    save_all(manager, (4, 5))
    assert manager.all_steps() == [1, 2, 3, 5]


def test_a_state_that_was_removed_under_the_manager_is_written_again(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=3)
    save_all(manager, (1, 2))
    (tmp_path / "checkpoint").unlink()
    manager.save(3)
    assert len(manager.checkpoints) == 3


def test_two_managers_in_one_directory_lose_no_entry(tmp_path: Path) -> None:
    one = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=None)
    two = CheckpointManager({"w": np.ones(1)}, tmp_path, max_to_keep=None)
    for step in range(0, 10, 2):
        one.save(step)
        two.save(step + 1)
    for manager in (one, two):
        assert [os.path.basename(p) for p in manager.checkpoints] == [
            f"model.ckpt-{step}" for step in range(10)
        ]


def test_a_deletion_that_a_crash_cut_off_is_finished(tmp_path: Path) -> None:
    state = {"w": np.zeros(1)}
    manager = CheckpointManager(state, tmp_path, max_to_keep=2)
    save_all(manager, (1, 2))
    backup = {
        name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path) if "-1." in name
    }
    manager.save(3)
    manager.close()
    # The crash came after the state was written: checkpoint 1 is still there, and marked.
    for name, data in backup.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".ckptmgr" / "deleting" / "model.ckpt-1").touch()
    manager = CheckpointManager(state, tmp_path, max_to_keep=2)
    manager.save(4)
    assert manager.all_steps() == [3, 4]
    assert os.listdir(tmp_path / ".ckptmgr" / "deleting") == []


def test_a_checkpoint_that_a_crash_kept_from_the_state_comes_under_retention(
    tmp_path: Path,
) -> None:
    storage = FailingOnce("create", "checkpoint.tmp")
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=2, storage=storage)
    manager.save(1)
    storage.armed = True
    with pytest.raises(errors.StorageError, match="No space left"):
        manager.save(2)
    assert manager.all_steps() == [1, 2]
    assert manager.latest_step() == 1
    manager.close()
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=2)
    manager.save(3)
    assert manager.all_steps() == [2, 3]
    assert len(manager.checkpoints) == 2
    assert os.listdir(tmp_path / ".ckptmgr" / "publishing") == []


# --------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("save", "error", "message"),
    [
        (lambda m: m.save(-1), errors.InvalidStep, "found -1"),
        (lambda m: m.save(1.5), errors.InvalidStep, "found 1.5"),
        (lambda m: m.save("1"), errors.InvalidStep, "found '1'"),
        (lambda m: m.save(1, metrics={"loss": "low"}), errors.InvalidMetric, "metric 'loss'"),
        (lambda m: m.save(1, metadata={"x": object()}), errors.InvalidArgument, "metadata 'x'"),
        (lambda m: m.save(1, {"f": print}), errors.UnsupportedLeaf, "leaf 'f' cannot be saved"),
        (lambda m: m.save(1, {"a": {"b": 1}, "a/b": 2}), errors.DuplicateName, "name 'a/b'"),
        (lambda m: m.save(1, {"": 1}), errors.InvalidName, "must not be empty"),
    ],
)
def test_a_mistake_writes_nothing(
    tmp_path: Path, save: Any, error: type[Exception], message: str
) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path / "run")
    with pytest.raises(error, match=message):
        save(manager)
    assert not (tmp_path / "run").exists()
    assert manager.save(1) is not None  # and nothing of it is remembered


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_to_keep": 0}, errors.InvalidArgument, "max_to_keep must be a positive integer"),
        ({"max_to_keep": -3}, errors.InvalidArgument, "found -3"),
        ({"keep_checkpoint_every_n_hours": 0}, errors.InvalidArgument, "hours must be"),
        ({"save_interval_steps": 0}, errors.InvalidArgument, "save_interval_steps must be"),
        ({"checkpoint_name": "a/b"}, errors.InvalidName, "checkpoint_name must be a file name"),
        ({"checkpoint_name": ""}, errors.InvalidName, "checkpoint_name must be a file name"),
        ({"checkpoint_name": "m*"}, errors.InvalidName, r"contains \*"),
        ({"checkpoint_name": "m\udcff"}, errors.InvalidName, "is not UTF-8"),
        ({"checkpoint_name": 3}, errors.InvalidName, "checkpoint_name must be .* found 3"),
        ({"on_event": [print]}, errors.InvalidArgument, "on_event must be a function .*all_of"),
        ({"durability": "maybe"}, errors.InvalidArgument, "'fsync' or 'none', found 'maybe'"),
        ({"keep_best": "loss"}, errors.InvalidArgument, "keep_best must be a retention.BestN"),
        ({"retention": 5}, errors.InvalidArgument, "retention must be a policy"),
        ({"max_to_kep": 5}, TypeError, "max_to_kep"),
    ],
)
def test_arguments_that_cannot_be_meant(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CheckpointManager({"w": np.zeros(1)}, tmp_path, **arguments)


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?"])
def test_a_directory_that_tensorflow_would_take_for_a_pattern(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidName, match="TensorFlow looks prefixes up as glob patterns"):
        CheckpointManager({"w": np.zeros(1)}, tmp_path / name)


@pytest.mark.parametrize("directory", [5, "", b"run", None])
def test_what_is_no_directory(directory: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="a path must"):
        CheckpointManager({"w": np.zeros(1)}, directory)


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(errors.NotADirectory, match="run is a file; a directory of checkpoints"):
        CheckpointManager({"w": np.zeros(1)}, tmp_path / "run")


def test_a_closed_manager_says_so(tmp_path: Path) -> None:
    with CheckpointManager({"w": np.zeros(1)}, tmp_path) as manager:
        manager.save(1)
    manager.close()
    with pytest.raises(errors.ManagerClosed, match="is closed"):
        manager.save(2)
    assert manager.all_steps() == [1]  # looking is still allowed


def test_no_one_is_left_registered(tmp_path: Path) -> None:
    with CheckpointManager({"w": np.zeros(1)}, tmp_path) as manager:
        manager.save(1)
    assert os.listdir(tmp_path / ".ckptmgr" / "writers") == []
    assert temporaries(tmp_path) == []


# --------------------------------------------------------------------------- failing storage


class FailingOnce(PosixStorage):
    """The real storage, with one call that fails once it is armed."""

    def __init__(self, method: str, fragment: str) -> None:
        super().__init__()
        self._method, self._fragment = method, fragment
        self.armed = False

    def _maybe_fail(self, method: str, path: str) -> None:
        if self.armed and method == self._method and self._fragment in path:
            self.armed = False
            raise errors.StorageError(28, f"cannot {method} {path}: No space left on device", path)

    def create(self, path: str) -> Any:
        self._maybe_fail("create", path)
        return super().create(path)

    def rename(self, source: str, target: str) -> None:
        self._maybe_fail("rename", target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._maybe_fail("unlink", path)
        super().unlink(path)

    def sync_dir(self, path: str) -> None:
        self._maybe_fail("sync_dir", path)
        super().sync_dir(path)


@pytest.mark.parametrize(
    ("method", "fragment"),
    [
        ("create", ".data-"),
        ("create", ".index"),
        ("rename", ".data-"),
        ("rename", ".index"),
        ("create", "checkpoint.tmp"),
        ("rename", "run/checkpoint"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_failed_save_is_reported_and_the_next_one_works(
    tmp_path: Path, method: str, fragment: str, asynchronous: bool
) -> None:
    storage = FailingOnce(method, fragment)
    seen: list[events.Event] = []
    state = {"w": np.zeros(2)}
    directory = tmp_path / "run"
    manager = CheckpointManager(
        state,
        directory,
        max_to_keep=2,
        storage=storage,
        asynchronous=asynchronous,
        on_event=seen.append,
    )
    manager.save(1)
    manager.wait()
    storage.armed = True
    with pytest.raises(errors.StorageError, match="No space left on device"):
        save_and_wait(manager, 2)
    assert [type(event) for event in seen][-1] is events.SaveFailed
    restored = CheckpointManager({"w": np.zeros(2)}, directory).restore()
    assert restored is not None
    assert restored.step == 1
    assert temporaries(directory) == []
    assert manager.save(3) is not None
    manager.wait()
    assert manager.latest_step() == 3
    manager.close()


def test_an_old_checkpoint_that_cannot_be_deleted_fails_no_save(tmp_path: Path) -> None:
    def is_index(path: str) -> bool:
        return "model.ckpt-1.index" in path

    storage = FaultInjectingStorage(
        PosixStorage(),
        [
            Fault(at=2, method="rename", path=is_index, error=28),  # the first made it exist
            Fault(method="unlink", path=is_index, error=28),
        ],
    )
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, max_to_keep=1, storage=storage)
    manager.save(1)
    assert manager.save(2) is not None
    assert manager.all_steps() == [1, 2]
    manager.save(3)  # tried again
    assert manager.all_steps() == [3]


# --------------------------------------------------------------------------- asynchronous


def test_an_asynchronous_save_has_the_values_of_its_moment(tmp_path: Path) -> None:
    state: dict[str, Any] = {"w": np.zeros(200_000), "n": 0}
    with CheckpointManager(state, tmp_path, max_to_keep=None, asynchronous=True) as manager:
        for step in range(1, 6):
            state["w"][:] = step
            state["n"] = step
            assert manager.save(step) is not None
    for step in range(1, 6):
        reader = ckptmgr.load_checkpoint(str(tmp_path / f"model.ckpt-{step}"))
        assert (np.unique(reader.get_tensor("w")).tolist(), reader.get_tensor("n")) == (
            [step],
            step,
        )


def test_close_raises_what_nobody_has_seen(tmp_path: Path) -> None:
    storage = FailingOnce("create", ".index")
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, asynchronous=True, storage=storage)
    storage.armed = True
    manager.save(1)
    with pytest.raises(errors.StorageError, match="No space left"):
        manager.close()
    manager.close()


def test_finish_tells_followers(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path)
    manager.save(1)
    manager.finish()
    finished = tmp_path / ".ckptmgr" / "finished"
    assert finished.exists()
    CheckpointManager({"w": np.zeros(1)}, tmp_path).save(2)
    assert not finished.exists()


# --------------------------------------------------------------------------- unchanged tensors


def test_frozen_weights_are_not_written_again(tmp_path: Path) -> None:
    frozen = {f"f{n}": np.random.default_rng(n).standard_normal(125_000) for n in range(9)}
    state = {**frozen, "trained": np.zeros(125_000)}
    seen: list[events.Event] = []
    manager = CheckpointManager(
        state, tmp_path, max_to_keep=2, deduplicate=True, on_event=seen.append
    )
    manager.save(1)
    for step in range(2, 8):
        state["trained"][:] = step
        before = manager.stats
        manager.save(step)
        assert manager.stats.written_bytes - before.written_bytes < 1.1e6
        assert manager.stats.linked_bytes - before.linked_bytes == 9e6
    last = [event for event in seen if isinstance(event, events.Progress)][-1]
    assert last.done_bytes == last.total_bytes
    on_disk = {}
    for name in os.listdir(tmp_path):
        if ".data-" in name:
            info = (tmp_path / name).stat()
            on_disk[info.st_ino] = info.st_size
    assert sum(on_disk.values()) < 12.1e6  # two checkpoints of 10 MB
    target = {name: np.zeros(125_000) for name in state}
    restored = CheckpointManager(target, tmp_path).restore()
    assert restored is not None
    assert all(np.array_equal(target[name], state[name]) for name in state)
