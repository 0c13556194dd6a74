from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from ckptmgr import errors
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.session import Session
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.saved_model.loader import (
    SavedModelLoader,
    asset_feeds,
    find_init_op,
    find_train_op,
    load,
)
from ckptmgr.saved_model.signatures import op_signature_def
from tests.saved_model.models import link_to_blobs, meta_graph


def f32(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


Expected = dict[str, "np.ndarray[Any, Any]"]


def test_signatures_run_in_a_session(
    golden: Path, load_expected: Callable[[str], Expected]
) -> None:
    expected = load_expected("saved_model_tf1")
    with Session(graph=Graph()) as session:
        loaded = load(session, ["serve"], golden / "saved_model_tf1" / "export")

        found = session.run("y:0", {"x:0": expected["serving_default:x"]})
        np.testing.assert_allclose(found, expected["serving_default:y"], rtol=1e-5)
        tokens = loaded.signature_def["lookup"].inputs["tokens"].name
        ids = loaded.signature_def["lookup"].outputs["ids"].name
        assert session.run(ids, {tokens: [b"bar", b"nope", b"foo"]}).tolist() == [1, -1, 0]


def test_a_scope(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf1")
    with Session(graph=Graph()) as session:
        load(session, ["serve"], golden / "saved_model_tf1" / "export", import_scope="model")

        found = session.run("model/y:0", {"model/x:0": expected["serving_default:x"]})
        np.testing.assert_allclose(found, expected["serving_default:y"], rtol=1e-5)
        assert session.run("model/ids:0", {"model/tok:0": ["baz"]}).tolist() == [2]


def test_models_of_tensorflow_2(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    """Their graph saves and restores with functions; a server reads them so."""
    expected = load_expected("saved_model_tf2")
    for name in ("module", "keras_export"):
        with Session(graph=Graph()) as session:
            loaded = load(session, ["serve"], golden / "saved_model_tf2" / name)
            signature = loaded.signature_def["serving_default"]
            (info,) = signature.inputs.values()
            (output,) = signature.outputs.values()
            if name == "module":
                x = f32([[1, 2, 3]])
                y = x @ expected["module:w"] + expected["module:b"]
                ids = loaded.signature_def["lookup"].outputs["ids"].name
                tokens = loaded.signature_def["lookup"].inputs["tokens"].name
                assert session.run(ids, {tokens: ["baz", "?"]}).tolist() == [2, -1]
            else:
                x, y = expected["keras_export:in"], expected["keras_export:out"]
            np.testing.assert_allclose(session.run(output.name, {info.name: x}), y, rtol=1e-5)


def test_the_steps_one_by_one(golden: Path) -> None:
    loader = SavedModelLoader(golden / "saved_model_tf1" / "simple")
    assert loader.export_dir == str(golden / "saved_model_tf1" / "simple")
    assert loader.variables_path.endswith("simple/variables/variables")
    assert len(loader.saved_model.meta_graphs) == 1
    with Session(graph=Graph()) as session:
        saver = loader.load_graph(session.graph, ["serve"])
        with pytest.raises(errors.UninitializedVariable, match="uninitialized value v"):
            session.run("y:0", {"x:0": [1.0]})
        loader.restore_variables(session, saver)
        loader.run_init_ops(session, ["serve"])
        assert session.run("y:0", {"x:0": [1.0]}).tolist() == [3.0]


def test_what_is_not_there(golden: Path, tmp_path: Path) -> None:
    with Session(graph=Graph()) as session:
        with pytest.raises(errors.SavedModelNotFound, match="SavedModel file does not exist at"):
            load(session, ["serve"], tmp_path)
        with pytest.raises(errors.TagsNotFound, match=r"available tags '\[\{'serve'\}, \{'gpu'"):
            load(session, ["serve", "gpu"], golden / "saved_model_tf1" / "export")


# --------------------------------------------------------------------------- init operations


def test_assets_are_fed_by_the_name_of_their_tensor(golden: Path) -> None:
    directory = str(golden / "saved_model_tf1" / "export")
    graph = read_saved_model(directory).meta_graphs[0]
    path = f"{directory}/assets/vocab_src.txt".encode()

    assert asset_feeds(directory, graph) == {"vocab_path:0": path}
    assert asset_feeds(directory, graph, "a/b") == {"a/b/vocab_path:0": path}


def test_which_operation_sets_a_model_up() -> None:
    graph = Graph()
    ops = {name: create_op(graph, "NoOp", name=name) for name in ("main", "legacy", "signed")}
    message = meta_graph("serve")

    assert find_init_op(graph, message) is None
    message.collection_def["legacy_init_op"].node_list.value.append("legacy")
    assert find_init_op(graph, message) is ops["legacy"]
    message.collection_def["saved_model_main_op"].node_list.value.append("main")
    assert find_init_op(graph, message) is ops["main"]
    key = "__saved_model_init_op"
    message.signature_def[key].CopyFrom(op_signature_def(ops["signed"], key))
    assert find_init_op(graph, message) is ops["signed"]

    assert find_train_op(graph, message) is None
    message.collection_def["saved_model_train_op"].node_list.value.append("legacy")
    assert find_train_op(graph, message) is ops["legacy"]


def test_several_operations_that_set_a_model_up() -> None:
    message = meta_graph("serve")
    message.collection_def["saved_model_main_op"].node_list.value.extend(["a", "b"])
    with pytest.raises(errors.InvalidInitOp, match="exactly one SavedModel init op. Found 2") as e:
        find_init_op(Graph(), message)
    assert isinstance(e.value, RuntimeError)
    broken = meta_graph("serve")
    broken.signature_def["__saved_model_init_op"].SetInParent()
    with pytest.raises(errors.SignatureError, match="has no output '__saved_model_init_op'"):
        find_init_op(Graph(), broken)


def test_an_init_operation_that_reads_other_files(golden: Path, tmp_path: Path) -> None:
    """A constant that is no asset names a file outside of the model."""
    target = tmp_path / "model"
    shutil.copytree(golden / "saved_model_tf1" / "export", target)
    model = read_saved_model(target)
    graph = model.meta_graphs[0]
    del graph.collection_def["saved_model_assets"]
    (target / "saved_model.pb").write_bytes(model.SerializeToString())

    with (
        Session(graph=Graph()) as session,
        pytest.raises(errors.OpRefused, match="a path that it brought along"),
    ):
        load(session, ["serve"], target)


def test_assets_that_are_links(golden: Path, tmp_path: Path) -> None:
    model = golden / "saved_model_tf1" / "export"
    snapshot = link_to_blobs(model, tmp_path)
    (tmp_path / "link").symlink_to(model.resolve())
    for path, allowed in ((tmp_path / "link", ()), (snapshot, ["InitializeTableFromTextFileV2"])):
        with Session(graph=Graph(), allow_ops=allowed) as session:
            load(session, ["serve"], path)
            assert session.run("ids:0", {"tok:0": ["bar"]}).tolist() == [1]
    with (
        Session(graph=Graph()) as session,
        pytest.raises(
            errors.OpRefused, match=r"rev/assets/.*, which leads to '.*/blobs/\d', a path"
        ),
    ):
        load(session, ["serve"], snapshot)


def test_a_folder_of_assets_that_is_a_link(golden: Path, tmp_path: Path) -> None:
    """A model could else name a folder of the machine, and each of its files as an asset."""
    target, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    shutil.copytree(golden / "saved_model_tf1" / "export", target)
    (target / "assets").rename(elsewhere)
    (target / "assets").symlink_to(elsewhere)
    with (
        Session(graph=Graph()) as session,
        pytest.raises(errors.OpRefused, match=r"would read '.*', which leads to '.*/elsewhere/"),
    ):
        load(session, ["serve"], target)


def test_an_init_operation_that_writes_to_an_asset(golden: Path, tmp_path: Path) -> None:
    """What is fed for an asset is a path that the model chose: it may read that file only."""
    target = tmp_path / "model"
    shutil.copytree(golden / "saved_model_tf1" / "export", target)
    model = read_saved_model(target)
    graph = model.meta_graphs[0]
    text = f"""
    node {{ name: "n" op: "Const" {STRINGS % "t"} }}
    node {{ name: "s" op: "Const" {STRINGS % ""} }}
    node {{ name: "saves" op: "SaveV2" input: "vocab_path" input: "n" input: "s" input: "n"
      attr {{ key: "dtypes" value {{ list {{ type: DT_STRING }} }} }} }}
    """
    text_format.Merge(text, graph.graph_def)
    graph.collection_def.pop("saved_model_main_op", None)
    graph.collection_def["legacy_init_op"].node_list.value[:] = ["saves"]
    (target / "saved_model.pb").write_bytes(model.SerializeToString())

    with (
        Session(graph=Graph()) as session,
        pytest.raises(errors.OpRefused, match="would write '.*vocab_src.txt', a path that it"),
    ):
        load(session, ["serve"], target)
    assert [path.name for path in (target / "assets").iterdir()] == ["vocab_src.txt"]


STRINGS = """attr { key: "dtype" value { type: DT_STRING } } attr { key: "value" value { tensor {
  dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "%s" } } }"""
