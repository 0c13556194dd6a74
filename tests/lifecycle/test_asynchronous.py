"""Saves that go on in the background."""

from __future__ import annotations

import copy
import errno
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, errors, events
from ckptmgr.storage import Fault, FaultInjectingStorage, MemoryStorage, PosixStorage


class Gate(PosixStorage):
    """The real storage, which lets no data shard be made while it is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def create(self, path: str) -> Any:
        if ".data-" in path:
            assert self.opened.wait(30)
        return super().create(path)


def test_save_returns_while_the_disk_is_busy(tmp_path: Path) -> None:
    gate = Gate()
    state = {"w": np.zeros(1000)}
    with CheckpointManager(state, tmp_path, asynchronous=True, storage=gate) as manager:
        handle = manager.save(1)
        assert handle == str(tmp_path / "model.ckpt-1")
        assert handle is not None
        assert (handle.is_staged, handle.is_done) == (True, False)
        assert manager.all_steps() == []
        state["w"][:] = 7  # the save has its own copy
        gate.opened.set()
        handle.wait()
        assert handle.is_done
        assert manager.all_steps() == [1]
    assert not ckptmgr.load_variable(tmp_path, "w").any()


def test_a_handle_sent_to_another_process_is_its_prefix(tmp_path: Path) -> None:
    handle = CheckpointManager({"w": np.zeros(1)}, tmp_path).save(1)
    for sent in (pickle.loads(pickle.dumps(handle)), copy.deepcopy(handle)):  # noqa: S301 - our own
        assert type(sent) is str
        assert sent == handle


def test_every_save_has_the_values_of_its_moment_though_memory_is_reused(tmp_path: Path) -> None:
    state = {"w": np.zeros(3_000_000), "s": np.array(["a"]), "n": 0}
    with CheckpointManager(state, tmp_path, asynchronous=True, max_to_keep=None) as manager:
        for step in range(1, 5):
            state["w"][:] = step  # type: ignore[index]
            state["n"] = step
            manager.save(step)
            state["w"][:] = -1  # type: ignore[index]
    for step in range(1, 5):
        with ckptmgr.load_checkpoint(str(tmp_path / f"model.ckpt-{step}")) as reader:
            assert np.unique(reader.get_tensor("w")).tolist() == [step]
            assert reader.get_tensor("n") == step


def test_the_copy_in_the_background_has_a_barrier(tmp_path: Path) -> None:
    state = {"w": np.zeros(5_000_000)}
    with CheckpointManager(
        state, tmp_path, asynchronous=True, copy_in_background=True, max_to_keep=None
    ) as manager:
        for step in range(1, 4):
            manager.wait_staged()  # before the state changes, as an optimizer's hook would
            state["w"][:] = step
            manager.save(step)
    for step in range(1, 4):
        values = ckptmgr.load_variable(str(tmp_path / f"model.ckpt-{step}"), "w")
        assert np.unique(values).tolist() == [step]


def test_a_save_that_is_due_while_one_is_in_flight_is_skipped_if_asked(tmp_path: Path) -> None:
    gate = Gate()
    manager = CheckpointManager(
        {"w": np.zeros(1)},
        tmp_path,
        asynchronous=True,
        when_busy="skip",
        storage=gate,
        save_interval_steps=2,
    )
    assert manager.save(2) is not None
    assert manager.save(3) is None
    assert manager.save(4) is None
    assert manager.stats.skipped == 1
    gate.opened.set()
    manager.wait()
    assert manager.save(5) is not None  # made up for
    manager.close()
    assert manager.all_steps() == [2, 5]


def test_without_skipping_it_waits(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, asynchronous=True)
    for step in range(10):
        assert manager.save(step) is not None
    manager.close()
    assert manager.all_steps() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("copy_in_background", [False, True])
def test_events_and_figures(tmp_path: Path, copy_in_background: bool) -> None:
    seen: list[events.Event] = []
    state = {"w": np.zeros(1_000_000)}
    with CheckpointManager(
        state,
        tmp_path,
        asynchronous=True,
        copy_in_background=copy_in_background,
        on_event=seen.append,
    ) as manager:
        handle = manager.save(1)
        assert handle is not None
        handle.wait()
        names = [type(event).__name__ for event in seen if not isinstance(event, events.Progress)]
        assert names == ["SaveStarted", "SaveStaged", "SaveWritten", "SaveCommitted"]
        progress = [event for event in seen if isinstance(event, events.Progress)]
        assert progress[-1].done_bytes == progress[-1].total_bytes > 8_000_000
        assert (manager.stats.saves, manager.stats.failures) == (1, 0)
        assert manager.stats.written_bytes > 8_000_000
        assert manager.stats.stall_secs <= manager.stats.save_secs


def test_figures_say_whether_the_cache_was_bypassed(tmp_path: Path) -> None:
    big = {"w": np.zeros(4_000_000)}
    manager = CheckpointManager(big, tmp_path)
    manager.save(1)
    probe = PosixStorage().create(str(tmp_path / "probe"))
    assert manager.stats.bypassed_cache is (probe.bypass_cache() > 1)
    probe.close()
    manager = CheckpointManager(big, "/run", storage=MemoryStorage())
    manager.save(1)
    assert manager.stats.bypassed_cache is False


def test_a_failure_is_raised_once_by_whoever_asks_first(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for ask in ("wait", "save", "close", "handle"):
        manager = CheckpointManager({"w": np.zeros(1)}, tmp_path / ask, asynchronous=True)
        (tmp_path / ask).write_text("in the way")
        handle = manager.save(1)
        assert handle is not None
        calls: dict[str, Callable[[], object]] = {
            "wait": manager.wait,
            "save": partial(manager.save, 2),
            "close": manager.close,
            "handle": handle.wait,
        }
        while not handle.is_done:
            time.sleep(0.001)
        with pytest.raises(errors.NotADirectory):
            calls[ask]()
        manager.wait()
        manager.close()


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("copy_in_background", [False, True])
def test_a_save_that_is_interrupted_while_its_thread_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_begun: bool, copy_in_background: bool
) -> None:
    """Ctrl-C: it leaves no checkpoint, and the next save waits for its thread to let go."""
    gate = Gate()
    state = {"w": np.full(1000, 1.0)}
    manager = CheckpointManager(
        state,
        tmp_path,
        asynchronous=True,
        copy_in_background=copy_in_background,
        storage=gate,
    )
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if has_begun:
            start(thread)
            time.sleep(0.1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            manager.save(1)
    state["w"][:] = 2
    threading.Timer(0.2, gate.opened.set).start()
    manager.save(2)
    manager.close()
    assert manager.all_steps() == [2]
    assert (ckptmgr.load_variable(tmp_path, "w") == 2).all()
    assert not list(tmp_path.rglob("*.tmp-*"))


@pytest.mark.parametrize("copy_in_background", [False, True])
def test_where_there_are_no_more_threads_a_save_is_done_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_in_background: bool
) -> None:
    """From 3.12 on Python starts none at its end, when its `atexit` handlers run."""
    full = Fault(error=errno.ENOSPC, method="write", path=lambda path: "model.ckpt-2" in path)
    manager = CheckpointManager(
        {"w": np.ones(3)},
        tmp_path,
        asynchronous=True,
        copy_in_background=copy_in_background,
        storage=FaultInjectingStorage(PosixStorage(), [full]),
    )

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        handle = manager.save(1)
        assert handle is not None
        assert handle.is_done
        with pytest.raises(errors.StorageError, match="No space left on device"):
            manager.save(2)
    manager.save(3)
    manager.close()
    assert manager.all_steps() == [1, 3]


AT_EXIT = """
import atexit, sys
import numpy as np
import ckptmgr

