"""One directory, TensorFlow's managers and ours in turn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import ckptmgr


def test_tensorflow_reads_what_the_manager_saved(tf: Any, tmp_path: Path) -> None:
    state = {
        "layer": {"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(3, ml_dtypes.bfloat16)},
        "step": 7,
        "name": "dé",
        "rng": np.random.default_rng(0),
    }
    prefix = ckptmgr.CheckpointManager(state, tmp_path).save(7, metrics={"loss": 0.5})
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    reader = tf.train.load_checkpoint(str(tmp_path))
    assert np.array_equal(reader.get_tensor("layer/w"), state["layer"]["w"])  # type: ignore[index]
    assert reader.get_tensor("layer/b").dtype == ml_dtypes.bfloat16
    assert reader.get_tensor("step") == 7
    assert reader.get_tensor("name") == "dé".encode()
    ours = dict(ckptmgr.list_variables(tmp_path))
    assert dict(tf.train.list_variables(str(tmp_path))) == ours

    restored = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=["layer/w"], shape_and_slices=[""], dtypes=[tf.float32]
    )
    assert np.array_equal(restored[0], state["layer"]["w"])  # type: ignore[index]


def test_a_saver_in_a_session_restores_from_the_manager(tf: Any, tmp_path: Path) -> None:
    state = {"w": np.arange(4, dtype="f4"), "global_step": np.int64(12)}
    prefix = ckptmgr.CheckpointManager(state, tmp_path).save(12)
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        w = tf1.get_variable("w", [4])
        step = tf1.train.get_or_create_global_step()
        tf1.train.Saver().restore(session, tf.train.latest_checkpoint(str(tmp_path)))
        assert session.run(w).tolist() == [0, 1, 2, 3]
        assert session.run(step) == 12
        # And goes on in the same directory.
        saved = tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=13)
    manager = ckptmgr.CheckpointManager({"w": np.zeros(4, "f4")}, tmp_path)
    assert manager.latest_checkpoint == saved
    restored = manager.restore()
    assert restored is not None
    assert (restored.step, restored.state["w"].tolist()) == (13, [0, 1, 2, 3])
    assert prefix is not None


def test_a_run_that_tensorflow_began_goes_on_here_and_back(tf: Any, tmp_path: Path) -> None:
    variable = tf.Variable([1.0, 2.0])
    checkpoint = tf.train.Checkpoint(v=variable)
    theirs = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=3)
    for number in (1, 2, 3):
        variable.assign([number, number])
        theirs.save(number)
    key = "v/.ATTRIBUTES/VARIABLE_VALUE"
    state = {key: np.zeros(2, "f4")}
    ours = ckptmgr.CheckpointManager(state, tmp_path, checkpoint_name="ckpt", max_to_keep=3)
    assert [os.path.basename(path) for path in ours.checkpoints] == ["ckpt-1", "ckpt-2", "ckpt-3"]
    restored = ours.restore()
    assert restored is not None
    assert (restored.step, state[key].tolist()) == (3, [3, 3])
    state[key][:] = 4
    ours.save(4)
    assert ours.all_steps() == [2, 3, 4]

    theirs = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    assert [os.path.basename(path) for path in theirs.checkpoints] == ["ckpt-2", "ckpt-3", "ckpt-4"]
    theirs.save(5)
    assert ours.all_steps() == [4, 5]
    assert ours.latest_step() == 5


def test_a_state_without_timestamps_is_left_to_its_saver(tf: Any, tmp_path: Path) -> None:
    # A Saver's state has none, and TensorFlow's manager deletes nothing that it lists.
    saver = ckptmgr.Saver({"w": np.zeros(1, "f4")})
    for step in (1, 2, 3):
        saver.save(str(tmp_path / "model.ckpt"), step)
    theirs = tf.train.CheckpointManager(
        tf.train.Checkpoint(), str(tmp_path), 1, checkpoint_name="model.ckpt"
    )
    manager = ckptmgr.CheckpointManager({"w": np.zeros(1, "f4")}, tmp_path, max_to_keep=1)
    assert manager.checkpoints == theirs.checkpoints == []
    assert manager.latest_checkpoint == theirs.latest_checkpoint
    manager.save(4)
    manager.save(5)
    assert manager.all_steps() == [1, 2, 3, 5]
