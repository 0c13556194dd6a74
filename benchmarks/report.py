"""docs/benchmarks.md: the tables, made from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks import workloads
from benchmarks.contestants import CONTESTANTS, LIMITS, OURS, TENSORFLOW_CHECKPOINT
from benchmarks.results import NotMeasured, Results, Spread
from benchmarks.sections import discovery, history, imports, looping, managing
from benchmarks.sections.saving import HOW_TO_LOAD
from benchmarks.targets import judge

_NONE = "-"

#: Of `Limits.measure`, in the order of the table.
LIMIT_WORDS = {
    "memcpy": "memcpy, one thread",
    "buffered_write": "buffered write",
    "buffered_write_durable": "buffered write, fsync",
    "direct_write": "O_DIRECT write, fsync",
    "cached_read": "read from the cache",
    "verified_read": "read from the cache with checksums, two threads",
    "direct_read": "O_DIRECT read",
}

_HOW = """\
Every library is measured in a process of its own, on tensors of the same values, in arrays of its
own kind. Only one works at a time, and they take turns: each round measures everybody once,
beginning with another one. In between, files are removed and the system writes back all that it
holds. Before it is measured, each library must bring back unchanged what it saved.

*Returned* is when the library says that it has saved. *Durable* is when file and directory are on
stable storage: behind libraries that do not see to that themselves, the benchmark calls fsync on
every file and directory that they wrote. ckptmgr syncs on its own, so both are the same unless it
was told not to sync or to save in the background. Every restore ends with all bytes in memory.
*Not cached* is what the system does not cache; where it is a virtual machine, its host still may.
What the machine can do at all, without names, formats and directories, is measured in the same
rounds: a durable save of 1 GB cannot be much faster than the O_DIRECT write, nor a verified restore
in place than the read with checksums. Figures are medians, with the quartiles in brackets. *Extra
memory* is the growth of the process's peak resident memory.
"""


def render(results: Results, plot: str | None) -> str:
    """The page; `plot` is the name of the picture beside it, if there is one."""
    parts = [
        "# Benchmarks",
        f"Written by `make bench` (scale {results.scale:g}, rounds: {results.rounds}).",
        _smaller(results),
        _machine(results),
        *([f"![Saves, restores and stalls, library by library]({plot})"] if plot else []),
        "## Targets",
        _targets(results),
        "## How it is measured",
        _HOW.strip(),
    ]
    for workload in workloads.WORKLOADS:
        parts += _workload(results, workload)
    parts += _training(results)
    parts += _manager(results)
    parts += _discovery(results)
    parts += _history(results)
    parts += _imports(results)
    if results.failures:
        parts += ["## Not measured", _failures(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _smaller(results: Results) -> str:
    if results.scale == 1:
        return ""
    return "**The workloads were smaller than their names and the targets say.**"


def _machine(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    return f"Machine: {machine}.\n\nVersions: {versions}."


def _targets(results: Results) -> str:
    rows = [
        (outcome.target.words, outcome.verdict, outcome.target.wanted, outcome.measured)
        for outcome in judge(results)
    ]
    return table(("", "", "wanted", "measured"), rows, text_columns=2)


# --------------------------------------------------------------------------- workloads


def _workload(results: Results, workload: workloads.Workload) -> list[str]:
    section = workload.name
    size_bytes = workloads.count_bytes(section, results.scale)
    tensors = workloads.count_tensors(section, results.scale)
    savers = results.subjects(section, "save_durable")
    parts = []
    if savers:
        parts += ["### Saving", _saving(results, section, savers)]
    loads = _loading(results, section)
    if loads:
        parts += ["### Restoring", loads]
    limits = _limits(results, section)
    if limits:
        parts += ["### The machine", limits]
    if not parts:
        return []
    title = f"## {workload.words[0].upper()}{workload.words[1:]}"
    return [title, f"{size_bytes / 1e6:,.0f} MB, tensors: {tensors:,}.", *parts]


def _saving(results: Results, section: str, names: list[str]) -> str:
    speed = _speed(results, section)
    rows = [
        (
            _words(name),
            _show(results, section, name, "save_returned", speed),
            _show(results, section, name, "save_durable", speed),
            _ratio(results, section, (OURS, "save_durable"), (name, "save_durable")),
            _share(results, section, (LIMITS, "direct_write"), (name, "save_durable")),
            _show(results, section, name, "save_extra_bytes", _megabytes),
            _count(results, section, name, "save_durable"),
        )
        for name in _by_speed(results, section, names, "save_durable")
    ]
    header = (
        "",
        "returned",
        "durable",
        "durable, against ckptmgr",
        "durable, against O_DIRECT",
        "extra memory",
        "samples",
    )
    return table(header, rows)


def _loading(results: Results, section: str) -> str:
    speed = _speed(results, section)
    rows = [
        (
            _words(name),
            words,
            _show(results, section, name, f"{load}_warm", speed),
            _ratio(results, section, (OURS, f"{load}_warm"), (name, f"{load}_warm")),
            _share(results, section, (LIMITS, "memcpy"), (name, f"{load}_warm")),
            _show(results, section, name, f"{load}_cold", speed),
            _share(results, section, (LIMITS, "direct_read"), (name, f"{load}_cold")),
            _show(results, section, name, f"{load}_extra_bytes", _megabytes),
        )
        for load, words in HOW_TO_LOAD.items()
        for name in _by_speed(
            results, section, results.subjects(section, f"{load}_warm"), f"{load}_warm"
        )
    ]
    header = (
        "",
        "into",
        "cached",
        "cached, against ckptmgr",
        "cached, against memcpy",
        "not cached",
        "not cached, against O_DIRECT",
        "extra memory",
    )
    return table(header, rows, text_columns=2) if rows else ""


def _limits(results: Results, section: str) -> str:
    rows = []
    for measure, words in LIMIT_WORDS.items():
        shown = _show(results, section, LIMITS, measure, _speed(results, section))
        if shown != _NONE:
            rows.append((words, shown))
    return table(("", ""), rows) if rows else ""


# --------------------------------------------------------------------------- other sections


def _training(results: Results) -> list[str]:
    section = looping.SECTION
    names = results.subjects(section, "stall")
    if not names:
        return []
    rows = [
        (
            _words(name),
            _show(results, section, name, "stall", _milliseconds),
            _show(results, section, name, "saved", _milliseconds),
            *(_percentiles(results, name, f"step_{when}") for when in _WHEN),
            _share(results, section, (name, "step_during"), (name, "step_before")),
        )
        for name in _by_speed(results, section, names, "stall")
    ]
    header = (
        "",
        "stall",
        "saved after",
        *(f"steps {when}: p50, p99" for when in _WHEN),
        "p50 during, against before",
    )
    copy = _show(results, section, LIMITS, "memcpy", _milliseconds)
    return [
        "## A training loop that is saved in the background",
        (
            "1 GB is saved while a loop multiplies matrices in one thread. The *stall* is how long "
            f"the loop stands still; a plain copy of the same bytes takes {copy}. *Saved* is "
            "when the library says so; ckptmgr alone has then synced every file and directory."
        ),
        table(header, rows),
    ]


_WHEN = ("before", "during", "after")


_MANAGERS = {
    LIMITS: "write, fsync, rename, fsync",
    TENSORFLOW_CHECKPOINT: "tf.train.CheckpointManager",
}


def _manager(results: Results) -> list[str]:
    section = managing.SECTION
    names = results.subjects(section, "save")
    if not names:
        return []
    rows = [
        (
            _MANAGERS.get(name) or _words(name),
            _show(results, section, name, "save", _milliseconds),
            f"{results.percentile(section, name, 'save', 99) * 1e3:.3g} ms",
            "yes" if name in (LIMITS, OURS) else "no",
        )
        for name in _by_speed(results, section, names, "save")
    ]
    return [
        "## A manager that saves 100 KB",
        "With the file that names the newest checkpoint, and the deletion of the sixth last.",
        table(("", "save", "p99", "syncs all"), rows),
    ]


def _discovery(results: Results) -> list[str]:
    section = discovery.SECTION
    rows = [
        (
            discovery.FOLLOWERS[name],
            *(
                f"{results.percentile(section, name, 'latency', percent) * 1e3:.3g} ms"
                for percent in (50, 99)
            ),
            f"{max(results.values(section, name, 'latency')) * 1e3:.3g} ms",
            _count(results, section, name, "latency"),
        )
        for name in results.subjects(section, "latency")
    ]
    if not rows:
        return []
    return [
        "## Discovery",
        "From the rename that commits a checkpoint until another process is given it.",
        table(("", "p50", "p99", "most", "checkpoints"), rows),
    ]


def _history(results: Results) -> list[str]:
    section = history.SECTION
    rows = [
        (
            words,
            _show(results, section, words, "early", _milliseconds),
            _show(results, section, words, "late", _milliseconds),
        )
        for words in results.subjects(section, "early")
    ]
    if not rows:
        return []
    return [
        "## The 10,000th checkpoint",
        "A save of 1 KB, not synced: the 100 from the 10th on, and the last 100.",
        table(("", "first", "last"), rows),
    ]


def _imports(results: Results) -> list[str]:
    names = results.subjects(imports.SECTION, "elapsed")
    rows = [
        (f"`{name}`", _show(results, imports.SECTION, name, "elapsed", _milliseconds))
        for name in names
    ]
    return ["## Import", table(("", ""), rows)] if rows else []


def _failures(results: Results) -> str:
    return "\n".join(f"* {_words(name)}: {why}" for name, why in results.failures.items())


# --------------------------------------------------------------------------- cells

_Format = Callable[[Spread], str]
_Subject = tuple[str, str]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """A table in Markdown, its numbers to the right."""
    rule = ["---"] * text_columns + ["--:"] * (len(header) - text_columns)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _show(results: Results, section: str, name: str, measure: str, show: _Format) -> str:
    try:
        return show(results.spread(section, name, measure))
    except NotMeasured:
        return _NONE


def _count(results: Results, section: str, name: str, measure: str) -> str:
    return str(results.spread(section, name, measure).samples)


def _speed(results: Results, section: str) -> _Format:
    """Milliseconds with their quartiles, and GB/s where bytes are what it is about."""
    if section == workloads.SMALL:
        return _milliseconds
    size_bytes = workloads.count_bytes(section, results.scale)
    return lambda found: f"{_milliseconds(found)}, {size_bytes / found.median / 1e9:.2f} GB/s"


def _milliseconds(spread: Spread) -> str:
    median, low, high = (_significant(secs * 1e3) for secs in spread[:3])
    return f"{median} [{low}-{high}] ms"


def _megabytes(spread: Spread) -> str:
    return f"{spread.median / 1e6:,.0f} MB"


def _percentiles(results: Results, name: str, measure: str) -> str:
    found = [results.percentile(looping.SECTION, name, measure, percent) for percent in (50, 99)]
    return ", ".join(_significant(secs * 1e3) for secs in found) + " ms"


def _significant(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(results: Results, section: str, base: _Subject, other: _Subject) -> str:
    """How many times as long as `base` the other one takes."""
    try:
        return f"{results.median(section, *other) / results.median(section, *base):.2f} x"
    except NotMeasured:
        return _NONE


def _share(results: Results, section: str, part: _Subject, whole: _Subject) -> str:
    try:
        return f"{results.median(section, *part) / results.median(section, *whole):.0%}"
    except NotMeasured:
        return _NONE


def _by_speed(results: Results, section: str, names: list[str], measure: str) -> list[str]:
    return sorted(names, key=lambda name: results.median(section, name, measure))


def _words(name: str) -> str:
    words = CONTESTANTS[name].words if name in CONTESTANTS else name
    return f"**{words}**" if name in CONTESTANTS and CONTESTANTS[name].is_ours else words
