from __future__ import annotations

import base64
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import Saver, errors
from ckptmgr.cli.inspect import json_value
from ckptmgr.cli.main import main
from ckptmgr.inspect_checkpoint import print_tensors_in_checkpoint_file
from tests.cli.captured import captured

PREFIX = "v2_saver/model.ckpt-5"


@pytest.fixture(autouse=True)
def _among_golden_files(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(golden)


@pytest.mark.parametrize(
    "name",
    [
        "all",
        "all_eq_false",
        "exclude",
        "multi_all",
        "multi_default",
        "multi_names",
        "names",
        "noargs",
        "obj_all",
        "one",
        "partitioned_all",
        "printoptions",
        "variant_all",
    ],
)
def test_prints_what_tensorflow_printed(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = captured(golden, f"inspect_{name}")

    status = main(["inspect", *theirs.arguments])

    assert (capsys.readouterr().out, status) == (theirs.out, theirs.status)


@pytest.mark.parametrize("name", ["bad_name", "no_eq", "none"])
def test_refuses_the_print_options_that_tensorflow_refuses(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = captured(golden, f"inspect_printoptions_{name}")
    assert theirs.error is not None

    assert main(["inspect", *theirs.arguments]) == theirs.status

    reason = theirs.error.partition("error: ")[2]
    assert capsys.readouterr().err.endswith(f"ckptmgr inspect: error: {reason}\n")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("precision=two", "'precision=two': invalid literal"),
        ("sign=x", "'sign=x': sign option must be one of"),
        ("suppress=perhaps", "'suppress=perhaps': neither true nor false"),
        ("=2", "'=2' is not in the form k=v."),
    ],
)
def test_refuses_a_print_option_that_numpy_would_refuse(
    capsys: pytest.CaptureFixture[str], option: str, reason: str
) -> None:
    assert main(["inspect", f"--file_name={PREFIX}", "--printoptions", option]) == 2
    assert f"argument --printoptions: {reason}" in capsys.readouterr().err


def test_print_options_are_for_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    before = np.get_printoptions()

    arguments = ["--tensor_name=layer1/b", "--printoptions", "suppress=true", "precision=1"]
    assert main(["inspect", f"--file_name={PREFIX}", *arguments]) == 0

    assert "[-0.5 -0.5 -0.5 -0.5]\n" in capsys.readouterr().out
    assert np.get_printoptions() == before


# --------------------------------------------------------------------------- where we differ


def test_partitioned_tensors_stand_with_their_slices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--file_name=v2_partitioned/model"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "big (DT_FLOAT) [20000], 2 slices: 0,10000 10000,10000",
        "one_part (DT_FLOAT) [4]",
        "p0 (DT_FLOAT) [10,4], 3 slices: 0,4:0,4 4,3:0,4 7,3:0,4",
        "plain (DT_FLOAT) [2]",
        "scope/p1 (DT_FLOAT) [5,6], 2 slices: 0,5:0,3 0,5:3,3",
        "",
        "# Total number of params: 20076",
    ]


def test_v1_is_sorted(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = captured(golden, "inspect_v1_default")
    *tensors, empty, total = theirs.out.splitlines()

    assert main(["inspect", *theirs.arguments]) == 0

    assert capsys.readouterr().out.splitlines() == [*sorted(tensors), empty, total]


def test_v1_has_no_dtypes_that_cannot_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--file_name=v1_ckpt/model.ckpt-10", "--all_tensors"]) == 0

    lines = capsys.readouterr().out.splitlines()
    at = lines.index("tensor: c128 (complex128) [2]")
    assert lines[at + 1].startswith("[")
    assert "j" in lines[at + 1]
    assert "tensor: part (float32) [7, 2]" in lines
    assert lines[-1] == "# Total number of params: 59"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--file_name=v2_saver/nope"], "no checkpoint at v2_saver/nope: v2_saver/nope.index does"),
        ([f"--file_name={PREFIX}.index"], f"give the prefix '{PREFIX}' instead"),
        ([f"--file_name={PREFIX}.meta"], f"give the prefix '{PREFIX}' instead"),
        (
            [f"--file_name={PREFIX}.data-00000-of-00001", "--all_tensors"],
            f"give the prefix '{PREFIX}' instead",
        ),
        (
            [f"--file_name={PREFIX}", "--tensor_name=layer1/W"],
            "Tensor layer1/W not found in checkpoint. Did you mean 'layer1/w'",
        ),
        ([f"--file_name={PREFIX}", "--count_exclude_pattern=("], "( is no regular expression:"),
    ],
)
def test_what_cannot_be_done_is_an_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(["inspect", *arguments]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ckptmgr: ")
    assert reason in err


def test_a_flag_that_is_neither_true_nor_false(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"--file_name={PREFIX}", "--all_tensors=perhaps"]) == 2
    assert "'perhaps' is neither true nor false" in capsys.readouterr().err


