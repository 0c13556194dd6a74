"""A small run of the benchmarks, with the contestants that need nothing but what tests need."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.contestants import LIMITS, OUR_IMPORT, OURS, OURS_ASYNC, OURS_UNSYNCED
from benchmarks.results import Results, from_json
from benchmarks.sections import discovery, history, imports, looping, managing
from benchmarks.targets import judge

REPOSITORY = Path(__file__).parents[2]
PEER = "safetensors" if find_spec("safetensors") else "numpy"
DEDUPLICATING = "ckptmgr-deduplicate"
CONTESTANTS = (LIMITS, OURS, OURS_UNSYNCED, OURS_ASYNC, DEDUPLICATING, PEER)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    done = run_benchmarks(folder, "--scale", "0.01", "--rounds", "1", "--only", *CONTESTANTS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "output"


@pytest.fixture(scope="module")
def results(output: Path) -> Results:
    return from_json((output / "latest.json").read_text(encoding="utf-8"))


def run_benchmarks(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *options]
    places = ["--directory", str(folder / "scratch"), "--output", str(folder / "output")]
    return subprocess.run(
        [*command, *places],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nobody_failed(results: Results) -> None:
    assert results.failures == {}


@pytest.mark.parametrize("workload", [workload.name for workload in workloads.WORKLOADS])
def test_each_workload_is_measured(results: Results, workload: str) -> None:
    savers = {OURS, OURS_UNSYNCED, PEER}
    if workload in (workloads.GPT, workloads.SMALL):
        savers.add(OURS_ASYNC)
    if workload == workloads.FROZEN:
        savers.add(DEDUPLICATING)
    for measure in ("save_returned", "save_durable"):
        assert set(results.subjects(workload, measure)) == savers
    for saver in savers:
        returned = results.median(workload, saver, "save_returned")
        assert 0 < returned <= results.median(workload, saver, "save_durable")
    assert results.median(workload, LIMITS, "memcpy") > 0


@pytest.mark.parametrize("measure", ["load_warm", "load_cold"])
def test_restores_are_measured(results: Results, measure: str) -> None:
    assert set(results.subjects(workloads.GPT, measure)) == {OURS, PEER}
    assert results.subjects(workloads.GPT, measure.replace("load", "load_in_place")) == [OURS]
    assert results.subjects(workloads.GPT, measure.replace("load", "restore")) == [OURS]


def test_other_sections_are_measured(results: Results) -> None:
    assert results.subjects(looping.SECTION, "stall") == [OURS_ASYNC]
    for when in ("before", "during", "after"):
        assert results.values(looping.SECTION, OURS_ASYNC, f"step_{when}")
    assert {LIMITS, OURS} <= set(results.subjects(managing.SECTION, "save"))
    assert results.subjects(discovery.SECTION, "latency") == [discovery.OURS]
    assert results.subjects(history.SECTION, "late") == list(history.KEEPING)
    assert OUR_IMPORT in results.subjects(imports.SECTION, "elapsed")


def test_page(results: Results, output: Path) -> None:
    page = (output / "benchmarks.md").read_text(encoding="utf-8")
    for outcome in judge(results):
        assert f"| {outcome.target.words} | {outcome.verdict} |" in page
    for workload in workloads.WORKLOADS:
        assert f"## {workload.words[0].upper()}{workload.words[1:]}\n" in page
    assert "not measured: no sample of ckptmgr, asynchronous, JAX arrays" in page
    assert results.machine["processor"] in page
    assert (output / "benchmarks.svg").exists() == bool(find_spec("matplotlib"))


def test_nothing_is_left(output: Path) -> None:
    assert list((output.parent / "scratch").iterdir()) == []


def test_without_a_library(tmp_path: Path) -> None:
    if find_spec("orbax"):
        pytest.skip("cannot run here: every library is installed")
    options = ["--scale", "0.01", "--rounds", "1", "--only", "orbax", "numpy", workloads.SMALL]
    done = run_benchmarks(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "output" / "latest.json").read_text(encoding="utf-8")
    results = from_json(text)
    (failure,) = results.failures.items()
    assert failure[0] == "orbax"
    assert failure[1].startswith("ModuleNotFoundError: No module named")
    assert results.subjects(workloads.SMALL, "save_durable") == ["numpy"]
