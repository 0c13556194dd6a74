from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr.graph.effects import EFFECTS
from ckptmgr.graph.policy import REFUSED
from ckptmgr.saved_model import constants, scan
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.saved_model.scan import Finding, scan_meta_graph
from tests.saved_model.models import add_function, add_signature, add_trace, meta_graph, node
from tests.saved_model.test_directory import MODELS

TABLE = "InitializeTableFromTextFileV2"


@pytest.mark.parametrize("folder", MODELS)
def test_ordinary_models_are_not_suspicious(golden: Path, folder: str) -> None:
    for graph in read_saved_model(golden / folder).meta_graphs:
        assert scan_meta_graph(graph).findings == ()
        assert not scan_meta_graph(graph).is_suspicious


def found(graph: MetaGraphDef) -> list[tuple[str, str | None]]:
    """Which operations where."""
    return [(finding.op, finding.function) for finding in scan_meta_graph(graph).findings]


@pytest.mark.parametrize("op", sorted(EFFECTS.keys() - scan._CHECKPOINT_OPS))
def test_wherever_it_stands(op: str) -> None:
    graph = meta_graph("serve")
    graph.graph_def.node.append(node("n", op))
    add_function(graph, "uncalled", node("n", op))
    assert found(graph) == [(op, None), (op, "uncalled")]


def test_every_operation_is_one_of_tensorflow(tf: Any) -> None:
    from tensorflow.python.framework import op_def_registry

    unknown = {op for op in EFFECTS if op_def_registry.get(op) is None}
    of_gpus = {"InitializeTRTResource", "SerializeTRTResource", "TRTEngineOp"}
    assert unknown == {"RemoteFusedGraphExecute", *of_gpus}  # of TensorFlow 1, and of GPUs


def test_whatever_a_session_refuses_is_found() -> None:
    assert EFFECTS.keys() >= REFUSED


def test_the_denylist() -> None:
    graph = meta_graph("serve")
    graph.graph_def.node.extend([node("p", "PrintV2"), node("i", "If", calls=["branch"])])
    add_function(graph, "branch", node("m", "Mul"))

    assert scan_meta_graph(graph).denylisted == ("PrintV2",)
    # TensorFlow's own tool does not look into branches.
    assert scan_meta_graph(graph, {"Mul", "If", "Add"}).denylisted == ("If", "Mul")


def test_assets_outside_of_the_folder() -> None:
    graph = meta_graph("serve")
    for name in ("fine.txt", "../secret", "/etc/passwd"):
        graph.asset_file_def.add(filename=name)
    problem = "the name of an asset leads out of the model's folder"
    assert scan_meta_graph(graph).findings == (
        Finding(problem, "", "../secret"),
        Finding(problem, "", "/etc/passwd"),
    )


# --------------------------------------------------------------------------- checkpoints


def with_saver(place: str | None) -> MetaGraphDef:
    graph = meta_graph("serve")
    if place is None:
        graph.graph_def.node.append(node("save", "SaveV2"))
    else:
        graph.graph_def.node.append(node("save", "StatefulPartitionedCall", calls=place))
        add_function(graph, place, node("s", "SaveV2"))
    graph.graph_def.node.append(node("out", "Identity", "x", "^save"))
    graph.graph_def.node.append(node("x", "Placeholder"))
    return graph


@pytest.mark.parametrize("place", [None, "__inference_save_1"])
def test_saving_is_ordinary_unless_something_leads_to_it(place: str | None) -> None:
    graph = with_saver(place)
    add_signature(graph, "k", inputs="x", outputs="x")
    assert found(graph) == []

    graph.signature_def["k"].outputs["x"].name = "out:0"
    assert found(graph) == [("SaveV2", place)]


@pytest.mark.parametrize(
    "key", [constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY, constants.TRAIN_OP_KEY]
)
def test_initialisation_that_saves(key: str) -> None:
    graph = with_saver(None)
    graph.collection_def[key].node_list.value.append("out")
    assert found(graph) == [("SaveV2", None)]


@pytest.mark.parametrize("place", [None, "__inference_save_1"])
def test_restoring_that_saves(place: str | None) -> None:
    """Loading runs it, whatever it is."""
    graph = with_saver(place)
    graph.saver_def.restore_op_name = "restore"
    graph.graph_def.node.extend([node("restore", "NoOp", "^r"), node("r", "RestoreV2")])
    assert found(graph) == []

    graph.graph_def.node[-2].input.append("^out")
    assert found(graph) == [("SaveV2", place)]


