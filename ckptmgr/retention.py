"""Which checkpoints stay: policies, and one pure decision over them.

A policy looks at records and says which it wants, and why. A checkpoint that any policy wants
stays; the newest always does. `decide` turns the wishes into what the manager must do. Nothing
here touches a disk or reads a clock.

Two kinds of wish:

* A *standing* wish (`LatestN`, `BestN`, a pin, a hold) can end. Its checkpoint stays listed in the
  checkpoint state, and is looked at again after every save.
* A *permanent* wish (`EveryNHours`, `EveryNSteps`) never ends. Once its checkpoint has left the
  window of the latest ones it is dropped from the state's list, as TensorFlow does so that the
  list does not grow for ever, and no later decision, process or policy deletes it.

Source: tf.train.CheckpointManager._sweep, which this equals step by step for
`LatestN(n) | EveryNHours(h)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from ckptmgr import arguments, errors


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """What retention knows of one committed checkpoint."""

    prefix: str
    step: int
    #: Unix time of the save, in seconds.
    saved_at_secs: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What a policy may look at."""

    #: The checkpoints that may be deleted, in the order in which they were saved.
    tracked: tuple[CheckpointRecord, ...]
    #: Checkpoints that stay for good; they compete for "best" but are never deleted.
    preserved: tuple[CheckpointRecord, ...] = ()
    #: Prefixes that a reader holds just now.
    held: frozenset[str] = frozenset()
    #: When the newest hourly-preserved checkpoint was saved (or the clock of hours started).
    last_preserved_secs: float = 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Why a policy wants a checkpoint, in a word or two."""

    reason: str
    #: The checkpoint stays for good once it is no longer among the latest.
    permanent: bool = False
    #: It is wanted for being recent, which outranks becoming permanent.
    recent: bool = False
    #: The clock of `EveryNHours` moves on to this checkpoint when it becomes permanent.
    advances_clock: bool = False


@runtime_checkable
class Policy(Protocol):
    """Anything that can say which checkpoints it wants."""

    def wants(self, view: View) -> Mapping[str, Wish]:
        """The wanted prefixes among `view.tracked`, each with its reason."""


class _Combinable:
    """Policies combine with `|`: a checkpoint wanted by either side stays."""

    __slots__ = ()

    def __or__(self, other: Policy) -> AnyOf:
        if not isinstance(other, Policy):
            raise errors.InvalidArgument(f"expected a retention policy, found {other!r}")
        return AnyOf((*_parts(self), *_parts(other)))


def _parts(policy: object) -> tuple[Policy, ...]:
    if isinstance(policy, AnyOf):
        return policy.policies
    assert isinstance(policy, Policy)
    return (policy,)


@dataclass(frozen=True, slots=True)
class LatestN(_Combinable):
    """The last `n` that were saved (whatever their step numbers); None keeps all."""

    n: int | None

    def __post_init__(self) -> None:
        if self.n is not None:
            _set(self, "n", arguments.whole_number("LatestN: n", self.n, also=" or None"))

    def wants(self, view: View) -> Mapping[str, Wish]:
        newest = view.tracked if self.n is None else view.tracked[-self.n :]
        return {record.prefix: Wish("latest", recent=True) for record in newest}


@dataclass(frozen=True, slots=True)
class EveryNHours(_Combinable):
    """One for good each time `hours` have passed since the last one kept for that reason."""

    hours: float

    def __post_init__(self) -> None:
        _set(self, "hours", arguments.real_number("EveryNHours: hours", self.hours))

    def wants(self, view: View) -> Mapping[str, Wish]:
        wanted = {}
        last_secs = view.last_preserved_secs
        for record in view.tracked:
            # The subtraction stands on this side so that rounding equals TensorFlow's.
            if record.saved_at_secs - self.hours * 3600.0 >= last_secs:
                last_secs = record.saved_at_secs
                wanted[record.prefix] = Wish("hourly", permanent=True, advances_clock=True)
        return wanted


@dataclass(frozen=True, slots=True)
class EveryNSteps(_Combinable):
    """For good, each whose step is a multiple of `n`."""

    n: int

    def __post_init__(self) -> None:
        _set(self, "n", arguments.whole_number("EveryNSteps: n", self.n))

    def wants(self, view: View) -> Mapping[str, Wish]:
        return {
            record.prefix: Wish(f"every {self.n} steps", permanent=True)
            for record in view.tracked
            if record.step % self.n == 0
        }


@dataclass(frozen=True, slots=True)
class BestN(_Combinable):
    """The `n` with the best `metric`. A checkpoint without it, or with NaN, is never best.

    Of two with the same value, the one saved later is the better.

    Args:
        metric: A key of `save(metrics=...)`.
        n: How many.
        mode: "min" when smaller is better, "max" when larger is.
    """

    metric: str
    n: int = 1
    mode: str = "min"

    def __post_init__(self) -> None:
        _set(self, "n", arguments.whole_number("BestN: n", self.n))
        if self.mode not in {"min", "max"}:
            raise errors.InvalidArgument(f"BestN: mode must be 'min' or 'max', found {self.mode!r}")
        if not isinstance(self.metric, str) or not self.metric:
            raise errors.InvalidArgument(
                f"BestN: metric must be the name of a metric, found {self.metric!r}"
            )

    def wants(self, view: View) -> Mapping[str, Wish]:
        tracked = {record.prefix for record in view.tracked}
        best = self.ranked([*view.preserved, *view.tracked])[: self.n]
        return {
            record.prefix: Wish(f"best {self.metric}")
            for record in best
            if record.prefix in tracked
        }

    def ranked(self, records: Iterable[CheckpointRecord]) -> list[CheckpointRecord]:
        """The records that have the metric, best first."""
        sign = 1.0 if self.mode == "min" else -1.0
        scored = [
            (sign * value, -record.saved_at_secs, -record.step, record)
            for record in records
            if not math.isnan(value := record.metrics.get(self.metric, math.nan))
        ]
        scored.sort(key=lambda entry: entry[:3])
        return [record for *_, record in scored]


@dataclass(frozen=True, slots=True)
class AnyOf(_Combinable):
    """What any of these policies wants."""

    policies: tuple[Policy, ...]

    def wants(self, view: View) -> Mapping[str, Wish]:
        merged: dict[str, Wish] = {}
        for policy in self.policies:
            for prefix, wish in policy.wants(view).items():
                merged[prefix] = _merge(merged[prefix], wish) if prefix in merged else wish
        return merged


def _merge(one: Wish, other: Wish) -> Wish:
    return Wish(
        f"{one.reason}, {other.reason}",
        permanent=one.permanent or other.permanent,
        recent=one.recent or other.recent,
        advances_clock=one.advances_clock or other.advances_clock,
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What the manager must do; every tracked record is in exactly one of the three lists."""

    #: Stay, and stay listed in the state; in the order in which they were saved.
    keep: tuple[CheckpointRecord, ...]
    #: Stay for good, and leave the state's list.
    preserve: tuple[CheckpointRecord, ...]
    #: Go.
    delete: tuple[CheckpointRecord, ...]
    #: Why each kept or preserved checkpoint stays.
    reasons: Mapping[str, str]
    #: The clock of `EveryNHours` after this decision.
    last_preserved_secs: float


