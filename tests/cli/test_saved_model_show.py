from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr.cli.main import main
from tests.cli.captured import captured
from tests.saved_model.models import (
    add_function,
    add_signature,
    add_trace,
    meta_graph,
    node,
    write,
)


@pytest.fixture(autouse=True)
def _among_golden_files(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(golden)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(["saved-model", *arguments]) == status
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "scan",
        "scan_denylist",
        "scan_tag_denylist",
        "show_all_keras_legacy",
        "show_all_simple",
        "show_all_tf1",
        "show_all_tf2_keras",
        "show_all_tf2_module",
        "show_gpu",
        "show_listops",
        "show_listops_notag",
        "show_sig",
        "show_sigs",
        "show_tagsets",
    ],
)
def test_prints_what_tensorflow_printed(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = captured(golden, f"smc_{name}")

    status = main(["saved-model", *theirs.arguments])

    assert capsys.readouterr().out == theirs.out
    assert status == (1 if "denylist" in name else 0)  # TensorFlow's status is 0 in any case


@pytest.mark.parametrize("name", ["badsig", "badtag", "nodir"])
def test_fails_in_the_words_of_tensorflow(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = captured(golden, f"smc_show_{name}")
    assert theirs.error is not None

    assert main(["saved-model", *theirs.arguments]) == theirs.status

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"ckptmgr: {theirs.error.partition(': ')[2]}")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show"], "the following arguments are required: --dir"),
        (["show", "--dir", "d", "--all=perhaps"], "'perhaps' is neither true nor false"),
        (["frob"], "invalid choice: 'frob'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(["saved-model", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_flags_may_have_values(capsys: pytest.CaptureFixture[str]) -> None:
    where = ("show", "--dir", "saved_model_tf1/simple")
    assert printed(capsys, *where, "--all=false") == printed(capsys, *where)
    assert printed(capsys, *where, "--all=true") == printed(capsys, *where, "--all")


def test_tags_in_any_order_and_spacing(capsys: pytest.CaptureFixture[str]) -> None:
    where = ("show", "--dir", "saved_model_tf1/export", "--tag_set")
    assert 'SignatureDef key: "train_step"' in printed(capsys, *where, "gpu, train")


def test_no_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = meta_graph()
    add_signature(graph, "k")
    directory = write(tmp_path, graph)

    assert printed(capsys, "show", "--dir", directory, "--tag_set", "") == (
        "The given SavedModel MetaGraphDef contains SignatureDefs with the following keys:\n"
        'SignatureDef key: "k"\n'
    )
    assert printed(capsys, "show", "--dir", directory) == (
        "The given SavedModel contains the following tag-sets:\n''\n"
    )


def test_tensors_of_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = meta_graph("serve")
    add_signature(graph, "k", inputs="b a", outputs="out")
    signature = graph.signature_def["k"]
    signature.inputs["a"].tensor_shape.dim.add(size=-1)
    signature.inputs["a"].tensor_shape.dim.add(size=3)
    signature.inputs["b"].tensor_shape.unknown_rank = True
    signature.outputs["out"].coo_sparse.values_tensor_name = "v:0"
    signature.outputs["out"].dtype = 99  # type: ignore[assignment]  # of a later TensorFlow
    directory = write(tmp_path, graph)

    text = printed(capsys, "show", "--dir", directory, "--tag_set=serve", "--signature_def=k")

    assert text.splitlines() == [
        "The given SavedModel SignatureDef contains the following input(s):",
        "  inputs['a'] tensor_info:",
        "      dtype: DT_FLOAT",
        "      shape: (-1, 3)",
        "      name: a:0",
        "  inputs['b'] tensor_info:",
        "      dtype: DT_FLOAT",
        "      shape: unknown_rank",
        "      name: b:0",
        "The given SavedModel SignatureDef contains the following output(s):",
        "  outputs['out'] tensor_info:",
        "      dtype: 99",
        "      shape: ()",
        "      name: ",
        "Method name is: ",
    ]


def test_maps_are_sorted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argument = StructuredValue()
    for key in "zebra":
        argument.dict_value.fields[key].string_value = key.upper()
    graph = meta_graph("serve")
    add_trace(graph, "f", "__inference_f_1", argument)
    named = graph.object_graph_def.concrete_functions["__inference_f_1"]
    for key in "zyx":
        fields = named.canonicalized_input_signature.tuple_value.values[1].dict_value.fields
        fields[key].none_value.SetInParent()

    text = printed(capsys, "show", "--all", "--dir", write(tmp_path, graph))

    assert text.partition("Concrete Functions:\n")[2].splitlines() == [
        "  Function Name: 'f'",
        "    Option #1",
        "      Callable with:",
        "        Argument #1",
        "          DType: dict",
        "          Value: {'a': 'A', 'b': 'B', 'e': 'E', 'r': 'R', 'z': 'Z', \b\b}",
        "        Named Argument #1",
        "          x",
        "        Named Argument #2",
        "          y",
        "        Named Argument #3",
        "          z",
    ]


def test_a_name_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "a\n\x1b[2Jb"
    graph = meta_graph(evil)
    graph.graph_def.node.append(node(evil, evil))
    add_signature(graph, evil, inputs=evil, outputs=evil)
    graph.signature_def[evil].inputs["x"].name = evil
    add_trace(graph, evil, evil, StructuredValue(string_value=evil))
    directory = write(tmp_path, graph)

    tags = f"--tag_set={evil}"
    signature = f"--signature_def={evil}"
    for arguments in (["--all"], [tags], [tags, "--list_ops"], [tags, signature], []):
        text = printed(capsys, "show", "--dir", directory, *arguments)
        assert "[2J" in text
        assert "\x1b" not in text
    main(["saved-model", "show", "--dir", directory, tags, "--signature_def=k"])
    assert "\x1b" not in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "show", "--dir", "saved_model_tf2/module", "--json"))

    assert found["directory"] == "saved_model_tf2/module"
    (graph,) = found["meta_graphs"]
    assert graph.keys() == {"tags", "tensorflow_version", "signatures", "ops", "functions"}
    assert graph["tags"] == ["serve"]
    assert graph["signatures"][1] == {
        "key": "lookup",
        "method_name": "tensorflow/serving/predict",
        "inputs": [
            {
                "key": "tokens",
                "dtype": "DT_STRING",
                "shape": [-1],
                "name": "lookup_tokens:0",
                "components": [],
            }
        ],
        "outputs": [
            {
                "key": "ids",
                "dtype": "DT_INT64",
                "shape": [-1],
                "name": "StatefulPartitionedCall:0",
                "components": [],
            }
        ],
    }
    assert graph["ops"] == sorted(graph["ops"])
    assert graph["functions"][0]["name"] == "free"
    assert graph["functions"][0]["options"][0] == {
        "arguments": [
            {"type": "TensorSpec", "name": "x", "dtype": "float32", "shape": []},
            {"type": "bool", "value": "True"},
            {"type": "tuple", "value": "('a', 'b')"},
        ],
        "named_arguments": {},
    }


