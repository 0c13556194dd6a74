"""Building a graph: the same script in TensorFlow and here gives the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph import Graph, GraphKeys, create_op, get_default_graph, reset_default_graph
from ckptmgr.graph.construction import constant
from ckptmgr.graph.devices import DeviceSpec


class Builder(Protocol):
    """What the scripts need, over either engine."""

    graph: Any

    def const(self, name: str) -> Any: ...
    def identity(self, tensor: Any, name: str) -> Any: ...
    def add(self, first: Any, second: Any, name: str | None = None) -> Any: ...
    def no_op(self, name: str) -> Any: ...
    def scope(self, name: str | None) -> AbstractContextManager[str]: ...


class Ours:
    def __init__(self) -> None:
        self.graph = Graph()

    def const(self, name: str) -> Any:
        return constant(self.graph, 1.0, name=name)

    def identity(self, tensor: Any, name: str) -> Any:
        return create_op(self.graph, "Identity", [tensor], name=name).outputs[0]

    def add(self, first: Any, second: Any, name: str | None = None) -> Any:
        return create_op(self.graph, "AddV2", [first, second], name=name).outputs[0]

    def no_op(self, name: str) -> Any:
        return create_op(self.graph, "NoOp", name=name)

    def scope(self, name: str | None) -> AbstractContextManager[str]:
        return self.graph.name_scope(name)


class Theirs:
    def __init__(self, tf: Any) -> None:
        self._tf = tf
        self.graph = tf.Graph()

    def const(self, name: str) -> Any:
        return self._tf.compat.v1.constant(1.0, name=name)

    def identity(self, tensor: Any, name: str) -> Any:
        return self._tf.raw_ops.Identity(input=tensor, name=name)

    def add(self, first: Any, second: Any, name: str | None = None) -> Any:
        return self._tf.raw_ops.AddV2(x=first, y=second, name=name)

    def no_op(self, name: str) -> Any:
        return self._tf.raw_ops.NoOp(name=name)

    def scope(self, name: str | None) -> AbstractContextManager[str]:
        return self.graph.name_scope(name)  # type: ignore[no-any-return]


def names(b: Builder) -> None:
    a = b.const("a")
    b.const("a")
    b.const("A")
    b.const("a_1")
    b.const("a_1_1")
    b.const("a")
    b.add(a, a)
    b.add(a, a)
    with b.scope("s") as s:
        b.const("a")
        with b.scope("t"):
            b.const("_under")
            b.const("a")
            with b.scope(None):
                b.const("root")
            with b.scope(s):
                b.const("back")
        b.add(a, a, s)
    with b.scope("s"):
        b.const("a")
    with b.scope("s/"):
        b.const("a")
    with b.scope("S"):
        b.const("x")
    b.no_op("s")
    with b.scope("p/q"):
        b.no_op("x/y")
        b.no_op("x/y")
    with b.scope("p"):
        b.no_op("q")
    b.no_op("with/slash/")
    b.no_op("a-b.c>d\\e")


def control(b: Builder) -> None:
    a, c = b.const("a"), b.const("c")
    n = b.no_op("n")
    g = b.graph
    with g.control_dependencies([a]):
        b.identity(a, "has_it_as_input")
        inside = b.identity(c, "i")
        b.identity(inside, "dominated")
        with g.control_dependencies([n, a, a.op]):
            b.no_op("two")
            b.identity(inside, "dominated_by_the_outer")
        with g.control_dependencies(None):
            b.no_op("none")
            with g.control_dependencies([c]):
                b.no_op("only_c")
        b.no_op("outer_again")
    with g.control_dependencies([n, c, a]):
        b.no_op("sorted")
    with g.control_dependencies([]):
        b.no_op("free")


def devices(b: Builder) -> None:
    g = b.graph
    b.no_op("none")
    with g.device("/cpu:0"):
        b.no_op("cpu")
        with g.device("/job:ps/task:1"):
            b.no_op("merged")
            with g.device("/gpu:2"):
                b.no_op("inner_first")
            with g.device(""):
                b.no_op("empty")
            with g.device(None):
                b.no_op("cleared")
                with g.device("/job:w"):
                    b.no_op("after_cleared")
    with g.device(lambda op: "/device:CPU:1" if op.type == "NoOp" else "/device:GPU:0"):
        b.no_op("by_function")
        b.const("c_by_function")
        with g.device("/job:x"):
            b.no_op("function_around")
    with g.device("/device:GPU:*"):
        b.no_op("any")


def colocation(b: Builder) -> None:
    g = b.graph
    with g.device("/job:ps"):
        a = b.const("a")
    c = b.const("c")
    with g.colocate_with(a):
        b.no_op("with_a")
        with g.colocate_with(c.op):
            d = b.const("with_both")
            with g.device("/gpu:0"):
                b.no_op("device_loses")
        with g.colocate_with(c, ignore_existing=True):
            b.no_op("with_c")
        with g.colocate_with(None, ignore_existing=True):
            b.no_op("with_none")
    with g.device("/cpu:0"), g.colocate_with(c):
        b.no_op("forgets_device")
    with g.colocate_with(d):
        b.no_op("group_of_d")


SCRIPTS: list[Callable[[Builder], None]] = [names, control, devices, colocation]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_gives_tensorflows_bytes(tf: Any, script: Callable[[Builder], None]) -> None:
    ours, theirs = Ours(), Theirs(tf)
    script(ours)
    with theirs.graph.as_default():
        script(theirs)
    mine, expected = ours.graph.as_graph_def(), theirs.graph.as_graph_def()
    assert [node.name for node in mine.node] == [node.name for node in expected.node]
    for my_node, their_node in zip(mine.node, expected.node, strict=True):
        assert str(my_node) == str(their_node)
    assert mine.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    ("wanted", "is_root"),
    [
        ("_a", True),
        ("_a", False),
        ("-a", True),
        ("a b", False),
        ("a:0", True),
        ("/a", True),
        ("/a", False),
        ("a\n", True),
        ("ä", False),
        (">x", True),
    ],
)
def test_scopes_that_tensorflow_refuses(tf: Any, wanted: str, is_root: bool) -> None:
    def enter(graph: Any) -> bool:
        try:
            if is_root:
                with graph.name_scope(wanted):
                    pass
            else:
                with graph.name_scope("outer"), graph.name_scope(wanted):
                    pass
        except ValueError:
            return False
        return True

    # TensorFlow's pattern lets one newline pass at the end, which no file format needs.
    assert enter(Graph()) is (enter(tf.Graph()) and "\n" not in wanted)


@pytest.mark.parametrize("name", ["_a", "a b", "a:0", "^a", "ä", "a\n"])
def test_operation_names_that_are_refused(name: str) -> None:
    graph = Graph()
    with pytest.raises(errors.GraphError, match="is not a valid node name"):
        create_op(graph, "NoOp", name=name)
    assert graph.version == 0


def test_a_scope_ends_even_if_the_block_raises() -> None:
    graph = Graph()
    with pytest.raises(RuntimeError), graph.name_scope("a"), graph.device("/cpu:0"):
        raise RuntimeError
    assert graph.get_name_scope() == ""
    assert create_op(graph, "NoOp").device == ""


# --------------------------------------------------------------------------- asking


@pytest.fixture
def graph() -> Graph:
    graph = Graph()
    split = create_op(
        graph,
        "Split",
        [constant(graph, 0, name="axis"), constant(graph, [1.0, 2.0], name="value")],
        {"num_split": 2},
        name="split",
    )
    assert len(split.outputs) == 2
    return graph


def test_elements_by_name(graph: Graph) -> None:
    split = graph.get_operation_by_name("split")
    assert graph.get_tensor_by_name("split:1") is split.outputs[1]
    assert graph.as_graph_element(b"split") is split
    assert graph.as_graph_element("split:0") is split.outputs[0]
    assert graph.as_graph_element(split) is split
    assert split.outputs[1].name == "split:1"
    assert split.values() == tuple(split.outputs)
    assert split.inputs[1].consumers() == [split]
    assert [op.name for op in graph.get_operations()] == ["axis", "value", "split"]


@pytest.mark.parametrize(
    ("ask", "argument"),
    [
        ("get_operation_by_name", "nothing"),
        ("get_operation_by_name", "split:0"),
        ("get_operation_by_name", 3),
        ("get_tensor_by_name", "split"),
        ("get_tensor_by_name", "nothing"),
        ("get_tensor_by_name", "nothing:0"),
        ("get_tensor_by_name", "split:2"),
        ("get_tensor_by_name", "split:x"),
        ("get_tensor_by_name", "split:0:0"),
        ("get_tensor_by_name", None),
        ("as_graph_element", "nothing"),
        ("as_graph_element", 1.5),
        ("as_graph_element", "split:"),
    ],
)
def test_questions_fail_with_what_tensorflow_raises(
    tf: Any, graph: Graph, ask: str, argument: Any
) -> None:
    theirs = tf.Graph()
    with theirs.as_default():
        tf.raw_ops.Split(axis=0, value=[1.0, 2.0], num_split=2, name="split")
    with pytest.raises(Exception) as expected:  # noqa: PT011
        getattr(theirs, ask)(argument)
    with pytest.raises(errors.GraphError) as raised:
        getattr(graph, ask)(argument)
    # An absent operation, where "x:0" was meant, is a KeyError in both.
    assert isinstance(raised.value, type(expected.value))


def test_the_message_for_a_missing_tensor(graph: Graph) -> None:
    with pytest.raises(KeyError) as raised:
        graph.get_tensor_by_name("splitt:0")
    assert str(raised.value) == (
        "The name 'splitt:0' refers to a Tensor which does not exist. The operation, 'splitt', "
        "does not exist in the graph. Did you mean 'split'?"
    )


def test_an_element_of_another_graph_is_refused(graph: Graph) -> None:
    other = constant(Graph(), 1.0)
    with pytest.raises(errors.GraphError, match="is not an element of this graph"):
        graph.as_graph_element(other)
    with pytest.raises(errors.GraphError, match="from a different graph"):
        create_op(graph, "Identity", [other])


def test_what_stands_for_an_element_is_one(graph: Graph) -> None:
    class Holder:
        def _as_graph_element(self) -> Any:
            return graph.get_tensor_by_name("value:0")

    assert graph.as_graph_element(Holder()) is graph.get_tensor_by_name("value:0")
    with graph.control_dependencies([Holder()]):
        assert create_op(graph, "NoOp").control_inputs == [graph.get_operation_by_name("value")]


def test_a_tensor_is_a_symbol_and_no_value(graph: Graph) -> None:
    tensor = graph.get_tensor_by_name("value:0")
    for use in (bool, list, np.array, np.asarray):
        with pytest.raises(TypeError, match="symbol of the graph"):
            use(tensor)
    assert str(tensor) == 'Tensor("value:0", shape=(2,), dtype=float32)'
    assert repr(tensor.op) == "<tf.Operation 'value' type=Const>"


# --------------------------------------------------------------------------- state


def test_collections() -> None:
    graph = Graph()
    first, second = constant(graph, 1.0, name="a/x"), constant(graph, 2.0, name="b/x")
    graph.add_to_collection(GraphKeys.LOSSES, first)
    graph.add_to_collections([GraphKeys.LOSSES, "mine", "mine"], second)
    graph.add_to_collections("mine", 3)
    assert graph.get_collection("losses") == [first, second]
    assert graph.get_collection("losses", scope="a/") == [first]
    assert graph.get_collection("mine", scope="b") == [second]
    assert graph.get_collection("none") == []
    graph.get_collection("losses").clear()
    assert len(graph.get_collection("losses")) == 2
    graph.get_collection_ref("losses").clear()
    assert graph.get_collection("losses") == []
    graph.add_to_collection(("not", "text"), 1)
    assert sorted(graph.get_all_collection_keys()) == ["losses", "mine"]
    graph.clear_collection("mine")
    assert graph.collections == ["losses", ("not", "text")]


def test_keys_are_tensorflows(tf: Any) -> None:
    theirs = {
        key: value
        for key, value in vars(tf.compat.v1.GraphKeys).items()
        if key.isupper() and not key.startswith("_") and isinstance(value, str)
    }
    assert len(theirs) > 25
    for key, value in theirs.items():
        assert getattr(GraphKeys, key) == value


def test_a_finalized_graph_does_not_change() -> None:
    graph = Graph()
    graph.finalize()
    assert graph.finalized
    with pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified."):
        create_op(graph, "NoOp")
    with pytest.raises(errors.GraphFinalized):
        graph.add_to_collection("a", 1)


def test_feeding_and_fetching_can_be_prevented() -> None:
    graph = Graph()
    tensor = constant(graph, 1.0)
    assert graph.is_feedable(tensor)
    assert graph.is_fetchable(tensor)
    graph.prevent_feeding(tensor)
    graph.prevent_fetching(tensor.op)
    assert not graph.is_feedable(tensor)
    assert not graph.is_fetchable(tensor)


def test_a_container_is_written_into_stateful_operations() -> None:
    graph = Graph()
    with graph.container("c"):
        variable = create_op(graph, "VariableV2", (), {"dtype": "float32", "shape": ()})
        create_op(graph, "NoOp")
    assert variable.get_attr("container") == b"c"


def test_the_default_graph_is_the_threads_own() -> None:
    reset_default_graph()
    first = get_default_graph()
    assert get_default_graph() is first
    inner = Graph()
    found: Sequence[Any] = []
    with inner.as_default():
        assert get_default_graph() is inner
        thread = threading.Thread(target=lambda: found.append(get_default_graph()))  # type: ignore[attr-defined]
        thread.start()
        thread.join()
        with pytest.raises(errors.GraphError, match="reset_default_graph"):
            reset_default_graph()
    assert found[0] not in (first, inner)
    assert get_default_graph() is first
    reset_default_graph()
    assert get_default_graph() is not first


def test_specs_and_objects_that_write_themselves_are_devices() -> None:
    class Spec:
        def to_string(self) -> str:
            return "/device:GPU:1"

    graph = Graph()
    with graph.device(DeviceSpec(job="a")), graph.device(Spec()):
        assert create_op(graph, "NoOp").device == "/job:a/device:GPU:1"
    with pytest.raises(errors.GraphTypeError, match="a device is a string"), graph.device(3):
        pass
