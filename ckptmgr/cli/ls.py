"""`ckptmgr ls DIR`: the checkpoints of a directory, one line each."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from typing import Any, TextIO

from ckptmgr import errors, naming
from ckptmgr.cli import hints, wording
from ckptmgr.cli.command import Command
from ckptmgr.cli.table import Column, fits, render
from ckptmgr.lifecycle.listing import ListedCheckpoint, list_checkpoints
from ckptmgr.storage import PosixStorage


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory of a run")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    directory: str = arguments.directory
    storage = PosixStorage()
    meant = hints.checkpoint_at(storage, directory)
    if meant is not None:
        raise errors.InvalidArgument(
            f"{directory} belongs to a checkpoint, and ls wants its directory: try "
            f"'ckptmgr ls {naming.directory_of(directory)}', or 'ckptmgr show {meant}'"
        )
    listed = list_checkpoints(directory, storage=storage)
    if arguments.json:
        out.write(wording.json_text(as_json(directory, listed)))
    elif listed:
        width = shutil.get_terminal_size().columns
        out.write(render_list(listed, now_secs=time.time(), width=width))
    else:
        out.write(wording.printable(hints.no_checkpoints(storage, directory)) + "\n")
    return 0


COMMAND = Command("ls", "list the checkpoints of a directory", _add_arguments, _run)


# --------------------------------------------------------------------------- for programs


def as_json(directory: str, listed: Sequence[ListedCheckpoint]) -> dict[str, Any]:
    return {"directory": directory, "checkpoints": [_checkpoint_as_json(c) for c in listed]}


def _checkpoint_as_json(checkpoint: ListedCheckpoint) -> dict[str, Any]:
    return {
        "prefix": checkpoint.prefix,
        "step": checkpoint.step,
        **wording.json_time(checkpoint.saved_at_secs),
        "size_bytes": checkpoint.size_bytes,
        "shared_bytes": checkpoint.shared_bytes,
        "metrics": wording.json_metrics(checkpoint.metrics),
        "metadata": checkpoint.metadata,
        "kept_because": checkpoint.kept_because,
        "latest": checkpoint.latest,
        "damaged": checkpoint.damaged,
    }


# --------------------------------------------------------------------------- for people


def render_list(listed: Sequence[ListedCheckpoint], *, now_secs: float, width: int) -> str:
    """The table with what there is to say below it; `listed` has at least one."""
    before = [
        Column("", [_mark(c) for c in listed]),
        _name_column(listed),
        Column("AGE", [wording.age(now_secs - c.saved_at_secs) for c in listed], right=True),
        Column("SIZE", [wording.size(c.size_bytes) for c in listed], right=True),
    ]
    if any(c.shared_bytes for c in listed):
        shared = [wording.size(c.shared_bytes) if c.shared_bytes else "" for c in listed]
        before.append(Column("SHARED", shared, right=True))
    reasons = [wording.printable(c.kept_because) for c in listed]
    kept = Column("KEPT BECAUSE", reasons, wraps=True)
    names = sorted({name for c in listed for name in c.metrics})
    columns = [*before, *(_metric_column(name, listed) for name in names), kept]
    if not fits(columns, width) and names:
        columns = [*before, kept, _joined_metrics(listed)]
    return "".join(f"{line}\n" for line in [*render(columns, width), *_footer(listed)])


def _mark(checkpoint: ListedCheckpoint) -> str:
    return ("*" if checkpoint.latest else "") + ("!" if checkpoint.damaged else "")


def _name_column(listed: Sequence[ListedCheckpoint]) -> Column:
    """Steps, where they tell the checkpoints apart; names otherwise."""
    checkpoint_name = naming.base_of(listed[0].prefix).rpartition("-")[0]
    if all(naming.is_checkpoint_of(naming.base_of(c.prefix), checkpoint_name) for c in listed):
        return Column("STEP", [str(c.step) for c in listed], right=True)
    return Column("CHECKPOINT", [wording.printable(naming.base_of(c.prefix)) for c in listed])


def _metric_column(name: str, listed: Sequence[ListedCheckpoint]) -> Column:
    cells = wording.numbers([c.metrics.get(name) for c in listed])
    return Column(wording.printable(name), cells, right=True)


def _joined_metrics(listed: Sequence[ListedCheckpoint]) -> Column:
    cells = [
        ", ".join(
            f"{wording.printable(k)}={wording.number(v)}" for k, v in sorted(c.metrics.items())
        )
        for c in listed
    ]
    return Column("METRICS", cells, wraps=True)


def _footer(listed: Sequence[ListedCheckpoint]) -> list[str]:
    # What several checkpoints share takes its place on the disk once.
    total = wording.size(sum(c.size_bytes - c.shared_bytes for c in listed))
    summary = f"{wording.count(len(listed), 'checkpoint')}, {total}"
    latest = [checkpoint.prefix for checkpoint in listed if checkpoint.latest]
    if latest:
        summary += f"; * is the latest: {wording.printable(latest[0])}"
    damaged = [wording.printable(c.damaged) for c in listed if c.damaged]
    return ["", summary, *(f"! damaged: {text}" for text in damaged)]
