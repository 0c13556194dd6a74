"""Graphs as messages and files: TensorFlow's come in, ours go out, wrong ones are refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.op_def_pb2 import OpList
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import Graph, create_op, import_graph_def, read_graph_def, write_graph
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph_def import decode_graph_def

# --------------------------------------------------------------------------- golden graphs


def _meta(path: Path) -> GraphDef:
    return MetaGraphDef.FromString(path.read_bytes()).graph_def


def _text_meta(path: Path) -> GraphDef:
    return text_format.Parse(path.read_text(), MetaGraphDef()).graph_def


def _saved_model(path: Path, index: int = 0) -> GraphDef:
    return SavedModel.FromString(path.read_bytes()).meta_graphs[index].graph_def


GOLDEN: dict[str, Callable[[Path], GraphDef]] = {
    "model.meta": lambda golden: _meta(golden / "graphs" / "model.meta"),
    "cleared.meta.txt": lambda golden: _text_meta(golden / "graphs" / "cleared.meta.txt"),
    "ema": lambda golden: _meta(golden / "graphs" / "ema.ckpt.meta"),
    "graph.pb": lambda golden: read_graph_def(golden / "graphs" / "graph.pb"),
    "graph.pbtxt": lambda golden: read_graph_def(golden / "graphs" / "graph.pbtxt"),
    "frozen.pb": lambda golden: read_graph_def(golden / "graphs" / "frozen.pb"),
    "saver": lambda golden: _meta(golden / "v2_saver" / "model.ckpt-5.meta"),
    "stripped": lambda golden: _meta(golden / "v2_saver" / "rel-00000007.mg"),
    "simple": lambda golden: _saved_model(golden / "saved_model_tf1/simple/saved_model.pb"),
    "serve": lambda golden: _saved_model(golden / "saved_model_tf1/export/saved_model.pb"),
    "train": lambda golden: _saved_model(golden / "saved_model_tf1/export/saved_model.pb", 1),
    "module": lambda golden: _saved_model(golden / "saved_model_tf2/module/saved_model.pb"),
    "keras": lambda golden: _saved_model(golden / "saved_model_tf2/keras_export/saved_model.pb"),
    "keras 2": lambda golden: _saved_model(golden / "keras_legacy/saved_model/saved_model.pb"),
}


def _their_import(tf: Any, graph_def: GraphDef, **options: Any) -> Any:
    theirs = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(theirs, **options)
    return graph


def _bytes_and_library(graph_def: Any) -> tuple[bytes, dict[str, bytes]]:
    """TensorFlow keeps a library in the order of a hash table."""
    library = {
        function.signature.name: function.SerializeToString(deterministic=True)
        for function in graph_def.library.function
    }
    without = type(graph_def)()
    without.CopyFrom(graph_def)
    without.ClearField("library")
    return without.SerializeToString(deterministic=True), library


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("states_shapes", [True, False], ids=["as it is", "without shapes"])
def test_an_import_is_tensorflows_import(
    tf: Any, golden: Path, name: str, states_shapes: bool
) -> None:
    graph_def = GOLDEN[name](golden)
    if not states_shapes:
        for node in graph_def.node:
            node.attr.pop("_output_shapes", None)
    theirs = _their_import(tf, graph_def, name="")
    ours = Graph()
    import_graph_def(graph_def, name="", graph=ours)
    assert _bytes_and_library(ours.as_graph_def()) == _bytes_and_library(theirs.as_graph_def())
    for op in theirs.get_operations():
        for tensor in op.outputs:
            expected = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
            found = ours.get_tensor_by_name(tensor.name)
            assert found.dtype.name == tensor.dtype.name
            if op.type in ("PartitionedCall", "StatefulPartitionedCall") and not states_shapes:
                continue  # the bodies of functions are not looked into
            assert found.partial_shape == expected, (tensor.name, op.type)


@pytest.mark.parametrize("name", ["model.meta", "ema", "saver"])
def test_what_is_exported_with_shapes_is_the_golden_graph(golden: Path, name: str) -> None:
    graph_def = GOLDEN[name](golden)
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    exported = graph.as_graph_def(add_shapes=True)
    assert exported.SerializeToString(deterministic=True) == graph_def.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_a_scope_is_tensorflows(tf: Any, golden: Path, name: str) -> None:
    graph_def = GOLDEN[name](golden)
    theirs = _their_import(tf, graph_def)
    ours = Graph()
    import_graph_def(graph_def, graph=ours)
    assert _bytes_and_library(ours.as_graph_def()) == _bytes_and_library(theirs.as_graph_def())


# --------------------------------------------------------------------------- options of an import


def _small() -> GraphDef:
    graph = Graph()
    a = constant(graph, 1.0, name="a")
    b = constant(graph, 2.0, name="b")
    with graph.control_dependencies([a]):
        total = create_op(graph, "AddV2", [b, b], name="total").outputs[0]
    create_op(graph, "Neg", [total], name="neg")
    return graph.as_graph_def()


def test_names_in_an_import_do_not_clash(tf: Any) -> None:
    graph_def = _small()
    theirs = tf.Graph()
    ours = Graph()
    their_def = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
    with theirs.as_default():
        for name in ("", "", None, None, "s", "s", "s/"):
            tf.import_graph_def(their_def, name=name)
        tf.no_op("neg")
    for name in ("", "", None, None, "s", "s", "s/"):
        import_graph_def(graph_def, name=name, graph=ours)
    create_op(ours, "NoOp", name="neg")
    assert str(ours.as_graph_def()) == str(theirs.as_graph_def())


def test_inputs_are_mapped_and_elements_returned(tf: Any) -> None:
    graph_def = _small()
    theirs, ours = tf.Graph(), Graph()
    with theirs.as_default():
        other = tf.constant(5.0, name="other")
        expected = tf.import_graph_def(
            tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString()),
            input_map={"b:0": other, "^a": other},
            return_elements=["total", "neg:0", "b:0", "b"],
            name="in",
        )
    mine = constant(ours, 5.0, name="other")
    found = import_graph_def(
        graph_def,
        input_map={"b:0": mine, "^a": mine},
        return_elements=["total", "neg:0", "b:0", "b"],
        name="in",
        graph=ours,
    )
    assert found is not None
    assert [item.name for item in found] == [item.name for item in expected]
    assert found[2] is mine
    assert str(ours.as_graph_def()) == str(theirs.as_graph_def())


def test_an_import_goes_into_the_default_graph_within_its_scope_and_device() -> None:
    graph = Graph()
    with graph.as_default(), graph.name_scope("outer"), graph.device("/cpu:0"):
        import_graph_def(_small())
    assert graph.get_operation_by_name("outer/import/neg").device == "/device:CPU:0"
    assert graph.get_operation_by_name("outer/import/total").control_inputs == [
        graph.get_operation_by_name("outer/import/a")
    ]


def test_versions_are_combined(tf: Any) -> None:
    first, second = GraphDef(), GraphDef()
    first.versions.producer, second.versions.producer = 100, 21
    second.versions.min_consumer = 12
    second.versions.bad_consumers.append(7)
    for graph_def in (first, second):
        graph_def.node.add(name="x", op="NoOp")
    theirs, ours = tf.Graph(), Graph()
    for graph_def in (first, second):
        with theirs.as_default():
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString()))
        import_graph_def(graph_def, graph=ours)
        assert str(ours.versions) == str(theirs.as_graph_def().versions)


def test_attributes_of_a_later_writer_that_are_not_used_are_left_out(tf: Any) -> None:
    graph_def = _small()
    node = graph_def.node[3]
    node.attr["new"].i = 3
    producer = OpList()
    definition = producer.op.add(name="Neg").attr.add(name="new", type="int")
    definition.default_value.i = 3
    graph = Graph()
    import_graph_def(graph_def, name="", producer_op_list=producer, graph=graph)
    assert not graph.get_operation_by_name("neg").has_attr("new")
    node.attr["new"].i = 4
    graph = Graph()
    import_graph_def(graph_def, name="", producer_op_list=producer, graph=graph)
    assert graph.get_operation_by_name("neg").get_attr("new") == 4
    assert node.attr["new"].i == 4


def test_operations_are_made_in_tensorflows_order(tf: Any) -> None:
    graph_def = _small()
    graph_def.node.sort(key=lambda node: node.name, reverse=True)
    theirs = _their_import(tf, graph_def, name="")
    ours = Graph()
    import_graph_def(graph_def, name="", graph=ours)
    assert [op.name for op in ours.get_operations()] == [op.name for op in theirs.get_operations()]


def test_a_loop_comes_in_with_its_back_edge(tf: Any) -> None:
    v1 = tf.compat.v1
    theirs = tf.Graph()
    with theirs.as_default():
        v1.disable_control_flow_v2()
        v1.while_loop(lambda i: i < 10, lambda i: i + 1, [tf.constant(0)])
    graph_def = GraphDef.FromString(theirs.as_graph_def().SerializeToString())
    ours = Graph()
    import_graph_def(graph_def, name="", graph=ours)
    assert str(ours.as_graph_def()) == str(theirs.as_graph_def())
    merge = ours.get_operation_by_name("while/Merge")
    assert merge.inputs[1].op.type == "NextIteration"
    again = _their_import(tf, ours.as_graph_def(), name="")
    assert str(again.as_graph_def()) == str(theirs.as_graph_def())


def test_tensorflow_runs_what_is_exported(tf: Any) -> None:
    graph = Graph()
    x = create_op(graph, "Placeholder", (), {"dtype": "float32", "shape": (2,)}, "x").outputs[0]
    create_op(graph, "Mul", [x, constant(graph, [2.0, 3.0])], name="y")
    theirs = _their_import(tf, graph.as_graph_def(add_shapes=True), name="")
    with tf.compat.v1.Session(graph=theirs) as session:
        assert session.run("y:0", {"x:0": [1.0, 1.0]}).tolist() == [2.0, 3.0]


# --------------------------------------------------------------------------- unknown types


def _opaque() -> GraphDef:
    return text_format.Parse(
        """
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "odd" op: "MyCustomOp" input: "x" attr { key: "size" value { i: 3 } } }
        node { name: "y" op: "Neg" input: "odd:1" attr { key: "T" value { type: DT_INT32 } } }
        """,
        GraphDef(),
    )


def test_an_operation_of_unknown_type_is_kept() -> None:
    graph = Graph()
    import_graph_def(_opaque(), name="", graph=graph)
    odd = graph.get_operation_by_name("odd")
    assert odd.op_def is None
    # Its outputs are those that somebody takes, of the type that they are taken as.
    assert [out.data_type for out in odd.outputs] == [DataType.DT_INVALID, DataType.DT_INT32]
    assert odd.get_attr("size") == 3
    exported = graph.as_graph_def()
    assert exported.node[1] == _opaque().node[1]
    asked = import_graph_def(_opaque(), name="b", graph=graph, return_elements=["odd:3"])
    assert asked is not None
    assert asked[0].name == "b/odd:3"


def test_an_operation_of_unknown_type_has_the_outputs_that_it_states() -> None:
    graph_def = _opaque()
    shapes = graph_def.node[1].attr["_output_shapes"].list.shape
    shapes.add().dim.add(size=7)
    shapes.add(unknown_rank=True)
    shapes.add()
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    assert [out.partial_shape for out in graph.get_operation_by_name("odd").outputs] == [
        (7,),
        None,
        (),
    ]
    assert graph.as_graph_def(add_shapes=True).node[1] == graph_def.node[1]


# --------------------------------------------------------------------------- wrong messages


def _wrong(change: Callable[[GraphDef], Any]) -> GraphDef:
    graph_def = _small()
    change(graph_def)
    return graph_def


def _set(field: str, value: Any, node: int = 2) -> Callable[[GraphDef], None]:
    return lambda graph_def: setattr(graph_def.node[node], field, value)


def _inputs(*inputs: str, node: int = 2) -> Callable[[GraphDef], None]:
    def change(graph_def: GraphDef) -> None:
        graph_def.node[node].input[:] = inputs

    return change


def _attr(name: str, node: int = 2, **value: Any) -> Callable[[GraphDef], None]:
    def change(graph_def: GraphDef) -> None:
        attr = graph_def.node[node].attr[name]
        attr.Clear()
        for field, content in value.items():
            setattr(attr, field, content)

    return change


def _many_outputs(graph_def: GraphDef) -> None:
    graph_def.node[2].op = "Unknown"
    graph_def.node[3].input[:] = ["total:999999999"]


def _list_of(count: int) -> Callable[[GraphDef], None]:
    def change(graph_def: GraphDef) -> None:
        node = graph_def.node.add(name="un", op="Unpack", input=["a"])
        node.attr["num"].i = count
        node.attr["T"].type = 1  # type: ignore[assignment]

    return change


def _dim(graph_def: GraphDef, size: int) -> None:
    graph_def.node[1].attr["value"].tensor.tensor_shape.dim.add(size=size)


def _function_called(name: str) -> Callable[[GraphDef], None]:
    def change(graph_def: GraphDef) -> None:
        graph_def.library.function.add().signature.name = name

    return change


WRONG: list[tuple[Callable[[GraphDef], Any], str]] = [
    (_set("name", "a"), "Node 'a' is not unique"),
    (_set("name", ""), "'' is not a valid node name"),
    (_set("name", "_x"), "'_x' is not a valid node name"),
    (_set("name", "x:0"), "'x:0' is not a valid node name"),
    (_inputs("gone", "b"), "Node 'total': Unknown input node 'gone'"),
    (_inputs("b", "b", "^gone"), "Unknown input node 'gone'"),
    (_inputs("b", "b:1"), "Connecting to invalid output 1 of source node b which has 1 outputs"),
    (_inputs("b", "b:-1"), "'b:-1', which names no tensor"),
    (_inputs("b", "b:x"), "'b:x', which names no tensor"),
    (_inputs("b", "b:0:0"), "which names no tensor"),
    (_inputs("b", "b:99999999999999999999"), "which names no tensor"),
    (_inputs("^a", "b", "b"), "control input in front of an input"),
    (_inputs("b"), "Node 'total' (AddV2) takes 2 inputs, found 1"),
    (_inputs("b", "neg"), "2 nodes in a cycle, or behind one: 'total', 'neg'"),
    (_inputs("total", "b"), "in a cycle"),
    (_inputs("b", "b", "^total"), "in a cycle"),
    (_attr("T", type=3), "input 'b:0' is float32, must be int32"),
    (_attr("T", i=3), "attribute 'T' of node 'total' (AddV2) must be of kind type, found i"),
    (_attr("T", type=999), "999 is not one of DT_BFLOAT16"),
    (_attr("dtype", node=0, type=999), "unknown dtype"),
    (lambda graph_def: graph_def.node[2].attr.clear(), "must have the attribute 'T', found none"),
    (_attr("value", node=0, i=3), "must be of kind tensor"),
    (_many_outputs, "with 1000000000 outputs is too many"),
    (_list_of(-1), "must be at least 0, found -1"),
    (_list_of(2**60), "must be between 0"),
    (_list_of(2**16), "'un' with 65536 outputs is too many"),
    (_attr("dtype", node=0, type=3), "dtype int32 has a value of float32"),
    (lambda graph_def: _dim(graph_def, -5), "negative size"),
    (lambda graph_def: _dim(graph_def, -1), "must be known"),
    (_set("device", "/what:0"), "unknown part 'what:0'"),
    (_function_called("Identity"), "function 'Identity': a type of operation has that name"),
]


@pytest.mark.parametrize(
    ("change", "problem"), WRONG, ids=[f"{index}-{case[1]}" for index, case in enumerate(WRONG)]
)
def test_a_wrong_message_is_refused_and_changes_nothing(
    change: Callable[[GraphDef], Any], problem: str
) -> None:
    graph = Graph()
    mapped = constant(graph, 1.0, name="mapped")
    before = graph.as_graph_def()
    with pytest.raises(errors.InvalidGraph) as raised:
        import_graph_def(_wrong(change), {"a:0": mapped}, name="", graph=graph)
    assert problem in str(raised.value)
    assert graph.as_graph_def() == before
    assert mapped.consumers() == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"return_elements": ["gone"]}, "'gone' not found"),
        ({"return_elements": ["gone"], "input_map": {"b:0": "mapped:0"}}, "'gone' not found"),
        ({"return_elements": ["a:4"]}, "invalid output 4"),
        ({"return_elements": [3]}, "list of strings"),
        ({"input_map": {"gone:0": "mapped:0"}}, r"not found in graph_def: \['gone:0'\]"),
        ({"input_map": {"a:0": "mapped"}}, "must be a tensor"),
        ({"input_map": {3: "mapped:0"}}, "must be a string"),
        ({"input_map": [1]}, "must be a dict"),
        ({"name": "a b"}, "not a valid root scope name"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], problem: str) -> None:
    graph = Graph()
    mapped = constant(graph, 1.0, name="mapped")
    with pytest.raises(errors.GraphError, match=problem):
        import_graph_def(_small(), graph=graph, **options)
    assert graph.version == 1
    assert mapped.consumers() == []


def test_another_message_is_refused() -> None:
    with pytest.raises(TypeError, match="imported from a GraphDef, found MetaGraphDef"):
        import_graph_def(MetaGraphDef(), graph=Graph())  # type: ignore[arg-type]


def test_functions_that_differ_under_one_name_are_refused(golden: Path) -> None:
    graph_def = GOLDEN["module"](golden)
    graph = Graph()
    import_graph_def(graph_def, graph=graph)
    import_graph_def(graph_def, graph=graph)
    assert len(graph.as_graph_def().library.function) == len(graph_def.library.function)
    graph_def.library.function[0].node_def.add(name="more", op="NoOp")
    with pytest.raises(errors.InvalidGraph, match="a different one of that name"):
        import_graph_def(graph_def, graph=graph)


def test_shapes_that_contradict_each_other_are_no_reason_to_refuse_a_graph() -> None:
    def change(graph_def: GraphDef) -> None:
        graph_def.node[0].attr["value"].tensor.tensor_shape.dim.add(size=2)
        graph_def.node[1].attr["value"].tensor.tensor_shape.dim.add(size=3)
        graph_def.node[2].input[:] = ["a", "b"]

    graph = Graph()
    import_graph_def(_wrong(change), name="", graph=graph)
    assert graph.get_tensor_by_name("total:0").partial_shape is None


def test_a_huge_constant_takes_no_memory() -> None:
    graph_def = _small()
    graph_def.node[1].attr["value"].tensor.tensor_shape.dim.add(size=2**40)
    tracemalloc.start()
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    value = graph.get_operation_by_name("b").get_attr("value")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value.shape == (2**40,)
    assert graph.get_tensor_by_name("neg:0").partial_shape == (2**40,)
    assert peak_bytes < 2**20


def test_a_long_chain_is_no_recursion() -> None:
    graph_def = GraphDef()
    graph_def.node.add(name="n0", op="NoOp")
    for index in range(1, 20_000):
        graph_def.node.add(name=f"n{index}", op="NoOp", input=[f"^n{index - 1}"])
    deep = "d/" * 5_000 + "x"
    graph_def.node.add(name=deep, op="NoOp")
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    assert graph.version == 20_001
    assert graph.get_operation_by_name(deep).type == "NoOp"


_TYPES = ["Const", "AddV2", "Reshape", "ConcatV2", "Split", "Conv2D", "StridedSlice", "Merge", "?"]


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(_TYPES),
            st.lists(st.sampled_from(["n0", "n1", "n2:1", "^n3", "n4"]), max_size=4),
            st.dictionaries(
                st.sampled_from(["T", "N", "Tidx", "num_split", "dtype", "strides", "value"]),
                st.sampled_from([b"\x30\x01", b"\x30\x03", b"\x18\x02", b"\x0a\x02\x1a\x00", b""])
                | st.binary(max_size=6),
            ),
        ),
        max_size=6,
    )
)
def test_any_nodes_come_in_or_raise_what_is_documented(
    nodes: list[tuple[str, list[str], dict[str, bytes]]],
) -> None:
    graph_def = GraphDef()
    for index, (op_type, inputs, attrs) in enumerate(nodes):
        node = graph_def.node.add(name=f"n{index}", op=op_type, input=inputs)
        for name, data in attrs.items():
            try:
                node.attr[name].ParseFromString(data)
            except Exception:  # noqa: BLE001
                node.attr[name].Clear()
    graph = Graph()
    try:
        import_graph_def(graph_def, name="", graph=graph)
    except errors.GraphError:
        assert graph.version == 0
        return
    assert len(graph.as_graph_def(add_shapes=True).node) == len(nodes)


def test_any_change_of_a_byte_comes_in_or_raises_what_is_documented(golden: Path) -> None:
    data = (golden / "graphs" / "frozen.pb").read_bytes()
    outcomes = set()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 0x11
        try:
            graph_def = decode_graph_def(bytes(changed))
            graph = Graph()
            import_graph_def(graph_def, name="", graph=graph)
        except errors.GraphError as error:
            outcomes.add(type(error).__name__)
        else:
            outcomes.add("")
            for op in graph.get_operations():
                for name in op.node_def.attr:
                    try:
                        op.get_attr(name)
                    except errors.GraphError as error:
                        outcomes.add(f"{type(error).__name__} of an attribute")
    assert outcomes >= {"", "InvalidGraph", "MalformedGraph"}


# --------------------------------------------------------------------------- files


@pytest.mark.parametrize("as_text", [True, False])
def test_a_graph_is_written_as_tensorflow_writes_it(
    tf: Any, golden: Path, tmp_path: Path, as_text: bool
) -> None:
    graph_def = GOLDEN["frozen.pb"](golden)
    path = write_graph(graph_def, tmp_path / "a" / "b", "graph.pb", as_text=as_text)
    their_path = tf.io.write_graph(
        tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString()),
        str(tmp_path / "theirs"),
        "graph.pb",
        as_text=as_text,
    )
    assert path == str(tmp_path / "a" / "b" / "graph.pb")
    assert Path(path).read_bytes() == Path(their_path).read_bytes()
    assert [item.name for item in (tmp_path / "a" / "b").iterdir()] == ["graph.pb"]
    assert read_graph_def(path) == graph_def


def test_a_graph_is_replaced_and_a_graph_object_is_written(tmp_path: Path) -> None:
    graph = Graph()
    constant(graph, 1.0, name="x")
    for _ in range(2):
        write_graph(graph, str(tmp_path), "graph.pbtxt")
    assert read_graph_def(tmp_path / "graph.pbtxt") == graph.as_graph_def()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"node { nam: 3 }", b"node {" * 2000])
def test_a_file_that_is_no_graph(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(content)
    with pytest.raises(errors.MalformedGraph, match="neither a binary nor a text") as raised:
        read_graph_def(path)
    assert str(raised.value).startswith(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_graph_def(tmp_path / "nothing.pb")
