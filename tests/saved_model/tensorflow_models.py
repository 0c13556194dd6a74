"""Makes models with TensorFlow and Keras, in the manner of TensorFlow 1 and 2; started by tests.

Into the directory that is the argument goes, for each model, `<name>/` with the SavedModel and
`<name>.npz` with the inputs of its signature "serving_default" ("in:x") and what TensorFlow answers
("out:y"). Text is stored as bytes of a fixed length.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any, allow-untyped-calls
# TensorFlow's types are not looked at.

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
RANDOM = np.random.default_rng(7)
VOCABULARY = ("the", "cat", "sat", "on", "mat")

Arrays = Mapping[str, Any]


def floats(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def store(directory: Path, name: str, inputs: Arrays, outputs: Arrays) -> None:
    def plain(value: Any) -> Any:
        array = np.asarray(value)
        return array.astype("S") if array.dtype == object else array

    arrays = {f"in:{key}": plain(value) for key, value in inputs.items()}
    arrays |= {f"out:{key}": plain(value) for key, value in outputs.items()}
    np.savez(directory / f"{name}.npz", **arrays)


# --------------------------------------------------------------------------- TensorFlow 1

Graph1 = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def variable(name: str, *shape: int, resource: bool = False) -> Any:
    return tf1.get_variable(name, initializer=tf.constant(floats(*shape)), use_resource=resource)


def mlp1() -> Graph1:
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    hidden = tf.nn.relu(tf.matmul(x, variable("w1", 4, 8)) + variable("b1", 8))
    logits = tf.nn.bias_add(
        tf.matmul(hidden, variable("w2", 8, 3, resource=True)), variable("b2", 3)
    )
    outputs = {"probabilities": tf.nn.softmax(logits), "label": tf.argmax(logits, axis=1)}
    return {"x": x}, outputs, {"x": floats(5, 4)}


def cnn1() -> Graph1:
    x = tf1.placeholder(tf.float32, [None, 12, 12, 3], name="image")
    y = tf.nn.conv2d(x, variable("c1", 3, 3, 3, 4), strides=2, padding="SAME")
    y, *_ = tf1.nn.fused_batch_norm(
        y,
        variable("scale", 4),
        variable("offset", 4),
        variable("mean", 4),
        tf.square(variable("variance", 4)),
        is_training=False,
    )
    y = tf.nn.depthwise_conv2d(tf.nn.relu6(y), variable("c2", 3, 3, 4, 2), [1, 1, 1, 1], "VALID")
    y = tf1.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    y = tf.reshape(y, [-1, 2 * 2 * 8])
    return {"image": x}, {"y": tf.matmul(y, variable("w", 32, 2))}, {"image": floats(2, 12, 12, 3)}


def lstm_step(x: Any, c: Any, h: Any, w: Any, b: Any) -> tuple[Any, Any]:
    i, j, f, o = tf.split(tf.matmul(tf.concat([x, h], 1), w) + b, 4, axis=1)
    c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    return c, tf.tanh(c) * tf.sigmoid(o)


def lstm1() -> Graph1:
    x = tf1.placeholder(tf.float32, [None, 6, 3], name="sequence")
    w, b = variable("kernel", 7, 16), variable("bias", 16)
    steps = tf.transpose(x, [1, 0, 2])
    zeros = tf.zeros([tf.shape(x)[0], 4])

    def body(step: Any, c: Any, h: Any) -> tuple[Any, ...]:
        return (step + 1, *lstm_step(tf.gather(steps, step), c, h, w, b))

    _, c, h = tf1.while_loop(lambda step, *_: step < 6, body, [tf.constant(0), zeros, zeros])
    y = tf1.cond(tf.reduce_sum(c) > 1e6, lambda: h * 0.0, lambda: h + c)
    return {"sequence": x}, {"y": y}, {"sequence": floats(2, 6, 3)}


def vocabulary_table(path: Any) -> Any:
    return tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            path,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        num_oov_buckets=2,
    )


def embedding1(path: Path) -> Graph1:
    words = tf1.placeholder(tf.string, [None, None], name="words")
    asset = tf.constant(str(path), name="vocabulary")
    tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset)
    ids = vocabulary_table(asset).lookup(words)
    vectors = tf.nn.embedding_lookup(variable("embedding", 7, 3), ids)
    outputs = {"vector": tf.reduce_mean(vectors, axis=1), "ids": ids}
    return {"words": words}, outputs, {"words": np.array([["the", "cat"], ["flew", "on"]], object)}


def examples1() -> Graph1:
    serialized = tf1.placeholder(tf.string, [None], name="examples")
    parsed = tf1.io.parse_example(
        serialized,
        {
            "x": tf1.io.FixedLenFeature([2], tf.float32),
            "word": tf1.io.FixedLenFeature([], tf.string, default_value="none"),
            "tags": tf1.io.VarLenFeature(tf.int64),
        },
    )
    scores = tf.nn.softmax(tf.matmul(parsed["x"], variable("w", 2, 3)))
    count = tf1.sparse.to_dense(parsed["tags"], default_value=-1)
    outputs = {"scores": scores, "word": parsed["word"], "tags": count}
    messages = []
    for x, word, tags in ([1.0, 2.0], b"a", [5]), ([-1.0, 0.5], None, [7, 8, 9]):
        example = tf.train.Example()
        example.features.feature["x"].float_list.value.extend(x)
        example.features.feature["tags"].int64_list.value.extend(tags)
        if word:
            example.features.feature["word"].bytes_list.value.append(word)
        messages.append(example.SerializeToString())
    return {"examples": serialized}, outputs, {"examples": np.array(messages, object)}


def attention(x: Any, weights: Any, heads: int) -> Any:
    q, k, v = (tf.einsum("bsd,dhk->bhsk", x, weight) for weight in weights[:3])
    scores = tf.matmul(q, k, transpose_b=True) / np.float32(np.sqrt(heads))
    mixed = tf.matmul(tf.nn.softmax(scores), v)
    return tf.einsum("bhsk,hkd->bsd", mixed, weights[3])


def normalized(x: Any, gain: Any, bias: Any) -> Any:
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf1.rsqrt(variance + 1e-5) * gain + bias


def transformer1() -> Graph1:
    x = tf1.placeholder(tf.float32, [None, None, 8], name="x")
    weights = [variable(f"a{i}", 8, 2, 4) for i in range(3)] + [variable("a3", 2, 4, 8)]
    y = normalized(x + attention(x, weights, 4), variable("g1", 8), variable("n1", 8))
    inner = tf.nn.gelu(tf.tensordot(y, variable("f1", 8, 16), [[2], [0]]))
    y = normalized(y + tf.tensordot(inner, variable("f2", 16, 8), 1), variable("g2", 8), 0.0)
    return {"x": x}, {"y": y}, {"x": floats(2, 5, 8)}


def export1(directory: Path, name: str, make: Callable[[], Graph1]) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        inputs, outputs, values = make()
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        answers = session.run(outputs, {inputs[key]: value for key, value in values.items()})
        tf1.saved_model.simple_save(
            session,
            str(directory / name),
            inputs,
            outputs,
            legacy_init_op=tf1.tables_initializer() if name == "embedding1" else None,
        )
    store(directory, name, values, answers)


# --------------------------------------------------------------------------- TensorFlow 2


class Embedding2(tf.Module):
    """A vocabulary file, words in, vectors out; and functions of many kinds beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.table = vocabulary_table(tf.saved_model.Asset(str(path)).asset_path)
        self.embedding = tf.Variable(floats(7, 3), name="embedding")
        self.calls = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.layers = [tf.Variable(floats(3, 2), name="first"), tf.Variable(2.5)]
        self.scale = tf.constant([1.0, 10.0, 100.0])
        self.seen = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.seen.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="words")])
    def serve(self, words: Any) -> Any:
        ids = self.table.lookup(words)
        vectors = tf.nn.embedding_lookup(self.embedding, ids) * self.scale
        return {"vector": tf.reduce_mean(vectors, axis=1), "ids": ids}

    @tf.function(input_signature=[])
    def count(self) -> Any:
        return self.calls.assign_add(1)

    @tf.function
    def scaled(self, x: Any, by: Any = 2, *, negate: bool = False) -> Any:
        result = tf.cast(x, tf.float32) * float(by)
        return {"result": [-result if negate else result], "shape": (tf.shape(x), None)}

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 4], tf.float32)])
    def doubled(self, x: Any) -> Any:
        return tf.SparseTensor(x.indices, x.values * 2, x.dense_shape)

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.float32)])
    def doubled_rows(self, x: Any) -> Any:
        return x.with_flat_values(x.flat_values * 2)

    @tf.function(input_signature=[tf.TensorSpec([3, 2], tf.float32)])
    def replace(self, x: Any) -> Any:
        return self.layers[0].assign(x)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def seen_before(self, words: Any) -> Any:
        return self.seen.lookup(words)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="n")])
    def fibonacci(self, n: Any) -> Any:
        a, b = tf.constant(0), tf.constant(1)
        while n > 0:
            a, b, n = b, a + b, n - 1
        if a > 100:
            a = -a
        return a


