"""MetaGraphs: what TensorFlow writes is kept to the byte, and it reads what we write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from google.protobuf.any_pb2 import Any as AnyMessage

from ckptmgr import errors
from ckptmgr._proto.control_flow_pb2 import CondContextDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import CollectionDef, MetaGraphDef
from ckptmgr._proto.queue_runner_pb2 import QueueRunnerDef
from ckptmgr.formats.sealed_message import SEAL_BYTES
from ckptmgr.graph import op_defs
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.meta_graph import (
    UNBOUND_INPUTS,
    export_scoped_meta_graph,
    import_collected,
    import_scoped_meta_graph,
    read_meta_graph_file,
)
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import (
    export_meta_graph,
    import_meta_graph,
    import_meta_graph_with_return_elements,
)
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable, global_variables
from tests.graph.engines import OURS


def without_versions(meta_graph: MetaGraphDef) -> MetaGraphDef:
    kept = MetaGraphDef()
    kept.CopyFrom(meta_graph)
    kept.meta_info_def.ClearField("tensorflow_version")
    kept.meta_info_def.ClearField("tensorflow_git_version")
    return kept


def in_order(meta_graph: MetaGraphDef) -> MetaGraphDef:
    """With control inputs sorted, which have any order here.

    Without functions: the graph that is imported has shapes in them, which the other one has not.
    """
    kept = without_versions(meta_graph)
    for node in kept.graph_def.node:
        node.input.sort(key=lambda name: name if name.startswith("^") else "")
    kept.graph_def.ClearField("library")
    return kept


@pytest.mark.parametrize("name", ["graphs/model.meta", "graphs/model.meta.txt"])
def test_the_graph_of_tensorflow_comes_out_as_it_went_in(golden: Path, name: str) -> None:
    original = read_meta_graph_file(golden / name)
    with Graph().as_default():
        saver = import_meta_graph(golden / name)
        assert saver is not None
        exported = saver.export_meta_graph()
    assert exported.collection_def == original.collection_def
    assert exported.saver_def == original.saver_def
    ours = {node.name: node for node in exported.graph_def.node}
    for node in original.graph_def.node:
        assert ours[node.name] == node, node.name
    found, wanted = without_versions(exported), without_versions(original)
    assert found.meta_info_def == wanted.meta_info_def
    assert found.SerializeToString(deterministic=True) == wanted.SerializeToString(
        deterministic=True
    )


def test_cleared_and_stripped_as_tensorflow_does(golden: Path, tmp_path: Path) -> None:
    wanted = text_format.Parse((golden / "graphs/cleared.meta.txt").read_text(), MetaGraphDef())
    with Graph().as_default():
        import_meta_graph(golden / "graphs/model.meta")
        options: dict[str, Any] = {
            "clear_devices": True,
            "strip_default_attrs": True,
            "as_text": True,
        }
        path = tmp_path / "cleared.meta.txt"
        export_meta_graph(path, collection_list=["trainable_variables"], **options)
    assert in_order(read_meta_graph_file(path)) == in_order(wanted)


def _meta_files(golden: Path) -> list[Path]:
    found = sorted([*golden.rglob("*.meta"), *golden.rglob("*.meta.txt")])
    assert found
    return found


def test_every_golden_graph_is_imported(golden: Path) -> None:
    for path in _meta_files(golden):
        with Graph().as_default() as graph:
            import_meta_graph(path)
            wanted = read_meta_graph_file(path)
            names = [op.name for op in graph.get_operations()]
        assert sorted(names) == sorted(node.name for node in wanted.graph_def.node)


def test_a_restored_graph_computes(golden: Path, load_expected: Any) -> None:
    expected = load_expected("graphs")
    with Graph().as_default():
        saver = import_meta_graph(golden / "graphs/model.meta")
        assert saver is not None
        with Session() as session:
            saver.restore(session, str(golden / "graphs/ema.ckpt"))
            found = session.run("y:0", {"x:0": expected["feed:x:0"]})
            for variable in global_variables():
                value = expected[f"ema.ckpt:{variable.op.name}"]
                np.testing.assert_array_equal(session.run(variable), value)
    np.testing.assert_allclose(found, expected["fetch:y:0"])


def model() -> Saver:
    """Variables of both kinds, used together, and collections of every kind."""
    graph = Variable([[1.0, 2.0], [3.0, 4.0]], name="w").graph
    bias = Variable([0.5, -0.5], name="b", use_resource=True)
    x = create_op(graph, "Placeholder", (), {"dtype": "float32", "shape": (None, 2)}, "x")
    w = graph.get_tensor_by_name("w/read:0")
    product = create_op(graph, "MatMul", [x.outputs[0], w]).outputs[0]
    y = create_op(graph, "AddV2", [product, bias.value()], name="y")
    graph.add_to_collection("fetched", y.outputs[0])
    graph.add_to_collection("fetched", y)
    graph.add_to_collection("texts", "one")
    graph.add_to_collection("texts", b"two")
    graph.add_to_collection("numbers", 3)
    graph.add_to_collection("fractions", 0.5)
    graph.add_to_collection("messages", AnyMessage(type_url="t/x", value=b"1"))
    graph.add_to_collection(("private",), "never exported")
    return Saver()


@pytest.mark.parametrize("form", ["binary", "text", "json"])
def test_tensorflow_imports_what_is_exported(tf: Any, tmp_path: Path, form: str) -> None:
    v1 = tf.compat.v1
    x = np.array([[1.0, 1.0]], np.float32)
    with Graph().as_default():
        saver = model()
        path = tmp_path / "m.meta"
        # JSON has no words for a message of an unknown type.
        keys = ["variables", "texts"] if form == "json" else None
        saver.export_meta_graph(path, keys, as_text=form == "text")
        with Session() as session:
            session.run(OURS.global_variables_initializer())
            prefix = saver.save(session, str(tmp_path / "ckpt"))
            wanted = session.run("y:0", {"x:0": x})
    if form == "json":
        path.write_text(json_format.MessageToJson(read_meta_graph_file(path)))
        with Graph().as_default():
            assert import_meta_graph(path) is not None
        return
    with v1.Graph().as_default() as graph, v1.Session() as session:
        theirs = v1.train.import_meta_graph(str(path))
        theirs.restore(session, prefix)
        np.testing.assert_allclose(session.run("y:0", {"x:0": x}), wanted)
        again = str(tmp_path / "again")
        theirs.save(session, again)
        assert [item.name for item in graph.get_collection("fetched")] == ["y:0", "y"]
        assert graph.get_collection("numbers") == [3]
        assert graph.get_collection("fractions") == [0.5]
    with Graph().as_default(), Session() as session:
        back = import_meta_graph(f"{again}.meta")
        assert back is not None
        back.restore(session, again)
        np.testing.assert_allclose(session.run("y:0", {"x:0": x}), wanted)


def test_export_equals_that_of_tensorflow(tf: Any) -> None:
    """The same operations, imported by TensorFlow, are described by it in the same words."""
    with Graph().as_default():
        ours = model().export_meta_graph()
    with tf.Graph().as_default():
        imported = tf.compat.v1.MetaGraphDef.FromString(ours.SerializeToString())
        saver = tf.compat.v1.train.import_meta_graph(imported)
        exported = saver.export_meta_graph().SerializeToString()
    theirs = without_versions(MetaGraphDef.FromString(exported))
    assert theirs.collection_def == ours.collection_def
    assert theirs.saver_def == ours.saver_def
    assert theirs.meta_info_def == without_versions(ours).meta_info_def
    minor = op_defs.TENSORFLOW_VERSION.rpartition(".")[0]
    assert tf.__version__.startswith(f"{minor}.")
    for found, wanted in zip(ours.graph_def.node, theirs.graph_def.node, strict=True):
        assert found == wanted, found.name


@pytest.mark.parametrize("scope", ["imported", "imported/", "a/b"])
def test_import_into_a_scope(scope: str) -> None:
    with Graph().as_default():
        exported = model().export_meta_graph()
    name = scope.rstrip("/")
    with Graph().as_default() as graph:
        saver = import_meta_graph(exported, import_scope=scope)
        assert saver is not None
        assert saver.saver_def is not None
        assert saver.saver_def.restore_op_name == f"{name}/save/restore_all"
        assert [v.name for v in global_variables()] == [f"{name}/w:0", f"{name}/b:0"]
        assert graph.get_collection("texts") == [f"{name}/one", f"{name}/two"]
        again = saver.export_meta_graph(export_scope=name)
    assert again.saver_def == saver.saver_def
    assert again.collection_def["variables"] == exported.collection_def["variables"]
    assert again.graph_def.node == exported.graph_def.node


def test_a_second_import_gets_a_scope_of_its_own(tmp_path: Path) -> None:
    with Graph().as_default():
        exported = model().export_meta_graph()
    with Graph().as_default():
        savers = [import_meta_graph(exported, import_scope="twice") for _ in range(2)]
        names = [v.name for v in global_variables()]
        assert names == ["twice/w:0", "twice/b:0", "twice_1/w:0", "twice_1/b:0"]
        with Session() as session:
            session.run(OURS.global_variables_initializer())
            for number, saver in enumerate(savers):
                assert saver is not None
                prefix = saver.save(session, str(tmp_path / "m"), number)
                assert prefix is not None
                saver.restore(session, prefix)


def test_import_within_a_scope() -> None:
    with Graph().as_default():
        exported = model().export_meta_graph()
    with Graph().as_default() as graph, graph.name_scope("around"):
        saver = import_meta_graph(exported)
        assert saver is not None
        assert [v.name for v in global_variables()] == ["around/w:0", "around/b:0"]


def test_inputs_are_mapped_and_elements_returned() -> None:
    with Graph().as_default():
        exported = model().export_meta_graph()
    with Graph().as_default():
        given = OURS.constant(np.ones((1, 2), np.float32))
        saver, returned = import_meta_graph_with_return_elements(
            exported, return_elements=["y:0", "y"], input_map={"x:0": given}
        )
        assert saver is not None
        assert returned is not None
        assert [element.name for element in returned] == ["y:0", "y"]
        with Session() as session:
            session.run(OURS.global_variables_initializer())
            np.testing.assert_allclose(session.run(returned[0]), [[4.5, 5.5]])


def test_a_scope_alone_is_exported() -> None:
    with Graph().as_default() as graph:
        outside = OURS.constant([1.0, 2.0], name="outside")
        with graph.name_scope("part"):
            variable = Variable([1.0, 2.0], name="v")
            create_op(graph, "AddV2", [outside, variable.value()], name="sum")
        exported, variables = export_scoped_meta_graph(export_scope="part")
    assert list(variables) == ["v:0"]
    assert [node.name for node in exported.graph_def.node] == [
        "v/initial_value",
        "v",
        "v/Assign",
        "v/read",
        "sum",
    ]
    unbound = list(exported.collection_def[UNBOUND_INPUTS].bytes_list.value)
    assert unbound == [b"$unbound_inputs_outside"]
    unbound_inputs = pytest.raises(errors.InvalidGraph, match="Graph contains unbound inputs")
    with Graph().as_default(), unbound_inputs:
        import_scoped_meta_graph(exported)


def test_other_savers_are_left_out() -> None:
    with Graph().as_default():
        Variable(1.0, name="v")
        Saver(name="first")
        kept = Saver(name="second")
        exported = kept.export_meta_graph(clear_extraneous_savers=True)
    scopes = {node.name.partition("/")[0] for node in exported.graph_def.node}
    assert scopes == {"v", "second"}
    with Graph().as_default():
        assert import_meta_graph(exported) is not None


def test_default_attributes_are_stripped_and_come_back() -> None:
    with Graph().as_default():
        saver = model()
        whole, stripped = (
            saver.export_meta_graph(strip_default_attrs=strip) for strip in (False, True)
        )
    assert stripped.meta_info_def.stripped_default_attrs
    product = next(node for node in stripped.graph_def.node if node.op == "MatMul")
    assert "transpose_a" not in product.attr
    with Graph().as_default():
        again = import_meta_graph(stripped)
        assert again is not None
        assert again.export_meta_graph() == whole


def test_tags_and_versions() -> None:
    with Graph().as_default():
        info = MetaGraphDef.MetaInfoDef(tags=["serve"], meta_graph_version="7")
        exported = export_meta_graph(meta_info_def=info)
    assert list(exported.meta_info_def.tags) == ["serve"]
    assert exported.meta_info_def.meta_graph_version == "7"
    assert exported.meta_info_def.tensorflow_version == op_defs.TENSORFLOW_VERSION


@pytest.mark.parametrize(("version", "trainable"), [("1.8.0", False), ("1.9.0", True), ("", True)])
def test_old_writers_did_not_say_what_is_trainable(version: str, trainable: bool) -> None:
    with Graph().as_default():
        Variable(1.0, name="v")
        exported = export_meta_graph(collection_list=["variables"])
    exported.meta_info_def.tensorflow_version = version
    with Graph().as_default():
        import_meta_graph(exported)
        assert [v.trainable for v in global_variables()] == [trainable]


def test_one_variable_stays_one_in_all_collections() -> None:
    with Graph().as_default():
        Variable(1.0, name="v")
        exported = export_meta_graph()
    with Graph().as_default() as graph:
        import_meta_graph(exported)
        assert graph.get_collection("variables") == graph.get_collection("trainable_variables")


def test_what_cannot_be_stored_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with Graph().as_default() as graph:
        graph.add_to_collection("objects", object())
        graph.add_to_collection("variables", "no variable")
        exported = export_meta_graph()
    assert not exported.collection_def
    assert "collection 'objects' is not exported" in caplog.text


def test_queue_runners_and_contexts_move_with_their_scope() -> None:
    runner = QueueRunnerDef(queue_name="queue", enqueue_op_name=["a", "b"])
    context = CondContextDef(context_name="cond/cond_text", pred_name="cond/pred_id:0")
    context.values_def.values.append("cond/x:0")
    context.values_def.external_values["cond/x:0"] = "x:0"
    meta_graph = MetaGraphDef(graph_def=GraphDef())
    for key, message in (("queue_runners", runner), ("cond_context", context)):
        stored = CollectionDef()
        stored.bytes_list.value.append(message.SerializeToString())
        meta_graph.collection_def[key].CopyFrom(stored)
    with Graph().as_default():
        import_collected(meta_graph, import_scope="in")
        exported, back = export_meta_graph(), export_meta_graph(export_scope="in")
    moved = CondContextDef.FromString(exported.collection_def["cond_context"].bytes_list.value[0])
    assert moved.context_name == "in/cond/cond_text"
    assert dict(moved.values_def.external_values) == {"in/cond/x:0": "in/x:0"}
    runners = exported.collection_def["queue_runners"].bytes_list.value
    assert list(QueueRunnerDef.FromString(runners[0]).enqueue_op_name) == ["in/a", "in/b"]
    assert back.collection_def == meta_graph.collection_def


def _collection(key: str, **kinds: Any) -> MetaGraphDef:
    meta_graph = MetaGraphDef()
    for kind, values in kinds.items():
        getattr(meta_graph.collection_def[key], kind).value.extend(values)
    return meta_graph


def test_a_collection_of_variables_that_holds_something_else() -> None:
    with Graph().as_default() as graph:
        imported = import_collected(_collection("variables", int64_list=[7]))
    assert imported.variables == {}
    assert graph.get_collection("variables") == [7]


REFUSED: list[tuple[Callable[[], MetaGraphDef], str]] = [
    (lambda: _collection("variables", bytes_list=[b"\xff"]), "no VariableDef message"),
    (lambda: _collection("variables", bytes_list=[b""]), "collection 'variables'"),
    (lambda: _collection("nodes", node_list=["absent"]), "'absent'"),
    (lambda: _collection("nodes", node_list=["absent:0"]), "absent:0"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
def test_collections_that_name_what_is_not_there(
    make: Callable[[], MetaGraphDef], text: str
) -> None:
    with Graph().as_default(), pytest.raises(errors.InvalidGraph, match=text):
        import_meta_graph(make())


@pytest.mark.parametrize("data", [b"\xff\xff", b"node {", b'{"graphDef": 3}', b"{", b"\x80abc"])
def test_files_that_are_no_graphs(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.meta"
    path.write_bytes(data)
    with pytest.raises(errors.MalformedGraph, match=r"m\.meta"):
        read_meta_graph_file(path)


@pytest.mark.parametrize("damage", ["layer1", "layer"])
def test_a_name_that_is_another_one_restores_nothing(tmp_path: Path, damage: str) -> None:
    """One bit of `layer0` gives `layer1`, whose values would fit."""
    with Graph().as_default(), Session() as session:
        for number in range(2):
            Variable(np.full(3, number, np.float32), name=f"layer{number}").load(
                np.full(3, number), session
            )
        prefix = str(Saver().save(session, str(tmp_path / "m")))
    path = tmp_path / "m.meta"
    content = path.read_bytes()
    names = content.index(b"layer0", content.index(b"save/RestoreV2/tensor_names"))
    path.write_bytes(content[:names] + damage.encode() + content[names + 6 :])
    with Graph().as_default(), pytest.raises(errors.ChecksumMismatch, match=r"m\.meta: "):
        import_meta_graph(path)
    path.write_bytes(content[SEAL_BYTES:names] + damage.encode() + content[names + 6 :])
    if damage == "layer1":  # without the checksum nobody would know
        with Graph().as_default(), Session() as session:
            saver = import_meta_graph(path)
            assert saver is not None
            saver.restore(session, prefix)
            assert session.run("layer0:0").tolist() == [1, 1, 1]


def test_an_empty_file_is_no_empty_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.meta"
    path.write_bytes(b"")
    with pytest.raises(errors.TruncatedFile, match=r"m\.meta"):
        read_meta_graph_file(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File does not exist. Received"):
        import_meta_graph(tmp_path / "absent.meta")
