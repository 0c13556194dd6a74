from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckptmgr import CheckpointManager, naming
from ckptmgr.cli import progress
from ckptmgr.cli.main import main
from ckptmgr.cli.verify import render_verification
from ckptmgr.lifecycle.verification import Finding, Verification, VerifiedCheckpoint

SOURCE = Path(__file__).parents[2]


def save(directory: Path, *steps: int) -> None:
    with CheckpointManager({"w": np.zeros(40)}, directory, durability="none") as manager:
        for step in steps:
            manager.save(step)


def damage(prefix: Path) -> Path:
    shard = Path(naming.data_shard(str(prefix), 0, 1))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    return shard


def test_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1, 2)
    size = sum(path.stat().st_size for path in tmp_path.glob("model.ckpt-1.*"))

    assert main(["verify", str(tmp_path)]) == 0

    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines() == [
        str(tmp_path),
        "",
        "CHECKPOINT    TENSORS   SIZE  RESULT",
        f"model.ckpt-1        2  {size} B  whole",
        f"model.ckpt-2        2  {size} B  whole",
        "",
        f"2 checkpoints, {2 * size / 1024:.1f} KiB: whole",
    ]


def test_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("run"), 1, 2)
    shard = damage(Path("run/model.ckpt-2"))

    assert main(["verify", "run/model.ckpt-1"]) == 0
    capsys.readouterr()
    assert main(["verify", "run/model.ckpt-1", "run"]) == 1

    lines = capsys.readouterr().out.splitlines()
    start = lines.index("run")
    assert lines[start + 4].endswith("  DAMAGED")
    assert lines[start + 6] == str(shard)
    assert lines[start + 7].startswith(
        "  tensor 'w': the checksum of the tensor differs: expected 0x"
    )
    assert lines[-1].endswith(": 1 damaged; 'ckptmgr repair run' has the state name what is whole")


def test_a_state_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_text("junk")

    assert main(["verify", str(tmp_path)]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[5] == str(tmp_path / "checkpoint")
    assert lines[6].startswith("  line 1 of the checkpoint state does not parse")
    assert ": the state is wrong; 'ckptmgr repair " in lines[-1]


def test_many_findings_are_not_all_shown() -> None:
    findings = tuple(Finding("MissingShard", "run/x", "gone", f"w{n}") for n in range(1234))
    checkpoint = VerifiedCheckpoint("run/x", None, 0.0, 7, 1234, False, damage=findings)

    text = render_verification(Verification("run/x", (checkpoint,)), width=80)

    assert text.splitlines()[5:] == [
        "run/x",
        *(f"  tensor 'w{n}': gone" for n in range(10)),
        "  and 1,224 more; --json lists all",
        "",
        "1 checkpoint, 7 B: 1 damaged",
    ]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, 1, 2)
    shard = damage(tmp_path / "model.ckpt-2")

    assert main(["verify", str(tmp_path), "--json"]) == 1

    found = json.loads(capsys.readouterr().out)
    assert found["whole"] is False
    (target,) = found["targets"]
    assert (target["target"], target["state"], target["leftovers"]) == (str(tmp_path), [], [])
    assert [c["whole"] for c in target["checkpoints"]] == [True, False]
    (finding,) = target["checkpoints"][1]["damage"]
    assert finding.pop("expected") != finding.pop("found")
    assert finding == {
        "kind": "ChecksumMismatch",
        "path": str(shard),
        "tensor": "w",
        "problem": "the checksum of the tensor differs",
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("empty", "no checkpoints in empty"),
        ("nowhere", "no checkpoint at nowhere"),
        ("run/model.ckpt-1.index", "give the prefix 'run/model.ckpt-1' instead"),
    ],
)
def test_nothing_to_verify_is_not_whole(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("run"), 1)
    Path("empty").mkdir()
    assert main(["verify", target]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err


# --------------------------------------------------------------------------- progress

TALKING = """
import sys, time
from ckptmgr.cli import progress
{first}
progress._SILENT_SECS = progress._LINE_EVERY_SECS = 0.01
with progress.shown() as tell:
    for done in range(0, 101, 10):
        time.sleep(0.03)
        tell("run/model.ckpt-7", done << 20, 100 << 20)
"""


def on_a_terminal(code: str) -> str:
    """What a program writes to a terminal on its standard error."""
    master, terminal = pty.openpty()
    path = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=terminal,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(terminal)
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(master)
    assert done.returncode == 0, written
    return written.decode()


def test_a_bar_on_a_terminal() -> None:
    written = on_a_terminal(TALKING.format(first=""))
    assert "reading model.ckpt-7" in written
    assert "100.0/100.0 MiB" in written
    assert written.endswith("\x1b[2K"), "the bar has gone"


def test_lines_on_a_terminal_without_rich() -> None:
    lines = on_a_terminal(TALKING.format(first="sys.modules['rich.console'] = None")).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("ckptmgr: reading model.ckpt-7, ") for line in lines)
    assert "100.0 MiB of 100.0 MiB, " in lines[-1]
    assert lines[-1].endswith("MiB/s")


def test_nothing_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.shown() as listener:
        assert listener is None
