"""A worker that fails says why, and one that dies does not take the benchmark with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contestants import CONTESTANTS
from benchmarks.fleet import Failed, Fleet, Member
from benchmarks.results import Results
from benchmarks.worker import WrongValues, check_values


@pytest.fixture
def member() -> Iterator[Member]:
    member = Member(CONTESTANTS["numpy"])
    yield member
    member.close()


def test_a_worker_answers(member: Member, tmp_path: Path) -> None:
    assert member.call("version") == np.__version__
    assert member.call("can") == ["load"]
    member.call("rehearse", run=str(tmp_path))
    member.call("hold", workload="small", scale=0.01)
    saved = member.call("save", run=str(tmp_path), step=1)
    assert 0 < saved["save_returned"] <= saved["save_durable"]
    assert member.call("load", how="load", step=1)["secs"] > 0


def test_a_failure_leaves_the_worker_working(member: Member) -> None:
    with pytest.raises(Failed, match=r"^KeyError: 'no such workload'$"):
        member.call("hold", workload="no such workload", scale=1)
    assert "Traceback" in member.log()
    assert member.call("can") == ["load"]


def test_a_dead_worker_is_a_failure(member: Member) -> None:
    member.call("can")
    member._process.kill()
    with pytest.raises(Failed, match=r"^its process ended during 'version' \(status -9\)$"):
        member.call("version")


def test_who_is_dropped_has_a_reason() -> None:
    results = Results(1.0, 1)
    with Fleet(["numpy", "limits"], results) as fleet:
        (member,) = fleet.members("small")
        fleet.drop(member, Failed("too old"))
        assert not fleet.has("numpy")
        assert fleet.members("small") == []
        assert [member.name for member in fleet.limits()] == ["limits"]
    assert results.failures == {"numpy": "too old"}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"a": np.ones(3)}, "wanted 2 tensors, found 1"),
        ({"a": np.ones(3), "c": np.zeros(2)}, "tensor 'b' is missing"),
        ({"a": np.ones(3), "b": np.ones(2)}, "tensor 'b' came back changed"),
        ({"a": np.ones((3, 1)), "b": np.zeros(2)}, "tensor 'a' came back changed"),
    ],
)
def test_wrong_values(found: dict[str, np.ndarray], problem: str) -> None:
    expected = {"a": np.ones(3), "b": np.zeros(2)}
    check_values(expected, expected)
    with pytest.raises(WrongValues, match=f"^{problem}$"):
        check_values(found, expected)
