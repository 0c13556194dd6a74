from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors, naming
from ckptmgr.bundle import deduplicate
from ckptmgr.bundle.deduplicate import Match, SharedShard, choose_shards, match_entries
from ckptmgr.bundle.layout import NamedTensor, plan_bundle
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.staging import StagingBuffer
from ckptmgr.bundle.writer import StagedBundle, stage, stage_plan
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import combine, crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.lifecycle.deletion import remove_files
from ckptmgr.storage import Bounds, PosixStorage, PowerLossStorage, Storage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage

A, B, C = "run/m-1", "run/m-2", "run/m-3"

#: The size of each tensor of `model`.
EACH = 2560 * 8

Tensors = Mapping[str, cases.Array]


def save(
    storage: Storage, prefix: str, *shards: Tensors | list[NamedTensor], **kwargs: Any
) -> StagedBundle:
    previous = kwargs.pop("previous", None)
    tensors = [s if isinstance(s, list) else cases.named(s) for s in shards]
    staged = stage(storage, prefix, tensors, cases.options(**kwargs), previous=previous)
    staged.publish()
    return staged


def assert_holds(storage: Storage, prefix: str, tensors: Tensors) -> None:
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        assert list(reader.entries()) == sorted(tensors)
        for name, array in tensors.items():
            cases.assert_identical(reader.read(name), cases.restored(array))


def model(frozen: int = 9, trained: int = 1, *, step: int = 0) -> dict[str, cases.Array]:
    rng = np.random.default_rng(7)
    tensors = {f"frozen{i}": rng.random(2560) for i in range(frozen)}
    return tensors | {f"trained{i}": np.full(2560, step, np.float64) for i in range(trained)}


def files(storage: Storage) -> list[str]:
    return [name.removeprefix("m-") for name in storage.list_dir("run")]


@pytest.fixture
def storage() -> ObservedStorage:
    observed = ObservedStorage()
    observed.make_dirs("run")
    return observed


# --------------------------------------------------------------------------- what is written


def test_only_what_changed_is_written(storage: ObservedStorage) -> None:
    first = save(storage, A, model(step=1))
    assert (first.linked_bytes, first.written_bytes) == (0, 10 * EACH)
    second = save(storage, B, model(step=2), previous=A)
    assert (second.linked_bytes, second.written_bytes) == (9 * EACH, EACH)
    assert second.size_bytes == 10 * EACH + second.index_bytes
    third = save(storage, C, model(step=3), previous=B)
    assert (third.linked_bytes, third.written_bytes) == (9 * EACH, EACH)
    for step, prefix in enumerate((A, B, C), start=1):
        assert_holds(storage, prefix, model(step=step))
    assert files(storage) == [
        *("1.data-00000-of-00001", "1.index"),
        *("2.data-00000-of-00002", "2.data-00001-of-00002", "2.index"),
        *("3.data-00000-of-00002", "3.data-00001-of-00002", "3.index"),
    ]


def test_nothing_changed(storage: ObservedStorage) -> None:
    save(storage, A, model())
    staged = save(storage, B, model(), previous=A)
    assert (staged.linked_bytes, staged.written_bytes) == (10 * EACH, 0)
    assert files(storage)[2:] == ["2.data-00000-of-00001", "2.index"]
    assert_holds(storage, B, model())


