"""What a follower has seen, and what it sees next."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle.sightings import History, LatestChanges, Listed, Located, listing


class Directory:
    """What a state lists, and the generation of each index that exists."""

    def __init__(self, *, timestamps: bool = True) -> None:
        self.listed: list[str] = []
        self.saved_secs: dict[str, float] = {}
        self.indexes: dict[str, int] = {}
        self.state_number = 0
        self._clock = 0
        self._timestamps = timestamps

    def save(self, path: str) -> None:
        self._clock += 1
        self.indexes[path] = self._clock
        self.saved_secs[path] = float(self._clock)
        self.write_state([*(other for other in self.listed if other != path), path])

    def write_state(self, listed: Iterable[str]) -> None:
        self.listed = list(listed)
        self.state_number += 1

    def listing(self) -> list[Listed]:
        if not self.listed:
            return []
        times = [self.saved_secs[path] for path in self.listed] if self._timestamps else []
        state = CheckpointState(self.listed[-1], tuple(self.listed), tuple(times))
        return listing(state, (self.state_number,))

    def locate(self, path: str) -> Located | None:
        return Located(path, (self.indexes[path],)) if path in self.indexes else None


def taken(history: History | LatestChanges, directory: Directory) -> list[str]:
    """All that can be taken now."""
    found: list[str] = []
    while (prefix := history.take(directory.listing(), directory.locate)) is not None:
        found.append(prefix)
        assert len(found) < 100
    return found


def history(*, every: bool = False, last_checkpoint: str | None = None) -> History:
    return History(every=every, last_checkpoint=last_checkpoint)


both_kinds_of_state = pytest.mark.parametrize("timestamps", [True, False])
both_orders = pytest.mark.parametrize("every", [True, False])


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (CheckpointState("a"), [("a", None)]),
        (CheckpointState("a", ("a",), (1.0,)), [("a", 1.0)]),
        (CheckpointState("b", ("a", "b"), (1.0, 2.0)), [("a", 1.0), ("b", 2.0)]),
        # The latest is the latest, wherever it is listed.
        (CheckpointState("a", ("a", "b"), (1.0, 2.0)), [("b", 2.0), ("a", 1.0)]),
        (CheckpointState("c", ("a", "b")), [("a", None), ("b", None), ("c", None)]),
        # As many timestamps as paths, or none can be trusted.
        (CheckpointState("b", ("a", "b"), (1.0,)), [("a", None), ("b", None)]),
        # A path that stands twice.
        (CheckpointState("c", ("a", "b", "a", "c")), [("b", None), ("a", None), ("c", None)]),
        (CheckpointState("a", ("a", "b", "a"), (1.0, 2.0, 3.0)), [("b", 2.0), ("a", 3.0)]),
    ],
)
def test_listing_is_in_the_order_of_saving(
    state: CheckpointState, expected: list[tuple[str, float | None]]
) -> None:
    assert [(one.path, one.saved_secs) for one in listing(state, (7,))] == expected
    assert {one.state_identity for one in listing(state, (7,))} == {(7,)}


@both_kinds_of_state
@pytest.mark.parametrize(("every", "expected"), [(True, ["a", "b", "c"]), (False, ["c"])])
def test_begins_with_what_there_is(*, timestamps: bool, every: bool, expected: list[str]) -> None:
    directory = Directory(timestamps=timestamps)
    for path in "abc":
        directory.save(path)
    seen = history(every=every)

    assert taken(seen, directory) == expected
    assert taken(seen, directory) == []
    directory.save("d")
    assert taken(seen, directory) == ["d"]


@both_kinds_of_state
@both_orders
def test_saved_again_is_new(*, timestamps: bool, every: bool) -> None:
    directory = Directory(timestamps=timestamps)
    seen = history(every=every)
    for path in "abc":
        directory.save(path)
        assert taken(seen, directory) == [path]

    for path in "bbca":
        directory.save(path)
        assert taken(seen, directory) == [path]


@both_kinds_of_state
@both_orders
def test_passed_over_and_then_saved_again_is_new(*, timestamps: bool, every: bool) -> None:
    directory = Directory(timestamps=timestamps)
    for path in "abc":
        directory.save(path)
    seen = history(every=every)
    taken(seen, directory)

    directory.save("a")
    assert taken(seen, directory) == ["a"]


@both_kinds_of_state
@both_orders
def test_a_state_that_is_written_again_is_not_new(*, timestamps: bool, every: bool) -> None:
    directory = Directory(timestamps=timestamps)
    for path in "abc":
        directory.save(path)
    seen = history(every=every)
    taken(seen, directory)

    for listed in ("abc", "bc", "b", "abc", "ca"):
        directory.write_state(listed)
        assert taken(seen, directory) == []


@both_orders
def test_a_clock_that_was_set_back_makes_nothing_new(*, every: bool) -> None:
    directory = Directory()
    for path in "abc":
        directory.save(path)
    seen = history(every=every, last_checkpoint="c")

    assert taken(seen, directory) == []
    # As TensorFlow's manager does when it starts and finds timestamps of the future.
    directory.saved_secs = dict.fromkeys("abc", 0.5)
    directory.write_state("abc")
    assert taken(seen, directory) == []


@both_orders
def test_an_index_in_the_making_is_not_new_before_the_state_says_so(*, every: bool) -> None:
    """TensorFlow rewrites the index of a sharded checkpoint in place."""
    directory = Directory(timestamps=False)
    directory.save("a")
    seen = history(every=every)
    assert taken(seen, directory) == ["a"]
    directory.write_state("a")
    assert taken(seen, directory) == []

    directory.indexes["a"] = 50
    assert taken(seen, directory) == []
    directory.indexes["a"] = 51
    directory.write_state("a")
    assert taken(seen, directory) == ["a"]


@both_orders
def test_an_index_that_was_already_new_when_it_was_seen_is_not_seen_twice(*, every: bool) -> None:
    directory = Directory()
    directory.save("a")
    directory.indexes["a"] = 50  # the save of "a" at time 60, between its index and its state
    seen = history(every=every)
    assert taken(seen, directory) == ["a"]

    directory.saved_secs["a"] = 60.0
    directory.write_state("a")
    assert taken(seen, directory) == []


@both_kinds_of_state
@both_orders
def test_from_one_kind_of_state_to_the_other(*, timestamps: bool, every: bool) -> None:
    directory = Directory(timestamps=timestamps)
    seen = history(every=every)
    for path in "abc":
        directory.save(path)
        assert taken(seen, directory) == [path]

    directory._timestamps = not timestamps
    directory.write_state("abc")
    assert taken(seen, directory) == []
    directory.save("c")
    assert taken(seen, directory) == ["c"]


@both_kinds_of_state
def test_missing_ones_are_passed_over(*, timestamps: bool) -> None:
    directory = Directory(timestamps=timestamps)
    for path in "abcd":
        directory.save(path)
    del directory.indexes["a"], directory.indexes["c"]

    assert taken(history(every=True), directory) == ["b", "d"]
    del directory.indexes["d"]
    assert taken(history(), directory) == ["b"]


@both_orders
def test_late_ones_are_seen_unless_a_newer_one_was(*, every: bool) -> None:
    directory = Directory()
    for path in "abc":
        directory.save(path)
    del directory.indexes["a"], directory.indexes["c"]
    seen = history(every=every)

    assert taken(seen, directory) == ["b"]
    directory.indexes.update(a=1, c=3)
    assert taken(seen, directory) == ["c"]


def test_the_newest_is_gone_but_nothing_older_is_new() -> None:
    directory = Directory(timestamps=False)
    for path in "abc":
        directory.save(path)
    seen = history()
    assert taken(seen, directory) == ["c"]

    del directory.indexes["c"]
    directory.write_state("abc")
    assert taken(seen, directory) == []


@both_kinds_of_state
@pytest.mark.parametrize(
    ("last", "every", "expected"),
    [
        ("b", True, ["c", "d"]),
        ("b", False, ["d"]),
        ("d", True, []),
        ("d", False, []),
        ("gone", True, ["a", "b", "c", "d"]),
        ("gone", False, ["d"]),
    ],
)
def test_after_the_last_checkpoint_of_an_earlier_follower(
    *, timestamps: bool, last: str, every: bool, expected: list[str]
) -> None:
    directory = Directory(timestamps=timestamps)
    for path in "abcd":
        directory.save(path)
    seen = history(every=every, last_checkpoint=last)

    assert taken(seen, directory) == expected
    directory.write_state("abcd")
    assert taken(seen, directory) == []
    directory.save("b")
    assert taken(seen, directory) == ["b"]


def test_the_last_checkpoint_counts_for_the_first_state_only() -> None:
    directory = Directory()
    seen = history(last_checkpoint="c")
    assert taken(seen, directory) == []  # no state yet
    for path in "ab":
        directory.save(path)
    assert taken(seen, directory) == ["b"]
    directory.save("c")
    assert taken(seen, directory) == ["c"]


@both_kinds_of_state
def test_changes_of_the_latest(*, timestamps: bool) -> None:
    directory = Directory(timestamps=timestamps)
    changes = LatestChanges()
    assert taken(changes, directory) == []
    directory.save("a")
    directory.save("b")
    assert taken(changes, directory) == ["b"]
    directory.write_state("ab")
    assert taken(changes, directory) == []

    directory.write_state("ba")
    assert taken(changes, directory) == ["a"]
    directory.write_state("ab")
    assert taken(changes, directory) == ["b"]
    directory.save("b")
    assert taken(changes, directory) == ["b"]

    del directory.indexes["a"]
    directory.write_state("ba")
    assert taken(changes, directory) == []
    directory.write_state("ab")
    assert taken(changes, directory) == []


@both_orders
def test_a_long_list_is_looked_up_once(*, every: bool) -> None:
    directory = Directory()
    for number in range(1000):
        directory.save(f"model-{number}")
    lookups = 0

    def locate(path: str) -> Located | None:
        nonlocal lookups
        lookups += 1
        return directory.locate(path)

    seen = history(every=every, last_checkpoint="model-999")
    assert seen.take(directory.listing(), locate) is None
    assert lookups > 1000
    lookups = 0
    directory.save("model-1000")
    assert seen.take(directory.listing(), locate) == "model-1000"
    assert lookups == 1
