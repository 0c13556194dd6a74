from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.bundle import bundle_files
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.storage import MemoryStorage, PosixStorage, Storage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage


@pytest.fixture(params=[MemoryStorage, PosixStorage])
def storage(request: pytest.FixtureRequest) -> Storage:
    made: Storage = request.param()
    return made


@pytest.fixture
def prefix(storage: Storage, tmp_path: Path) -> str:
    storage.make_dirs(str(tmp_path))
    return str(tmp_path / "model.ckpt-7")


# --------------------------------------------------------------------------- values


@pytest.mark.parametrize("alignment_bytes", [1, 64])
def test_every_kind_of_tensor(storage: Storage, prefix: str, alignment_bytes: int) -> None:
    cases.save(storage, prefix, cases.named(cases.ALL), alignment_bytes=alignment_bytes)
    with BundleReader(storage, prefix) as reader:
        assert list(reader.entries()) == sorted(cases.ALL)
        reader.verify()
        for name, array in cases.ALL.items():
            assert name in reader
            cases.assert_identical(reader.read(name), cases.restored(array))


def test_shards(storage: Storage, prefix: str) -> None:
    names = sorted(cases.ALL)
    shards = [cases.named({name: cases.ALL[name] for name in names[i::3]}) for i in range(3)]
    cases.save(storage, prefix, *shards, [])
    with BundleReader(storage, prefix) as reader:
        assert reader.num_shards == 4
        assert {entry.shard_id for entry in reader.entries().values()} == {0, 1, 2}
        for name, array in cases.ALL.items():
            cases.assert_identical(reader.read(name), cases.restored(array))


def test_no_tensors(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, [])
    with BundleReader(storage, prefix) as reader:
        assert reader.entries() == {}
        reader.verify()


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: not name.startswith("\0"))


@given(
    st.dictionaries(
        NAMES,
        st.one_of(
            st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9).map(
                lambda values: np.array(values, np.int32)
            ),
            st.lists(st.binary(max_size=9), max_size=5).map(lambda v: cases.strings(*v)),
        ),
        max_size=8,
    )
)
def test_any_names_and_values(tensors: Mapping[str, cases.Array]) -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named(tensors))
    with BundleReader(memory, "m") as reader:
        assert set(reader.entries()) == set(tensors)
        for name, array in tensors.items():
            cases.assert_identical(reader.read(name), array)


# --------------------------------------------------------------------------- slices

FULL = np.arange(60, dtype=np.float32).reshape(5, 4, 3)


def as_slice(index: tuple[slice, ...], shape: tuple[int, ...]) -> TensorSlice:
    extents = []
    for part, size in zip(index, shape, strict=True):
        start, stop, _ = part.indices(size)
        extents.append(Extent() if part == slice(None) else Extent(start, stop - start))
    return TensorSlice(tuple(extents))


STORED: dict[str, list[tuple[slice, ...]]] = {
    "whole": [np.s_[0:5, 0:4, 0:3]],
    "rows": [np.s_[0:2, :, :], np.s_[2:3, :, :], np.s_[3:5, :, :]],
    "columns": [np.s_[:, 0:3, :], np.s_[:, 3:4, :]],
    "depth": [np.s_[:, :, 0:1], np.s_[:, :, 1:3]],
    "grid": [np.s_[a, b, :] for a in (np.s_[0:1], np.s_[1:5]) for b in (np.s_[0:2], np.s_[2:4])],
    "uneven": [np.s_[0:5, 0:1, :], np.s_[0:2, 1:4, :], np.s_[2:5, 1:4, 0:2], np.s_[2:5, 1:4, 2:3]],
}
ASKED = [
    np.s_[:, :, :],
    np.s_[0:5, 0:4, 0:3],
    np.s_[2:3, :, :],
    np.s_[1:4, 1:3, 1:2],
    np.s_[4:5, 3:4, 2:3],
    np.s_[:, 0:2, :],
]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex128", "bool", "int4"])
def test_slices(storage: Storage, prefix: str, stored: str, dtype: str) -> None:
    full = cases.numbers(dtype, FULL.shape)
    tensors = cases.parts("w", full, *STORED[stored])
    cases.save(storage, prefix, tensors[::2], [*tensors[1::2], NamedTensor("b", np.ones(2))])
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        assert list(reader.entries()) == ["b", "w"]
        assert reader.entry("w").shape == full.shape
        assert reader.stored_bytes("w") == full.nbytes
        cases.assert_identical(reader.read("w"), full)
        for index in ASKED:
            found = reader.read_slice("w", as_slice(index, full.shape))
            cases.assert_identical(found, np.ascontiguousarray(full[index]))


