"""Writer and reader of V1 checkpoints, together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors, naming
from ckptmgr._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.bundle.v1_reader import V1Reader
from ckptmgr.bundle.v1_writer import StagedV1, stage_v1
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import CONTENTS_KEY, SavedTensor, encode_entries
from ckptmgr.formats.table_reader import decode_table
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, encode_slice_key
from ckptmgr.storage import MemoryStorage, PosixStorage, Storage
from tests.bundle import cases
from tests.bundle.observed_storage import ObservedStorage

WRITABLE = {
    name: array
    for name, array in cases.ALL.items()
    if dtypes.from_numpy(array.dtype) in dtypes.V1_WRITABLE
}


def save(storage: Storage, prefix: str, *shards: list[NamedTensor]) -> str:
    staged = stage_v1(storage, prefix, shards, cases.options())
    staged.publish()
    return staged.path


@pytest.mark.parametrize("storage", [MemoryStorage(), PosixStorage()], ids=["memory", "posix"])
def test_every_kind_of_tensor(storage: Storage, tmp_path: Path) -> None:
    storage.make_dirs(str(tmp_path))
    path = save(storage, str(tmp_path / "model"), cases.named(WRITABLE))
    assert path == str(tmp_path / "model")
    with V1Reader(storage, path) as reader:
        assert list(reader.entries()) == sorted(WRITABLE)
        reader.verify()
        for name, array in WRITABLE.items():
            assert name in reader
            cases.assert_identical(reader.read(name), cases.restored(array))


def test_shards() -> None:
    memory = MemoryStorage()
    names = sorted(WRITABLE)
    shards = [cases.named({name: WRITABLE[name] for name in names[i::3]}) for i in range(3)]
    path = save(memory, "m", *shards)
    assert path == "m-?????-of-00003"
    assert memory.list_dir(".") == [f"m-0000{i}-of-00003" for i in range(3)]
    with V1Reader(memory, path) as reader:
        assert reader.num_shards == 3
        assert list(reader.entries()) == names
        for name, array in WRITABLE.items():
            cases.assert_identical(reader.read(name), cases.restored(array))


FULL = np.arange(60, dtype=np.float32).reshape(5, 4, 3)


@pytest.mark.parametrize("shards", [1, 2])
def test_slices(shards: int) -> None:
    memory = MemoryStorage()
    tensors = cases.parts("w", FULL, np.s_[0:2, :, :], np.s_[2:5, 0:1, :], np.s_[2:5, 1:4, :])
    path = save(memory, "m", *(tensors[i::shards] for i in range(shards)))
    with V1Reader(memory, path) as reader:
        reader.verify()
        assert reader.entry("w").shape == FULL.shape
        assert len(reader.entry("w").slices) == 3
        cases.assert_identical(reader.read("w"), FULL)
        part = TensorSlice((Extent(1, 3), Extent(), Extent(2, 1)))
        cases.assert_identical(reader.read_slice("w", part), FULL[1:4, :, 2:3].copy())
        one = TensorSlice((Extent(2, 3), Extent(0, 1), Extent(0, 3)))
        cases.assert_identical(reader.read_slice("w", one), FULL[2:5, 0:1, :].copy())
        with pytest.raises(errors.InvalidArgument, match="tensor 'w': slice"):
            reader.read_slice("w", TensorSlice(()))


def test_order_of_tensors_makes_no_difference() -> None:
    tensors = [*cases.named(WRITABLE), *cases.parts("p", FULL, np.s_[0:2, :, :], np.s_[2:5, :, :])]
    written = []
    for order in (tensors, tensors[::-1]):
        memory = MemoryStorage()
        staged = stage_v1(memory, "m", [order], cases.options())
        staged.publish()
        info = memory.stat("m")
        assert info is not None
        assert staged.size_bytes == info.size_bytes
        written.append(memory.open("m").read(0, info.size_bytes))
    assert written[0] == written[1]


REFUSED: list[tuple[list[list[NamedTensor]], type[Exception], str]] = [
    (
        [cases.named({"w": cases.numbers("bfloat16")})],
        errors.UnsupportedDtype,
        "tensor 'w': a V1 checkpoint cannot hold dtype bfloat16; the V2 format can",
    ),
    ([cases.named({"w": FULL})] * 2, errors.DuplicateName, "two tensors have the name 'w'"),
    (
        [cases.named({"w": FULL}), cases.parts("w", FULL, np.s_[0:2, :, :])],
        errors.DuplicateName,
        "two tensors have the name 'w'",
    ),
    (
        [cases.parts("w", FULL, np.s_[0:2, :, :], np.s_[1:5, :, :])],
        errors.InvalidArgument,
        "tensor 'w': two stored slices overlap",
    ),
    (
        [cases.parts("w", FULL, np.s_[0:2, :, :]), cases.parts("w", FULL[:4], np.s_[2:4, :, :])],
        errors.InvalidArgument,
        "tensor 'w': its slices must agree",
    ),
    ([cases.named({"": FULL})], errors.InvalidName, "must not be empty"),
    ([], errors.InvalidArgument, "at least one shard"),
]


@pytest.mark.parametrize(("shards", "error", "message"), REFUSED)
def test_refused(shards: Sequence[list[NamedTensor]], error: type[Exception], message: str) -> None:
    memory = MemoryStorage()
    with pytest.raises(error, match=message):
        stage_v1(memory, "m", shards, cases.options())
    assert memory.list_dir(".") == []


@pytest.mark.parametrize("array", [np.ones((2, 3)), np.ones((0, 3)), np.array(1.0)])
def test_only_part(array: Any) -> None:
    memory = MemoryStorage()
    save(memory, "m", [NamedTensor("w", array, Partition(array.shape, (0,) * array.ndim))])
    with V1Reader(memory, "m") as reader:
        cases.assert_identical(reader.read("w"), array)


# --------------------------------------------------------------------------- order of calls


def generation(value: int) -> list[list[NamedTensor]]:
    return [
        cases.named({"a": np.full(9, value)}),
        cases.named({"b": np.full(9, value)}),
        cases.named({"c": np.full(9, value)}),
    ]


def stage_shards(storage: Storage, value: int, *, single: bool) -> StagedV1:
    shards = generation(value)
    return stage_v1(
        storage,
        "m",
        [[*shards[0], *shards[1], *shards[2]]] if single else shards,
        cases.options(durable=True),
    )


def value_at(storage: Storage, path: str) -> int:
    with V1Reader(storage, path) as reader:
        reader.verify()
        assert set(reader.entries()) == set("abc")
        (value,) = {int(x) for name in reader.entries() for x in reader.read(name)}
    return value


def test_durable_calls_in_order() -> None:
    storage = ObservedStorage()
    for value in (1, 2):
        storage.calls.clear()
        staged = stage_shards(storage, value, single=False)
        names = [f"m-0000{i}-of-00003" for i in range(3)]
        assert storage.changes() == [
            (operation, naming.temporary(name, cases.TOKEN))
            for name in names
            for operation in ("create", "write", "sync")
        ]
        storage.calls.clear()
        staged.publish()
        retired = [("unlink", names[0]), ("sync_dir", ".")] if value == 2 else []
        assert storage.changes() == [
            *retired,
            ("rename", names[1]),
            ("rename", names[2]),
            ("sync_dir", "."),
            ("rename", names[0]),
            ("sync_dir", "."),
        ]
    assert value_at(storage, staged.path) == 2


def test_single_file_is_one_rename() -> None:
    storage = ObservedStorage()
    stage_shards(storage, 1, single=True).publish()
    staged = stage_shards(storage, 2, single=True)
    storage.calls.clear()
    staged.publish()
    assert storage.changes() == [("rename", "m"), ("sync_dir", ".")]


def test_without_durability_nothing_is_synced() -> None:
    storage = ObservedStorage()
    for _ in range(2):
        stage_v1(storage, "m", generation(1), cases.options()).publish()
    assert not {"sync", "sync_dir"} & {operation for operation, _ in storage.calls}


class Refused(errors.StorageError):
    """What an injected failure raises."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("standing", [True, False])