def test_a_name_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Saver({"w\x1b[2J": np.zeros(2)}).save(str(tmp_path / "evil"))

    assert main(["inspect", f"--file_name={tmp_path / 'evil'}"]) == 0

    assert capsys.readouterr().out.startswith("w\\x1b[2J (DT_DOUBLE) [2]\n")


# --------------------------------------------------------------------------- as a module


def test_as_a_module(golden: Path) -> None:
    theirs = captured(golden, "inspect_all")
    source = str(Path(__file__).parents[2])

    done = subprocess.run(
        [sys.executable, "-m", "ckptmgr.inspect_checkpoint", *theirs.arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([source, *filter(None, sys.path)])},
    )

    assert (done.stdout, done.stderr, done.returncode) == (theirs.out, "", 0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("all", (None, True)),
        ("all_eq_false", ("", False)),
        ("names", ("", False, True)),
        ("exclude", ("", False, True, "Adam|beta")),
        ("one", ("layer1/w", False)),
    ],
)
def test_the_function_that_programs_import(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str, arguments: tuple[Any, ...]
) -> None:
    print_tensors_in_checkpoint_file(PREFIX, *arguments)
    assert capsys.readouterr().out == captured(golden, f"inspect_{name}").out


def test_the_function_raises() -> None:
    with pytest.raises(errors.TensorNotFound, match="Tensor zzz not found in checkpoint"):
        print_tensors_in_checkpoint_file(PREFIX, "zzz", all_tensors=False)


# --------------------------------------------------------------------------- for programs


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["inspect", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = inspected(capsys, "--file_name=v2_partitioned/model", "--count_exclude_pattern=big")

    assert found.keys() == {
        "file_name",
        "tensors",
        "params",
        "excluded_tensors",
        "excluded_params",
    }
    assert (found["params"], found["excluded_tensors"], found["excluded_params"]) == (76, 1, 20000)
    assert found["tensors"][2] == {
        "name": "p0",
        "dtype": "float32",
        "shape": [10, 4],
        "slices": ["0,4:0,4", "4,3:0,4", "7,3:0,4"],
    }


def test_json_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    one = inspected(capsys, f"--file_name={PREFIX}", "--tensor_name=global_step")
    assert [tensor["value"] for tensor in one["tensors"]] == [5]

    variant = inspected(capsys, "--file_name=v2_variant/model", "--all_tensors")
    assert [tensor["value"] for tensor in variant["tensors"]] == [None, [1, 2, 3]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(-(2**63)), -(2**63)),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array([True, False]), [True, False]),
        (np.array([[0.5], [math.inf], [-math.inf]]), [[0.5], ["inf"], ["-inf"]]),
        (np.float16(math.nan), "nan"),
        (np.array([1 + 2j, complex(0, math.inf)]), [[1.0, 2.0], [0.0, "inf"]]),
        (np.array([1.5, 2], ml_dtypes.bfloat16), [1.5, 2.0]),
        (np.array([-8, 7], ml_dtypes.int4), [-8, 7]),
        (b"text", "text"),
        (np.array([b"", b"\xff"], object), ["", {"base64": base64.b64encode(b"\xff").decode()}]),
        (np.zeros((2, 0)), [[], []]),
    ],
)
def test_json_value(value: Any, expected: Any) -> None:
    found = json_value(value)
    assert found == expected
    assert json.loads(json.dumps(found)) == expected


# --------------------------------------------------------------------------- documentation

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_example(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(golden / "v2_saver")
    command = "--file_name=model.ckpt-5 --tensor_name=layer1/w --printoptions precision=2"

    assert main(["inspect", *command.split()]) == 0

    shown = f"```console\n$ ckptmgr inspect {command}\n{capsys.readouterr().out}```\n"
    assert shown in PAGE.read_text()


def test_keys_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    found = inspected(capsys, "--file_name=v2_multi/model", "--all_tensors")
    (described,) = re.findall(
        r"`ckptmgr inspect [^`]*--json`.*?\n\n(?=`ckptmgr)", PAGE.read_text(), re.DOTALL
    )
    keys = {*found, *(key for tensor in found["tensors"] for key in tensor), "base64"}
    assert {key for key in keys if f"`{key}`" not in described} == set()
