"""`import ckptmgr` is quick, loads no framework, and gets on with TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ckptmgr

FRAMEWORKS = (
    "jax",
    "keras",
    "opentelemetry",
    "prometheus_client",
    "rich",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "torch",
)
LIMIT_SECS = 0.25

LOADED = f"""
import sys
from ckptmgr import *  # every public name, each of which is loaded when it is first used
print(*sorted(sys.modules.keys() & set({FRAMEWORKS})))
"""
ELAPSED = """
import time
start = time.perf_counter()
import ckptmgr
print(time.perf_counter() - start)
"""


def run_python(source: str, folder: Path) -> str:
    """Run `source` in a fresh interpreter, which looks for modules in `folder` first."""
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loads_no_framework(tmp_path: Path) -> None:
    assert run_python(LOADED, tmp_path).split() == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_loaded_framework_would_be_seen(tmp_path: Path, framework: str) -> None:
    for name, source in (("ckptmgr", f"import {framework}.sub"), (framework, "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    (tmp_path / framework / "sub.py").write_text("")

    assert run_python(LOADED, tmp_path).split() == [framework]


def test_is_quick(tmp_path: Path) -> None:
    # The best of several: the machine may be busy, and the first run writes bytecode.
    assert min(float(run_python(ELAPSED, tmp_path)) for _ in range(5)) < LIMIT_SECS


def test_every_public_name_is_there() -> None:
    modules = {"errors", "events", "retention", "saved_model"}
    assert set(ckptmgr._HOME_OF) | modules == set(ckptmgr.__all__)
    for name in ckptmgr.__all__:
        assert getattr(ckptmgr, name) is not None
    assert set(ckptmgr.__all__) <= set(dir(ckptmgr))
    with pytest.raises(AttributeError, match="no attribute 'CheckpointManger'"):
        ckptmgr.CheckpointManger  # noqa: B018


@pytest.mark.tensorflow
@pytest.mark.parametrize("order", [("ckptmgr", "tensorflow"), ("tensorflow", "ckptmgr")])
def test_lives_beside_tensorflow(tmp_path: Path, order: tuple[str, str]) -> None:
    first, second = order
    source = f"""
import {first}, {second}
from ckptmgr._proto import tensor_bundle_pb2 as ours
from tensorflow.core.protobuf import tensor_bundle_pb2 as theirs
entry = theirs.BundleEntryProto(dtype=1, shard_id=2, offset=3, size=4, crc32c=5)
assert ours.BundleEntryProto.FromString(entry.SerializeToString()).crc32c == 5
print("together")
"""
    assert run_python(source, tmp_path).split() == ["together"]
