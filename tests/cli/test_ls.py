from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, Saver
from ckptmgr.cli.ls import render_list
from ckptmgr.cli.main import main
from ckptmgr.lifecycle.listing import ListedCheckpoint

NOW_SECS = 1_700_000_000.0


def listed(step: int, age_secs: float, **fields: Any) -> ListedCheckpoint:
    defaults: dict[str, Any] = {"size_bytes": 1 << 20, "kept_because": "latest"}
    saved_at_secs = NOW_SECS - age_secs
    return ListedCheckpoint(f"run/model.ckpt-{step}", step, saved_at_secs, **(defaults | fields))


def lines(checkpoints: list[ListedCheckpoint], width: int = 80) -> list[str]:
    return render_list(checkpoints, now_secs=NOW_SECS, width=width).splitlines()


def test_a_column_per_metric() -> None:
    assert lines(
        [
            listed(100, 90_000, metrics={"loss": 0.91321}, kept_because="every 100 steps"),
            listed(250, 7000, metrics={"loss": 0.3, "accuracy": 0.5}, kept_because="best loss"),
            listed(300, 12, metrics={"loss": 1.0, "accuracy": 1.0}, latest=True, size_bytes=700),
        ]
    ) == [
        "   STEP      AGE     SIZE  accuracy    loss  KEPT BECAUSE",
        "    100     25 h  1.0 MiB         -  0.9132  every 100 steps",
        "    250  116 min  1.0 MiB       0.5  0.3000  best loss",
        "*   300     12 s    700 B       1.0  1.0000  latest",
        "",
        "3 checkpoints, 2.0 MiB; * is the latest: run/model.ckpt-300",
    ]


def test_many_metrics_share_a_column() -> None:
    many = {f"validation/metric_{number}": float(number) for number in range(4)}
    assert lines([listed(7, 60, metrics=many, latest=True)]) == [
        "   STEP   AGE     SIZE  KEPT BECAUSE  METRICS",
        "*     7  60 s  1.0 MiB  latest        validation/metric_0=0,",
        "                                      validation/metric_1=1,",
        "                                      validation/metric_2=2,",
        "                                      validation/metric_3=3",
        "",
        "1 checkpoint, 1.0 MiB; * is the latest: run/model.ckpt-7",
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_of_the_table_is_too_long(width: int) -> None:
    checkpoints = [
        listed(
            step,
            60,
            metrics={f"validation/metric_{number}": 1 / 3 for number in range(metrics)},
            kept_because="latest, hourly, every 1000 steps, best validation/metric_0, pinned",
        )
        for metrics in range(8)
        for step in (1, 123_456_789)
    ]
    assert max(map(len, lines(checkpoints, width))) <= width


def test_damage_is_told_below() -> None:
    damage = "run/model.ckpt-1.index: the checksum differs"
    assert lines([listed(1, 9, latest=True, damaged=damage), listed(2, 8, damaged="bad\n")]) == [
        "    STEP  AGE     SIZE  KEPT BECAUSE",
        "*!     1  9 s  1.0 MiB  latest",
        "!      2  8 s  1.0 MiB  latest",
        "",
        "2 checkpoints, 2.0 MiB; * is the latest: run/model.ckpt-1",
        "! damaged: run/model.ckpt-1.index: the checksum differs",
        r"! damaged: bad\n",
    ]


def test_checkpoints_that_steps_do_not_tell_apart() -> None:
    final = ListedCheckpoint("run/final", None, NOW_SECS, 10, kept_because="not managed")
    assert lines([listed(1, 9), final])[:3] == [
        "  CHECKPOINT    AGE     SIZE  KEPT BECAUSE",
        "  model.ckpt-1  9 s  1.0 MiB  latest",
        "  final         0 s     10 B  not managed",
    ]


def test_what_checkpoints_share_counts_once() -> None:
    shared = listed(2, 5, size_bytes=3 << 20, shared_bytes=2 << 20, latest=True)
    assert lines([listed(1, 10, size_bytes=2 << 20), shared]) == [
        "   STEP   AGE     SIZE   SHARED  KEPT BECAUSE",
        "      1  10 s  2.0 MiB           latest",
        "*     2   5 s  3.0 MiB  2.0 MiB  latest",
        "",
        "2 checkpoints, 3.0 MiB; * is the latest: run/model.ckpt-2",
    ]


# --------------------------------------------------------------------------- the command


def save(directory: Path, *steps: int) -> None:
    with CheckpointManager({"w": np.zeros(2)}, directory, clock=lambda: NOW_SECS) as manager:
        for step in steps:
            manager.save(step, metrics={"loss": float("nan")}, metadata={"git": "abc"})


def test_lists_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "run", 1, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: NOW_SECS + 180)

    assert main(["ls", "run"]) == 0

    shown = capsys.readouterr()
    size = sum(file.stat().st_size for file in Path("run").glob("model.ckpt-1.*"))
    assert shown.err == ""
    assert shown.out.splitlines() == [
        "   STEP    AGE   SIZE  loss  KEPT BECAUSE",
        f"      1  3 min  {size} B   nan  latest",
        f"*     2  3 min  {size} B   nan  latest",
        "",
        f"2 checkpoints, {2 * size} B; * is the latest: run/model.ckpt-2",
    ]


def test_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "run", 1)
    monkeypatch.chdir(tmp_path)

    assert main(["ls", "run", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "directory": "run",
        "checkpoints": [
            {
                "prefix": "run/model.ckpt-1",
                "step": 1,
                "saved_at": "2023-11-14T22:13:20.000+00:00",
                "saved_at_secs": NOW_SECS,
                "size_bytes": sum(f.stat().st_size for f in Path("run").glob("model.ckpt-1.*")),
                "shared_bytes": 0,
                "metrics": {"loss": "nan"},
                "metadata": {"git": "abc"},
                "kept_because": "latest",
                "latest": True,
                "damaged": None,
            }
        ],
    }


def test_no_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no checkpoints in {tmp_path}\n"

    save(tmp_path / "a", 1)
    Saver({"w": np.zeros(1)}).save(str(tmp_path / "b" / "model"))
    (tmp_path / "empty").mkdir()
    assert main(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        f"no checkpoints in {tmp_path}; there are some in {tmp_path / 'a'}, {tmp_path / 'b'}\n"
    )

    assert main(["ls", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == []


@pytest.mark.parametrize(
    "name",
    [
        "model.ckpt-1",
        "model.ckpt-1.index",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-1.meta",
    ],
)
def test_a_checkpoint_instead_of_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    save(tmp_path, 1)

    assert main(["ls", str(tmp_path / name)]) == 1

    assert capsys.readouterr().err == (
        f"ckptmgr: {tmp_path / name} belongs to a checkpoint, and ls wants its directory: "
        f"try 'ckptmgr ls {tmp_path}', or 'ckptmgr show {tmp_path / 'model.ckpt-1'}'\n"
    )


def test_a_directory_called_like_a_checkpoint_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    (tmp_path / "model.ckpt-1").mkdir()
    save(tmp_path / "model.ckpt-1", 5)

    assert main(["ls", str(tmp_path / "model.ckpt-1")]) == 0
    assert "model.ckpt-5" in capsys.readouterr().out
