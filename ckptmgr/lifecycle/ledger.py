"""What a directory's retention knows and does: the tracked checkpoints, the state file, deletion.

The state file is the truth that all processes share. A ledger remembers what it last read or wrote
there, and looks again whenever the file is another one; so a save costs the same however many
checkpoints the directory holds, and two processes that save into one directory see each other's.

What takes several steps is marked first, so that whoever saves next finishes what a crash cut
off. A new checkpoint is marked (`.ckptmgr/publishing/<base>`) until the state lists it: found
again, it is taken over as if it had been listed. One that is given up is marked
(`.ckptmgr/deleting/<base>`) until it is gone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from ckptmgr import errors, events, naming, retention
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle import catalog, deletion, state
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.retention import CheckpointRecord, Decision, Policy, View

_log = logging.getLogger(__name__)

Listener = Callable[[events.Event], None]


@dataclass(slots=True)
class Known:
    """What the state file said when we last looked."""

    tracked: list[CheckpointRecord]
    #: The newest checkpoint, which a lost state or another tool may leave untracked.
    latest: str | None
    last_preserved_secs: float
    #: Of the state file; None when there was none.
    identity: tuple[int, ...] | None
    #: How many checkpoints the state lists, whether or not they are there.
    num_listed: int = 0
    #: The checkpoints on disk that are not tracked; None until somebody looks for them. Here, so
    #: that a thread that only asks, and looks while another saves, adds nothing to what that one
    #: knows by then.
    preserved: list[CheckpointRecord] | None = None

    def forget_preserved(self, record: CheckpointRecord) -> None:
        """It is tracked, or gone."""
        if self.preserved is not None:
            self.preserved = [r for r in self.preserved if not _same_base(r, record)]


class Ledger:
    """The checkpoints `<directory>/<checkpoint_name>-<step>` and their policy."""

    def __init__(
        self,
        directory: RunDirectory,
        checkpoint_name: str,
        policy: Policy,
        *,
        clock: Callable[[], float],
        listener: Listener,
    ) -> None:
        self._directory = directory
        self._storage = directory.storage
        self._name = checkpoint_name
        self._policy = policy
        self._listener = listener
        self._clock = clock
        # TensorFlow starts the clock of hours a second early, so that the first checkpoint of a
        # run whose clock stands still is still later than its start.
        self._start_secs = clock() - 1
        self._known = Known([], None, self._start_secs, None)
        self.refresh()

    # ----------------------------------------------------------------------- looking

    def refresh(self) -> Known:
        """What there is now; reads the state only if it is another file than last time.

        A state that cannot be used is reported and rebuilt from the files, in memory; the next save
        writes it.
        """
        self._directory.require_same_place()
        info = self._storage.stat(naming.state_file(self._directory.path))
        identity = info.identity if info else None
        if identity is not None and identity == self._known.identity:
            return self._known
        try:
            stored = state.read_state(self._storage, self._directory.path)
        except errors.MalformedState as error:
            self._known = self._rebuilt(str(error), identity)
            return self._known
        if stored is None:
            latest = self._known.latest
            # Somebody removed the state, or it with all that it listed.
            if latest is None or not state.checkpoint_exists(latest, storage=self._storage):
                self._known = self._rebuilt("there is no checkpoint state", identity)
            return self._known
        state.warn_of_doubt(stored, self._directory.path)
        self._known = Known(
            catalog.tracked_records(
                self._storage, self._directory.path, stored, self._known.tracked
            ),
            self._existing(stored),
            self._not_ahead(stored.last_preserved_timestamp),
            identity,
            len({stored.model_checkpoint_path, *stored.all_model_checkpoint_paths}),
        )
        return self._known

    def newest_first(self) -> Iterator[str]:
        """Prefixes to restore from: what the state calls the latest, then the others by time."""
        known = self.refresh()
        latest = known.latest
        if latest is not None:
            yield latest
        records = self.records()
        if latest is None and not records and known.num_listed:
            _log.warning(
                "%s lists %d checkpoint%s, none of them is there",
                naming.state_file(self._directory.path),
                known.num_listed,
                "s" if known.num_listed > 1 else "",
            )
        for record in reversed(records):
            if latest is None:
                _log.warning(
                    "%s names no checkpoint that is there; falling back to %s",
                    naming.state_file(self._directory.path),
                    record.prefix,
                )
            if record.prefix != latest:
                yield record.prefix

    def records(self) -> list[CheckpointRecord]:
        """Every checkpoint on disk that is not about to go, in the order of saving."""
        known = self.refresh()
        # The state's order is that of saving, also where the clock was set back in between.
        tracked_secs = accumulate((record.saved_at_secs for record in known.tracked), max)
        by_time = [
            *((record.saved_at_secs, record) for record in self._preserved_beside(known)),
            *zip(tracked_secs, self._with_pins(known.tracked), strict=True),
        ]
        return [record for _, record in sorted(by_time, key=lambda timed: timed[0])]

    def best(self) -> CheckpointRecord | None:
        """The best checkpoint that is there, None if none has the metric.

        Raises:
            InvalidArgument: The policy does not say what is best.
        """
        policies = retention.best_policies(self._policy)
        if not policies:
            raise errors.InvalidArgument(
                "'best' needs a metric: give the manager keep_best=BestN(\"loss\")"
            )
        return next(filter(self._is_there, policies[0].ranked(self.records())), None)

    def reasons(self) -> dict[str, str]:
        """Why each checkpoint stays, by prefix."""
        known = self.refresh()
        decision = retention.decide(self._policy, self._view(known, held=set()))
        stays = {record.prefix: "preserved" for record in self._preserved_beside(known)}
        return {**stays, **decision.reasons}

    def _existing(self, stored: CheckpointState) -> str | None:
        return state.own_prefix(self._storage, self._directory.path, stored.model_checkpoint_path)

    def _not_ahead(self, last_preserved_secs: float) -> float:
        """The clock of hours, which must not be ahead of a clock that was set back."""
        now_secs = self._clock()
        if now_secs < last_preserved_secs:
            # Until it has caught up, no checkpoint would be kept for its hour.
            _log.warning(
                "the clock says %.3f, %.3f s before the time that hours are counted from; they are "
                "counted from now on",
                now_secs,
                last_preserved_secs - now_secs,
            )
        return min(last_preserved_secs, now_secs)

    def _rebuilt(self, reason: str, identity: tuple[int, ...] | None) -> Known:
        found = catalog.scan(self._storage, self._directory.path, self._name)
        if not found:
            if identity is not None:
                self._report_rebuilt(reason, 0)
            return Known([], None, self._start_secs, identity)
        # Only what a manager wrote comes under retention again; and what the lost state may have
        # preserved must not be deleted for that, so only what the policy wants is tracked.
        ours = tuple(checkpoint.record for checkpoint in found if checkpoint.managed)
        decision = retention.decide(self._policy, View(tracked=ours))
        self._report_rebuilt(reason, len(found))
        last_preserved_secs = decision.last_preserved_secs or self._start_secs
        return Known(list(decision.keep), found[-1].record.prefix, last_preserved_secs, identity)

    def _report_rebuilt(self, reason: str, count: int) -> None:
        path = naming.state_file(self._directory.path)
        found = "1 checkpoint" if count == 1 else f"{count} checkpoints"
        text = f"{reason}; found {found} in {self._directory.path} itself"
        _log.warning("%s", text)
        self._listener(events.StateRebuilt(path, text))

    # ----------------------------------------------------------------------- changing

    def prepare_save(self, prefix: str) -> None:
        """Before the checkpoint at `prefix` is made to exist; needs the lock."""
        known = replace(self.refresh())  # ours alone
        tracked = list(known.tracked)
        for base in self._directory.publishing.names():
            listed = any(naming.base_of(record.prefix) == base for record in tracked)
            path = os.path.join(self._directory.path, base)
            found = None if listed else catalog.find_checkpoint(self._storage, path)
            if found is not None and found.managed:
                tracked.append(found.record)
                known.forget_preserved(found.record)
        self._known = replace(known, tracked=tracked)
        base = naming.base_of(prefix)
        if self._storage.stat(naming.index_file(prefix)) is None:
            self._directory.publishing.add(base)
        else:
            # No mark: it would take over what stands there now, should this save not get so far,
            # and that may be one that was preserved.
            self._directory.replaced.add(base)

    def record_save(self, record: CheckpointRecord, *, durable: bool) -> None:
        """Name a new checkpoint in the state and apply the policy; after `prepare_save`."""
        known = self._known
        others = [other for other in known.tracked if not _same_base(other, record)]
        known = replace(
            known,
            tracked=[*others, record],
            latest=record.prefix,
            last_preserved_secs=self._not_ahead(known.last_preserved_secs),
        )
        known.forget_preserved(record)
        held = self._directory.held_bases()
        decision, known = self._decide(known, held)
        for given_up in decision.delete:
            self._directory.deleting.add(naming.base_of(given_up.prefix))
        self._write(decision, known, durable=durable)
        # Only now does the state list ours and those that `prepare_save` took over.
        for base in self._directory.publishing.names():
            self._directory.publishing.remove(base)
        self._finish_deletions(decision, held, durable=durable)

    def _decide(self, known: Known, held: set[str]) -> tuple[Decision, Known]:
        """Apply the policy to what is there: nothing goes for one that was removed by hand.

        Returns also what is known without those that were.
        """
        while True:
            view = self._view(known, held)
            decision = retention.decide(self._policy, view)
            if not decision.delete:
                return decision, known
            best = [
                record
                for policy in retention.best_policies(self._policy)
                for record in policy.ranked(view.preserved)[: policy.n]
            ]
            gone = [r for r in (*decision.keep[:-1], *best) if not self._is_there(r)]
            if not gone:
                return decision, known
            known = replace(
                known, tracked=[r for r in known.tracked if not any(_same_base(r, g) for g in gone)]
            )
            for record in gone:
                known.forget_preserved(record)

    def _write(self, decision: Decision, known: Known, *, durable: bool) -> None:
        new_state = state.build_state(
            self._directory.path,
            decision.keep[-1].prefix,
            [record.prefix for record in decision.keep],
            timestamps=[record.saved_at_secs for record in decision.keep],
            last_preserved_timestamp=decision.last_preserved_secs,
            relative=True,
        )
        state.write_state(self._directory, new_state, durable=durable)
        info = self._storage.stat(naming.state_file(self._directory.path))
        preserved = known.preserved
        self._known = Known(
            list(decision.keep),
            decision.keep[-1].prefix,
            decision.last_preserved_secs,
            info.identity if info else None,
            preserved=None if preserved is None else [*preserved, *decision.preserve],
        )

    def _finish_deletions(self, decision: Decision, held: set[str], *, durable: bool) -> None:
        stays = {naming.base_of(r.prefix) for r in (*decision.keep, *decision.preserve)}
        for base in self._directory.deleting.names():
            prefix = os.path.join(self._directory.path, base)
            try:
                if base in stays:  # it was saved again, or a crash kept the state from giving it up
                    self._directory.deleting.remove(base)
                elif base in held or base in self._directory.pins.names():
                    self._listener(events.DeletionDeferred(prefix))
                else:
                    self._delete(prefix, durable=durable)
            except errors.StorageError as error:
                # The new checkpoint is safe; the mark stays, so the next save tries again.
                _log.warning("could not delete checkpoint %s: %s", prefix, error)

    def _delete(self, prefix: str, *, durable: bool) -> None:
        base = naming.base_of(prefix)
        replaced = base in self._directory.replaced
        deletion.remove_tracked(self._storage, prefix, replaced=replaced, durable=durable)
        self._directory.replaced.discard(base)
        self._directory.deleting.remove(base)
        self._listener(events.CheckpointDeleted(prefix))

    # ----------------------------------------------------------------------- views

    def _is_there(self, record: CheckpointRecord) -> bool:
        return self._storage.stat(naming.index_file(record.prefix)) is not None

    def _view(self, known: Known, held: set[str]) -> View:
        tracked = self._with_pins(known.tracked)
        competes = bool(retention.best_policies(self._policy))
        return View(
            tracked=tuple(tracked),
            preserved=tuple(self._preserved_beside(known)) if competes else (),
            held=frozenset(r.prefix for r in tracked if naming.base_of(r.prefix) in held),
            last_preserved_secs=known.last_preserved_secs,
        )

    def _with_pins(self, records: list[CheckpointRecord]) -> list[CheckpointRecord]:
        pinned = set(self._directory.pins.names())
        return [replace(r, pinned=naming.base_of(r.prefix) in pinned) for r in records]

    def _preserved_beside(self, known: Known) -> list[CheckpointRecord]:
        """The checkpoints on disk that are not tracked; looked for when first needed."""
        if known.preserved is None:
            # The one that is being saved exists already and is tracked only in `known`.
            tracked = {naming.base_of(record.prefix) for record in known.tracked}
            going = set(self._directory.deleting.names())
            known.preserved = [
                checkpoint.record
                for checkpoint in catalog.scan(self._storage, self._directory.path, self._name)
                if naming.base_of(checkpoint.record.prefix) not in tracked | going
            ]
        return known.preserved


def _same_base(one: CheckpointRecord, other: CheckpointRecord) -> bool:
    return naming.base_of(one.prefix) == naming.base_of(other.prefix)
