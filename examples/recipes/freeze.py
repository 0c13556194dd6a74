"""Freeze a graph: one file with the values of its variables as constants."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    with tf.Graph().as_default() as graph, tf.Session() as sess:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        w = tf.get_variable("w", initializer=[[1.0, -1.0], [0.5, 2.0]])
        b = tf.get_variable("b", initializer=[0.1, 0.2], use_resource=True)
        y = tf.identity(tf.nn.relu(tf.matmul(x, w) + b), name="y")
        tf.assign(w, y, validate_shape=False, name="not_for_serving")
        sess.run(tf.global_variables_initializer())
        tf.train.Saver().save(sess, os.path.join(directory, "model.ckpt"))
        frozen = tf.graph_util.convert_variables_to_constants(sess, graph.as_graph_def(), ["y"])
        small = tf.graph_util.remove_training_nodes(frozen, protected_nodes=["y"])
        tf.train.write_graph(small, directory, "frozen.pb", as_text=False)


def read(directory: str) -> dict[str, Any]:
    graph_def = tf.GraphDef()
    with tf.gfile.GFile(os.path.join(directory, "frozen.pb"), "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="frozen")
        with tf.Session() as sess:
            y = graph.get_tensor_by_name("frozen/y:0")
            return {
                "y": sess.run(y, {"frozen/x:0": [[1.0, 2.0], [-3.0, 0.0]]}),
                "variables": len(tf.global_variables()),
                "types": sorted({node.op for node in graph_def.node}),
            }
