from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors, retention
from ckptmgr.lifecycle import retention_file
from ckptmgr.retention import (
    AnyOf,
    BestN,
    CheckpointRecord,
    Decision,
    EveryNHours,
    EveryNSteps,
    LatestN,
    Policy,
    View,
    Wish,
    decide,
)


def record(
    step: int, saved_at_secs: float = 0.0, *, pinned: bool = False, **metrics: float
) -> CheckpointRecord:
    return CheckpointRecord(f"run/m-{step}", step, saved_at_secs or float(step), metrics, pinned)


def steps(records: tuple[CheckpointRecord, ...]) -> list[int]:
    return [found.step for found in records]


def run(
    policy: Policy, records: list[CheckpointRecord], *, last_preserved_secs: float = 0.0
) -> tuple[list[int], Decision]:
    """What is on disk in the end when each record is saved in turn and the policy applied."""
    on_disk: list[int] = []
    tracked: tuple[CheckpointRecord, ...] = ()
    preserved: tuple[CheckpointRecord, ...] = ()
    decision = None
    for new in records:
        on_disk.append(new.step)
        decision = decide(
            policy,
            View((*tracked, new), preserved, last_preserved_secs=last_preserved_secs),
        )
        tracked = decision.keep
        preserved += decision.preserve
        last_preserved_secs = decision.last_preserved_secs
        on_disk = [step for step in on_disk if step not in steps(decision.delete)]
    assert decision is not None
    return on_disk, decision


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (LatestN(2), [8, 9]),
        (LatestN(None), list(range(10))),
        (LatestN(1) | EveryNSteps(4), [0, 4, 8, 9]),
        (LatestN(1) | BestN("loss", 2), [3, 7, 9]),
        (LatestN(1) | BestN("loss", 1, mode="max"), [5, 9]),
        (LatestN(2) | BestN("absent", 3), [8, 9]),
        (BestN("loss"), [3, 9]),  # the newest stays whatever the policy says
        (EveryNSteps(100), [0, 9]),
    ],
)
def test_what_stays(policy: Policy, expected: list[int]) -> None:
    losses = [5.0, 4.0, 3.5, 0.5, 6.0, 9.0, math.nan, 1.0, 8.0, 7.0]
    on_disk, _ = run(policy, [record(step, loss=loss) for step, loss in enumerate(losses)])
    assert on_disk == expected


def test_hours_equal_tensorflows_trace() -> None:
    # tf.train.CheckpointManager, max_to_keep=2, every hour, started at 1000, a save each 1500 s.
    saves = [record(step, 2500.0 + 1500.0 * (step - 1)) for step in range(1, 13)]
    on_disk, decision = run(LatestN(2) | EveryNHours(1), saves, last_preserved_secs=999.0)
    assert on_disk == [3, 6, 9, 11, 12]
    assert steps(decision.keep) == [11, 12]
    assert decision.last_preserved_secs == 14500.0


def test_nan_is_never_best() -> None:
    # Orbax evicted the 0.9 best for a NaN.
    saves = [record(1, loss=0.9), record(2, loss=math.nan), record(3, loss=math.nan)]
    on_disk, decision = run(LatestN(1) | BestN("loss"), saves)
    assert on_disk == [1, 3]
    assert decision.reasons == {"run/m-1": "best loss", "run/m-3": "latest"}


@pytest.mark.parametrize(("infinite", "best"), [(math.inf, 1), (-math.inf, 2)])
def test_infinite_metrics_are_ordered(infinite: float, best: int) -> None:
    ranked = BestN("loss").ranked([record(1, loss=0.5), record(2, loss=infinite)])
    assert ranked[0].step == best


def test_of_equal_metrics_the_later_is_the_better() -> None:
    saves = [record(step, loss=0.5) for step in (1, 2, 3)]
    on_disk, _ = run(LatestN(1) | BestN("loss"), [*saves, record(4, loss=0.7)])
    assert on_disk == [3, 4]


def test_a_pinned_checkpoint_stays_tracked() -> None:
    decision = decide(LatestN(1), View((record(1, pinned=True), record(2))))
    assert steps(decision.keep) == [1, 2]
    assert decision.reasons["run/m-1"] == "pinned"


def test_a_held_checkpoint_stays_until_it_is_let_go() -> None:
    saves = (record(1), record(2))
    held = decide(LatestN(1), View(saves, held=frozenset({"run/m-1"})))
    assert (steps(held.keep), held.reasons["run/m-1"]) == ([1, 2], "held")
    assert steps(decide(LatestN(1), View(saves)).delete) == [1]


def test_the_best_is_found_among_the_preserved_too() -> None:
    # Step 0 was kept for its step number and is the best: no second best is needed.
    view = View((record(1, loss=0.6), record(2, loss=0.9)), preserved=(record(0, loss=0.1),))
    assert steps(decide(LatestN(1) | BestN("loss"), view).delete) == [1]


def test_hourly_wins_over_best_when_a_checkpoint_leaves_the_window() -> None:
    # Were it only tracked as best, the clock of hours would pass it by and it could be lost later.
    policy = LatestN(1) | EveryNHours(1) | BestN("loss")
    view = View((record(1, 4000.0, loss=0.1), record(2, 4100.0, loss=0.2)))
    decision = decide(policy, view)
    assert steps(decision.preserve) == [1]
    assert decision.last_preserved_secs == 4000.0


