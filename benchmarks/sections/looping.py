"""A training loop that is saved in the background, beside a plain copy of the same bytes."""

from __future__ import annotations

from benchmarks import contestants, workloads
from benchmarks.contestants import LIMITS
from benchmarks.fleet import Member
from benchmarks.sections import Bench

SECTION = contestants.TRAINING

#: Of the loop before and behind a save, at scale 1.
_LOOP_SECS = 1.0
_LEAST_LOOP_SECS = 0.2


def measure(bench: Bench) -> None:
    members = bench.fleet.limits() + _those_who_take_part(bench)
    bench.attempt_rounds(SECTION, bench.fewer_rounds, members, lambda m: _measure_one(bench, m))


def _those_who_take_part(bench: Bench) -> list[Member]:
    return [m for m in bench.fleet.members(SECTION) if m.contestant.is_async]


def _measure_one(bench: Bench, member: Member) -> None:
    with bench.holding(member, workloads.GPT, bench.scale), bench.scratch.fresh() as run:
        if member.name == LIMITS:
            limits = member.call("measure_limits", run=run)
            bench.results.add(SECTION, LIMITS, memcpy=limits["memcpy"])
        else:
            secs = max(_LEAST_LOOP_SECS, _LOOP_SECS * bench.scale)
            bench.results.add(SECTION, member.name, **member.call("train", run=run, secs=secs))
