"""What retention does when a save, a deletion or the clock goes wrong, or somebody interferes."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors, events
from ckptmgr.retention import BestN
from ckptmgr.storage import Fault, FaultInjectingStorage, PosixStorage

STATE = {"w": np.zeros(3)}


class Refusing(PosixStorage):
    """Refuses one call that `refuses` picks out, and notes the directories that are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str, str], bool] | None = None
        self.listed: list[str] = []

    def _ask(self, method: str, path: str) -> None:
        if self.refuses is not None and self.refuses(method, path):
            self.refuses = None
            raise errors.StorageError(28, f"cannot {method} {path}: No space left on device", path)

    def create(self, path: str) -> Any:
        self._ask("create", path)
        return super().create(path)

    def rename(self, source: str, target: str) -> None:
        self._ask("rename", target)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._ask("unlink", path)
        super().unlink(path)

    def list_dir(self, path: str) -> list[str]:
        self.listed.append(path)
        return super().list_dir(path)


def refuse(storage: Refusing, method: str, fragment: str) -> None:
    storage.refuses = lambda called, path: called == method and fragment in path


def save_refused(manager: CheckpointManager, step: int) -> None:
    with pytest.raises(errors.StorageError, match="No space left"):
        manager.save(step)


def shards_in(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if ".data-" in name)


# --------------------------------------------------------------------------- deleting


@pytest.mark.parametrize("step", [3, 4])
def test_a_save_and_its_deletion_list_nothing_that_grows(tmp_path: Path, step: int) -> None:
    storage = Refusing()
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1, storage=storage)
    manager.save(1)
    manager.save(2)
    storage.listed.clear()
    manager.save(step)
    assert manager.checkpoints == [str(tmp_path / f"model.ckpt-{step}")]
    assert str(tmp_path) not in storage.listed


def test_shards_of_an_earlier_generation_go_with_their_checkpoint(tmp_path: Path) -> None:
    storage = Refusing()
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=2, storage=storage)
    manager.save(1)
    manager.save(2)
    refuse(storage, "unlink", "model.ckpt-1.data-")
    manager.save(1)  # what it replaces cannot be removed
    assert len(shards_in(tmp_path)) == 3
    manager.save(3)
    manager.save(4)
    assert shards_in(tmp_path) == [f"model.ckpt-{n}.data-00000-of-00001" for n in (3, 4)]


def test_shards_that_a_crash_left_behind_go_with_their_checkpoint(tmp_path: Path) -> None:
    CheckpointManager(STATE, tmp_path).save(1)
    (tmp_path / "model.ckpt-1.data-00002-of-00007").touch()
    (tmp_path / "model.ckpt-10.data-00000-of-00001").touch()  # of another checkpoint
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1)
    manager.save(2)
    assert shards_in(tmp_path) == [f"model.ckpt-{n}.data-00000-of-00001" for n in (10, 2)]


def test_an_index_that_does_not_tell_its_shards_is_deleted_with_them(tmp_path: Path) -> None:
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1)
    manager.save(1)
    (tmp_path / "model.ckpt-1.index").write_bytes(b"damaged")
    manager.save(2)
    assert shards_in(tmp_path) == ["model.ckpt-2.data-00000-of-00001"]


def test_a_file_called_as_a_prefix_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt-1").write_text("mine")
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1)
    manager.save(1)
    manager.save(2)
    assert manager.all_steps() == [2]
    assert (tmp_path / "model.ckpt-1").read_text() == "mine"
    ckptmgr.remove_checkpoint(tmp_path / "model.ckpt-1")  # now it is a V1 checkpoint
    assert not (tmp_path / "model.ckpt-1").exists()


def test_a_checkpoint_pinned_after_its_deletion_failed_stays(tmp_path: Path) -> None:
    def is_index(path: str) -> bool:
        return "model.ckpt-1.index" in path

    storage = FaultInjectingStorage(
        PosixStorage(),
        [
            Fault(at=2, method="rename", path=is_index, error=28),  # the first made it exist
            Fault(method="unlink", path=is_index, error=28),
        ],
    )
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1, storage=storage)
    manager.save(1)
    manager.save(2)
    manager.pin(1)
    manager.save(3)
    assert manager.all_steps() == [1, 3]
    manager.unpin(1)
    manager.save(4)
    assert manager.all_steps() == [4]


def test_what_a_crash_kept_from_being_given_up_can_be_preserved(tmp_path: Path) -> None:
    storage = Refusing()
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1, storage=storage)
    manager.save(2)
    refuse(storage, "create", "checkpoint.tmp")
    save_refused(manager, 3)  # 2 is marked, and the state still lists it
    manager.close()
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1, keep_every_n_steps=2)
    manager.save(5)
    assert manager.all_steps() == [2, 5]


