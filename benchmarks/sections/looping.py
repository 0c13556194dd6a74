"""A training loop that is saved in the background, beside a plain copy of the same bytes."""

from __future__ import annotations

from benchmarks import workloads
from benchmarks.contestants import LIMITS
from benchmarks.fleet import Member
from benchmarks.sections import Bench

SECTION = "training"

#: Of the loop before and behind a save, at scale 1.
_LOOP_SECS = 1.0
_LEAST_LOOP_SECS = 0.2


def measure(bench: Bench) -> None:
    members = bench.fleet.limits() + bench.fleet.members(trains=True)
    bench.attempt(members, lambda m: m.call("hold", workload=workloads.GPT, scale=bench.scale))
    bench.attempt_rounds(SECTION, bench.fewer_rounds, members, lambda m: _measure_one(bench, m))
    bench.attempt(
        (member for member in members if bench.fleet.has(member.name)), lambda m: m.call("release")
    )


def _measure_one(bench: Bench, member: Member) -> None:
    with bench.scratch.fresh() as run:
        if member.name == LIMITS:
            limits = member.call("measure_limits", run=run)
            bench.results.add(SECTION, LIMITS, memcpy=limits["memcpy"])
        else:
            secs = max(_LEAST_LOOP_SECS, _LOOP_SECS * bench.scale)
            bench.results.add(SECTION, member.name, **member.call("train", run=run, secs=secs))
