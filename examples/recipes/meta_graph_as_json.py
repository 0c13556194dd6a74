"""The JSON of a MetaGraph: export a graph as text that other tools read, and import it again."""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import json_format

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.Variable([[1.0], [2.0]], name="w")
        y = tf.sigmoid(tf.matmul(x, w), name="y")
        tf.add_to_collection("outputs", y)
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            saver.save(sess, os.path.join(directory, "model.ckpt"), write_meta_graph=False)
        meta_graph = saver.export_meta_graph(os.path.join(directory, "model.txt"), as_text=True)
        with tf.gfile.GFile(os.path.join(directory, "model.json"), "w") as file:
            file.write(json_format.MessageToJson(meta_graph, sort_keys=True))


def read(directory: str) -> dict[str, Any]:
    with tf.gfile.GFile(os.path.join(directory, "model.json")) as file:
        meta_graph = json_format.Parse(file.read(), tf.MetaGraphDef())
    results: dict[str, Any] = {}
    for key, source in (("json", meta_graph), ("text", os.path.join(directory, "model.txt"))):
        with tf.Graph().as_default(), tf.Session() as sess:
            saver = tf.train.import_meta_graph(source)
            saver.restore(sess, os.path.join(directory, "model.ckpt"))
            (y,) = tf.get_collection("outputs")
            results[key] = sess.run(y, {"x:0": [[1.0, -1.0], [0.0, 0.5]]})
    return results
