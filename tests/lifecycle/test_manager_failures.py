"""What a manager does after a save failed, in a thread, in a fork, and with odd listeners."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, Saver, errors, events
from ckptmgr.storage import Fault, FaultInjectingStorage, PosixStorage

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


@pytest.mark.parametrize("heard_by", ["manager", "handle"])
def test_the_last_save_is_made_again_after_it_failed_in_its_thread(
    tmp_path: Path, heard_by: str
) -> None:
    storage = FailsOnce()
    storage.armed = True
    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, storage=storage)
    handle = manager.save(1)
    assert handle is not None
    with pytest.raises(errors.StorageError, match="No space left"):
        (manager if heard_by == "manager" else handle).wait()
    assert manager.should_save(1)
    assert manager.save(1) is not None
    manager.close()
    assert manager.all_steps() == [1]


@pytest.mark.parametrize("refused", [".data-", ".index.tmp-", "/checkpoint.tmp-", "retention.json"])
@pytest.mark.parametrize("next_step", [2, 3])
def test_temporaries_that_could_not_be_removed_do_not_stand_in_the_way(
    tmp_path: Path, refused: str, next_step: int
) -> None:
    """The disk is gone for a while: what was begun cannot be removed either."""
    storage = FaultInjectingStorage(
        PosixStorage(),
        [
            Fault(error=errno.EIO, method="write", path=lambda path: refused in path),
            Fault(error=errno.EIO, method="unlink", path=lambda path: refused in path),
        ],
    )
    manager = CheckpointManager(STATE, tmp_path, storage=storage)
    with pytest.raises(errors.StorageError, match="Input/output error"):
        manager.save(2)
    assert [path for path in tmp_path.rglob("*.tmp-*") if refused in str(path)]
    manager.save(next_step)
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert manager.latest_step() == next_step
    manager.close()
    assert not list((tmp_path / ".ckptmgr" / "writers").iterdir())


def test_the_mark_of_the_end_goes_with_the_first_save_that_succeeds(tmp_path: Path) -> None:
    CheckpointManager(STATE, tmp_path).finish()
    mark = tmp_path / ".ckptmgr" / "finished"
    storage = FaultInjectingStorage(
        PosixStorage(),
        [Fault(error=errno.EIO, method="unlink", path=lambda path: path == str(mark))],
    )
    manager = CheckpointManager(STATE, tmp_path, storage=storage)
    with pytest.raises(errors.StorageError, match="Input/output error"):
        manager.save(1)
    assert mark.exists()
    manager.save(1)
    assert not mark.exists()


def test_a_listener_that_ends_a_save_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C may come while it prints; so may `sys.exit` from it."""

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.SaveWritten):
            raise KeyboardInterrupt

    manager = CheckpointManager(STATE, tmp_path, on_event=interrupt)
    with pytest.raises(KeyboardInterrupt):
        manager.save(1)
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert manager.all_steps() == []


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

    class Gate(PosixStorage):
        def create(self, path: str) -> Any:
            assert may_go_on.wait(30)
            return super().create(path)

    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, storage=Gate())
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


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_listener_may_ask_and_wait_but_not_save(
    tmp_path: Path, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[bool] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.SaveStarted | events.SaveStaged | events.SaveCommitted):
            manager.wait()
            manager.wait_staged()
            asked.append(manager.should_save(2))
            manager.save(2)

    manager = CheckpointManager(STATE, tmp_path, asynchronous=asynchronous, on_event=listen)
    manager.save(1)
    manager.wait()
    assert asked[0] is True
    assert caplog.text.count("errors.SaveInProgress:") == len(asked) == (3 if asynchronous else 2)
    assert "cannot begin within another one of the same manager" in caplog.text
    assert manager.all_steps() == [1]
    manager.close()


def test_a_listener_may_close(tmp_path: Path) -> None:
    def listen(event: events.Event) -> None:
        if isinstance(event, events.SaveCommitted):
            manager.close()

    manager = CheckpointManager(STATE, tmp_path, asynchronous=True, on_event=listen)
    handle = manager.save(1)
    assert handle is not None
    handle.wait()
    with pytest.raises(errors.ManagerClosed):
        manager.save(2)
    assert manager.all_steps() == [1]
    assert os.listdir(tmp_path / ".ckptmgr" / "writers") == []


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("same_step", [False, True])
def test_several_threads_save_one_after_the_other(
    tmp_path: Path, asynchronous: bool, same_step: bool
) -> None:
    manager = CheckpointManager(
        None, tmp_path, asynchronous=asynchronous, max_to_keep=None, durability="none"
    )
    together = threading.Barrier(4)
    failures: list[BaseException] = []

    def save(first: int) -> None:
        try:
            for number in range(5):
                together.wait(30)
                step = number if same_step else 4 * number + first
                manager.save(step, {"w": np.full(1000, 1 if same_step else step)})
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=save, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manager.close()
    assert failures == []
    steps = list(range(5 if same_step else 20))
    assert manager.all_steps() == steps
    # One of the threads saved it, and what the others asked for was there.
    assert not same_step or manager.stats.saves == len(steps)
    for step in steps:
        restored = manager.restore(step)
        assert restored is not None
        assert np.unique(restored.state["w"]).tolist() == [1 if same_step else step]
    assert [name for name in os.listdir(tmp_path) if ".tmp-" in name] == []


class RemovesDirectory(PosixStorage):
    """Somebody removes the directory just before the first file of a save is made."""

    armed = False

    def create(self, path: str) -> Any:
        if self.armed and ".data-" in path:
            shutil.rmtree(os.path.dirname(path))
        return super().create(path)


def test_a_directory_that_goes_in_the_middle_of_a_save(tmp_path: Path) -> None:
    storage = RemovesDirectory()
    manager = CheckpointManager(STATE, tmp_path / "run", storage=storage)
    manager.save(1)
    storage.armed = True
    gone = f"directory {tmp_path}/run was removed while training saved into it"
    with pytest.raises(errors.FileMissing, match=gone):
        manager.save(2)
    storage.armed = False
    assert manager.save(2) is not None
    assert manager.all_steps() == [2]


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

# A save is in flight at the fork, whose child has no part in the thread.
FORKING_IN_FLIGHT = """
import os, pathlib, sys, threading
import numpy as np
from ckptmgr import CheckpointManager
from ckptmgr.storage import PosixStorage
reached, opened = threading.Event(), threading.Event()

class Gate(PosixStorage):
    def create(self, path):
        if ".data-" in path and "-1." in path:
            reached.set()
            opened.wait(30)
        return super().create(path)

manager = CheckpointManager(
    {"w": np.zeros(3)}, sys.argv[1], storage=Gate(), asynchronous=True, when_busy="skip"
)
handle = manager.save(1)
assert reached.wait(30)
child = os.fork()
if child == 0:
    handle.wait()
    manager.wait_staged()
    manager.save(2).wait()
    manager.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
opened.set()
manager.close()
print(manager.all_steps())
"""


def test_a_fork_does_not_wait_for_the_save_of_its_parent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING_IN_FLIGHT, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


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
