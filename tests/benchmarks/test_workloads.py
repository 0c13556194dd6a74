"""The workloads are what their names say, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import workloads

NAMES = [workload.name for workload in workloads.WORKLOADS]


@pytest.mark.parametrize(
    ("name", "tensors"),
    [(workloads.GPT, 276), (workloads.SMALL, 20_000), (workloads.ONE, 1), (workloads.FROZEN, 40)],
)
def test_sizes(name: str, tensors: int) -> None:
    assert workloads.count_tensors(name, 1.0) == tensors
    size_bytes = 20_480_000 if name == workloads.SMALL else 1e9
    assert workloads.count_bytes(name, 1.0) == pytest.approx(size_bytes, rel=0.01)


@pytest.mark.parametrize("name", [*NAMES, workloads.LITTLE])
def test_the_same_each_time(name: str) -> None:
    first, second = workloads.make(name, 0.01), workloads.make(name, 0.01)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[tensor], second[tensor]) for tensor in first)
    assert sum(array.nbytes for array in first.values()) == workloads.count_bytes(name, 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_values_do_not_repeat(name: str) -> None:
    values = np.concatenate([array.ravel() for array in workloads.make(name, 0.01).values()])
    # Some of a million normal numbers of 32 bits are equal by chance.
    assert len(np.unique(values)) > 0.9 * min(len(values), 4 << 20)


def test_a_tenth_of_the_frozen_changes() -> None:
    before = workloads.make(workloads.FROZEN, 0.01)
    changes = workloads.make_changes(workloads.FROZEN, 0.01)
    assert len(changes) == len(before) // 10
    assert all(before[name].shape == array.shape for name, array in changes.items())
    assert not any(np.array_equal(before[name], array) for name, array in changes.items())
