from __future__ import annotations

from collections.abc import Callable

import pytest

from ckptmgr.storage import Bounds, DiskImage, PowerLossStorage

BLOCK = 4096


def start() -> PowerLossStorage:
    """A disk with a stable directory `/d` that has the file `/d/old`."""
    storage = PowerLossStorage()
    storage.make_dirs("/d")
    write(storage, "/d/old", b"old")
    return PowerLossStorage(storage.image())


def write(storage: PowerLossStorage, path: str, data: bytes, *, sync: bool = False) -> None:
    file = storage.create(path)
    file.write([data], 0)
    if sync:
        file.sync()
    file.close()


def files(image: DiskImage) -> dict[str, bytes]:
    return {path: image.read(path) for path in image.names}


def states(storage: PowerLossStorage, bounds: Bounds | None = None) -> list[dict[str, bytes]]:
    """What a cut behind the last change may leave, without repetitions."""
    last = storage.num_changes
    return [files(cut.image) for cut in storage.power_cuts(last, last, bounds=bounds)]


def contents(storage: PowerLossStorage, path: str) -> set[bytes | None]:
    return {state.get(path) for state in states(storage)}


def test_what_is_synced_is_kept() -> None:
    storage = start()
    write(storage, "/d/a", b"data", sync=True)
    storage.sync_dir("/d")
    assert states(storage) == [{"/d/old": b"old", "/d/a": b"data"}]


def test_a_synced_file_may_lose_its_name_and_a_named_one_its_content() -> None:
    storage = start()
    write(storage, "/d/a", b"data", sync=True)
    assert contents(storage, "/d/a") == {b"data", None}
    storage = start()
    write(storage, "/d/a", b"data")
    storage.sync_dir("/d")
    assert contents(storage, "/d/a") == {b"data", b"", bytes(4)}


def test_content_is_torn_at_blocks() -> None:
    storage = start()
    a, b, c = (letter * BLOCK for letter in (b"a", b"b", b"c"))
    write(storage, "/d/a", a + b + c)
    storage.sync_dir("/d")
    hole = bytes(BLOCK)
    assert contents(storage, "/d/a") == {
        *(a + b + c, b"", hole * 3),
        *(hole + b + c, a + hole + c, a + b + hole),
        *(a, a + b),
    }


def test_content_is_cut_off_between_calls() -> None:
    storage = start()
    file = storage.create("/d/a")
    file.write([b"one"], 0)
    file.write([b"two"], 3)
    file.truncate(5)
    storage.sync_dir("/d")
    assert {b"one", b"onetwo", b"onetw"} <= contents(storage, "/d/a")


def test_of_a_file_that_was_stable_the_old_content_may_return() -> None:
    storage = start()
    file = storage.create("/d/a")
    file.write([b"a" * BLOCK * 2], 0)
    file.sync()
    storage.sync_dir("/d")
    file.write([b"b" * BLOCK], BLOCK)
    assert contents(storage, "/d/a") == {b"a" * BLOCK * 2, b"a" * BLOCK + b"b" * BLOCK}


def test_names_are_lost_in_any_combination() -> None:
    storage = start()
    for name in "abc":
        write(storage, f"/d/{name}", b"", sync=True)
    found = {tuple(sorted(state)) for state in states(storage)}
    assert len(found) == 8
    assert ("/d/c", "/d/old") in found  # the last is kept and those before it are lost


def test_a_rename_is_atomic() -> None:
    storage = start()
    write(storage, "/d/a", b"new", sync=True)
    storage.sync_dir("/d")
    storage.rename("/d/a", "/d/old")
    assert states(storage) == [{"/d/old": b"new"}, {"/d/a": b"new", "/d/old": b"old"}]


def test_a_removal_may_be_undone_and_a_link_lost() -> None:
    storage = start()
    storage.link("/d/old", "/d/link")
    storage.unlink("/d/old")
    found = [tuple(sorted(state)) for state in states(storage)]
    assert sorted(found) == [(), ("/d/link",), ("/d/link", "/d/old"), ("/d/old",)]