def test_json_of_one_meta_graph(capsys: pytest.CaptureFixture[str]) -> None:
    where = ("show", "--dir", "saved_model_tf1/export", "--json", "--tag_set")

    (graph,) = json.loads(printed(capsys, *where, "gpu,train"))["meta_graphs"]
    assert graph["tags"] == ["train", "gpu"]

    printed(capsys, *where, "serve", "--signature_def=nope", status=1)


# --------------------------------------------------------------------------- scan


def suspicious_model(directory: Path) -> str:
    graph = meta_graph("serve")
    graph.graph_def.node.append(node("w", "WriteFile"))
    add_function(graph, "__inference_f_1", *(node(f"r{i}", "ReadFile") for i in range(12)))
    graph.asset_file_def.add(filename="../../etc/passwd")
    return write(directory, graph)


def test_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = suspicious_model(tmp_path)

    text = printed(capsys, "scan", "--dir", directory, status=1)

    denied = "{'ReadFile', 'WriteFile'}"
    reads = ", ".join(f"'r{i}' in function '__inference_f_1'" for i in range(10))
    assert text.splitlines() == [
        f"MetaGraph with tag set ['serve'] contains the following denylisted ops: {denied}",
        "",
        "MetaGraph with tag set ['serve'], when it is run:",
        f"  reads files: ReadFile at {reads} and 2 more",
        "  the name of an asset leads out of the model's folder: '../../etc/passwd'",
        "  writes files: WriteFile at 'w'",
    ]


def test_scan_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = suspicious_model(tmp_path)

    text = printed(capsys, "scan", "--dir", directory, "--op_denylist=Mul", "--json", status=1)

    found: dict[str, Any] = json.loads(text)
    assert (found["suspicious"], found["denylist"]) == (True, ["Mul"])
    (graph,) = found["meta_graphs"]
    assert (graph["tags"], graph["denylisted"], len(graph["findings"])) == (["serve"], [], 14)
    assert graph["findings"][0] == {
        "effect": "writes files",
        "op": "WriteFile",
        "node": "w",
        "function": None,
    }


def test_scan_of_an_empty_denylist_is_of_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write(tmp_path, meta_graph("serve"))
    assert printed(capsys, "scan", "--dir", directory, "--op_denylist=") == (
        "MetaGraph with tag set ['serve'] does not contain the default denylisted ops: "
        "{'PrintV2', 'ReadFile', 'WriteFile'}\n"
    )


# --------------------------------------------------------------------------- documentation

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_example(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(golden / "saved_model_tf1")
    command = "show --dir export --tag_set serve --signature_def serving_default"

    text = printed(capsys, *command.split())

    assert f"```console\n$ ckptmgr saved-model {command}\n{text}```\n" in PAGE.read_text()


def test_the_example_of_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = meta_graph("serve")
    graph.graph_def.node.append(node("log", "WriteFile"))
    add_function(graph, "__inference_answer_12", node("key", "ReadFile"))
    graph.asset_file_def.add(filename="../../.ssh/id_ed25519")
    write(Path("downloaded"), graph)

    text = printed(capsys, "scan", "--dir", "downloaded", status=1)

    shown = f"```console\n$ ckptmgr saved-model scan --dir downloaded\n{text}```\n"
    assert shown in PAGE.read_text()


@pytest.mark.parametrize("command", ["show", "scan"])
def test_keys_are_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    directory = suspicious_model(tmp_path) if command == "scan" else "saved_model_tf2/module"
    main(["saved-model", command, "--dir", directory, "--json"])
    found = json.loads(capsys.readouterr().out)
    text = PAGE.read_text()
    described = text[text.index(f"`ckptmgr saved-model {command} --dir DIR --json`") :]

    keys = set(keys_in(found))
    assert len(keys) > 5
    assert {key for key in keys if f"`{key}`" not in described} == set()


def keys_in(value: Any) -> Iterator[str]:
    """Every key in a JSON value, however deep."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from keys_in(item)