def used_on_disk(directory: Path) -> int:
    found = {}
    for path in directory.iterdir():
        info = path.stat()
        found[info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def test_fine_tuning_writes_a_tenth(tmp_path: Path) -> None:
    """90% frozen, on a real disk, in tensors of many sizes, past the cache."""
    posix = PosixStorage()
    rng = np.random.default_rng(0)
    state = {f"layer{i}": rng.random((i + 1) * 20_000) for i in range(20)}
    total = sum(array.nbytes for array in state.values())
    trained = ["layer3", "layer16"]
    assert 0.09 < sum(state[name].nbytes for name in trained) / total < 0.11
    save(posix, str(tmp_path / "m-0"), state, durable=True)
    used = [used_on_disk(tmp_path)]
    for step in range(1, 4):
        for name in trained:
            state[name] += 1
        previous = str(tmp_path / f"m-{step - 1}")
        save(posix, str(tmp_path / f"m-{step}"), state, durable=True, previous=previous)
        used.append(used_on_disk(tmp_path))
        assert_holds(posix, str(tmp_path / f"m-{step}"), state)
        assert 0.09 < (used[-1] - used[-2]) / total < 0.11
    assert used[0] == pytest.approx(total, rel=0.01)


KINDS: dict[str, Tensors | list[NamedTensor]] = {
    "every kind": cases.ALL,
    "strings": {"s": cases.strings(b"", b"x" * 5000), "one": np.array(b"one", object)},
    "partitioned": cases.parts("p", np.arange(40.0).reshape(10, 4), np.s_[0:3, :], np.s_[3:10, :]),
    "divided": {"a": np.arange(1_500_000.0), "b": np.asfortranarray(np.ones((1200, 1100)))},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_is_linked(storage: ObservedStorage, kind: str) -> None:
    tensors = KINDS[kind]
    save(storage, A, tensors)
    staged = save(storage, B, tensors, previous=A)
    assert staged.written_bytes == 0
    remove_files(storage, A)
    if isinstance(tensors, dict):
        assert_holds(storage, B, tensors)
    else:
        with BundleReader(storage, B) as reader:
            cases.assert_identical(reader.read("p"), np.arange(40.0).reshape(10, 4))


@pytest.mark.parametrize(
    "changed",
    [
        {"w": np.arange(4000.0) + (np.arange(4000) == 3999)},
        {"w": np.arange(4000.0).reshape(40, 100)},
        {"w": np.arange(4000.0).view(np.int64)},
        {"w": np.arange(3999.0)},
        {"w": np.arange(4001.0)},
        {"v": np.arange(4000.0)},
    ],
    ids=["last value", "shape", "dtype", "shorter", "longer", "name"],
)
def test_what_differs_is_written(storage: ObservedStorage, changed: Tensors) -> None:
    save(storage, A, {"w": np.arange(4000.0)})
    staged = save(storage, B, changed, previous=A)
    assert staged.linked_bytes == 0
    assert_holds(storage, B, changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (cases.strings(b"abc", b"d"), cases.strings(b"ab", b"cd")),
        (cases.strings(b"abc", b"d"), cases.strings(b"abc", b"e")),
    ],
    ids=["divided elsewhere", "other text"],
)
def test_other_strings_are_written(
    storage: ObservedStorage, old: cases.Array, new: cases.Array
) -> None:
    save(storage, A, {"s": old})
    assert save(storage, B, {"s": new}, previous=A).linked_bytes == 0
    assert_holds(storage, B, {"s": new})


def with_checksum(data: bytes, wanted: int) -> bytes:
    """The bytes with a last four that give this CRC-32C; it is linear over GF(2) in each bit."""
    zeros = combine(crc32c(data), crc32c(bytes(4)), 4)
    # What each of the 32 bits changes, brought to a triangle by elimination.
    basis: list[tuple[int, int]] = []
    for bit in range(32):
        effect = crc32c((1 << bit).to_bytes(4, "little")) ^ crc32c(bytes(4))
        basis.append((effect, 1 << bit))
    left, suffix = zeros ^ wanted, 0
    for column in range(32):
        pivot = next(row for row in basis if row[0] >> column & 1)
        basis.remove(pivot)
        basis = [(e ^ pivot[0], s ^ pivot[1]) if e >> column & 1 else (e, s) for e, s in basis]
        if left >> column & 1:
            left, suffix = left ^ pivot[0], suffix ^ pivot[1]
    assert left == 0
    return data + suffix.to_bytes(4, "little")


@pytest.mark.parametrize("size_bytes", [64, 70_005, 6_000_005])
@pytest.mark.parametrize("changed", [0, -5])
def test_equal_checksums_are_not_enough(
    storage: ObservedStorage, size_bytes: int, changed: int
) -> None:
    old = np.random.default_rng(1).integers(0, 256, size_bytes, np.uint8)
    data = old.tobytes()
    different = bytearray(data)
    different[changed] ^= 1
    new = np.frombuffer(with_checksum(bytes(different[:-4]), crc32c(data)), np.uint8)
    assert crc32c(new.data) == crc32c(old.data)
    assert new.tobytes() != data
    same = np.arange(size_bytes)
    save(storage, A, {"w": old, "same": same})
    staged = save(storage, B, {"w": new, "same": same}, previous=A)
    assert (staged.linked_bytes, staged.written_bytes) == (same.nbytes, new.nbytes)
    assert_holds(storage, B, {"w": new, "same": same})


def test_tensors_that_stand_apart_in_the_earlier_file(storage: ObservedStorage) -> None:
    """One read could not take both, which are neighbours now."""
    tensors = {"a": np.arange(900_000.0), "between": np.ones(800_000), "c": np.arange(5.0)}
    save(storage, A, tensors)
    del tensors["between"]
    assert save(storage, B, tensors, previous=A).written_bytes == 0
    assert_holds(storage, B, tensors)


# --------------------------------------------------------------------------- the pure decision


def test_match_entries() -> None:
    tensors = {"same": np.zeros(4), "empty": np.zeros(0), "odd": np.zeros(2), "new": np.zeros(1)}
    plan = plan_bundle([cases.named(tensors)])
    entries = {
        b"same": BundleEntry(DataType.DT_DOUBLE, (4,), 0, 128, 32),
        b"empty": BundleEntry(DataType.DT_DOUBLE, (0,), 0, 0, 0),
        b"odd": BundleEntry(DataType.DT_DOUBLE, (2,), 0, 40, 16),
        b"gone": BundleEntry(DataType.DT_DOUBLE, (2,), 0, 0, 16),
    }
    index = plan.shards[0].keys.index(b"same")
    assert match_entries(plan, entries, 64) == [Match(0, index, entries[b"same"])]
    assert {match.entry.offset for match in match_entries(plan, entries, 1)} == {128, 40}


def shared(path: str, *sizes_bytes: int) -> SharedShard:
    entries = [BundleEntry(DataType.DT_INT8, (n,), size_bytes=n) for n in sizes_bytes]
    return SharedShard(path, tuple(Match(0, i, entry) for i, entry in enumerate(entries)))


@pytest.mark.parametrize(
    ("shards", "sizes_bytes", "limit", "chosen"),
    [
        ([shared("a", 500)], {"a": 1000}, 7, "a"),
        ([shared("a", 435)], {"a": 1000}, 7, ""),
        ([shared("a", 4, 4, 4)], {"a": 132}, 7, "a"),
        (
            [shared("a", 500), shared("b", 900), shared("c", 600)],
            dict.fromkeys("abc", 999),
            2,
            "bc",
        ),
        ([shared("a")], {"a": 0}, 7, ""),
    ],
    ids=["half used", "less than half", "padding", "too many", "not used"],
)
def test_choose_shards(
    shards: list[SharedShard], sizes_bytes: dict[str, int], limit: int, chosen: str
) -> None:
    assert [s.path for s in choose_shards(shards, sizes_bytes, 64, limit)] == list(chosen)


# --------------------------------------------------------------------------- chains


def test_a_chain_stays_readable_and_bounded(tmp_path: Path) -> None:
    """50 saves with random changes, of which the latest three are kept."""
    posix = PosixStorage()
    rng = random.Random(3)
    state = {f"t{i:02d}": np.full(rng.randrange(1, 20_000), float(i)) for i in range(40)}
    kept: list[tuple[str, dict[str, cases.Array]]] = []
    changed_bytes = written_bytes = 0
    for step in range(50):
        for name in rng.sample(sorted(state), rng.choice([0, 1, 2, 5, 15])):
            state[name] = state[name] + rng.random()
            changed_bytes += state[name].nbytes
        prefix = str(tmp_path / f"m-{step}")
        previous = kept[-1][0] if kept else None
        staged = save(posix, prefix, state, previous=previous)
        written_bytes += staged.written_bytes if previous else 0
        kept.append((prefix, dict(state)))
        for old, _ in kept[:-3]:
            remove_files(posix, old)
        kept = kept[-3:]
        total = sum(array.nbytes for array in state.values())
        of_newest = [path for path in tmp_path.iterdir() if path.name.startswith(f"m-{step}.")]
        assert len(of_newest) <= 9
        assert sum(path.stat().st_size for path in of_newest) < 2.1 * total
        for old, tensors in kept:
            assert_holds(posix, old, tensors)
    # What a given-up file held, and what the limit on their number costs, is not much.
    assert changed_bytes <= written_bytes < 2 * changed_bytes


@pytest.mark.parametrize("order", [(A, B), (B, A), (C, A), (A, C), (B, C), (C, B)])
def test_deletion_in_any_order(storage: ObservedStorage, order: tuple[str, str]) -> None:
    states = {prefix: model(step=step) for step, prefix in enumerate((A, B, C))}
    save(storage, A, states[A])
    save(storage, B, states[B], previous=A)
    save(storage, C, states[C], previous=B)
    for gone in order:
        remove_files(storage, gone)
        del states[gone]
        for prefix, tensors in states.items():
            assert_holds(storage, prefix, tensors)
    (last,) = states
    remove_files(storage, last)
    assert files(storage) == []


def test_a_file_of_which_little_is_used_is_given_up(storage: ObservedStorage) -> None:
    state = model(frozen=4, trained=6)
    save(storage, A, state)
    staged = save(storage, B, model(frozen=4, trained=6, step=1), previous=A)
    assert staged.linked_bytes == 0


def test_the_number_of_files_is_limited(storage: ObservedStorage) -> None:
    tensors = {f"t{i}": np.full(100 * (i + 1), 1.0) for i in range(12)}
    save(storage, A, *({name: array} for name, array in tensors.items()))
    staged = save(storage, B, tensors, previous=A)
    with BundleReader(storage, B) as reader:
        assert reader.num_shards == deduplicate.MAX_LINKS_PER_SHARD + 1
    assert staged.linked_bytes == 8 * 100 * sum(range(6, 13))
    assert_holds(storage, B, tensors)


def test_shards_stay_divided_as_asked(storage: ObservedStorage) -> None:
    one, two = model(frozen=4), {f"other.{k}": v for k, v in model(frozen=4).items()}
    save(storage, A, one, two)
    one["trained0"], two["other.trained0"] = np.ones(9), np.ones(8)
    save(storage, B, one, two, previous=A)
    with BundleReader(storage, B) as reader:
        assert reader.num_shards == 4
        assert reader.entry("trained0").shard_id != reader.entry("other.trained0").shard_id
    assert_holds(storage, B, one | two)


# --------------------------------------------------------------------------- staged copies


@pytest.mark.parametrize("keep", [None, "frozen0"])
def test_a_staged_copy_is_what_is_saved(tmp_path: Path, keep: str | None) -> None:
    """The originals change behind the copy; the copy is compared, linked and written."""
    posix = PosixStorage()
    buffer = StagingBuffer()
    state = model(frozen=9, trained=1) | {"s": cases.strings(b"text"), "big": np.zeros(3_000_000)}
    save(posix, str(tmp_path / "m-1"), state, durable=True)
    state["trained0"] += 1
    expected = {name: array.copy() for name, array in state.items()}
    kept = state[keep] if keep else None
    plan = buffer.copy(plan_bundle([cases.named(state)]), lambda array: array is kept)
    for name, array in state.items():
        if name not in ("s", keep):
            array[...] = -1
    options = cases.options(durable=True)
    previous = str(tmp_path / "m-1")
    staged = stage_plan(posix, str(tmp_path / "m-2"), plan, options, previous=previous)
    staged.publish()
    assert staged.written_bytes == EACH
    assert_holds(posix, str(tmp_path / "m-2"), expected)


# --------------------------------------------------------------------------- one prefix again


def test_the_same_prefix_again(storage: ObservedStorage) -> None:
    save(storage, A, model(step=0))
    for step in range(1, 4):
        staged = save(storage, A, model(step=step), previous=A)
        assert (staged.linked_bytes, staged.written_bytes) == (9 * EACH, EACH)
        assert_holds(storage, A, model(step=step))
        assert len(storage.list_dir("run")) == 3


def test_a_link_that_stands_already_leaves_no_temporary(storage: ObservedStorage) -> None:
    """As after a publish that was cut off before the index took its name."""
    save(storage, A, model(step=1))
    storage.link(naming.data_shard(A, 0, 1), naming.data_shard(B, 0, 2))
    save(storage, B, model(step=2), previous=A)
    assert files(storage)[2:] == ["2.data-00000-of-00002", "2.data-00001-of-00002", "2.index"]
    assert_holds(storage, B, model(step=2))


def test_of_a_symbolic_link_the_file_is_linked(tmp_path: Path) -> None:
    posix = PosixStorage()
    first, second = str(tmp_path / "m-1"), str(tmp_path / "m-2")
    save(posix, first, model())
    shard, elsewhere = Path(naming.data_shard(first, 0, 1)), tmp_path / "elsewhere"
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    assert save(posix, second, model(), previous=first).written_bytes == 0
    elsewhere.unlink()
    assert_holds(posix, second, model())


# --------------------------------------------------------------------------- nothing to link


def corrupt(storage: Storage, path: str, position: int) -> None:
    file = storage.open(path)
    data = bytearray(file.read(0, file.size_bytes))
    data[position] ^= 1
    storage.unlink(path)
    target = storage.create(path)
    target.write([data], 0)
    target.close()


def truncate(storage: Storage, path: str) -> None:
    file = storage.open(path)
    data = file.read(0, file.size_bytes - 1)
    storage.unlink(path)
    target = storage.create(path)
    target.write([data], 0)
    target.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: remove_files(s, A),
        lambda s: s.unlink(naming.index_file(A)),
        lambda s: s.unlink(naming.data_shard(A, 0, 1)),
        lambda s: corrupt(s, naming.index_file(A), 5),
    ],
    ids=["deleted", "no index", "no shard", "damaged index"],
)
def test_an_unusable_checkpoint_is_as_none(
    storage: ObservedStorage, spoil: Callable[[Storage], None]
) -> None:
    save(storage, A, model())
    spoil(storage)
    staged = save(storage, B, model(), previous=A)
    assert (staged.linked_bytes, staged.written_bytes) == (0, 10 * EACH)
    assert_holds(storage, B, model())
    assert not any(map(naming.owner_of_temporary, storage.list_dir("run")))