def test_failure_of_any_call(when: str, single: bool, standing: bool) -> None:
    """Never a mixture of two saves, and no file of an unfinished one."""
    path = "m" if single else "m-?????-of-00003"
    outcomes = set()
    for failing_call in range(100):
        storage = ObservedStorage()
        if standing:
            stage_shards(storage, 1, single=single).publish()
        remaining = [failing_call]

        def fail(operation: str, path: str, remaining: list[int] = remaining) -> None:
            remaining[0] -= 1
            if remaining[0] == -1:
                raise Refused(5, f"injected at {operation} {path}")

        setattr(storage, when, fail)
        staged = None
        try:
            staged = stage_shards(storage, 2, single=single)
            staged.publish()
        except Refused:
            if staged is not None:
                staged.discard()
        storage.before = storage.after = lambda *_: None
        assert not any(map(naming.owner_of_temporary, storage.list_dir(".")))
        try:
            outcomes.add(value_at(storage, path))
        except (errors.CheckpointNotFound, errors.MissingShard):
            assert not (standing and single)
            assert standing or storage.list_dir(".") == []
            outcomes.add(0)
        if remaining[0] >= 0:
            break
    else:
        pytest.fail("the save has more calls than this test tries")
    assert outcomes == ({1} if standing else {0}) | {2} | ({0} if not single else set())


