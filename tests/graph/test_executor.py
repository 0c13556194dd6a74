from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph import create_op
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.session import Session
from tests.graph.both_engines import Run, check, graph_def_of, imported


def cond_in_while(tf1: Any) -> None:
    limit = tf1.placeholder(tf1.int32, (), "limit")

    def body(i: Any, total: Any) -> Any:
        term = tf1.cond(tf1.equal(i % 2, 0), lambda: i * 10, lambda: -i)
        return i + 1, total + term

    i, total = tf1.while_loop(lambda i, _: i < limit, body, [0, 0])
    tf1.identity(i, "i")
    tf1.identity(total, "total")


def nested_while(tf1: Any) -> None:
    limit = tf1.placeholder(tf1.int32, (), "limit")

    def body(i: Any, rows: Any) -> Any:
        _, row = tf1.while_loop(
            lambda j, _: j < i, lambda j, row: (j + 1, row + j * limit), [0, tf1.zeros((), "int32")]
        )
        return i + 1, rows + row

    i, rows = tf1.while_loop(lambda i, _: i < limit, body, [0, 0])
    tf1.identity(i, "i")
    tf1.identity(rows, "total")


def while_in_cond(tf1: Any) -> None:
    limit = tf1.placeholder(tf1.int32, (), "limit")

    def loop() -> Any:
        return tf1.while_loop(lambda i: i < limit, lambda i: i + 3, [0])

    total = tf1.cond(limit > 2, loop, lambda: tf1.constant(-1))
    tf1.identity(total, "total")
    tf1.identity(limit, "i")


@pytest.mark.parametrize("limit", [0, 1, 2, 7])
@pytest.mark.parametrize("control_flow_v2", [False, True])
@pytest.mark.parametrize("build", [cond_in_while, nested_while, while_in_cond])
def test_loops_and_conditions(tf: Any, build: Any, control_flow_v2: bool, limit: int) -> None:
    run = Run(["i:0", "total:0"], {"limit:0": limit})
    check(tf, build, run, run, control_flow_v2=control_flow_v2)


def test_only_the_taken_branch_has_effects(tf: Any) -> None:
    def build(tf1: Any) -> None:
        flag = tf1.placeholder(tf1.bool, (), "flag")
        v = tf1.get_variable("v", initializer=1.0, use_resource=False)
        w = tf1.get_variable("w", initializer=1.0, use_resource=True)

        def yes() -> Any:
            with tf1.control_dependencies([tf1.assign_add(v, 10.0)]):
                return tf1.constant(1.0)

        def no() -> Any:
            with tf1.control_dependencies([tf1.assign_add(w, 100.0)]):
                return tf1.constant(2.0)

        tf1.identity(tf1.cond(flag, yes, no), "out")
        tf1.identity(v, "v_value")
        tf1.identity(w.read_value(), "w_value")
        tf1.global_variables_initializer()

    state = Run(["v_value:0", "w_value:0"])
    check(
        tf,
        build,
        Run(["init"]),
        Run(["out:0"], {"flag:0": True}),
        state,
        Run(["out:0"], {"flag:0": False}),
        state,
    )


def test_dynamic_rnn(tf: Any) -> None:
    def build(tf1: Any) -> None:
        inputs = tf1.placeholder(tf1.float32, (None, 4, 3), "inputs")
        weights = tf1.constant(np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32).T)
        steps = tf1.TensorArray(tf1.float32, 4).unstack(tf1.transpose(inputs, (1, 0, 2)))
        out = tf1.TensorArray(tf1.float32, 4)

        def body(t: Any, state: Any, out: Any) -> Any:
            state = tf1.tanh(tf1.matmul(steps.read(t), weights) + 0.5 * state)
            return t + 1, state, out.write(t, state)

        start = tf1.zeros((tf1.shape(inputs)[0], 5))
        _, state, out = tf1.while_loop(lambda t, *_: t < 4, body, [0, start, out])
        tf1.identity(out.stack(), "outputs")
        tf1.identity(state, "state")

    feeds = {"inputs:0": np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)}
    for control_flow_v2 in (False, True):
        run = Run(["outputs:0", "state:0"], feeds)
        check(tf, build, run, control_flow_v2=control_flow_v2)


