from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors, saved_model
from ckptmgr._proto.meta_graph_pb2 import SignatureDef
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.session import Session
from ckptmgr.graph.variables import Variable, global_variables_initializer
from ckptmgr.saved_model.builder import SavedModelBuilder, simple_save
from ckptmgr.saved_model.directory import asset_files, contains_saved_model, read_saved_model
from ckptmgr.saved_model.signatures import build_signature_def, predict_signature_def
from ckptmgr.storage import Fault, FaultInjectingStorage, PosixStorage, ProcessKilled


def f32(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def i64(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


class Model:
    """y = x @ w + b, and the line number of a word in a file."""

    def __init__(self, vocabulary: Path | None = None) -> None:
        self.graph = graph = Graph()
        with graph.as_default():
            self.x = self._placeholder("float32", (None, 2), "x")
            w = Variable(f32([[1, 2], [3, 4]]), name="w", use_resource=False)
            b = Variable(f32([0.5, -0.5]), name="b", use_resource=True)
            product = create_op(graph, "MatMul", [self.x, w.value()]).outputs[0]
            self.y = create_op(graph, "AddV2", [product, b.value()], name="y").outputs[0]
            self.initializer = global_variables_initializer()
            self.main_op: Operation | None = None
            if vocabulary is not None:
                self._add_table(str(vocabulary))

    def _placeholder(self, dtype: str, shape: Any, name: str) -> Tensor:
        attrs = {"dtype": dtype, "shape": shape}
        return create_op(self.graph, "Placeholder", (), attrs, name).outputs[0]

    def _add_table(self, path: str) -> None:
        graph = self.graph
        self.asset = constant(graph, path, name="vocabulary")
        graph.add_to_collection(GraphKeys.ASSET_FILEPATHS, self.asset)
        types = {"key_dtype": "string", "value_dtype": "int64"}
        table = create_op(graph, "HashTableV2", (), types, "table").outputs[0]
        self.main_op = create_op(
            graph,
            "InitializeTableFromTextFileV2",
            [table, self.asset],
            {"key_index": -2, "value_index": -1, "vocab_size": -1, "delimiter": "\t"},
            "fill",
        )
        self.words = self._placeholder("string", (None,), "words")
        default = constant(graph, i64(-1))
        self.ids = create_op(
            graph, "LookupTableFindV2", [table, self.words, default], name="ids"
        ).outputs[0]

    def session(self) -> Session:
        session = Session(graph=self.graph)
        session.run(self.initializer)
        return session

    def signature(self) -> dict[str, SignatureDef]:
        return {"serving_default": predict_signature_def({"x": self.x}, {"y": self.y})}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("foo\nbar\n")
    return path


X = f32([[1, 1], [2, 0]])
Y = f32([[4.5, 5.5], [2.5, 3.5]])


def exported(directory: Path, vocabulary: Path) -> str:
    """Two MetaGraphs, two signatures, an asset."""
    model = Model(vocabulary)
    signatures = model.signature()
    signatures["lookup"] = predict_signature_def({"words": model.words}, {"ids": model.ids})
    builder = SavedModelBuilder(directory)
    with model.session() as session:
        builder.add_meta_graph_and_variables(
            session, ["serve"], signatures, [model.asset], main_op=model.main_op
        )
    other = Model()
    with other.graph.as_default():
        builder.add_meta_graph(
            ["train", "gpu"], other.signature(), clear_devices=True, strip_default_attrs=True
        )
    return builder.save()


# --------------------------------------------------------------------------- what is written


def test_what_is_built_is_loaded(tmp_path: Path, vocabulary: Path) -> None:
    directory = tmp_path / "model"
    assert exported(directory, vocabulary) == str(directory / "saved_model.pb")
    vocabulary.unlink()

    model = saved_model.load(directory, ["serve"])
    assert np.array_equal(model.signatures["serving_default"](x=X)["y"], Y)
    ids = model.signatures["lookup"](words=["bar", "?", "foo"])["ids"]
    assert ids.tolist() == [1, -1, 0]
    trained = saved_model.load(directory, ["gpu", "train"])
    assert np.array_equal(trained.signatures["serving_default"](x=X)["y"], Y)

    message = read_saved_model(directory)
    first, second = message.meta_graphs
    assert message.saved_model_schema_version == 1
    assert [asset.filename for asset in asset_files(first)] == ["words.txt"]
    assert not asset_files(second)
    assert second.meta_info_def.stripped_default_attrs
    assert first.saver_def.sharded
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    assert names == [
        "assets",
        "assets/words.txt",
        "saved_model.pb",
        "variables",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]


@pytest.mark.tensorflow
def test_tensorflow_loads_it(tf: Any, tmp_path: Path, vocabulary: Path) -> None:
    directory = str(tmp_path / "model")
    exported(tmp_path / "model", vocabulary)
    vocabulary.unlink()

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], directory)
        assert np.array_equal(session.run("y:0", {"x:0": X}), Y)
        found = session.run(
            loaded.signature_def["lookup"].outputs["ids"].name, {"words:0": ["bar", "?"]}
        )
        assert found.tolist() == [1, -1]
    model = tf.saved_model.load(directory, tags=["train", "gpu"])
    answer = model.signatures["serving_default"](x=tf.constant(X))
    assert np.array_equal(answer["y"].numpy(), Y)


