"""Export a model for serving in one call."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        image = tf.placeholder(tf.float32, [None, 4, 4, 1], name="image")
        kernel = tf.get_variable("kernel", [2, 2, 1, 2], initializer=tf.constant_initializer(0.25))
        hidden = tf.nn.relu(tf.nn.conv2d(image, kernel, [1, 1, 1, 1], "SAME"))
        pooled = tf.nn.max_pool(hidden, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
        flat = tf.reshape(pooled, [-1, 8])
        best = tf.argmax(flat, axis=1, name="best")
        sess.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(
            sess,
            os.path.join(directory, "export"),
            inputs={"image": image},
            outputs={"flat": flat, "best": best},
        )


def read(directory: str) -> dict[str, Any]:
    with tf.Graph().as_default(), tf.Session() as sess:
        meta_graph = tf.saved_model.loader.load(sess, ["serve"], os.path.join(directory, "export"))
        signature = meta_graph.signature_def["serving_default"]
        fetches = {key: info.name for key, info in signature.outputs.items()}
        pixels = [[[[float(row * column)] for column in range(4)] for row in range(4)]]
        values: dict[str, Any] = sess.run(fetches, {signature.inputs["image"].name: pixels})
        return values
