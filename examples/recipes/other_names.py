"""Save and restore variables under other names than their own."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    with tf.Graph().as_default():
        with tf.variable_scope("old"):
            kernel = tf.get_variable("kernel", initializer=[1.0, 2.0, 3.0])
            bias = tf.get_variable("bias", initializer=tf.constant(4, tf.int64))
        saver = tf.train.Saver({"dense/weights": kernel, "dense/biases": bias})
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            saver.save(sess, os.path.join(directory, "renamed.ckpt"))


def read(directory: str) -> dict[str, Any]:
    prefix = os.path.join(directory, "renamed.ckpt")
    with tf.Graph().as_default(), tf.Session() as sess:
        # Two variables from one tensor, and a whole scope by its name.
        first = tf.Variable([0.0, 0.0, 0.0], name="first")
        second = tf.Variable([0.0, 0.0, 0.0], name="second")
        with tf.variable_scope("new"):
            tf.get_variable("weights", [3])
            step = tf.get_variable("biases", [], tf.int64)
        tf.train.init_from_checkpoint(prefix, {"dense/": "new/"})
        saver = tf.train.Saver({"dense/weights": first})
        sess.run(tf.global_variables_initializer())
        saver.restore(sess, prefix)
        reader = tf.train.NewCheckpointReader(prefix)
        return {
            "first": sess.run(first),
            "second": sess.run(second),
            "new": sess.run("new/weights:0"),
            "step": sess.run(step),
            "stored": sorted(reader.get_variable_to_shape_map()),
            "direct": reader.get_tensor("dense/weights"),
        }
