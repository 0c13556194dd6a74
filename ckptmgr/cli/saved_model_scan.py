"""`ckptmgr saved-model scan --dir DIR`: what a model could do to the machine that runs it.

First stands what TensorFlow's `saved_model_cli scan` prints, with sets sorted, then what else there
is to know, if there is anything.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, TextIO

from ckptmgr.cli import wording
from ckptmgr.cli.command import Command
from ckptmgr.cli.tag_sets import (
    add_directory_argument,
    add_tag_set_argument,
    chosen_meta_graph,
    name_set,
)
from ckptmgr.cli.wording import printable
from ckptmgr.saved_model.directory import read_saved_model
from ckptmgr.saved_model.scan import (
    DEFAULT_DENYLIST,
    Finding,
    ScannedMetaGraph,
    scan_meta_graph,
)

_SUSPICIOUS = 1
# More nodes of one kind are counted.
_MAX_LISTED = 10


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_directory_argument(parser)
    add_tag_set_argument(parser)
    parser.add_argument(
        "--op_denylist",
        metavar="OPS",
        help=f"types of operations to report, separated by commas; by default "
        f"{','.join(sorted(DEFAULT_DENYLIST))}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    model = read_saved_model(arguments.dir)
    graphs = (
        [chosen_meta_graph(model, arguments.tag_set)] if arguments.tag_set else model.meta_graphs
    )
    denylist = _denylist(arguments.op_denylist)
    scanned = [scan_meta_graph(graph, denylist) for graph in graphs]
    if arguments.json:
        out.write(wording.json_text(as_json(arguments.dir, denylist, scanned)))
    else:
        out.writelines(f"{line}\n" for line in render(denylist, scanned))
    return _SUSPICIOUS if any(graph.is_suspicious for graph in scanned) else 0


COMMAND = Command(
    "scan", "look for what a SavedModel could do to this machine", _add_arguments, _run
)


def _denylist(ops: str | None) -> frozenset[str]:
    if not ops:
        return DEFAULT_DENYLIST
    return frozenset(op.strip() for op in ops.split(",") if op.strip())


# --------------------------------------------------------------------------- for programs


def as_json(
    directory: str, denylist: Iterable[str], scanned: Sequence[ScannedMetaGraph]
) -> dict[str, Any]:
    return {
        "directory": directory,
        "suspicious": any(graph.is_suspicious for graph in scanned),
        "denylist": sorted(denylist),
        "meta_graphs": [
            {
                "tags": list(graph.tags),
                "denylisted": list(graph.denylisted),
                "findings": [asdict(finding) for finding in graph.findings],
            }
            for graph in scanned
        ],
    }


# --------------------------------------------------------------------------- for people


def render(denylist: Iterable[str], scanned: Sequence[ScannedMetaGraph]) -> Iterator[str]:
    for graph in scanned:
        tags = list(graph.tags)
        if graph.denylisted:
            verdict, ops = "contains the following denylisted ops", graph.denylisted
        else:
            verdict, ops = "does not contain the default denylisted ops", tuple(denylist)
        yield f"MetaGraph with tag set {tags} {verdict}: {name_set(ops)}"
    for graph in scanned:
        if graph.findings:
            yield ""
            yield f"MetaGraph with tag set {list(graph.tags)}, when it is run:"
            yield from _finding_lines(graph.findings)


def _finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    def kind(finding: Finding) -> tuple[str, str]:
        return finding.effect, finding.op

    for (effect, op), found in groupby(sorted(findings, key=kind), key=kind):
        places = [_place(finding) for finding in found]
        shown = ", ".join(places[:_MAX_LISTED])
        more = len(places) - _MAX_LISTED
        rest = f" and {more} more" if more > 0 else ""
        yield f"  {effect}: {op + ' at ' if op else ''}{shown}{rest}"


def _place(finding: Finding) -> str:
    where = "" if finding.function is None else f" in function {finding.function!r}"
    return printable(f"{finding.node!r}{where}")
