"""Following a directory: what is yielded, when, and how it ends."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from ckptmgr import errors, naming
from ckptmgr.bundle import writer
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import deletion, state
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.run_directory import RunDirectory, hold
from ckptmgr.lifecycle.watch import (
    CheckpointWatcher,
    checkpoints_iterator,
    wait_for_new_checkpoint,
)
from ckptmgr.storage import FileInfo, MemoryStorage, PosixStorage, ReadableFile, Storage

# Nothing may hang; a busy machine may be slow.
pytestmark = pytest.mark.timeout(60)
ENOUGH_SECS = 10.0
# So long between two looks that it was not polling that found something.
NEVER_SECS = 30.0


class Run:
    """A training run that saves small checkpoints, in the manager's order of things."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        storage: Storage | None = None,
        *,
        timestamps: bool = True,
    ) -> None:
        self.path = str(path)
        self.storage = storage or PosixStorage()
        self.max_to_keep = 5
        self._directory = RunDirectory(self.storage, self.path)
        self._timestamps = timestamps
        self._times: dict[str, float] = {}
        self._clock = itertools.count(1.0)

    def prefix(self, step: int) -> str:
        return f"{self.path}/model.ckpt-{step}"

    def save(self, step: int) -> str:
        prefix = self.prefix(step)
        tensor = NamedTensor("w", np.full(4, step, np.float32))
        options = writer.WriteOptions(self._directory.token, durable=False)
        self._directory.create()
        staged = writer.stage(self.storage, prefix, [[tensor]], options)
        with self._directory.locked():
            self._directory.unmark_finished()
            staged.publish()
            self._times.pop(prefix, None)
            self._times[prefix] = next(self._clock)
            gone = list(self._times)[: -self.max_to_keep]
            for old in gone:
                del self._times[old]
            self.write_state()
            for old in gone:
                deletion.remove_files(self.storage, old, durable=False)
        return prefix

    def write_state(self, latest: str | None = None) -> None:
        paths = list(self._times)
        times = list(self._times.values()) if self._timestamps else []
        content = CheckpointState(
            os.path.basename(latest or paths[-1]), tuple(map(os.path.basename, paths)), tuple(times)
        )
        state.write_state(self._directory, content, durable=False)

    def lose(self, step: int) -> None:
        """Delete a checkpoint that the state still lists."""
        deletion.remove_files(self.storage, self.prefix(step), durable=False)

    def finish(self) -> None:
        self._directory.create()
        with self._directory.locked():
            self._directory.mark_finished()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def run(storage: MemoryStorage) -> Run:
    return Run("run", storage)


@pytest.fixture
def disk_run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def watch(run: Run, **options: Any) -> CheckpointWatcher:
    return CheckpointWatcher(run.path, storage=run.storage, poll_interval_secs=0.01, **options)


def followed(run: Run, **options: Any) -> CheckpointWatcher:
    """A watcher that does not poll while a test lasts."""
    return CheckpointWatcher(run.path, poll_interval_secs=NEVER_SECS, **options)


def now(watcher: CheckpointWatcher) -> list[str]:
    """All that is there to be yielded now."""
    found: list[str] = []
    while (prefix := watcher.wait(0)) is not None:
        found.append(prefix)
        assert len(found) < 100
    return found


class Later(threading.Thread):
    """Does something in a moment, from another thread."""

    def __init__(self, action: Callable[[], object], after_secs: float = 0.1) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._after_secs = after_secs
        self.start()

    def run(self) -> None:
        time.sleep(self._after_secs)
        self._action()


# --------------------------------------------------------------------------- what is yielded


@pytest.mark.parametrize(("every", "expected"), [(False, [3]), (True, [1, 2, 3])])
def test_begins_with_what_there_is(run: Run, *, every: bool, expected: list[int]) -> None:
    for step in (1, 2, 3):
        run.save(step)
    with watch(run, every=every) as watcher:
        assert now(watcher) == [run.prefix(step) for step in expected]
        assert now(watcher) == []
        run.save(4)
        assert now(watcher) == [run.prefix(4)]


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("every", [True, False])
def test_a_step_that_is_saved_again_is_new(
    storage: MemoryStorage, *, timestamps: bool, every: bool
) -> None:
    run = Run("run", storage, timestamps=timestamps)
    with watch(run, every=every) as watcher:
        for step in (1, 2, 3, 2, 2, 1, 3):
            run.save(step)
            assert now(watcher) == [run.prefix(step)]
        run.write_state()
        assert now(watcher) == []