def test_a_damaged_tensor_is_written_anew(storage: ObservedStorage) -> None:
    save(storage, A, model())
    corrupt(storage, naming.data_shard(A, 0, 1), 30_000)
    assert save(storage, B, model(), previous=A).written_bytes == EACH
    truncate(storage, naming.data_shard(A, 0, 1))
    assert save(storage, C, model(), previous=A).written_bytes == 2 * EACH
    for prefix in (B, C):
        assert_holds(storage, prefix, model())


def test_a_file_that_is_mostly_damaged_is_given_up(storage: ObservedStorage) -> None:
    save(storage, A, model())
    for number in range(6):
        corrupt(storage, naming.data_shard(A, 0, 1), number * EACH)
    assert save(storage, B, model(), previous=A).linked_bytes == 0
    assert_holds(storage, B, model())


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EXDEV, errors.StorageError),
        (errno.EPERM, errors.PermissionDenied),
        (errno.EMLINK, errors.StorageError),
        (errno.EOPNOTSUPP, errors.StorageError),
    ],
)
def test_without_hard_links_all_is_written(
    storage: ObservedStorage, number: int, kind: type[errors.StorageError]
) -> None:
    def refuse(operation: str, path: str) -> None:
        if operation == "link":
            raise kind(number, os.strerror(number), path)

    save(storage, A, model())
    storage.before = refuse
    staged = save(storage, B, model(), previous=A)
    assert (staged.linked_bytes, staged.written_bytes) == (0, 10 * EACH)
    assert_holds(storage, B, model())


