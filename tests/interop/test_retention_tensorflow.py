"""The same saves, with the same clock, through TensorFlow and through us: the same files."""

from __future__ import annotations

import os
import shutil
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ckptmgr
from ckptmgr import naming


class Clock:
    """A time that moves only when it is told to."""

    def __init__(self, now_secs: float) -> None:
        self.now_secs = now_secs

    def __call__(self) -> float:
        return self.now_secs


@dataclass(frozen=True)
class Action:
    pause_secs: float
    #: None: a save; otherwise a restart of the process with this limit.
    restart_with_limit: int | None = None
    #: Added to the step of the save before; negative after going back.
    step_change: int = 1


# Half hours, so that saves often fall exactly on the end of a period.
_pauses = st.sampled_from([1.0, 1800.0, 1800.0, 3600.0, 5400.0])
_saves = st.builds(
    Action,
    _pauses,
    step_change=st.sampled_from([1, 1, 1, 1, 7, -2, -1]),
)
_restarts = st.builds(Action, _pauses, st.integers(1, 5))
_actions = st.lists(st.one_of(_saves, _saves, _saves, _restarts), min_size=1, max_size=20)
_hours = st.sampled_from([None, 0.5, 1, 2.5])
_limits = st.one_of(st.integers(1, 4), st.none())
_thorough = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def directories(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "tf"), str(tmp_path / "ours")


def assert_same(theirs: str, ours: str) -> None:
    """The state files are the same but for the directory's name, and so are the checkpoints."""
    their_state = Path(theirs, "checkpoint").read_text().replace(theirs, "DIR")
    our_state = Path(ours, "checkpoint").read_text().replace(ours, "DIR")
    assert our_state == their_state
    assert checkpoints_in(ours) == checkpoints_in(theirs)


def checkpoints_in(directory: str) -> set[str]:
    """The prefixes in a directory, where every file belongs to a whole checkpoint."""
    others = {"checkpoint", naming.INTERNAL_DIRECTORY}
    names = [name for name in sorted(os.listdir(directory)) if name not in others]
    bases = {base for name in names if (base := naming.prefix_of_index(name))}
    owned = {f"{base}.index" for base in bases}
    for base in bases:
        shards = naming.shards_of(base, names)
        assert shards
        owned |= set(shards)
    assert set(names) == owned
    return bases


def next_step(step: int, action: Action) -> int:
    """Never the same twice in a row: our manager does not save a step again that it just saved."""
    return step + action.step_change if step + action.step_change > 0 else step + 3


def clear(directories: tuple[str, str]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)


@_thorough
@given(actions=_actions, limit=_limits, hours=_hours)
def test_manager(
    tf: Any,
    directories: tuple[str, str],
    actions: list[Action],
    limit: int | None,
    hours: float | None,
) -> None:
    from tensorflow.python.checkpoint import checkpoint_management

    clear(directories)
    theirs, ours = directories
    clock = Clock(1_700_000_000.0)
    checkpoint = tf.train.Checkpoint(v=tf.Variable(1.0))
    state = {"v": np.zeros(1)}

    def start(limit: int | None) -> tuple[Any, ckptmgr.CheckpointManager]:
        tf_manager = tf.train.CheckpointManager(
            checkpoint,
            theirs,
            max_to_keep=limit,
            keep_checkpoint_every_n_hours=hours,
            checkpoint_name="model.ckpt",
        )
        manager = ckptmgr.CheckpointManager(
            state,
            ours,
            max_to_keep=limit,
            keep_checkpoint_every_n_hours=hours,
            durability="none",
            clock=clock,
        )
        return tf_manager, manager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_management, "time", types.SimpleNamespace(time=clock))
        tf_manager, manager = start(limit)
        step = 10
        for action in actions:
            clock.now_secs += action.pause_secs
            if action.restart_with_limit is not None:
                manager.close()
                tf_manager, manager = start(action.restart_with_limit)
                continue
            step = next_step(step, action)
            assert tf_manager.save(step) == naming.checkpoint_prefix(f"{theirs}/model.ckpt", step)
            assert manager.save(step) == naming.checkpoint_prefix(f"{ours}/model.ckpt", step)
            assert_same(theirs, ours)
            assert [os.path.basename(p) for p in manager.checkpoints] == [
                os.path.basename(p) for p in tf_manager.checkpoints
            ]
            assert tf.train.latest_checkpoint(ours) == manager.latest_checkpoint
        manager.close()


@_thorough
@given(
    actions=_actions,
    limit=st.one_of(_limits, st.just(0)),
    hours=st.sampled_from([10000.0, 0.5, 1.0]),
    relative=st.booleans(),
    padded=st.booleans(),
)
def test_saver(
    tf: Any,
    directories: tuple[str, str],
    actions: list[Action],
    limit: int | None,
    hours: float,
    relative: bool,
    padded: bool,
) -> None:
    from tensorflow.python.training import saver as saver_module

    clear(directories)
    theirs, ours = directories
    clock = Clock(1_700_000_000.0)
    options = {
        "keep_checkpoint_every_n_hours": hours,
        "save_relative_paths": relative,
        "pad_step_number": padded,
    }
    tf1 = tf.compat.v1
    with (
        pytest.MonkeyPatch.context() as patch,
        tf.Graph().as_default(),
        tf1.Session() as session,
    ):
        patch.setattr(saver_module, "time", types.SimpleNamespace(time=clock))
        variable = tf1.get_variable("v", [1])
        session.run(variable.initializer)

        def start(limit: int | None) -> tuple[Any, ckptmgr.Saver]:
            return (
                tf1.train.Saver([variable], max_to_keep=limit, **options),
                ckptmgr.Saver(
                    {"v": np.zeros(1, "f4")},
                    max_to_keep=limit,
                    durability="none",
                    clock=clock,
                    **options,  # type: ignore[arg-type]
                ),
            )

        tf_saver, saver = start(limit)
        step = 10
        for action in actions:
            clock.now_secs += action.pause_secs
            if action.restart_with_limit is not None:
                # Restarted as users do, from what the state lists.
                left = [tf.train.get_checkpoint_state(theirs), ckptmgr.get_checkpoint_state(ours)]
                tf_saver, saver = start(action.restart_with_limit)
                if left[0] is not None:
                    entries = [(path, clock()) for path in left[0].all_model_checkpoint_paths]
                    tf_saver.set_last_checkpoints_with_time(entries)
                    entries = [(path, clock()) for path in left[1].all_model_checkpoint_paths]
                    saver.set_last_checkpoints_with_time(entries)
                continue
            step = next_step(step, action)
            saved = tf_saver.save(session, f"{theirs}/m", step, write_meta_graph=False)
            assert saver.save(f"{ours}/m", step) == saved.replace(theirs, ours)
            assert_same(theirs, ours)
            assert [p.replace(ours, theirs) for p in saver.last_checkpoints] == (
                tf_saver.last_checkpoints
            )