def test_retention_deletes_before_we_get_to_it(run: Run) -> None:
    run.max_to_keep = 2
    with watch(run, every=True) as watcher:
        for step in range(1, 8):
            run.save(step)
        assert watcher.wait(0) == run.prefix(6)
        run.save(8)
        run.save(9)
        assert now(watcher) == [run.prefix(8), run.prefix(9)]


@pytest.mark.parametrize(("every", "expected"), [(False, [2]), (True, [1, 2])])
def test_a_checkpoint_without_an_index_is_not_yielded(
    run: Run, *, every: bool, expected: list[int]
) -> None:
    for step in (1, 2, 3):
        run.save(step)
    run.lose(3)
    with watch(run, every=every) as watcher:
        assert now(watcher) == [run.prefix(step) for step in expected]
        index = run.storage.create(naming.index_file(run.prefix(3)))
        index.close()
        assert now(watcher) == [run.prefix(3)]


def test_nothing_is_there_yet(run: Run) -> None:
    with watch(run) as watcher:
        assert watcher.wait(0) is None
        run.storage.make_dirs(run.path)
        assert watcher.wait(0) is None
        run.save(1)
        assert watcher.wait(0) == run.prefix(1)


@pytest.mark.parametrize(
    "content", [b"", b"model_che", b'model_checkpoint_path: "', b"\xff\xfe", b"step: 1\n"]
)
def test_a_state_that_does_not_parse_is_tried_again(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    run.save(1)
    with watch(run) as watcher:
        assert now(watcher) == [run.prefix(1)]
        (tmp_path / "checkpoint").write_bytes(content)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert watcher.wait(0) is None
        assert len(caplog.records) == 1
        assert str(tmp_path / "checkpoint") in caplog.text
        run.save(2)
        assert now(watcher) == [run.prefix(2)]


def test_what_the_storage_refuses_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    with watch(run) as watcher:
        (tmp_path / "checkpoint").mkdir()
        for _ in range(3):
            assert watcher.wait(0) is None
        assert len(caplog.records) == 1
        (tmp_path / "checkpoint").rmdir()
        run.save(1)
        assert now(watcher) == [run.prefix(1)]


@pytest.mark.parametrize(
    ("last", "every", "expected"),
    [(2, True, [3, 4]), (2, False, [4]), (4, True, []), (4, False, []), (9, True, [1, 2, 3, 4])],
)
def test_a_restarted_evaluator(run: Run, *, last: int, every: bool, expected: list[int]) -> None:
    for step in (1, 2, 3, 4):
        run.save(step)
    with watch(run, every=every, last_checkpoint=f"./{run.prefix(last)}") as watcher:
        assert now(watcher) == [run.prefix(step) for step in expected]
        run.save(4)
        assert now(watcher) == [run.prefix(4)]


def test_a_directory_that_was_moved(tmp_path: Path) -> None:
    run = Run(tmp_path / "old")
    for step in (1, 2):
        run.save(step)
    state.update_checkpoint_state(run.path, run.prefix(2), [run.prefix(1), run.prefix(2)])
    moved = (tmp_path / "old").rename(tmp_path / "new")

    with CheckpointWatcher(moved, every=True) as watcher:
        assert now(watcher) == [f"{moved}/model.ckpt-1", f"{moved}/model.ckpt-2"]
    with CheckpointWatcher(moved, last_checkpoint=f"{moved}/model.ckpt-2") as watcher:
        assert now(watcher) == []


def test_another_state_file(run: Run) -> None:
    run.save(1)
    run.storage.rename(naming.state_file(run.path), naming.state_file(run.path, "best"))
    run.save(2)
    with watch(run, latest_filename="best") as watcher:
        assert now(watcher) == [run.prefix(1)]


@pytest.mark.parametrize("filename", ["v1", "v1-00000-of-00002"])
def test_a_v1_checkpoint(tmp_path: Path, filename: str) -> None:
    prefix = str(tmp_path / filename.replace("00000", "?????"))
    with CheckpointWatcher(tmp_path) as watcher:
        for content in (b"one", b"two!"):
            (tmp_path / filename).write_bytes(content)
            state.update_checkpoint_state(tmp_path, prefix)
            assert now(watcher) == [prefix]
            assert now(watcher) == []


# --------------------------------------------------------------------------- any order of things

STEPS = strategies.sampled_from([1, 2, 3])
ACTIONS = strategies.lists(
    strategies.one_of(
        strategies.tuples(strategies.just("save"), STEPS),
        strategies.tuples(strategies.just("lose"), STEPS),
        strategies.sampled_from([("look", 0), ("look", 0), ("write state", 0), ("tear", 0)]),
    ),
    max_size=25,
)


@hypothesis.given(actions=ACTIONS, timestamps=strategies.booleans(), every=strategies.booleans())
def test_any_order_of_things(
    *, actions: list[tuple[str, int]], timestamps: bool, every: bool
) -> None:
    """Each save is yielded at most once, in order; none that exists and is newer is left out."""
    run = Run("run", MemoryStorage(), timestamps=timestamps)
    saved: dict[int, int] = {}  # step to the number of its save, in the order of saving
    yielded = 0
    number = 0
    with watch(run, every=every) as watcher:
        for action, step in [*actions, ("write state", 0), ("look", 0)]:
            if action == "save":
                number += 1
                saved.pop(step, None)
                run.save(step)
                saved[step] = number
            elif action == "lose" and step in saved:
                run.lose(step)
                saved[step] = 0
            elif action == "write state" and saved:
                run.write_state()
            elif action == "tear" and saved:
                path = naming.state_file(run.path)
                run.storage.unlink(path)
                file = run.storage.create(path)
                file.write([b"model_checkpoint"], 0)
                file.close()
                assert watcher.wait(0) is None
                run.write_state()
            elif action == "look":
                due = [(n, run.prefix(s)) for s, n in saved.items() if n > yielded]
                expected = due if every else due[-1:]
                assert now(watcher) == [prefix for _, prefix in expected]
                yielded = max([yielded, *(n for n, _ in expected)])


# --------------------------------------------------------------------------- the end of training


@pytest.mark.parametrize(("every", "expected"), [(False, [3]), (True, [1, 2, 3])])
def test_ends_when_training_is_done(run: Run, *, every: bool, expected: list[int]) -> None:
    for step in (1, 2, 3):
        run.save(step)
    run.finish()
    watcher = watch(run, every=every)

    assert list(watcher) == [run.prefix(step) for step in expected]
    assert watcher.is_finished
    assert list(watcher) == []


def test_ends_without_any_checkpoint(run: Run) -> None:
    run.finish()
    with watch(run) as watcher:
        assert watcher.wait() is None
        assert watcher.is_finished


def test_ends_over_a_damaged_state(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"damaged")
    run.finish()
    assert list(watch(run)) == []


def test_training_that_goes_on(run: Run) -> None:
    run.save(1)
    run.finish()
    with watch(run) as watcher:
        found = [(watcher.wait(ENOUGH_SECS), watcher.is_finished) for _ in range(2)]
        run.save(2)
        found += [(watcher.wait(0), watcher.is_finished) for _ in range(2)]
    assert found == [
        (run.prefix(1), False),
        (None, True),
        (run.prefix(2), False),
        (None, False),
    ]


class Interruption:
    """Does something just before the n-th call that a follower makes."""

    def __init__(self, calls: int, action: Callable[[], object]) -> None:
        self._calls_left = calls
        self._action = action
        self.has_happened = False

    def count(self) -> None:
        self._calls_left -= 1
        if self._calls_left < 0 and not self.has_happened:
            self.has_happened = True
            self._action()


class InterruptedMemory(MemoryStorage):
    interruption: Interruption | None = None

    def stat(self, path: str) -> FileInfo | None:
        if self.interruption:
            self.interruption.count()
        return super().stat(path)

    def open(self, path: str) -> ReadableFile:
        if self.interruption:
            self.interruption.count()
        return super().open(path)


class InterruptedDisk(PosixStorage):
    def __init__(self, interruption: Interruption) -> None:
        super().__init__()
        self._interruption = interruption

    def stat(self, path: str) -> FileInfo | None:
        self._interruption.count()
        return super().stat(path)

    def open(self, path: str) -> ReadableFile:
        self._interruption.count()
        return super().open(path)


# The calls of the first two looks, and some more.
CALLS = 16


@pytest.mark.parametrize("calls", range(CALLS))
@pytest.mark.parametrize("every", [True, False])
def test_the_last_save_is_not_missed_whenever_the_end_comes(*, calls: int, every: bool) -> None:
    storage = InterruptedMemory()
    run = Run("run", storage)
    run.save(1)

    def save_and_finish() -> None:
        run.save(2)
        run.finish()

    storage.interruption = Interruption(calls, save_and_finish)
    found = list(watch(run, every=every, timeout_secs=ENOUGH_SECS))
    assert storage.interruption.has_happened
    assert found[-1] == run.prefix(2)
    assert found in ([run.prefix(1), run.prefix(2)], [run.prefix(2)])


@pytest.mark.parametrize("calls", range(CALLS))
@pytest.mark.parametrize("every", [True, False])
def test_deleted_in_the_middle_of_a_look(*, calls: int, every: bool) -> None:
    storage = InterruptedMemory()
    run = Run("run", storage)
    run.max_to_keep = 1
    run.save(1)
    storage.interruption = Interruption(calls, lambda: run.save(2))
    with watch(run, every=every) as watcher:
        found = [watcher.wait(ENOUGH_SECS)]
        if found != [run.prefix(2)]:
            found.append(watcher.wait(ENOUGH_SECS))
        assert found in ([run.prefix(1), run.prefix(2)], [run.prefix(2)])


# --------------------------------------------------------------------------- time


def test_a_wait_uses_its_whole_timeout(run: Run) -> None:
    with watch(run) as watcher:
        start = time.monotonic()
        assert watcher.wait(0.2) is None
        assert 0.2 <= time.monotonic() - start < ENOUGH_SECS
        assert not watcher.is_finished


def test_the_iteration_ends_after_a_timeout(run: Run) -> None:
    run.save(1)
    watcher = watch(run, timeout_secs=0.1)
    assert list(watcher) == [run.prefix(1)]
    assert not watcher.is_finished
    run.save(2)
    assert list(watcher) == []  # an iterator that has ended stays so


def test_the_least_time_between_two_checkpoints(run: Run) -> None:
    run.save(1)
    times = []
    # The timeout is that of the wait behind the interval, as in TensorFlow.
    for _ in watch(run, min_interval_secs=0.3, timeout_secs=0.05):
        times.append(time.monotonic())
        if len(times) < 3:
            run.save(len(times) * 2)
            run.save(len(times) * 2 + 1)
    assert len(times) == 3
    assert all(later - sooner >= 0.3 for sooner, later in itertools.pairwise(times))


def test_a_wait_within_the_interval(run: Run) -> None:
    run.save(1)
    with watch(run, min_interval_secs=0.3) as watcher:
        start = time.monotonic()
        assert watcher.wait(0) == run.prefix(1)
        run.save(2)
        assert watcher.wait(0) is None
        assert watcher.wait(0.05) is None
        assert time.monotonic() - start >= 0.05
        assert watcher.wait(ENOUGH_SECS) == run.prefix(2)
        assert 0.3 <= time.monotonic() - start < ENOUGH_SECS


@pytest.mark.parametrize("interval_secs", [0.0, NEVER_SECS])
def test_close_from_another_thread(disk_run: Run, interval_secs: float) -> None:
    disk_run.save(1)
    watcher = followed(disk_run, min_interval_secs=interval_secs)
    Later(watcher.close, 0.2)

    began = time.monotonic()
    assert list(watcher) == [disk_run.prefix(1)]
    assert time.monotonic() - began < ENOUGH_SECS
    assert watcher.wait() is None
    assert not watcher.is_finished
    watcher.close()


@pytest.mark.parametrize(
    "options",
    [
        {"poll_interval_secs": 0},
        {"poll_interval_secs": float("nan")},
        {"poll_interval_secs": float("inf")},
        {"min_interval_secs": -1},
        {"min_interval_secs": float("inf")},
        {"min_interval_secs": None},
        {"poll_interval_secs": "5"},
        {"timeout_secs": -1},
        {"timeout_secs": float("nan")},
        {"timeout_secs": "5"},
    ],
)
def test_refuses_times_that_are_none(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(errors.InvalidArgument, match=f"{name} must be"):
        CheckpointWatcher("run", **options)


@pytest.mark.parametrize("secs", [float("nan"), "5"])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (checkpoints_iterator, "timeout"),
        (checkpoints_iterator, "min_interval_secs"),
        (wait_for_new_checkpoint, "timeout"),
        (wait_for_new_checkpoint, "seconds_to_sleep"),
    ],
)
def test_functions_refuse_what_is_no_time(function: Any, name: str, secs: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match=f"{name} must be a number of seconds, found"):
        function("run", **{name: secs})


