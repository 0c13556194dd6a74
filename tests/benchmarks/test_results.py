"""Samples are kept and summed up as they should be."""

from __future__ import annotations

import pytest

from benchmarks.results import NotMeasured, Results, Spread, from_json, percentile, spread


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 50, 3.0),
        ([3.0, 1.0, 2.0], 0, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([3.0, 1.0, 2.0], 100, 3.0),
        ([1.0, 2.0], 25, 1.25),
        (list(map(float, range(101))), 99, 99.0),
    ],
)
def test_percentile(values: list[float], percent: int, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_spread() -> None:
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0, 5)


def make_results() -> Results:
    results = Results(0.5, 3, {"cores": "2"}, {"numpy": "2.0"})
    results.add("gpt", "numpy", save_durable=1.0, extra_bytes=None)
    results.add("gpt", "numpy", save_durable=[2.0, 6.0])
    results.failures["orbax"] = "ModuleNotFoundError: no such module"
    return results


def test_samples_add_up() -> None:
    results = make_results()
    assert results.values("gpt", "numpy", "save_durable") == [1.0, 2.0, 6.0]
    assert results.median("gpt", "numpy", "save_durable") == 2.0
    assert results.subjects("gpt", "save_durable") == ["numpy"]
    assert results.subjects("gpt", "extra_bytes") == []


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("orbax", "ModuleNotFoundError: no such module"),
        ("numpy", "no sample of numpy.savez/load: gpt load_warm"),
        ("nobody", "no sample of nobody: gpt load_warm"),
    ],
)
def test_what_was_not_measured_says_why(subject: str, reason: str) -> None:
    with pytest.raises(NotMeasured, match=f"^{reason}$"):
        make_results().values("gpt", subject, "load_warm")


def test_json_brings_everything_back() -> None:
    assert from_json(make_results().to_json()) == make_results()
