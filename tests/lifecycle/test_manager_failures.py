"""What a manager does after a save failed, in a thread, in a fork, and with odd listeners."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, Saver, errors, events
from ckptmgr.storage import PosixStorage

STATE = {"w": np.zeros(3)}


class FailsOnce(PosixStorage):
    """Refuses to create an index, once."""

    armed = False

    def create(self, path: str) -> Any:
        if self.armed and ".index" in path:
            self.armed = False
            raise errors.StorageError(28, "No space left on device", path)
        return super().create(path)


def save_and_wait(manager: CheckpointManager, step: int) -> None:
    manager.save(step)
    manager.wait()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("next_step", [14, 15])
@pytest.mark.parametrize("first_step", [7, None])
def test_a_step_whose_save_failed_stays_due(
    tmp_path: Path, asynchronous: bool, next_step: int, first_step: int | None
) -> None:
    storage = FailsOnce()
    manager = CheckpointManager(
        STATE, tmp_path, save_interval_steps=10, asynchronous=asynchronous, storage=storage
    )
    if first_step is not None:
        assert manager.save(first_step) is None
    storage.armed = True
    due_step = 10 if first_step is None else 14  # a multiple of 10, or the first one behind it
    with pytest.raises(errors.StorageError, match="No space left"):
        save_and_wait(manager, due_step)
    assert manager.save(next_step) is not None
    manager.wait()
    assert manager.all_steps() == [next_step]


def test_the_last_save_is_made_again_after_it_failed_in_its_thread(tmp_path: Path) -> None:
    storage = FailsOnce()
    storage.armed = True
    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, storage=storage)
    manager.save(1)
    with pytest.raises(errors.StorageError, match="No space left"):
        manager.wait()
    assert manager.save(1, force=True) is not None
    manager.close()
    assert manager.all_steps() == [1]


def test_the_next_save_tells_of_a_failure_also_when_it_is_not_due(tmp_path: Path) -> None:
    storage = FailsOnce()
    storage.armed = True
    failed = threading.Event()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.SaveFailed):
            failed.set()

    manager = CheckpointManager(
        STATE,
        tmp_path,
        asynchronous=True,
        storage=storage,
        save_interval_steps=10,
        on_event=listen,
    )
    manager.save(10)
    assert failed.wait(10)
    time.sleep(0.2)  # the thread has to end yet
    with pytest.raises(errors.StorageError, match="No space left"):
        manager.save(11)
    assert manager.save(12) is not None
    manager.close()


def test_metadata_that_changes_after_the_call_does_not_reach_the_thread(tmp_path: Path) -> None:
    may_go_on = threading.Event()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.SaveStarted):
            assert may_go_on.wait(10)

    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, on_event=listen)
    losses = [1.0]
    manager.save(1, metadata={"losses": losses})
    losses.append(2.0)
    may_go_on.set()
    manager.close()
    restored = manager.restore()
    assert restored is not None
    assert restored.metadata == {"losses": [1.0]}


def test_a_listener_may_pin_what_was_just_saved(tmp_path: Path) -> None:
    def listen(event: events.Event) -> None:
        if isinstance(event, events.SaveCommitted) and event.step == 1:
            manager.pin(1)

    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, max_to_keep=1, on_event=listen)
    for step in (1, 2, 3):
        manager.save(step)
    manager.close()
    assert manager.all_steps() == [1, 3]


# In a process of its own: frameworks that other tests have loaded start threads, which do not
# survive a fork.
FORKING_SAVER = """
import os, pathlib, sys
import numpy as np
from ckptmgr import CheckpointManager
from ckptmgr.storage import PosixStorage
tmp_path = pathlib.Path(sys.argv[1])

class Noting(PosixStorage):
    def create(self, path):
        if ".index.tmp-" in path:
            (tmp_path / f"token-{os.getpid()}").write_text(path.rpartition("-")[2])
        return super().create(path)

manager = CheckpointManager({"w": np.zeros(3)}, tmp_path / "run", storage=Noting())
manager.save(1)
child = os.fork()
if child == 0:
    manager.save(2)
    manager.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
manager.save(3)
tokens = [(tmp_path / f"token-{pid}").read_text() for pid in (os.getpid(), child)]
assert len(set(tokens)) == 2
assert os.listdir(tmp_path / "run" / ".ckptmgr" / "writers") == [tokens[0]]
print(manager.all_steps())
"""


def test_a_fork_saves_under_a_name_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING_SAVER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2, 3]\n", "")


def test_a_padded_step_is_restored_by_its_number(tmp_path: Path) -> None:
    Saver(STATE, pad_step_number=True).save(str(tmp_path / "model.ckpt"), 100)
    manager = CheckpointManager(STATE, tmp_path)
    assert manager.all_steps() == [100]
    restored = manager.restore(100)
    assert restored is not None
    assert restored.path == str(tmp_path / "model.ckpt-00000100")