manager = ckptmgr.CheckpointManager({"w": np.ones(3)}, sys.argv[1], asynchronous=True)
manager.save(1)

@atexit.register
def end():
    print(manager.save(2), flush=True)
    manager.close()
"""


def test_a_save_that_begins_at_the_end_of_the_program(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    assert ended.stdout.strip() == ckptmgr.latest_checkpoint(tmp_path)


def test_interrupts_at_any_moment_leave_a_manager_that_saves(tmp_path: Path) -> None:
    """Ctrl-C in `threading.Event` would leave its lock taken, and then whoever waits hangs."""
    program = """
import random, signal, sys, time
from pathlib import Path
import numpy as np
import ckptmgr

def interrupt(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
state = {"w": np.zeros(100)}
manager = ckptmgr.CheckpointManager(state, sys.argv[1], asynchronous=True, durability="none")
began_secs = time.perf_counter()
manager.save(0)
manager.wait()
span_secs = time.perf_counter() - began_secs
interrupted = 0
for step in range(1, 201, 2):
    state["w"][:] = step
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, span_secs / 4))
            manager.save(step)
            manager.wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    state["w"][:] = step + 1
    manager.save(step + 1)
    manager.wait()
    assert not list(Path(sys.argv[1]).rglob("*.tmp-*"))
    assert (ckptmgr.load_variable(sys.argv[1], "w") == step + 1).all()
manager.close()
print(interrupted)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert int(ended.stdout) > 10


def test_a_state_that_cannot_be_saved_is_refused_at_once(tmp_path: Path) -> None:
    manager = CheckpointManager(None, tmp_path, asynchronous=True)
    with pytest.raises(errors.UnsupportedLeaf):
        manager.save(1, {"f": print})
    assert manager.save(1, {"f": 1}) is not None
    manager.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"asynchronous": True, "when_busy": "hurry"}, "when_busy must be 'wait' or 'skip'"),
        ({"copy_in_background": True}, "copy_in_background needs asynchronous=True"),
    ],
)
def test_arguments_that_cannot_be_meant(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        CheckpointManager(None, tmp_path, **arguments)


def test_a_listener_that_fails_fails_no_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(event: events.Event) -> None:
        raise RuntimeError("the listener's own mistake")

    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path, on_event=listener)
    assert manager.save(1) is not None
    assert manager.latest_step() == 1
    assert "the listener's own mistake" in caplog.text