def test_functions_of_tensorflow_2(tf: Any) -> None:
    @tf.function  # type: ignore[untyped-decorator]
    def inner(x: Any, n: Any) -> Any:
        return tf.switch_case(n, [lambda: x + 1.0, lambda: x * x, lambda: -x])

    @tf.function  # type: ignore[untyped-decorator]
    def outer(x: Any, n: Any) -> Any:
        for _ in tf.range(n):
            x = inner(x, n) + 1.0
        return x, {"half": x / 2.0}

    def build(tf1: Any) -> None:
        x = tf1.placeholder(tf1.float32, (None,), "x")
        n = tf1.placeholder(tf1.int32, (), "n")
        full, rest = outer(x, n)
        tf1.identity(full, "full")
        tf1.identity(rest["half"], "half")

    for n in (0, 1, 2, 3):
        check(
            tf,
            build,
            Run(["full:0", "half:0"], {"x:0": [1.0, -2.0], "n:0": n}),
            control_flow_v2=True,
        )


def test_a_graph_may_be_deep() -> None:
    graph = Graph()
    value = constant(graph, 1.0)
    for _ in range(5_000):
        value = create_op(graph, "Neg", [value]).outputs[0]
    with Session(graph=graph) as session:
        assert session.run(value) == 1.0


def test_only_what_is_needed_runs() -> None:
    graph = Graph()
    x = create_op(graph, "Placeholder", (), {"dtype": "float32"}, "x").outputs[0]
    y = create_op(graph, "Neg", [x]).outputs[0]
    z = create_op(graph, "Neg", [y]).outputs[0]
    with Session(graph=graph) as session:
        # What is fed hides what would compute it.
        assert session.run(z, {y: 3.0}) == -3.0
        with pytest.raises(
            errors.InvalidOperand, match="You must feed a value for placeholder tensor 'x' with"
        ) as caught:
            session.run(z)
        assert (caught.value.node, caught.value.op_type) == ("x", "Placeholder")


def test_a_failure_names_its_operation(tf: Any) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder(tf1.float32, None, "x")
        tf1.matmul(x, x, name="product")

    with Session(graph=imported(graph_def_of(tf, build))) as session:
        with pytest.raises(errors.ExecutionFailed, match="MatMulV2 operation 'product'") as caught:
            session.run("product:0", {"x:0": np.zeros((2, 3), np.float32)})
        assert caught.value.__cause__ is not None


def test_an_operation_without_a_kernel_is_named_before_anything_runs() -> None:
    graph = Graph()
    variable = create_op(graph, "VariableV2", (), {"dtype": "float32", "shape": ()}, "v").outputs[0]
    assign = create_op(graph, "Assign", [variable, constant(graph, 1.0)])
    reader = create_op(graph, "TFRecordReaderV2", (), {}, "reader")
    unknown = create_op(graph, "FakeParam", (), {"dtype": "float32", "shape": ()}, "unknown")
    with Session(graph=graph) as session:
        with pytest.raises(errors.KernelNotFound, match="'FakeParam', needed for node 'unknown'"):
            session.run([assign, unknown])
        with pytest.raises(errors.OpRefused, match="TFRecordReaderV2 operation 'reader'"):
            session.run([assign, reader])
        with pytest.raises(errors.UninitializedVariable):
            session.run(variable)


