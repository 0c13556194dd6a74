"""We follow a directory that TensorFlow writes, TensorFlow follows one that we write, and both
iterators see the same."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.watch import (
    CheckpointWatcher,
    checkpoints_iterator,
    wait_for_new_checkpoint,
)

pytestmark = pytest.mark.timeout(120)
ENOUGH_SECS = 10.0
# So long between two looks that it was not polling that found something.
NEVER_SECS = 60.0


def follow(directory: Path, **options: Any) -> CheckpointWatcher:
    return CheckpointWatcher(directory, poll_interval_secs=NEVER_SECS, **options)


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[queue.Queue[str]]:
    """What a follower in another thread is given; TensorFlow's graphs belong to a thread."""
    found: queue.Queue[str] = queue.Queue()
    watcher = follow(tmp_path / "run")

    def put_all() -> None:
        for prefix in watcher:
            found.put(prefix)

    thread = threading.Thread(target=put_all)
    thread.start()
    yield found
    watcher.close()
    thread.join(ENOUGH_SECS)
    assert not thread.is_alive()


@pytest.fixture
def save_object(tf: Any, tmp_path: Path) -> Callable[[int], str]:
    """Saves as tf.train.CheckpointManager does."""
    number = tf.Variable(0)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(number=number), str(tmp_path / "run"), max_to_keep=2
    )

    def save(step: int) -> str:
        number.assign(step)
        return str(manager.save(checkpoint_number=step))

    return save


