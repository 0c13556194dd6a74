from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import ckptmgr
from ckptmgr import PartitionedVariable, Saver, errors, naming
from ckptmgr.lifecycle.saver import WriteVersion
from ckptmgr.storage import PosixStorage


def files(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != ".ckptmgr")


def test_saving_and_restoring_in_place(tmp_path: Path) -> None:
    w, b = np.arange(6.0).reshape(2, 3), np.float32(0.5)
    saver = Saver({"layer/w": w, "layer/b": b})
    prefix = saver.save(str(tmp_path / "model.ckpt"), global_step=7)
    assert prefix == str(tmp_path / "model.ckpt-7")
    assert files(tmp_path) == [
        "checkpoint",
        "model.ckpt-7.data-00000-of-00001",
        "model.ckpt-7.index",
    ]
    w[:] = 0
    restored = saver.restore(prefix)
    assert restored["layer/w"] is w
    assert w.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert restored["layer/b"] == np.float32(0.5)


def test_it_adds_no_tensor_of_its_own(tmp_path: Path) -> None:
    prefix = Saver({"a": np.zeros(1), "b": np.zeros(2)}).save(str(tmp_path / "m"))
    assert prefix is not None
    assert ckptmgr.list_variables(prefix) == [("a", [1]), ("b", [2])]


@pytest.mark.parametrize(
    ("arguments", "step", "name"),
    [
        ({}, None, "m"),
        ({}, 3, "m-3"),
        ({}, np.int64(3), "m-3"),
        ({"pad_step_number": True}, 3, "m-00000003"),
        ({"pad_step_number": True}, 123456789, "m-123456789"),
        ({"write_version": WriteVersion.V1}, 3, "m-3"),
    ],
)
def test_the_name_of_a_checkpoint(
    tmp_path: Path, arguments: dict[str, Any], step: int | None, name: str
) -> None:
    saver = Saver({"w": np.ones(2)}, **arguments)
    prefix = saver.save(str(tmp_path / "m"), step)
    assert prefix == str(tmp_path / name)
    assert ckptmgr.load_variable(prefix, "w").tolist() == [1, 1]
    assert ckptmgr.latest_checkpoint(tmp_path) == prefix


def test_the_window(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, max_to_keep=2)
    for step in range(4):
        saver.save(str(tmp_path / "m"), step)
    assert saver.last_checkpoints == [str(tmp_path / "m-2"), str(tmp_path / "m-3")]
    assert [name for name in files(tmp_path) if name.endswith(".index")] == [
        "m-2.index",
        "m-3.index",
    ]


def test_a_new_saver_can_take_the_old_ones_checkpoints_over(tmp_path: Path) -> None:
    old = Saver({"w": np.zeros(1)}, max_to_keep=3)
    for step in range(3):
        old.save(str(tmp_path / "m"), step)
    saver = Saver({"w": np.zeros(1)}, max_to_keep=2)
    state = ckptmgr.get_checkpoint_state(tmp_path)
    assert state is not None
    missing = str(tmp_path / "m-99")
    saver.recover_last_checkpoints([*state.all_model_checkpoint_paths, missing])
    assert saver.last_checkpoints == list(state.all_model_checkpoint_paths)
    for step in (3, 4):
        saver.save(str(tmp_path / "m"), step)
    assert [name for name in files(tmp_path) if name.endswith(".index")] == [
        "m-2.index",
        "m-3.index",
        "m-4.index",
    ]


def test_another_state_file(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, save_relative_paths=True)
    prefix = saver.save(str(tmp_path / "m"), 1, latest_filename="newest")
    assert ckptmgr.latest_checkpoint(tmp_path) is None
    assert ckptmgr.latest_checkpoint(tmp_path, "newest") == prefix
    assert '"m-1"' in (tmp_path / "newest").read_text()
    saver.save(str(tmp_path / "m"), 2, write_state=False)
    assert ckptmgr.latest_checkpoint(tmp_path, "newest") == prefix


