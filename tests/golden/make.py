"""Make the files in this folder with the real TensorFlow 2.21.

usage: make.py [--into FOLDER] [section ...]

Each section writes one sub-folder, in a process of its own, and there `expected.npz`: the value of
every tensor under its name, or under `<prefix>:<name>` where the folder has several checkpoints.
What NumPy cannot store without pickling takes two arrays. A dtype of its own (bfloat16, float8,
int4) is kept as `<name>::raw`, the bytes with the item size as last dimension, and `<name>::dtype`;
strings as `<name>::lengths`, in the tensor's shape, and `<name>::bytes`, all of them in a row.
Absolute paths in `checkpoint` files begin with /samples, wherever this ran.

The section `handmade` is written by handmade.py: legal files that TensorFlow never writes itself.
Values are seeded: a second run differs in timestamps, and in the order of maps where a file holds
a serialized graph.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.update(
    {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
)

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf
from handmade import HANDMADE, write_handmade
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python import keras as keras_2
from tensorflow.python.keras.optimizer_v2 import adam as keras_2_adam
from tensorflow.python.training import adam as tf1_adam

tf1 = tf.compat.v1

Values = dict[str, Any]

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
FLOAT8_NAMES = (
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e4m3b11fnuz",
    "float8_e5m2fnuz",
)


def write_expected(folder: Path, values: Values) -> None:
    """Write expected.npz as the module's docstring describes it."""
    stored = {}
    for name, value in values.items():
        array = np.asarray(value)
        if hasattr(ml_dtypes, array.dtype.name):
            raw = np.frombuffer(array.tobytes(), np.uint8)
            stored[f"{name}::raw"] = raw.reshape(*array.shape, array.dtype.itemsize)
            stored[f"{name}::dtype"] = np.array(array.dtype.name)
        elif array.dtype == object:
            lengths = [len(string) for string in array.flat]
            stored[f"{name}::lengths"] = np.array(lengths, np.int64).reshape(array.shape)
            stored[f"{name}::bytes"] = np.frombuffer(b"".join(array.flat), np.uint8)
        else:
            stored[name] = array
    np.savez(folder / "expected.npz", **stored)


def read_all(folder: Path, prefix: str, label: str) -> Values:
    """Read back every tensor of an object-based checkpoint, with TensorFlow."""
    reader = tf.train.load_checkpoint(str(folder / prefix))
    names = reader.get_variable_to_shape_map()
    return {
        f"{label}:{name}": reader.get_tensor(name) for name in names if name != OBJECT_GRAPH_KEY
    }


def fill_partitions(session: Any, variables: Iterable[Any]) -> None:
    """Give every partition its own values: one seed would repeat in each."""
    rng = np.random.RandomState(11)
    for variable in variables:
        for part in list(variable):
            part.load(rng.randn(*part.shape.as_list()).astype("float32"), session)


def save_v2(folder: Path, tensors: dict[str, Any]) -> None:
    """Write one unsharded bundle, in the order given."""
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


# --------------------------------------------------------------------------- V2 checkpoints