def test_slices_of_scalars_and_strings(storage: Storage, prefix: str) -> None:
    tensors = {"scalar": np.array(1.5), "text": np.array(b"x", object), "row": cases.ALL["strings"]}
    cases.save(storage, prefix, cases.named(tensors))
    with BundleReader(storage, prefix) as reader:
        for name in ("scalar", "text"):
            found = reader.read_slice(name, TensorSlice.full(0))
            cases.assert_identical(found, tensors[name])
        found = reader.read_slice("row", TensorSlice((Extent(1, 2),)))
        assert found.tolist() == [b"a\0b\0", b"\xff\xfe"]


def test_slice_does_not_keep_the_whole_alive(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"w": FULL}))
    with BundleReader(storage, prefix) as reader:
        part = reader.read_slice("w", as_slice(np.s_[0:1, :, :], FULL.shape))
    assert part.base is None


@pytest.mark.parametrize("part", [TensorSlice((Extent(4, 2), Extent(), Extent())), TensorSlice(())])
def test_slice_that_does_not_fit(storage: Storage, prefix: str, part: TensorSlice) -> None:
    cases.save(storage, prefix, cases.named({"w": FULL}))
    with (
        BundleReader(storage, prefix) as reader,
        pytest.raises(errors.InvalidArgument, match=r"tensor 'w': slice .* shape \(5, 4, 3\)"),
    ):
        reader.read_slice("w", part)


# --------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["zz", "", "\0p", "\0", "\ud800"])
def test_name_that_is_not_there(storage: Storage, prefix: str, name: str) -> None:
    cases.save(storage, prefix, cases.parts("p", FULL, *STORED["rows"]))
    with BundleReader(storage, prefix) as reader:
        for _ in ("before listing", "after listing"):
            assert name not in reader
            with pytest.raises(errors.TensorNotFound, match="not found in checkpoint .*ckpt-7"):
                reader.read(name)
            reader.entries()


def test_near_misses(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"layer1/kernel": FULL, "layer1/bias": FULL}))
    with (
        BundleReader(storage, prefix) as reader,
        pytest.raises(errors.TensorNotFound, match="Did you mean 'layer1/kernel'"),
    ):
        reader.read("kernel")


# --------------------------------------------------------------------------- files come and go


def test_missing(storage: Storage, prefix: str) -> None:
    with pytest.raises(errors.CheckpointNotFound, match=r"model.ckpt-7.index does not exist"):
        BundleReader(storage, prefix)


def test_reads_on_after_deletion(storage: Storage, prefix: str) -> None:
    full = np.arange(4)
    cases.save(storage, prefix, cases.named({"w": full}), cases.named({"v": full}))
    directory = str(Path(prefix).parent)
    with BundleReader(storage, prefix) as reader:
        for name in storage.list_dir(directory):
            storage.unlink(f"{directory}/{name}")
        cases.assert_identical(reader.read("w"), full)
        cases.assert_identical(reader.read("v"), full)


def test_reads_on_after_replacement(storage: Storage, prefix: str) -> None:
    for value in range(4):
        cases.save(storage, prefix, cases.named({"w": np.full(9, value)}))
        if value == 0:
            reader = BundleReader(storage, prefix)
    with reader:
        cases.assert_identical(reader.read("w"), np.full(9, 0))


def test_after_close(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"w": FULL}))
    reader = BundleReader(storage, prefix)
    reader.close()
    reader.close()
    with pytest.raises(errors.InvalidArgument, match="the reader of checkpoint .* is closed"):
        reader.read("w")


def generation(value: int) -> list[NamedTensor]:
    return cases.named({"w": np.full(50, value), "s": cases.strings(b"%d" % value)})