# --------------------------------------------------------------------------- files come and go


def test_missing() -> None:
    memory = MemoryStorage()
    for path in ("m", "m-?????-of-00002", "x/m"):
        with pytest.raises(errors.CheckpointNotFound):
            V1Reader(memory, path)
    path = save(memory, "m", *generation(1))
    memory.unlink("m-00001-of-00003")
    with pytest.raises(errors.MissingShard, match="m-00001-of-00003: a shard .* is missing"):
        V1Reader(memory, path)


def test_reads_on_after_deletion() -> None:
    memory = MemoryStorage()
    path = save(memory, "m", *generation(1))
    with V1Reader(memory, path) as reader:
        for name in memory.list_dir("."):
            memory.unlink(name)
        assert reader.read("b").tolist() == [1] * 9


def test_replaced_while_it_is_opened() -> None:
    memory = MemoryStorage()
    path = save(memory, "m", *generation(1))
    values = iter([2, 3])

    def replace(operation: str, path: str) -> None:
        if "00001" in path:
            for value in values:
                save(memory, "m", *generation(value))

    observed = ObservedStorage(memory, after=replace)
    assert value_at(observed, path) == 3


def test_name_that_is_not_there() -> None:
    memory = MemoryStorage()
    save(memory, "m", cases.named({"layer/w": FULL}))
    with V1Reader(memory, "m") as reader:
        assert "w" not in reader
        with pytest.raises(errors.TensorNotFound, match="Key w not found in checkpoint m. Did you"):
            reader.read("w")


def test_large_file_is_read_by_blocks() -> None:
    memory = MemoryStorage()
    tensors = {f"w{i}": np.full(100_000, i, np.float32) for i in range(10)}
    save(memory, "m", cases.named(tensors))
    observed = ObservedStorage(memory)
    with V1Reader(observed, "m") as reader:
        observed.calls.clear()
        cases.assert_identical(reader.read("w7"), tensors["w7"])
        assert observed.calls == [("read", "m")]
        assert reader.stored_bytes("w7") > tensors["w7"].nbytes


# --------------------------------------------------------------------------- damage


def write(storage: Storage, path: str, content: bytes) -> None:
    if storage.stat(path):
        storage.unlink(path)
    file = storage.create(path)
    file.write([content], 0)
    file.close()


def read_all(storage: Storage) -> dict[str, Any]:
    with V1Reader(storage, "m") as reader:
        return {name: reader.read(name).tolist() for name in reader.entries()}


@pytest.mark.parametrize("kind", ["01", "ff", "cut"])
def test_every_damaged_byte_is_noticed_or_harmless(kind: str) -> None:
    memory = MemoryStorage()
    tensors = {"f": np.array([1.5]), "s": cases.strings(b"", b"ab"), "i": np.arange(3)}
    save(memory, "m", cases.named(tensors))
    info = memory.stat("m")
    assert info is not None
    sound = memory.open("m").read(0, info.size_bytes)
    expected = read_all(memory)
    noticed = 0
    for position in range(len(sound)):
        damaged = bytearray(sound[:position] if kind == "cut" else sound)
        if kind != "cut":
            damaged[position] ^= int(kind, 16)
        write(memory, "m", bytes(damaged))
        try:
            found = read_all(memory)
        except errors.CorruptCheckpoint as error:
            noticed += error.path == "m"
        else:
            assert found == expected, position
    assert noticed > len(sound) * 0.8


BIG = 2**40


def table_of(*saved: tuple[SavedTensor, list[Any]]) -> dict[bytes, bytes]:
    return dict(encode_entries(saved))


def claim(name: str, shape: tuple[int, ...], *slices: TensorSlice, dtype: int = 1) -> SavedTensor:
    return SavedTensor(name, dtype, shape, slices)


def listing(*saved: SavedTensor) -> bytes:
    """A list of tensors that need not be there."""
    entries = dict(encode_entries([]))
    message = SavedTensorSlices.FromString(entries[CONTENTS_KEY])
    for tensor in saved:
        added = message.meta.tensor.add(name=tensor.name, type=tensor.dtype)
        for size in tensor.shape:
            added.shape.dim.add(size=size)
        for part in tensor.slices:
            proto = added.slice.add()
            for bounds in part.extents:
                proto.extent.add(start=bounds.start, length=bounds.length)
    return message.SerializeToString()


WHOLE = TensorSlice.full(1)
ONE = (claim("w", (4,), WHOLE), [np.zeros(4, np.float32)])
SOUND = table_of(ONE)


