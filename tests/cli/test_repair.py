from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager
from ckptmgr.cli.main import main

DEAD = "0" * 32


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(*steps: int) -> None:
    with CheckpointManager({"w": np.zeros(40)}, "run", durability="none") as manager:
        for step in steps:
            manager.save(step)


def damage(step: int) -> None:
    shard = Path(f"run/model.ckpt-{step}.data-00000-of-00001")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)


def test_it_says_first_what_it_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    save(1, 2)
    damage(2)
    Path(f"run/model.ckpt-3.index.tmp-{DEAD}").touch()
    before = Path("run/checkpoint").read_bytes()

    assert main(["repair", "run"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "run/checkpoint would be replaced, because",
        "  run/model.ckpt-2 is damaged",
        "It then says",
        "  latest  model.ckpt-1",
        "  all     model.ckpt-1",
        "These would be removed, which saves that did not end have left behind:",
        f"  run/model.ckpt-3.index.tmp-{DEAD}",
    ]
    assert lines[7] == "These are damaged, and left as they are:"
    assert lines[8] == "  run/model.ckpt-2.data-00000-of-00001"
    assert lines[-1] == "Nothing was changed; 'ckptmgr repair run --yes' does it."
    assert Path("run/checkpoint").read_bytes() == before
    assert Path(f"run/model.ckpt-3.index.tmp-{DEAD}").exists()


def test_yes_does_it(capsys: pytest.CaptureFixture[str]) -> None:
    save(1, 2)
    damage(2)

    assert main(["repair", "run", "--yes"]) == 0

    shown = capsys.readouterr().out
    assert shown.startswith("run/checkpoint will be replaced, because\n")
    assert shown.endswith("\nDone.\n")
    assert ckptmgr.latest_checkpoint("run") == "run/model.ckpt-1"
    assert main(["repair", "run", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("run needs no repair.\n")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    save(1, 2)
    damage(2)

    assert main(["repair", "run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["repair", "run", "--json", "--yes"]) == 0
    done = json.loads(capsys.readouterr().out)

    assert (planned.pop("applied"), done.pop("applied")) == (False, True)
    assert planned == done
    assert done["state"]["model_checkpoint_path"] == "model.ckpt-1"
    assert done["state"]["all_model_checkpoint_paths"] == ["model.ckpt-1"]
    assert len(done["state"]["all_model_checkpoint_timestamps"]) == 1
    assert (done["needed"], done["reasons"]) == (True, ["run/model.ckpt-2 is damaged"])
    assert [finding["tensor"] for finding in done["damaged"]] == ["w"]


def test_while_training_saves(capsys: pytest.CaptureFixture[str]) -> None:
    with CheckpointManager({"w": np.zeros(40)}, "run", durability="none") as manager:
        manager.save(1)
        manager.save(2)
        damage(2)
        before = Path("run/checkpoint").read_bytes()

        assert main(["repair", "run"]) == 0
        assert "It cannot be done now: 1 writer has run open" in capsys.readouterr().out
        assert main(["repair", "run", "--yes"]) == 1
        assert capsys.readouterr().err.startswith("ckptmgr: 1 writer has run open")
        assert Path("run/checkpoint").read_bytes() == before


def test_what_cannot_be_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    save(1, 2)
    damage(1)
    damage(2)
    Path("empty").mkdir()
    for directory, message in {
        "run": "none of 2 checkpoints in run is whole; 'ckptmgr verify run' says what is wrong",
        "empty": "no checkpoints in empty",
        "gone": "directory gone does not exist",
    }.items():
        assert main(["repair", directory]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert message in shown.err
