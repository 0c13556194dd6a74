"""docs/benchmarks.svg: durable saves, restores, many small tensors, and a training loop.

Speeds are bars from zero. Times that differ by orders of magnitude are points on a logarithmic
axis, where the length of a bar would mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks import workloads
from benchmarks.contestants import CONTESTANTS, LIMITS, OURS_UNSYNCED
from benchmarks.results import Results, Spread
from benchmarks.sections import looping

# Of Okabe and Ito's palette, which people with any colour vision can tell apart; they differ in
# lightness too, for print.
_OURS = "#0072B2"
_OTHERS = "#9AA3AD"
_LIMIT = "#D55E00"
_INK = "#24292F"

_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "ckptmgr",  # the same picture from the same figures
}

_Convert = Callable[[float], float]


def draw(results: Results, path: str) -> None:
    """Draw what there are samples of; the suffix of `path` says as what."""
    size_bytes = workloads.count_bytes(workloads.GPT, results.scale)
    size = f"{size_bytes / 1e9:.0f} GB" if size_bytes >= 9.5e8 else f"{size_bytes / 1e6:.0f} MB"
    count = workloads.count_tensors(workloads.SMALL, results.scale)

    def gigabytes(secs: float) -> float:
        return size_bytes / secs / 1e9

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(12, 8), layout="constrained", facecolor="white")
        figure.get_layout_engine().set(hspace=0.06, wspace=0.04)
        durable, restore, small, stall = figure.subplots(2, 2).flat
        _bars(durable, results, (workloads.GPT, "save_durable"), gigabytes)
        _limit(durable, results, (workloads.GPT, "direct_write"), gigabytes, "O_DIRECT")
        _title(durable, f"Durable save of {size}", "GB/s, more is better")
        _bars(restore, results, (workloads.GPT, "load_warm"), gigabytes)
        _title(restore, f"Restore of {size} from the cache", "GB/s, more is better")
        _points(small, results, (workloads.SMALL, "save_durable"))
        _title(small, f"Durable save of {count:,} tensors of 1 KB", "ms, less is better")
        _points(stall, results, (looping.SECTION, "stall"))
        _limit(stall, results, (looping.SECTION, "memcpy"), _milliseconds, "memcpy")
        _title(stall, f"Stall of a training loop for a save of {size}", "ms, less is better")
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


_Figures = tuple[str, str]  # a section, and a measure in it


def _bars(axes: Axes, results: Results, figures: _Figures, convert: _Convert) -> None:
    for row, (name, found) in enumerate(_rows(axes, results, figures, convert)):
        axes.barh(row, found.median, color=_colour(name))
        axes.plot([found.low, found.high], [row, row], color=_INK, linewidth=1.2)
        _figure(axes, row, found)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)


def _points(axes: Axes, results: Results, figures: _Figures) -> None:
    for row, (name, found) in enumerate(_rows(axes, results, figures, _milliseconds)):
        axes.plot([found.low, found.high], [row, row], color=_INK, linewidth=1.2)
        axes.plot(found.median, row, "o", color=_colour(name), markersize=9)
        _figure(axes, row, found)
    axes.set_xscale("log")
    axes.grid(axis="x", color="#E4E7EB")
    axes.set_axisbelow(True)
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.3, high * 1.8)
    # Over several decades the figures between the powers of ten would overlap.
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _rows(
    axes: Axes, results: Results, figures: _Figures, convert: _Convert
) -> list[tuple[str, Spread]]:
    """A row for each contestant, the fastest on top."""
    section, measure = figures
    names = [name for name in results.subjects(section, measure) if _has_row(name, section)]
    names.sort(key=lambda name: results.median(section, name, measure), reverse=True)
    axes.set_yticks(range(len(names)), [CONTESTANTS[name].words for name in names])
    axes.set_ylim(-0.7, max(1, len(names)) - 0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    rows = []
    for name in names:
        median, *quartiles, samples = results.spread(section, name, measure)
        low, high = sorted(map(convert, quartiles))
        rows.append((name, Spread(convert(median), low, high, samples)))
    return rows


def _has_row(name: str, section: str) -> bool:
    """Saves in the background are compared by what they are for, the stall."""
    if section == looping.SECTION:
        return name != LIMITS
    return name not in (LIMITS, OURS_UNSYNCED) and not CONTESTANTS[name].is_async


def _colour(name: str) -> str:
    return _OURS if CONTESTANTS[name].is_ours else _OTHERS


def _figure(axes: Axes, row: int, found: Spread) -> None:
    digits = 0 if found.median >= 100 else 1 if found.median >= 10 else 2
    axes.annotate(
        f"{found.median:,.{digits}f}",
        (found.high, row),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # over the limit's line
    )


def _limit(axes: Axes, results: Results, figures: _Figures, convert: _Convert, words: str) -> None:
    """What the machine can do, as a line across the rows."""
    section, measure = figures
    if LIMITS not in results.subjects(section, measure):
        return
    limit = convert(results.median(section, LIMITS, measure))
    axes.axvline(limit, color=_LIMIT, linewidth=1.5, linestyle="--", zorder=0)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, limit / 1.3), max(high, limit * 1.2))
    axes.annotate(
        f"{words} {limit:.3g}",
        (limit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        color=_LIMIT,
        ha="center",
    )


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, pad=16)
    axes.set_xlabel(unit)


def _milliseconds(secs: float) -> float:
    return secs * 1e3