def v2_multi(folder: Path) -> None:
    """One bundle with every dtype that SaveV2 takes, scalars, empty tensors and strings."""
    rng = np.random.RandomState(0)
    values: Values = {}
    for name in ("float16", "float32", "float64"):
        values[f"num/{name}"] = rng.randn(3, 5).astype(name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        limits = np.iinfo(name)
        values[f"num/{name}"] = np.array([[limits.min, limits.max, 1], [0, 2, 3]], name)
    values["num/bool"] = np.array([True, False, True])
    values["num/complex64"] = (rng.randn(2, 2) + 1j * rng.randn(2, 2)).astype("complex64")
    values["num/complex128"] = rng.randn(2, 2) + 1j * rng.randn(2, 2)
    values["scalar/float32"] = np.float32(3.25)
    values["scalar/int64"] = np.int64(-7)
    values["empty/float32"] = np.zeros((0,), "float32")
    values["empty/int32_3_0_2"] = np.zeros((3, 0, 2), "int32")
    values["ml/bfloat16"] = rng.randn(2, 3).astype(ml_dtypes.bfloat16)
    for name in FLOAT8_NAMES:
        values[f"ml/{name}"] = np.array([0.5, 1.0, -2.0, 0.0, 16.0]).astype(name)
    for name in ("int4", "uint4"):
        values[f"ml/{name}"] = np.array([1, 2, 3, 7, 0], "int8").astype(name)
    tensors = {name: tf.constant(value) for name, value in values.items()}

    # Lengths around 128 need one and two bytes of varint, 20000 needs three.
    vector = [b"a", b"", "d\u00e9j\u00e0".encode(), b"\x00\xff\x00"]
    vector += [b"x" * 127, b"y" * 128, b"z" * 20000]
    strings = {
        "str/scalar": b"hello",
        "str/empty_scalar": b"",
        "str/vector": vector,
        "str/matrix": [[b"00", b"01", b"02"], [b"10", b"11", b"12"]],
        "str/empty": [],
    }
    for name, value in strings.items():
        values[name] = np.array(value, object)
        tensors[name] = tf.constant(values[name], tf.string)

    for name in ("qint8", "quint8", "qint16", "quint16", "qint32"):
        values[f"q/{name}"] = np.array([1, 2, 3], name[1:])
        tensors[f"q/{name}"] = tf.bitcast(tf.constant(values[f"q/{name}"]), getattr(tf, name))
    save_v2(folder, tensors)
    write_expected(folder, values)


def v2_variant(folder: Path) -> None:
    """A variant (a TensorList of three rows) beside a plain tensor."""
    rows = np.array([[1, 2], [3, 4], [5, 6]], "float32")
    plain = np.array([1, 2, 3], "int32")
    tensor_list = tf.raw_ops.TensorListFromTensor(
        tensor=tf.constant(rows), element_shape=tf.constant([2], tf.int32)
    )
    save_v2(folder, {"lst": tensor_list, "plain": tf.constant(plain)})
    write_expected(folder, {"plain": plain, "lst::stack": rows})


def v2_saver(folder: Path) -> None:
    """A training run's Saver (keeps 3 of 5), and one with relative, padded names."""
    values: Values = {}
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(1)
        step = tf1.train.get_or_create_global_step()
        kernel = tf.constant(np.arange(12, dtype="float32").reshape(3, 4))
        w = tf1.get_variable("layer1/w", initializer=kernel, use_resource=False)
        b = tf1.get_variable("layer1/b", initializer=tf.zeros([4]), use_resource=True)
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        y = tf1.identity(tf.matmul(x, w) + b, name="y")
        loss = tf.reduce_mean(tf.square(y))
        train = tf1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        for key, item in (("train_op", train), ("names", "alpha"), ("ints", 5), ("floats", 1.5)):
            tf1.add_to_collection(key, item)
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver(max_to_keep=3)
        for number in range(1, 6):
            session.run(train, {x: np.ones((2, 3), "float32")})
            saver.save(session, str(folder / "model.ckpt"), global_step=step)
            if number > 2:
                for variable in tf1.global_variables():
                    values[f"model.ckpt-{number}:{variable.op.name}"] = session.run(variable)
        relative = tf1.train.Saver(
            save_relative_paths=True, pad_step_number=True, max_to_keep=2, name="rel"
        )
        target = str(folder / "rel")
        relative.save(
            session,
            target,
            global_step=7,
            latest_filename="checkpoint_rel",
            meta_graph_suffix="mg",
            strip_default_attrs=True,
        )
        relative.save(
            session,
            target,
            global_step=8,
            latest_filename="checkpoint_rel",
            write_meta_graph=False,
        )
        for variable in tf1.global_variables():
            for prefix in ("rel-00000007", "rel-00000008"):
                values[f"{prefix}:{variable.op.name}"] = session.run(variable)
        (folder / "savers.pbtxt").write_text(
            f"# default saver\n{saver.as_saver_def()}# rel saver\n{relative.as_saver_def()}"
        )
    write_expected(folder, values)


def v2_partitioned(folder: Path) -> None:
    """Slices along axis 0 and axis 1; `big` starts one beyond what two key bytes can say."""

    def partitioned(name: str, shape: list[int], parts: int, axis: int = 0) -> Any:
        return tf1.get_variable(
            name,
            shape,
            partitioner=tf1.fixed_size_partitioner(parts, axis=axis),
            initializer=tf1.zeros_initializer(),
            use_resource=True,
        )

    with tf.Graph().as_default(), tf1.Session() as session:
        variables = {
            "p0": partitioned("p0", [10, 4], 3),
            "scope/p1": partitioned("scope/p1", [5, 6], 2, axis=1),
            "big": partitioned("big", [20000], 2),
            "one_part": partitioned("one_part", [4], 1),
        }
        plain = tf1.get_variable(
            "plain", [2], initializer=tf1.zeros_initializer(), use_resource=True
        )
        session.run(tf1.global_variables_initializer())
        fill_partitions(session, [variables[name] for name in ("p0", "scope/p1", "big")])
        for part in list(variables["one_part"]):
            part.load(np.ones(4, "float32"), session)
        tf1.train.Saver().save(session, str(folder / "model"))
        values = {name: session.run(variable.as_tensor()) for name, variable in variables.items()}
        values["plain"] = session.run(plain)
    write_expected(folder, values)


def v2_sharded(folder: Path) -> None:
    """Three shards, one per device, and a variable whose two slices lie in two of them."""

    def device_of(operation: Any) -> str:
        return "/cpu:1" if "part_1" in operation.name else "/cpu:2"

    config = tf1.ConfigProto(device_count={"CPU": 3})
    initial = {
        "on0/a": tf.range(6.0).numpy(),
        "on1/b": tf.range(5).numpy(),
        "on2/c": np.array([b"x", b"yy", b"zzz"], object),
    }
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        variables = []
        for device, (name, value) in enumerate(initial.items()):
            with tf.device(f"/cpu:{device}"):
                variables.append(
                    tf1.get_variable(name, initializer=tf.constant(value), use_resource=True)
                )
        with tf1.device(device_of):
            sliced = tf1.get_variable(
                "p",
                [4, 2],
                partitioner=tf1.fixed_size_partitioner(2),
                initializer=tf1.zeros_initializer(),
                use_resource=True,
            )
        session.run(tf1.global_variables_initializer())
        fill_partitions(session, [sliced])
        tf1.train.Saver(sharded=True).save(session, str(folder / "model"), global_step=3)
        values = {variable.op.name: session.run(variable) for variable in variables}
        values["p"] = session.run(sliced.as_tensor())
    write_expected(folder, values)


# --------------------------------------------------------------------------- V1 checkpoints


def v1_ckpt(folder: Path) -> None:
    """V1 files: one file, two shards, and a variable in three slices."""
    rng = np.random.RandomState(0)
    initial = {
        "f32": rng.randn(3, 4).astype("float32"),
        "f64": rng.randn(2),
        "i32": np.array([[1, -2], [300000, 4]], "int32"),
        "i64": np.array([-5, 6, 2**40], "int64"),
        "u8": np.array([0, 255, 7], "uint8"),
        "i8": np.array([-128, 127], "int8"),
        "i16": np.array([-32768, 32767], "int16"),
        "b": np.array([True, False]),
        "c64": np.array([1 + 2j, -3j], "complex64"),
        "c128": np.array([1 + 2j, -3j], "complex128"),
        "half": np.array([0.5, -1.25, 65504.0], "float16"),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), "float32"),
        "s": np.array([b"one", b"", b"three\x00x"], object),
        "dev1/z": np.arange(4, dtype="float32"),
    }
    config = tf1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        variables = {}
        for name, value in initial.items():
            with tf.device("/cpu:1" if name == "dev1/z" else None):
                variables[name] = tf1.get_variable(
                    name, initializer=tf.constant(value), use_resource=True
                )
        sliced = tf1.get_variable(
            "part",
            [7, 2],
            partitioner=tf1.fixed_size_partitioner(3),
            initializer=tf1.zeros_initializer(),
            use_resource=True,
        )
        session.run(tf1.global_variables_initializer())
        fill_partitions(session, [sliced])
        version = tf1.train.SaverDef.V1
        tf1.train.Saver(write_version=version).save(
            session, str(folder / "model.ckpt"), global_step=10
        )
        tf1.train.Saver(write_version=version, sharded=True, name="sh").save(
            session,
            str(folder / "shard.ckpt"),
            global_step=10,
            latest_filename="checkpoint_sharded",
        )
        values = {name: session.run(variable) for name, variable in variables.items()}
        values["part"] = session.run(sliced.as_tensor())
    write_expected(folder, values)