def test_refuses_a_wait_for_less_than_nothing(run: Run) -> None:
    with pytest.raises(errors.InvalidArgument, match="timeout_secs must be .* found -1"):
        watch(run).wait(-1)


@pytest.mark.parametrize(
    "follow", [CheckpointWatcher, checkpoints_iterator, wait_for_new_checkpoint]
)
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.ckpt-100", "is the prefix of a checkpoint"),
        ("model.ckpt-100.index", "is a file"),
        ("checkpoint", "is a file"),
    ],
)
def test_refuses_what_is_no_directory_at_once(
    disk_run: Run, follow: Callable[[str], object], name: str, what: str
) -> None:
    disk_run.save(100)
    path = f"{disk_run.path}/{name}"
    message = f"^{path} {what}; its directory {disk_run.path} is wanted$"
    with pytest.raises(errors.NotADirectory, match=message):
        follow(path)


def test_a_storage_that_cannot_tell_yet_is_tried_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class AwayAtFirst(MemoryStorage):
        is_away = True

        def stat(self, path: str) -> FileInfo | None:
            if self.is_away:
                self.is_away = False
                raise errors.StorageError(5, f"cannot stat {path}: Input/output error", path)
            return super().stat(path)

    away = Run("run", AwayAtFirst())
    watcher = watch(away)
    assert caplog.messages == ["cannot look at run yet: cannot stat run: Input/output error"]
    away.save(1)
    assert now(watcher) == [away.prefix(1)]


