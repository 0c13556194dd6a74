from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph import create_op
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.session import Session
from tests.graph.both_engines import Run, check, graph_def_of, imported


@pytest.mark.parametrize("use_resource", [False, True])
def test_assignments(tf: Any, use_resource: bool) -> None:
    def build(tf1: Any) -> None:
        v = tf1.get_variable("v", initializer=[1.0, 2.0], use_resource=use_resource)
        w = tf1.get_variable("w", shape=(), dtype=tf1.int64, use_resource=use_resource)
        x = tf1.placeholder(tf1.float32, (2,), "x")
        tf1.identity(tf1.is_variable_initialized(v), "is_initialized")
        tf1.identity(tf1.assign(v, x), "assigned")
        tf1.identity(tf1.assign_add(v, x), "added")
        tf1.identity(tf1.assign_sub(v, 2 * x), "subtracted")
        tf1.identity(v, "value")
        tf1.identity(tf1.shape(v), "sizes")
        tf1.assign(w, 5)
        tf1.global_variables_initializer()

    feeds = {"x:0": [10.0, 20.0]}
    check(
        tf,
        build,
        Run(["is_initialized:0"]),
        Run(["v/Assign"]),
        Run(["is_initialized:0", "value:0", "sizes:0"]),
        Run(["added:0"], feeds),
        Run(["subtracted:0"], feeds),
        Run(["value:0"]),
        Run(["assigned:0"], feeds),
        Run(["value:0"]),
    )


@pytest.mark.parametrize("use_resource", [False, True])
def test_scattered_updates(tf: Any, use_resource: bool) -> None:
    names = ["update", "add", "sub", "mul", "div", "min", "max"]

    def build(tf1: Any) -> None:
        v = tf1.get_variable(
            "v", initializer=np.arange(8, dtype=np.float32).reshape(4, 2), use_resource=use_resource
        )
        indices = tf1.placeholder(tf1.int32, None, "indices")
        updates = tf1.placeholder(tf1.float32, None, "updates")
        for name in names:
            op = getattr(tf1, f"scatter_{name}")(v, indices, updates, name=name)
            with tf1.control_dependencies([op]):
                tf1.identity(v.read_value() if use_resource else op, f"after_{name}")
        for name in ("update", "add", "sub"):
            op = getattr(tf1, f"scatter_nd_{name}")(v, [[1, 1], [0, 0]], [5.0, 6.0])
            with tf1.control_dependencies([op]):
                tf1.identity(v.read_value() if use_resource else op, f"after_nd_{name}")
        tf1.gather(v, indices, name="gathered")
        tf1.identity(tf1.nn.embedding_lookup(v, indices), "looked_up")

    feeds = {"indices:0": [[2, 0], [2, 3]], "updates:0": np.ones((2, 2, 2)) * 3}
    scalar = {"indices:0": [2, 0, 2], "updates:0": 2.0}
    runs = [Run(["v/Assign"])]
    for name in names:
        runs += [Run([f"after_{name}:0"], feeds), Run([f"after_{name}:0"], scalar)]
    runs += [Run([f"after_nd_{name}:0"]) for name in ("update", "add", "sub")]
    runs.append(Run(["gathered:0", "looked_up:0"], feeds))
    check(tf, build, *runs)


def test_an_index_outside_of_the_variable_is_refused() -> None:
    graph = Graph()
    v = create_op(graph, "VariableV2", (), {"dtype": "float32", "shape": (3,)}, "v").outputs[0]
    init = create_op(graph, "Assign", [v, constant(graph, [1.0, 2.0, 3.0])])
    update = create_op(
        graph, "ScatterAdd", [v, constant(graph, [0, 7]), constant(graph, [1.0, 1.0])]
    )
    with Session(graph=graph) as session:
        session.run(init)
        with pytest.raises(errors.InvalidOperand, match=r"indices\[1\] = 7 is not in \[0, 3\)"):
            session.run(update)
        assert session.run(v).tolist() == [1, 2, 3]


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_value_of_another_shape_is_refused(tf: Any, use_resource: bool) -> None:
    def build(tf1: Any) -> None:
        v = tf1.get_variable("v", initializer=[1.0, 2.0], use_resource=use_resource)
        x = tf1.placeholder(tf1.float32, None, "x")
        if use_resource:
            tf1.raw_ops.AssignVariableOp(resource=v.handle, value=x, name="assign")
        else:
            tf1.raw_ops.Assign(ref=v._ref(), value=x, name="assign")

    with Session(graph=imported(graph_def_of(tf, build))) as session:
        session.run("v/Assign")
        with pytest.raises(
            errors.InvalidOperand, match=r"both tensors to match. lhs shape= \[2\] rhs shape= \[3\]"
        ):
            session.run("assign", {"x:0": [1.0, 2.0, 3.0]})