@pytest.mark.parametrize("moment", ["stat", "link", "open", "read"])
def test_deleted_by_another_process_meanwhile(storage: ObservedStorage, moment: str) -> None:
    """Whenever the earlier checkpoint goes, what is saved is whole."""
    save(storage, A, model(step=1))
    saved = model(step=2)
    seen = [0]
    # Each occurrence of the call in turn, until there are no more.
    for occurrence in range(100):
        seen[0] = 0

        def delete(operation: str, _: str, occurrence: int = occurrence) -> None:
            if operation == moment:
                seen[0] += 1
                if seen[0] == occurrence + 1:
                    remove_files(storage.inner, A)

        storage.before = delete
        save(storage, B, saved, previous=A)
        storage.before = lambda *_: None
        assert_holds(storage, B, saved)
        if seen[0] <= occurrence:
            break
        save(storage, A, model(step=1))
    assert occurrence > 0


def test_replaced_by_another_process_meanwhile(storage: ObservedStorage) -> None:
    """The file that the name leads to when it is linked is the one that is compared."""
    state = model(step=1)
    save(storage, A, state)

    def replace_at_link(tensors: Tensors) -> Callable[[str, str], None]:
        def replace(operation: str, path: str) -> None:
            if operation == "link":
                for _ in range(2):  # twice, so that the shards have the same names again
                    save(storage.inner, A, tensors, token="f" * 32)

        return replace

    storage.before = replace_at_link({name: -array for name, array in state.items()})
    storage.after = replace_at_link(state)
    staged = save(storage, B, state, previous=A)
    assert staged.linked_bytes == 0
    assert_holds(storage, B, state)