@pytest.mark.tensorflow
def test_saved_model_cli_accepts_it(tmp_path: Path, vocabulary: Path) -> None:
    directory = str(tmp_path / "model")
    exported(tmp_path / "model", vocabulary)
    tool = Path(__file__).parents[1] / "cli" / "tensorflow_tools.py"
    flags = ["--dir", directory, "--tag_set", "serve", "--signature_def"]
    commands = [
        ["saved_model_cli", "run", *flags, "serving_default", "--input_exprs", "x=[[1.0,1.0]]"],
        ["saved_model_cli", "run", *flags, "lookup", "--input_exprs", 'words=["bar"]'],
    ]
    done = subprocess.run(
        [sys.executable, str(tool)],
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    answers = [answer["out"] for answer in json.loads(done.stdout)]
    assert answers == [
        "Result for output key y:\n[[4.5 5.5]]\n",
        "Result for output key ids:\n[1]\n",
    ]


def test_as_text(tmp_path: Path, vocabulary: Path) -> None:
    model = Model(vocabulary)
    builder = SavedModelBuilder(tmp_path / "model")
    with model.session() as session:
        builder.add_meta_graph_and_variables(session, ["serve"], None, [model.asset])
    text, binary = builder.save(as_text=True), builder.save()

    assert text.endswith("saved_model.pbtxt")
    content = Path(text).read_text()
    assert 'type_url: "type.googleapis.com/tensorflow.AssetFileDef"' in content
    expected = read_saved_model(tmp_path / "model")
    Path(binary).unlink()
    assert read_saved_model(tmp_path / "model") == expected


def test_simple_save(tmp_path: Path, vocabulary: Path) -> None:
    model = Model(vocabulary)
    with model.session() as session:
        simple_save(
            session,
            tmp_path / "model",
            {"x": model.x, "words": model.words},
            {"y": model.y, "ids": model.ids},
            legacy_init_op=model.main_op,
        )
    vocabulary.unlink()

    loaded = saved_model.load(tmp_path / "model")
    answer = loaded.signatures["serving_default"](x=X, words=["foo"])
    assert np.array_equal(answer["y"], Y)
    assert answer["ids"].tolist() == [0]


def test_what_is_in_assets_extra_stays(tmp_path: Path) -> None:
    builder = SavedModelBuilder(tmp_path / "model")
    with Model().session() as session:
        builder.add_meta_graph_and_variables(session, ["serve"])
    (tmp_path / "model" / "assets.extra").mkdir()
    (tmp_path / "model" / "assets.extra" / "note").write_text("mine")
    builder.save()
    assert (tmp_path / "model" / "assets.extra" / "note").read_text() == "mine"


def test_a_model_without_variables(tmp_path: Path) -> None:
    graph = Graph()
    with graph.as_default():
        x = create_op(graph, "Placeholder", (), {"dtype": "float32", "shape": ()}, "x").outputs[0]
        y = create_op(graph, "Neg", [x]).outputs[0]
    with Session(graph=graph) as session:
        simple_save(session, tmp_path / "model", {"x": x}, {"y": y})

    assert saved_model.load(tmp_path / "model").signatures["serving_default"](2)["y"] == -2


# --------------------------------------------------------------------------- what is refused


def test_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    SavedModelBuilder(tmp_path / "model")
    (tmp_path / "model" / "x").touch()
    with pytest.raises(errors.InvalidExport, match="already exists, and isn't empty") as caught:
        SavedModelBuilder(tmp_path / "model")
    assert isinstance(caught.value, AssertionError)


def test_calls_out_of_order(tmp_path: Path) -> None:
    builder = SavedModelBuilder(tmp_path / "model")
    with pytest.raises(errors.InvalidExport, match="has not been saved yet"):
        builder.add_meta_graph(["serve"])
    with Model().session() as session:
        builder.add_meta_graph_and_variables(session, ["serve"])
        with pytest.raises(errors.InvalidExport, match="has already been saved"):
            builder.add_meta_graph_and_variables(session, ["serve"])


def test_what_no_loader_could_follow(tmp_path: Path) -> None:
    model = Model()
    builder = SavedModelBuilder(tmp_path / "model")
    empty = {"k": build_signature_def({"x": saved_model.build_tensor_info(model.x)})}
    empty["k"].inputs["x"].ClearField("name")
    with model.session() as session:
        with pytest.raises(errors.InvalidTensorInfo):
            builder.add_meta_graph_and_variables(session, ["serve"], empty)
        with pytest.raises(errors.InvalidArgument, match="tags must be a list of strings"):
            builder.add_meta_graph_and_variables(session, "serve")
        with pytest.raises(errors.GraphTypeError, match="to be an Operation but got type"):
            builder.add_meta_graph_and_variables(session, ["serve"], main_op=model.y)  # type: ignore[arg-type]
        assert not list((tmp_path / "model").iterdir())
        main_op = create_op(model.graph, "NoOp")
        model.graph.add_to_collection("legacy_init_op", main_op)
        with pytest.raises(errors.GraphError, match="one or more main ops under the collection l"):
            builder.add_meta_graph_and_variables(session, ["serve"], main_op=main_op)


# --------------------------------------------------------------------------- crashes


def test_a_crash_leaves_the_whole_model_or_none(tmp_path: Path, vocabulary: Path) -> None:
    for number in itertools.count(1):
        directory = tmp_path / str(number)
        storage = FaultInjectingStorage(PosixStorage(), [Fault(at=number, kill=True)])
        model = Model(vocabulary)
        try:
            builder = SavedModelBuilder(directory, storage=storage)
            with model.session() as session:
                builder.add_meta_graph_and_variables(
                    session, ["serve"], model.signature(), [model.asset], main_op=model.main_op
                )
            builder.save()
        except ProcessKilled:
            if not contains_saved_model(directory):
                continue
        answer = saved_model.load(directory).signatures["serving_default"](x=X)
        assert np.array_equal(answer["y"], Y)
        if not storage.is_killed:
            break
    assert number > 10


def test_everything_is_synced_before_the_model_is_there(tmp_path: Path, vocabulary: Path) -> None:
    storage = FaultInjectingStorage(PosixStorage())
    model = Model(vocabulary)
    builder = SavedModelBuilder(tmp_path / "deep" / "model", storage=storage)
    with model.session() as session:
        builder.add_meta_graph_and_variables(session, ["serve"], None, [model.asset])
    builder.save()

    names = [(call.method, Path(call.path).name) for call in storage.calls]
    committed = max(i for i, (method, _) in enumerate(names) if method == "rename")
    for call in (
        ("sync_file", "variables.index"),
        ("sync_file", "variables.data-00000-of-00001"),
        ("sync_dir", "variables"),
        ("sync_dir", "assets"),
        ("sync_dir", "model"),
    ):
        assert call in names[:committed]
    assert {("sync_dir", "model"), ("sync_dir", "deep")} <= set(names[committed:])
