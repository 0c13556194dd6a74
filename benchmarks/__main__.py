"""Measure, and write the results, the page and the picture.

A complete run writes benchmarks/results/latest.json, docs/benchmarks.md and docs/benchmarks.svg.
One that is smaller in any way writes the same into build/benchmarks/, so that it does not pass for
one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from benchmarks import workloads
from benchmarks.contestants import CONTESTANTS
from benchmarks.fleet import REPOSITORY, Fleet, Member
from benchmarks.machine import describe_machine
from benchmarks.report import render
from benchmarks.results import Results
from benchmarks.scratch import Scratch
from benchmarks.sections import Bench, discovery, history, imports, looping, managing, saving
from benchmarks.targets import judge

_BUILD = os.path.join(REPOSITORY, "build", "benchmarks")
_ROUNDS = 5

_SECTIONS: dict[str, Callable[[Bench], None]] = {
    **{
        workload.name: partial(saving.measure, workload=workload.name)
        for workload in workloads.WORKLOADS
    },
    looping.SECTION: looping.measure,
    managing.SECTION: managing.measure,
    discovery.SECTION: discovery.measure,
    history.SECTION: history.measure,
    imports.SECTION: imports.measure,
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the workloads (default: 1)")
    parser.add_argument(
        "--rounds", type=int, default=_ROUNDS, help=f"samples of each figure (default: {_ROUNDS})"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=[*_SECTIONS, *CONTESTANTS],
        metavar="NAME",
        help=f"measure these alone: {', '.join(_SECTIONS)}; of these: {', '.join(CONTESTANTS)}",
    )
    parser.add_argument("--directory", help="save in here, instead of build/")
    parser.add_argument("--output", help="write everything here")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    directory = options.directory or _BUILD
    os.makedirs(directory, exist_ok=True)
    began_secs = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_secs:5.0f} s  {line}", flush=True)

    results = Results(options.scale, options.rounds, describe_machine(directory))
    names = [name for name in CONTESTANTS if name in options.only] or list(CONTESTANTS)
    sections = [name for name in _SECTIONS if name in options.only] or list(_SECTIONS)
    with (
        tempfile.TemporaryDirectory(prefix="scratch-", dir=directory) as scratch,
        Fleet(names, results) as fleet,
    ):
        bench = Bench(fleet, Scratch(scratch), results, options.scale, options.rounds, say)
        _rehearse(bench)
        for section in sections:
            try:
                _SECTIONS[section](bench)
            except Exception as error:  # noqa: BLE001 - what the others took minutes for stays
                say(f"  {section}: {error}")
                results.failures[section] = f"{type(error).__name__}: {error}"
    is_complete = not options.only and options.scale == 1 and options.rounds >= _ROUNDS
    for path in _write(results, options.output, is_complete=is_complete):
        say(f"wrote {os.path.relpath(path)}")
    for outcome in judge(results):
        say(f"{outcome.target.words}: {outcome.measured} ({outcome.verdict})")


def _rehearse(bench: Bench) -> None:
    bench.say("rehearsal: imports, and whether values come back")

    def rehearse(member: Member) -> None:
        with bench.scratch.fresh() as run:
            bench.fleet.rehearse(member, run)

    bench.attempt(bench.fleet.everybody(), rehearse)


def _write(results: Results, output: str | None, *, is_complete: bool) -> list[str]:
    """Write the results, the page and, where matplotlib is installed, the picture."""
    docs = results_directory = output or _BUILD
    if output is None and is_complete:
        docs = os.path.join(REPOSITORY, "docs")
        results_directory = os.path.join(REPOSITORY, "benchmarks", "results")
    texts = {os.path.join(results_directory, "latest.json"): results.to_json() + "\n"}
    picture = os.path.join(docs, "benchmarks.svg")
    has_plot = find_spec("matplotlib") is not None
    plot_name = os.path.basename(picture) if has_plot else None
    texts[os.path.join(docs, "benchmarks.md")] = render(results, plot_name)
    for path, text in texts.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if not has_plot:
        return list(texts)
    from benchmarks.plot import draw

    draw(results, picture)
    return [*texts, picture]


if __name__ == "__main__":
    main()
