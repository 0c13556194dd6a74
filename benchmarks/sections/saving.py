"""Saving and loading the workloads, and the limits of the machine in the same rounds."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict

from benchmarks import files, workloads
from benchmarks.contestants import LIMITS
from benchmarks.fleet import Member
from benchmarks.sections import Bench

#: The verbs of savers, in the words of the table.
HOW_TO_LOAD = {
    "load": "new arrays",
    "load_in_place": "in place",
    "restore": "in place, by the manager",
}

# One that is this slow is measured twice, however many rounds there are.
_PATIENCE_SECS = 30.0
_LEAST_ROUNDS = 2


def measure(bench: Bench, workload: str) -> None:
    members = bench.fleet.limits() + _those_who_take_part(bench, workload)
    spent_secs: defaultdict[str, float] = defaultdict(float)
    turns: Counter[str] = Counter()

    def measure_one(member: Member) -> None:
        if turns[member.name] >= _LEAST_ROUNDS and spent_secs[member.name] > _PATIENCE_SECS:
            return
        began_secs = time.perf_counter()
        _measure_one(bench, workload, member)
        spent_secs[member.name] += time.perf_counter() - began_secs
        turns[member.name] += 1

    is_main = workload in (workloads.GPT, workloads.SMALL)
    rounds = bench.rounds if is_main else max(1, bench.rounds // 2)
    bench.attempt_rounds(workload, rounds, members, measure_one)


def _those_who_take_part(bench: Bench, workload: str) -> list[Member]:
    members = bench.fleet.members(workload)
    if workload in (workloads.ONE, workloads.FROZEN):
        # Saving in the background is compared with the workloads that are like training.
        return [member for member in members if not member.contestant.is_async]
    return members


def _measure_one(bench: Bench, workload: str, member: Member) -> None:
    with bench.holding(member, workload, bench.scale), bench.scratch.fresh() as run:
        if member.name == LIMITS:
            bench.results.add(workload, LIMITS, **member.call("measure_limits", run=run))
            return
        step = 1
        if workload == workloads.FROZEN or member.contestant.is_async:
            # What was saved before counts, or the memory that is kept from one save to the next.
            member.call("save", run=run, step=1)
            os.sync()
            step = 2
        if workload == workloads.FROZEN:
            member.call("change", workload=workload, scale=bench.scale)
        saved = member.call("save", run=run, step=step)
        bench.results.add(workload, member.name, **saved)
        if workload != workloads.FROZEN and not member.contestant.only_saves:
            _measure_loads(bench, workload, member, run)


def _measure_loads(bench: Bench, workload: str, member: Member, run: str) -> None:
    for how in HOW_TO_LOAD:
        if how not in member.abilities:
            continue
        files.sync_tree(run)
        files.warm_tree(run)
        loaded = member.call("load", how=how, step=1)
        measured = {f"{how}_warm": loaded["secs"], f"{how}_extra_bytes": loaded["extra_bytes"]}
        if workload == workloads.GPT:
            files.chill_tree(run)
            measured[f"{how}_cold"] = member.call("load", how=how, step=1)["secs"]
        bench.results.add(workload, member.name, **measured)