@pytest.fixture(params=["one file", "sharded", "v1"])
def save_graph(request: pytest.FixtureRequest, tf: Any, tmp_path: Path) -> Iterator[Any]:
    """Saves as TensorFlow 1's Saver does, in the three ways that it has."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        number = v1.get_variable("number", initializer=0, use_resource=True)
        value = v1.placeholder(tf.int32, [])
        assign = number.assign(value)
        saver = v1.train.Saver(
            max_to_keep=2,
            sharded=request.param == "sharded",
            write_version=2 if request.param != "v1" else 1,
        )
        session.run(v1.global_variables_initializer())
        (tmp_path / "run").mkdir()

        def save(step: int) -> str:
            session.run(assign, {value: step})
            return str(saver.save(session, str(tmp_path / "run" / "model.ckpt"), step))

        yield save


# A step that comes back is saved again; the rest of the way retention has work to do.
STEPS = [1, 2, 3, 3, 4, 2, 5]


def test_follows_an_object_based_manager(
    save_object: Callable[[int], str], seen: queue.Queue[str]
) -> None:
    for step in STEPS:
        saved = save_object(step)
        assert seen.get(timeout=ENOUGH_SECS) == saved
        with CheckpointReader(saved) as reader:
            assert reader.get_tensor("number/.ATTRIBUTES/VARIABLE_VALUE") == step
    assert seen.empty()


def test_sees_every_checkpoint_that_an_object_based_manager_keeps(
    tmp_path: Path, save_object: Callable[[int], str]
) -> None:
    with follow(tmp_path / "run", every=True) as watcher:
        saved = [save_object(step) for step in (1, 2, 3)]
        assert [watcher.wait(0) for _ in range(3)] == [*saved[1:], None]
        saved = [save_object(step) for step in (3, 4)]
        assert [watcher.wait(0) for _ in range(3)] == [*saved, None]


def test_follows_a_saver(save_graph: Callable[[int], str], seen: queue.Queue[str]) -> None:
    """Its state has no timestamps, and it writes a sharded index again in place."""
    for step in STEPS:
        saved = save_graph(step)
        assert seen.get(timeout=ENOUGH_SECS) == saved
    assert seen.empty()


def test_sees_every_checkpoint_that_a_saver_keeps(
    tmp_path: Path, save_graph: Callable[[int], str]
) -> None:
    with follow(tmp_path / "run", every=True) as watcher:
        saved = [save_graph(step) for step in (1, 2, 3)]
        assert [watcher.wait(0) for _ in range(3)] == [*saved[1:], None]
        saved = [save_graph(step) for step in (2, 4)]
        assert [watcher.wait(0) for _ in range(3)] == [*saved, None]


# --------------------------------------------------------------------------- both iterators


class Script:
    """What happens in a directory, one thing each time that an iterator asks whether it is over."""

    def __init__(self, directory: Path, update_state: Callable[[str, str], None]) -> None:
        self._directory = directory
        self._update_state = update_state
        self._manager = CheckpointManager(None, directory, max_to_keep=2)
        self.actions: list[Callable[[], object]] = [
            partial(self._save, 1),
            partial(self._save, 2, 3),
            partial(self._point_to, 2),
            partial(self._point_to, 3),
            partial(self._save, 4),
        ]
        self.events: list[str] = []

    def _save(self, *steps: int) -> None:
        for step in steps:
            self._manager.save(step, {"w": np.zeros(2)})

    def _point_to(self, step: int) -> None:
        self._update_state(str(self._directory), str(self._directory / f"model.ckpt-{step}"))

    def lose_state_and_go_on(self) -> None:
        self.actions += [lambda: None, (self._directory / "checkpoint").unlink, lambda: None]
        self.actions += [partial(self._save, 5)]

    def is_over(self) -> bool:
        self.events.append("asked")
        if not self.actions:
            return True
        self.actions.pop(0)()
        return False

    def run(self, iterator_of: Any, timeout: float | None) -> list[str]:
        iterator = iterator_of(str(self._directory), timeout=timeout, timeout_fn=self.is_over)
        for prefix in iterator:
            self.events.append(naming.base_of(prefix))
        return self.events


@pytest.mark.parametrize("timeout", [0, None])
def test_both_iterators_see_and_ask_the_same(
    tf: Any, tmp_path: Path, timeout: float | None
) -> None:
    answers = []
    for name, iterator_of in (
        ("theirs", tf.train.checkpoints_iterator),
        ("ours", checkpoints_iterator),
    ):
        script = Script(tmp_path / name, tf.compat.v1.train.update_checkpoint_state)
        if timeout is None:
            script.is_over()  # or they would wait for ever
        else:
            script.lose_state_and_go_on()  # with timeout 0, TensorFlow does not sleep
        answers.append(script.run(iterator_of, timeout))
    theirs, ours = answers
    assert [event for event in theirs if event != "asked"][:4] == [
        f"model.ckpt-{step}" for step in (1, 3, 2, 3)
    ]
    assert ours == theirs


@pytest.mark.parametrize("last", [None, "ckpt-1", "ckpt-2"])
def test_both_wait_for_the_same(
    tmp_path: Path, save_object: Callable[[int], str], last: str | None
) -> None:
    from tensorflow.python.training import checkpoint_utils

    directory = str(tmp_path / "run")
    last_checkpoint = f"{directory}/{last}" if last else None

    def answers(wait: Any) -> str | None:
        found: str | None = wait(directory, last_checkpoint, timeout=0)
        return found

    assert answers(checkpoint_utils.wait_for_new_checkpoint) is None
    assert answers(wait_for_new_checkpoint) is None
    saved = save_object(1)
    theirs = answers(checkpoint_utils.wait_for_new_checkpoint)
    assert theirs == (None if last == "ckpt-1" else saved)
    assert answers(wait_for_new_checkpoint) == theirs


def test_tensorflow_follows_what_we_write(tf: Any, tmp_path: Path) -> None:
    manager = CheckpointManager(None, tmp_path / "run", max_to_keep=2)
    steps = iter(range(1, 5))

    def save() -> bool:
        step = next(steps, None)
        if step is not None:
            manager.save(step, {"w": np.full(3, step, np.float32)})
        return step is None

    found = []
    for prefix in tf.train.checkpoints_iterator(str(tmp_path / "run"), timeout=0, timeout_fn=save):
        found.append(prefix)
        step = naming.parse_step(prefix)
        np.testing.assert_array_equal(tf.train.load_variable(prefix, "w"), np.full(3, step))
    assert found == [str(tmp_path / "run" / f"model.ckpt-{step}") for step in range(1, 5)]
