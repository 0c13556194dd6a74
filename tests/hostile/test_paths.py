"""Names in files that lead elsewhere: nothing outside the directory is read or deleted."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import errors
from ckptmgr.lifecycle import listing
from ckptmgr.lifecycle.deletion import remove_checkpoint
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.repair import repair
from ckptmgr.lifecycle.run_directory import hold
from ckptmgr.lifecycle.saver import Saver, WriteVersion
from ckptmgr.lifecycle.verification import verify
from ckptmgr.lifecycle.watch import CheckpointWatcher

TOKEN = "0123456789abcdef" * 2


def values(number: float) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return {"w": np.full(3, number, np.float32)}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Somebody else's files: a checkpoint of each format, and one that is none."""
    folder = tmp_path / "outside"
    with CheckpointManager(values(7), folder, durability="none") as manager:
        manager.save(7)
    old = Saver(values(7), write_version=WriteVersion.V1, durability="none")
    old.save(str(folder / "old"), write_state=False)
    (folder / "notes.txt").write_text("do not delete")
    (folder / "notes.txt.meta").write_text("nor this")
    (folder / "__init__.py").touch()
    for name in (TOKEN, f"main.{TOKEN}", f"cache.tmp-{TOKEN}", f"old.index.tmp-{TOKEN}"):
        (folder / name).write_text("called as a lock, a hold or a temporary is")
    return folder


