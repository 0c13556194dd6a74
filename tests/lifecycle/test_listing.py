from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, Saver, errors, naming
from ckptmgr.lifecycle.listing import ListedCheckpoint, list_checkpoints, look_at, newest_prefix
from ckptmgr.lifecycle.metadata import METADATA_NAME
from ckptmgr.retention import BestN, LatestN, View, Wish
from ckptmgr.storage import FileLock, MemoryStorage, PosixStorage, WritableFile


class Clock:
    def __init__(self) -> None:
        self.now_secs = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_secs


class ReadOnlyStorage(PosixStorage):
    """Refuses everything that would leave a trace."""

    def create(self, path: str) -> WritableFile:
        raise AssertionError(f"creates {path}")

    def rename(self, source: str, target: str) -> None:
        raise AssertionError(f"renames {source} to {target}")

    def unlink(self, path: str) -> None:
        raise AssertionError(f"unlinks {path}")

    def make_dirs(self, path: str) -> list[str]:
        raise AssertionError(f"makes {path}")

    def lock(self, path: str) -> FileLock:
        raise AssertionError(f"locks {path}")


def state() -> dict[str, Any]:
    return {"w": np.arange(6, dtype=np.float32), "n": 1}


def reasons(directory: Path | str, **arguments: Any) -> dict[str, str]:
    listed = list_checkpoints(directory, storage=ReadOnlyStorage(), **arguments)
    return {naming.base_of(c.prefix): c.kept_because for c in listed}


def latest(directory: Path | str) -> list[str]:
    listed = list_checkpoints(directory, storage=ReadOnlyStorage())
    return [naming.base_of(c.prefix) for c in listed if c.latest]


def save_steps(directory: Path, *steps: int, **arguments: Any) -> None:
    with CheckpointManager(state(), directory, durability="none", **arguments) as manager:
        for step in steps:
            manager.save(step)


# --------------------------------------------------------------------------- of a manager


def test_a_directory_of_a_manager(tmp_path: Path) -> None:
    clock = Clock()
    manager = CheckpointManager(
        state(),
        tmp_path,
        max_to_keep=2,
        keep_best=BestN("loss"),
        keep_every_n_steps=200,
        keep_checkpoint_every_n_hours=1,
        clock=clock,
    )
    for step, loss in ((100, 0.9), (150, 0.3), (200, 0.8), (250, 0.5), (300, 0.4), (350, 0.45)):
        manager.save(step, metrics={"loss": loss}, metadata={"note": f"at {step}"})
        clock.now_secs += 1700
    manager.pin(300)
    manager.close()

    listed = list_checkpoints(tmp_path, storage=ReadOnlyStorage())

    assert [(c.step, c.kept_because) for c in listed] == [
        (150, "best loss"),
        (200, "every 200 steps"),
        (250, "hourly"),
        (300, "latest, pinned"),
        (350, "latest"),
    ]
    assert [c.step for c in listed if c.latest] == [350]
    assert [c.metrics for c in listed][:2] == [{"loss": 0.3}, {"loss": 0.8}]
    assert [c.metadata for c in listed][:2] == [{"note": "at 150"}, {"note": "at 200"}]
    assert [c.saved_at_secs - 1_700_000_000 for c in listed] == [1700, 3400, 5100, 6800, 8500]
    assert all(c.managed and c.damaged is None for c in listed)
    for checkpoint in listed:
        files = list(tmp_path.glob(naming.base_of(checkpoint.prefix) + ".*"))
        assert len(files) == 2
        assert checkpoint.size_bytes == sum(file.stat().st_size for file in files)


def test_the_reasons_are_those_that_the_manager_itself_gives(tmp_path: Path) -> None:
    clock = Clock()
    policy: dict[str, Any] = {"max_to_keep": 3, "keep_best": BestN("loss", 2, "max")}
    with CheckpointManager(state(), tmp_path, clock=clock, **policy) as manager:
        for step, loss in enumerate((5.0, 1.0, float("nan"), 4.0, 2.0, 3.0)):
            manager.save(step, metrics={"loss": loss})
            clock.now_secs += 1
        manager.pin(3)

    manager = CheckpointManager(state(), tmp_path, clock=clock, **policy)
    expected = {naming.base_of(p): why for p, why in manager._ledger.reasons().items()}
    assert reasons(tmp_path) == expected
    assert set(expected.values()) == {"best loss", "latest, best loss, pinned", "latest"}


