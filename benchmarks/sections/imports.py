"""How long a fresh interpreter takes to import each library."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.sections import Bench

SECTION = "import"

_ELAPSED = """
import time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""


def measure(bench: Bench) -> None:
    statements = dict.fromkeys(member.contestant.imports for member in bench.fleet.everybody())
    for number in range(bench.fewer_rounds):
        bench.say(f"{SECTION}: round {number + 1} of {bench.fewer_rounds}")
        for statement in statements:
            bench.results.add(SECTION, statement, elapsed=_elapsed_secs(statement))


def _elapsed_secs(statement: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _ELAPSED.format(statement=statement)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return float(done.stdout)
