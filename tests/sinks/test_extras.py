"""Importing the sinks loads no package, and a package that is missing is named with its extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ckptmgr.errors import MissingExtra

PACKAGES = {
    "rich": ("progress.progress_bar()", "progress"),
    "prometheus_client": ("prometheus.export_events()", "prometheus"),
    "opentelemetry": ("opentelemetry.trace_events()", "opentelemetry"),
    "tensorboard": ("tensorboard.write_scalars('logs')", "tensorboard"),
}


def run_python(source: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_missing_package(tmp_path: Path, package: str) -> None:
    call, extra = PACKAGES[package]
    source = f"""
import sys
sys.modules[{package!r}] = None
from ckptmgr import errors, sinks
try:
    sinks.{call}
except errors.MissingExtra as error:
    print(error)
"""

    said = run_python(source, tmp_path)

    assert said.endswith(f": pip install ckptmgr[{extra}]\n")
    assert list(tmp_path.iterdir()) == []
    assert issubclass(MissingExtra, ImportError)


def test_importing_the_sinks_loads_no_package(tmp_path: Path) -> None:
    source = f"""
import sys
import ckptmgr.sinks
print(*sorted(sys.modules.keys() & set({list(PACKAGES)})))
ckptmgr.sinks.logging.log_events()
print(*sorted(sys.modules.keys() & set({list(PACKAGES)})))
"""

    assert run_python(source, tmp_path) == "\n\n"