def test_the_latest_are_those_saved_last_whatever_their_number() -> None:
    decision = decide(LatestN(2), View((record(900, 1.0), record(1000, 2.0), record(50, 3.0))))
    assert steps(decision.keep) == [1000, 50]


def test_a_lowered_limit_deletes_all_that_is_over_it() -> None:
    decision = decide(LatestN(2), View(tuple(record(step) for step in range(1, 8))))
    assert (steps(decision.keep), steps(decision.delete)) == ([6, 7], [1, 2, 3, 4, 5])


def test_a_policy_of_the_users_own() -> None:
    class Primes:
        def wants(self, view: View) -> Mapping[str, Wish]:
            prime = {2, 3, 5, 7, 11}
            return {r.prefix: Wish("prime") for r in view.tracked if r.step in prime}

    on_disk, decision = run(LatestN(1) | Primes(), [record(step) for step in range(1, 11)])
    assert on_disk == [2, 3, 5, 7, 10]
    assert decision.reasons["run/m-7"] == "prime"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatestN(0), r"LatestN: n must be a positive integer or None, found 0"),
        (lambda: LatestN(True), r"found True"),
        (lambda: EveryNHours(-1), r"EveryNHours: hours must be a positive number, found -1"),
        (lambda: EveryNHours(math.nan), r"found nan"),
        (lambda: EveryNSteps(cast(int, 2.5)), r"EveryNSteps: n must be .* found 2.5"),
        (lambda: BestN("loss", 0), r"BestN: n must be a positive integer, found 0"),
        (lambda: BestN("loss", mode="least"), r"mode must be 'min' or 'max', found 'least'"),
        (lambda: BestN(""), r"metric must be the name of a metric, found ''"),
        (lambda: LatestN(1) | cast(Policy, 5), r"expected a retention policy, found 5"),
    ],
)
def test_arguments_that_cannot_be_meant(make: object, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        make()  # type: ignore[operator]


NONE_GIVEN: dict[str, Any] = {
    "max_to_keep": None,
    "keep_checkpoint_every_n_hours": None,
    "keep_every_n_steps": None,
    "keep_best": None,
}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *(
            ("max_to_keep", value, "a positive integer or None (keeps all)")
            for value in (0, -1, "5", 2.5, True)
        ),
        ("keep_every_n_steps", "5", "a positive integer or None"),
        ("keep_every_n_steps", 2.5, "a positive integer or None"),
        ("keep_checkpoint_every_n_hours", "5", "a positive number or None"),
        ("keep_checkpoint_every_n_hours", 0, "a positive number or None"),
        ("keep_best", "loss", "a retention.BestN, for example BestN('loss')"),
    ],
)
def test_the_managers_arguments_are_named(name: str, value: object, wanted: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        retention.from_arguments(**{**NONE_GIVEN, name: value})
    assert str(caught.value) == f"{name} must be {wanted}, found {value!r}"


def test_numbers_of_numpy_become_pythons() -> None:
    policy = retention.from_arguments(
        max_to_keep=cast(int, np.int64(3)),
        keep_checkpoint_every_n_hours=cast(float, np.float32(0.5)),
        keep_every_n_steps=cast(int, np.int32(100)),
        keep_best=BestN("loss", cast(int, np.int8(2))),
    )
    parts = retention_file.encode_policy(policy)
    assert json.loads(json.dumps(parts)) == [
        {"latest": 3},
        {"hours": 0.5},
        {"steps": 100},
        {"best": "loss", "n": 2, "mode": "min"},
    ]


_policies = st.lists(
    st.one_of(
        st.builds(LatestN, st.integers(1, 4)),
        st.builds(EveryNHours, st.sampled_from([0.5, 1, 3])),
        st.builds(EveryNSteps, st.integers(1, 5)),
        st.builds(BestN, st.just("loss"), st.integers(1, 3), st.sampled_from(["min", "max"])),
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: AnyOf(tuple(parts)))

_losses = st.one_of(st.floats(allow_nan=True), st.none())


@given(_policies, st.lists(st.tuples(st.floats(0, 7200), _losses, st.booleans()), min_size=1))
def test_every_record_has_one_fate_and_every_wish_is_granted(
    policy: Policy, saves: list[tuple[float, float | None, bool]]
) -> None:
    now_secs = 0.0
    records = []
    for step, (pause_secs, loss, pinned) in enumerate(saves):
        now_secs += pause_secs
        metrics = {} if loss is None else {"loss": loss}
        records.append(CheckpointRecord(f"m-{step}", step, now_secs, metrics, pinned))
    view = View(tuple(records))
    decision = decide(policy, view)

    fates = [r.prefix for r in (*decision.keep, *decision.preserve, *decision.delete)]
    assert sorted(fates) == sorted(r.prefix for r in records)
    assert decision.keep[-1] == records[-1]
    assert not {r.prefix for r in decision.delete} & set(policy.wants(view))
    assert not any(r.pinned for r in decision.delete)
    assert set(decision.reasons) == {r.prefix for r in (*decision.keep, *decision.preserve)}
    assert all(decision.reasons.values())
    # Deciding again, with what was left, gives nothing more up.
    again = decide(
        policy,
        View(decision.keep, decision.preserve, last_preserved_secs=decision.last_preserved_secs),
    )
    assert again.delete == ()
