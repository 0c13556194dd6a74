from __future__ import annotations

import io
import pickle
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.example_pb2 import Example
from ckptmgr.cli.main import main
from ckptmgr.cli.saved_model_inputs import parse_examples, parse_exprs, parse_files, read_inputs
from tests.cli.captured import captured
from tests.saved_model.models import add_signature, meta_graph, node, write

CLASS = "RuntimeError: ", "ValueError: ", "AttributeError: "


@pytest.fixture(autouse=True)
def _among_golden_files(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder like that of the golden files, for outputs are written beside them."""
    for name in ("cli_outputs", "saved_model_tf1", "saved_model_tf2"):
        shutil.copytree(golden / name, tmp_path / name, ignore=shutil.ignore_patterns("out"))
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, status: int = 0) -> None:
    assert main(["saved-model", "run", *arguments]) == status


SERVING = ("--dir=saved_model_tf1/export", "--tag_set=serve", "--signature_def=serving_default")
LOOKUP = (*SERVING[:2], "--signature_def=lookup")


@pytest.mark.parametrize(
    "name",
    [
        "badfmt",
        "badkey",
        "both",
        "exprs",
        "noeq",
        "noinput",
        "np_rejected",
        "npz1",
        "npz2_b",
        "npz2_badname",
        "npz2_noname",
        "str",
        "tf2",
    ],
)
def test_prints_what_tensorflow_printed(
    golden: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = captured(golden, f"smc_run_{name}")

    # The shell's quotes are gone from what was captured, with those of the literal.
    arguments = [argument.replace("[bar,zz]", '["bar","zz"]') for argument in theirs.arguments]
    status = main(["saved-model", *arguments])

    ours = capsys.readouterr()
    assert (ours.out, status) == (theirs.out, theirs.status)
    if theirs.error is not None:
        problem = theirs.error
        for kind in CLASS:
            problem = problem.removeprefix(kind)
        assert ours.err == f"ckptmgr: {problem}\n"


def test_outputs_are_saved(
    golden: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("npy_outdir", "npy_again", "npy_overwrite"):
        theirs = captured(golden, f"smc_run_{name}")
        status = main(["saved-model", *theirs.arguments])
        assert (capsys.readouterr().out, status) == (theirs.out, theirs.status)
    saved = np.load("cli_outputs/out/y.npy")
    assert np.array_equal(saved, np.load(golden / "cli_outputs" / "out" / "y.npy"))
    assert 'contains a single ndarray. Name key "ignored" ignored' in caplog.text


@pytest.mark.parametrize(("name", "inputs"), [("pkl_dict", "d.pkl[k]"), ("pkl_list", "l.pkl")])
def test_a_pickle_only_where_that_is_asked_for(
    golden: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    name: str,
    inputs: str,
) -> None:
    theirs = captured(golden, f"smc_run_{name}")
    if name == "pkl_dict":
        # Theirs is of NumPy 2, which NumPy 1 does not read.
        Path("cli_outputs/d.pkl").write_bytes(pickle.dumps({"k": np.ones((1, 3), np.float32)}))

    assert main(["saved-model", *theirs.arguments]) == 1
    assert "add --allow_pickle to read one that you trust" in capsys.readouterr().err
    assert not caplog.text
    assert main(["saved-model", *theirs.arguments, "--allow_pickle"]) == theirs.status
    assert capsys.readouterr().out == theirs.out
    assert f"{inputs.partition('[')[0]} is read as a pickle, which can run any code" in caplog.text


class Exploding:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def test_a_pickle_is_not_even_opened(capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a.pkl", Exploding()), ("b.npy", Exploding())):
        if name.endswith(".npy"):
            np.save(name, np.array([value], object))
        else:
            Path(name).write_bytes(pickle.dumps(value))
        run(*SERVING, f"--inputs=x={name}", status=1)
        assert f"Input file {name}" in capsys.readouterr().err
    np.savez("c.npz", a=np.array([Exploding()], object))
    run(*SERVING, "--inputs=x=c.npz", status=1)
    assert not Path("exploded").exists()


def test_what_cannot_be_fed(capsys: pytest.CaptureFixture[str]) -> None:
    for inputs, problem in (
        ("--inputs=x=nowhere.npy", "nowhere.npy: No such file"),
        ("--inputs=x=saved_model_tf1/export/assets/vocab_src.txt", "is neither .npy nor .npz"),
        ('--input_exprs=x="text"', "x:0"),
        ("--input_exprs=x=[[1.0]]", "Cannot feed value of shape (1, 1) for Tensor x:0"),
    ):
        run(*SERVING, inputs, status=1)
        assert problem in capsys.readouterr().err
    run(*SERVING[:2], "--signature_def=nope", "--input_exprs=x=1", status=1)
    assert 'Could not find signature "nope". Please choose from: lookup, serving_default' in (
        capsys.readouterr().err
    )


def test_an_output_cannot_choose_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of_a_model_with_output("../y", tmp_path)
    run(*flags)
    assert capsys.readouterr().out == "Result for output key ../y:\n1.5\n"
    run(*flags, "--outdir=out", status=1)
    assert "output key '../y' cannot be the name of a file" in capsys.readouterr().err
    assert not Path("y.npy").exists()


def test_the_name_of_an_output_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(*flags_of_a_model_with_output("\x1b[31m", tmp_path), "--outdir=out")
    assert capsys.readouterr().out == (
        "Result for output key \\x1b[31m:\n1.5\nOutput \\x1b[31m is saved to out/\\x1b[31m.npy\n"
    )


def flags_of_a_model_with_output(key: str, folder: Path) -> tuple[str, ...]:
    graph = meta_graph("serve")
    add_signature(graph, "k", inputs="x", outputs=key)
    graph.signature_def["k"].outputs[key].name = "x:0"
    made = node("x", "Placeholder")
    made.attr["dtype"].type = 1  # type: ignore[assignment]
    made.attr["shape"].shape.unknown_rank = True
    graph.graph_def.node.append(made)
    directory = write(folder / "model", graph)
    return f"--dir={directory}", "--tag_set=serve", "--signature_def=k", "--input_exprs=x=1.5"


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def zipped(content: bytes, **changes: int) -> bytes:
    """An archive of one member, some bytes of whose two headers are others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    data = bytearray(buffer.getvalue())
    central = data.index(b"PK\x01\x02")
    for name, value in changes.items():
        at = {"flags": 6, "method": 8, "crc": 14}[name]
        data[at] = data[central + at + 2] = value
    return bytes(data)


ONE = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }") + b"\0" * 4
HUGE = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }")


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04",
        zipped(ONE, flags=1),
        zipped(ONE, method=97),
        zipped(ONE, crc=0),
        zipped(ONE).replace(zipped(ONE)[40:50], b"\xff" * 10),
        zipped(HUGE),
        HUGE,
        npy("{'a':\0"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }") + b"\0" * 4,
    ],
    ids=[
        "no archive",
        "encrypted",
        "unknown compression",
        "wrong checksum",
        "not compressed",
        "huge in an archive",
        "huge",
        "NUL in the header",
        "a shape of truth",
    ],
)
def test_a_damaged_array_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(errors.InvalidArgument, match=r"x\.npz cannot be read"):
        read_inputs(f"x={path}", "", "")


