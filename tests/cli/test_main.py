from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager
from ckptmgr.cli import main as program
from ckptmgr.cli.command import Command
from ckptmgr.cli.main import COMMANDS, main

SOURCE = Path(__file__).parents[2]


def run(
    *arguments: str, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "ckptmgr", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "80", **environment},
    )


def save(directory: Path) -> None:
    with CheckpointManager({"w": np.zeros(2)}, directory) as manager:
        manager.save(1)


def test_as_a_process(tmp_path: Path) -> None:
    save(tmp_path)

    done = run("ls", str(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"* is the latest: {tmp_path / 'model.ckpt-1'}\n")
    assert max(map(len, done.stdout.splitlines()[:2])) <= 80


def test_failure_as_a_process(tmp_path: Path) -> None:
    done = run("ls", str(tmp_path / "missing"))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ckptmgr: directory {tmp_path / 'missing'} does not exist\n"


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "checkpoint").write_text("nonsense")

    done = run("ls", str(tmp_path))

    assert done.returncode == 0
    assert done.stderr.startswith(f"ckptmgr: {tmp_path / 'checkpoint'}: line 1 ")
    assert done.stderr.count("\n") == 1


def test_a_warning_does_not_steer_the_terminal(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "\\033]0;x\\007\\n"')

    done = run("ls", str(tmp_path))

    assert done.stderr.count("\n") == 1
    assert "\\x1b]0;x\\x07\\n" in done.stderr
    assert done.stderr[:-1].isprintable()


def test_whoever_reads_may_go_away(tmp_path: Path) -> None:
    save(tmp_path)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = run("show", str(tmp_path), stdout=write_end)
    finally:
        os.close(write_end)

    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_that_lacks_a_letter(tmp_path: Path) -> None:
    ckptmgr.Saver({"größe": np.zeros(1)}).save(str(tmp_path / "model"))

    done = run("show", str(tmp_path / "model"), PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ckptmgr {ckptmgr.__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    # A long name stands on a line of its own.
    shown = " ".join(capsys.readouterr().out.split())
    for command in COMMANDS:
        assert f" {command.name} {command.summary}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "commands:"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["ls"], "the following arguments are required: DIR"),
        (["show"], "the following arguments are required: PREFIX_OR_DIR"),
        (["ls", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (ckptmgr.errors.LockTimeout("taken\nby 7"), 1, "ckptmgr: taken\\nby 7\n"),
        (PermissionError(13, "denied", "run"), 1, "ckptmgr: [Errno 13] denied: 'run'\n"),
    ],
)
def test_what_a_command_raises(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    def fail(*_: object) -> int:
        raise error

    command = Command("fail", "fail", lambda _: None, fail)
    monkeypatch.setattr(program, "COMMANDS", (command,))

    assert main(["fail"]) == status
    assert capsys.readouterr().err == message
