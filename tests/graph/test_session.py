from __future__ import annotations

import collections
import dataclasses
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph import create_op
from ckptmgr.graph.bodies import GraphBody
from ckptmgr.graph.construction import constant
from ckptmgr.graph.fetches import register_session_run_conversion_functions
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.session import (
    InteractiveSession,
    Session,
    evaluate,
    get_default_session,
    run_operation,
)
from ckptmgr.graph.variables import Variable
from tests.graph.both_engines import compare

Pair = collections.namedtuple("Pair", "a b")


@dataclasses.dataclass
class Both:
    a: Any
    b: Any


def placeholder(graph: Graph, dtype: str, shape: Any = None, name: str = "x") -> Tensor:
    attrs = {"dtype": dtype, "shape": shape}
    return create_op(graph, "Placeholder", (), attrs, name).outputs[0]


def variable(graph: Graph, name: str, shape: Any = ()) -> Tensor:
    attrs = {"dtype": "float32", "shape": shape}
    return create_op(graph, "VariableV2", (), attrs, name).outputs[0]


@pytest.fixture
def graph() -> Graph:
    graph = Graph()
    constant(graph, 1.0, name="a")
    constant(graph, [b"x", b"y"], name="b")
    constant(graph, b"z", name="s")
    create_op(graph, "NoOp", (), {}, "nothing")
    return graph


def test_fetches_keep_their_structure(graph: Graph) -> None:
    a, b = graph.get_tensor_by_name("a:0"), "b:0"
    with Session(graph=graph) as session:
        result = session.run(
            {"list": [a, "nothing"], "pair": Pair(a, (b,)), "both": Both(a, b), "none": []}
        )
        assert session.run("s:0") == b"z"
        assert type(session.run(a)) is np.float32
        assert session.run(graph.get_operation_by_name("nothing")) is None
    assert result["list"] == [1.0, None]
    assert type(result["pair"]) is Pair
    assert result["pair"].a == 1.0
    assert result["pair"].b[0].tolist() == [b"x", b"y"]
    assert type(result["both"]) is Both
    assert result["none"] == []
    ordered = collections.OrderedDict([("z", "a:0"), ("a", "a:0")])
    with Session(graph=graph) as session:
        assert list(session.run(ordered)) == ["z", "a"]


class Triple:
    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts


class Stand:
    def __init__(self, element: Any) -> None:
        self._element = element

    def _as_graph_element(self) -> Any:
        return self._element


def test_types_of_a_user_are_fetched_and_fed(graph: Graph) -> None:
    register_session_run_conversion_functions(
        Triple,
        lambda triple: (triple.parts, sum),
        lambda triple, value: zip(triple.parts, value, strict=True),
    )
    x, y = placeholder(graph, "float32"), placeholder(graph, "float32", name="y")
    triple = Triple(x, y)
    with Session(graph=graph) as session:
        assert session.run(triple, {triple: (1.0, 2.0)}) == 3.0
        assert session.run(Stand(x), {Stand(x): 5.0}) == 5.0
        assert session.run([x, y], {(x, y): (5.0, 6.0)}) == [5.0, 6.0]


BAD_FETCHES: list[tuple[Any, str]] = [
    (None, "Cannot be None"),
    (3, "must be a string or Tensor"),
    ("missing:0", "cannot be interpreted as a Tensor"),
    ("a:1", "cannot be interpreted as a Tensor"),
]


@pytest.mark.parametrize(("fetch", "message"), BAD_FETCHES)
def test_bad_fetches_are_refused_as_in_tensorflow(
    tf: Any, graph: Graph, fetch: Any, message: str
) -> None:
    with tf.Graph().as_default() as theirs:
        tf.constant(1.0, name="a")
    with (
        tf.compat.v1.Session(graph=theirs) as session,
        pytest.raises((TypeError, ValueError), match=message) as wanted,
    ):
        session.run(fetch)
    with Session(graph=graph) as ours, pytest.raises(errors.GraphError, match=message) as found:
        ours.run(fetch)
    assert isinstance(found.value, wanted.type)


