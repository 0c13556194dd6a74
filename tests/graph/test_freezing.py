"""Freezing: the graphs that TensorFlow makes of the same ones, and the same numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph.freezing import (
    convert_variables_to_constants,
    extract_sub_graph,
    freeze_checkpoint,
    remove_training_nodes,
)
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def, read_graph_def
from ckptmgr.graph.meta_graph import read_meta_graph_file
from ckptmgr.graph.saver_meta_graphs import import_meta_graph
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable


def without_shapes(graph_def: GraphDef) -> GraphDef:
    for node in graph_def.node:
        node.attr.pop("_output_shapes", None)
    return graph_def


def test_a_session_is_frozen_as_tensorflow_does(golden: Path) -> None:
    wanted = read_graph_def(golden / "graphs/frozen.pb")
    with Graph().as_default() as graph:
        saver = import_meta_graph(golden / "graphs/model.meta")
        assert saver is not None
        with Session() as session:
            saver.restore(session, str(golden / "graphs/ema.ckpt"))
            frozen = convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
    assert frozen.node == wanted.node
    assert frozen.versions == wanted.versions
    assert read_graph_def(golden / "graphs/frozen.pbtxt").node == wanted.node


def test_a_checkpoint_is_frozen_without_a_session(golden: Path) -> None:
    meta_graph = read_meta_graph_file(golden / "graphs/model.meta")
    wanted = read_graph_def(golden / "graphs/frozen.pb")
    prefix = str(golden / "graphs/ema.ckpt")
    for saver_def in (meta_graph.saver_def, None):
        frozen = freeze_checkpoint(meta_graph.graph_def, prefix, ["y"], saver_def=saver_def)
        assert without_shapes(frozen).node == wanted.node


def test_chosen_variables(golden: Path) -> None:
    graph_def = read_meta_graph_file(golden / "graphs/model.meta").graph_def
    prefix = str(golden / "graphs/ema.ckpt")
    choices: list[dict[str, Any]] = [
        {"variable_names_whitelist": ["w"]},
        {"variable_names_blacklist": ["r"]},
    ]
    for options in choices:
        frozen = freeze_checkpoint(graph_def, prefix, ["y"], **options)
        types = {node.name: node.op for node in frozen.node}
        assert (types["w"], types["r"]) == ("Const", "VarHandleOp")
        assert types["add/ReadVariableOp"] == "ReadVariableOp"


# --------------------------------------------------------------------------- with TensorFlow


def plain(v1: Any, tf: Any, x: Any) -> Any:
    w = v1.get_variable("w", initializer=tf.constant([[1.0, 2.0], [3.0, 4.0]]), use_resource=False)
    b = v1.get_variable("b", initializer=tf.constant([0.5, -0.5]), use_resource=True)
    return tf.matmul(x, w) + b


def gathered(v1: Any, tf: Any, x: Any) -> Any:
    table = v1.get_variable("t", initializer=tf.reshape(tf.range(12.0), [6, 2]), use_resource=True)
    rows = tf.cast(x[:, 0], tf.int32)
    pairs = tf.constant([[0, 1], [2, 0]])
    return tf.gather(table, rows) + tf.gather_nd(table, pairs)[:1]


def called(v1: Any, tf: Any, x: Any) -> Any:
    w = v1.get_variable("w", initializer=tf.constant([[1.0, 2.0], [3.0, 4.0]]), use_resource=True)

    inner = tf.function(lambda value: tf.matmul(value, w), autograph=False)
    outer = tf.function(lambda value: inner(value) + tf.reduce_sum(w), autograph=False)

    return outer(x) + inner(2.0 * x)


def conditional(v1: Any, tf: Any, x: Any) -> Any:
    w = v1.get_variable("w", initializer=tf.constant([1.0, 2.0]), use_resource=True)
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * w, lambda: x - w)


def looped(v1: Any, tf: Any, x: Any) -> Any:
    w = v1.get_variable("w", initializer=tf.constant([1.0, 2.0]), use_resource=True)
    result = tf.while_loop(
        lambda i, _: i < 3, lambda i, value: (i + 1, value * w + 1.0), (tf.constant(0), x)
    )
    return result[1]


def switched(v1: Any, tf: Any, x: Any) -> Any:
    case = v1.get_variable("w", initializer=tf.constant([1.0, 2.0]), use_resource=True)
    number = tf.cast(tf.reduce_sum(x), tf.int32)
    return tf.switch_case(number, [lambda: x + case, lambda: x * case, lambda: x - case])


PROGRAMS = [plain, gathered, called, conditional, looped, switched]


@pytest.mark.parametrize("control_flow_v2", [True, False], ids=["functions", "switches"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_frozen_graphs_compute_the_same(
    tf: Any, tmp_path: Path, program: Callable[..., Any], control_flow_v2: bool
) -> None:
    v1 = tf.compat.v1
    x = np.array([[1.0, 1.0], [2.0, -2.0]], np.float32)
    change = v1.enable_control_flow_v2 if control_flow_v2 else v1.disable_control_flow_v2
    change()
    try:
        with tf.Graph().as_default() as graph, v1.Session() as session:
            given = v1.placeholder(tf.float32, [None, 2], name="x")
            tf.identity(program(v1, tf, given), name="y")
            saver, init = v1.train.Saver(), v1.global_variables_initializer()
            session.run(init)
            prefix = saver.save(session, str(tmp_path / "m"))
            wanted = session.run("y:0", {"x:0": x})
            theirs = _frozen_by_tensorflow(tf, session, graph)
    finally:
        v1.disable_control_flow_v2()
    meta_graph = read_meta_graph_file(f"{prefix}.meta")
    frozen = freeze_checkpoint(meta_graph.graph_def, prefix, ["y"], saver_def=meta_graph.saver_def)
    used = {node.op for nodes in _bodies(frozen) for node in nodes}
    assert not used & {"VarHandleOp", "VariableV2", "ReadVariableOp", "ResourceGather"}
    assert {node.name: node.op for node in frozen.node} == {
        node.name: node.op for node in theirs.node
    }
    with tf.Graph().as_default(), v1.Session() as session:
        v1.import_graph_def(v1.GraphDef.FromString(frozen.SerializeToString()), name="")
        np.testing.assert_allclose(session.run("y:0", {"x:0": x}), wanted)
    ours = Graph()
    import_graph_def(frozen, name="", graph=ours)
    with Session(graph=ours) as ours_session:
        np.testing.assert_allclose(ours_session.run("y:0", {"x:0": x}), wanted, rtol=1e-6)


def _bodies(graph_def: GraphDef) -> list[Any]:
    return [graph_def.node, *(function.node_def for function in graph_def.library.function)]


def _frozen_by_tensorflow(tf: Any, session: Any, graph: Any) -> GraphDef:
    frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
        session, graph.as_graph_def(), ["y"]
    )
    return GraphDef.FromString(frozen.SerializeToString())


def test_training_nodes_are_removed_as_tensorflow_does(tf: Any) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2], name="x")
        a = tf.identity(tf.identity(x, name="first"), name="second")
        with tf.control_dependencies([a]):
            b = tf.identity(a, name="waits")
        c = tf.stop_gradient(b * 2.0, name="stopped")
        with v1.colocate_with(tf.identity(c, name="beside")):
            d = tf.identity(c, name="placed")
        checked = tf.debugging.check_numerics(d, "numbers", name="checked")
        tf.identity(d + 1.0, name="y")
        del checked
        graph_def = graph.as_graph_def()
        for protected in ([], ["second", "y"]):
            theirs = v1.graph_util.remove_training_nodes(graph_def, protected)
            ours = remove_training_nodes(
                GraphDef.FromString(graph_def.SerializeToString()), protected
            )
            assert ours.node == GraphDef.FromString(theirs.SerializeToString()).node


def test_a_long_chain_that_many_nodes_take() -> None:
    chain = "".join(
        f'node {{ name: "i{n}" op: "Identity" input: "i{n - 1}" }}' for n in range(1, 4000)
    )
    takers = "".join(f'node {{ name: "t{n}" op: "Neg" input: "i3999" }}' for n in range(4000))
    began_secs = time.thread_time()
    left = remove_training_nodes(_parsed(f'node {{ name: "i0" op: "Abs" }} {chain} {takers}'))
    assert {text for node in left.node for text in node.input} == {"i0"}
    assert time.thread_time() - began_secs < 5


def test_sub_graphs_are_those_of_tensorflow(tf: Any, golden: Path) -> None:
    graph_def = read_graph_def(golden / "graphs/graph.pb")
    v1 = tf.compat.v1
    whole = v1.GraphDef.FromString(graph_def.SerializeToString())
    for outputs in (["y"], ["init"], ["MatMul", "r/Assign"]):
        theirs = v1.graph_util.extract_sub_graph(whole, outputs)
        ours = extract_sub_graph(graph_def, outputs)
        assert ours == GraphDef.FromString(theirs.SerializeToString())


# --------------------------------------------------------------------------- refused


def _parsed(text: str) -> GraphDef:
    return text_format.Parse(text, GraphDef())


_VARIABLE = 'node { name: "v" op: "VarHandleOp" attr { key: "dtype" value { type: DT_FLOAT } } }'

REFUSED: list[tuple[str, type[Exception], str]] = [
    ("", errors.NodeNotFound, "y is not in graph"),
    (
        _VARIABLE + 'node { name: "y" op: "AssignVariableOp" input: "v" }',
        errors.InvalidGraph,
        r"'y' \(AssignVariableOp\) takes a variable that is to be frozen",
    ),
    (
        _VARIABLE.replace("VarHandleOp", "VariableV2")
        + 'node { name: "y" op: "AssignAdd" input: "v:0" }',
        errors.InvalidGraph,
        r"'y' \(AssignAdd\) takes a variable that is to be frozen",
    ),
    (
        _VARIABLE + 'node { name: "y" op: "PartitionedCall" input: "v" attr { key: "f" '
        'value { func { name: "gone" } } } attr { key: "Tin" value { list { type: 20 } } } }',
        errors.InvalidGraph,
        "calls function 'gone'",
    ),
    (
        _VARIABLE + 'node { name: "y" op: "ResourceGather" input: "v" input: "v" '
        'attr { key: "batch_dims" value { i: 1 } } }',
        errors.InvalidGraph,
        "batch_dims must be 0",
    ),
    ('node { name: "y" op: "VariableV2" }', errors.TensorNotFound, "no value for variable 'y'"),
    (
        'node { name: "v" op: "VariableV2" attr { key: "dtype" value { type: 999 } } }',
        errors.UnsupportedDtype,
        "unknown_999",
    ),
    (_VARIABLE.replace("DT_FLOAT", "DT_RESOURCE"), errors.UnsupportedDtype, "resource"),
    (
        _VARIABLE.replace("DT_FLOAT", "DT_INT32"),
        errors.DtypeMismatch,
        "variable 'v' is int32, its value float32",
    ),
    (
        _VARIABLE + 'node { name: "y" op: "ResourceGather" input: "v" input: "v" '
        'attr { key: "Tindices" value { type: DT_STRING } } }',
        errors.InvalidGraph,
        "indices of node 'y' must be int32 or int64, found string",
    ),
    (
        _VARIABLE + 'node { name: "y" op: "If" input: "v" }',
        errors.InvalidGraph,
        r"'y' \(If\) takes a variable that is to be frozen",
    ),
    (
        _VARIABLE + 'node { name: "y" op: "PartitionedCall" input: "v" attr { key: "f" '
        'value { func { name: "f" } } } } library { function { signature { name: "f" '
        'input_arg { name: "a" type: DT_RESOURCE } } } }',
        errors.InvalidGraph,
        r"attribute 'Tin' of node 'y' \(PartitionedCall\) names 0 dtypes",
    ),
]


@pytest.mark.parametrize(("text", "kind", "problem"), REFUSED)
def test_refused(text: str, kind: type[Exception], problem: str) -> None:
    graph_def = _parsed(text)
    last = graph_def.node[-1].name if graph_def.node else "y"
    with pytest.raises(kind, match=problem):
        convert_variables_to_constants({"v": np.float32(1.0)}, graph_def, [last])


def test_a_gather_from_nothing_is_left_as_it_is() -> None:
    graph_def = _parsed('node { name: "y" op: "ResourceGather" }')
    assert convert_variables_to_constants({}, graph_def, ["y"]).node == graph_def.node


@pytest.mark.parametrize("value", [2.0, [2.0], np.float32(2.0)])
def test_values_of_python_have_the_dtype_of_the_variable(value: Any) -> None:
    frozen = convert_variables_to_constants({"v": value}, _parsed(_VARIABLE), ["v"])
    assert frozen.node[0].attr["value"].tensor.float_val == [2.0]


def _calling(name: str, variable: str, function: str) -> str:
    return (
        f'{{ name: "{name}" op: "PartitionedCall" input: "{variable}" attr {{ key: "f" value {{ '
        f'func {{ name: "{function}" }} }} }} attr {{ key: "Tin" value {{ list {{ type: DT_RESOURCE'
        f" }} }} }} }}"
    )


def test_functions_that_are_cloned_in_another_order_than_they_are_found_in() -> None:
    functions = "".join(
        f'function {{ signature {{ name: "f{n}" input_arg {{ name: "a" type: DT_RESOURCE }} }} '
        f"node_def {_calling('c', 'a', f'f{n + 1}')} }}"
        for n in range(400)
    )
    # What w leads to is found first, each within the depth that is allowed; v leads to all of it.
    firsts = "".join(f"node {_calling(f'w{n}', 'w', f'f{n}')}" for n in range(320, -1, -80))
    variables = _VARIABLE + _VARIABLE.replace('"v"', '"w"')
    graph_def = _parsed(
        f"{variables} node {_calling('y', 'v', 'f0')} {firsts}"
        f'library {{ {functions} function {{ signature {{ name: "f400" input_arg {{ name: "a" '
        f"type: DT_RESOURCE }} }} }} }}"
    )
    values = {"v": np.float32(1.0), "w": np.float32(1.0)}
    names = [node.name for node in graph_def.node]
    with pytest.raises(errors.InvalidGraph, match="is called more than 100 deep"):
        convert_variables_to_constants(values, graph_def, names)


def test_functions_that_call_each_other_without_end() -> None:
    call = (
        'node_def { name: "c" op: "PartitionedCall" input: "a" attr { key: "f" value { func { '
        'name: "f" } } } attr { key: "Tin" value { list { type: DT_RESOURCE } } } } '
        'ret { key: "o" value: "c:output:0" }'
    )
    graph_def = _parsed(
        _VARIABLE + 'node { name: "y" op: "PartitionedCall" input: "v" attr { key: "f" value { '
        'func { name: "f" } } } attr { key: "Tin" value { list { type: DT_RESOURCE } } } '
        'attr { key: "Tout" value { list { type: DT_FLOAT } } } } library { function { '
        'signature { name: "f" input_arg { name: "a" type: DT_RESOURCE } output_arg { name: "o" '
        "type: DT_FLOAT } } " + call + " } }"
    )
    frozen = convert_variables_to_constants({"v": np.float32(1.0)}, graph_def, ["y"])
    assert [function.signature.name for function in frozen.library.function] == ["f_frozen_0"]


def test_a_variable_that_nothing_reads_yet_is_frozen() -> None:
    with Graph().as_default() as graph:
        Variable(2.0, name="v", use_resource=True)
        handle = graph.get_tensor_by_name("v:0")
        graph.create_op("ReadVariableOp", [handle], {"dtype": "float32"}, "y")
        with Session() as session:
            session.run(graph.get_operation_by_name("v/Assign"))
            frozen = convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
    assert [node.op for node in frozen.node] == ["Const", "Identity"]


def test_functions_that_are_called_with_arguments_in_any_order() -> None:
    """Each calls the next twice, once with two arguments exchanged: 2**14 ways to call the last."""
    depth = 14
    names = [f"a{n}" for n in range(2 * depth)]
    arguments = "".join(f'input_arg {{ name: "{name}" type: DT_RESOURCE }} ' for name in names)

    def call(name: str, inputs: list[str], function: str) -> str:
        taken = " ".join(f'input: "{text}"' for text in inputs)
        types = "type: DT_RESOURCE " * len(inputs)
        return (
            f'{{ name: "{name}" op: "PartitionedCall" {taken} attr {{ key: "f" value {{ func {{ '
            f'name: "{function}" }} }} }} attr {{ key: "Tin" value {{ list {{ {types} }} }} }} }}'
        )

    functions = ""
    for level in range(depth):
        other = list(names)
        other[2 * level : 2 * level + 2] = reversed(other[2 * level : 2 * level + 2])
        calls = [call("c", names, f"f{level + 1}"), call("d", other, f"f{level + 1}")]
        body = "".join(f"node_def {text} " for text in calls)
        functions += f'function {{ signature {{ name: "f{level}" {arguments} }} {body} }} '
    functions += f'function {{ signature {{ name: "f{depth}" {arguments} }} }}'
    not_frozen = """node { name: "w" op: "Placeholder"
      attr { key: "dtype" value { type: DT_RESOURCE } } }"""
    graph_def = _parsed(
        f"{_VARIABLE} {not_frozen} node {call('y', ['v', 'w'] * depth, 'f0')} "
        f"library {{ {functions} }}"
    )
    with pytest.raises(errors.InvalidGraph, match="called in more than 10000 ways"):
        convert_variables_to_constants({"v": np.float32(1.0)}, graph_def, ["y"])
