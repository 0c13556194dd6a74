"""Restore with the code that built the graph, or without it, from the .meta file alone."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def build() -> Any:
    with tf.variable_scope("layer"):
        v1 = tf.get_variable("v1", [3], initializer=tf.zeros_initializer())
        v2 = tf.get_variable("v2", [3], initializer=tf.constant_initializer(2.0))
    return tf.add(v1 * 10.0, v2, name="sum")


def write(directory: str) -> None:
    with tf.Graph().as_default():
        build()
        v1, v2 = tf.global_variables()
        changes = tf.group(v1.assign(v1 + 1.0), v2.assign(v2 - 1.0))
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(changes)
            saver.save(sess, os.path.join(directory, "model.ckpt"), global_step=7)


def read(directory: str) -> dict[str, Any]:
    prefix = tf.train.latest_checkpoint(directory)
    with tf.Graph().as_default(), tf.Session() as sess:
        total = build()
        tf.train.Saver().restore(sess, prefix)
        rebuilt = sess.run(total)
    with tf.Graph().as_default(), tf.Session() as sess:
        saver = tf.train.import_meta_graph(prefix + ".meta")
        saver.restore(sess, prefix)
        imported = sess.run("sum:0")
        names = [variable.op.name for variable in tf.global_variables()]
    return {"rebuilt": rebuilt, "imported": imported, "names": names}