def test_relative_paths_are_returned_as_given(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert Saver({"w": np.zeros(1)}).save("m", 1) == "m-1"
    assert Saver({"w": np.zeros(1)}).save("run/m", 1) == "run/m-1"
    assert ckptmgr.latest_checkpoint("run") == "run/m-1"
    assert 'model_checkpoint_path: "m-1"' in Path("run/checkpoint").read_text()


def test_a_shard_per_device(tmp_path: Path) -> None:
    class OnDevice:
        def __init__(self, value: float, device: str) -> None:
            self.array = np.full(2, value)
            self.device = device
            self.shape = (2,)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.array

    variables = {"a": OnDevice(1, "gpu:1"), "b": OnDevice(2, "gpu:0"), "c": OnDevice(3, "gpu:1")}
    prefix = Saver(variables, sharded=True).save(str(tmp_path / "m"))
    assert [name for name in files(tmp_path) if ".data" in name] == [
        "m.data-00000-of-00002",
        "m.data-00001-of-00002",
    ]
    reader = ckptmgr.load_checkpoint(str(prefix))
    assert [reader.get_tensor(name)[0] for name in "abc"] == [1, 2, 3]


@pytest.mark.parametrize("version", list(WriteVersion))
def test_partitioned_variables(tmp_path: Path, version: WriteVersion) -> None:
    whole = np.arange(12.0).reshape(4, 3)
    halves = [((0, 0), whole[:2].copy()), ((2, 0), whole[2:].copy())]
    saver = Saver({"p": PartitionedVariable((4, 3), halves)}, write_version=version)
    prefix = str(saver.save(str(tmp_path / "m")))
    assert np.array_equal(ckptmgr.load_variable(prefix, "p"), whole)
    # Restored under another partition, in place.
    thirds = [((0, 0), np.zeros((4, 1))), ((0, 1), np.zeros((4, 2)))]
    Saver({"p": PartitionedVariable((4, 3), thirds)}).restore(prefix)
    assert np.array_equal(np.hstack([part for _, part in thirds]), whole)


def test_objects_with_names(tmp_path: Path) -> None:
    class Variable:
        def __init__(self, name: str, value: Any) -> None:
            self.name = name
            self.value = np.asarray(value)
            self.shape = self.value.shape

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.value

        def assign(self, value: Any) -> None:
            self.value = value

    variables = [Variable("w:0", [1.0, 2.0]), Variable("b:0", 3)]
    prefix = str(Saver(variables).save(str(tmp_path / "m")))
    assert [name for name, _ in ckptmgr.list_variables(prefix)] == ["b", "w"]
    variables[0].value = np.zeros(2)
    Saver(variables).restore(prefix)
    assert variables[0].value.tolist() == [1, 2]


def test_other_names_and_a_part(tmp_path: Path) -> None:
    prefix = str(Saver({"old": np.ones(2), "more": np.ones(9)}).save(str(tmp_path / "m")))
    target = np.zeros(2)
    Saver({"old": target}).restore(prefix)
    assert target.tolist() == [1, 1]


def test_reshape(tmp_path: Path) -> None:
    prefix = str(Saver({"w": np.arange(6.0)}).save(str(tmp_path / "m")))
    w = np.zeros((2, 3))
    Saver({"w": w}, reshape=True).restore(prefix)
    assert w.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(errors.ShapeMismatch, match=r"wanted shape \(4,\), found \(6,\)"):
        Saver({"w": np.zeros(4)}, reshape=True).restore(prefix)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (
            {"a": np.zeros(2), "layr/w": np.zeros(3)},
            errors.TensorNotFound,
            "Did you mean 'layer/w'",
        ),
        ({"a": np.zeros(2), "layer/w": np.zeros(4)}, errors.ShapeMismatch, r"wanted shape \(4,\)"),
        (
            {"a": np.zeros(2), "layer/w": np.zeros(3, "i4")},
            errors.DtypeMismatch,
            "wanted dtype int32",
        ),
    ],
)
def test_nothing_has_changed_when_a_restore_does_not_fit(
    tmp_path: Path, target: dict[str, Any], error: type[Exception], message: str
) -> None:
    prefix = str(Saver({"a": np.ones(2), "layer/w": np.ones(3)}).save(str(tmp_path / "m")))
    with pytest.raises(error, match=message):
        Saver(target).restore(prefix)
    assert target["a"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: Saver({}), errors.InvalidArgument, "No variables to save"),
        (lambda d: Saver("w"), errors.InvalidArgument, "found str"),
        (lambda d: Saver(cast(Any, 5)), errors.InvalidArgument, "found int"),
        (lambda d: Saver([np.zeros(1)]), errors.InvalidArgument, "has no name, found ndarray"),
        (lambda d: Saver({"": np.zeros(1)}), errors.InvalidName, "must not be empty"),
        (lambda d: Saver({"w": 1}, write_version=3), errors.InvalidArgument, "V2, found 3"),
        (lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/m", -1), errors.InvalidStep, "found -1"),
        (lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/m[1]"), errors.InvalidName, r"contains \["),
        (
            lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/"),
            errors.InvalidName,
            "must end in a file",
        ),
        (
            lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/checkpoint"),
            errors.InvalidName,
            "collides",
        ),
        (
            lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/m", latest_filename="a/b"),
            errors.InvalidName,
            "latest_filename must be a file name",
        ),
        (
            lambda d: Saver({"w": np.zeros(1)}).save(f"{d}/x/y/m"),
            errors.InvalidArgument,
            "Parent directory of .*/x/y/m doesn't exist",
        ),
        (lambda d: Saver({"w": None}).save(f"{d}/m"), errors.UnsupportedLeaf, "'w' .* it is None"),
        (
            lambda d: Saver({"p": PartitionedVariable((4,), [])}).save(f"{d}/m"),
            errors.InvalidArgument,
            "variable 'p' has no part here",
        ),
        (lambda d: Saver({"w": print}).save(f"{d}/m"), errors.UnsupportedLeaf, "leaf 'w'"),
        (
            lambda d: Saver({"w": np.zeros(1)}).restore(cast(str, None)),
            errors.InvalidArgument,
            "when it is None",
        ),
        (lambda d: Saver({"w": np.zeros(1)}).restore(f"{d}/m"), errors.CheckpointNotFound, "/m"),
        (
            lambda d: Saver({"w": np.zeros(1, "u4")}, write_version=1).save(f"{d}/m"),
            errors.UnsupportedDtype,
            "uint32",
        ),
    ],
)
def test_mistakes_are_named_and_write_nothing(
    tmp_path: Path, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert files(tmp_path) == []


def test_an_empty_saver_saves_nothing(tmp_path: Path) -> None:
    assert Saver({}, allow_empty=True).save(str(tmp_path / "m")) is None
    assert files(tmp_path) == []


def test_a_manager_wraps_an_empty_saver(tmp_path: Path) -> None:
    manager = ckptmgr.CheckpointManager(Saver({}, allow_empty=True), tmp_path)
    manager.save(1, metrics={"loss": 1})
    restored = manager.restore()
    assert restored is not None
    assert (restored.state, restored.metrics) == ({}, {"loss": 1.0})


def test_no_nul_at_the_end_of_a_string_is_lost(tmp_path: Path) -> None:
    saved = {"raw": b"a\0", "text": "b\0", "array": np.array(b"c\0", object)}
    prefix = str(Saver(saved).save(str(tmp_path / "m")))
    own = {"raw": b"", "text": "", "array": np.array(b"", object)}
    assert Saver(own).restore(prefix) == saved


def test_a_manager_wraps_a_saver(tmp_path: Path) -> None:
    w = np.ones(2)
    manager = ckptmgr.CheckpointManager(Saver({"w": w}), tmp_path, max_to_keep=1)
    manager.save(1, metrics={"loss": 1})
    manager.save(2, metrics={"loss": 2})
    w[:] = 0
    restored = manager.restore()
    assert restored is not None
    assert (restored.step, restored.metrics, w.tolist()) == (2, {"loss": 2.0}, [1, 1])
    assert manager.all_steps() == [2]


def test_a_hold_delays_no_other_deletion(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, max_to_keep=1)
    first = saver.save(str(tmp_path / "m"), 1)
    assert first is not None
    with ckptmgr.hold(first):
        for step in range(2, 6):
            saver.save(str(tmp_path / "m"), step)
        assert sorted(n for n in os.listdir(tmp_path) if n.endswith(".index")) == [
            "m-1.index",
            "m-5.index",
        ]
    saver.save(str(tmp_path / "m"), 6)
    assert [n for n in os.listdir(tmp_path) if n.endswith(".index")] == ["m-6.index"]


def test_a_held_checkpoint_that_is_saved_again_stays(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, max_to_keep=1)
    first = saver.save(str(tmp_path / "m"), 1)
    assert first is not None
    with ckptmgr.hold(first):
        saver.save(str(tmp_path / "m"), 2)
    saver.save(str(tmp_path / "m"), 1)
    assert ckptmgr.latest_checkpoint(tmp_path) == first


def test_a_hold_counts_also_when_the_next_save_is_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    saver = Saver({"w": np.zeros(1)}, max_to_keep=1)
    first = saver.save(str(tmp_path / "a" / "m"), 1)
    assert first is not None
    with ckptmgr.hold(first):
        saver.save(str(tmp_path / "b" / "m"), 2)
        assert ckptmgr.checkpoint_exists(first)
    saver.save(str(tmp_path / "b" / "m"), 3)
    assert not ckptmgr.checkpoint_exists(first)


# --------------------------------------------------------------------------- the directory


class Listing(PosixStorage):
    """Notes the directories that are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def list_dir(self, path: str) -> list[str]:
        self.listed.append(path)
        return super().list_dir(path)


def test_only_the_first_save_lists_the_directory(tmp_path: Path) -> None:
    storage = Listing()
    saver = Saver({"w": np.zeros(1)}, max_to_keep=1, storage=storage)
    saver.save(str(tmp_path / "m"), 0)
    assert str(tmp_path) in storage.listed
    storage.listed.clear()
    for step in (1, 2):
        saver.save(str(tmp_path / "m"), step)
    assert str(tmp_path) not in storage.listed
    assert files(tmp_path) == ["checkpoint", "m-2.data-00000-of-00001", "m-2.index"]


def test_shards_of_two_generations_go_with_their_checkpoint(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, max_to_keep=1)
    for step in (1, 1):
        saver.save(str(tmp_path / "m"), step)
    (tmp_path / "m-1.data-00000-of-00003").touch()  # as if it could not be removed
    saver.save(str(tmp_path / "m"), 2)
    assert files(tmp_path) == ["checkpoint", "m-2.data-00000-of-00001", "m-2.index"]


def test_what_a_killed_saver_left_goes_with_the_next_save(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)})
    saver.save(str(tmp_path / "m"), 1)
    token = naming.new_token()
    Path(naming.writer_file(str(tmp_path), token)).touch()
    Path(naming.temporary(str(tmp_path / "m-9.index"), token)).touch()
    saver.save(str(tmp_path / "m"), 2)
    assert [name for name in files(tmp_path) if ".tmp-" in name] == []


def test_a_directory_that_is_removed_is_made_again(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)})
    saver.save(str(tmp_path / "run" / "m"), 1)
    shutil.rmtree(tmp_path / "run")
    prefix = saver.save(str(tmp_path / "run" / "m"), 2)
    assert ckptmgr.latest_checkpoint(tmp_path / "run") == prefix


def test_a_directory_that_is_removed_in_the_middle_of_a_save(tmp_path: Path) -> None:
    class Removing(PosixStorage):
        def create(self, path: str) -> Any:
            if path.endswith("m-2.index.tmp-" + path[-32:]):
                shutil.rmtree(tmp_path / "run")
                (tmp_path / "run").mkdir()
            return super().create(path)

    saver = Saver({"w": np.zeros(1)}, storage=Removing())
    saver.save(str(tmp_path / "run" / "m"), 1)
    with pytest.raises(errors.StorageError, match="was removed while training saved into it"):
        saver.save(str(tmp_path / "run" / "m"), 2)
    saver.save(str(tmp_path / "run" / "m"), 3)
    assert ckptmgr.latest_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "m-3")


def test_a_directory_called_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    saver = Saver({"w": np.zeros(1)})
    message = f"{tmp_path / 'checkpoint'} is a directory where the state file belongs; move it away"
    with pytest.raises(errors.StorageError, match=message):
        saver.save(str(tmp_path / "m"), 1)
    assert files(tmp_path) == ["checkpoint"]
    saver.save(str(tmp_path / "m"), 1, write_state=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_to_keep": "a"}, "max_to_keep must be an integer of at least 0 or None .*found 'a'"),
        ({"max_to_keep": 2.5}, "max_to_keep must be .*found 2.5"),
        ({"max_to_keep": -1}, "max_to_keep must be .*found -1"),
        (
            {"keep_checkpoint_every_n_hours": "a"},
            "keep_checkpoint_every_n_hours must be a number of at least zero, found 'a'",
        ),
        ({"alignment_bytes": 0}, "alignment_bytes must be a positive integer, found 0"),
        ({"alignment_bytes": 1.5}, "alignment_bytes must be a positive integer, found 1.5"),
    ],
)
def test_a_number_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        Saver({"w": np.zeros(1)}, **arguments)


def test_a_window_that_is_an_integer_of_numpy(tmp_path: Path) -> None:
    saver = Saver({"w": np.zeros(1)}, max_to_keep=cast(int, np.int64(1)))
    for step in (1, 2):
        saver.save(str(tmp_path / "m"), step)
    assert saver.last_checkpoints == [str(tmp_path / "m-2")]