def test_a_preserved_checkpoint_outlives_a_failed_save_over_it(tmp_path: Path) -> None:
    storage = Refusing()
    times = iter(range(0, 10**6, 1800))
    manager = CheckpointManager(
        STATE,
        tmp_path,
        max_to_keep=1,
        keep_checkpoint_every_n_hours=1,
        storage=storage,
        clock=lambda: float(next(times)),
    )
    for step in range(1, 8):
        manager.save(step)
    preserved = set(manager.all_steps()) - {7}
    refuse(storage, "rename", ".index")
    save_refused(manager, max(preserved))
    manager.save(8)
    manager.save(9)
    assert preserved < set(manager.all_steps())


# --------------------------------------------------------------------------- what is not there


def test_a_best_that_was_removed_by_hand_takes_no_place(tmp_path: Path) -> None:
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=1, keep_best=BestN("loss"))
    for step, loss in ((1, 0.0), (2, 1.0)):
        manager.save(step, metrics={"loss": loss})
    ckptmgr.remove_checkpoint(tmp_path / "model.ckpt-1")
    assert manager.best_step() == 2
    for step, loss in ((3, 5.0), (4, 6.0)):
        manager.save(step, metrics={"loss": loss})
    assert manager.all_steps() == [2, 4]
    assert manager.best_step() == 2


def test_a_preserved_best_that_was_removed_by_hand_takes_no_place(tmp_path: Path) -> None:
    manager = CheckpointManager(
        STATE, tmp_path, max_to_keep=1, keep_best=BestN("loss"), keep_every_n_steps=4
    )
    for step, loss in ((4, 0.0), (5, 2.0), (6, 3.0)):
        manager.save(step, metrics={"loss": loss})
    assert manager.all_steps() == [4, 6]
    ckptmgr.remove_checkpoint(tmp_path / "model.ckpt-4")
    manager.save(7, metrics={"loss": 5.0})
    assert manager.all_steps() == [6, 7]