BAD_FEEDS: list[tuple[Any, Any, str]] = [
    ("x:0", [[1.0]], r"Cannot feed value of shape \(1, 1\) for Tensor x:0, which has shape \(2,\)"),
    ("x:0", ["a", "b"], "could not convert"),
    ("i:0", 2**40, "is not compatible with Tensor type"),
    ("b:0", 2, "is not compatible with Tensor type"),
    ("missing:0", 1.0, "Cannot interpret feed_dict key as Tensor"),
    (None, 1.0, "Cannot interpret feed_dict key as Tensor"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_FEEDS)
def test_bad_feeds_are_refused_as_in_tensorflow(
    tf: Any, key: Any, value: Any, message: str
) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default() as theirs:
        tf1.placeholder(tf.float32, (2,), "x")
        tf1.placeholder(tf.int32, (), "i")
        tf1.placeholder(tf.bool, (), "b")
    with (
        tf1.Session(graph=theirs) as session,
        pytest.raises((TypeError, ValueError), match=message) as wanted,
    ):
        session.run("x:0", {key: value})
    ours = Graph()
    placeholder(ours, "float32", (2,))
    placeholder(ours, "int32", (), "i")
    placeholder(ours, "bool", (), "b")
    with Session(graph=ours) as session, pytest.raises(errors.GraphError, match=message) as found:
        session.run("x:0", {key: value})
    assert isinstance(found.value, wanted.type)


def test_tensors_are_no_values(graph: Graph) -> None:
    x = placeholder(graph, "float32")
    with (
        Session(graph=graph) as session,
        pytest.raises(TypeError, match="The value of a feed cannot be a tf.Tensor object"),
    ):
        session.run(x, {x: x})


def test_what_a_graph_protects_is_not_fed_nor_fetched(graph: Graph) -> None:
    x = placeholder(graph, "float32")
    graph.prevent_feeding(x)
    graph.prevent_fetching(graph.get_operation_by_name("nothing"))
    with Session(graph=graph) as session:
        with pytest.raises(ValueError, match="Tensor x:0 may not be fed."):
            session.run(x, {x: 1.0})
        with pytest.raises(ValueError, match="marked as not fetchable"):
            session.run("nothing")


def test_feeds_get_the_dtype_of_their_tensor(graph: Graph) -> None:
    x, s = placeholder(graph, "bfloat16"), placeholder(graph, "string", name="text")
    with Session(graph=graph) as session:
        value, texts = session.run([x, s], {x: [1, 2.5], s: [["ä", b"b"]]})
    assert value.dtype.name == "bfloat16"
    assert texts.tolist() == [["ä".encode(), b"b"]]


def test_arrays_of_the_user_and_of_the_session_are_not_the_same(graph: Graph) -> None:
    x = placeholder(graph, "float32", (2,))
    v = variable(graph, "v", (2,))
    assign = create_op(graph, "Assign", [v, x]).outputs[0]
    same = create_op(graph, "Reshape", [v, constant(graph, [2, 1])]).outputs[0]
    fed = np.array([1, 2], np.float32)
    with Session(graph=graph) as session:
        given, reshaped = session.run([assign, same], {x: fed})
        fed[:] = given[:] = reshaped[:] = 7
        again = session.run(v)
        again[:] = 8
        assert session.run(v).tolist() == [1, 2]
        # A constant is not the user's to change either.
        session.run("b:0")[0] = b"changed"
        assert session.run("b:0").tolist() == [b"x", b"y"]


def test_callables(graph: Graph) -> None:
    x = placeholder(graph, "float32")
    y = create_op(graph, "Neg", [x]).outputs[0]
    with Session(graph=graph) as session:
        negate = session.make_callable({"y": y}, [x])
        assert negate(2.0) == {"y": -2.0}
        with pytest.raises(errors.InvalidArgument, match="takes 1 values, found 0"):
            negate()


def test_default_sessions_and_graphs(graph: Graph) -> None:
    a = graph.get_tensor_by_name("a:0")
    assert get_default_session() is None
    with pytest.raises(ValueError, match="No default session is registered"):
        evaluate(a)
    with Session(graph=graph) as session:
        assert get_default_session() is session
        assert get_default_graph() is graph
        assert evaluate(a) == 1.0
        run_operation(graph.get_operation_by_name("nothing"))
        other = Session(graph=Graph())
        with other.as_default():
            assert get_default_graph() is graph
            with pytest.raises(ValueError, match="graph is different from the session's"):
                evaluate(a)
            assert evaluate(a, session=session) == 1.0
    assert get_default_session() is None
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        session.run(a)
    with pytest.raises(RuntimeError, match="The Session graph is empty"):
        Session(graph=Graph()).run([])


def test_interactive_sessions(graph: Graph) -> None:
    session = InteractiveSession(graph=graph)
    try:
        assert evaluate(graph.get_tensor_by_name("a:0")) == 1.0
        assert get_default_graph() is graph
    finally:
        session.close()
    assert get_default_session() is None


def test_each_session_has_variables_of_its_own(graph: Graph) -> None:
    v = variable(graph, "v")
    assign = create_op(graph, "Assign", [v, constant(graph, 3.0)])
    with Session(graph=graph) as one, Session(graph=graph) as other:
        one.run(assign)
        assert one.run(v) == 3.0
        with pytest.raises(
            errors.UninitializedVariable, match="Attempting to use uninitialized value v"
        ):
            other.run(v)


def test_a_graph_may_grow_between_runs(graph: Graph) -> None:
    v = variable(graph, "v")
    with Session(graph=graph) as session:
        session.run(create_op(graph, "Assign", [v, constant(graph, 3.0)]))
        for _ in range(300):
            assert session.run(create_op(graph, "AssignAdd", [v, constant(graph, 1.0)])) is None
        assert session.run(v) == 303.0


def test_several_threads_may_run(graph: Graph) -> None:
    x = placeholder(graph, "float32", (1000,))
    y = create_op(graph, "Mul", [x, x]).outputs[0]
    failures: list[float] = []
    with Session(graph=graph) as session:

        def work(number: int) -> None:
            for _ in range(50):
                result = session.run(y, {x: np.full(1000, number, np.float32)})
                if not (result == number * number).all():
                    failures.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def scattered(v: Any) -> Operation:
    inputs = [v.handle, constant(v.graph, [0]), constant(v.graph, [1.0])]
    return create_op(v.graph, "ResourceScatterAdd", inputs, {"dtype": v.dtype})


def descended(v: Any) -> Operation:
    inputs = [v.handle, constant(v.graph, 1.0), constant(v.graph, [-1.0])]
    return create_op(v.graph, "ResourceApplyGradientDescent", inputs)


def counted(v: Any) -> Operation:
    return create_op(v.graph, "ResourceCountUpTo", [v.handle], {"limit": 1000, "T": v.dtype})


@pytest.mark.parametrize(
    ("initial", "change"),
    [
        ([0.0], lambda v: v.assign_add([1.0], read_value=False)),
        ([0.0], scattered),
        ([0.0], descended),
        (0, counted),
    ],
)
def test_of_changes_that_threads_make_at_once_none_gets_lost(
    graph: Graph, initial: Any, change: Callable[[Any], Any]
) -> None:
    interval_secs = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with graph.as_default(), Session() as session, ThreadPoolExecutor(4) as threads:
            v = Variable(initial, use_resource=True)
            op = change(v)
            session.run(v.initializer)
            list(threads.map(lambda _: session.run(op), range(800)))
            assert np.ravel(session.run(v)).tolist() == [800]
    finally:
        sys.setswitchinterval(interval_secs)


def test_threads_that_need_a_node_at_once_get_the_same(graph: Graph) -> None:
    """With two nodes for it in one plan, an operation would run twice."""
    meeting = threading.Barrier(2)

    class Together(GraphBody):
        def _place(self, operation: Operation) -> int:
            meeting.wait(timeout=10)
            return super()._place(operation)

    body = Together(graph)
    operation = graph.get_operation_by_name("nothing")
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(body.node, [operation] * 2)
    assert first is second is body.node(operation)


def test_tensorflow_as_the_engine(tf: Any, graph: Graph) -> None:
    x = placeholder(graph, "float32", (2,))
    v = variable(graph, "v", (2,))
    assign = create_op(graph, "Assign", [v, x]).outputs[0]
    with Session(graph=graph, engine="tensorflow") as session:
        with pytest.raises(errors.UninitializedVariable, match="uninitialized value v"):
            session.run(v)
        assert session.run(assign, {x: [1, 2]}).tolist() == [1, 2]
        # Operations that come later see the same variable.
        with graph.control_dependencies([assign]):
            twice = create_op(graph, "Add", [v, v]).outputs[0]
        compare(
            [session.run(twice, {x: [1, 2]}), session.run("s:0"), session.run("nothing")],
            [np.array([2, 4], np.float32), b"z", None],
        )


def test_engines_have_names() -> None:
    with pytest.raises(errors.InvalidArgument, match="engine must be 'numpy' or 'tensorflow'"):
        Session(graph=Graph(), engine="torch")
