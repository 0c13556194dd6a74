"""Write a graph without its values, in both formats, and import it with other inputs."""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import text_format

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, 2], name="x")
        with tf.name_scope("scaled"), tf.device("/cpu:0"):
            scaled = x * 2.0 + tf.constant([[1.0, 0.0], [0.0, 1.0]], name="eye")
        tf.reduce_sum(scaled, axis=[1], keepdims=True, name="total")
        tf.train.write_graph(graph, directory, "graph.pb", as_text=False)
        tf.train.write_graph(graph.as_graph_def(), directory, "graph.pbtxt")


def read(directory: str) -> dict[str, Any]:
    binary, text = tf.GraphDef(), tf.GraphDef()
    with tf.gfile.FastGFile(os.path.join(directory, "graph.pb"), "rb") as file:
        binary.ParseFromString(file.read())
    with tf.gfile.GFile(os.path.join(directory, "graph.pbtxt")) as file:
        text_format.Parse(file.read(), text)
    with tf.Graph().as_default(), tf.Session() as sess:
        (total,) = tf.import_graph_def(binary, return_elements=["total:0"], name="")
        whole = sess.run(total, {"x:0": [[1.0, 2.0], [3.0, 4.0]]})
    with tf.Graph().as_default(), tf.Session() as sess:
        mine = tf.constant([[5.0, 6.0], [7.0, 8.0]])
        scaled, total = tf.import_graph_def(
            text,
            input_map={"x:0": mine},
            return_elements=["scaled/add:0", "total"],
            name="again",
        )
        part, mapped = sess.run([scaled, total.outputs[0]])
    return {"whole": whole, "part": part, "mapped": mapped, "name": total.name}
