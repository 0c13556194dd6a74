"""What docs/preemption.md shows can be run, and is stopped by a signal."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import ckptmgr

PAGE = Path(__file__).parents[2] / "docs" / "preemption.md"


def test_the_loop_is_stopped_and_goes_on(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    steps = [0]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        with subprocess.Popen(
            [sys.executable, "-c", program.replace("10_000", "10")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        ) as process:
            before = ckptmgr.latest_checkpoint(tmp_path / "run")
            deadline = time.monotonic() + 60
            while ckptmgr.latest_checkpoint(tmp_path / "run") == before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (75, "")
        restored = ckptmgr.CheckpointManager(None, tmp_path / "run").restore()
        assert restored is not None
        assert restored.state["w"][0] == restored.state["step"] == restored.step
        steps.append(restored.step)
    assert steps == sorted(set(steps))
