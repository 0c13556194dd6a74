"""Train with moving averages, and evaluate with the averages in place of the variables."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def build() -> Any:
    return tf.get_variable("w", initializer=[10.0, 20.0])


def write(directory: str) -> None:
    with tf.Graph().as_default():
        w = build()
        ema = tf.train.ExponentialMovingAverage(decay=0.9)
        with tf.control_dependencies([w.assign_sub([1.0, 2.0])]):
            train = ema.apply([w])
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(5):
                sess.run(train)
            saver.save(sess, os.path.join(directory, "ema.ckpt"))


def read(directory: str) -> dict[str, Any]:
    prefix = os.path.join(directory, "ema.ckpt")
    with tf.Graph().as_default(), tf.Session() as sess:
        w = build()
        ema = tf.train.ExponentialMovingAverage(decay=0.9)
        names = ema.variables_to_restore()
        tf.train.Saver(names).restore(sess, prefix)
        return {
            "average": sess.run(w),
            "names": sorted(names),
            "last": tf.train.load_variable(prefix, "w"),
        }
