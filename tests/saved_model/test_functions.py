from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr import errors, saved_model
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.cli.saved_model_run import run_signature
from ckptmgr.saved_model.arguments import RaggedTensor
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.saved_model.signatures import SparseTensor
from tests.saved_model.models import add_signature, link_to_blobs, meta_graph, node, write


def f32(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def i32(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def i64(values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


Expected = dict[str, "np.ndarray[Any, Any]"]

MADE = (
    "mlp1",
    "cnn1",
    "lstm1",
    "lstm1_switch",
    "embedding1",
    "examples1",
    "transformer1",
    "mlp2",
    "cnn2",
    "lstm2",
    "gru2",
    "embedding2",
    "transformer2",
)


def as_objects(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(object) if array.dtype.kind == "S" else array


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    expected = as_objects(np.asarray(expected))
    assert np.asarray(found).dtype == expected.dtype
    if expected.dtype == object:
        assert np.array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------- made by TensorFlow now


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", MADE)
def test_answers_what_tensorflow_answers(made_models: Path, name: str) -> None:
    model = saved_model.load(made_models / name)
    with np.load(made_models / f"{name}.npz") as stored:
        inputs = {key[3:]: as_objects(stored[key]) for key in stored if key.startswith("in:")}
        outputs = {key[4:]: stored[key] for key in stored if key.startswith("out:")}

    answers = model.signatures["serving_default"](**inputs)

    assert answers.keys() == outputs.keys()
    for key, expected in outputs.items():
        assert_close(answers[key], expected, 1e-4)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", MADE)
def test_a_session_answers_the_same(made_models: Path, name: str) -> None:
    """As a server runs it: with the operations of the graph, those of TensorFlow 2 models too."""
    meta_graph = read_saved_model(made_models / name).meta_graphs[0]
    with np.load(made_models / f"{name}.npz") as stored:
        inputs = {key[3:]: as_objects(stored[key]) for key in stored if key.startswith("in:")}
        outputs = {key[4:]: stored[key] for key in stored if key.startswith("out:")}

    answers = run_signature(str(made_models / name), meta_graph, "serving_default", inputs)

    assert [key for key, _ in answers] == sorted(outputs)
    for key, answer in answers:
        assert_close(answer, outputs[key], 1e-4)


# --------------------------------------------------------------------------- golden models


def test_a_model_of_tensorflow_1(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf1")
    model = saved_model.load(golden / "saved_model_tf1" / "export", tags=["serve"])

    assert sorted(model.signatures) == ["lookup", "serving_default"]
    served = model.signatures["serving_default"]
    assert_close(served(x=expected["serving_default:x"])["y"], expected["serving_default:y"], 1e-5)
    assert_close(served([[1, 0, -1]])["y"], expected["serving_default:y"], 1e-5)
    found = model.signatures["lookup"](tokens=expected["lookup:tokens"])
    assert_close(found["ids"], expected["lookup:ids"], 0)
    assert repr(served) == (
        "<Signature 'serving_default' (x: float32 (?, 3)) -> (y: float32 (?, 2))>"
    )


def test_the_other_meta_graph(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf1")
    model = saved_model.load(golden / "saved_model_tf1" / "export", tags=["gpu", "train"])

    x = expected["serving_default:x"]
    y = x @ expected["w"] + expected["bias"]
    assert_close(model.signatures["train_step"](x=x)["loss"], f32((y**2).sum()), 1e-5)


def test_several_meta_graphs_need_tags(golden: Path) -> None:
    with pytest.raises(
        errors.InvalidArgument, match=r"with tag sets: \[\['serve'\], \['train', 'g"
    ):
        saved_model.load(golden / "saved_model_tf1" / "export")
    with pytest.raises(errors.TagsNotFound, match="with tags 'train' could not be found"):
        saved_model.load(golden / "saved_model_tf1" / "export", tags="train")


@pytest.mark.parametrize("folder", ["saved_model_tf1/simple", "saved_model_tf2/module"])
def test_a_signature_that_is_missing(golden: Path, folder: str) -> None:
    model = saved_model.load(golden / folder)
    with pytest.raises(KeyError, match=r"no signature 'nope'; its signatures are .*'serving_def"):
        model.signatures["nope"]
    assert model.signatures.get("nope") is None


def test_what_simple_save_wrote(golden: Path) -> None:
    model = saved_model.load(golden / "saved_model_tf1" / "simple")
    assert_close(model.signatures["serving_default"](x=[1, 2])["y"], f32([3, 6]), 1e-5)


def test_a_module(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf2")
    model = saved_model.load(golden / "saved_model_tf2" / "module")

    x = f32([[1, 0, -1], [2, 2, 2]])
    y = x @ expected["module:w"] + expected["module:b"]
    assert_close(model.signatures["serving_default"](x=x)["y"], y, 1e-5)
    assert_close(model.serve(x)["y"], y, 1e-5)
    ids = model.signatures["lookup"](tokens=["bar", "nope", b"foo"])["ids"]
    assert_close(ids, i64([1, -1, 0]), 0)
    assert sorted(model.functions) == ["free", "lookup", "serve"]
    assert_close(model.functions["free"](f32(2)), f32(3), 0)
    assert_close(model.free(i32([1, 2]), flag=False), i32([0, 1]), 0)

    assert_close(model.w.numpy(), expected["module:w"], 0)
    assert_close(np.asarray(model.b), expected["module:b"], 0)
    assert (model.w.trainable, model.b.trainable) == (True, False)
    assert model.sub["k/1.x"].numpy() == expected["module:k1"]
    assert model.sub["lst"][0].numpy() == expected["module:t"]
    assert Path(model.asset.asset_path).read_text() == "foo\nbar\nbaz\n"
    assert {"w", "free", "signatures"} <= set(dir(model))
    with pytest.raises(AttributeError, match=r"no root.servee. Did you mean 'serve'?"):
        model.servee  # noqa: B018
    with pytest.raises(KeyError):
        model.sub["nope"]


def test_what_keras_exported(golden: Path, load_expected: Callable[[str], Expected]) -> None:
    expected = load_expected("saved_model_tf2")
    model = saved_model.load(golden / "saved_model_tf2" / "keras_export")

    (output,) = model.signatures["serving_default"](expected["keras_export:in"]).values()
    assert_close(output, expected["keras_export:out"], 1e-5)
    assert_close(model.serve(expected["keras_export:in"]), expected["keras_export:out"], 1e-5)


def test_every_signature_gives_what_tensorflow_gives(tf: Any, golden: Path) -> None:
    random = np.random.default_rng(1)
    for folder in ("keras_legacy/saved_model", "saved_model_tf2/keras_export"):
        theirs = tf.saved_model.load(str(golden / folder))
        model = saved_model.load(golden / folder)
        assert model.signatures.keys() == theirs.signatures.keys()
        for key, signature in model.signatures.items():
            inputs = {
                name: random.normal(size=[abs(dim.size) for dim in info.tensor_shape.dim]).astype(
                    "f"
                )
                for name, info in signature.inputs.items()
            }
            expected = theirs.signatures[key](**{k: tf.constant(v) for k, v in inputs.items()})
            found = signature(**inputs)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert_close(found[name], value.numpy(), 1e-5)


# --------------------------------------------------------------------------- functions


@pytest.fixture(scope="module")
def module(made_models: Path) -> Any:
    return saved_model.load(made_models / "embedding2")


@pytest.mark.tensorflow
def test_functions_by_name(module: Any) -> None:
    assert [int(module.count()) for _ in range(3)] == [1, 2, 3]
    assert module.calls.numpy() == 3
    assert [int(module.fibonacci(n)) for n in (0, 1, 10, 13)] == [0, 1, 55, -233]
    assert_close(module.seen_before(["b", "c"]), i64([2, -1]), 0)

    by_two = module.scaled(f32([1, 2]))
    assert_close(by_two["result"][0], f32([2, 4]), 0)
    assert_close(by_two["shape"][0], i32([2]), 0)
    assert by_two["shape"][1] is None
    assert_close(module.scaled(i32([1, 2]), negate=True)["result"][0], f32([-2, -4]), 0)
    assert_close(module.scaled(1.5, 3)["result"][0], f32(4.5), 0)
    assert_close(module.layers[1].numpy(), f32(2.5), 0)


@pytest.mark.tensorflow
def test_tensors_of_several_parts(module: Any) -> None:
    sparse = SparseTensor(i64([[0, 1], [2, 3]]), f32([1, 2]), i64([3, 4]))
    doubled = module.doubled(sparse)
    assert_close(doubled.values, f32([2, 4]), 0)
    assert_close(doubled.indices, sparse.indices, 0)
    rows = module.doubled_rows(RaggedTensor(f32([1, 2, 3]), (i64([0, 2, 3]),)))
    assert_close(rows.flat_values, f32([2, 4, 6]), 0)
    assert_close(rows.row_splits[0], i64([0, 2, 3]), 0)


@pytest.mark.tensorflow
def test_calls_that_fit_no_trace(module: Any) -> None:
    for call, problem in (
        (lambda: module.scaled(1.5, 4), r"traced with\n  1. \(\(TensorSpec"),
        (module.scaled, "needs the argument 'x'"),
        (lambda: module.scaled(1.0, 2, 3), "takes 2 positional arguments, found 3"),
        (lambda: module.scaled(1.0, bye=2), "has no argument 'bye'. Did you mean 'by'?"),
        (lambda: module.fibonacci(1.5), "must be int32 of shape ()"),
        (lambda: module.serve([1, 2]), "must be string of shape"),
        (lambda: module(1), "root of the model cannot be called"),
    ):
        with pytest.raises(errors.SignatureError, match=problem):
            call()


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "takes the inputs 'x', found none"),
        ((), {"y": 1}, "takes the inputs 'x', found 'y'"),
        ((1, 2), {}, "takes its inputs by name: 'x'"),
        (([["a"]],), {}, "input 'x' of signature 'serving_default' must be float32"),
        (([[1.0, 2.0]],), {}, r"of shape \(\?, 3\), found shape \(1, 2\)"),
        ((np.zeros((1, 3), complex),), {}, "found complex128"),
        (([[1], [2, 3]],), {}, "values that make no tensor"),
    ],
)
def test_calls_that_do_not_fit(
    golden: Path, args: tuple[Any, ...], kwargs: dict[str, Any], problem: str
) -> None:
    for folder in ("saved_model_tf1/export", "saved_model_tf2/module"):
        signature = saved_model.load(golden / folder, "serve").signatures["serving_default"]
        with pytest.raises(errors.SignatureError, match=problem):
            signature(*args, **kwargs)


def test_what_is_passed_and_given_is_the_callers(golden: Path) -> None:
    model = saved_model.load(golden / "saved_model_tf2" / "module")
    x = np.zeros((1, 3), np.float32)
    first = model.serve(x)["y"]
    first += 1
    x += 1
    model.w.numpy()[:] = 0

    assert not np.array_equal(model.serve(np.zeros((1, 3), np.float32))["y"], first)


@pytest.mark.tensorflow
def test_what_a_model_keeps_is_its_own(made_models: Path) -> None:
    model = saved_model.load(made_models / "embedding2")
    x = np.ones((3, 2), np.float32)
    answer = model.replace(x)
    x += 1
    answer += 1

    assert_close(model.layers[0].numpy(), np.ones((3, 2), np.float32), 0)
    other = saved_model.load(made_models / "embedding2")
    assert not np.array_equal(other.layers[0].numpy(), model.layers[0].numpy())


# --------------------------------------------------------------------------- hostile models


def changed(golden: Path, target: Path, folder: str) -> tuple[SavedModel, Path]:
    shutil.copytree(golden / folder, target)
    return read_saved_model(target), target / "saved_model.pb"


def test_an_asset_outside_of_the_folder(golden: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(("saved_model_tf1/export", "saved_model_tf2/module")):
        model, path = changed(golden, tmp_path / str(number), folder)
        graph = model.meta_graphs[0]
        if graph.asset_file_def:
            graph.asset_file_def[0].filename = "../../x"
        else:
            wrapped = graph.collection_def["saved_model_assets"].any_list.value[0]
            wrapped.value = wrapped.value.replace(b"vocab_src.txt", b"../../../../x")
        path.write_bytes(model.SerializeToString())
        with pytest.raises(errors.MalformedGraph, match="leads out of the model's folder"):
            saved_model.load(path.parent, "serve")


def test_what_contradicts_itself_names_the_model(golden: Path, tmp_path: Path) -> None:
    model, path = changed(golden, tmp_path / "model", "saved_model_tf2/module")
    del model.meta_graphs[0].object_graph_def.nodes[:]
    model.meta_graphs[0].object_graph_def.SetInParent()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(errors.MalformedGraph, match="has no root") as caught:
        saved_model.load(path.parent)
    assert caught.value.path == str(path.parent)


def test_a_signature_with_what_is_no_shape(golden: Path, tmp_path: Path) -> None:
    model, path = changed(golden, tmp_path / "model", "saved_model_tf1/simple")
    model.meta_graphs[0].signature_def["serving_default"].inputs["x"].tensor_shape.dim.add(size=-5)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(errors.InvalidGraph, match="negative size"):
        saved_model.load(path.parent)


def test_a_variable_without_a_value(golden: Path, tmp_path: Path) -> None:
    model, path = changed(golden, tmp_path / "model", "saved_model_tf2/module")
    root = model.meta_graphs[0].object_graph_def.nodes[0]
    (child,) = (child for child in root.children if child.local_name == "w")
    child.local_name = "v"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(
        errors.TensorNotFound, match=r"no value for the variable 'w:?0?' \(root.v\)"
    ):
        saved_model.load(path.parent)


@pytest.mark.parametrize(
    ("field", "kind", "problem"),
    [
        ("shape", errors.ShapeMismatch, r"has shape \(4, 2\), its value 'w/.ATTRIBUTES/"),
        ("dtype", errors.DtypeMismatch, "of the model is float64, its value"),
    ],
)
def test_a_variable_of_another_kind(
    golden: Path, tmp_path: Path, field: str, kind: type[Exception], problem: str
) -> None:
    model, path = changed(golden, tmp_path / "model", "saved_model_tf2/module")
    objects = model.meta_graphs[0].object_graph_def
    (number,) = (c.node_id for c in objects.nodes[0].children if c.local_name == "w")
    if field == "shape":
        objects.nodes[number].variable.shape.dim[0].size = 4
    else:
        objects.nodes[number].variable.dtype = 2  # type: ignore[assignment]
    path.write_bytes(model.SerializeToString())

    with pytest.raises(kind, match=problem):
        saved_model.load(path.parent)


def test_no_variables(golden: Path, tmp_path: Path) -> None:
    for folder in ("saved_model_tf1/export", "saved_model_tf2/module"):
        target = tmp_path / folder
        shutil.copytree(golden / folder, target)
        shutil.rmtree(target / "variables")
        with pytest.raises(errors.CheckpointError, match="variables"):
            saved_model.load(target, "serve")


def reading(path: str) -> MetaGraphDef:
    """A model whose only signature reads a file."""
    graph = meta_graph("serve")
    add_signature(graph, "serving_default", outputs="content")
    graph.signature_def["serving_default"].outputs["content"].dtype = 7  # type: ignore[assignment]
    name = node("name", "Const")
    name.attr["dtype"].type = 7  # type: ignore[assignment]
    name.attr["value"].tensor.dtype = 7  # type: ignore[assignment]
    name.attr["value"].tensor.string_val.append(path.encode())
    name.attr["value"].tensor.tensor_shape.SetInParent()
    graph.graph_def.node.extend([name, node("content", "ReadFile", "name")])
    return graph


def test_an_operation_that_reads_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("42")
    directory = write(tmp_path / "model", reading(str(secret)))

    model = saved_model.load(directory)
    with pytest.raises(errors.OpRefused, match="ReadFile operation 'content' touches files"):
        model.signatures["serving_default"]()


def test_a_path_that_a_function_captured(golden: Path, tmp_path: Path) -> None:
    """A constant instead of an asset: what fills the table would read any file."""
    secret = tmp_path / "secret.txt"
    secret.write_text("bar\n")
    model, path = changed(golden, tmp_path / "model", "saved_model_tf2/module")
    graph = model.meta_graphs[0]
    name = node("path", "Const")
    name.attr["dtype"].type = 7  # type: ignore[assignment]
    name.attr["value"].tensor.dtype = 7  # type: ignore[assignment]
    name.attr["value"].tensor.string_val.append(str(secret).encode())
    graph.graph_def.node.append(name)
    (asset,) = (n for n in graph.object_graph_def.nodes if n.WhichOneof("kind") == "asset")
    asset.constant.operation = "path"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(
        errors.OpRefused, match=r"would read '.*secret.txt', a path that it brought"
    ):
        saved_model.load(path.parent)
    allowed = saved_model.load(path.parent, allow_ops=["InitializeTableFromTextFileV2"])
    assert_close(allowed.lookup(["bar"])["ids"], i64([0]), 0)


@pytest.mark.parametrize("folder", ["saved_model_tf1/export", "saved_model_tf2/module"])
def test_assets_that_are_links(golden: Path, tmp_path: Path, folder: str) -> None:
    snapshot = link_to_blobs(golden / folder, tmp_path)
    with pytest.raises(
        errors.OpRefused,
        match=r"would read '.*/snapshots/rev/assets/[^']*', which leads to '.*/blobs/\d', .* "
        r"allow it with allow_ops=\('InitializeTableFromTextFileV2',\), of Session or of saved_m",
    ):
        saved_model.load(snapshot, "serve")
    model = saved_model.load(snapshot, "serve", allow_ops=["InitializeTableFromTextFileV2"])
    lookup = model.signatures["lookup"]
    assert_close(next(iter(lookup(["bar"]).values())), i64([1]), 0)


def test_a_model_is_copied_and_pickled(golden: Path) -> None:
    model = saved_model.load(golden / "saved_model_tf2" / "module")
    pickled = pickle.loads(pickle.dumps(model))  # noqa: S301 - its own
    for again in (copy.deepcopy(model), pickled):
        assert_close(again.signatures["lookup"](["bar"])["ids"], i64([1]), 0)


RESTORES = """
node { name: "path" op: "Placeholder" attr { key: "dtype" value { type: DT_STRING } } }
node { name: "n" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
    string_val: "t" } } } }
node { name: "s" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
    string_val: "" } } } }
node { name: "out" op: "RestoreV2" input: "path" input: "n" input: "s"
  attr { key: "dtypes" value { list { type: DT_FLOAT } } } }
"""


def test_a_path_that_is_the_default_of_an_input(tmp_path: Path) -> None:
    graph = meta_graph("serve")
    text_format.Parse(RESTORES, graph.graph_def)
    add_signature(graph, "restore", inputs="path", outputs="out")
    definition = graph.signature_def["restore"]
    definition.inputs["path"].dtype = 7  # type: ignore[assignment]
    default = definition.defaults["path"]
    default.dtype = 7  # type: ignore[assignment]
    default.tensor_shape.SetInParent()
    default.string_val.append(str(tmp_path / "run").encode())
    model = saved_model.load(write(tmp_path / "model", graph))

    with pytest.raises(errors.OpRefused, match=r"would read '.*run', a path that it brought along"):
        model.signatures["restore"]()
    with pytest.raises(errors.OperandNotFound, match="Failed to find any matching files"):
        model.signatures["restore"](path=str(tmp_path / "run"))


RESTORES_IN_A_FUNCTION = """
graph_def { library { function {
  signature { name: "restore" input_arg { name: "path" type: DT_STRING }
    output_arg { name: "out" type: DT_FLOAT } }
  node_def { name: "n" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
    attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
      string_val: "t" } } } }
  node_def { name: "s" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
    attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
      string_val: "" } } } }
  node_def { name: "r" op: "RestoreV2" input: "path" input: "n:output:0" input: "s:output:0"
    attr { key: "dtypes" value { list { type: DT_FLOAT } } } }
  ret { key: "out" value: "r:tensors:0" }
} } }
object_graph_def {
  nodes { children { node_id: 1 local_name: "f" } children { node_id: 2 local_name: "g" }
    children { node_id: 3 local_name: "signatures" } user_object {} }
  nodes { function { concrete_functions: "restore" function_spec { fullargspec {
    named_tuple_value { name: "FullArgSpec"
      values { key: "args" value { list_value { values { string_value: "path" } } } }
      values { key: "defaults" value { tuple_value { values { string_value: "%s" } } } }
  } } } } }
  nodes { bare_concrete_function { concrete_function_name: "restore" argument_keywords: "p" } }
  nodes { children { node_id: 4 local_name: "restore" } user_object {} }
  nodes { bare_concrete_function { concrete_function_name: "restore" argument_keywords: "path" } }
  concrete_functions { key: "restore" value {
    canonicalized_input_signature { tuple_value {
      values { tuple_value { values {
        tensor_spec_value { shape {} dtype: DT_STRING } } } } values { dict_value {} } } }
    output_signature { dict_value { fields { key: "out" value {
      tensor_spec_value { shape {} dtype: DT_FLOAT } } } } }
  } }
}
"""


def restoring(tmp_path: Path) -> Any:
    """A model of TensorFlow 2 whose function restores from the path that it is given."""
    graph = meta_graph("serve")
    text_format.Parse(RESTORES_IN_A_FUNCTION % (tmp_path / "run"), graph)
    add_signature(graph, "restore", inputs="path", outputs="out")
    graph.signature_def["restore"].inputs["path"].dtype = 7  # type: ignore[assignment]
    return saved_model.load(write(tmp_path / "model", graph))


@pytest.mark.parametrize("kind", ["text", "bytes", "array"])
def test_a_path_that_is_the_default_of_a_parameter(tmp_path: Path, kind: str) -> None:
    model = restoring(tmp_path)
    path = str(tmp_path / "run")
    given = {"text": path, "bytes": path.encode(), "array": np.array(path.encode(), object)}

    with pytest.raises(errors.OpRefused, match=r"would read '.*run', a path that it brought along"):
        model.f()
    with pytest.raises(errors.OperandNotFound, match="Failed to find any matching files"):
        model.f(given[kind])


def test_a_function_that_two_objects_give_other_names(tmp_path: Path) -> None:
    model = restoring(tmp_path)
    path = str(tmp_path / "run")

    for call in (model.signatures["restore"], model.g):
        with pytest.raises(errors.OperandNotFound, match="Failed to find any matching files"):
            call(path)
    with pytest.raises(errors.OperandNotFound, match="Failed to find any matching files"):
        model.signatures["restore"](path=path)


def test_two_values_for_one_input(tmp_path: Path) -> None:
    model = restoring(tmp_path)
    with pytest.raises(errors.SignatureError, match="'restore' is given two values for 'path'"):
        model.signatures["restore"]("a", path="b")
    with pytest.raises(errors.SignatureError, match="takes p, found 1 values in order and p by"):
        model.g("a", p="b")


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_model(golden: Path, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Whatever the file says, it loads or it is refused."""
    folder = data.draw(st.sampled_from(["saved_model_tf1/export", "saved_model_tf2/module"]))
    target = tmp_path_factory.getbasetemp() / "damaged" / folder
    if not target.exists():
        shutil.copytree(golden / folder, target)
    content = bytearray((golden / folder / "saved_model.pb").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    (target / "saved_model.pb").write_bytes(content)
    try:
        model = saved_model.load(target, "serve")
    except errors.CheckpointError:
        return
    repr(model.signatures)


def test_a_signature_of_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    graph = meta_graph("serve")
    add_signature(graph, "k", inputs="x", outputs="y")
    with pytest.raises(
        errors.NodeNotFound, match=r"signature 'k', 'x': .*'x:0' refers to a Tensor"
    ):
        saved_model.load(write(tmp_path / "model", graph))


def test_functions_that_contradict_the_objects(golden: Path, tmp_path: Path) -> None:
    def without_function(graph: MetaGraphDef) -> None:
        del graph.graph_def.library.function[:]

    def captures_all(graph: MetaGraphDef) -> None:
        for trace in graph.object_graph_def.concrete_functions.values():
            trace.bound_inputs.extend([0] * 50)

    def captures_the_root(graph: MetaGraphDef) -> None:
        for trace in graph.object_graph_def.concrete_functions.values():
            for place in range(len(trace.bound_inputs)):
                trace.bound_inputs[place] = 0

    def without_signature(graph: MetaGraphDef) -> None:
        del graph.signature_def["serving_default"]

    def other_asset(graph: MetaGraphDef) -> None:
        for item in graph.object_graph_def.nodes:
            if item.WhichOneof("kind") == "asset":
                item.asset.asset_file_def_index = 7

    for number, (change, problem) in enumerate(
        (
            (without_function, "has no function"),
            (captures_all, "captures more than it takes"),
            (captures_the_root, "which has no value: it is a user_object"),
            (without_signature, "does not describe its signature 'serving_default'"),
            (other_asset, "no such asset: expected one of 1, found 7"),
        )
    ):
        model, path = changed(golden, tmp_path / str(number), "saved_model_tf2/module")
        change(model.meta_graphs[0])
        path.write_bytes(model.SerializeToString())
        with pytest.raises(errors.GraphError, match=problem):
            saved_model.load(path.parent)
