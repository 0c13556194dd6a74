"""Each recipe gives the same numbers and files with us and with TensorFlow, from either's files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from google.protobuf.message import Message

import ckptmgr
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel

HERE = Path(__file__).parent
ENGINES = ("ckptmgr", "tensorflow")
# Of one length, so that a path in a message can be replaced by another.
FOLDERS = {"ckptmgr": "ours", "tensorflow": "real"}
RECIPES = (
    "save_and_restore",
    "restore_two_ways",
    "some_variables",
    "other_names",
    "moving_averages",
    "meta_graph_as_json",
    "write_and_import_graph",
    "save_in_a_loop",
    "monitored_session",
    "saved_model_by_hand",
    "simple_save",
    "freeze",
)

#: What is allowed to be another thing than TensorFlow's in the messages of a recipe's files.
ALLOWED = {
    # Holds messages as bytes, with a map in each, whose order is left to chance;
    # tests/graph/test_moving_average.py compares what they say.
    "moving_averages": r"collection cond_context",
    "monitored_session": r"collection cond_context",
    # TensorFlow loses them when it removes nodes.
    "freeze": r"versions",
}


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("run_recipes", HERE / "run_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_child(engine: str, jobs: list[tuple[str, str, str]]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "run_recipes.py"), engine],
        input=json.dumps(jobs),
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return results


class Runs:
    """Everything that both engines wrote, and read of their own and of each other's."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for engine in ENGINES:
            for recipe in RECIPES:
                self.directory(engine, recipe).mkdir(parents=True)
        ours = runner()
        ours.run("ckptmgr", self._jobs("write", ["ckptmgr"]))
        written = self._jobs("write", ["tensorflow"])
        read = self._jobs("read", ENGINES)
        of_tensorflow = in_child("tensorflow", [*written, *read])[len(written) :]
        of_ours = ours.run("ckptmgr", read)
        self._read = {
            (reader, directory, recipe): result
            for reader, results in (("ckptmgr", of_ours), ("tensorflow", of_tensorflow))
            for (recipe, _, directory), result in zip(read, results, strict=True)
        }

    def directory(self, engine: str, recipe: str) -> Path:
        return self.base / FOLDERS[engine] / recipe

    def _jobs(self, function: str, engines: Any) -> list[tuple[str, str, str]]:
        return [
            (recipe, function, str(self.directory(engine, recipe)))
            for engine in engines
            for recipe in RECIPES
        ]

    def read(self, writer: str, reader: str, recipe: str) -> Any:
        return self._read[reader, str(self.directory(writer, recipe)), recipe]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("recipes"))


def test_every_recipe_is_tested() -> None:
    there = {path.stem for path in (HERE.parents[1] / "examples" / "recipes").glob("[!_]*.py")}
    assert there == set(RECIPES)


@pytest.mark.tensorflow
@pytest.mark.parametrize("reader", ENGINES)
@pytest.mark.parametrize("writer", ENGINES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_numbers_are_tensorflows(runs: Runs, recipe: str, writer: str, reader: str) -> None:
    expected = runs.read("tensorflow", "tensorflow", recipe)
    assert_same(runs.read(writer, reader, recipe), expected, recipe)


def assert_same(found: Any, expected: Any, what: str) -> None:
    if isinstance(expected, dict) and "values" in expected:
        assert (found["dtype"], found["shape"]) == (expected["dtype"], expected["shape"]), what
        np.testing.assert_allclose(found["values"], expected["values"], 1e-6, 1e-7, err_msg=what)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), what
        for key, value in expected.items():
            assert_same(found[key], value, f"{what}: {key}")
    else:
        assert found == expected, what


# --------------------------------------------------------------------------- files


@pytest.mark.tensorflow
@pytest.mark.parametrize("recipe", RECIPES)
def test_files_are_tensorflows(runs: Runs, recipe: str) -> None:
    ours, real = (dict(files(runs.directory(engine, recipe))) for engine in ENGINES)
    assert ours.keys() == real.keys()
    allowed = re.compile(ALLOWED.get(recipe, r"(?!)"))
    for path, content in real.items():
        if isinstance(content, dict):
            compared = {key for key in (*content, *ours[path]) if not allowed.match(key)}
            for key in sorted(compared):
                assert key in content, f"{path}: {key} is ours only"
                assert key in ours[path], f"{path}: {key} is TensorFlow's only"
                np.testing.assert_equal(ours[path][key], content[key], f"{path}: {key}")
        else:
            assert ours[path] == content, path


def files(directory: Path) -> Iterator[tuple[str, Any]]:
    """Each file by its path, as what can be compared; without our own and those of summaries."""
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        is_compared = ".ckptmgr" not in relative.parts and "tfevents" not in path.name
        if path.is_file() and is_compared:
            # What is saved again counts its shards otherwise, as long as both generations stand.
            yield re.sub(r"(\.data-\d{5})-of-\d{5}$", r"\1", str(relative)), comparable(path)


def comparable(path: Path) -> Any:
    if path.suffix == ".index":
        with ckptmgr.load_checkpoint(path.with_suffix("")) as reader:
            return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    if ".data-" in path.name:
        return "data"
    message = parsed(path)
    if message is None:
        return as_ours(path.read_bytes())
    if isinstance(message, GraphDef):
        return of_graph(message)
    found: dict[str, Any] = {}
    graphs: list[Any] = [message]
    if isinstance(message, SavedModel):
        graphs = list(message.meta_graphs)
    for meta_graph in graphs:
        found |= of_meta_graph(meta_graph)
    return found


def parsed(path: Path) -> Message | None:
    data = path.read_bytes()
    if path.suffix == ".meta":
        return MetaGraphDef.FromString(data)
    if path.name == "saved_model.pb":
        return SavedModel.FromString(data)
    if path.suffix == ".pb":
        return GraphDef.FromString(data)
    if path.suffix == ".pbtxt":
        return text_format.Parse(data, GraphDef())
    if path.name == "model.txt":
        return text_format.Parse(data, MetaGraphDef())
    if path.suffix == ".json":
        return json_format.Parse(data, MetaGraphDef())
    return None


def as_ours(data: bytes) -> bytes:
    return data.replace(b"/real/", b"/ours/")


def of_meta_graph(meta_graph: MetaGraphDef) -> dict[str, Any]:
    info = meta_graph.meta_info_def
    return {
        **of_graph(meta_graph.graph_def),
        "tags": list(info.tags),
        "ops": [as_bytes(op) for op in info.stripped_op_list.op],
        "stripped_default_attrs": info.stripped_default_attrs,
        "saver": as_bytes(meta_graph.saver_def),
        **{f"collection {k}": as_bytes(v) for k, v in meta_graph.collection_def.items()},
        **{f"signature {k}": as_bytes(v) for k, v in meta_graph.signature_def.items()},
        "assets": [as_bytes(asset) for asset in meta_graph.asset_file_def],
    }


def of_graph(graph: GraphDef) -> dict[str, Any]:
    """Node by node, so that a failure tells which is another; and their order."""
    nodes: dict[str, Any] = {f"node {node.name}": text(node) for node in graph.node}
    return {
        **nodes,
        "order": [node.name for node in graph.node],
        "versions": as_bytes(graph.versions),
    }


def text(message: Message) -> str:
    return text_format.MessageToString(message).replace("/real/", "/ours/")


def as_bytes(message: Message) -> bytes:
    return as_ours(message.SerializeToString(deterministic=True))
