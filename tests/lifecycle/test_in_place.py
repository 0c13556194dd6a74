from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import CheckpointManager, errors, events
from ckptmgr.lifecycle import in_place

LARGE = 5_000_000  # bytes: several chunks
VALUES = np.random.default_rng(0).integers(0, 256, LARGE, np.uint8)
OTHERS = VALUES[::-1].copy()


def save(directory: Path, state: Any) -> str:
    with CheckpointManager(state, directory) as manager:
        path = manager.save(1)
    assert path is not None
    return str(path)


def restore(directory: Path, target: Any, **options: Any) -> Any:
    restored = CheckpointManager(target, directory).restore(1, **options)
    assert restored is not None
    return restored.state


def damage(prefix: str, position: int) -> None:
    with open(f"{prefix}.data-00000-of-00001", "r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def peak_bytes(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --------------------------------------------------------------------------- which memory


def plain() -> tuple[Any, Any]:
    array = np.zeros(LARGE, np.uint8)
    return {"a": array}, array


def part_of_a_buffer() -> tuple[Any, Any]:
    buffer = np.zeros(3 * LARGE, np.uint8)
    return {"a": buffer[LARGE : 2 * LARGE]}, buffer[LARGE : 2 * LARGE]


def strided() -> tuple[Any, Any]:
    array = np.zeros((LARGE, 2), np.uint8)
    return {"a": array[:, 1]}, array[:, 1]


def of_a_subclass() -> tuple[Any, Any]:
    array = np.zeros(LARGE, np.uint8).view(np.recarray)
    return {"a": array}, array


@pytest.mark.parametrize("make", [plain, part_of_a_buffer, strided, of_a_subclass])
def test_the_array_itself_is_filled(tmp_path: Path, make: Any) -> None:
    save(tmp_path, {"a": VALUES})
    target, array = make()
    leaf = target["a"]
    assert restore(tmp_path, target)["a"] is leaf
    assert np.array_equal(array, VALUES)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order(tmp_path: Path, order: str) -> None:
    numbers = np.arange(100_000, dtype=np.int32)
    save(tmp_path, {"a": numbers})
    target = np.zeros(100_000, f"{order}i4")
    restore(tmp_path, {"a": target})
    assert np.array_equal(target, numbers)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (slice(0, LARGE), slice(0, LARGE)),
        (slice(0, LARGE), slice(1000, LARGE + 1000)),
        (slice(1000, LARGE + 1000), slice(0, LARGE)),
    ],
    ids=["the same", "before", "behind"],
)
def test_of_arrays_that_share_memory_the_later_counts(
    tmp_path: Path, first: slice, second: slice
) -> None:
    save(tmp_path, {"a": VALUES, "b": OTHERS})
    buffer = np.zeros(LARGE + 1000, np.uint8)
    expected = buffer.copy()
    expected[first] = VALUES
    expected[second] = OTHERS
    restore(tmp_path, {"a": buffer[first], "b": buffer[second]})
    assert np.array_equal(buffer, expected)


def test_an_array_that_covers_others(tmp_path: Path) -> None:
    save(tmp_path, {"whole": VALUES, "a": OTHERS[:100_000], "b": OTHERS[-100_000:]})
    buffer = np.zeros(LARGE, np.uint8)
    restore(tmp_path, {"whole": buffer, "a": buffer[:100_000], "b": buffer[-100_000:]})
    expected = VALUES.copy()
    expected[:100_000], expected[-100_000:] = OTHERS[:100_000], OTHERS[-100_000:]
    assert np.array_equal(buffer, expected)


def test_two_arrays_from_one_tensor(tmp_path: Path) -> None:
    save(tmp_path, {"a": VALUES})
    target = {"a": np.zeros(LARGE, np.uint8), "b": np.zeros(LARGE, np.uint8)}
    restore(tmp_path, target, names={"b": "a"})
    assert np.array_equal(target["a"], VALUES)
    assert np.array_equal(target["b"], VALUES)


def test_a_read_only_array_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, {"a": VALUES})
    own = np.zeros(LARGE, np.uint8)
    own.flags.writeable = False
    target = {"a": own}
    restore(tmp_path, target)
    assert np.array_equal(target["a"], VALUES)
    assert not own.any()


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_many_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(in_place, "_SMALL_TOTAL_BYTES", limit)
    save(tmp_path, {str(i): np.full(10, i) for i in range(100)})
    arrays = [np.zeros(10, int) for _ in range(100)]
    restore(tmp_path, {str(i): array for i, array in enumerate(arrays)})
    assert [array.tolist() for array in arrays] == [[i] * 10 for i in range(100)]


def test_text_among_many_small_ones_stays_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_place, "_SMALL_TOTAL_BYTES", 0)
    save(tmp_path, {"w": np.ones(3), "words": np.array(["a", "b"], object)})
    words = np.array(["x", "y"], object)
    restore(tmp_path, {"w": np.zeros(3), "words": words})
    assert words.tolist() == ["a", "b"]


# --------------------------------------------------------------------------- damage


@pytest.mark.parametrize("make", [plain, strided])
@pytest.mark.parametrize("position", [0, 2 * LARGE - 1])
def test_damage_changes_nothing(tmp_path: Path, make: Any, position: int) -> None:
    prefix = save(tmp_path, [VALUES, VALUES])
    damage(prefix, position)
    target, array = make()
    other = np.zeros(LARGE, np.uint8)
    with pytest.raises(errors.ChecksumMismatch):
        restore(tmp_path, [target["a"], other])
    assert not array.any()
    assert not other.any()


def test_a_name_that_another_overwrites_is_verified(tmp_path: Path) -> None:
    prefix = save(tmp_path, [VALUES, OTHERS])
    damage(prefix, 5)
    array = np.zeros(LARGE, np.uint8)
    with pytest.raises(errors.ChecksumMismatch, match="tensor '0'"):
        restore(tmp_path, [array, array])
    assert not array.any()


def test_damage_to_what_is_not_restored_is_not_looked_at(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"a": VALUES, "b": VALUES})
    damage(prefix, LARGE + 1000)
    array = np.zeros(LARGE, np.uint8)
    restore(tmp_path, {"a": array})
    assert np.array_equal(array, VALUES)


def test_what_changes_after_it_was_verified_is_noticed(tmp_path: Path) -> None:
    prefix = save(tmp_path, [VALUES])

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Progress) and 2 * event.done_bytes == event.total_bytes:
            damage(prefix, LARGE - 1)  # all was read once

    array = np.zeros(LARGE, np.uint8)
    with pytest.raises(errors.ChecksumMismatch):
        CheckpointManager([array], tmp_path, on_event=listen).restore(1)


# --------------------------------------------------------------------------- memory


@pytest.mark.parametrize("columns", [1, 2], ids=["plain", "strided"])
def test_memory_beside_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(in_place, "_GROUP_BYTES", LARGE)
    save(tmp_path, {str(i): VALUES for i in range(8)})
    target = {str(i): np.zeros((LARGE, columns), np.uint8)[:, 0] for i in range(8)}
    assert peak_bytes(lambda: restore(tmp_path, target)) < LARGE + (3 << 20)
    assert all(np.array_equal(array, VALUES) for array in target.values())