def test_works_in_any_storage() -> None:
    storage = MemoryStorage()
    with CheckpointManager(state(), "run", storage=storage, max_to_keep=None) as manager:
        manager.save(1)
        manager.save(2)

    listed = list_checkpoints("run", storage=storage)

    assert [(c.prefix, c.latest) for c in listed] == [
        ("run/model.ckpt-1", False),
        ("run/model.ckpt-2", True),
    ]


def test_after_a_step_back_the_latest_is_the_one_saved_last(tmp_path: Path) -> None:
    clock = Clock()
    for step in (100, 200, 150):
        clock.now_secs += 60
        save_steps(tmp_path, step, clock=clock)

    listed = list_checkpoints(tmp_path)

    assert [(c.step, c.latest) for c in listed] == [(100, False), (200, False), (150, True)]


def test_within_a_second_steps_decide(tmp_path: Path) -> None:
    save_steps(tmp_path, 9, 10, 11, clock=Clock())

    assert [c.step for c in list_checkpoints(tmp_path)] == [9, 10, 11]


def test_one_that_a_reader_keeps_from_being_deleted(tmp_path: Path) -> None:
    with CheckpointManager(state(), tmp_path, max_to_keep=1) as manager:
        manager.save(1)
        with ckptmgr.hold(tmp_path / "model.ckpt-1"):
            manager.save(2)
            held = reasons(tmp_path)
        manager.save(3)

    assert held["model.ckpt-2"] == "latest"
    # Listed by the state as long as it is held, which only its lock can tell.
    assert held["model.ckpt-1"] == "listed in the state"
    assert reasons(tmp_path) == {"model.ckpt-3": "latest"}


def test_one_whose_deletion_was_cut_off(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, max_to_keep=None)
    save_steps(tmp_path, 3, max_to_keep=1)
    save_steps(tmp_path / "other", 1)
    for file in (tmp_path / "other").glob("model.ckpt-1.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / ".ckptmgr" / "deleting").mkdir(exist_ok=True)
    (tmp_path / ".ckptmgr" / "deleting" / "model.ckpt-1").touch()
    # Given up once, and saved again since: the state lists it.
    (tmp_path / ".ckptmgr" / "deleting" / "model.ckpt-3").touch()

    assert reasons(tmp_path) == {"model.ckpt-1": "being deleted", "model.ckpt-3": "latest"}


class Odd:
    """A policy of the user's own."""

    def wants(self, view: View) -> dict[str, Wish]:
        return {r.prefix: Wish("odd") for r in view.tracked if r.step % 2}


def test_a_policy_that_only_the_user_knows(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, 4, retention=LatestN(1) | Odd())

    assert reasons(tmp_path) == {
        "model.ckpt-1": "listed in the state",
        "model.ckpt-3": "listed in the state",
        "model.ckpt-4": "latest",
    }


def test_one_that_an_earlier_policy_preserved(tmp_path: Path) -> None:
    save_steps(tmp_path, 5, 6, 7, max_to_keep=1, keep_every_n_steps=5)
    save_steps(tmp_path, 8, max_to_keep=1)

    assert reasons(tmp_path) == {"model.ckpt-5": "preserved", "model.ckpt-8": "latest"}


# --------------------------------------------------------------------------- of others


def test_a_directory_of_a_saver(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(3)}, max_to_keep=2)
    for step in (1, 2, 3):
        saver.save(str(tmp_path / "model"), step)
    Saver({"w": np.zeros(3)}).save(str(tmp_path / "final"), write_state=False)

    listed = {naming.base_of(c.prefix): c for c in list_checkpoints(tmp_path)}

    assert {base: (c.step, c.kept_because, c.latest) for base, c in listed.items()} == {
        "model-2": (2, "listed in the state", False),
        "model-3": (3, "listed in the state", True),
        "final": (None, "not managed", False),
    }
    index = tmp_path / "final.index"
    assert listed["final"].saved_at_secs == int(index.stat().st_mtime)
    assert not any(c.managed or c.metrics or c.metadata for c in listed.values())


