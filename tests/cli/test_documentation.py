"""The output that docs/cli.md shows is the program's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager
from ckptmgr.cli.main import COMMANDS, main
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


def damage_run() -> None:
    """A copy of which the latest has a flipped bit, and whose last save did not end."""
    shutil.copytree("run", "damaged")
    shard = Path("damaged/model.ckpt-350.data-00000-of-00001")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    Path(f"damaged/model.ckpt-400.index.tmp-{'5eed' * 8}").touch()


@pytest.mark.parametrize(
    ("command", "directory", "status"),
    [("ls", "run", 0), ("show", "run", 0), ("verify", "damaged", 1), ("repair", "damaged", 0)],
)
def test_examples(
    capsys: pytest.CaptureFixture[str], command: str, directory: str, status: int
) -> None:
    damage_run()

    assert main([command, directory]) == status

    assert f"```console\n$ ckptmgr {command} {directory}\n{capsys.readouterr().out}```\n" in (
        PAGE.read_text()
    )


def test_every_command_has_its_section() -> None:
    text = PAGE.read_text()
    for command in COMMANDS:
        assert f"\n## `ckptmgr {command.name} " in text
        assert f"| [`{command.name}`](#ckptmgr-{command.name}-" in text


@pytest.mark.parametrize(
    ("command", "section"),
    [
        ("ls", "`ckptmgr ls DIR --json`"),
        ("show", "`ckptmgr show"),
        ("verify", "`ckptmgr verify DIR|PREFIX... --json`"),
        ("repair", "`ckptmgr repair DIR --json`"),
    ],
)
def test_keys(capsys: pytest.CaptureFixture[str], command: str, section: str) -> None:
    damage_run()
    main([command, "damaged", "--json"])
    found = json.loads(capsys.readouterr().out)
    text = PAGE.read_text()
    described = text[text.index("## For programs") :]

    assert section in described
    keys = set(keys_in(found)) - {"git", "config", "lr", "loss", "accuracy"}  # of the user
    assert len(keys) > 5
    for key in keys:
        assert f"`{key}`" in described


def keys_in(value: Any) -> Iterator[str]:
    """Every key in a JSON value, however deep."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from keys_in(item)
