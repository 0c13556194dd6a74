"""The demonstration as a person runs it: it checks itself, and its status says the result."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr

pytest.importorskip("rich", reason="cannot run here: the extra `examples` is not installed")
pytest.importorskip("sklearn", reason="cannot run here: the extra `examples` is not installed")

from examples.demo.__main__ import KILLS, STEPS
from examples.demo.checks import differing_tensors, unfinished_files
from examples.digits import model
from examples.digits.stopping import POINTS
from examples.digits.train import train

REPOSITORY = Path(__file__).parents[2]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_demo() -> None:
    done = run_python("-m", "examples.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("✗ killed at step ") for line in lines) == len(KILLS)
    assert sum(line.startswith("  left behind: ") for line in lines) >= len(KILLS)
    assert sum(line.startswith("↻ restarted from step ") for line in lines) == len(KILLS)
    confirmed = [line for line in lines if line.startswith("✓ ")]
    assert "✓ the evaluator saw each of the 20 checkpoints once" in confirmed
    assert "✓ of the saves that were cut off, no file is left" in confirmed
    assert any(line.endswith("those of an uninterrupted run, bit for bit") for line in confirmed)
    assert re.search(r"TensorFlow (\S+ reads all \d+ tensors|is not installed)", done.stdout)
    assert re.search(rf"\n +{STEPS:,} .* KiB .* s .*%.*% +latest", done.stdout)


def test_demo_kills_at_every_point() -> None:
    assert sorted(kill.point for kill in KILLS) == sorted(POINTS)


@pytest.mark.parametrize(
    ("kill", "reason"),
    [
        (
            "Kill(1, 'old-half-deleted', 'here', committed=False)",
            "✗ the training ended; it should have stopped at step 500",
        ),
        (
            "Kill(2, 'data-renamed', 'here', committed=True)",
            "✗ killed at step 1,000 here, but latest is",
        ),
    ],
)
def test_demo_fails_when_a_claim_is_wrong(kill: str, reason: str) -> None:
    source = (
        "import sys\n"
        "from examples.demo import __main__ as demo\n"
        f"demo.KILLS = (demo.{kill},)\n"
        "demo.STEPS = 1000\n"
        "sys.exit(demo.main())\n"
    )
    done = run_python("-c", source)
    assert done.returncode == 1, done.stdout + done.stderr
    assert reason in done.stdout


def test_evaluator_of_a_finished_run(tmp_path: Path) -> None:
    train(str(tmp_path), steps=25, every=10)
    done = run_python("-m", "examples.digits.evaluate", str(tmp_path))
    assert done.returncode == 0, done.stderr
    line = r"step +{}   loss \d+\.\d{{4}}   accuracy +\d+\.\d%\n"
    assert re.fullmatch("".join(line.format(step) for step in (10, 20, 25)), done.stdout)


@pytest.mark.parametrize(
    ("command", "at_work", "last_words"),
    [
        (
            "train {} --steps 10000000 --every 10",
            "saved",
            "stopped at step \\d+; start again to go on",
        ),
        ("evaluate {}", "step", "stopped; start again to begin with the oldest checkpoint"),
    ],
)
def test_ctrl_c_is_answered_in_one_line(
    tmp_path: Path, command: str, at_work: str, last_words: str
) -> None:
    with ckptmgr.CheckpointManager(model.initial_state(seed=0), tmp_path) as manager:
        manager.save(5)
    with subprocess.Popen(
        [sys.executable, "-m", *f"examples.digits.{command}".format(tmp_path).split()],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(at_work):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert re.fullmatch(f"{last_words}\n", said)
    assert process.returncode == 1


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    once, again = str(tmp_path / "once"), str(tmp_path / "again")
    train(once, steps=40, every=10)
    train(again, steps=17, every=10)
    assert differing_tensors(once, again)[0]
    train(again, steps=40, every=10)
    different, count = differing_tensors(once, again)
    assert different == []
    assert count == 14
    assert unfinished_files(again) == []


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"weights": np.array([0.0, 1.0], np.float32)}, []),
        ({"weights": np.array([-0.0, 1.0], np.float32)}, ["weights"]),  # equal, other bits
        ({"weights": np.array([0.0, 1.0], np.float64)}, ["weights"]),
        ({"weights": np.array([[0.0, 1.0]], np.float32)}, ["weights"]),
        ({"bias": np.array([0.0, 1.0], np.float32)}, ["bias", "weights"]),
    ],
)
def test_differing_tensors(
    tmp_path: Path, changed: dict[str, np.ndarray[Any, Any]], different: list[str]
) -> None:
    states = {"one": {"weights": np.array([0.0, 1.0], np.float32)}, "other": changed}
    for name, state in states.items():
        with ckptmgr.CheckpointManager(state, tmp_path / name) as manager:
            manager.save(1)
    names, count = differing_tensors(str(tmp_path / "one"), str(tmp_path / "other"))
    assert names == different
    assert count == len(states["one"].keys() | changed.keys())


def test_unfinished_files(tmp_path: Path) -> None:
    for filename in (
        *("checkpoint", "m-1.index", "m-1.data-00000-of-00001", "m-2.data-00000-of-00001"),
        *("m-3.index", "m-4.index.tmp-00", "checkpoint.tmp-00"),
    ):
        (tmp_path / filename).touch()
    expected = ["checkpoint.tmp-00", "m-2.data-00000-of-00001", "m-4.index.tmp-00"]
    assert unfinished_files(str(tmp_path)) == expected