def test_a_function_that_saves() -> None:
    graph = with_saver("__inference_f_1")
    add_trace(graph, "f", "__inference_f_1")
    assert found(graph) == [("SaveV2", "__inference_f_1")]


def test_names_that_lead_nowhere() -> None:
    graph = with_saver(None)
    add_signature(graph, "k", outputs="missing")
    graph.graph_def.node.append(node("loop", "Identity", "loop", "missing:3"))
    add_signature(graph, "l", outputs="loop")
    assert found(graph) == []


# --------------------------------------------------------------------------- lookup tables


def with_table(*nodes: Any) -> MetaGraphDef:
    graph = meta_graph("serve")
    graph.graph_def.node.append(node("file", "Const"))
    graph.graph_def.node.extend(nodes)
    graph.asset_file_def.add(filename="vocabulary.txt").tensor_info.name = "file:0"
    return graph


@pytest.mark.parametrize(
    ("nodes", "is_asset"),
    [
        ([node("t", TABLE, "table", "file:0")], True),
        ([node("t", TABLE, "table", "file", "^init")], True),
        ([node("t", TABLE, "table", "other:0"), node("other", "Const")], False),
        ([node("t", TABLE, "table", "i"), node("i", "Identity", "file")], True),
        ([node("t", TABLE, "table", "i"), node("i", "Identity", "i")], False),
        ([node("t", TABLE, "table", "i"), node("i", "StringJoin", "file")], False),
        ([node("t", TABLE, "table")], False),
        ([node("t", TABLE, "table", "missing")], False),
        (
            [
                node("t", TABLE, "table", "r"),
                node("r", "ReadVariableOp", "v"),
                node("a", "AssignVariableOp", "v", "file"),
            ],
            True,
        ),
        (
            [
                node("t", TABLE, "table", "r"),
                node("r", "ReadVariableOp", "v"),
                node("a", "AssignVariableOp", "v", "file"),
                node("b", "AssignVariableOp", "v", "other"),
            ],
            False,
        ),
        ([node("t", TABLE, "table", "r"), node("r", "ReadVariableOp", "v")], False),
    ],
)
def test_a_table_is_filled_from_an_asset(nodes: list[Any], is_asset: bool) -> None:
    assert found(with_table(*nodes)) == ([] if is_asset else [(TABLE, None)])


@pytest.mark.parametrize(
    ("callers", "is_asset"),
    [
        ([node("c", "PartitionedCall", "file", calls="f")], True),
        ([node("c", "f", "file")], True),
        (
            [
                node("c", "PartitionedCall", "file", calls="f"),
                node("d", "PartitionedCall", "file", calls="f"),
            ],
            True,
        ),
        (
            [
                node("c", "PartitionedCall", "file", calls="f"),
                node("d", "PartitionedCall", "x", calls="f"),
            ],
            False,
        ),
        ([node("c", "PartitionedCall", calls="f")], False),
        ([], False),
    ],
)
def test_a_function_that_fills_a_table(callers: list[Any], is_asset: bool) -> None:
    graph = with_table(*callers)
    add_function(graph, "f", node("t", TABLE, "table", "path"), arguments=["path"])
    assert found(graph) == ([] if is_asset else [(TABLE, "f")])


@pytest.mark.parametrize(("kind", "is_asset"), [("asset", True), ("constant", False)])
def test_a_function_bound_to_an_asset(kind: str, is_asset: bool) -> None:
    graph = with_table()
    add_function(graph, "f", node("t", TABLE, "table", "path"), arguments=["x", "path"])
    add_trace(graph, "f", "f")
    getattr(graph.object_graph_def.nodes.add(), kind).SetInParent()
    graph.object_graph_def.concrete_functions["f"].bound_inputs.append(2)
    assert found(graph) == ([] if is_asset else [(TABLE, "f")])


def test_long_ways_end() -> None:
    chain = [node(f"i{n}", "Identity", f"i{n + 1}") for n in range(5000)]
    graph = with_table(node("t", TABLE, "table", "i0"), *chain)
    assert found(graph) == [(TABLE, None)]