def test_a_directory_of_tensorflow_s_manager(tf: Any, tmp_path: Path) -> None:
    variable = tf.Variable([1.0, 2.0])
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(v=variable),
        str(tmp_path),
        max_to_keep=2,
        checkpoint_name="tf_ckpt",
    )
    for _ in range(3):
        manager.save()
    tf.train.Checkpoint(v=variable).write(str(tmp_path / "by_hand"))
    timestamps = tf.train.get_checkpoint_state(str(tmp_path)).all_model_checkpoint_timestamps

    listed = list_checkpoints(tmp_path, storage=ReadOnlyStorage())
    managed = [c for c in listed if "tf_ckpt" in c.prefix]

    assert [c.prefix for c in managed] == manager.checkpoints
    assert [c.saved_at_secs for c in managed] == list(timestamps)
    assert [c.prefix for c in listed if c.latest] == [manager.latest_checkpoint]
    assert {c.prefix: (c.step, c.kept_because) for c in listed} == {
        str(tmp_path / "tf_ckpt-2"): (2, "listed in the state"),
        str(tmp_path / "tf_ckpt-3"): (3, "listed in the state"),
        str(tmp_path / "by_hand"): (None, "not managed"),
    }
    assert [c.damaged for c in listed] == [None, None, None]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("v2_saver", {"model.ckpt-3": 3, "model.ckpt-4": 4, "model.ckpt-5": 5}),
        ("v2_sharded", {"model-3": 3}),
        ("v2_partitioned", {"model": None}),
        ("v2_variant", {"model": None}),
        ("v1_ckpt", {"model.ckpt-10": 10}),
        ("obj_ckpt", {"ckpt-2": 2, "ckpt-3": 3}),
        ("handmade", {"absent_shards": None, "big_endian": None, "gap4096": None}),
    ],
)
def test_files_of_tensorflow(golden: Path, folder: str, expected: dict[str, int | None]) -> None:
    listed = list_checkpoints(golden / folder, storage=ReadOnlyStorage())
    steps = {naming.base_of(c.prefix): c.step for c in listed}

    assert expected.items() <= steps.items()
    assert [c.damaged for c in listed] == [None] * len(listed)


def test_v1_in_shards(golden: Path, tmp_path: Path) -> None:
    for file in (golden / "v1_ckpt").iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    os.replace(tmp_path / "checkpoint_sharded", tmp_path / "checkpoint")

    (listed,) = list_checkpoints(tmp_path)

    assert listed.prefix == str(tmp_path / "shard.ckpt-10-?????-of-00002")
    assert (listed.step, listed.latest) == (10, True)
    files = [*tmp_path.glob("shard.ckpt-10-0*"), tmp_path / "shard.ckpt-10.meta"]
    assert listed.size_bytes == sum(file.stat().st_size for file in files)
    assert reasons(tmp_path, checkpoint_name="shard.ckpt").keys() == {naming.base_of(listed.prefix)}


def test_only_those_of_one_name(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, checkpoint_name="a")
    save_steps(tmp_path, 2, checkpoint_name="b")

    assert reasons(tmp_path, checkpoint_name="b") == {"b-2": "latest"}
    assert reasons(tmp_path, checkpoint_name="c") == {}


# --------------------------------------------------------------------------- without a good state


def test_a_lost_state(tmp_path: Path) -> None:
    clock = Clock()
    for step in (1, 2, 3):
        clock.now_secs += 10
        save_steps(tmp_path, step, clock=clock, max_to_keep=2)
    (tmp_path / "checkpoint").unlink()

    assert reasons(tmp_path) == {"model.ckpt-2": "latest", "model.ckpt-3": "latest"}
    assert latest(tmp_path) == ["model.ckpt-3"]
    assert newest_prefix(tmp_path) == str(tmp_path / "model.ckpt-3")


def test_a_damaged_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, 1, 2)
    (tmp_path / "checkpoint").write_text("model_checkpoint_path: \n")

    assert latest(tmp_path) == ["model.ckpt-2"]
    assert newest_prefix(tmp_path) == str(tmp_path / "model.ckpt-2")
    assert (
        f"{tmp_path / 'checkpoint'}: line 2 of the checkpoint state does not parse" in caplog.text
    )


def test_a_state_that_names_what_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_steps(tmp_path, 1, 2)
    ckptmgr.remove_checkpoint(tmp_path / "model.ckpt-2")

    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path) == []
    assert "the checkpoint state names model.ckpt-2, which is not there" in caplog.text
    assert newest_prefix(tmp_path) is None


def test_times_that_are_none(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-2"\n'
        'all_model_checkpoint_paths: "model.ckpt-1"\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
        "all_model_checkpoint_timestamps: nan\n"
        "all_model_checkpoint_timestamps: inf\n"
    )

    assert [c.step for c in list_checkpoints(tmp_path)] == [1, 2]


def test_the_copy_of_a_directory_lists_its_own(tmp_path: Path) -> None:
    original, copy = tmp_path / "run", tmp_path / "copy"
    Saver({"w": np.zeros(3)}).save(str(original / "model"), 1)
    assert str(original) in (original / "checkpoint").read_text()
    shutil.copytree(original, copy)

    assert latest(copy) == ["model-1"]
    assert newest_prefix(copy) == str(copy / "model-1")


