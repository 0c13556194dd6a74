"""Managers that save 100 KB, keep the last five, and say which is the newest."""

from __future__ import annotations

from benchmarks import workloads
from benchmarks.contestants import LIMITS
from benchmarks.fleet import Member
from benchmarks.sections import Bench

SECTION = "manager"

_SAVES = 25
# By then each of them deletes one with every save.
_WARM_UP = 10


def measure(bench: Bench) -> None:
    members = [
        member
        for member in bench.fleet.members(SECTION)
        if "manage" in member.abilities and not member.contestant.is_async
    ]
    everybody = bench.fleet.limits() + members
    bench.attempt_rounds(SECTION, bench.rounds, everybody, lambda m: _measure_one(bench, m))


def _measure_one(bench: Bench, member: Member) -> None:
    with bench.holding(member, workloads.LITTLE, 1), bench.scratch.fresh() as run:
        verb = "commit_little" if member.name == LIMITS else "manage"
        times_secs = member.call(verb, run=run, count=_WARM_UP + _SAVES)
        bench.results.add(SECTION, member.name, save=times_secs[_WARM_UP:])