# --------------------------------------------------------------------------- other writers


def graphs(folder: Path) -> None:
    """A checkpoint with moving averages, and which variable each of its names restores."""
    values: Values = {}
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        w = tf1.get_variable(
            "w", initializer=tf.constant([[1.0, 2.0], [3.0, 4.0]]), use_resource=False
        )
        r = tf1.get_variable("r", initializer=tf.constant([0.5, -0.5]), use_resource=True)
        tf1.identity(tf.matmul(x, w) + r, name="y")
        averages = tf.train.ExponentialMovingAverage(0.9)
        update = averages.apply([w, r])
        tf1.get_variable(
            "non_trainable", initializer=tf.constant(7), trainable=False, use_resource=True
        )
        session.run([w.initializer, r.initializer])
        session.run(tf1.global_variables_initializer())
        session.run(w.assign(w * 2.0))
        session.run(r.assign([1.0, 1.0]))
        for _ in range(3):
            session.run(update)
        restored = {
            key: value.name for key, value in sorted(averages.variables_to_restore().items())
        }
        (folder / "ema_variables_to_restore.json").write_text(json.dumps(restored, indent=1))
        tf1.train.Saver().save(session, str(folder / "ema.ckpt"), write_state=False)
        for variable in tf1.global_variables():
            values[f"ema.ckpt:{variable.op.name}"] = session.run(variable)
        values["feed:x:0"] = np.array([[1.0, 1.0], [2.0, -1.0]], "float32")
        values["fetch:y:0"] = session.run("y:0", {"x:0": values["feed:x:0"]})
    write_expected(folder, values)