def test_links_are_links_after_the_cut() -> None:
    storage = start()
    storage.link("/d/old", "/d/link")
    after = storage.image().storage()
    after.rename("/d/old", "/d/link")  # does nothing: rename(2)
    assert after.list_dir("/d") == ["link", "old"]


def test_what_is_in_a_lost_directory_is_lost() -> None:
    storage = start()
    storage.make_dirs("/d/e/f")
    write(storage, "/d/e/f/a", b"a", sync=True)
    storage.sync_dir("/d/e/f")
    storage.sync_dir("/d/e")
    assert contents(storage, "/d/e/f/a") == {b"a", None}
    storage.sync_dir("/d")
    assert contents(storage, "/d/e/f/a") == {b"a"}


def test_a_lock_leaves_a_file_and_no_owner() -> None:
    storage = start()
    storage.lock("/d/lock").acquire()
    assert [sorted(state) for state in states(storage)] == [["/d/lock", "/d/old"], ["/d/old"]]
    assert storage.image().storage().lock("/d/lock").try_acquire()


def test_each_state_is_yielded_once_with_the_first_cut_that_leaves_it() -> None:
    storage = start()
    write(storage, "/d/a", b"a", sync=True)
    cuts = list(storage.power_cuts())
    assert [cut.num_changes for cut in cuts] == [0, 1, 2, 2]
    assert [len(files(cut.image)) for cut in cuts] == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("bounds", "exhaustive", "count"),
    [
        (Bounds(max_operations=6), True, 64),
        (Bounds(max_operations=5, num_samples=0), False, 14),
        (Bounds(max_operations=5, num_samples=1000), False, 64),
    ],
)
def test_more_names_than_the_bound_are_sampled(
    bounds: Bounds, exhaustive: bool, count: int
) -> None:
    storage = start()
    for name in "abcdef":
        write(storage, f"/d/{name}", b"", sync=True)
    last = storage.num_changes
    cuts = list(storage.power_cuts(last, last, bounds=bounds))
    assert {cut.exhaustive for cut in cuts} == {exhaustive}
    assert len(cuts) == count
    again = list(storage.power_cuts(last, last, bounds=bounds))
    assert [cut.image.key() for cut in again] == [cut.image.key() for cut in cuts]


def test_blocks_beyond_the_bound_are_left_out() -> None:
    storage = start()
    write(storage, "/d/a", b"x" * BLOCK * 100)
    few = states(storage, Bounds(max_blocks=2))
    assert len(few) < len(states(storage, Bounds(max_blocks=50))) < 210


def test_a_rewound_disk_goes_on_with_what_was_not_synced() -> None:
    storage = start()
    write(storage, "/d/a", b"a", sync=True)
    at = storage.num_changes
    storage.sync_dir("/d")
    storage.unlink("/d/old")
    rewound = storage.rewound(at)
    assert files(rewound.image()) == {"/d/old": b"old", "/d/a": b"a"}
    assert files(rewound.synced_image()) == {"/d/old": b"old"}
    write(rewound, "/d/b", b"b", sync=True)
    assert contents(rewound, "/d/a") == {b"a", None}
    assert files(storage.image()) == {"/d/a": b"a"}  # the original has gone another way


@pytest.mark.parametrize(
    "change",
    [
        lambda storage: storage.create("/d/a"),
        lambda storage: storage.rename("/d/old", "/d/new"),
        lambda storage: storage.link("/d/old", "/d/new"),
        lambda storage: storage.unlink("/d/old"),
        lambda storage: storage.make_dirs("/d/e"),
    ],
)
def test_each_change_may_be_lost(change: Callable[[PowerLossStorage], object]) -> None:
    storage = start()
    before = files(storage.image()), storage.image().directories
    change(storage)
    after = files(storage.image()), storage.image().directories
    found = [(files(cut.image), cut.image.directories) for cut in storage.power_cuts(1)]
    assert found == [after, before]


def test_a_renamed_directory_takes_what_is_in_it_along() -> None:
    storage = start()
    storage.rename("/d", "/e")
    assert [sorted(state) for state in states(storage)] == [["/e/old"], ["/d/old"]]
