"""Variables: the operations that TensorFlow makes for the same program, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.variable_pb2 import VariableDef
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.partitioned_variables import slices
from ckptmgr.graph.variables import RefVariable, ResourceVariable, Variable
from tests.graph.engines import OURS, described

Program = Callable[[Any, bool], Any]


def plain(v1: Any, use_resource: bool) -> None:
    v1.Variable([1.0, 2.0], name="v", use_resource=use_resource)
    v1.Variable(3, name="v", use_resource=use_resource, trainable=False)
    v1.Variable(["a", "b"], use_resource=use_resource)
    v1.Variable(v1.constant(2.0, name="start"), name="t", use_resource=use_resource)


def initializers(v1: Any, use_resource: bool) -> None:
    get = v1.get_variable
    options = {"use_resource": use_resource}
    get("zeros", [3], initializer=v1.zeros_initializer(), **options)
    get("many_zeros", [2000], initializer=v1.zeros_initializer(), **options)
    get("ones", [2, 3], initializer=v1.ones_initializer(), **options)
    get("many_ones", [40, 50], initializer=v1.ones_initializer(), **options)
    get("constant", [3], initializer=v1.constant_initializer(2.5), **options)
    get("ints", [2], dtype=np.int64, **options)
    get("flags", [2], dtype=np.bool_, **options)
    get("uniform", [3], initializer=v1.random_uniform_initializer(-1.0, 2.0, seed=5), **options)
    get("normal", [3], initializer=v1.random_normal_initializer(1.0, 2.0), **options)
    get("truncated", [3], initializer=v1.truncated_normal_initializer(stddev=0.1), **options)
    get("default", [3, 4], **options)
    get("default64", [5, 3, 3, 4], dtype=np.float64, **options)
    get("glorot", [3, 4], initializer=v1.glorot_normal_initializer(seed=1), **options)
    get(
        "scaled",
        [3, 4],
        initializer=v1.variance_scaling_initializer(2.0, "fan_in", "untruncated_normal"),
        **options,
    )
    get("whole", [3], initializer=v1.random_uniform_initializer(0, 9), dtype=np.int32, **options)
    get("value", initializer=[1.0, 2.0], **options)
    get("function", initializer=lambda: v1.constant([4.0]), **options)


def scopes(v1: Any, use_resource: bool) -> None:
    with v1.variable_scope("a", use_resource=use_resource) as scope:
        v1.get_variable("w", [2])
        with v1.variable_scope("b"), v1.name_scope("n"):
            v1.get_variable("w", [2])
            v1.Variable(1.0, name="raw", use_resource=use_resource)
    with v1.variable_scope("a", reuse=True, use_resource=use_resource):
        v1.get_variable("w", [2])
        v1.constant(1.0, name="in_a_again")
    with v1.variable_scope(scope, reuse=v1.AUTO_REUSE):
        v1.get_variable("w", [2])
        v1.get_variable("x", [2], initializer=v1.zeros_initializer())
    for _ in range(2):
        with v1.variable_scope(None, default_name="layer", use_resource=use_resource):
            v1.get_variable("w", [2])
    with v1.variable_scope(scope, auxiliary_name_scope=False):
        v1.constant(1.0, name="outside")


def partitioned(v1: Any, use_resource: bool) -> None:
    options = {"use_resource": use_resource}
    with v1.variable_scope("p", partitioner=v1.fixed_size_partitioner(3), **options):
        whole = v1.get_variable("w", [7, 2])
    whole.as_tensor()
    v1.get_variable(
        "by_value",
        initializer=v1.constant(np.arange(6, dtype=np.float32).reshape(2, 3)),
        partitioner=v1.fixed_size_partitioner(2, axis=1),
        **options,
    ).as_tensor()
    one = v1.get_variable("one", [4], partitioner=v1.fixed_size_partitioner(1), **options)
    one.as_tensor()


def changes(v1: Any, use_resource: bool) -> None:
    v = v1.Variable([1.0, 2.0], name="v", use_resource=use_resource)
    with v1.name_scope("use"):
        v.assign([3.0, 4.0])
        v.assign_add([1.0, 1.0], use_locking=True)
        v.assign_sub([1.0, 1.0], name="less")
        v.assign([1.0, 1.0], read_value=False)
        v.read_value()
        v.value()


def initialization(v1: Any, use_resource: bool) -> None:
    with v1.device("/cpu:0"):
        v1.Variable(1.0, name="v", use_resource=use_resource)
    with v1.control_dependencies([v1.constant(1.0)]):
        v1.Variable(1.0, name="waits_for_nothing", use_resource=use_resource)
    v1.global_variables_initializer()


def depending(v1: Any, use_resource: bool) -> None:
    first = v1.Variable([1.0, 2.0], name="first", use_resource=use_resource)
    value = first.read_value()
    v1.Variable(value, name="second", use_resource=False)
    v1.Variable(value, name="third", use_resource=True)


PROGRAMS = [depending, plain, initializers, scopes, partitioned, changes, initialization]


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_operations_are_those_of_tensorflow(tf: Any, program: Program, use_resource: bool) -> None:
    tf.compat.v1.disable_control_flow_v2()  # as in a program without TensorFlow 2's behavior
    with tf.Graph().as_default() as theirs:
        program(tf.compat.v1, use_resource)
    with Graph().as_default() as ours:
        program(OURS, use_resource)
    assert described(ours) == described(theirs)
    for key in ("variables", "trainable_variables"):
        with theirs.as_default():
            expected = [v.to_proto().SerializeToString() for v in theirs.get_collection(key)]
        found = [v.to_proto() for v in ours.get_collection(key)]
        assert found == [VariableDef.FromString(data) for data in expected]


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
def test_a_variable_depends_on_one_without_a_value(use_resource: bool) -> None:
    with Graph().as_default():
        first = Variable([1.0, 2.0], use_resource=use_resource)
        second = Variable(first.initialized_value(), use_resource=False)
        read = Variable(first.read_value(), use_resource=False) if not use_resource else second
        init = OURS.global_variables_initializer()
        with OURS.Session() as session:
            session.run([second.initializer, read.initializer])
            np.testing.assert_array_equal(session.run(second), [1.0, 2.0])
            np.testing.assert_array_equal(session.run(read), [1.0, 2.0])
            assert not session.run(first.is_initialized())
            session.run(init)
            np.testing.assert_array_equal(session.run(first), [1.0, 2.0])


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
def test_values_in_a_session(use_resource: bool) -> None:
    with Graph().as_default():
        v = Variable([1.0, 2.0], use_resource=use_resource)
        added = v.assign_add([1.0, 1.0])
        with OURS.Session() as session:
            with pytest.raises(errors.UninitializedVariable, match="Variable"):
                v.eval()
            session.run(v.initializer)
            np.testing.assert_array_equal(session.run(added), [2.0, 3.0])
            v.load([5.0, 6.0])
            np.testing.assert_array_equal(v.eval(session), [5.0, 6.0])
            np.testing.assert_array_equal(session.run(v.assign([7.0, 8.0])), [7.0, 8.0])


def test_kinds() -> None:
    with Graph().as_default():
        assert isinstance(Variable(1.0), RefVariable)
        assert isinstance(Variable(1.0, use_resource=True), ResourceVariable)
        assert Variable(1.0).dtype.name == "float32_ref"
        assert Variable(1.0, use_resource=True).dtype.name == "float32"


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (Variable, ValueError, "initial_value must be specified"),
    (lambda: Variable(1.0, collections="variables"), ValueError, "must be a list"),
    (lambda: OURS.get_variable("w"), ValueError, "did not get an initializer"),
    (lambda: OURS.get_variable("w", [None, 2]), ValueError, "must be fully defined"),
    (lambda: OURS.get_variable("w", [2], initializer=[1.0]), ValueError, "do not specify shape"),
    (lambda: OURS.get_variable("w", [2], dtype="complex64"), ValueError, "An initializer"),
]


@pytest.mark.parametrize(("make", "kind", "text"), REFUSED)
def test_refused(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with Graph().as_default(), pytest.raises(kind, match=text):
        make()


def test_reuse_is_checked() -> None:
    with Graph().as_default():
        OURS.get_variable("w", [2])
        with pytest.raises(ValueError, match="Variable w already exists, disallowed"):
            OURS.get_variable("w", [2])
        with OURS.variable_scope("", reuse=True):
            with pytest.raises(ValueError, match="specified shape"):
                OURS.get_variable("w", [3])
            with pytest.raises(ValueError, match="specified dtype"):
                OURS.get_variable("w", [2], dtype="int32")
            with pytest.raises(ValueError, match="does not exist"):
                OURS.get_variable("missing", [2])


@pytest.mark.parametrize(
    ("shape", "partitions", "expected"),
    [
        ((7, 2), [3, 1], [([0, 0], [3, 2]), ([3, 0], [2, 2]), ([5, 0], [2, 2])]),
        ((4,), [1], [([0], [4])]),
        ((2, 3), [1, 2], [([0, 0], [2, 2]), ([0, 2], [2, 1])]),
    ],
)
def test_slices(shape: Any, partitions: Any, expected: Any) -> None:
    assert list(slices(shape, partitions)) == expected


@pytest.mark.parametrize("partitions", [[2, 2], [1], [0, 1], [9, 1]])
def test_slices_that_cannot_be(partitions: Any) -> None:
    with pytest.raises(errors.GraphError):
        list(slices((4, 4), partitions))


@pytest.mark.parametrize(
    "make",
    [
        lambda v1: v1.fixed_size_partitioner(3),
        lambda v1: v1.fixed_size_partitioner(100, axis=1),
        lambda v1: v1.variable_axis_size_partitioner(64),
        lambda v1: v1.variable_axis_size_partitioner(1),
        lambda v1: v1.variable_axis_size_partitioner(100, axis=1, max_shards=2),
        lambda v1: v1.min_max_variable_partitioner(4, min_slice_size=100),
        lambda v1: v1.min_max_variable_partitioner(40, axis=1, min_slice_size=10),
    ],
)
@pytest.mark.parametrize("shape", [(10, 4), (3, 3), (1, 50)])
def test_partitioners_divide_as_tensorflow_does(tf: Any, make: Any, shape: Any) -> None:
    theirs = make(tf.compat.v1)(shape=tf.TensorShape(shape), dtype=tf.float32)
    assert list(make(OURS)(shape=shape, dtype="float32")) == list(theirs)


def test_messages_keep_everything() -> None:
    with Graph().as_default() as graph:
        with graph.name_scope("outer"):
            v = Variable([1.0, 2.0], name="v")
        v._set_save_slice_info(Variable.SaveSliceInfo("outer/whole", [4], [2], [2]))
        message = v.to_proto()
        assert message is not None
        again = Variable.from_proto(message)
        assert again.to_proto() == message
        assert again.op is v.op
        inner = v.to_proto(export_scope="outer")
        assert inner is not None
        assert inner.variable_name == "v:0"
        assert inner.save_slice_info_def.full_name == "whole"
        assert Variable.from_proto(inner, import_scope="outer").to_proto() == message
        assert v.to_proto(export_scope="elsewhere") is None
