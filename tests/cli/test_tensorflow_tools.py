"""What we print is what TensorFlow's own tools print of the same files, now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptmgr.cli.main import main
from tests.cli.captured import sorted_sets

CHECKPOINTS = (
    "v2_multi/model",
    "v2_saver/model.ckpt-3",
    "v2_saver/rel-00000008",
    "v2_sharded/model-3",
    "v2_variant/model",
    "obj_ckpt/ckpt-3",
    "keras_legacy/ckpt-1",
    "saved_model_tf2/keras_export/variables/variables",
)
MODELS = (
    "saved_model_tf1/export",
    "saved_model_tf1/simple",
    "saved_model_tf2/module",
    "saved_model_tf2/keras_export",
    "keras_legacy/saved_model",
)
# In a sharded checkpoint a partitioned tensor is listed, on purpose, in another way.
LISTED = tuple(prefix for prefix in CHECKPOINTS if "sharded" not in prefix)
DENYLIST = "--op_denylist=MatMul, NoOp,Foo,"


def commands(functions: str) -> list[list[str]]:
    return [
        *(["inspect_checkpoint", f"--file_name={prefix}"] for prefix in LISTED),
        *(
            ["inspect_checkpoint", f"--file_name={prefix}", *flags]
            for prefix in CHECKPOINTS
            for flags in (
                ["--all_tensors", "--printoptions", "threshold=10", "edgeitems=1"],
                ["--all_tensor_names", "--count_exclude_pattern=^[a-m]"],
            )
        ),
        *(
            ["saved_model_cli", *flags, "--dir", directory]
            for directory in (*MODELS, functions)
            for flags in (
                ["show"],
                ["show", "--all"],
                ["show", "--list_ops"],
                ["show", "--tag_set=serve"],
                ["show", "--tag_set=serve", "--signature_def=serving_default", "--list_ops"],
                ["show", "--tag_set=serve", "--signature_def=nope"],
                ["show", "--tag_set=train,gpu"],
                ["scan"],
                ["scan", DENYLIST, "--tag_set=serve"],
            )
        ),
        ["saved_model_cli", "show", "--dir", "no such folder"],
    ]


@pytest.mark.tensorflow
def test_prints_what_tensorflow_prints(
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    functions = str(tmp_path / "functions")
    asked = commands(functions)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("tensorflow_tools.py")), functions],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=golden,
    )
    theirs = json.loads(done.stdout)

    monkeypatch.chdir(golden)
    compared = 0
    for command, expected in zip(asked, theirs, strict=True):
        assert ours(command, capsys) == wanted(expected), command
        compared += bool(expected["out"])
    assert compared > len(asked) // 2


def ours(command: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    tool, *arguments = command
    main(["inspect" if tool == "inspect_checkpoint" else "saved-model", *arguments])
    out, err = capsys.readouterr()
    return out, without_choices(err.removeprefix("ckptmgr: ").removesuffix("\n"))


def wanted(printed: dict[str, Any]) -> tuple[str, str]:
    return sorted_sets(printed["out"]), without_choices(printed["error"])


def without_choices(error: str) -> str:
    """TensorFlow lists keys and tags in the order of a hash table, and files not at all."""
    return error.partition("Please")[0].partition("/{")[0]