# --------------------------------------------------------------------------- waking up


def test_another_storage_is_polled(run: Run) -> None:
    run.save(1)
    with watch(run) as watcher:
        assert watcher.wait() == run.prefix(1)
        Later(lambda: run.save(2))
        assert watcher.wait(ENOUGH_SECS) == run.prefix(2)
        Later(run.finish)
        assert watcher.wait(ENOUGH_SECS) is None
        assert watcher.is_finished


def test_a_save_and_the_end_wake_it(disk_run: Run) -> None:
    with followed(disk_run) as watcher:
        for step in (1, 2):
            Later(lambda step=step: disk_run.save(step))  # type: ignore[misc]
            assert watcher.wait(ENOUGH_SECS) == disk_run.prefix(step)
        Later(disk_run.finish)
        assert watcher.wait(ENOUGH_SECS) is None
        assert watcher.is_finished


def test_a_manager_is_followed(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(3)}, tmp_path / "run", max_to_keep=2)
    with CheckpointWatcher(tmp_path / "run", poll_interval_secs=NEVER_SECS) as watcher:
        for step in (1, 2, 3):
            Later(lambda step=step: manager.save(step))  # type: ignore[misc]
            prefix = watcher.wait(ENOUGH_SECS)
            assert prefix is not None
            assert prefix == str(tmp_path / "run" / f"model.ckpt-{step}")
            with hold(prefix):
                assert os.path.exists(naming.index_file(prefix))
        Later(manager.finish)
        assert list(watcher) == []
        assert watcher.is_finished


