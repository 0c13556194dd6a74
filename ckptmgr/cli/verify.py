"""`ckptmgr verify DIR|PREFIX...`: whether checkpoints are whole. Every tensor is read."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from typing import Any, TextIO

from ckptmgr import errors, naming
from ckptmgr.cli import findings, hints, progress, wording
from ckptmgr.cli.command import Command
from ckptmgr.cli.table import Column, render
from ckptmgr.lifecycle.verification import Verification, VerifiedCheckpoint, verify
from ckptmgr.storage import PosixStorage

_DAMAGED = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        metavar="DIR|PREFIX",
        nargs="+",
        help="a directory, for all of its checkpoints, or a checkpoint, such as run/model.ckpt-100",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    storage = PosixStorage()
    verifications = []
    for target in arguments.targets:
        with progress.shown() as listener:
            verification = verify(target, on_progress=listener, storage=storage)
        if not verification.checkpoints and not verification.damage:
            # An answer of "whole" to a mistyped path would be none.
            raise errors.CheckpointNotFound(hints.no_checkpoints(storage, target))
        verifications.append(verification)
    if arguments.json:
        out.write(wording.json_text(as_json(verifications)))
    else:
        width = shutil.get_terminal_size().columns
        out.write("\n".join(render_verification(v, width=width) for v in verifications))
    return 0 if all(verification.is_whole for verification in verifications) else _DAMAGED


COMMAND = Command("verify", "read checkpoints and say whether they are whole", _add_arguments, _run)


# --------------------------------------------------------------------------- for programs


def as_json(verifications: Sequence[Verification]) -> dict[str, Any]:
    return {
        "whole": all(verification.is_whole for verification in verifications),
        "targets": [
            {
                "target": verification.target,
                "whole": verification.is_whole,
                "checkpoints": [_checkpoint_as_json(c) for c in verification.checkpoints],
                "state": findings.as_json(verification.state),
                "leftovers": findings.as_json(verification.leftovers),
            }
            for verification in verifications
        ],
    }


def _checkpoint_as_json(checkpoint: VerifiedCheckpoint) -> dict[str, Any]:
    return {
        "prefix": checkpoint.prefix,
        "step": checkpoint.step,
        **wording.json_time(checkpoint.saved_at_secs),
        "size_bytes": checkpoint.size_bytes,
        "num_tensors": checkpoint.num_tensors,
        "listed": checkpoint.listed,
        "whole": checkpoint.is_whole,
        "damaged": checkpoint.is_damaged,
        "damage": findings.as_json(checkpoint.damage),
    }


# --------------------------------------------------------------------------- for people


def render_verification(verification: Verification, *, width: int) -> str:
    lines = [wording.printable(verification.target), ""]
    if verification.checkpoints:
        lines += [*render(_columns(verification.checkpoints), width), ""]
    if verification.damage:
        lines += [*findings.render(verification.damage), ""]
    if verification.leftovers:
        lines += ["left over, which does no harm:", *findings.render(verification.leftovers), ""]
    return "".join(f"{line}\n" for line in [*lines, _summary(verification)])


def _columns(checkpoints: Sequence[VerifiedCheckpoint]) -> list[Column]:
    columns = [
        Column("CHECKPOINT", [wording.printable(naming.base_of(c.prefix)) for c in checkpoints]),
        Column("TENSORS", [f"{c.num_tensors:,}" for c in checkpoints], right=True),
        Column("SIZE", [wording.size(c.size_bytes) for c in checkpoints], right=True),
        Column("RESULT", [_result(c) for c in checkpoints]),
    ]
    if any(c.listed is False for c in checkpoints):
        columns.insert(3, Column("STATE", ["" if c.listed else "not listed" for c in checkpoints]))
    return columns


def _result(checkpoint: VerifiedCheckpoint) -> str:
    if checkpoint.is_whole:
        return "whole"
    return "DAMAGED" if checkpoint.is_damaged else "NOT READ"


def _summary(verification: Verification) -> str:
    damaged = sum(checkpoint.is_damaged for checkpoint in verification.checkpoints)
    not_whole = sum(not checkpoint.is_whole for checkpoint in verification.checkpoints)
    total = wording.size(sum(c.size_bytes for c in verification.checkpoints))
    summary = f"{wording.count(len(verification.checkpoints), 'checkpoint')}, {total}"
    if verification.is_whole:
        return f"{summary}: whole"
    parts = [f"{damaged} damaged"] if damaged else []
    parts += [f"{not_whole - damaged} could not be read"] if not_whole > damaged else []
    parts += ["the state is wrong"] if verification.state else []
    summary += f": {', '.join(parts)}"
    if verification.state or any(c.listed and c.is_damaged for c in verification.checkpoints):
        directory = wording.printable(verification.target)
        summary += f"; 'ckptmgr repair {directory}' has the state name what is whole"
    return summary
