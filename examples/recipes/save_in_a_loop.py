"""Save every few steps, and resume from the newest checkpoint after an interruption."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def train(directory: str, last_step: int) -> int:
    """Train until a step; returns the step that it began with."""
    with tf.Graph().as_default():
        step = tf.train.get_or_create_global_step()
        w = tf.get_variable("w", [], initializer=tf.zeros_initializer())
        update = tf.group(w.assign_add(0.5), step.assign_add(1))
        saver = tf.train.Saver(max_to_keep=2)
        with tf.Session() as sess:
            state = tf.train.get_checkpoint_state(directory)
            if state and state.model_checkpoint_path:
                saver.restore(sess, state.model_checkpoint_path)
                saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
            else:
                sess.run(tf.global_variables_initializer())
            first: int = tf.train.global_step(sess, step)
            for number in range(first + 1, last_step + 1):
                sess.run(update)
                if number % 3 == 0:
                    saver.save(sess, os.path.join(directory, "model.ckpt"), global_step=step)
        return first


def write(directory: str) -> None:
    train(directory, 7)
    # The program ended after step 7; the newest checkpoint is that of step 6.
    train(directory, 12)


def read(directory: str) -> dict[str, Any]:
    state = tf.train.get_checkpoint_state(directory)
    kept = [os.path.basename(path) for path in state.all_model_checkpoint_paths]
    latest = tf.train.latest_checkpoint(directory)
    return {
        "first": train(directory, 12),
        "kept": kept,
        "there": [tf.train.checkpoint_exists(os.path.join(directory, name)) for name in kept],
        "w": tf.train.load_variable(latest, "w"),
        "step": tf.train.load_variable(directory, "global_step"),
    }