def test_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "today" / "first")
    with followed(run) as watcher:
        Later(lambda: run.save(1))
        assert watcher.wait(ENOUGH_SECS) == run.prefix(1)


def test_an_end_in_a_directory_that_does_not_exist_yet(disk_run: Run) -> None:
    Later(disk_run.finish)
    with followed(disk_run) as watcher:
        assert watcher.wait(ENOUGH_SECS) is None
        assert watcher.is_finished


def test_a_directory_that_is_removed_and_comes_back(disk_run: Run) -> None:
    def again() -> None:
        shutil.rmtree(disk_run.path)
        disk_run.save(1)

    with followed(disk_run) as watcher:
        disk_run.save(1)
        assert watcher.wait(ENOUGH_SECS) == disk_run.prefix(1)
        for _ in range(3):
            Later(again)
            assert watcher.wait(ENOUGH_SECS) == disk_run.prefix(1)


# The calls of a first look: they find that there is nothing newer than what was seen before.
@pytest.mark.parametrize("calls", range(7))
def test_a_save_in_the_middle_of_a_look_wakes_it(disk_run: Run, calls: int) -> None:
    def save() -> None:
        disk_run.save(2)
        time.sleep(0.1)  # so that what wakes the follower comes before the look is over

    seen = disk_run.save(1)
    interruption = Interruption(calls, save)
    storage = InterruptedDisk(interruption)
    began = time.monotonic()
    with followed(disk_run, storage=storage, last_checkpoint=seen) as watcher:
        assert watcher.wait(ENOUGH_SECS) == disk_run.prefix(2)
    # At its timeout it looks once more; that must not have been it.
    assert time.monotonic() - began < ENOUGH_SECS


