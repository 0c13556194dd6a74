"""What of TensorFlow 1's names is more than a function that adds operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr.compat.v1
from ckptmgr import errors

#: Its operators are attached, and unknown to types.
tf: Any = ckptmgr.compat.v1


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as graph:
        yield graph


def value_of(fetches: Any, feeds: Any = None) -> Any:
    with tf.Session() as sess:
        sess.run([tf.global_variables_initializer(), tf.tables_initializer()])
        return sess.run(fetches, feeds)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gradients", "ckptmgr.compat.v1.gradients is not offered"),
        ("data", "ckptmgr.compat.v1.data is not offered"),
    ],
)
def test_a_name_that_is_not_offered(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(tf, name)


def test_a_name_that_a_namespace_lacks() -> None:
    with pytest.raises(AttributeError, match="ckptmgr.compat.v1.nn.ctc_loss is not offered"):
        tf.nn.ctc_loss(1)


@pytest.mark.parametrize(
    ("module", "name"),
    [("train", "AdamOptimizer"), ("layers", "conv3d"), ("saved_model", "unknown")],
)
def test_a_name_that_a_module_lacks(module: str, name: str) -> None:
    with pytest.raises(AttributeError, match=f"ckptmgr.compat.v1.{module}.{name} is not offered"):
        getattr(getattr(tf, module), name)


@pytest.mark.parametrize(
    "name",
    ["disable_v2_behavior", "disable_eager_execution", "disable_v2_tensorshape"],
)
def test_what_turns_tensorflow_2_off_is_accepted(name: str) -> None:
    assert getattr(tf, name)() is None
    assert tf.executing_eagerly() is False


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(tf.float32, "float32"), (tf.string, "string"), (tf.half, "float16"), (tf.double, "float64")],
)
def test_dtypes(dtype: Any, name: str) -> None:
    assert dtype.name == name
    assert tf.as_dtype(name) is dtype


def test_options_of_the_runtime_are_taken() -> None:
    config = tf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    with tf.device("/gpu:0"):
        one = tf.constant(1)
    with tf.Session(config=config) as sess:
        assert sess.run(one, options=tf.RunOptions(), run_metadata=tf.RunMetadata()) == 1
    assert config.gpu_options.allow_growth is True


# --------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (tf.exp, "exp() needs the argument 'x'"),
        (lambda: tf.exp(1.0, 2, 3), "exp() takes x, name; found 3 arguments"),
        (lambda: tf.exp(1.0, y=2), "exp() takes x, name; found an unexpected argument 'y'"),
        (lambda: tf.exp(1.0, x=2.0), "exp() takes x, name; found twice the argument 'x'"),
        (lambda: tf.nn.relu(["a"]), "attribute 'T' of Relu operation"),
        (lambda: tf.add(tf.constant(1), tf.constant(1.0)), "for Tensor with dtype float32"),
        (lambda: tf.constant([1, 2]) + "a", "for Tensor with dtype string"),
        (lambda: tf.convert_to_tensor(tf.constant(1), tf.float32), "Tensor conversion requested"),
        (lambda: tf.constant([1, 2])["a"], "Only integers, slices"),
        (lambda: tf.split([1, 2, 3], tf.placeholder(tf.int32)), "Cannot infer argument `num`"),
        (lambda: tf.where([True], x=[1]), "x and y must both be non-None"),
        (lambda: tf.reduce_sum([1], axis=0, reduction_indices=0), "Cannot specify both"),
        (lambda: tf.truediv(tf.constant(1), tf.constant(1.0)), "must have the same dtype"),
        (lambda: tf.norm([1.0], 0), "must be a supported vector norm"),
        (lambda: tf.norm([1.0], "fro"), "must be a supported vector norm"),
        (lambda: tf.norm([[1.0]], 3, axis=(0, 1)), "must be a supported matrix norm"),
        (lambda: tf.norm([[1.0]], axis=(0, 0)), "a tuple of 2 unique integers"),
        (lambda: tf.meshgrid([1], indexing="yx"), "must be either 'xy' or 'ij'"),
        (lambda: tf.sequence_mask([1], [2]), "must be scalar for sequence_mask"),
        (lambda: tf.losses.mean_squared_error(None, 1.0), "`labels` must not be None"),
        (lambda: tf.losses.mean_squared_error([1.0], [[1.0]]), "not compatible"),
        (lambda: tf.losses.mean_squared_error([1.0] * 2, [1.0] * 2, [[1.0]]), "broadcast"),
        (lambda: tf.losses.mean_squared_error([1.0], [1.0], reduction="x"), "Invalid Reduction"),
    ],
)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert message in str(caught.value)


def test_variables_and_tensors_have_operators() -> None:
    v = tf.Variable([1.0, 2.0, 3.0])
    r = tf.get_variable("r", initializer=[4.0, 5.0, 6.0], use_resource=True)
    got = value_of([v + r, 2 * v, -r, v[1:], r[0], v > 1.5, 1 - v, np.float32(2) * r])
    expected: list[Any] = [
        [5, 7, 9],
        [2, 4, 6],
        [-4, -5, -6],
        [2, 3],
        4,
        [False, True, True],
        [0, -1, -2],
        [8, 10, 12],
    ]
    for found, wanted in zip(got, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_tensors_and_operations_run_in_the_default_session() -> None:
    v = tf.Variable(2)
    with tf.Session():
        tf.global_variables_initializer().run()
        assert (v + 1).eval() == 3
        assert tf.identity(v).eval({v: 5}) == 5


@pytest.mark.parametrize("use_resource", [False, True])
def test_changing_variables(use_resource: bool) -> None:
    v = tf.get_variable("v", initializer=[1.0, 2.0], use_resource=use_resource)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(tf.assign(v, [3.0, 4.0])), [3, 4])
        np.testing.assert_array_equal(sess.run(tf.assign_add(v, [1.0, 1.0])), [4, 5])
        np.testing.assert_array_equal(sess.run(tf.assign_sub(v, [0.5, 0.5])), [3.5, 4.5])
        np.testing.assert_array_equal(sess.run(tf.scatter_update(v, [1], [9.0])), [3.5, 9])


@pytest.mark.parametrize("use_resource", [False, True])
def test_what_waits_for_an_update_sees_it(use_resource: bool) -> None:
    v = tf.get_variable("v", initializer=1.0, use_resource=use_resource)
    with tf.control_dependencies([v.assign_add(1.0)]):
        after = v * 10.0
    assert value_of(after) == 20.0


def test_what_is_not_initialized_is_reported() -> None:
    first = tf.Variable(1, name="first")
    tf.Variable(1, name="second")
    report = tf.report_uninitialized_variables()
    with tf.Session() as sess:
        sess.run(first.initializer)
        assert sess.run(report).tolist() == [b"second"]


def test_random_numbers_follow_the_seed() -> None:
    def draw() -> Any:
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(7)
            return sess.run([tf.random_normal([3]), tf.random_uniform([3], 2.0, 4.0)])

    first, second = draw(), draw()
    np.testing.assert_array_equal(first, second)
    assert np.all((second[1] >= 2) & (second[1] < 4))


def test_rows_of_a_divided_table() -> None:
    divide = tf.fixed_size_partitioner(2)
    table = tf.get_variable("p", initializer=[[1.0], [2.0], [3.0]], partitioner=divide)
    rows = tf.nn.embedding_lookup(table, [2, 0], partition_strategy="div")
    assert value_of(rows).tolist() == [[3.0], [1.0]]
    with pytest.raises(ValueError, match="parts only with partition_strategy='div'"):
        tf.nn.embedding_lookup(table, [0])


def test_layers() -> None:
    x = tf.placeholder(tf.float32, [None, 2, 1])
    y = tf.layers.dense(
        tf.layers.flatten(x), 3, tf.nn.relu, kernel_initializer=tf.ones_initializer()
    )
    assert [variable.op.name for variable in tf.trainable_variables()] == [
        "dense/kernel",
        "dense/bias",
    ]
    np.testing.assert_array_equal(value_of(y, {x: [[[1.0], [2.0]]]}), [[3, 3, 3]])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: tf.strided_slice([1, 2, 3, 4], [3], [0], [-2]), [4, 2]),
        (lambda: tf.constant([[1, 2], [3, 4], [5, 6]])[1:3, ::-1], [[4, 3], [6, 5]]),
        (lambda: tf.norm([[3.0, 4.0]]), 5),
        (lambda: tf.norm([[3.0, -4.0], [0.0, 2.0]], 1, axis=[0, 1]), 6),
        (lambda: tf.norm([[3.0, -4.0], [0.0, 2.0]], np.inf, axis=[0, 1]), 7),
        (lambda: tf.norm([2.0, 2.0], 3, keepdims=True), [16 ** (1 / 3)]),
        (lambda: tf.norm(tf.complex([3.0], [4.0])), 5),
        (lambda: tf.meshgrid([1, 2], [3, 4, 5])[1], [[3, 3], [4, 4], [5, 5]]),
        (lambda: tf.meshgrid([1, 2], [3, 4, 5], indexing="ij")[0], [[1, 1, 1], [2, 2, 2]]),
        (lambda: tf.sequence_mask([1, 0, 2]), [[True, False], [False, False], [True, True]]),
        (lambda: tf.sequence_mask([1, 2], 3, tf.int32), [[1, 0, 0], [1, 1, 0]]),
        (lambda: tf.losses.mean_squared_error([1.0, 2.0], [2.0, 4.0]), 2.5),
        (lambda: tf.losses.mean_squared_error([1.0, 2.0], [2.0, 4.0], [0.0, 2.0]), 8),
        (lambda: tf.losses.absolute_difference([1, 2], [2, 4], 3.0, reduction="none"), [3, 6]),
    ],
)
def test_functions_that_are_made_of_others(call: Callable[[], Any], expected: Any) -> None:
    np.testing.assert_allclose(value_of(call()), expected, rtol=1e-6)


def test_the_total_loss() -> None:
    tf.losses.mean_squared_error([1.0], [3.0])
    tf.losses.add_loss(tf.constant(1.0))
    tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, tf.constant(0.5))
    total, without = tf.losses.get_total_loss(), tf.losses.get_total_loss(False)
    assert value_of([total, without, tf.losses.get_regularization_loss()]) == [5.5, 5, 0.5]


# --------------------------------------------------------------------------- tables


def test_a_table_from_lists() -> None:
    initializer = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2], tf.string, tf.int64)
    table = tf.lookup.StaticHashTable(initializer, -1)
    got = value_of([table.lookup(tf.constant(["b", "x"])), table.size()])
    assert got[0].tolist() == [2, -1]
    assert got[1] == 2


def test_a_table_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("zero\none\n")
    table = tf.lookup.index_table_from_file(str(tmp_path / "words"))
    assert value_of(table[tf.constant(["one", "two"])]).tolist() == [1, -1]
    (path,) = tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS)
    assert value_of(path) == str(tmp_path / "words").encode()


def test_a_table_takes_its_own_keys_only() -> None:
    initializer = tf.lookup.KeyValueTensorInitializer([1, 2], [1, 2], tf.int64, tf.int64)
    table = tf.lookup.StaticHashTable(initializer, -1)
    with pytest.raises(TypeError, match="Dtype of argument `keys` must be"):
        table.lookup(tf.constant(["a"]))


# --------------------------------------------------------------------------- files


def test_gfile(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    tf.gfile.MakeDirs(folder)
    assert tf.gfile.IsDirectory(str(folder))
    path = str(folder / "x.txt")
    with tf.gfile.GFile(path, "w") as file:
        file.write("première\nsecond\n")
    with tf.gfile.Open(path) as file:
        assert list(file) == ["première\n", "second\n"]
        assert file.size() == 17
    with tf.gfile.FastGFile(path, "rb") as file:
        assert file.read(8) == "premièr".encode()
    tf.gfile.Copy(path, f"{path}.2")
    with pytest.raises(tf.errors.AlreadyExistsError, match="overwrite=True"):
        tf.gfile.Copy(path, f"{path}.2")
    tf.gfile.Rename(f"{path}.2", path, overwrite=True)
    assert tf.gfile.Glob(str(folder / "*.txt")) == [path]
    assert tf.gfile.ListDirectory(folder) == ["x.txt"]
    assert [names for _, _, names in tf.io.gfile.walk(tmp_path)] == [[], [], ["x.txt"]]
    tf.gfile.Remove(path)
    assert not tf.gfile.Exists(path)
    tf.gfile.DeleteRecursively(tmp_path / "a")
    assert not tf.gfile.Exists(str(folder))


def test_a_file_that_is_missing() -> None:
    with pytest.raises(tf.errors.NotFoundError, match="cannot open /nowhere/x"):
        tf.gfile.GFile("/nowhere/x").read()


# --------------------------------------------------------------------------- errors


def saved(directory: Path, **values: Any) -> str:
    with tf.Graph().as_default(), tf.Session() as sess:
        for name, value in values.items():
            tf.get_variable(name, initializer=value)
        sess.run(tf.global_variables_initializer())
        prefix: str = tf.train.Saver().save(sess, str(directory / "m.ckpt"))
        return prefix


def test_errors_are_caught_under_tensorflows_names(tmp_path: Path) -> None:
    prefix = saved(tmp_path, w=[1.0, 2.0])
    tf.get_variable("other", [2])
    saver = tf.train.Saver()
    with tf.Session() as sess:
        with pytest.raises(tf.errors.NotFoundError, match="other"):
            saver.restore(sess, prefix)
        with pytest.raises(tf.errors.FailedPreconditionError, match="other"):
            sess.run("other:0")
        data = Path(f"{prefix}.data-00000-of-00001")
        data.write_bytes(data.read_bytes()[::-1])
        with pytest.raises(tf.errors.DataLossError):
            tf.train.load_variable(prefix, "w")
    assert issubclass(tf.errors.DataLossError, tf.errors.OpError)


# --------------------------------------------------------------------------- init_from_checkpoint


def test_variables_begin_with_a_checkpoint(tmp_path: Path) -> None:
    prefix = saved(tmp_path, **{"a/w": [1.0, 2.0], "a/b": [3.0], "c": 4.0})
    with tf.variable_scope("mine"):
        tf.get_variable("w", [2])
        tf.get_variable("b", [1], use_resource=True)
    c = tf.get_variable("d", [])
    part = tf.get_variable("p", [2], partitioner=tf.fixed_size_partitioner(2))
    tf.train.init_from_checkpoint(prefix, {"a/": "mine/", "c": c, "a/w": "p"})
    got = value_of(["mine/w:0", "mine/b/Read/ReadVariableOp:0", "d:0", part.as_tensor()])
    for found, wanted in zip(got, ([1, 2], [3], 4, [1, 2]), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("assignment_map", "error", "message"),
    [
        ({"a/ww": "w"}, errors.TensorNotFound, "checkpoint. Did you mean 'a/w'"),
        ({"a/b": "w"}, errors.ShapeMismatch, "Shape of variable w:0 ((2,)) doesn't match"),
        ({"a/w": "ww"}, errors.GraphError, "there is no variable 'ww'"),
        ({"a": "/"}, errors.GraphError, "a scope is assigned as 'scope/': 'other_scope/'"),
        ({"b/": "/"}, errors.TensorNotFound, "Tensor b/w is not found in"),
    ],
)
def test_what_a_checkpoint_cannot_give(
    tmp_path: Path, assignment_map: dict[str, str], error: type[Exception], message: str
) -> None:
    prefix = saved(tmp_path, **{"a/w": [1.0, 2.0], "a/b": [3.0]})
    tf.get_variable("w", [2])
    with pytest.raises(error) as caught:
        tf.train.init_from_checkpoint(prefix, assignment_map)
    assert message in str(caught.value)


# --------------------------------------------------------------------------- the global step


def test_the_global_step() -> None:
    assert tf.train.get_global_step() is None
    step = tf.train.get_or_create_global_step()
    assert tf.train.get_or_create_global_step() is step
    assert tf.train.get_global_step() is step
    with pytest.raises(ValueError, match='"global_step" already exists'):
        tf.train.create_global_step()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(tf.assign_add(step, 3))
        assert tf.train.global_step(sess, step) == 3


def test_a_main_op_sets_up_variables_and_tables() -> None:
    keys, values = tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    found = table.lookup(tf.constant(["b", "c"]))
    local = tf.get_local_variable("local", initializer=[5.0])
    ready = tf.Variable([1.0], name="ready")
    restored = tf.assign(ready, [2.0])
    plain = tf.saved_model.main_op.main_op()
    restoring = tf.saved_model.main_op_with_restore(restored)
    with tf.Session() as sess:
        sess.run(plain)
        assert sess.run([ready, local]) == [[1.0], [5.0]]
        assert sess.run(found).tolist() == [2, -1]
    with tf.Session() as sess:
        sess.run(restoring)
        assert sess.run([ready, local]) == [[2.0], [5.0]]
