from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, PartitionedVariable, Saver
from ckptmgr.cli.main import main
from ckptmgr.cli.show import describe, render_checkpoint
from ckptmgr.storage import PosixStorage

NOW_SECS = 1_700_000_000.0
STATE = {
    "model": {"w": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float16)},
    "name": "run 7",
    "step": 3,
}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def save(directory: Path, *steps: int) -> None:
    with CheckpointManager(STATE, directory, clock=lambda: NOW_SECS) as manager:
        for step in steps:
            manager.save(
                step,
                metrics={"loss": 0.25, "accuracy": 1},
                metadata={"git": "abc", "config": {"lr": 0.1}},
            )


def shown(prefix: Path | str) -> list[str]:
    text = render_checkpoint(
        describe(PosixStorage(), str(prefix)), now_secs=NOW_SECS + 180, width=80
    )
    return text.splitlines()


def test_a_checkpoint_of_a_manager(tmp_path: Path) -> None:
    save(tmp_path, 3)
    prefix = tmp_path / "model.ckpt-3"
    size = sum(file.stat().st_size for file in tmp_path.glob("model.ckpt-3.*"))

    assert shown(prefix) == [
        str(prefix),
        "  step      3",
        "  saved     2023-11-14 22:13:20 +0000 (3 min ago)",
        f"  size      {size / 1024:.1f} KiB",
        "  metrics   accuracy 1",
        "            loss 0.25",
        '  metadata  git: "abc"',
        '            config: {"lr": 0.1}',
        "",
        "DTYPE    SHAPE     BYTES  NAME",
        "float16  [10]         20  model/b",
        "float32  [64, 10]  2,560  model/w",
        "string   []           10  name",
        "int64    []            8  step",
        "",
        "4 tensors, 651 parameters, 2.5 KiB",
    ]


def test_partitioned_and_sharded(golden: Path) -> None:
    assert shown(golden / "v2_sharded" / "model-3")[5:] == [
        "DTYPE    SHAPE   BYTES  STORED IN  NAME",
        "float32  [6]        24  shard 0    on0/a",
        "int32    [5]        20  shard 1    on1/b",
        "string   [3]        13  shard 2    on2/c",
        "float32  [4, 2]     32  2 slices   p",
        "",
        "4 tensors, 19 parameters, 89 B",
    ]


def test_v1(golden: Path) -> None:
    lines = shown(golden / "v1_ckpt" / "model.ckpt-10")

    assert lines[1] == "  step      10"
    assert "float32     [7, 2]     56  3 slices   part" in lines
    assert "string      [3]        27             s" in lines
    assert "complex128  [2]        32             c128" in lines
    assert lines[-1] == "16 tensors, 56 parameters, 272 B"


@pytest.mark.parametrize(
    "prefix",
    ["v2_multi/model", "v2_variant/model", "obj_ckpt/ckpt-3", "v2_partitioned/model"],
)
def test_names_dtypes_and_shapes_are_tensorflow_s(tf: Any, golden: Path, prefix: str) -> None:
    path = str(golden / prefix)
    reader = tf.train.load_checkpoint(path)
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()

    tensors = describe(PosixStorage(), path).tensors

    assert {t.name: (t.dtype, list(t.shape)) for t in tensors} == {
        name: (dtypes[name].name, shapes[name]) for name in shapes
    }
    assert [t.name for t in tensors] == sorted(t.name for t in tensors)


def test_what_the_saver_wrote(tmp_path: Path) -> None:
    parts = [((0, 0), np.ones((2, 2), np.float32)), ((2, 0), np.ones((1, 2), np.float32))]
    saver = Saver({"p": PartitionedVariable((3, 2), parts), "w": np.zeros(())})
    prefix = saver.save(str(tmp_path / "model"))
    assert prefix is not None

    tensors = describe(PosixStorage(), prefix).tensors

    assert [(t.name, t.shape, t.slices, t.size_bytes) for t in tensors] == [
        ("p", (3, 2), ("0,2:0,2", "2,1:0,2"), 24),
        ("w", (), (), 8),
    ]


def test_no_value_is_read(tmp_path: Path) -> None:
    """The data may be gone: what there is to tell is told, and that it is gone."""
    prefix = Saver({"w": np.zeros(4)}).save(str(tmp_path / "model"))
    assert prefix is not None
    shard = tmp_path / "model.data-00000-of-00001"
    shard.unlink()

    lines = shown(prefix)

    assert f"  DAMAGED   {shard}: the data shard is missing" in lines
    assert "float64  [4]       32  w" in lines


def test_names_that_would_steer_the_terminal(tmp_path: Path) -> None:
    prefix = Saver({"\x1b[2Jw": np.zeros(1), "ü": np.zeros(1)}).save(str(tmp_path / "model"))

    lines = shown(str(prefix))

    assert r"float64  [1]        8  \x1b[2Jw" in lines
    assert "float64  [1]        8  ü" in lines


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 3)

    assert main(["show", str(tmp_path / "model.ckpt-3"), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    tensors = found.pop("tensors")
    assert found == {
        "prefix": str(tmp_path / "model.ckpt-3"),
        "step": 3,
        "saved_at": "2023-11-14T22:13:20.000+00:00",
        "saved_at_secs": NOW_SECS,
        "size_bytes": sum(file.stat().st_size for file in tmp_path.glob("model.ckpt-3.*")),
        "metrics": {"accuracy": 1.0, "loss": 0.25},
        "metadata": {"git": "abc", "config": {"lr": 0.1}},
        "damaged": None,
        "totals": {"tensors": 4, "parameters": 651, "size_bytes": 2598},
    }
    assert tensors[1] == {
        "name": "model/w",
        "dtype": "float32",
        "shape": [64, 10],
        "size_bytes": 2560,
        "slices": [],
        "shard": 0,
    }


# --------------------------------------------------------------------------- which one


def first_line(capsys: pytest.CaptureFixture[str], target: Path | str) -> str:
    assert main(["show", str(target)]) == 0
    return capsys.readouterr().out.splitlines()[0]


def test_a_directory_means_its_latest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 3, 1)
    assert first_line(capsys, tmp_path) == str(tmp_path / "model.ckpt-1")

    (tmp_path / "checkpoint").unlink()  # both were saved in the same second
    assert first_line(capsys, tmp_path) == str(tmp_path / "model.ckpt-3")


def test_wrong_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "run", 100, 200)
    os.mkdir("empty")
    os.mkdir("gone")
    save(tmp_path / "gone", 1, 2)
    ckptmgr.remove_checkpoint("gone/model.ckpt-2")
    expected = {
        "run/model.ckpt-100.index": "give the prefix 'run/model.ckpt-100' instead",
        "run/model.ckpt-100.data-00000-of-00001": "give the prefix 'run/model.ckpt-100' instead",
        "run/model.ckpt-10": "Did you mean 'run/model.ckpt-100' or 'run/model.ckpt-200'?",
        "run/checkpoint": "is the checkpoint state of its directory; try 'ckptmgr show run'",
        "nowhere/model": "the directory nowhere does not exist",
        "empty": "no checkpoints in empty",
        ".": "no checkpoints in .; there are some in ./gone, ./run",
        "gone": "names a checkpoint that is not there; 'ckptmgr ls gone' lists those that are",
        "": "a path must not be empty",
    }
    for target, message in expected.items():
        assert main(["show", target]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("ckptmgr: ")
        assert message in shown.err
        assert shown.err.count("\n") == 1


def test_a_damaged_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1)
    index = tmp_path / "model.ckpt-1.index"
    index.write_bytes(index.read_bytes()[:-1])

    assert main(["show", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"ckptmgr: {index}: ")