class Counting(PosixStorage):
    """Counts the looks at a state file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.looks = 0

    def stat(self, path: str) -> FileInfo | None:
        self.looks += path == self._path
        return super().stat(path)


def test_what_is_written_into_a_checkpoint_wakes_nobody(disk_run: Run) -> None:
    disk_run.save(1)
    storage = Counting(naming.state_file(disk_run.path))
    with followed(disk_run, storage=storage) as watcher:
        assert watcher.wait(0) == disk_run.prefix(1)
        storage.looks = 0

        def write() -> None:
            for number in range(50):
                path = Path(disk_run.path) / f"model.ckpt-2.data-{number}.tmp"
                with path.open("wb") as file:
                    for _ in range(20):
                        file.write(bytes(4096))
                        file.flush()
                path.rename(path.with_suffix(""))

        Later(write, 0)
        assert watcher.wait(0.5) is None
    # One look at the beginning, and one for an event that was still on its way.
    assert storage.looks <= 2


# Prints the moment after each commit, on the clock that all processes of a machine share.
WRITER = """
import sys, time
sys.path[:0] = sys.argv[3:]
from test_watch import Run

run = Run(sys.argv[1])
run.max_to_keep = saves = int(sys.argv[2])
for step in range(saves):
    run.save(step)
    print(run.prefix(step), time.monotonic(), flush=True)
    time.sleep(0.02)
run.finish()
"""


def start(source: str, *arguments: object) -> subprocess.Popen[str]:
    folders = [str(Path(__file__).parent), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments), *folders],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_save_in_another_process_is_yielded_at_once(disk_run: Run) -> None:
    saves = 40
    yielded: dict[str, float] = {}
    with start(WRITER, disk_run.path, saves) as process, followed(disk_run) as watcher:
        for prefix in watcher:
            yielded[prefix] = time.monotonic()
            assert os.path.exists(naming.index_file(prefix))
        assert process.stdout is not None
        committed = dict(line.split() for line in process.stdout)
    assert process.returncode == 0
    # A busy machine may have kept us from some of them.
    assert list(yielded) == [prefix for prefix in committed if prefix in yielded]
    assert list(yielded)[-1] == disk_run.prefix(saves - 1)
    assert len(yielded) > 5
    assert statistics.median(yielded[prefix] - float(committed[prefix]) for prefix in yielded) < 0.1


def test_every_save_of_another_process(disk_run: Run) -> None:
    with start(WRITER, disk_run.path, 40) as process:
        found = list(followed(disk_run, every=True))
    assert process.returncode == 0
    assert found == [disk_run.prefix(step) for step in range(40)]


# --------------------------------------------------------------------------- being left alone

INTERRUPTED = """
import sys, time
sys.path[:0] = sys.argv[2:]
from ckptmgr.lifecycle.watch import CheckpointWatcher

