from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, Saver, errors, events
from ckptmgr.lifecycle.restore_progress import RestoreProgress

MB = 1_000_000


def told(*read: int, total: int = 100 * MB, to_read: int = 200 * MB) -> list[int]:
    heard: list[events.Event] = []
    progress = RestoreProgress("run/m-1", heard.append)
    progress.expect(total, read_bytes=to_read)
    for size_bytes in read:
        progress.read(size_bytes)
    done = []
    for event in heard:
        assert isinstance(event, events.Progress)
        assert (event.prefix, event.doing, event.total_bytes) == ("run/m-1", "restore", total)
        done.append(event.done_bytes)
    return done


@pytest.mark.parametrize(
    ("read", "done"),
    [
        ((), []),
        ((20 * MB, 80 * MB, 100 * MB), [10 * MB, 50 * MB, 100 * MB]),
        ((2 * MB, 2 * MB, 2 * MB), [3 * MB]),
        ((199 * MB, MB), [99_500_000, 100 * MB]),
        ((199 * MB, 50 * MB, 50 * MB), [99_500_000, 100 * MB]),
    ],
    ids=["nothing", "large", "small", "the rest", "too much"],
)
def test_progress(read: tuple[int, ...], done: list[int]) -> None:
    assert told(*read) == done


# --------------------------------------------------------------------------- restores


class Model:
    def __init__(self) -> None:
        self.weight = np.zeros(2 * MB)

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"]


def tree() -> Any:
    small = {str(i): np.zeros(100) for i in range(20)}
    return {"w": np.zeros(2 * MB), "r": np.zeros((MB, 2))[:, 0], "s": small, "model": Model()}


SAVED = {
    "w": np.ones(2 * MB),
    "r": np.ones(MB),
    "s": {str(i): np.ones(100) for i in range(20)},
    "model": {"weight": np.ones(2 * MB)},
}
SIZE_BYTES = (5 * MB + 2000) * 8


@pytest.mark.parametrize("state", [tree, lambda: None], ids=["target", "no target"])
def test_a_restore_tells_how_far_it_is(tmp_path: Path, state: Any) -> None:
    heard: list[events.Event] = []
    with CheckpointManager(state(), tmp_path, on_event=heard.append) as manager:
        path = manager.save(1, SAVED)
        heard.clear()
        manager.restore()
    *progress, restored = heard
    assert isinstance(restored, events.CheckpointRestored)
    assert restored.size_bytes == SIZE_BYTES
    done = [event.done_bytes for event in progress if isinstance(event, events.Progress)]
    assert len(done) == len(progress) > 5
    assert done == sorted(set(done))
    assert done[-1] == SIZE_BYTES
    assert {(event.prefix, event.total_bytes) for event in progress} == {(path, SIZE_BYTES)}  # type: ignore[attr-defined]


def test_a_part_is_all_of_what_is_restored(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with CheckpointManager(None, tmp_path, on_event=heard.append) as manager:
        manager.save(1, SAVED)
        heard.clear()
        manager.restore(state={"w": np.zeros(2 * MB)})
    last = heard[-2]
    assert isinstance(last, events.Progress)
    assert (last.done_bytes, last.total_bytes) == (16 * MB, 16 * MB)


def test_a_saver(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    saver = Saver({"w": np.zeros(2 * MB)})
    with CheckpointManager(saver, tmp_path, on_event=heard.append) as manager:
        manager.save(1)
        heard.clear()
        manager.restore()
    last = heard[-2]
    assert isinstance(last, events.Progress)
    assert (last.done_bytes, last.total_bytes) == (16 * MB, 16 * MB)


def test_a_restore_that_raises_says_so(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with CheckpointManager({"w": np.ones(3)}, tmp_path, on_event=heard.append) as manager:
        path = manager.save(1)
        assert path is not None
        heard.clear()
        with pytest.raises(errors.ShapeMismatch) as caught:
            manager.restore(state={"w": np.ones(4)})
        assert heard == [events.RestoreFailed(path, caught.value)]


@pytest.mark.parametrize("by_step", [True, False])
def test_damage_is_passed_over_or_raised(tmp_path: Path, *, by_step: bool) -> None:
    heard: list[events.Event] = []
    with CheckpointManager({"w": np.ones(3)}, tmp_path, on_event=heard.append) as manager:
        manager.save(1)
        path = manager.save(2)
        with open(f"{path}.data-00000-of-00001", "r+b") as file:
            file.write(b"damage")
        heard.clear()
        if by_step:
            with pytest.raises(errors.CorruptCheckpoint):
                manager.restore(2)
        else:
            manager.restore()
    kinds = [type(event) for event in heard if not isinstance(event, events.Progress)]
    passed_over = [events.CheckpointSkipped, events.CheckpointRestored]
    assert kinds == ([events.RestoreFailed] if by_step else passed_over)