def lookup_table(path: Any) -> Any:
    """A table of the lines of a file, each with its number."""
    lines = tf.lookup.TextFileInitializer(
        path,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    return tf.lookup.StaticHashTable(lines, -1)


def move_vocabulary(export: Path, path: str) -> None:
    """Let a model say that its asset was at `path`, and write it as text, too."""
    model = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
    for meta_graph in model.meta_graphs:
        for node in meta_graph.graph_def.node:
            if node.name == "vocab_path":
                node.attr["value"].tensor.string_val[0] = path.encode()
    (export / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))
    (export / "saved_model.pbtxt").write_text(str(model))


def saved_model_tf1(folder: Path) -> None:
    """SavedModels of TF1's builders: two MetaGraphs with an asset and a table, and simple_save."""
    values: Values = {}
    vocabulary = folder / "vocab_src.txt"
    vocabulary.write_text("foo\nbar\nbaz\n")
    tags = tf1.saved_model.tag_constants
    predict = tf1.saved_model.predict_signature_def
    builder = tf1.saved_model.Builder(str(folder / "export"))
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        tokens = tf1.placeholder(tf.string, [None], name="tok")
        kernel = tf.constant(np.arange(6, dtype="float32").reshape(3, 2))
        w = tf1.get_variable("w", initializer=kernel, use_resource=False)
        bias = tf1.get_variable("bias", initializer=tf.constant([0.5, -0.5]), use_resource=True)
        y = tf1.identity(tf.matmul(x, w) + bias, name="y")
        asset = tf.constant(str(vocabulary), name="vocab_path")
        tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset)
        ids = tf1.identity(lookup_table(asset).lookup(tokens), name="ids")
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        builder.add_meta_graph_and_variables(
            session,
            [tags.SERVING],
            signature_def_map={
                "serving_default": predict({"x": x}, {"y": y}),
                "lookup": predict({"tokens": tokens}, {"ids": ids}),
            },
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf1.tables_initializer(),
        )
        values["w"], values["bias"] = session.run([w, bias])
        values["serving_default:x"] = np.array([[1.0, 0.0, -1.0]], "float32")
        values["serving_default:y"] = session.run(y, {x: values["serving_default:x"]})
        values["lookup:tokens"] = np.array([b"bar", b"nope", b"foo"], object)
        values["lookup:ids"] = session.run(ids, {tokens: values["lookup:tokens"]})
    with tf.Graph().as_default():
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        w = tf1.get_variable("w", initializer=tf.zeros([3, 2]), use_resource=False)
        bias = tf1.get_variable("bias", initializer=tf.zeros([2]), use_resource=True)
        y = tf1.identity(tf.matmul(x, w) + bias, name="y")
        loss = tf.reduce_sum(tf.square(y), name="loss")
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        signature = predict({"x": x}, {"loss": loss})
        builder.add_meta_graph([tags.TRAINING, tags.GPU], {"train_step": signature})
    builder.save()
    move_vocabulary(folder / "export", f"/samples/{folder.name}/vocab_src.txt")
    extra = folder / "export" / "assets.extra"
    extra.mkdir()
    (extra / "note.txt").write_text("extra\n")
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        v = tf1.get_variable("v", initializer=3.0, use_resource=True)
        y = tf.multiply(x, v, name="y")
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(folder / "simple"), {"x": x}, {"y": y})
        values["simple:v"] = session.run(v)
    vocabulary.unlink()
    write_expected(folder, values)


