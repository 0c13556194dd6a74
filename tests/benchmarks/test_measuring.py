"""What is done to everybody's files and memory is what it says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import files
from benchmarks.memory import PeakMemory


def test_everything_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    (run / "sub").mkdir(parents=True)
    for path in (run / "a", run / "sub" / "b"):
        path.write_bytes(b"x")
    synced = []
    fsync = os.fsync

    def observed(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", observed)
    files.sync_tree(str(run))

    # Files before the directories that name them, the deepest first.
    assert synced[:2] == [str(run / "a"), str(run / "sub" / "b")]
    assert synced[2:] == [str(run / "sub"), str(run), str(tmp_path)]


def test_peak_memory_is_seen_after_it_is_free_again() -> None:
    memory = PeakMemory()
    array = np.ones(64 << 20, np.uint8)
    del array
    extra_bytes = memory.extra_bytes()
    if extra_bytes is None:
        pytest.skip("cannot run here: the system does not tell")
    assert 60 << 20 < extra_bytes < 96 << 20
    again_bytes = PeakMemory().extra_bytes()
    assert again_bytes is not None
    assert again_bytes < 16 << 20