def test_nothing_there(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path) == []
    assert newest_prefix(tmp_path) is None
    assert look_at(tmp_path / "model.ckpt-1") is None
    assert look_at(tmp_path / "missing" / "model.ckpt-1") is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("function", [list_checkpoints, newest_prefix])
def test_no_directory(tmp_path: Path, function: Callable[[Path], object]) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(errors.FileMissing, match="missing does not exist"):
        function(tmp_path / "missing")
    with pytest.raises(errors.NotADirectory, match="file is a file; a directory"):
        function(tmp_path / "file")


# --------------------------------------------------------------------------- damage


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip_first(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


INDEX, DATA = "model.ckpt-2.index", "model.ckpt-2.data-00000-of-00001"


@pytest.mark.parametrize(
    ("filename", "harm", "message"),
    [
        (DATA, os.unlink, f"{DATA}: the data shard is missing"),
        (DATA, cut, f"{DATA}: the file ends before its tensors do: expected at least"),
        (INDEX, cut, f"{INDEX}: "),
        (INDEX, flip_first, f"{INDEX}: "),
    ],
)
def test_a_damaged_one_is_listed_as_such(
    tmp_path: Path, filename: str, harm: Callable[[Path], None], message: str
) -> None:
    save_steps(tmp_path, 1, 2, 3)
    harm(tmp_path / filename)

    one, two, three = sorted(list_checkpoints(tmp_path), key=lambda c: c.prefix)

    assert (one.damaged, three.damaged) == (None, None)
    assert two.damaged is not None
    assert message in two.damaged
    assert (two.step, two.kept_because, two.latest) == (2, "latest", False)


def test_damaged_metadata(tmp_path: Path) -> None:
    with CheckpointManager(state(), tmp_path) as manager:
        manager.save(7, metrics={"loss": 0.5})
    data = tmp_path / "model.ckpt-7.data-00000-of-00001"
    data.write_bytes(data.read_bytes().replace(b'"loss"', b'"lass"'))

    (listed,) = list_checkpoints(tmp_path)

    assert listed.damaged is not None
    assert METADATA_NAME in listed.damaged
    assert (listed.step, listed.metrics, listed.managed) == (7, {}, False)
    assert listed == list_checkpoints(tmp_path)[0]


def test_an_empty_tensor_needs_no_shard(tmp_path: Path) -> None:
    Saver({"empty": np.zeros((0, 3))}).save(str(tmp_path / "model"))
    (tmp_path / "model.data-00000-of-00001").unlink()

    assert [c.damaged for c in list_checkpoints(tmp_path)] == [None]


@pytest.mark.parametrize("content", [b"", b"not a table", bytes(100)])
def test_an_index_of_something_else(tmp_path: Path, content: bytes) -> None:
    save_steps(tmp_path, 1)
    (tmp_path / "search.index").write_bytes(content)
    assert [c.step for c in list_checkpoints(tmp_path)] == [1]

    # With data beside it, it is the index of a checkpoint, and damaged.
    (tmp_path / "search.data-00000-of-00001").write_bytes(b"x")
    damaged = {naming.base_of(c.prefix) for c in list_checkpoints(tmp_path) if c.damaged}
    assert damaged == {"search"}


def test_while_another_saves(tmp_path: Path) -> None:
    """Whatever is replaced or deleted meanwhile, nothing that is listed seems damaged."""
    seen: list[ListedCheckpoint] = []
    done = threading.Event()

    def save() -> None:
        with CheckpointManager(state(), tmp_path, max_to_keep=2, durability="none") as manager:
            for step in range(150):
                manager.save(step)
                manager.save(step // 2 * 2, force=True)
        done.set()

    tmp_path.mkdir(exist_ok=True)
    thread = threading.Thread(target=save)
    thread.start()
    while not done.is_set():
        seen += list_checkpoints(tmp_path, storage=ReadOnlyStorage())
    thread.join()

    assert len(seen) > 20
    assert [c.damaged for c in seen if c.damaged] == []


def test_what_checkpoints_share_is_told(tmp_path: Path) -> None:
    frozen = np.arange(100_000.0)
    with CheckpointManager(None, tmp_path, deduplicate=True, durability="none") as manager:
        for step in (1, 2, 3):
            manager.save(step, {"frozen": frozen, "step": step})

    first, *others = list_checkpoints(tmp_path)

    assert first.shared_bytes == 0
    assert all(frozen.nbytes <= c.shared_bytes < c.size_bytes for c in others)
    on_disk = {os.stat(path).st_ino: os.stat(path).st_size for path in tmp_path.glob("model*")}
    total_bytes = sum(c.size_bytes - c.shared_bytes for c in (first, *others))
    assert total_bytes == sum(on_disk.values())
