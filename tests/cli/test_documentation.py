"""The output that docs/cli.md shows is the program's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ckptmgr import CheckpointManager
from ckptmgr.cli.main import main
from ckptmgr.retention import BestN

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
NOW_SECS = 1_700_000_000.0 + 3 * 3600


@pytest.fixture(autouse=True)
def _documented_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        save_run()
        zone.setattr("time.time", lambda: NOW_SECS)
        yield
    time.tzset()


def save_run() -> None:
    now_secs = [NOW_SECS - 38 * 60 - 5 * 1700]
    model = {"w": np.zeros((512, 512), np.float32), "b": np.zeros(512, np.float32)}
    with CheckpointManager(
        {"model": model, "epoch": 3},
        "run",
        max_to_keep=2,
        keep_best=BestN("loss"),
        keep_every_n_steps=200,
        keep_checkpoint_every_n_hours=1,
        clock=lambda: now_secs[0],
    ) as manager:
        for step, loss in enumerate((0.9, 0.3, 0.91321, 0.5, 0.4, 0.45)):
            manager.save(
                100 + 50 * step,
                metrics={"loss": loss, "accuracy": 0.5 + 0.05 * step},
                metadata={"git": "1f3c9e2", "config": {"lr": 0.1}},
            )
            now_secs[0] += 1700
        manager.pin(300)


@pytest.mark.parametrize("command", ["ls", "show"])
def test_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "run"]) == 0

    assert f"```console\n$ ckptmgr {command} run\n{capsys.readouterr().out}```\n" in (
        PAGE.read_text()
    )


@pytest.mark.parametrize(
    ("command", "section"), [("ls", "`ckptmgr ls DIR --json`"), ("show", "`ckptmgr show")]
)
def test_keys(capsys: pytest.CaptureFixture[str], command: str, section: str) -> None:
    assert main([command, "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    text = PAGE.read_text()
    described = text[text.index("## For programs") :]

    assert section in described
    for entry in (found, *found.get("checkpoints", ()), *found.get("tensors", ())):
        for key in entry:
            assert f"`{key}`" in described
