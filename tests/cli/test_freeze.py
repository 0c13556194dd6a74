"""`ckptmgr freeze`: what TensorFlow freezes, from a graph, a .meta file or a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr.cli.main import main
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def, read_graph_def
from ckptmgr.graph.session import Session


@pytest.fixture(autouse=True)
def _among_golden_files(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(golden)


@pytest.mark.parametrize(
    "source",
    [
        ["--input_graph=graphs/graph.pb"],
        ["--input_graph=graphs/graph.pbtxt"],
        ["--input_meta_graph=graphs/model.meta"],
        ["--input_meta_graph=graphs/model.meta.txt", "--output_text"],
    ],
)
def test_as_tensorflow_froze_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: list[str]
) -> None:
    output = tmp_path / "new" / "frozen.pb"
    arguments = ["--input_checkpoint=graphs/ema.ckpt", "--output_node_names=y"]
    assert main(["freeze", *source, *arguments, f"--output_graph={output}"]) == 0
    frozen = read_graph_def(output)
    wanted = read_graph_def("graphs/frozen.pb")
    for node in frozen.node:
        node.attr.pop("_output_shapes", None)
    assert frozen.node == wanted.node
    printed = capsys.readouterr().out
    assert printed == f"{len(wanted.node)} ops in the final graph: {output}\n"


def _run(path: Path, fetch: str, feeds: dict[str, Any]) -> Any:
    graph = Graph()
    import_graph_def(read_graph_def(path), name="", graph=graph)
    with Session(graph=graph) as session:
        return session.run(fetch, feeds)


@pytest.mark.parametrize(
    ("folder", "feed", "fetch", "values"),
    [
        ("saved_model_tf1/export", "x:0", "y", ("serving_default:x", "serving_default:y")),
        (
            "saved_model_tf2/keras_export",
            "serving_default_keras_tensor:0",
            "StatefulPartitionedCall_1",
            ("keras_export:in", "keras_export:out"),
        ),
    ],
)
def test_saved_models_of_both_versions(
    tmp_path: Path,
    load_expected: Any,
    folder: str,
    feed: str,
    fetch: str,
    values: tuple[str, str],
) -> None:
    expected = load_expected(folder.partition("/")[0])
    output = tmp_path / "frozen.pb"
    arguments = [f"--output_node_names={fetch}", f"--output_graph={output}"]
    assert main(["freeze", f"--input_saved_model_dir={folder}", *arguments]) == 0
    found = _run(output, f"{fetch}:0", {feed: expected[values[0]]})
    np.testing.assert_allclose(found, expected[values[1]], rtol=1e-5)


FAILURES = [
    (["--input_graph=graphs/graph.pb", "--output_node_names=y"], "--input_checkpoint is needed"),
    (
        ["--input_graph=graphs/graph.pb", "--input_checkpoint=absent", "--output_node_names=y"],
        "absent",
    ),
    (
        [
            "--input_graph=graphs/graph.pb",
            "--input_checkpoint=graphs/ema.ckpt",
            "--output_node_names=z",
        ],
        "z is not in graph.",
    ),
    (["--input_saved_model_dir=graphs", "--output_node_names=y"], "SavedModel"),
    (
        [
            "--input_saved_model_dir=saved_model_tf1/export",
            "--saved_model_tags=x",
            "--output_node_names=y",
        ],
        "tag-set x could not be found",
    ),
]


@pytest.mark.parametrize(("arguments", "problem"), FAILURES)
def test_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    output = tmp_path / "frozen.pb"
    assert main(["freeze", *arguments, f"--output_graph={output}"]) == 1
    assert problem in capsys.readouterr().err
    assert not output.exists()


def test_a_command_line_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["freeze", "--output_node_names=y", "--output_graph=g"]) == 2
    assert "--input_graph" in capsys.readouterr().err
