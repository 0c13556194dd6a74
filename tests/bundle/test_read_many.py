"""Many tensors at once, into arrays of the caller, as maps, and parts of them."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.bundle.bundle_files import BundleFiles
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.v1_writer import stage_v1
from ckptmgr.formats.bundle_entry import BundleHeader, decode_header, encode_header
from ckptmgr.formats.table_reader import decode_table
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.storage import MemoryStorage, PosixStorage, Storage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage

BIG = np.random.default_rng(0).random((5000, 300))  # 12 MB: several threads
MIXED = {**cases.ALL, "big": BIG, "medium": BIG[:40]}


@pytest.fixture(params=[MemoryStorage, PosixStorage])
def storage(request: pytest.FixtureRequest) -> Storage:
    made: Storage = request.param()
    return made


@pytest.fixture
def prefix(storage: Storage, tmp_path: Path) -> str:
    storage.make_dirs(str(tmp_path))
    return str(tmp_path / "m")


def rewrite(storage: Storage, path: str, content: bytes) -> None:
    storage.unlink(path)
    file = storage.create(path)
    file.write([content], 0)
    file.close()


def content_of(storage: Storage, path: str) -> bytearray:
    file = storage.open(path)
    return bytearray(file.read(0, file.size_bytes))


# --------------------------------------------------------------------------- values


@pytest.mark.parametrize("alignment_bytes", [1, 64])
@pytest.mark.parametrize("num_shards", [1, 3])
def test_every_kind(storage: Storage, prefix: str, alignment_bytes: int, num_shards: int) -> None:
    names = sorted(MIXED)
    shards = [
        cases.named({name: MIXED[name] for name in names[i::num_shards]}) for i in range(num_shards)
    ]
    shards[-1] += cases.parts("parted", BIG, np.s_[0:2000, :], np.s_[2000:5000, :])
    cases.save(storage, prefix, *shards, alignment_bytes=alignment_bytes)
    with BundleReader(storage, prefix) as reader:
        reader.verify()
        found = reader.read_many()
        assert list(found) == list(reader.entries())
        for name, array in {**MIXED, "parted": BIG}.items():
            cases.assert_identical(found[name], cases.restored(array))
            assert found[name].flags.writeable
            assert found[name].flags.aligned
        some = reader.read_many(["float32", "big"])
        assert list(some) == ["float32", "big"]
        targets = {
            name: np.zeros_like(cases.restored(array))
            for name, array in {**MIXED, "parted": BIG}.items()
        }
        filled = reader.read_many(into=targets)
        for name, target in targets.items():
            assert filled[name] is target
            cases.assert_identical(target, found[name])


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.sampled_from(["u1", "<f2", "<f8"]), st.lists(st.integers(0, 60), max_size=3)),
        max_size=30,
    ),
    st.sampled_from([1, 8, 64]),
)
def test_any_shapes(forms: dict[str, tuple[str, list[int]]], alignment_bytes: int) -> None:
    rng = np.random.default_rng(len(forms))
    tensors = {
        name: rng.integers(0, 100, tuple(shape)).astype(dtype)
        for name, (dtype, shape) in forms.items()
    }
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named(tensors), alignment_bytes=alignment_bytes)
    with BundleReader(memory, "m") as reader:
        for name, array in reader.read_many().items():
            cases.assert_identical(array, tensors[name])
        reader.verify()


def test_small_arrays_do_not_overlap(storage: Storage, prefix: str) -> None:
    tensors = {f"w{i}": np.full(7, i) for i in range(50)}
    cases.save(storage, prefix, cases.named(tensors))
    with BundleReader(storage, prefix) as reader:
        found = reader.read_many()
    for array in found.values():
        array[...] += 1000
    for i in range(50):
        assert found[f"w{i}"].tolist() == [1000 + i] * 7


def test_a_single_tensor_shares_memory_with_none(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"a": np.ones(3), "b": np.ones(3)}))
    with BundleReader(storage, prefix) as reader:
        assert reader.read("a").flags.owndata


def test_many_small_tensors_are_read_with_one_call() -> None:
    memory = MemoryStorage()
    tensors = {f"w{i}": np.full((16, 16), i) for i in range(1000)}
    cases.save(memory, "m", cases.named(tensors))
    observed = ObservedStorage(memory)
    with BundleReader(observed, "m") as reader:
        observed.calls.clear()
        found = reader.read_many()
    assert [path for operation, path in observed.calls if operation == "read"] == [
        "m.data-00000-of-00001"
    ]
    assert all((found[name] == array).all() for name, array in tensors.items())


def big_endian(memory: MemoryStorage, tensors: dict[str, cases.Array]) -> None:
    """The bundle of a big-endian machine."""
    swapped = {}
    for name, array in tensors.items():
        width = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
        swapped[name] = array.view(f"u{width}").byteswap().view(array.dtype)
    cases.save(memory, "m", cases.named(swapped))
    (key, header), *entries = [*decode_table(bytes(content_of(memory, "m.index"))).items()]
    assert not decode_header(header).big_endian
    header = encode_header(BundleHeader(1, big_endian=True))
    rewrite(memory, "m.index", encode_table([(key, header), *entries]))


def test_big_endian_bundle() -> None:
    memory = MemoryStorage()
    tensors: dict[str, cases.Array] = {
        "a": np.arange(6, dtype=np.int16),
        "b": np.arange(6, dtype=np.float64).reshape(2, 3),
        "c": np.array([1 + 2j, 3 - 4j], np.complex64),
        "d": np.arange(30_000, dtype=np.float32),
    }
    big_endian(memory, tensors)
    with BundleReader(memory, "m") as reader:
        found = reader.read_many()
        for name, array in tensors.items():
            cases.assert_identical(reader.read(name), array)
            cases.assert_identical(found[name], array)
            cases.assert_identical(reader.map(name), array)
            target = np.zeros_like(array)
            reader.read_into(name, target)
            cases.assert_identical(target, array)
        part = TensorSlice((Extent(7, 3),))
        found_part = reader.read_slice("d", part, verify=False)
        cases.assert_identical(found_part, tensors["d"][7:10])


# --------------------------------------------------------------------------- targets

TARGETS: dict[str, Any] = {
    "contiguous": np.zeros_like,
    "fortran": lambda a: np.zeros_like(a, order="F"),
    "strided": lambda a: np.zeros((a.shape[0] * 2, a.shape[1]), a.dtype)[::2],
    "reversed": lambda a: np.zeros_like(a)[::-1],
    "other byte order": lambda a: np.zeros(a.shape, a.dtype.newbyteorder(">")),
    "unaligned": lambda a: np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "part of another": lambda a: np.zeros((3, *a.shape), a.dtype)[1],
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("rows", [3, 4000])
def test_target_of_any_layout(storage: Storage, prefix: str, kind: str, rows: int) -> None:
    cases.save(storage, prefix, cases.named({"a": BIG[:2], "w": BIG[:rows], "z": BIG[:2]}))
    target = TARGETS[kind](BIG[:rows])
    with BundleReader(storage, prefix) as reader:
        assert reader.read_many(into={"w": target})["w"] is target
        np.testing.assert_array_equal(target, BIG[:rows])
        target[...] = 0
        reader.read_into("w", target)
        np.testing.assert_array_equal(target, BIG[:rows])


def test_contiguous_target_is_read_into_without_a_copy() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named({"w": BIG}))
    addresses = set()
    target = np.zeros_like(BIG)

    class File:
        path = "d"
        size_bytes = BIG.nbytes

        def __init__(self, file: Any) -> None:
            self.file = file

        def read_into(self, buffer: memoryview, offset: int) -> int:
            address = np.frombuffer(buffer, np.uint8).ctypes.data
            addresses.add(address - offset == target.ctypes.data)
            count: int = self.file.read_into(buffer, offset)
            return count

        def close(self) -> None:
            self.file.close()

    with BundleReader(memory, "m") as reader:
        shards: Any = reader._files._shards
        shards[0] = File(shards[0])
        reader.read_into("w", target)
    assert addresses == {True}


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "shape": (np.zeros((2, 3)), errors.ShapeMismatch, r"'w': wanted shape \(2, 3\), found \(3,"),
    "rank": (np.zeros(900), errors.ShapeMismatch, r"'w': wanted shape \(900,\), found \(3, 300\)"),
    "dtype": (
        np.zeros((3, 300), np.float32),
        errors.DtypeMismatch,
        "'w': wanted dtype float32, found float64",
    ),
    "width": (
        np.zeros((3, 300), np.int64),
        errors.DtypeMismatch,
        "'w': wanted dtype int64, found float64",
    ),
    "read-only": (
        cases.read_only(np.zeros((3, 300))),
        errors.InvalidArgument,
        "'w': the array to read into is read-only",
    ),
    "no array": ([0.0], errors.InvalidArgument, "'w': wanted a NumPy array .*, found list"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("version", [1, 2])
def test_refused_before_anything_has_changed(case: str, version: int) -> None:
    memory = MemoryStorage()
    tensors = cases.named({"a": BIG[:3], "text": cases.strings(b"x"), "w": BIG[:3]})
    if version == 1:
        stage_v1(memory, "m", [tensors], cases.options()).publish()
    else:
        cases.save(memory, "m", tensors)
    bad, error, message = REFUSED[case]
    good = np.zeros((3, 300))
    with CheckpointReader("m", storage=memory) as reader:
        with pytest.raises(error, match=f"tensor {message}"):
            reader.get_tensors(into={"a": good, "w": bad})
        with pytest.raises(errors.DtypeMismatch, match="tensor 'text'"):
            reader.get_tensors(into={"a": good, "text": np.zeros(1)})
        with pytest.raises(errors.TensorNotFound, match="'lost'"):
            reader.get_tensors(into={"a": good, "lost": good})
        with pytest.raises(errors.TensorNotFound, match="'w' has an array .* not among"):
            reader.get_tensors(["a"], into={"a": good, "w": good})
        with pytest.raises(errors.TensorNotFound, match="lost"):
            reader.get_tensors(["a", "lost"], into={"a": good})
        assert not good.any()
        text = cases.strings(b"")
        found = reader.get_tensors(into={"a": good, "text": text})
        assert found["a"] is good
        np.testing.assert_array_equal(good, BIG[:3])
        assert text.tolist() == [b"x"]


def test_a_damaged_file_is_refused_before_anything_has_changed() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named({"a": BIG[:3], "w": BIG}))
    path = "m.data-00000-of-00001"
    rewrite(memory, path, bytes(content_of(memory, path)[:-1]))
    good = np.zeros((3, 300))
    with BundleReader(memory, "m") as reader:
        with pytest.raises(errors.TruncatedFile, match="tensor 'w'"):
            reader.read_many(into={"a": good})
        assert not good.any()


def test_a_second_shard_that_is_cut_off() -> None:
    """Nothing of the first has been read when it is refused, and its tensor is named."""
    memory = MemoryStorage()
    small = {f"w{i:02d}": BIG[i, :8] for i in range(40)}
    cases.save(memory, "m", cases.named({"a": BIG[:3]}), cases.named(small))
    path = "m.data-00001-of-00002"
    rewrite(memory, path, bytes(content_of(memory, path)[: 30 * 64]))
    good = np.zeros((3, 300))
    with BundleReader(memory, "m") as reader:
        with pytest.raises(errors.TruncatedFile, match=f"{path}: the file ends .*tensor 'w30'"):
            reader.read_many(into={"a": good})
        assert not good.any()


@pytest.mark.parametrize("name", ["a", "b", "w", "empty"])
def test_damaged_tensor_among_many(name: str) -> None:
    memory = MemoryStorage()
    tensors = {"a": BIG[:1], "b": BIG[:2], "w": BIG, "empty": np.zeros((0, 3))}
    cases.save(memory, "m", cases.named(tensors))
    table = dict(decode_table(bytes(content_of(memory, "m.index"))))
    value = bytearray(table[name.encode()])
    value[-1] ^= 1  # of the checksum
    table[name.encode()] = bytes(value)
    rewrite(memory, "m.index", encode_table(table.items()))
    with BundleReader(memory, "m") as reader:
        for read in (reader.read_many, reader.verify):
            with pytest.raises(errors.ChecksumMismatch) as caught:
                read()
            assert (caught.value.path, caught.value.tensor) == ("m.data-00000-of-00001", name)


def test_more_shards_than_are_kept_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptmgr.bundle.bundle_files.MAX_OPEN_SHARDS", 4)
    memory = MemoryStorage()
    values = {f"w{i}": np.full(3, i) for i in range(10)}
    cases.save(memory, "m", *(cases.named({name: array}) for name, array in values.items()))
    with BundleReader(memory, "m") as reader:
        found = reader.read_many()
        assert len(reader._files._shards) <= 4
    for name, array in values.items():
        cases.assert_identical(found[name], array)


# --------------------------------------------------------------------------- maps


def test_map(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named(MIXED))
    with CheckpointReader(prefix, mmap=True, storage=storage) as reader:
        found = {name: reader.get_tensor(name) for name in MIXED}
        for name, array in {**found, **reader.get_tensors()}.items():
            cases.assert_identical(array, cases.restored(MIXED[name]))
            if isinstance(array, np.ndarray):
                assert not array.flags.writeable
        if isinstance(storage, PosixStorage):
            assert np.shares_memory(found["big"], reader.get_tensor("big"))


def test_map_outlives_reader_and_file(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"w": BIG, "x": BIG[:9]}))
    with BundleReader(storage, prefix) as reader:
        mapped = reader.map("w")
    storage.unlink(f"{prefix}.data-00000-of-00001")
    del reader
    gc.collect()
    np.testing.assert_array_equal(mapped, BIG)


def test_map_goes_with_the_last_array(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    cases.save(PosixStorage(), prefix, cases.named({"w": BIG}))

    def is_mapped() -> bool:
        return prefix in Path("/proc/self/maps").read_text(encoding="utf-8")

    with BundleReader(PosixStorage(), prefix) as reader:
        mapped = reader.map("w")
    assert is_mapped()
    del mapped
    gc.collect()
    assert not is_mapped()


def test_map_is_verified_once_and_when_it_is_asked_for() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named({"a": BIG, "w": BIG}))
    path = "m.data-00000-of-00001"
    content = content_of(memory, path)
    content[-1] ^= 1
    rewrite(memory, path, bytes(content))
    observed = ObservedStorage(memory)
    with BundleReader(observed, "m") as reader:
        observed.calls.clear()
        np.testing.assert_array_equal(reader.map("a"), BIG)
        assert ("read", path) in observed.calls
        observed.calls.clear()
        np.testing.assert_array_equal(reader.map("a"), BIG)
        assert observed.calls == []
        for _ in range(2):
            with pytest.raises(errors.ChecksumMismatch, match="tensor 'w'"):
                reader.map("w")


@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16, np.uint8])
def test_map_of_a_packed_file(storage: Storage, prefix: str, dtype: Any) -> None:
    """As TensorFlow writes it: what is not aligned is read."""
    tensors = {"a": np.ones(3, np.uint8), "w": np.arange(5).astype(dtype)}
    cases.save(storage, prefix, cases.named(tensors), alignment_bytes=1)
    with BundleReader(storage, prefix) as reader:
        found = reader.map("w")
        cases.assert_identical(found, tensors["w"])
        assert found.flags.aligned


def test_map_of_a_closed_reader(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"w": BIG}))
    with BundleReader(storage, prefix) as reader:
        reader.map("w")
    with pytest.raises(errors.InvalidArgument, match="is closed"):
        reader.map("w")


def test_map_holds_no_shard_twice(storage: Storage, prefix: str) -> None:
    cases.save(storage, prefix, cases.named({"v": BIG, "w": BIG}))
    files = BundleFiles(storage, prefix)
    first, second = (files.mapped(name, entry) for name, entry in files.index.entries().items())
    assert first.obj is second.obj
    files.close()


# --------------------------------------------------------------------------- parts

PARTS: dict[str, tuple[list[Extent], Any]] = {
    "rows": ([Extent(10, 20), Extent()], np.s_[10:30]),
    "one row": ([Extent(4999, 1), Extent()], np.s_[4999:]),
    "a corner": ([Extent(4990, 10), Extent(290, 10)], np.s_[4990:, 290:]),
    "all": ([Extent(), Extent()], np.s_[:]),
    "columns": ([Extent(), Extent(1, 2)], np.s_[:, 1:3]),
}


@pytest.mark.parametrize("case", PARTS)
@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_part(case: str, verify: bool, version: int) -> None:
    memory = MemoryStorage()
    tensors = cases.named({"a": BIG[:1], "w": BIG})
    if version == 1:
        stage_v1(memory, "m", [tensors], cases.options()).publish()
    else:
        cases.save(memory, "m", tensors)
    extents, index = PARTS[case]
    with CheckpointReader("m", storage=memory) as reader:
        found = reader.get_slice("w", TensorSlice(tuple(extents)), verify=verify)
        cases.assert_identical(found, np.ascontiguousarray(BIG[index]))
        assert found.base is None or case == "all"


def test_part_is_read_alone_only_unverified(tmp_path: Path) -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named({"w": BIG}))
    path = "m.data-00000-of-00001"
    content = content_of(memory, path)
    content[-1] ^= 1
    rewrite(memory, path, bytes(content))
    part = TensorSlice((Extent(3, 2), Extent()))
    with BundleReader(memory, "m") as reader:
        with pytest.raises(errors.ChecksumMismatch):
            reader.read_slice("w", part)
        cases.assert_identical(reader.read_slice("w", part, verify=False), BIG[3:5])


@pytest.mark.parametrize("name", ["scalar", "scalar_string", "empty", "strings"])
def test_part_of_what_has_no_rows(name: str) -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named(cases.ALL))
    array = cases.restored(cases.ALL[name])
    with BundleReader(memory, "m") as reader:
        found = reader.read_slice(name, TensorSlice.full(array.ndim), verify=False)
        cases.assert_identical(found, array)