def test_a_big_endian_checkpoint_is_not_used(storage: ObservedStorage) -> None:
    from ckptmgr.formats import table_writer
    from ckptmgr.formats.bundle_entry import BundleHeader, encode_entry, encode_header

    data = np.arange(3, dtype="<i4").tobytes()
    entry = BundleEntry(DataType.DT_INT32, (3,), 0, 0, len(data), mask(crc32c(data)))
    header = encode_header(BundleHeader(1, big_endian=True))
    table = table_writer.encode_table([(b"", header), (b"w", encode_entry(entry))])
    for path, content in ((naming.data_shard(A, 0, 1), data), (naming.index_file(A), table)):
        file = storage.create(path)
        file.write([content], 0)
    staged = save(storage, B, {"w": np.arange(3, dtype=np.int32)}, previous=A)
    assert staged.linked_bytes == 0


# --------------------------------------------------------------------------- order of calls


def test_calls_in_order(storage: ObservedStorage) -> None:
    save(storage, A, model(step=1))
    storage.calls.clear()
    save(storage, B, model(step=2), previous=A, durable=True)
    of_file = {
        path: [operation for operation, found in storage.changes() if found == path]
        for _, path in storage.changes()
    }

    def temporary(path: str) -> str:
        return naming.temporary(path, cases.TOKEN)

    link = temporary(naming.data_shard(B, 0, 0))
    assert of_file[link] == ["link", "sync_file", "unlink"]
    written = temporary(naming.data_shard(B, 1, 2))
    assert of_file[written] == ["create", "preallocate", "write", "sync"]
    assert storage.changes()[-6:] == [
        ("rename", naming.data_shard(B, 0, 2)),
        ("rename", naming.data_shard(B, 1, 2)),
        ("unlink", link),  # in case that rename(2) left it
        ("sync_dir", "run"),
        ("rename", naming.index_file(B)),
        ("sync_dir", "run"),
    ]


