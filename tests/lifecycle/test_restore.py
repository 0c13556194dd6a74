"""Which checkpoint a restore takes when some are damaged, and how it tells."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors, events


def save_steps(directory: Path, *steps: int) -> None:
    with CheckpointManager(None, directory, durability="none") as manager:
        for step in steps:
            manager.save(step, {"w": np.full(4, step), "name": f"at {step}"})


def flip(path: Path, offset: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_damaged_newest_is_told_with_file_tensor_expected_and_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(tmp_path, 1, 2, 3)
    shard = tmp_path / "model.ckpt-3.data-00000-of-00001"
    flip(shard)
    (tmp_path / "model.ckpt-2.index").write_bytes(b"")
    state: dict[str, Any] = {"w": np.zeros(4, np.int64), "name": ""}
    seen: list[events.Event] = []

    with caplog.at_level(logging.ERROR):
        restored = CheckpointManager(state, tmp_path, on_event=seen.append).restore()

    assert restored is not None
    assert (restored.step, restored.state["name"], state["w"].tolist()) == (1, "at 1", [1] * 4)
    assert [Path(record.prefix).name for record in restored.skipped] == [
        "model.ckpt-3",
        "model.ckpt-2",
    ]
    error = restored.skipped[0].error
    assert isinstance(error, errors.ChecksumMismatch)
    assert (error.path, error.tensor) == (str(shard), "w")
    assert str(error.expected).startswith("0x")
    assert str(error.found).startswith("0x")
    assert error.expected != error.found
    assert [record for record in seen if isinstance(record, events.CheckpointSkipped)] == [
        *restored.skipped
    ]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert str(shard) in caplog.messages[0]


def test_nothing_is_skipped_where_all_is_whole(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    restored = CheckpointManager(None, tmp_path).restore(strict=True)
    assert restored is not None
    assert (restored.step, restored.skipped) == (2, ())


def remove(directory: Path) -> None:
    ckptmgr.remove_checkpoint(directory / "model.ckpt-2")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (
            lambda directory: flip(directory / "model.ckpt-2.data-00000-of-00001"),
            errors.ChecksumMismatch,
        ),
        (lambda directory: flip(directory / "model.ckpt-2.index"), errors.NotATable),
        (
            lambda directory: (directory / "model.ckpt-2.data-00000-of-00001").unlink(),
            errors.MissingShard,
        ),
        (remove, errors.CheckpointNotFound),
    ],
)
def test_strict_takes_no_older_one(
    tmp_path: Path, damage: Callable[[Path], None], error: type[Exception]
) -> None:
    save_steps(tmp_path, 1, 2)
    damage(tmp_path)
    state: dict[str, Any] = {"w": np.zeros(4, np.int64), "name": ""}
    seen: list[events.Event] = []
    manager = CheckpointManager(state, tmp_path, on_event=seen.append)

    with pytest.raises(error):
        manager.restore(strict=True)

    assert state["w"].tolist() == [0] * 4
    assert not any(isinstance(event, events.CheckpointSkipped) for event in seen)
    restored = manager.restore()
    assert restored is not None
    assert restored.step == 1


def test_strict_in_an_empty_directory(tmp_path: Path) -> None:
    assert CheckpointManager(None, tmp_path / "new").restore(strict=True) is None


def test_nothing_is_initialized_over_checkpoints_that_are_all_damaged(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    for step in (1, 2):
        flip(tmp_path / f"model.ckpt-{step}.data-00000-of-00001")
    calls: list[int] = []

    with pytest.raises(errors.ChecksumMismatch, match="model.ckpt-2.data"):
        CheckpointManager(None, tmp_path).restore_or_initialize(lambda: calls.append(1))

    assert calls == []
