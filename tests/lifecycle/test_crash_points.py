"""A save that is cut off at each of its changes to the disk, by a kill or by a power cut."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, errors, naming
from tests.lifecycle.crashing_storage import CrashingStorage, MachineLost

DIRECTORY = "/run"
TIMES = itertools.count(1000.0)

Retention = dict[str, Any]


def state_of(step: int, generation: int = 0) -> dict[str, Any]:
    return {"w": np.full(7, 100.0 * step + generation)}


def save(
    storage: CrashingStorage, steps: list[int], generation: int = 0, **retention: Any
) -> CheckpointManager:
    """What one process does: it dies or closes."""
    manager = CheckpointManager(
        None, DIRECTORY, max_to_keep=2, storage=storage, clock=lambda: next(TIMES), **retention
    )
    for step in steps:
        manager.save(step, state_of(step, generation))
    manager.close()
    return manager


def crash_points(
    step: int, generation: int, before: list[int], **retention: Any
) -> list[CrashingStorage]:
    """The disk as each crash point of one save leaves it; the last is that of no crash."""
    found = []
    for point in itertools.count():
        storage = CrashingStorage()
        save(storage, before, **retention)
        storage.changes_left = point
        try:
            save(storage, [step], generation, **retention)
        except MachineLost:
            found.append(storage)
            continue
        return [*found, storage]
    raise AssertionError


def restored_value(storage: CrashingStorage) -> float:
    restored = CheckpointManager(None, DIRECTORY, storage=storage).restore()
    assert restored is not None
    (value,) = np.unique(restored.state["w"]).tolist()
    return float(value)


def steps_and_leftovers(storage: CrashingStorage) -> tuple[list[int], set[str]]:
    """Which checkpoints there are, and the files that belong to none of them."""
    names = storage.list_dir(DIRECTORY)
    bases = {base for base in map(naming.prefix_of_index, names) if base}
    owned = {"checkpoint", ".ckptmgr"}
    for base in bases:
        owned |= {f"{base}.index", *naming.shards_of(base, names)}
    leftovers = set(names) - owned
    leftovers |= {n for n in storage.list_dir(f"{DIRECTORY}/.ckptmgr") if ".tmp-" in n}
    for marks in ("publishing", "deleting"):
        try:
            leftovers |= set(storage.list_dir(f"{DIRECTORY}/.ckptmgr/{marks}"))
        except errors.FileMissing:
            continue
    return sorted(naming.parse_step(base) or 0 for base in bases), leftovers


CASES = [
    pytest.param(4, 0, {300.0, 400.0}, {}, [21, 22], id="a-new-step"),
    pytest.param(3, 1, {300.0, 301.0}, {}, [21, 22], id="over-the-newest"),
    pytest.param(2, 1, {300.0, 201.0}, {}, [21, 22], id="over-an-older-one"),
    pytest.param(
        4, 0, {300.0, 400.0}, {"keep_every_n_steps": 2}, [2, 4, 20, 21, 22], id="preserving"
    ),
    pytest.param(
        2, 1, {300.0, 201.0}, {"keep_every_n_steps": 2}, [2, 20, 21, 22], id="over-a-preserved-one"
    ),
]


@pytest.mark.parametrize(("step", "generation", "values", "retention", "in_the_end"), CASES)
def test_a_killed_save_loses_nothing_and_leaves_nothing(
    step: int, generation: int, values: set[float], retention: Retention, in_the_end: list[int]
) -> None:
    crashed = crash_points(step, generation, [1, 2, 3], **retention)
    assert len(crashed) > 15
    found = []
    for storage in crashed:
        after = storage.survivors()
        found.append(restored_value(after))
        save(after, [20, 21, 22], **retention)
        steps, leftovers = steps_and_leftovers(after)
        assert set(steps) - {4} == set(in_the_end) - {4}  # the fourth may not have come so far
        assert leftovers == set()
    assert set(found) == values
    assert found[0] == 300.0
    assert found[-1] == 100.0 * step + generation


@pytest.mark.parametrize(("step", "generation", "values", "retention", "in_the_end"), CASES)
def test_a_power_cut_leaves_the_old_or_the_new_latest(
    step: int, generation: int, values: set[float], retention: Retention, in_the_end: list[int]
) -> None:
    for point, storage in enumerate(crash_points(step, generation, [1, 2, 3], **retention)):
        for share in (0.0, 0.5, 1.0):
            dice = random.Random(f"{point} {share}")
            after = storage.survivors(lambda: dice.random() < share)  # noqa: B023
            assert restored_value(after) in values
            save(after, [20, 21, 22], **retention)
            # What the cut brought back may stay; nothing that must stay may go.
            assert set(steps_and_leftovers(after)[0]) >= set(in_the_end) - {4}
    after = storage.survivors(lambda: True)
    assert restored_value(after) == 100.0 * step + generation  # the save had returned


def test_two_crashes_in_a_row_leave_nothing_outside_retention() -> None:
    for storage in crash_points(4, 0, [1, 2, 3]):
        for second in itertools.count(0, 2):
            after = storage.survivors()
            after.changes_left = second
            try:
                save(after, [5])
                break
            except MachineLost:
                after = after.survivors()
            assert restored_value(after) in {300.0, 400.0, 500.0}
            save(after, [21, 22])
            assert steps_and_leftovers(after) == ([21, 22], set())
