"""Real processes on one directory: savers, a reader that tails, and no permission."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ckptmgr

SAVER = """
import sys, numpy as np, ckptmgr
directory, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
state = {"w": np.zeros(5000), "first": first}
with ckptmgr.CheckpointManager(state, directory, max_to_keep=int(sys.argv[4])) as manager:
    for step in range(first, first + 2 * count, 2):
        state["w"][:] = step
        manager.save(step)
"""

READER = """
import json, sys, numpy as np, ckptmgr
seen = []
manager = ckptmgr.CheckpointManager(None, sys.argv[1])
print("ready", flush=True)
for prefix in ckptmgr.CheckpointWatcher(sys.argv[1], poll_interval_secs=0.2):
    try:
        with ckptmgr.hold(prefix), ckptmgr.load_checkpoint(prefix) as reader:
            values = np.unique(reader.get_tensor("w")).tolist()
    except ckptmgr.errors.CheckpointNotFound:
        continue  # deleted before it was held
    seen.append((int(prefix.rsplit("-", 1)[1]), values))
print(json.dumps(seen))
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_two_savers_lose_no_entry_and_a_reader_sees_only_whole_checkpoints(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    reader = start(READER, directory)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    savers = [start(SAVER, directory, first, 25, 1000) for first in (0, 1)]
    for saver in savers:
        finish(saver)
    manager = ckptmgr.CheckpointManager({"w": np.zeros(5000), "first": 0}, directory)
    listed = sorted(int(prefix.rsplit("-", 1)[1]) for prefix in manager.checkpoints)
    assert listed == manager.all_steps() == list(range(50))
    manager.finish()
    seen = json.loads(finish(reader))
    assert seen
    assert all(values == [step] for step, values in seen)


def test_retention_of_two_savers_leaves_what_both_want(tmp_path: Path) -> None:
    savers = [start(SAVER, tmp_path, first, 25, 4) for first in (0, 1)]
    for saver in savers:
        finish(saver)
    manager = ckptmgr.CheckpointManager(None, tmp_path)
    assert len(manager.all_steps()) == 4
    assert [int(p.rsplit("-", 1)[1]) for p in sorted(manager.checkpoints)] == manager.all_steps()
    assert [name for name in os.listdir(tmp_path) if ".tmp-" in name] == []
    for step in manager.all_steps():
        restored = manager.restore(step)
        assert restored is not None
        assert np.unique(restored.state["w"]).tolist() == [step]


def test_killed_in_the_middle_and_started_again(tmp_path: Path) -> None:
    steps_before: list[int] = []
    for _ in range(4):
        saver = start(SAVER, tmp_path, 0, 10_000, 3)
        before = ckptmgr.latest_checkpoint(tmp_path)
        deadline = time.monotonic() + 30
        while ckptmgr.latest_checkpoint(tmp_path) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        os.kill(saver.pid, signal.SIGKILL)
        saver.communicate()
        manager = ckptmgr.CheckpointManager(None, tmp_path)
        restored = manager.restore()
        assert restored is not None
        assert np.unique(restored.state["w"]).tolist() == [restored.step]
        steps_before.append(restored.step)
    finish(start(SAVER, tmp_path, 1, 3, 3))
    assert [name for name in os.listdir(tmp_path) if ".tmp-" in name] == []
    assert ckptmgr.CheckpointManager(None, tmp_path).all_steps() == [1, 3, 5]


def test_a_reader_goes_on_when_its_checkpoint_is_deleted(tmp_path: Path) -> None:
    manager = ckptmgr.CheckpointManager({"w": np.arange(10.0)}, tmp_path, max_to_keep=1)
    reader = ckptmgr.load_checkpoint(str(manager.save(1)))
    manager.save(2)
    assert manager.all_steps() == [2]
    assert reader.get_tensor("w").tolist() == list(range(10))


UNPRIVILEGED = """
import os, sys, filelock, numpy as np, ckptmgr
from ckptmgr import *  # all while modules can be read
directory = sys.argv[1]
os.setuid(65534)
manager = ckptmgr.CheckpointManager({"w": np.zeros(1)}, directory)
restored = manager.restore()
print(restored.step)
try:
    manager.save(2)
except ckptmgr.errors.PermissionDenied as error:
    print(error)
"""


def test_a_directory_that_may_only_be_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root can become another user")
    directory = tmp_path / "run"
    ckptmgr.CheckpointManager({"w": np.zeros(1)}, directory).save(1)
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    step, error = finish(start(UNPRIVILEGED, directory)).splitlines()
    assert step == "1"
    assert "Permission denied" in error
    assert str(directory) in error