watcher = CheckpointWatcher(sys.argv[1], poll_interval_secs=60)
assert watcher.wait(0.01) is None
print("waiting", flush=True)
try:
    watcher.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_works_at_once(disk_run: Run) -> None:
    with start(INTERRUPTED, disk_run.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(ENOUGH_SECS) == 0
        assert time.monotonic() - began < ENOUGH_SECS


ABANDONED = """
import sys
sys.path[:0] = sys.argv[2:]
from ckptmgr.lifecycle.watch import CheckpointWatcher, checkpoints_iterator

watcher = CheckpointWatcher(sys.argv[1])
iterator = checkpoints_iterator(sys.argv[1])
print(next(watcher) == next(iterator))
sys.left_for_the_end_of_the_interpreter = watcher, iterator
"""


def test_a_follower_that_is_never_closed_does_not_hold_up_the_end(disk_run: Run) -> None:
    disk_run.save(1)
    with start(ABANDONED, disk_run.path) as process:
        assert process.communicate(timeout=ENOUGH_SECS)[0] == "True\n"
    assert process.returncode == 0


def dropped_watcher(run: Run) -> Iterator[str]:
    return iter(CheckpointWatcher(run.path))


@pytest.mark.parametrize("follow", [dropped_watcher, lambda run: checkpoints_iterator(run.path)])
def test_a_loop_that_is_left_leaves_no_thread(
    disk_run: Run, follow: Callable[[Run], Iterator[str]]
) -> None:
    disk_run.save(1)
    before = set(threading.enumerate())
    for _ in follow(disk_run):
        assert set(threading.enumerate()) - before
        break
    deadline = time.monotonic() + ENOUGH_SECS
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_the_import_does_not_load_watchdog() -> None:
    source = "import sys, ckptmgr.lifecycle.watch; print('watchdog' in sys.modules)"
    with start(f"import sys; sys.path[:0] = sys.argv[1:]; {source}") as process:
        assert process.communicate(timeout=ENOUGH_SECS)[0] == "False\n"


# --------------------------------------------------------------------------- TensorFlow's functions


def test_wait_for_new_checkpoint(disk_run: Run) -> None:
    first = disk_run.save(1)
    assert wait_for_new_checkpoint(disk_run.path) == first
    assert wait_for_new_checkpoint(disk_run.path, timeout=0) == first
    assert wait_for_new_checkpoint(Path(disk_run.path), "another") == first

    began = time.monotonic()
    assert wait_for_new_checkpoint(disk_run.path, first, timeout=0.2) is None
    assert time.monotonic() - began >= 0.2

    Later(lambda: disk_run.save(2))
    second = wait_for_new_checkpoint(
        disk_run.path, first, seconds_to_sleep=NEVER_SECS, timeout=ENOUGH_SECS
    )
    assert second == disk_run.prefix(2)
    disk_run.finish()
    assert wait_for_new_checkpoint(disk_run.path, second) is None
    assert wait_for_new_checkpoint(disk_run.path, first) == second


def test_wait_for_new_checkpoint_without_a_sleep(tmp_path: Path) -> None:
    assert wait_for_new_checkpoint(tmp_path, seconds_to_sleep=0, timeout=0.05) is None


def test_checkpoints_iterator(disk_run: Run) -> None:
    disk_run.save(1)
    disk_run.save(2)
    found = []
    for prefix in checkpoints_iterator(disk_run.path):
        found.append(naming.parse_step(prefix))
        if len(found) == 1:
            disk_run.write_state(disk_run.prefix(1))
        elif len(found) == 2:
            disk_run.save(1)
        elif len(found) == 3:
            disk_run.save(3)
            disk_run.save(4)
            disk_run.finish()
    assert found == [2, 1, 1, 4]


def test_checkpoints_iterator_ends_after_a_timeout(disk_run: Run) -> None:
    disk_run.save(1)
    assert list(checkpoints_iterator(disk_run.path, timeout=0.1)) == [disk_run.prefix(1)]


def test_checkpoints_iterator_asks_after_each_round(disk_run: Run) -> None:
    answers = iter([False, False, True])
    asked = []

    def timeout_fn() -> bool:
        asked.append(len(found))
        if len(asked) == 2:
            disk_run.save(1)
        return next(answers)

    found: list[str] = []
    for prefix in checkpoints_iterator(disk_run.path, timeout=0.05, timeout_fn=timeout_fn):
        found.append(prefix)  # noqa: PERF402 - the function looks at it meanwhile
    assert found == [disk_run.prefix(1)]
    assert asked == [0, 0, 1]


def test_checkpoints_iterator_rests(disk_run: Run) -> None:
    disk_run.save(1)
    times = []
    for _ in checkpoints_iterator(disk_run.path, min_interval_secs=0.3, timeout=0.05):
        times.append(time.monotonic())
        if len(times) == 1:
            disk_run.save(2)
    assert times[1] - times[0] >= 0.3
