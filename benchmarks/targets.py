"""What we mean to reach, and whether we do. A figure that was not measured is said to be so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import workloads
from benchmarks.contestants import (
    CONTESTANTS,
    LIMITS,
    OUR_IMPORT,
    OURS,
    OURS_ASYNC,
    OURS_JAX,
    OURS_TORCH,
    OURS_UNSYNCED,
    SAFETENSORS,
    TENSORFLOW_CHECKPOINT,
)
from benchmarks.results import NotMeasured, Results
from benchmarks.sections import discovery, history, imports, looping, managing

AT_LEAST = "at least"
AT_MOST = "at most"

TIMES = "times"
MILLISECONDS = "ms"
MEGABYTES = "MB"

_IN_UNIT = {
    TIMES: lambda value: f"{value:.2f} x",
    MILLISECONDS: lambda value: f"{value * 1e3:.3g} ms",
    MEGABYTES: lambda value: f"{value / 1e6:.3g} MB",
}


@dataclass(frozen=True, slots=True)
class Target:
    words: str
    bound: str
    limit: float
    unit: str
    #: In the unit's base: a ratio, seconds, bytes.
    measure: Callable[[Results], float]

    @property
    def wanted(self) -> str:
        return f"{self.bound} {_IN_UNIT[self.unit](self.limit)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    target: Target
    value: float | None
    #: Why there is no value.
    reason: str = ""

    @property
    def is_met(self) -> bool:
        if self.value is None:
            return False
        if self.target.bound == AT_LEAST:
            return self.value >= self.target.limit
        return self.value <= self.target.limit

    @property
    def measured(self) -> str:
        return "-" if self.value is None else _IN_UNIT[self.target.unit](self.value)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return f"not measured: {self.reason}"
        return "met" if self.is_met else "missed"


def judge(results: Results) -> list[Outcome]:
    """Every target with what was measured, in order."""
    outcomes = []
    for target in TARGETS:
        try:
            outcomes.append(Outcome(target, target.measure(results)))
        except NotMeasured as missing:
            outcomes.append(Outcome(target, None, str(missing)))
    return outcomes


# --------------------------------------------------------------------------- measures

_Subject = tuple[str, str]  # who, and which measure of theirs

_OUR_SAVE = (OURS, "save_durable")
_OUR_LOAD = (OURS, "load_warm")


def _faster(section: str, ours: _Subject, theirs: _Subject) -> Callable[[Results], float]:
    """How many times as fast we are: the ratio of the medians."""

    def measure(results: Results) -> float:
        return results.median(section, *theirs) / results.median(section, *ours)

    return measure


def _slower(section: str, ours: _Subject, theirs: _Subject) -> Callable[[Results], float]:
    """How many times as long we take."""
    faster = _faster(section, ours, theirs)
    return lambda results: 1 / faster(results)


def _against_fastest_peer(results: Results) -> float:
    times_secs = [
        results.median(workloads.GPT, name, "save_durable")
        for name in results.subjects(workloads.GPT, "save_durable")
        if not CONTESTANTS[name].is_ours
    ]
    if not times_secs:
        raise NotMeasured("no other library took part")
    return min(times_secs) / results.median(workloads.GPT, *_OUR_SAVE)


def _slow_down(results: Results) -> float:
    before = results.median(looping.SECTION, OURS_ASYNC, "step_before")
    return results.median(looping.SECTION, OURS_ASYNC, "step_during") / before


def _growth(words: str) -> Callable[[Results], float]:
    return _slower(history.SECTION, (words, "late"), (words, "early"))


TARGETS = (
    Target(
        "durable save of 1 GB: speed against O_DIRECT",
        AT_LEAST,
        0.92,
        TIMES,
        _faster(workloads.GPT, _OUR_SAVE, (LIMITS, "direct_write")),
    ),
    Target(
        "durable save of 1 GB: speed against safetensors with fsync",
        AT_LEAST,
        1.4,
        TIMES,
        _faster(workloads.GPT, _OUR_SAVE, (SAFETENSORS, "save_durable")),
    ),
    Target(
        "durable save of 1 GB: speed against the fastest other library",
        AT_LEAST,
        1.0,
        TIMES,
        _against_fastest_peer,
    ),
    Target(
        "save of 1 GB without syncing: speed against safetensors",
        AT_LEAST,
        1.25,
        TIMES,
        _faster(workloads.GPT, (OURS_UNSYNCED, "save_returned"), (SAFETENSORS, "save_returned")),
    ),
    Target(
        "verified restore of 1 GB, cached, new arrays: speed against safetensors",
        AT_LEAST,
        1.2,
        TIMES,
        _faster(workloads.GPT, _OUR_LOAD, (SAFETENSORS, "load_warm")),
    ),
    Target(
        "verified restore of 1 GB, cached, in place: speed against memcpy",
        AT_LEAST,
        0.8,
        TIMES,
        _faster(workloads.GPT, (OURS, "load_in_place_warm"), (LIMITS, "memcpy")),
    ),
    Target(
        "verified restore of 1 GB, not cached: speed against an O_DIRECT read",
        AT_LEAST,
        0.9,
        TIMES,
        _faster(workloads.GPT, (OURS, "load_cold"), (LIMITS, "direct_read")),
    ),
    Target(
        "durable save of 20,000 tensors: speed against safetensors with fsync",
        AT_LEAST,
        1.2,
        TIMES,
        _faster(workloads.SMALL, _OUR_SAVE, (SAFETENSORS, "save_durable")),
    ),
    Target(
        "verified restore of 20,000 tensors: speed against safetensors",
        AT_LEAST,
        1.2,
        TIMES,
        _faster(workloads.SMALL, _OUR_LOAD, (SAFETENSORS, "load_warm")),
    ),
    Target(
        "durable save of 100 KB by the manager: speed against TensorFlow's, which does not sync",
        AT_LEAST,
        1.0,
        TIMES,
        _faster(managing.SECTION, (OURS, "save"), (TENSORFLOW_CHECKPOINT, "save")),
    ),
    Target(
        "stall of a training loop for 1 GB of NumPy arrays: time against memcpy",
        AT_MOST,
        1.2,
        TIMES,
        _slower(looping.SECTION, (OURS_ASYNC, "stall"), (LIMITS, "memcpy")),
    ),
    Target(
        "stall of a training loop for 1 GB of JAX arrays",
        AT_MOST,
        0.005,
        MILLISECONDS,
        lambda results: results.median(looping.SECTION, OURS_JAX, "stall"),
    ),
    Target(
        "stall of a PyTorch loop with the hook, when forward and backward outlast the copy",
        AT_MOST,
        0.005,
        MILLISECONDS,
        lambda results: results.median(looping.SECTION, OURS_TORCH, "stall"),
    ),
    Target(
        "median step while 1 GB is saved in the background, against the steps before",
        AT_MOST,
        1.1,
        TIMES,
        _slow_down,
    ),
    Target(
        "memory that a save of 1 GB takes beside the tensors",
        AT_MOST,
        64e6,
        MEGABYTES,
        lambda results: max(results.values(workloads.GPT, OURS, "save_extra_bytes")),
    ),
    Target(
        "discovery by another process, 99th percentile",
        AT_MOST,
        0.010,
        MILLISECONDS,
        lambda results: results.percentile(discovery.SECTION, discovery.OURS, "latency", 99),
    ),
    *(
        Target(
            f"the last of 10,000 saves, {words}: time against the 10th",
            AT_MOST,
            1.1,
            TIMES,
            _growth(words),
        )
        for words in history.KEEPING
    ),
    Target(
        "import",
        AT_MOST,
        0.25,
        MILLISECONDS,
        lambda results: results.median(imports.SECTION, OUR_IMPORT, "elapsed"),
    ),
)