class OddlyNamed(tf.Module):
    """A module whose attribute names need escaping in a checkpoint key."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__(name="mod")
        self.w = tf.Variable(np.arange(6, dtype="float32").reshape(3, 2), name="w")
        self.b = tf.Variable([0.5, -0.5], name="b", trainable=False)
        self.sub = {"k/1.x": tf.Variable(3, name="k1"), "lst": [tf.Variable("text", name="t")]}
        self.asset = tf.saved_model.Asset(str(vocabulary))
        self.table = lookup_table(self.asset.asset_path)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def serve(self, x: Any) -> Any:
        return {"y": tf.matmul(x, self.w) + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="tokens")])
    def lookup(self, tokens: Any) -> Any:
        return {"ids": self.table.lookup(tokens)}

    @tf.function
    def free(self, x: Any, flag: bool = True, names: Any = ("a", "b")) -> Any:
        return x + 1 if flag else x - 1


def saved_model_tf2(folder: Path) -> None:
    """SavedModels of TF2: a tf.Module, and an exported Keras 3 model."""
    vocabulary = folder / "vocab_src.txt"
    vocabulary.write_text("foo\nbar\nbaz\n")
    module = OddlyNamed(vocabulary)
    module.free(tf.constant(1.0))
    module.free(tf.constant([1, 2]), flag=False)
    signatures = {"serving_default": module.serve, "lookup": module.lookup}
    tf.saved_model.save(module, str(folder / "module"), signatures=signatures)
    vocabulary.unlink()
    values: Values = {
        "module:w": module.w.numpy(),
        "module:b": module.b.numpy(),
        "module:k1": module.sub["k/1.x"].numpy(),
        "module:t": np.array(module.sub["lst"][0].numpy(), object),
    }
    keras.utils.set_random_seed(1)
    first = keras.layers.Dense(3, activation="relu", name="d1")
    model = keras.Sequential([keras.Input((4,)), first, keras.layers.Dense(2, name="d2")])
    model.export(str(folder / "keras_export"), verbose=False)
    for weight in model.weights:
        values[f"keras_export:{weight.path}"] = np.asarray(weight)
    values["keras_export:in"] = np.ones((2, 4), "float32")
    values["keras_export:out"] = np.asarray(model(values["keras_export:in"]))
    write_expected(folder, values)


def obj_ckpt(folder: Path) -> None:
    """Object-based checkpoints: a manager's folder, a Keras 3 model, an optimizer with slots."""
    values: Values = {}
    net = tf.Module(name="net")
    net.layer = tf.Module(name="layer")
    net.layer.kernel = tf.Variable(tf.random.stateless_normal([3, 2], [1, 2]), name="kernel")
    net.layer.bias = tf.Variable(tf.zeros([2]), name="bias")
    net.vars = [tf.Variable(1.0, name="v0"), tf.Variable(2, name="v1")]
    net.d = {"a/b.c": tf.Variable([1.0, 2.0], name="weird"), "plain": tf.Variable("str", name="s")}
    step = tf.Variable(0, dtype=tf.int64, name="step")
    checkpoint = tf.train.Checkpoint(step=step, net=net)
    manager = tf.train.CheckpointManager(
        checkpoint, str(folder), max_to_keep=2, checkpoint_name="ckpt"
    )
    variables = {
        "step": step,
        "net/layer/kernel": net.layer.kernel,
        "net/layer/bias": net.layer.bias,
        "net/vars/0": net.vars[0],
        "net/vars/1": net.vars[1],
        "net/d/a.Sb..c": net.d["a/b.c"],
    }
    for number in range(1, 4):
        step.assign_add(1)
        net.layer.bias.assign_add([1.0, 2.0])
        manager.save()
        if number > 1:
            for name, variable in variables.items():
                values[f"ckpt-{number}:{name}"] = variable.numpy()
            values[f"ckpt-{number}:net/d/plain"] = np.array(net.d["plain"].numpy(), object)

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d1")])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
    model.fit(np.ones((8, 4), "float32"), np.ones((8, 3), "float32"), verbose=0)
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / "keras_write"))
    values.update(read_all(folder, "keras_write", "keras_write"))

    # TF1's optimizers record which slot belongs to which variable in the object graph.
    theta = tf.Variable([1.0, 2.0], name="theta")
    optimizer = tf1_adam.AdamOptimizer(0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(theta * theta)
    optimizer.apply_gradients([(tape.gradient(loss, theta), theta)])
    tf.train.Checkpoint(v=theta, opt=optimizer).write(str(folder / "slots"))
    values.update(read_all(folder, "slots", "slots"))
    write_expected(folder, values)


def keras_legacy(folder: Path) -> None:
    """What Keras 2 wrote: a SavedModel, save_weights, slots in a Checkpoint."""
    keras_2.__version__ = "2.6.0"  # the copy inside TensorFlow has lost its own
    tf.random.set_seed(1)
    first = keras_2.layers.Dense(3, input_shape=(4,), name="d1")
    model = keras_2.models.Sequential([first, keras_2.layers.Dense(2, name="d2")])
    model.compile(optimizer=keras_2_adam.Adam(0.01), loss="mse")
    model.train_on_batch(np.ones((8, 4), "float32"), np.ones((8, 2), "float32"))
    model.save(str(folder / "saved_model"), save_format="tf")
    model.save_weights(str(folder / "weights"), save_format="tf")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    checkpoint.save(str(folder / "ckpt"))
    values: Values = {}
    for label, prefix in (
        ("saved_model", "saved_model/variables/variables"),
        ("weights", "weights"),
        ("ckpt-1", "ckpt-1"),
    ):
        values.update(read_all(folder, prefix, label))
    write_expected(folder, values)


def handmade(folder: Path) -> None:
    """Files of handmade.py; one of them is v1_ckpt's, compressed."""
    write_handmade(folder, folder.parent / "v1_ckpt" / "model.ckpt-10")
    write_expected(folder, HANDMADE)


# --------------------------------------------------------------------------- command line

SECTIONS = {
    section.__name__: section
    for section in (
        v2_multi,
        v2_variant,
        v2_saver,
        v2_partitioned,
        v2_sharded,
        v1_ckpt,
        graphs,
        saved_model_tf1,
        saved_model_tf2,
        obj_ckpt,
        keras_legacy,
        handmade,
    )
}


def make(root: Path, section: str) -> None:
    """Write one sub-folder afresh."""
    folder = root / section
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    SECTIONS[section](folder)
    for state in folder.glob("checkpoint*"):
        state.write_text(state.read_text().replace(f'"{root}/', '"/samples/'))


def main() -> None:
    """Make the sections that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    parser.add_argument("sections", nargs="*", metavar="section")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    root = arguments.into.resolve()
    if len(arguments.sections) == 1:
        make(root, arguments.sections[0])
        return
    for section in arguments.sections or SECTIONS:
        print(section, flush=True)
        command = [sys.executable, __file__, "--into", str(root), section]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
