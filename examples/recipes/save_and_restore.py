"""Save all variables, and restore them where the same graph is built."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def build() -> tuple[Any, Any]:
    """The model: x -> x @ w + b."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    w = tf.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    b = tf.get_variable("b", [2], initializer=tf.zeros_initializer())
    return x, tf.nn.bias_add(tf.matmul(x, w), b, name="y")


def write(directory: str) -> None:
    with tf.Graph().as_default():
        build()
        b = tf.global_variables()[1]
        train = tf.assign_add(b, [0.5, -0.5])
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(3):
                sess.run(train)
            saver.save(sess, os.path.join(directory, "model.ckpt"))


def read(directory: str) -> dict[str, Any]:
    with tf.Graph().as_default():
        x, y = build()
        saver = tf.train.Saver()
        with tf.Session() as sess:
            # No initializer: restore gives every variable its value.
            saver.restore(sess, os.path.join(directory, "model.ckpt"))
            return {"y": sess.run(y, {x: [[1.0, 0.0, -1.0]]}), "b": sess.run("b:0")}
