from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ckptmgr import errors, naming
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.writer import StagedBundle, stage
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.storage import MemoryStorage, PosixStorage, Storage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage

PREFIX = "run/model.ckpt-7"


def data(shard: int, of: int) -> str:
    return f"{PREFIX}.data-{shard:05d}-of-{of:05d}"


def tmp(path: str) -> str:
    return f"{path}.tmp-{cases.TOKEN}"


INDEX = f"{PREFIX}.index"


@pytest.fixture
def storage() -> ObservedStorage:
    observed = ObservedStorage()
    observed.make_dirs("run")
    return observed


def generation(value: int) -> list[NamedTensor]:
    """Tensors that tell which save they are from."""
    return cases.named({"w": np.full(100, value, np.int32), "b": np.full(3, value, np.float32)})


def stage_one(storage: Storage, value: int, *, durable: bool = True) -> StagedBundle:
    return stage(storage, PREFIX, [generation(value)], cases.options(durable=durable))


def value_at(storage: Storage, prefix: str = PREFIX) -> int:
    """Which save stands at the prefix; fails if it is torn."""
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        found = {int(x) for name in reader.entries() for x in reader.read(name)}
    (value,) = found
    return value


# --------------------------------------------------------------------------- order of calls


def test_nothing_is_seen_before_publish(storage: ObservedStorage) -> None:
    stage_one(storage, 1)
    assert storage.list_dir("run") == [
        os.path.basename(tmp(data(0, 1))),
        os.path.basename(tmp(INDEX)),
    ]
    with pytest.raises(errors.CheckpointNotFound):
        BundleReader(storage, PREFIX)


def test_durable_calls_in_order(storage: ObservedStorage) -> None:
    shards = [generation(1)[:1], generation(1)[1:]]
    stage(storage, PREFIX, shards, cases.options(durable=True)).publish()
    of_file = ("create", "preallocate", "write", "sync")
    published = [
        ("rename", data(0, 2)),
        ("rename", data(1, 2)),
        ("sync_dir", "run"),
        ("rename", INDEX),
        ("sync_dir", "run"),
    ]
    changes = storage.changes()
    staged, last = changes[: -len(published)], changes[-len(published) :]
    assert last == published
    # Shards are synced while the index is written; each file for itself is in order.
    for shard in (0, 1):
        path = tmp(data(shard, 2))
        assert [change for change in staged if change[1] == path] == [(op, path) for op in of_file]
    index = [change[0] for change in staged if change[1] == tmp(INDEX)]
    assert index == ["create", "write", "sync"]
    assert len(staged) == 11


def test_superseded_shards_go_last(storage: ObservedStorage) -> None:
    stage_one(storage, 1).publish()
    staged = stage_one(storage, 2)
    storage.calls.clear()
    staged.publish()
    assert storage.changes() == [
        ("rename", data(0, 2)),
        ("sync_dir", "run"),
        ("rename", INDEX),
        ("sync_dir", "run"),
        ("unlink", data(0, 1)),
    ]
    assert value_at(storage) == 2


def test_without_durability_nothing_is_synced(storage: ObservedStorage) -> None:
    for value in (1, 2):
        stage_one(storage, value, durable=False).publish()
    operations = [operation for operation, _ in storage.calls]
    assert "sync" not in operations
    assert "sync_dir" not in operations
    assert value_at(storage) == 2


# --------------------------------------------------------------------------- standing prefixes


def test_shard_counts_alternate(storage: ObservedStorage) -> None:
    for value in range(5):
        stage_one(storage, value).publish()
        assert value_at(storage) == value
        assert len(storage.list_dir("run")) == 2


def test_fewer_and_more_shards(storage: ObservedStorage) -> None:
    for value, count in enumerate((3, 1, 2, 3, 1)):
        shards: list[list[NamedTensor]] = [generation(value), *([] for _ in range(count - 1))]
        stage(storage, PREFIX, shards, cases.options()).publish()
        assert value_at(storage) == value
        assert len(storage.list_dir("run")) == count + 1


