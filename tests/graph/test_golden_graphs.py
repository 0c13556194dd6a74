"""Graphs that real TensorFlow exported, run here: their results are noted beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def, read_graph_def
from ckptmgr.graph.session import Session

Expected = dict[str, "np.ndarray[Any, Any]"]


def session_of(graph_def: GraphDef) -> Session:
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    return Session(graph=graph)


def meta_graph_of(path: Path) -> MetaGraphDef:
    return SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]


def feeds_of(meta_graph: MetaGraphDef, key: str, expected: Expected) -> dict[str, Any]:
    """What a signature is fed, by the names of its tensors."""
    inputs = meta_graph.signature_def[key].inputs
    return {info.name: expected[f"{key}:{name}"] for name, info in inputs.items()}


def restore(session: Session, meta_graph: MetaGraphDef, path: Path) -> None:
    """As a loader does it."""
    saver = meta_graph.saver_def
    session.run(
        saver.restore_op_name, {saver.filename_tensor_name: str(path / "variables" / "variables")}
    )


def test_a_frozen_graph(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("graphs")
    for name in ("frozen.pb", "frozen.pbtxt"):
        with session_of(read_graph_def(golden / "graphs" / name)) as session:
            found = session.run("y:0", {"x:0": expected["feed:x:0"]})
        np.testing.assert_allclose(found, expected["fetch:y:0"], rtol=1e-6)


def test_a_meta_graph_with_its_checkpoint(
    golden: Path, load_expected: Callable[[str], Expected]
) -> None:
    expected = load_expected("graphs")
    meta_graph = MetaGraphDef.FromString((golden / "graphs" / "ema.ckpt.meta").read_bytes())
    saver = meta_graph.saver_def
    with session_of(meta_graph.graph_def) as session:
        path = str(golden / "graphs" / "ema.ckpt")
        session.run(saver.restore_op_name, {saver.filename_tensor_name: path})
        np.testing.assert_allclose(
            session.run("y:0", {"x:0": expected["feed:x:0"]}), expected["fetch:y:0"], rtol=1e-6
        )
        np.testing.assert_array_equal(session.run("w:0"), expected["ema.ckpt:w"])


def test_a_saved_model_of_tensorflow_1(
    golden: Path, load_expected: Callable[[str], Expected]
) -> None:
    expected = load_expected("saved_model_tf1")
    path = golden / "saved_model_tf1" / "export"
    meta_graph = meta_graph_of(path)
    with session_of(meta_graph.graph_def) as session:
        restore(session, meta_graph, path)
        (init_op,) = meta_graph.collection_def["saved_model_main_op"].node_list.value
        session.run(init_op, {"vocab_path:0": str(path / "assets" / "vocab_src.txt")})
        for key, output in (("serving_default", "y"), ("lookup", "ids")):
            name = meta_graph.signature_def[key].outputs[output].name
            found = session.run(name, feeds_of(meta_graph, key, expected))
            np.testing.assert_allclose(found, expected[f"{key}:{output}"], rtol=1e-6)


def test_saved_models_of_tensorflow_2(
    golden: Path, load_expected: Callable[[str], Expected]
) -> None:
    expected = load_expected("saved_model_tf2")
    path = golden / "saved_model_tf2" / "module"
    meta_graph = meta_graph_of(path)
    with session_of(meta_graph.graph_def) as session:
        restore(session, meta_graph, path)
        session.state.policy.open_for_reading(str(path / "assets"))
        (asset,) = meta_graph.asset_file_def
        init_op = meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"]
        file = str(path / "assets" / asset.filename)
        session.run(init_op.name.partition(":")[0], {asset.tensor_info.name: file})
        x = np.array([[1.0, 0.0, -1.0]], np.float32)
        serve, lookup = (meta_graph.signature_def[key] for key in ("serving_default", "lookup"))
        found = session.run(serve.outputs["y"].name, {serve.inputs["x"].name: x})
        wanted = x @ expected["module:w"] + expected["module:b"]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        words = {lookup.inputs["tokens"].name: ["bar", "nope", "foo"]}
        assert session.run(lookup.outputs["ids"].name, words).tolist() == [1, -1, 0]


def test_an_exported_keras_model(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf2")
    path = golden / "saved_model_tf2" / "keras_export"
    meta_graph = meta_graph_of(path)
    with session_of(meta_graph.graph_def) as session:
        restore(session, meta_graph, path)
        signature = meta_graph.signature_def["serving_default"]
        (source,), (target,) = signature.inputs.values(), signature.outputs.values()
        found = session.run(target.name, {source.name: expected["keras_export:in"]})
        np.testing.assert_allclose(found, expected["keras_export:out"], rtol=1e-5)
