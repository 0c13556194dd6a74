"""Save and restore some variables only; the others begin anew."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def build() -> tuple[Any, Any]:
    body = tf.get_variable("body", [2, 2], initializer=tf.ones_initializer())
    head = tf.get_variable("head", [2], initializer=tf.constant_initializer(-1.0))
    return body, head


def write(directory: str) -> None:
    with tf.Graph().as_default():
        body, head = build()
        saver = tf.train.Saver([body])
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run([body.assign_add([[1.0, 2.0], [3.0, 4.0]]), head.assign([8.0, 9.0])])
            saver.save(sess, os.path.join(directory, "body.ckpt"))


def read(directory: str) -> dict[str, Any]:
    prefix = os.path.join(directory, "body.ckpt")
    with tf.Graph().as_default(), tf.Session() as sess:
        body, head = build()
        # What the checkpoint lacks has to be initialized.
        sess.run(tf.variables_initializer([head]))
        tf.train.Saver({"body": body}).restore(sess, prefix)
        values = sess.run({"body": body, "head": head})
    stored = [name for name, _ in tf.train.list_variables(prefix)]
    return {**values, "stored": stored}