@pytest.fixture
def run(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A run of two checkpoints, beside the others; at the end, the others are as they were."""
    before = content_of(outside)
    folder = tmp_path / "run"
    with CheckpointManager(values(1), folder, durability="none") as manager:
        manager.save(1)
        manager.save(2)
    yield folder
    assert content_of(outside) == before


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def paths_elsewhere(outside: Path) -> dict[str, str]:
    return {
        "absolute, V2": str(outside / "model.ckpt-7"),
        "absolute, V1": str(outside / "old"),
        "absolute, no checkpoint": str(outside / "notes.txt"),
        "up and over": "../outside/model.ckpt-7",
        "up and over, V1": "../outside/old",
        "up and over and back": "../outside/../outside/notes.txt",
        "below and up": ".ckptmgr/../../outside/model.ckpt-7",
        "the directory": ".",
        "the one above": "..",
        "a directory": str(outside) + "/",
        "root": "/",
        "NUL": "model.ckpt-2\\000",
        "newline": "model.ckpt-2\\n",
        "too long": "x" * 300,
        "far too long": "x/" * 5000,
        "a pattern": "model.ckpt-*",
        "shards without end": "../outside/old-?????-of-99999",
        "a hidden one": ".ckptmgr/lock",
    }


NAMES = sorted(paths_elsewhere(Path("/")))


def write_state(run: Path, path: str) -> None:
    lines = [f'model_checkpoint_path: "{path}"']
    lines += [f'all_model_checkpoint_paths: "{path}"'] * 2
    lines += ["all_model_checkpoint_timestamps: 1.5"] * 2
    (run / "checkpoint").write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ckptmgr")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_leads_elsewhere(run: Path, outside: Path, name: str) -> None:
    write_state(run, paths_elsewhere(outside)[name])
    inside = {None, *(str(run / f"model.ckpt-{step}") for step in (1, 2))}
    assert listing.newest_prefix(run) in inside
    with CheckpointWatcher(run, timeout_secs=0.05) as watcher:
        assert set(watcher) <= inside
    with CheckpointManager(values(0), run, max_to_keep=1) as manager:
        assert manager.latest_checkpoint in inside
        restored = manager.restore()
        assert restored is not None
        assert restored.path in inside
        assert restored.state["w"].tolist() == [1, 1, 1]
        manager.save(3)  # retention deletes what the state lists
        manager.save(4)
        assert manager.latest_checkpoint == str(run / "model.ckpt-4")


@pytest.mark.parametrize("name", NAMES)
def test_repair_of_a_state_that_leads_elsewhere(run: Path, outside: Path, name: str) -> None:
    write_state(run, paths_elsewhere(outside)[name])
    """What is named elsewhere and stands there may stay named; nothing of it is touched."""
    repair(run, apply=True)
    with CheckpointManager(values(0), run) as manager:
        restored = manager.restore()
        assert restored is not None
        assert restored.path == str(run / "model.ckpt-2")


@pytest.mark.parametrize("name", NAMES)
def test_a_saver_that_takes_over_what_a_state_lists(run: Path, outside: Path, name: str) -> None:
    """As users of TensorFlow do; what is not in the directory stays."""
    path = paths_elsewhere(outside)[name]
    if "\\" not in path and "too long" not in name:
        saver = Saver(values(1), max_to_keep=1, durability="none")
        saver.recover_last_checkpoints([str(run / path)] * 3)
        for step in range(3, 7):
            saver.save(str(run / "model.ckpt"), step)


@pytest.mark.parametrize("version", WriteVersion)
def test_tensorflows_functions_return_what_the_state_says(
    run: Path, outside: Path, version: int
) -> None:
    """An absolute path in a state is TensorFlow's default: reading goes where it leads."""
    elsewhere = str(outside / ("old" if version == WriteVersion.V1 else "model.ckpt-7"))
    write_state(run, elsewhere)
    state = ckptmgr.get_checkpoint_state(run)
    assert state is not None
    assert state.model_checkpoint_path == elsewhere
    assert ckptmgr.latest_checkpoint(run) == elsewhere
    assert ckptmgr.load_variable(str(run), "w").tolist() == [7, 7, 7]


def test_removing_removes_the_names_of_one_checkpoint_only(run: Path, outside: Path) -> None:
    """Also where its index and its shards are links, and its index counts other shards."""
    (run / "model.ckpt-1.index").unlink()
    (run / "model.ckpt-1.index").symlink_to(outside / "model.ckpt-7.index")
    shard = "data-00000-of-00001"
    (run / f"model.ckpt-1.{shard}").unlink()
    (run / f"model.ckpt-1.{shard}").symlink_to(outside / f"model.ckpt-7.{shard}")
    (run / "model.ckpt-1.meta").symlink_to(outside / "notes.txt")
    remove_checkpoint(run / "model.ckpt-1")
    assert [name for name in sorted(os.listdir(run)) if "ckpt-1" in name] == []


def test_a_linked_checkpoint_is_deleted_by_its_link(run: Path, outside: Path) -> None:
    for name in sorted(os.listdir(run)):
        if "ckpt-1." in name:
            (run / name).unlink()
            (run / name).symlink_to(outside / name.replace("ckpt-1", "ckpt-7"))
    with CheckpointManager(values(1), run, max_to_keep=1) as manager:
        manager.save(3)
        assert manager.all_steps() == [3]


def test_a_linked_state_is_replaced_not_written_through(run: Path, outside: Path) -> None:
    (run / "checkpoint").unlink()
    (run / "checkpoint").symlink_to(outside / "checkpoint")
    with CheckpointManager(values(1), run) as manager:
        manager.save(3)
    assert not (run / "checkpoint").is_symlink()


def test_a_lock_file_that_is_a_link_is_not_written_through(run: Path, outside: Path) -> None:
    (run / ".ckptmgr/lock").unlink()
    (run / ".ckptmgr/lock").symlink_to(outside / "notes.txt")
    with CheckpointManager(values(1), run) as manager, pytest.raises(errors.StorageError):
        manager.save(3)


def hold_for_a_moment(prefix: Path) -> None:
    with hold(prefix):
        pass


@pytest.mark.parametrize("kind", ["", "deleting", "publishing", "pins", "holds", "writers"])
def test_a_directory_of_ours_that_is_a_link_is_refused(run: Path, outside: Path, kind: str) -> None:
    """A directory from elsewhere may hold a link where locks and marks are kept."""
    folder = run / ".ckptmgr" / kind
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.symlink_to(outside)
    with CheckpointManager(values(1), run, max_to_keep=1) as manager:
        changes: list[Callable[[], object]] = [
            lambda: manager.save(3),
            lambda: manager.pin(2),
            lambda: manager.unpin(2),
            manager.finish,
            lambda: hold_for_a_moment(run / "model.ckpt-2"),
            lambda: Saver(values(1)).save(str(run / "other"), 1),
        ]
        for change in changes:
            with pytest.raises(errors.StorageError, match="is a link"):
                change()
    (run / "checkpoint").unlink()
    assert len(listing.list_checkpoints(run)) == 2
    assert verify(run).checkpoints[0].is_whole
    with pytest.raises(errors.StorageError, match="is a link"):
        repair(run, apply=True)


@pytest.mark.parametrize(
    "name",
    ["..index", "...index", "\n.index", "a\nb.index", "\udcff.index", f"checkpoint.tmp-{TOKEN}"],
)
def test_odd_file_names_do_not_keep_from_saving(run: Path, name: str) -> None:
    (run / name).write_bytes(b"")
    listing.list_checkpoints(run)
    with CheckpointManager(values(1), run, max_to_keep=1) as manager:
        manager.save(3)
        assert manager.all_steps() == [3]


@pytest.mark.parametrize("name", ["../outside/notes.txt", "/etc/passwd", "a/../../b", "\n", "*"])
def test_tensor_names_are_no_paths(tmp_path: Path, name: str) -> None:
    prefix = Saver({name: np.ones(2)}, durability="none").save(str(tmp_path / "deep/m"))
    assert prefix is not None
    assert ckptmgr.load_variable(prefix, name).tolist() == [1, 1]
    assert sorted(os.listdir(tmp_path)) == ["deep"]