def test_published_by_another_since_staged(storage: ObservedStorage) -> None:
    staged = stage_one(storage, 1)
    size_bytes = staged.size_bytes
    stage(storage, PREFIX, [generation(2)], cases.options(token="f" * 32)).publish()
    assert value_at(storage) == 2
    staged.publish()
    assert value_at(storage) == 1
    assert storage.list_dir("run") == [os.path.basename(data(0, 2)), os.path.basename(INDEX)]
    assert staged.size_bytes == size_bytes


def test_shards_that_belong_to_nothing_are_replaced(storage: ObservedStorage) -> None:
    storage.create(data(0, 1)).close()
    stage_one(storage, 1).publish()
    assert value_at(storage) == 1
    assert storage.list_dir("run") == [os.path.basename(data(0, 1)), os.path.basename(INDEX)]


def test_neighbours_are_left_alone(storage: ObservedStorage) -> None:
    neighbours = [f"{PREFIX}0", f"{PREFIX}.best", "run/model.ckpt"]
    for value, prefix in enumerate(neighbours):
        stage(storage, prefix, [generation(value)], cases.options()).publish()
    for value in (8, 9):
        stage_one(storage, value).publish()
    assert [value_at(storage, prefix) for prefix in neighbours] == [0, 1, 2]


# --------------------------------------------------------------------------- failures


class Refused(errors.StorageError):
    """What an injected failure raises."""


def attempt(storage: ObservedStorage, value: int) -> bool:
    """Save; on any failure discard, as every caller does. Whether it succeeded."""
    staged = None
    try:
        staged = stage_one(storage, value)
        staged.publish()
    except Refused:
        if staged is not None:
            staged.discard()
        return False
    return True


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("standing", [False, True])
def test_failure_of_any_call(when: str, standing: bool) -> None:
    """One generation or the other is whole, and nothing else is left."""
    outcomes: set[int | None] = set()
    for failing_call in range(100):
        storage = ObservedStorage()
        storage.make_dirs("run")
        if standing:
            stage_one(storage, 1).publish()
        remaining = [failing_call]

        def fail(operation: str, path: str, remaining: list[int] = remaining) -> None:
            remaining[0] -= 1
            if remaining[0] == -1:
                raise Refused(5, f"injected at {operation} {path}")

        setattr(storage, when, fail)
        succeeded = attempt(storage, 2)
        storage.before = storage.after = lambda *_: None
        if storage.stat(INDEX) is None:
            assert not standing
            assert storage.list_dir("run") == []
            outcomes.add(None)
        else:
            outcomes.add(value_at(storage))
            # After the index's rename, what is superseded may stay for the next save.
            assert not any(map(naming.owner_of_temporary, storage.list_dir("run")))
        if remaining[0] >= 0:
            assert succeeded
            break
    else:
        pytest.fail("the save has more calls than this test tries")
    assert outcomes == ({1, 2} if standing else {None, 2})
    assert len(storage.list_dir("run")) == 2


def test_interrupted_right_after_the_index_took_its_name(storage: ObservedStorage) -> None:
    stage_one(storage, 1).publish()
    staged = stage_one(storage, 2)

    def interrupt(operation: str, path: str) -> None:
        if (operation, path) == ("rename", INDEX):
            raise KeyboardInterrupt

    storage.after = interrupt
    with pytest.raises(KeyboardInterrupt):
        staged.publish()
    staged.discard()
    assert value_at(storage) == 2


def test_discard_after_publish_does_nothing(storage: ObservedStorage) -> None:
    staged = stage_one(storage, 1)
    staged.publish()
    staged.discard()
    assert value_at(storage) == 1


