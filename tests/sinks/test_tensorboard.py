from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ckptmgr import events
from ckptmgr.errors import StorageError
from ckptmgr.sinks.tensorboard import write_scalars

pytest.importorskip("tensorboard", reason="cannot run here: tensorboard is not installed")

PREFIX = "run/model.ckpt-7"


def read(logdir: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself finds: tag to steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Any = EventAccumulator(str(logdir))
    found.Reload()
    return {
        tag: [(scalar.step, scalar.value) for scalar in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_scalars_by_step(tmp_path: Path) -> None:
    listener = write_scalars(tmp_path)
    listener(events.SaveStarted(PREFIX, 7))
    listener(events.SaveCommitted(PREFIX, 7, 3 * 2**30, 2.0))
    listener(events.SaveStaged(PREFIX, 9, 2**20, 0.25))
    listener(events.SaveCommitted(PREFIX, 9, 2**20, 0.5))
    listener(events.SaveFailed(PREFIX, 11, OSError()))

    found = read(tmp_path)
    speeds = dict(found.pop("ckptmgr/gb_per_sec"))
    assert speeds == pytest.approx({7: 3 * 2**30 / 2e9, 9: 2**20 / 0.5e9})
    assert found == {
        "ckptmgr/save_secs": [(7, 2.0), (9, 0.5)],
        "ckptmgr/size_bytes": [(7, 3 * 2**30), (9, 2**20)],
        "ckptmgr/stall_secs": [(7, 2.0), (9, 0.25)],
    }


def test_a_speed_that_cannot_be_told_is_left_out(tmp_path: Path) -> None:
    write_scalars(tmp_path)(events.SaveCommitted(PREFIX, 7, 100, 0.0))

    assert "ckptmgr/gb_per_sec" not in read(tmp_path)


def test_two_listeners_write_two_files(tmp_path: Path) -> None:
    logdir = tmp_path / "a" / "new" / "one"
    write_scalars(logdir)
    write_scalars(str(logdir))

    assert len(list(logdir.glob("events.out.tfevents.*"))) == 2


def test_records_of_two_threads_do_not_interleave(tmp_path: Path) -> None:
    listener = write_scalars(tmp_path)

    def save(steps: range) -> None:
        for step in steps:
            listener(events.SaveCommitted(f"run/model.ckpt-{step}", step, step, 1.0))

    threads = [threading.Thread(target=save, args=(range(n, 100, 2),)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(read(tmp_path)["ckptmgr/size_bytes"]) == [(step, step) for step in range(100)]


def test_a_disk_that_was_full_hides_no_later_scalar(tmp_path: Path) -> None:
    listener = write_scalars(tmp_path)
    listener(events.SaveCommitted(PREFIX, 7, 100, 1.0))
    (file,) = tmp_path.iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 30, limits[1]))
    try:
        listener(events.SaveCommitted(PREFIX, 8, 100, 1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    listener(events.SaveCommitted(PREFIX, 9, 100, 1.0))

    assert read(tmp_path)["ckptmgr/save_secs"] == [(7, 1.0), (9, 1.0)]


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=f"cannot write scalars to {tmp_path}/file"):
        write_scalars(tmp_path / "file")


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    source = """
from ckptmgr import events, sinks
listener = sinks.tensorboard.write_scalars("logs")
listener(events.SaveCommitted("run/model.ckpt-7", 7, 100, 1.0))
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert read(tmp_path / "logs")["ckptmgr/save_secs"] == [(7, 1.0)]
