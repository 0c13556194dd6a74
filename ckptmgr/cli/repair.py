"""`ckptmgr repair DIR`: a `checkpoint` file that names what is whole. Says first what it does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, TextIO

from ckptmgr import errors, naming
from ckptmgr.cli import findings, hints, progress, wording
from ckptmgr.cli.command import Command
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle.repair import RepairPlan, apply_repair, in_use, repair
from ckptmgr.lifecycle.verification import Finding
from ckptmgr.storage import PosixStorage


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="the directory of a run")
    parser.add_argument(
        "--yes", action="store_true", help="do it; otherwise only say what would be done"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    directory: str = arguments.directory
    storage = PosixStorage()
    with progress.shown() as listener:
        plan = repair(directory, on_progress=listener, storage=storage)
    checkpoints = plan.verification.checkpoints
    if plan.state is None and not any(checkpoint.is_whole for checkpoint in checkpoints):
        if checkpoints:
            raise errors.CheckpointNotFound(
                f"none of {wording.count(len(checkpoints), 'checkpoint')} in {directory} is whole; "
                f"'ckptmgr verify {directory}' says what is wrong"
            )
        raise errors.CheckpointNotFound(hints.no_checkpoints(storage, directory))
    if not arguments.json:
        # Before it is done: what was said stands there, should it fail.
        out.write("".join(f"{line}\n" for line in render_plan(plan, applies=arguments.yes)))
        out.flush()
    if arguments.yes:
        apply_repair(plan, storage=storage)
    if arguments.json:
        out.write(wording.json_text(as_json(plan, applied=arguments.yes)))
    elif arguments.yes and not plan.is_empty:
        out.write("\nDone.\n")
    return 0


COMMAND = Command("repair", "name in the state what is whole", _add_arguments, _run)


# --------------------------------------------------------------------------- for programs


def as_json(plan: RepairPlan, *, applied: bool) -> dict[str, Any]:
    return {
        "directory": plan.directory,
        "needed": not plan.is_empty,
        "applied": applied and not plan.is_empty,
        "state": None if plan.state is None else _state_as_json(plan.state),
        "reasons": plan.reasons,
        "removals": plan.removals,
        "writers": plan.num_writers,
        "damaged": findings.as_json(_damage(plan)),
    }


def _state_as_json(state: CheckpointState) -> dict[str, Any]:
    return {
        "model_checkpoint_path": state.model_checkpoint_path,
        "all_model_checkpoint_paths": state.all_model_checkpoint_paths,
        "all_model_checkpoint_timestamps": state.all_model_checkpoint_timestamps,
        "last_preserved_timestamp": state.last_preserved_timestamp,
    }


def _damage(plan: RepairPlan) -> list[Finding]:
    return [finding for c in plan.verification.checkpoints for finding in c.damage]


# --------------------------------------------------------------------------- for people


def render_plan(plan: RepairPlan, *, applies: bool) -> Iterator[str]:
    for line in _lines(plan, applies=applies):
        yield wording.printable(line)


def _lines(plan: RepairPlan, *, applies: bool) -> Iterator[str]:
    will = "will" if applies else "would"
    if plan.state is not None:
        yield f"{naming.state_file(plan.directory)} {will} be replaced, because"
        yield from (f"  {reason}" for reason in plan.reasons)
        yield "It then says"
        yield f"  latest  {plan.state.model_checkpoint_path}"
        for row, path in enumerate(plan.state.all_model_checkpoint_paths):
            yield f"  {'' if row else 'all':<8}{path}"
    if plan.removals:
        yield f"These {will} be removed, which saves that did not end have left behind:"
        yield from (f"  {path}" for path in plan.removals)
    damage = _damage(plan)
    if damage:
        yield "These are damaged, and left as they are:"
        yield from (f"  {line}" for line in findings.render(damage))
    if plan.is_empty:
        yield f"{plan.directory} needs no repair."
    elif not applies:
        if plan.num_writers:
            yield f"It cannot be done now: {in_use(plan.directory, plan.num_writers)}."
        yield f"Nothing was changed; 'ckptmgr repair {plan.directory} --yes' does it."
