"""A target is met, missed or not measured, and its words say which."""

from __future__ import annotations

import pytest

from benchmarks import workloads
from benchmarks.contestants import LIMITS, OURS, OURS_ASYNC, SAFETENSORS
from benchmarks.results import Results
from benchmarks.sections import discovery, looping
from benchmarks.targets import Outcome, judge


def outcome_of(results: Results, words: str) -> Outcome:
    (found,) = [outcome for outcome in judge(results) if words in outcome.target.words]
    return found


@pytest.mark.parametrize(
    ("ours_secs", "limit_secs", "measured", "verdict"),
    [
        (1.0, 0.92, "0.92 x", "met"),
        (1.0, 0.91, "0.91 x", "missed"),
        (0.5, 1.0, "2.00 x", "met"),
    ],
)
def test_at_least(ours_secs: float, limit_secs: float, measured: str, verdict: str) -> None:
    results = Results(1.0, 1)
    results.add(workloads.GPT, OURS, save_durable=ours_secs)
    results.add(workloads.GPT, LIMITS, direct_write=limit_secs)
    outcome = outcome_of(results, "against O_DIRECT")
    assert (outcome.measured, outcome.verdict) == (measured, verdict)
    assert outcome.target.wanted == "at least 0.92 x"


@pytest.mark.parametrize(
    ("stall_secs", "verdict"), [(1.0, "met"), (1.2, "met"), (1.3, "missed"), (9.0, "missed")]
)
def test_at_most(stall_secs: float, verdict: str) -> None:
    results = Results(1.0, 1)
    results.add(looping.SECTION, OURS_ASYNC, stall=stall_secs)
    results.add(looping.SECTION, LIMITS, memcpy=1.0)
    assert outcome_of(results, "of NumPy arrays").verdict == verdict


def test_memory_is_that_of_the_worst_save() -> None:
    results = Results(1.0, 1)
    results.add(workloads.GPT, OURS, save_extra_bytes=[1e6, 65e6, 1e6])
    outcome = outcome_of(results, "memory")
    assert (outcome.measured, outcome.verdict) == ("65 MB", "missed")


def test_discovery_is_judged_by_the_99th_percentile() -> None:
    results = Results(1.0, 1)
    results.add(discovery.SECTION, discovery.OURS, latency=[0.001] * 98 + [0.5, 0.5])
    outcome = outcome_of(results, "discovery")
    assert (outcome.measured, outcome.verdict) == ("500 ms", "missed")


def test_every_peer_must_be_slower() -> None:
    results = Results(1.0, 1)
    results.add(workloads.GPT, OURS, save_durable=1.0)
    results.add(workloads.GPT, SAFETENSORS, save_durable=3.0)
    assert outcome_of(results, "fastest other library").verdict == "met"
    results.add(workloads.GPT, "torch", save_durable=0.9)
    assert outcome_of(results, "fastest other library").verdict == "missed"


def test_nothing_is_met_without_samples() -> None:
    results = Results(1.0, 1)
    results.failures[OURS] = "it fell over"
    outcomes = judge(results)
    assert [outcome for outcome in outcomes if outcome.is_met] == []
    assert all(outcome.verdict.startswith("not measured: ") for outcome in outcomes)
    results.add(workloads.GPT, LIMITS, direct_write=1.0)
    assert "it fell over" in outcome_of(results, "against O_DIRECT").verdict