# --------------------------------------------------------------------------- the options


def test_files() -> None:
    assert parse_files("a=x.npy;b=y/z.npz[n 1];;") == {
        "a": ("x.npy", None),
        "b": ("y/z.npz", "n 1"),
    }


def test_expressions() -> None:
    assert parse_exprs('a=[1, 2.5];b={"k": (True, None)};c="x=y"') == {
        "a": [1, 2.5],
        "b": {"k": (True, None)},
        "c": "x=y",
    }


@pytest.mark.parametrize(
    "expression", ["", "[", "open('x')", "a.b", "1+'x'", "[" * 10_000, "\0", "f'{1}'", "lambda: 1"]
)
def test_what_is_no_literal(expression: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="is not a valid python literal"):
        parse_exprs(f"x={expression}")


def test_examples() -> None:
    found = parse_examples('k=[{"a": [1.0, 2], "s": ["é"], "b": [b"\\x00"], "n": [7, 8]}, {}]')

    first, second = (Example.FromString(data).features.feature for data in found["k"])
    assert list(first["a"].float_list.value) == [1.0, 2.0]
    assert list(first["s"].bytes_list.value) == ["é".encode()]
    assert list(first["b"].bytes_list.value) == [b"\0"]
    assert list(first["n"].int64_list.value) == [7, 8]
    assert not second


@pytest.mark.parametrize(
    ("examples", "problem"),
    [
        ("{}", "tf.Example input must be a list of dictionaries, but"),
        ("[1]", "must be a dictionary of features, found 1"),
        ('[{"a": 1}]', 'feature value must be a list, but a: "1" is'),
        ('[{"a": []}]', "feature value must be a list"),
        ('[{"a": [None]}]', "is not supported for tf.train.Feature"),
        ('[{"a": [1, "b"]}]', "are not all of one kind"),
        ('[{"a": ["b", 1]}]', "are not all of one kind"),
        (f'[{{"a": [{2**70}]}}]', "are not all of one kind"),
    ],
)
def test_what_is_no_example(examples: str, problem: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=problem):
        parse_examples(f"k={examples}")


def test_the_last_option_wins(caplog: pytest.LogCaptureFixture) -> None:
    found = read_inputs("x=cli_outputs/x.npy;y=cli_outputs/x.npy", "x=1;z=2", "z=[{}]")

    assert found["x"] == 1
    assert found["z"] == [b""]
    assert found["y"].shape == (2, 3)
    assert "input_key x has been specified with both --inputs and --input_exprs" in caplog.text
    assert "input_key z has been specified in multiple options" in caplog.text


# --------------------------------------------------------------------------- documentation

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir("saved_model_tf1")
    command = "run --dir export --tag_set serve --signature_def serving_default"
    inputs = "--input_exprs 'x=[[1.0, 2.0, 3.0]]'"

    assert main(["saved-model", *shlex.split(f"{command} {inputs}")]) == 0

    shown = f"```console\n$ ckptmgr saved-model {command} \\\n    {inputs}\n"
    assert f"{shown}{capsys.readouterr().out}```\n" in PAGE.read_text()