@pytest.mark.parametrize("saves", [1, 2, 3])
@pytest.mark.parametrize("moment", ["index", "data"])
def test_replaced_while_it_is_opened(saves: int, moment: str) -> None:
    """After two saves the shards have their old names again, with other contents."""
    memory = MemoryStorage()
    cases.save(memory, "m", generation(0))
    values = iter(range(1, saves + 1))
    opened = []

    def replace(operation: str, path: str) -> None:
        opened.append(path)
        if moment in path:
            for value in values:
                cases.save(memory, "m", generation(value))

    observed = ObservedStorage(memory, after=replace)
    with BundleReader(observed, "m") as reader:
        reader.verify()
        cases.assert_identical(reader.read("w"), np.full(50, saves))
    closed = [path for operation, path in observed.calls if operation == "close"]
    assert sorted(opened) == sorted(closed)


def test_replaced_again_and_again() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", generation(0))

    def replace(operation: str, path: str) -> None:
        if operation == "open" and path == "m.index":
            cases.save(memory, "m", generation(1))

    with pytest.raises(errors.CheckpointNotFound, match=r"m.index was replaced 20 times"):
        BundleReader(ObservedStorage(memory, after=replace), "m")


def test_deleted_while_it_is_opened() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", generation(0))

    def delete(operation: str, path: str) -> None:
        if operation == "open" and path == "m.index":
            for name in memory.list_dir("."):
                memory.unlink(name)

    with pytest.raises(errors.CheckpointNotFound):
        BundleReader(ObservedStorage(memory, after=delete), "m")