FUNCTION = """
library { function {
  signature { name: "again" input_arg { name: "x" type: DT_FLOAT }
              output_arg { name: "y" type: DT_FLOAT } }
  node_def { name: "call" op: "PartitionedCall" input: "x"
             attr { key: "Tin" value { list { type: DT_FLOAT } } }
             attr { key: "Tout" value { list { type: DT_FLOAT } } }
             attr { key: "f" value { func { name: "again" } } } }
  ret { key: "y" value: "call:output:0" } } }
node { name: "x" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "value" value { tensor { dtype: DT_FLOAT float_val: 1 tensor_shape {} } } } }
node { name: "direct" op: "again" input: "x" }
"""


def parsed(text: str) -> GraphDef:
    from google.protobuf import text_format

    return text_format.Parse(text, GraphDef())


def test_functions_that_call_themselves_end() -> None:
    graph = Graph()
    import_graph_def(parsed(FUNCTION), name="", graph=graph)
    with Session(graph=graph) as session, pytest.raises(errors.ExecutionFailed, match="at most 64"):
        session.run("direct:0")


@pytest.mark.parametrize(
    ("replace", "by", "message"),
    [
        ('"call:output:0"', '"call:output:1"', "names no tensor"),
        ('"call:output:0"', '"call:result:0"', "names no tensor"),
        ('"call:output:0"', '"nobody:output:0"', "no node of it"),
        ('op: "PartitionedCall" input: "x"', 'op: "PartitionedCall" input: "z"', "no node of it"),
        ('op: "PartitionedCall" input: "x"', 'op: "Nonsense" input: "x"', "not known"),
        ('op: "PartitionedCall" input: "x"', 'op: "PartitionedCall"', "takes 1 inputs, found 0"),
        ('key: "y" value: "call', 'key: "z" value: "call', "its output 'y'"),
        ('func { name: "again" }', 'func { name: "other" }', "no function 'other'"),
    ],
)
def test_unsound_functions_are_refused(replace: str, by: str, message: str) -> None:
    graph = Graph()
    text = FUNCTION.replace(replace, by)
    assert text != FUNCTION
    import_graph_def(parsed(text), name="", graph=graph)
    with Session(graph=graph) as session, pytest.raises(errors.CheckpointError, match=message):
        session.run("direct:0")


LOOP = """
node { name: "zero" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
       attr { key: "value" value { tensor { dtype: DT_INT32 int_val: 0 tensor_shape {} } } } }
node { name: "enter" op: "Enter" input: "zero" attr { key: "T" value { type: DT_INT32 } }
       attr { key: "frame_name" value { s: "loop" } } }
node { name: "mixed" op: "Add" input: "enter" input: "zero"
       attr { key: "T" value { type: DT_INT32 } } }
node { name: "exit" op: "Exit" input: "zero" attr { key: "T" value { type: DT_INT32 } } }
node { name: "again" op: "NextIteration" input: "zero" attr { key: "T" value { type: DT_INT32 } } }
"""


@pytest.mark.parametrize(
    ("fetch", "message"),
    [("mixed:0", "different frames"), ("exit:0", "in no loop"), ("again:0", "in no loop")],
)
def test_loops_that_are_none_are_refused(fetch: str, message: str) -> None:
    graph = Graph()
    import_graph_def(parsed(LOOP), name="", graph=graph)
    with Session(graph=graph) as session, pytest.raises(errors.InvalidGraph, match=message):
        session.run(fetch)


def test_loops_may_not_be_nested_without_limit() -> None:
    text = LOOP.partition('node { name: "mixed"')[0]
    for depth in range(40):
        before = "enter" if not depth else f"enter_{depth}"
        text += (
            f'node {{ name: "enter_{depth + 1}" op: "Enter" input: "{before}" '
            f'attr {{ key: "T" value {{ type: DT_INT32 }} }} '
            f'attr {{ key: "frame_name" value {{ s: "loop{depth}" }} }} }}\n'
        )
    graph = Graph()
    import_graph_def(parsed(text), name="", graph=graph)
    with Session(graph=graph) as session, pytest.raises(errors.InvalidGraph, match="nested more"):
        session.run("enter_40:0")