def extent(start: int, length: int) -> TensorSlice:
    return TensorSlice((Extent(start, length),))


HOSTILE: dict[str, tuple[dict[bytes, bytes], type[Exception], str]] = {
    "no list": (
        {b"w": b""},
        errors.MalformedTable,
        "m: no V1 checkpoint: the table does not list its tensors",
    ),
    "list that does not parse": (
        {CONTENTS_KEY: b"\xff"},
        errors.MalformedEntry,
        "m: an entry of a V1 checkpoint does not parse",
    ),
    "slice that is listed and not there": (
        {CONTENTS_KEY: SOUND[CONTENTS_KEY]},
        errors.MalformedTable,
        "m: a V1 checkpoint lists a slice that it does not hold, tensor 'w'",
    ),
    "no slices": (
        {CONTENTS_KEY: listing(claim("w", (4,)))},
        errors.MalformedSlices,
        "m: the stored slices do not cover the tensor, tensor 'w': expected 4 elements, found 0",
    ),
    "overlap": (
        {CONTENTS_KEY: listing(claim("w", (4,), extent(0, 3), extent(2, 2)))},
        errors.MalformedSlices,
        "m: two stored slices overlap, tensor 'w'",
    ),
    "slice that leaves the tensor": (
        {CONTENTS_KEY: listing(claim("w", (4,), extent(0, 5)))},
        errors.MalformedSlices,
        "m: a stored slice does not fit its tensor",
    ),
    "huge": (
        {**SOUND, CONTENTS_KEY: listing(claim("w", (BIG,), WHOLE))},
        errors.MalformedTensor,
        f"m: the values of a slice are not as many .*'w': expected {BIG}, found 4",
    ),
    "huge in parts": (
        {
            CONTENTS_KEY: listing(claim("w", (BIG,), extent(0, 4), extent(4, BIG - 4))),
            encode_slice_key("w", extent(0, 4)): b"",
        },
        errors.MalformedEntry,
        "m: a V1 checkpoint holds another slice than its key says, tensor 'w'",
    ),
    "listed twice with other shapes": (
        {CONTENTS_KEY: listing(claim("w", (4,), WHOLE), claim("w", (5,), WHOLE))},
        errors.MalformedEntry,
        r"m: two shards disagree on a tensor, tensor 'w': expected float32 \(4,\), found float32",
    ),
    "listed twice": (
        {**SOUND, CONTENTS_KEY: listing(claim("w", (4,), WHOLE), claim("w", (4,), WHOLE))},
        errors.MalformedSlices,
        "two stored slices overlap",
    ),
    "dtype that cannot be stored": (
        {CONTENTS_KEY: listing(claim("w", (4,), WHOLE, dtype=DataType.DT_VARIANT))},
        errors.UnsupportedDtype,
        "tensor 'w': no NumPy array can hold TensorFlow dtype variant",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_table(case: str) -> None:
    entries, error, message = HOSTILE[case]
    memory = MemoryStorage()
    write(memory, "m", encode_table(sorted(entries.items())))
    with pytest.raises(error, match=message):
        read_all(memory)


def test_shards_that_disagree() -> None:
    memory = MemoryStorage()
    for shard, size in enumerate((4, 5)):
        listed = (claim("w", (size,), WHOLE), [np.zeros(size, np.float32)])
        write(
            memory, naming.v1_shard("m", shard, 2), encode_table(sorted(table_of(listed).items()))
        )
    with pytest.raises(errors.MalformedEntry, match="m-00001-of-00002: two shards disagree"):
        V1Reader(memory, "m-?????-of-00002")


def test_index_of_a_v2_checkpoint() -> None:
    memory = MemoryStorage()
    cases.save(memory, "m", cases.named({"w": FULL}))
    with pytest.raises(errors.MalformedTable, match="^m.index: this is the index of a V2"):
        V1Reader(memory, "m.index")


def test_the_hostile_tables_start_from_a_sound_one() -> None:
    memory = MemoryStorage()
    write(memory, "m", encode_table(sorted(SOUND.items())))
    assert read_all(memory) == {"w": [0, 0, 0, 0]}
    content = memory.open("m")
    assert dict(decode_table(content.read(0, content.size_bytes))) == SOUND


@given(st.data())
def test_any_bytes_as_values(data: st.DataObject) -> None:
    """Nothing but the documented errors comes out, whatever the table says."""
    table = dict(SOUND)
    for key, value in SOUND.items():
        content = bytearray(value)
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        table[key] = bytes(content)
    memory = MemoryStorage()
    write(memory, "m", encode_table(sorted(table.items())))
    with contextlib.suppress(errors.CorruptCheckpoint, errors.UnsupportedDtype):
        read_all(memory)