class Refused(errors.StorageError):
    """What an injected failure raises."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", [A, B])
def test_failure_of_any_call(when: str, target: str) -> None:
    """Both checkpoints are whole, or the new one is not there and nothing of it is left."""
    saved = set()
    for failing_call in range(100):
        storage = ObservedStorage()
        storage.make_dirs("run")
        save(storage, A, model(step=1))
        remaining = [failing_call]

        def fail(operation: str, path: str, remaining: list[int] = remaining) -> None:
            remaining[0] -= 1
            if remaining[0] == -1:
                raise Refused(5, f"injected at {operation} {path}")

        setattr(storage, when, fail)
        staged = None
        try:
            staged = stage(
                storage,
                target,
                [cases.named(model(step=2))],
                cases.options(durable=True),
                previous=A,
            )
            staged.publish()
        except Refused:
            if staged is not None:
                staged.discard()
        storage.before = storage.after = lambda *_: None
        steps = {prefix: step_at(storage, prefix) for prefix in (A, B)}
        saved.add(steps[target])
        assert steps[A] == 1 or target == A
        assert not any(map(naming.owner_of_temporary, storage.list_dir("run")))
        if remaining[0] >= 0:
            break
    else:
        pytest.fail("the save has more calls than this test tries")
    assert saved == ({1, 2} if target == A else {None, 2})


def step_at(storage: Storage, prefix: str) -> int | None:
    """Which step stands whole at the prefix; None if none does."""
    if storage.stat(naming.index_file(prefix)) is None:
        return None
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        step = int(reader.read("trained0")[0])
    assert_holds(storage, prefix, model(step=step))
    return step


@pytest.mark.parametrize("target", [A, B])
def test_power_cut_after_any_change(target: str) -> None:
    """The earlier checkpoint was left to the system; the durable one that links it needs it."""
    made = PowerLossStorage()
    made.make_dirs("run")
    storage = PowerLossStorage(made.image())
    save(storage, A, model(step=1), durable=target == A)
    first = storage.num_changes
    save(storage, target, model(step=2), previous=A, durable=True)
    done = storage.num_changes
    num_cuts = 0
    for cut in storage.power_cuts(first, bounds=Bounds(num_samples=16, max_blocks=2)):
        after = cut.image.storage()
        if cut.num_changes == done:
            assert step_at(after, target) == 2
        elif target == A:
            assert step_at(after, A) in (1, 2)
        else:
            assert after.stat(naming.index_file(B)) is None or step_at(after, B) == 2
        num_cuts += 1
    assert num_cuts > 8
    assert step_at(storage.synced_image().storage(), target) == 2


# --------------------------------------------------------------------------- TensorFlow


@pytest.mark.parametrize("count", [1, 3])
def test_tensorflow_reads_it(tf: Any, tmp_path: Path, count: int) -> None:
    posix = PosixStorage()
    full = np.arange(80.0, dtype=np.float32).reshape(20, 4)
    state = model() | {"s": cases.strings(b"", b"a\0b"), "scalar": np.array(3), "empty": np.ones(0)}
    parts = cases.parts("p", full, np.s_[0:8, :], np.s_[8:20, :])
    for step in range(count + 1):
        state["trained0"] = np.full(2560, step, np.float64)
        previous = str(tmp_path / f"m-{step - 1}") if step else None
        prefix = str(tmp_path / f"m-{step}")
        staged = save(posix, prefix, [*cases.named(state), *parts], previous=previous)
    assert staged.linked_bytes > 9 * EACH
    for step in range(count):
        remove_files(posix, str(tmp_path / f"m-{step}"))
    listed = dict(tf.train.list_variables(prefix))
    assert listed == {name: list(array.shape) for name, array in state.items()} | {"p": [20, 4]}
    state["p"] = full
    for name, array in state.items():
        (found,) = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=[name],
            shape_and_slices=[""],
            dtypes=[tf.string if array.dtype == object else tf.as_dtype(array.dtype)],
        )
        cases.assert_identical(found.numpy(), array)
    (part,) = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=["p"], shape_and_slices=["20 4 8,12:-"], dtypes=[tf.float32]
    )
    assert part.numpy().tolist() == full[8:].tolist()


def test_tensorflow_writes_over_it(tf: Any, tmp_path: Path) -> None:
    """TensorFlow replaces data files by renaming: the other checkpoint keeps its own."""
    posix = PosixStorage()
    first, second = str(tmp_path / "m-1"), str(tmp_path / "m-2")
    save(posix, first, model())
    save(posix, second, model(), previous=first)
    tf.raw_ops.SaveV2(prefix=first, tensor_names=["w"], shape_and_slices=[""], tensors=[tf.ones(9)])
    assert_holds(posix, second, model())


def test_a_checkpoint_of_tensorflow_is_linked_where_it_is_aligned(tf: Any, tmp_path: Path) -> None:
    """It packs without gaps: a memory map of such a tensor could not be used as an array."""
    posix = PosixStorage()
    first, second = str(tmp_path / "m-1"), str(tmp_path / "m-2")
    state = {"a": np.arange(4000.0), "b": np.arange(3.0), "c": np.arange(9.0)}
    tf.raw_ops.SaveV2(
        prefix=first,
        tensor_names=list(state),
        shape_and_slices=[""] * 3,
        tensors=list(state.values()),
    )
    assert save(posix, second, state, previous=first).linked_bytes == 4000 * 8 + 3 * 8
    assert_holds(posix, second, state)