def export_module(directory: Path, path: Path) -> None:
    module = Embedding2(path)
    module.scaled(tf.constant([1.0, 2.0]))
    module.scaled(tf.constant([1, 2]), negate=True)
    module.scaled(tf.constant(1.0), by=3)
    words = np.array([["the", "cat"], ["flew", "on"]], object)
    tf.saved_model.save(
        module, str(directory / "embedding2"), signatures={"serving_default": module.serve}
    )
    store(directory, "embedding2", {"words": words}, module.serve(tf.constant(words)))


def keras_models() -> dict[str, tuple[Any, Any]]:
    layers = keras.layers
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 8)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, activation="gelu")(x)))
    transformer = keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    return {
        "mlp2": (
            keras.Sequential(
                [
                    keras.Input((4,)),
                    layers.Dense(8, activation="tanh"),
                    layers.Dropout(0.5),
                    layers.Dense(3, activation="softmax"),
                ]
            ),
            floats(5, 4),
        ),
        "cnn2": (
            keras.Sequential(
                [
                    keras.Input((12, 12, 3)),
                    layers.Conv2D(4, 3, padding="same", activation="relu"),
                    layers.BatchNormalization(),
                    layers.MaxPooling2D(),
                    layers.SeparableConv2D(5, 3),
                    layers.AveragePooling2D(2),
                    layers.Flatten(),
                    layers.Dense(2),
                ]
            ),
            floats(2, 12, 12, 3),
        ),
        "lstm2": (keras.Sequential([keras.Input((6, 3)), layers.LSTM(4)]), floats(2, 6, 3)),
        "gru2": (
            keras.Sequential([keras.Input((6, 3)), layers.GRU(4, return_sequences=True)]),
            floats(2, 6, 3),
        ),
        "transformer2": (transformer, RANDOM.integers(0, 9, (2, 5)).astype(np.int32)),
    }


def export_keras(directory: Path, name: str, model: Any, x: Any) -> None:
    model.export(str(directory / name), verbose=False)
    signature = tf.saved_model.load(str(directory / name)).signatures["serving_default"]
    (key,) = signature.structured_input_signature[1]
    store(directory, name, {key: x}, signature(**{key: tf.constant(x)}))


def main(directory: Path) -> None:
    path = directory / "vocabulary.txt"
    path.write_text("".join(f"{word}\n" for word in VOCABULARY))
    export_module(directory, path)
    keras.utils.set_random_seed(3)
    for name, (model, x) in keras_models().items():
        export_keras(directory, name, model, x)
    export1(directory, "embedding1", lambda: embedding1(path))
    for make in (mlp1, cnn1, examples1, transformer1, lstm1):
        export1(directory, make.__name__, make)
    # Loops and branches as graphs had them before functions.
    tf1.disable_control_flow_v2()
    export1(directory, "lstm1_switch", lstm1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
