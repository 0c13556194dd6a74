"""Build a SavedModel with a signature of one's own and a vocabulary, and load it by its tags."""

from __future__ import annotations

import os
from typing import Any

import ckptmgr.compat.v1 as tf


def write(directory: str) -> None:
    vocabulary = os.path.join(directory, "words.txt")
    with tf.gfile.GFile(vocabulary, "w") as file:
        file.write("zero\none\ntwo\n")
    with tf.Graph().as_default():
        words = tf.placeholder(tf.string, [None], name="words")
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                vocabulary,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=-1,
        )
        vectors = tf.get_variable("vectors", initializer=[[0.0, 1.0], [1.0, 0.5], [2.0, 0.25]])
        found = tf.nn.embedding_lookup(vectors, tf.maximum(table.lookup(words), 0))
        scores = tf.nn.softmax(found, name="scores")
        with tf.Session() as sess:
            sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
            signature = tf.saved_model.signature_def_utils.build_signature_def(
                inputs={"words": tf.saved_model.utils.build_tensor_info(words)},
                outputs={"scores": tf.saved_model.utils.build_tensor_info(scores)},
                method_name=tf.saved_model.signature_constants.PREDICT_METHOD_NAME,
            )
            builder = tf.saved_model.builder.SavedModelBuilder(os.path.join(directory, "export"))
            builder.add_meta_graph_and_variables(
                sess,
                [tf.saved_model.tag_constants.SERVING, "words"],
                signature_def_map={"score_words": signature},
                assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
                main_op=tf.tables_initializer(),
            )
            builder.save()


def read(directory: str) -> dict[str, Any]:
    with tf.Graph().as_default(), tf.Session() as sess:
        meta_graph = tf.saved_model.loader.load(
            sess, ["words", tf.saved_model.tag_constants.SERVING], os.path.join(directory, "export")
        )
        signature = meta_graph.signature_def["score_words"]
        words = signature.inputs["words"].name
        scores = sess.run(signature.outputs["scores"].name, {words: [b"two", b"one", b"nine"]})
        return {"scores": scores, "method": signature.method_name}