def test_old_shards_that_cannot_be_removed_do_not_fail_the_save(storage: ObservedStorage) -> None:
    stage_one(storage, 1).publish()

    def refuse(operation: str, path: str) -> None:
        if operation == "unlink":
            raise Refused(13, f"cannot remove {path}")

    storage.before = refuse
    stage_one(storage, 2).publish()
    assert value_at(storage) == 2
    storage.before = lambda *_: None
    stage_one(storage, 3).publish()
    assert value_at(storage) == 3
    assert len(storage.list_dir("run")) == 2


def test_bad_tensor_leaves_nothing(storage: ObservedStorage) -> None:
    with pytest.raises(errors.UnsupportedDtype, match="tensor 'bad'"):
        stage(
            storage,
            PREFIX,
            [[*generation(1), NamedTensor("bad", np.zeros(1, "m8[s]"))]],
            cases.options(),
        )
    assert storage.changes() == []


def test_missing_directory() -> None:
    with pytest.raises(errors.FileMissing, match="run"):
        stage_one(MemoryStorage(), 1)


# --------------------------------------------------------------------------- bytes


def test_same_tensors_same_bytes() -> None:
    full = np.arange(20.0).reshape(5, 4)
    tensors = [*cases.named(cases.ALL), *cases.parts("p", full, np.s_[0:2, :], np.s_[2:5, :])]
    written = []
    for order in (tensors, tensors[::-1]):
        storage = MemoryStorage()
        cases.save(storage, "model", order)
        written.append([contents(storage, name) for name in storage.list_dir(".")])
    assert written[0] == written[1]


def contents(storage: Storage, path: str) -> bytes:
    file = storage.open(path)
    return file.read(0, file.size_bytes)


@pytest.mark.parametrize("alignment_bytes", [1, 64, 4096])
def test_size_and_alignment(storage: ObservedStorage, alignment_bytes: int) -> None:
    options = cases.options(alignment_bytes=alignment_bytes)
    staged = stage(storage, PREFIX, [cases.named(cases.ALL)], options)
    staged.publish()
    files = [storage.stat(f"run/{name}") for name in storage.list_dir("run")]
    assert staged.size_bytes == sum(file.size_bytes for file in files if file)
    with BundleReader(storage, PREFIX) as reader:
        assert {e.offset % alignment_bytes for e in reader.entries().values()} == {0}
        reader.verify()
    content = contents(storage, data(0, 1))
    for start, end in gaps(list(reader.entries().values()), len(content)):
        assert content[start:end] == bytes(end - start)


def gaps(entries: list[BundleEntry], size_bytes: int) -> list[tuple[int, int]]:
    spans = sorted((e.offset, e.offset + e.size_bytes) for e in entries)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), size_bytes]
    return list(zip(ends, starts, strict=True))


def test_many_small_and_one_large_tensor(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors: dict[str, cases.Array] = {
        f"small{i:04d}": rng.integers(0, 9, i % 50, np.int64) for i in range(3000)
    }
    tensors["middle"] = rng.random(3_000_001)
    tensors["small1500x"] = rng.random(7)
    prefix = str(tmp_path / "m")
    cases.save(PosixStorage(), prefix, cases.named(tensors))
    with BundleReader(PosixStorage(), prefix) as reader:
        assert list(reader.entries()) == sorted(tensors)
        for name, array in tensors.items():
            cases.assert_identical(reader.read(name), array)


def test_memory(tmp_path: Path) -> None:
    """Writing copies nothing, reading takes the result and no more."""
    full = np.zeros((8, 2**20), np.float32)
    tensors = [NamedTensor("w", full), *cases.parts("p", full, np.s_[0:5, :], np.s_[5:8, :])]
    prefix = str(tmp_path / "m")
    tracemalloc.start()
    try:
        cases.save(PosixStorage(), prefix, tensors)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        with BundleReader(PosixStorage(), prefix) as reader:
            for name in ("w", "p"):
                tracemalloc.reset_peak()
                array = reader.read(name)
                assert tracemalloc.get_traced_memory()[1] < array.nbytes + 2**20
                del array
            tracemalloc.reset_peak()
            reader.verify()
            assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()
