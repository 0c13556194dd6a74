"""Models that the installed TensorFlow makes, once per session of tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import filelock
import pytest


@pytest.fixture(scope="session")
def made_models(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that `tensorflow_models.py` writes; workers share it."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        base = base.parent
    directory = base / "tensorflow_models"
    done = directory / "done"
    with filelock.FileLock(base / "tensorflow_models.lock"):
        if not done.exists():
            directory.mkdir(exist_ok=True)
            script = Path(__file__).with_name("tensorflow_models.py")
            subprocess.run([sys.executable, str(script), str(directory)], check=True)
            done.touch()
    return directory