class AskedWhileSaving(PosixStorage):
    """Has a thread ask while a checkpoint exists and is not recorded, and answers it late."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.asker = threading.Thread(target=self._ask)
        self.question: Callable[[], object] = object
        self.recorded = threading.Event()
        self._prefix = prefix
        self._listed = threading.Event()

    def _ask(self) -> None:
        self.question()

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        if target == f"{self._prefix}.index":
            self.asker.start()
            assert self._listed.wait(30)

    def list_dir(self, path: str) -> list[str]:
        names = super().list_dir(path)
        if threading.current_thread() is self.asker and path == os.path.dirname(self._prefix):
            self._listed.set()
            assert self.recorded.wait(30)
        return names


def test_whoever_asks_while_another_thread_saves_takes_nobodys_place(tmp_path: Path) -> None:
    """What it found, not yet recorded, was taken for preserved, and so stood there twice."""
    with CheckpointManager(STATE, tmp_path, max_to_keep=1, keep_every_n_steps=1) as manager:
        manager.save(1)
        manager.save(2)
    storage = AskedWhileSaving(str(tmp_path / "model.ckpt-3"))
    manager = CheckpointManager(
        STATE, tmp_path, max_to_keep=1, keep_best=BestN("loss", 2), storage=storage
    )
    storage.question = manager.best_step
    manager.save(3, metrics={"loss": 1})
    storage.recorded.set()
    storage.asker.join()
    for step in (4, 5, 6):
        manager.save(step, metrics={"loss": step})
    assert manager.all_steps() == [1, 3, 4, 6]


def test_the_directory_was_removed_under_the_manager(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with CheckpointManager(STATE, directory) as manager:
        manager.save(1)
        shutil.rmtree(directory)
        manager.save(2)
        assert manager.all_steps() == [2]
        assert manager.checkpoints == [str(directory / "model.ckpt-2")]
        assert len(os.listdir(directory / ".ckptmgr" / "writers")) == 1


def test_the_copy_of_a_directory_is_continued_from_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    ckptmgr.Saver(STATE).save(str(tmp_path / "run" / "model.ckpt"), 1)  # by its absolute path
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    manager = CheckpointManager(STATE, tmp_path / "copy")
    assert manager.latest_checkpoint == str(tmp_path / "copy" / "model.ckpt-1")


def test_the_directory_was_removed_in_the_middle_of_a_save(tmp_path: Path) -> None:
    directory = tmp_path / "run"

    def remove(event: events.Event) -> None:
        if isinstance(event, events.SaveWritten) and event.step == 2:
            shutil.rmtree(directory)

    with CheckpointManager(STATE, directory, on_event=remove) as manager:
        manager.save(1)
        message = f"directory {directory} was removed while training saved into it"
        with pytest.raises(errors.FileMissing, match=message):
            manager.save(2)
        manager.save(3)
        assert manager.all_steps() == [3]
        assert manager.checkpoints == [str(directory / "model.ckpt-3")]


def test_the_directory_was_removed_and_nothing_was_saved_since(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    manager = CheckpointManager(
        STATE, directory, max_to_keep=1, keep_every_n_steps=1, keep_best=BestN("loss")
    )
    for step in (1, 2):
        manager.save(step, metrics={"loss": float(step)})
    assert manager.best_step() == 1  # preserved, and so not in the state
    shutil.rmtree(directory)
    assert (manager.checkpoints, manager.latest_checkpoint) == ([], None)
    assert manager.restore() is None


def test_a_state_that_was_removed_alone_loses_nothing(tmp_path: Path) -> None:
    manager = CheckpointManager(STATE, tmp_path, max_to_keep=2)
    for step in (1, 2):
        manager.save(step)
    (tmp_path / "checkpoint").unlink()
    manager.save(3)
    assert manager.all_steps() == [2, 3]


def test_a_relative_path_after_a_change_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    manager = CheckpointManager(STATE, "run")
    manager.save(1)
    monkeypatch.chdir(tmp_path / "other")
    for attempt in (
        lambda: manager.save(2),
        manager.restore,
        lambda: manager.restore(1),
        lambda: manager.checkpoints,
        manager.all_steps,
    ):
        with pytest.raises(errors.InvalidArgument, match="'run' is another directory; change back"):
            attempt()
    assert os.listdir(tmp_path / "other") == []
    monkeypatch.chdir(tmp_path)
    manager.save(2)
    assert manager.all_steps() == [1, 2]


@pytest.mark.parametrize(
    ("steps", "found"),
    [((1, 2, 3), "lists 3 checkpoints, none of them"), ((1,), "lists 1 checkpoint, none of them")],
)
def test_all_that_the_state_lists_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, steps: tuple[int, ...], found: str
) -> None:
    with CheckpointManager(STATE, tmp_path) as manager:
        for step in steps:
            manager.save(step)
    for index in tmp_path.glob("*.index"):
        index.unlink()
    assert CheckpointManager(STATE, tmp_path).restore() is None
    assert caplog.messages == [f"{tmp_path / 'checkpoint'} {found} is there"]


def test_a_directory_called_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    message = f"{tmp_path / 'checkpoint'} is a directory where the state file belongs; move it away"
    with pytest.raises(errors.StorageError, match=message):
        CheckpointManager(STATE, tmp_path)
    with pytest.raises(errors.StorageError, match=message):
        ckptmgr.update_checkpoint_state(tmp_path, str(tmp_path / "m-1"))
    with pytest.raises(errors.StorageError, match=message):
        ckptmgr.latest_checkpoint(tmp_path)


def test_best_without_a_metric(tmp_path: Path) -> None:
    manager = CheckpointManager(STATE, tmp_path)
    manager.save(1)
    message = """'best' needs a metric: give the manager keep_best=BestN."loss"."""
    with pytest.raises(errors.InvalidArgument, match=message):
        manager.restore("best")


# --------------------------------------------------------------------------- the clock


def test_the_one_before_is_the_one_saved_before_also_when_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    now_secs = 1000.0
    manager = CheckpointManager(None, tmp_path, clock=lambda: now_secs)
    for step in (1, 2, 3):
        now_secs -= 300.0
        manager.save(step, {"w": np.full(3, step)})
    (tmp_path / "model.ckpt-3.index").write_bytes(b"")
    seen: list[events.Event] = []
    restored = CheckpointManager(None, tmp_path, on_event=seen.append).restore()
    assert restored is not None
    assert restored.step == 2
    told = [type(event) for event in seen if not isinstance(event, events.Progress)]
    assert told == [events.CheckpointSkipped, events.CheckpointRestored]


def test_hours_stood_still_when_the_clock_was_set_back_under_a_running_manager(
    tmp_path: Path,
) -> None:
    now_secs = 1e9
    manager = CheckpointManager(
        STATE, tmp_path, max_to_keep=1, keep_checkpoint_every_n_hours=1, clock=lambda: now_secs
    )
    for step in range(1, 11):
        now_secs += 3600.0 if step != 5 else -1e8
        manager.save(step)
    # The hour begins anew with the last one from before, and so two are not kept.
    assert manager.all_steps() == [1, 2, 3, 4, 7, 8, 9, 10]