def test_a_shape_need_not_be_validated(tf: Any) -> None:
    def build(tf1: Any) -> None:
        v = tf1.Variable([1.0, 2.0], validate_shape=False, name="v", use_resource=False)
        x = tf1.placeholder(tf1.float32, None, "x")
        tf1.assign(v, x, validate_shape=False, name="assign")
        tf1.assign_add(v, x, name="add")
        tf1.assign(v, x, name="checked")

    three = {"x:0": [1.0, 2.0, 3.0]}
    check(
        tf,
        build,
        Run(["v/Assign"]),
        Run(["assign:0"], three),
        Run(["add:0"], three),
        Run(["checked:0"], three),
    )


@pytest.mark.parametrize("use_resource", [False, True])
def test_uninitialized_variables(tf: Any, use_resource: bool) -> None:
    def build(tf1: Any) -> None:
        v = tf1.get_variable("scope/v", initializer=[1.0, 2.0], use_resource=use_resource)
        tf1.identity(v * 2.0, "twice")

    with (
        Session(graph=imported(graph_def_of(tf, build))) as session,
        pytest.raises(
            errors.UninitializedVariable, match="Attempting to use uninitialized value scope/v"
        ),
    ):
        session.run("twice:0")


def test_variables_are_shared_by_container_and_name() -> None:
    graph = Graph()

    def variable(name: str, shared_name: str, container: str = "") -> Any:
        attrs = {
            "dtype": "float32",
            "shape": (),
            "shared_name": shared_name,
            "container": container,
        }
        return create_op(graph, "VariableV2", (), attrs, name).outputs[0]

    first, same = variable("first", "shared"), variable("same", "shared")
    other = variable("other", "shared", "container")
    init = create_op(graph, "Assign", [first, constant(graph, 3.0)])
    with Session(graph=graph) as session:
        session.run(init)
        assert session.run(same) == 3.0
        with pytest.raises(errors.UninitializedVariable):
            session.run(other)


def test_counters_end(tf: Any) -> None:
    def build(tf1: Any) -> None:
        v = tf1.get_variable("v", initializer=3, use_resource=False)
        tf1.count_up_to(v, 5, name="count")

    check(tf, build, Run(["v/Assign"]), Run(["count:0"]), Run(["count:0"]))
    with Session(graph=imported(graph_def_of(tf, build))) as session:
        session.run("v/Assign")
        session.run("count:0")
        session.run("count:0")
        with pytest.raises(errors.LimitReached, match="Reached limit of 5"):
            session.run("count:0")


OPTIMIZERS = {
    "descent": lambda tf1: tf1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda tf1: tf1.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda tf1: tf1.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda tf1: tf1.train.AdamOptimizer(0.1),
    "adagrad": lambda tf1: tf1.train.AdagradOptimizer(0.1),
    "rmsprop": lambda tf1: tf1.train.RMSPropOptimizer(0.1, momentum=0.5),
}


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_steps_of_optimizers(tf: Any, name: str, use_resource: bool) -> None:
    def build(tf1: Any) -> None:
        v = tf1.get_variable("v", initializer=[1.0, -2.0], use_resource=use_resource)
        gradient = tf1.placeholder(tf1.float32, (2,), "gradient")
        optimizer = OPTIMIZERS[name](tf1)
        tf1.group(optimizer.apply_gradients([(gradient, v)]), name="step")
        tf1.identity(v, "value")
        tf1.global_variables_initializer()

    runs = [Run(["init"])]
    for gradient in ([0.5, 1.0], [-1.0, 2.0], [3.0, 0.0]):
        runs += [Run(["step"], {"gradient:0": gradient}), Run(["value:0"])]
    check(tf, build, *runs)