def test_rewritten_in_place_while_it_is_opened() -> None:
    """As TensorFlow's merge does: the reader meets a half of an index, then all of it."""
    memory = MemoryStorage()
    cases.save(memory, "m", generation(0))
    file = memory.open("m.index")
    whole = file.read(0, file.size_bytes)
    memory.unlink("m.index")
    writer = memory.create("m.index")
    writer.write([whole[: len(whole) // 2]], 0)

    def finish(operation: str, path: str) -> None:
        if path == "m.index":
            writer.write([whole], 0)
            observed.after = lambda *_: None

    observed = ObservedStorage(memory, after=finish)

    with BundleReader(observed, "m") as reader:
        cases.assert_identical(reader.read("w"), np.full(50, 0))


def test_files_are_closed_when_opening_fails() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", generation(0), generation(1)[:0])

    def refuse(operation: str, path: str) -> None:
        if operation == "open" and path.endswith("00001-of-00002"):
            raise errors.PermissionDenied(13, "no", path)

    observed = ObservedStorage(memory, before=refuse)
    with pytest.raises(errors.PermissionDenied):
        BundleReader(observed, "m")
    closed = [path for operation, path in observed.calls if operation == "close"]
    assert sorted(closed) == ["m.data-00000-of-00002", "m.index"]


def test_missing_shard(storage: Storage, prefix: str) -> None:
    tensors: dict[str, cases.Array] = {"empty": np.zeros((0, 2)), "w": FULL}
    cases.save(storage, prefix, cases.named({"a": FULL}), cases.named(tensors))
    shard = f"{prefix}.data-00001-of-00002"
    storage.unlink(shard)
    with BundleReader(storage, prefix) as reader:
        cases.assert_identical(reader.read("a"), FULL)
        cases.assert_identical(reader.read("empty"), tensors["empty"])
        with pytest.raises(errors.MissingShard) as caught:
            reader.read("w")
        assert (caught.value.path, caught.value.tensor) == (shard, "w")
        with pytest.raises(errors.MissingShard):
            reader.verify()


def test_more_shards_than_are_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "MAX_OPEN_SHARDS", 4)
    memory = MemoryStorage()
    values = {f"w{i}": np.full(3, i) for i in range(10)}
    cases.save(memory, "m", *(cases.named({name: array}) for name, array in values.items()))
    observed = ObservedStorage(memory)
    with BundleReader(observed, "m") as reader:
        assert [path for operation, path in observed.calls if operation == "open"] == ["m.index"]
        for name, array in values.items():
            cases.assert_identical(reader.read(name), array)
            assert len(reader._files._shards) <= 4
        reader.verify()


def test_several_threads() -> None:
    memory = MemoryStorage()
    names = [f"{i * 2654435761 % 2**32:08x}/{'x' * 60}" for i in range(20_000)]
    cases.save(memory, "m", cases.named({name: np.array([i]) for i, name in enumerate(names)}))
    with BundleReader(memory, "m") as reader, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(reader.read, names[::10]))
    assert [int(array[0]) for array in found] == list(range(0, 20_000, 10))


# --------------------------------------------------------------------------- damage


def small_bundle() -> MemoryStorage:
    memory = MemoryStorage()
    tensors = {
        "f": np.array([1.5, -2.0], np.float32),
        "s": cases.strings(b"", b"ab"),
        "e": np.zeros((0, 2), np.int8),
    }
    p = cases.parts("p", np.arange(4, dtype=np.int16), np.s_[0:1,], np.s_[1:4,])
    cases.save(memory, "m", [*cases.named(tensors), *p], alignment_bytes=8)
    return memory


def read_all(storage: Storage) -> dict[str, Any]:
    with BundleReader(storage, "m") as reader:
        values = {name: reader.read(name) for name in reader.entries()}
        reader.verify()
    return {name: (a.dtype, a.shape, a.tolist()) for name, a in values.items()}


def with_file(storage: Storage, path: str, content: bytes) -> None:
    storage.unlink(path)
    file = storage.create(path)
    file.write([content], 0)
    file.close()


def contents(storage: Storage, path: str) -> bytes:
    file = storage.open(path)
    return file.read(0, file.size_bytes)


def damaged(path: str, kind: str) -> Iterator[tuple[str, MemoryStorage]]:
    memory = small_bundle()
    sound = contents(memory, path)
    for position in range(len(sound)):
        content = bytearray(sound[:position] if kind == "cut" else sound)
        if kind != "cut":
            content[position] ^= int(kind, 16)
        with_file(memory, path, bytes(content))
        yield f"byte {position} of {path}", memory


@pytest.mark.parametrize("path", ["m.index", "m.data-00000-of-00001"])
@pytest.mark.parametrize("kind", ["01", "80", "ff", "cut"])
def test_every_damaged_byte_is_noticed_or_harmless(path: str, kind: str) -> None:
    expected = read_all(small_bundle())
    noticed = harmless = 0
    for where, storage in damaged(path, kind):
        try:
            found = read_all(storage)
        except errors.CorruptCheckpoint as error:
            noticed += (error.path or "").startswith("m.")
        else:
            assert found == expected, where
            harmless += 1
    # Gaps between tensors, and the padding in the footer of the index.
    info = small_bundle().stat(path)
    assert info is not None
    assert noticed + harmless == info.size_bytes
    assert noticed >= 3 * harmless > 0 or kind == "cut"


def test_dtype_of_a_variant(golden: Path) -> None:
    with BundleReader(PosixStorage(), str(golden / "v2_variant" / "model")) as reader:
        assert reader.entry("lst").dtype == DataType.DT_VARIANT
        with pytest.raises(errors.UnsupportedDtype, match="tensor 'lst': .* variant"):
            reader.read("lst")
        reader.verify()
        plain = next(name for name in reader.entries() if name != "lst")
        reader.read(plain)


def test_damaged_variant(golden: Path) -> None:
    memory = MemoryStorage()
    for suffix in ("index", "data-00000-of-00001"):
        file = memory.create(f"m.{suffix}")
        file.write([(golden / "v2_variant" / f"model.{suffix}").read_bytes()], 0)
    with BundleReader(memory, "m") as reader:
        entry = reader.entry("lst")
    content = bytearray(contents(memory, "m.data-00000-of-00001"))
    content[entry.offset + entry.size_bytes // 2] ^= 1
    with_file(memory, "m.data-00000-of-00001", bytes(content))
    with (
        BundleReader(memory, "m") as reader,
        pytest.raises(errors.ChecksumMismatch, match=r"m\.data.*element 0.*tensor 'lst'"),
    ):
        reader.verify()