def decide(policy: Policy, view: View) -> Decision:
    """Apply a policy. The last of `view.tracked` is the newest and always stays."""
    wishes = policy.wants(view)
    keep: list[CheckpointRecord] = []
    preserve: list[CheckpointRecord] = []
    delete: list[CheckpointRecord] = []
    reasons: dict[str, str] = {}
    last_preserved_secs = view.last_preserved_secs
    for position, record in enumerate(view.tracked):
        newest = position == len(view.tracked) - 1
        wish = wishes.get(record.prefix)
        held = record.prefix in view.held
        reasons[record.prefix] = _reason(wish, newest=newest, pinned=record.pinned, held=held)
        if newest or (wish is not None and wish.recent):
            keep.append(record)
        elif wish is not None and wish.permanent:
            preserve.append(record)
            if wish.advances_clock:
                last_preserved_secs = record.saved_at_secs
        elif wish is not None or record.pinned or held:
            keep.append(record)
        else:
            delete.append(record)
            del reasons[record.prefix]
    return Decision(tuple(keep), tuple(preserve), tuple(delete), reasons, last_preserved_secs)


def _reason(wish: Wish | None, *, newest: bool, pinned: bool, held: bool) -> str:
    recent = wish is not None and wish.recent
    parts = [
        "newest" if newest and not recent else "",
        wish.reason if wish is not None else "",
        "pinned" if pinned else "",
        "held" if held else "",
    ]
    return ", ".join(filter(None, parts))


def from_arguments(
    *,
    max_to_keep: int | None,
    keep_checkpoint_every_n_hours: float | None,
    keep_every_n_steps: int | None,
    keep_best: BestN | None,
) -> Policy:
    """The policy that the manager's shorthand arguments mean."""
    if max_to_keep is not None:
        none = " or None (keeps all)"
        max_to_keep = arguments.whole_number("max_to_keep", max_to_keep, also=none)
    policies: list[Policy] = [LatestN(max_to_keep)]
    if keep_checkpoint_every_n_hours is not None:
        name = "keep_checkpoint_every_n_hours"
        hours = arguments.real_number(name, keep_checkpoint_every_n_hours, also=" or None")
        policies.append(EveryNHours(hours))
    if keep_every_n_steps is not None:
        n = arguments.whole_number("keep_every_n_steps", keep_every_n_steps, also=" or None")
        policies.append(EveryNSteps(n))
    if isinstance(keep_best, BestN):
        policies.append(keep_best)
    elif keep_best is not None:
        raise errors.InvalidArgument(
            f"keep_best must be a retention.BestN, for example BestN('loss'), found {keep_best!r}"
        )
    return policies[0] if len(policies) == 1 else AnyOf(tuple(policies))


def best_policies(policy: Policy) -> tuple[BestN, ...]:
    """The `BestN` parts of a policy, in order."""
    return tuple(part for part in _parts(policy) if isinstance(part, BestN))


def _set(policy: object, field_name: str, value: float) -> None:
    """Replace a field of a frozen policy that is being made."""
    object.__setattr__(policy, field_name, value)
