"""Rebuilding the state of a directory from the checkpoints in it that are whole.

    survey, verification   what there is, every byte of it read (`survey`, `verification`)
    decide                 pure: what is to change, from those two
    apply_repair           under the directory's lock, if nothing has changed since

No checkpoint is deleted, moved or changed. What the state says soundly stays as it is: order, times
and the latest. Of a state that is lost, only the checkpoints that the noted policy wants are listed
again, and without such a note all, without times: others may have been preserved for good, and
managers, TensorFlow's too, delete only what is listed with its time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, zip_longest

from ckptmgr import arguments, errors, naming, retention
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import state
from ckptmgr.lifecycle.listing import ListedCheckpoint
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.survey import Named, Survey, identities, survey
from ckptmgr.lifecycle.verification import ProgressListener, Verification, verify_surveyed
from ckptmgr.retention import CheckpointRecord, View
from ckptmgr.storage import PosixStorage, Storage

StrPath = str | os.PathLike[str]

_MOVED = "is named by a path that it no longer has"


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a repair changes, and why."""

    directory: str
    #: What is to become the state, paths as they are stored; None if it stays as it is.
    state: CheckpointState | None
    #: Why, in sentences.
    reasons: tuple[str, ...]
    #: What writers that are gone have left behind.
    removals: tuple[str, ...]
    #: What it is based on; damaged checkpoints are left as they are.
    verification: Verification
    #: How many writers live, which keep it from being applied; None where that cannot be told.
    num_writers: int | None
    #: Of what the plan was made for.
    identities: tuple[tuple[int, ...] | None, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.state is None and not self.removals


def repair(
    directory: StrPath,
    *,
    apply: bool = False,
    on_progress: ProgressListener | None = None,
    storage: Storage | None = None,
) -> RepairPlan:
    """Plan, and with `apply` carry out, the repair of a directory's `checkpoint` file.

    Every checkpoint is verified. The state then names the newest that is whole; no checkpoint is
    deleted. Temporary files of writers that are gone are removed, as the next save would do.

    Args:
        apply: Without it nothing is changed.
        on_progress: As in `verify`.
    Raises:
        FileMissing, NotADirectory: There is no such directory.
        DirectoryInUse: A writer lives, or has been there meanwhile; nothing was changed.
        CannotVerify: A checkpoint cannot be read by this user, or at this moment.
    """
    storage = storage or PosixStorage()
    surveyed = survey(RunDirectory(storage, arguments.path_text(directory)))
    verification = verify_surveyed(storage, surveyed, on_progress)
    _require_read(verification)
    plan = decide(surveyed, verification)
    if apply:
        apply_repair(plan, storage=storage)
    return plan


def _require_read(verification: Verification) -> None:
    # A state without what is whole, and only could not be read now, would be no repair.
    for checkpoint in verification.checkpoints:
        if not checkpoint.is_whole and not checkpoint.is_damaged:
            problem = checkpoint.damage[0].problem
            raise errors.CannotVerify(
                f"whether {checkpoint.prefix} is whole cannot be said: {problem}; repair the "
                f"directory where it can be read"
            )


def apply_repair(plan: RepairPlan, *, storage: Storage | None = None) -> None:
    """Carry a plan out, in steps of which a crash undoes none by half.

    Raises:
        DirectoryInUse: A writer lives, or has been there since the plan was made.
    """
    if plan.is_empty:
        return
    storage = storage or PosixStorage()
    with RunDirectory(storage, plan.directory) as run:
        run.require()
        with run.locked():
            num_writers = len(run.living_writers())
            if num_writers:
                raise errors.DirectoryInUse(in_use(plan.directory, num_writers))
            if identities(storage, plan.directory) != plan.identities:
                raise errors.DirectoryInUse(
                    f"{plan.directory} has changed since it was looked at; repair it again"
                )
            run.register_writer()  # removes what other writers have left behind
            if plan.state is not None:
                state.write_state(run, plan.state)


def in_use(directory: str, num_writers: int) -> str:
    """A sentence for a directory with living writers."""
    writers = "1 writer has" if num_writers == 1 else f"{num_writers} writers have"
    return f"{writers} {directory} open to save into it and would change it; end it first"


# --------------------------------------------------------------------------- deciding


def decide(surveyed: Survey, verification: Verification) -> RepairPlan:
    """What is to change; pure."""
    whole = {naming.base_of(c.prefix) for c in verification.checkpoints if c.is_whole}
    checkpoints = {
        naming.base_of(c.prefix): c
        for c in sorted(surveyed.checkpoints, key=lambda c: (c.saved_at_secs, c.step or 0))
        if naming.base_of(c.prefix) in whole
    }
    if surveyed.stored is None:
        new_state, reasons = _rebuilt(surveyed, checkpoints)
    else:
        new_state, reasons = _corrected(surveyed, surveyed.stored, checkpoints)
    return RepairPlan(
        surveyed.directory,
        new_state,
        tuple(reasons),
        surveyed.leftovers,
        verification,
        surveyed.num_writers,
        surveyed.identities,
    )


def _rebuilt(
    surveyed: Survey, whole: Mapping[str, ListedCheckpoint]
) -> tuple[CheckpointState | None, list[str]]:
    """A state where there is none; `whole` is in the order of saving."""
    found = _best_known(surveyed, list(whole.values()))
    if not found:
        return None, []
    reason = "there is no checkpoint state"
    if surveyed.state_error is not None:
        reason = surveyed.state_error.problem
    latest = found[-1]
    if surveyed.policy is None or not latest.managed:
        bases = [naming.base_of(c.prefix) for c in found]
        return CheckpointState(bases[-1], tuple(bases)), [reason]
    records = tuple(
        CheckpointRecord(
            c.prefix,
            c.step or 0,
            c.saved_at_secs,
            c.metrics,
            pinned=naming.base_of(c.prefix) in surveyed.pinned,
        )
        for c in found
    )
    decision = retention.decide(surveyed.policy, View(records))
    return CheckpointState(
        naming.base_of(latest.prefix),
        tuple(naming.base_of(record.prefix) for record in decision.keep),
        tuple(record.saved_at_secs for record in decision.keep),
        decision.last_preserved_secs,
    ), [reason]


def _best_known(surveyed: Survey, whole: list[ListedCheckpoint]) -> list[ListedCheckpoint]:
    """Those that a restart would continue from: of a manager, one name, not given up."""
    kept = [c for c in whole if naming.base_of(c.prefix) not in surveyed.deleting] or whole
    kept = [c for c in kept if c.managed] or kept
    return [c for c in kept if _name(c.prefix) == _name(kept[-1].prefix)]


def _corrected(
    surveyed: Survey, stored: CheckpointState, whole: Mapping[str, ListedCheckpoint]
) -> tuple[CheckpointState | None, list[str]]:
    """The state without what cannot be restored; None if it is as it should be."""
    named = {named.path: named for named in surveyed.named}
    problems = {path: _problem(surveyed, named[path], whole) for path in named}
    reasons = [f"{path} {problem}" for path, problem in problems.items() if problem]
    listed, times = stored.all_model_checkpoint_paths, stored.all_model_checkpoint_timestamps
    if times and len(times) != len(listed):
        reasons.append(f"it has {len(times)} timestamps for {len(listed)} checkpoints")
        times = tuple(_saved_at_secs(path, whole) for path in listed)
    if not reasons:
        return None, []
    kept = [
        (path, saved_at_secs)
        for path, saved_at_secs in zip_longest(listed, times)
        if not problems[path] or problems[path] == _MOVED
    ]
    latest = stored.model_checkpoint_path
    if problems[latest] not in (None, _MOVED):
        newest = _newest(surveyed, kept, whole)
        if newest is None:
            return None, []
        latest = newest
        if not times and latest not in [path for path, _ in kept]:
            # As TensorFlow has it. With times it stays off the list: it may have been preserved.
            kept.append((latest, None))
    return CheckpointState(
        _stored_path(surveyed, named.get(latest), latest),
        tuple(_stored_path(surveyed, named.get(path), path) for path, _ in kept),
        tuple(secs for _, secs in kept if secs is not None),
        stored.last_preserved_timestamp,
    ), reasons


def _problem(surveyed: Survey, named: Named, whole: Mapping[str, ListedCheckpoint]) -> str | None:
    """What keeps a restart from a checkpoint that the state names."""
    if named.prefix is None:
        return "is not there"
    base = naming.base_of(named.prefix)
    if _is_in(surveyed.directory, named.prefix) and base not in whole:
        return "is damaged"
    return None if named.is_at_path else _MOVED


def _newest(
    surveyed: Survey,
    kept: list[tuple[str, float | None]],
    whole: Mapping[str, ListedCheckpoint],
) -> str | None:
    """The path of what was saved last, of those listed and those of the same names beside them."""
    # The state's order is that of saving, also where the clock was set back in between.
    own_secs = [_saved_at_secs(path, whole) if secs is None else secs for path, secs in kept]
    timed = list(zip(accumulate(own_secs, max), (path for path, _ in kept), strict=True))
    listed = {naming.base_of(named.path) for named in surveyed.named}
    names = {_name(base) for base in listed}
    others = [c for base, c in whole.items() if base not in listed | surveyed.deleting]
    others = [c for c in others if _name(c.prefix) in names] or ([] if timed else others)
    # Sorting keeps the order of those of one time: the listed ones come last.
    timed = [*((c.saved_at_secs, c.prefix) for c in others), *timed]
    return max(enumerate(timed), key=lambda entry: (entry[1][0], entry[0]))[1][1] if timed else None


def _saved_at_secs(path: str, whole: Mapping[str, ListedCheckpoint]) -> float:
    found = whole.get(naming.base_of(path))
    return 0.0 if found is None else found.saved_at_secs


def _stored_path(surveyed: Survey, named: Named | None, path: str) -> str:
    """A path as the state has it: relative, so that the directory can be moved."""
    prefix = named.prefix if named is not None and named.prefix is not None else path
    if _is_in(surveyed.directory, prefix):
        return naming.base_of(prefix)
    return prefix if os.path.isabs(prefix) else os.path.relpath(prefix, surveyed.directory)


def _is_in(directory: str, prefix: str) -> bool:
    return prefix == os.path.join(directory, naming.base_of(prefix))


def _name(prefix: str) -> str:
    """`run/model.ckpt-100` -> `model.ckpt`."""
    base = naming.base_of(prefix)
    return base.rpartition("-")[0] if naming.parse_step(base) is not None else base
