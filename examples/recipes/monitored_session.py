"""Train in a session that restores, saves and stops by itself, and resume it."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def build() -> tuple[Any, Any, Any]:
    """The model, and the operation that makes one step."""
    step = tf.train.get_or_create_global_step()
    w = tf.get_variable("w", [2], initializer=tf.zeros_initializer())
    loss = tf.reduce_mean(tf.square(w - [3.0, 6.0]), name="loss")
    with tf.control_dependencies([loss]):
        train = tf.group(w.assign_add([0.5, 1.0]), step.assign_add(1), name="train")
    return step, w, train


class Noting(tf.train.CheckpointSaverListener):
    """Notes what is saved: each step, and the value at it."""

    def __init__(self) -> None:
        self.saved: list[Any] = []

    def after_save(self, session: Any, global_step_value: int) -> None:
        self.saved.append([int(global_step_value), session.run("w:0").tolist()])


def train(directory: str, last_step: int) -> list[Any]:
    """Train until a step, from where an earlier run ended; returns what was saved."""
    noting = Noting()
    with tf.Graph().as_default():
        _, _, step_op = build()
        saving = tf.train.CheckpointSaverHook(directory, save_steps=3, listeners=[noting])
        hooks = [tf.train.StopAtStepHook(last_step=last_step), tf.train.NanTensorHook("loss:0")]
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory,
            hooks=hooks,
            chief_only_hooks=[saving],
            save_checkpoint_secs=None,  # The hook above does it.
        ) as sess:
            while not sess.should_stop():
                sess.run(step_op)
    return noting.saved


def write(directory: str) -> None:
    first = train(directory, 7)
    second = train(directory, 12)
    with tf.gfile.GFile(os.path.join(directory, "saved.txt"), "w") as file:
        file.write(f"{first}\n{second}\n")


def read(directory: str) -> dict[str, Any]:
    state = tf.train.get_checkpoint_state(directory)
    kept = [os.path.basename(path) for path in state.all_model_checkpoint_paths]
    with tf.gfile.GFile(os.path.join(directory, "saved.txt")) as file:
        saved = file.read()
    with tf.Graph().as_default():
        step, w, step_op = build()
        # It restores, and saves nothing.
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=directory, save_checkpoint_secs=None
        ) as sess:
            values = sess.run({"step": step, "w": w})
            sess.run(step_op)
            values["w after another step"] = sess.run(w)
    with tf.Graph().as_default():
        # The .meta file has the graph, and what gets the session ready.
        tf.train.import_meta_graph(f"{state.model_checkpoint_path}.meta")
        with tf.train.SingularMonitoredSession(checkpoint_dir=directory) as sess:
            sess.run("train")
            values["w of the imported graph"] = sess.run("w:0")
    return {**values, "kept": kept, "saved": saved}
