from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.bundle import neighbours
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.batch import rows_of
from ckptmgr.bundle.neighbours import BLOCK_BYTES, SMALL_BYTES, Rows
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.storage import MemoryStorage, ReadableFile
from tests.bundle.observed_storage import ObservedStorage

BYTES = np.random.default_rng(0).integers(0, 256, 10 << 20, np.uint8)

Extents = list[tuple[int, int]]


def stored(content: Array, storage: ObservedStorage | None = None) -> ReadableFile:
    storage = storage or ObservedStorage(MemoryStorage())
    file = storage.inner.create("data")
    file.write([content.data], 0)
    return storage.open("data")


def rows_at(
    extents: Extents, dtype: DataType = DataType.DT_UINT8, shape: tuple[int, ...] | None = None
) -> Rows:
    items = []
    for number, (offset, size_bytes) in enumerate(extents):
        crc = mask(crc32c(BYTES[offset : offset + size_bytes].data))
        entry = BundleEntry(
            dtype, (size_bytes,) if shape is None else shape, 0, offset, size_bytes, crc
        )
        items.append((f"w{number}", entry))
    return rows_of(items)


def in_a_row(count: int, size_bytes: int = 64, start: int = 0) -> Extents:
    return [(start + number * size_bytes, size_bytes) for number in range(count)]


def check_groups(extents: Extents) -> tuple[list[int], int]:
    """The sizes of the groups, and how many tensors are in none."""
    storage = ObservedStorage(MemoryStorage())
    file = stored(BYTES, storage)
    groups, others = neighbours.group(rows_at(extents))
    grouped = [name for rows in groups for name in rows.names]
    assert sorted([*grouped, *(f"w{row}" for row in others)]) == sorted(
        f"w{row}" for row in range(len(extents))
    )
    for rows in groups:
        block = neighbours.read_block(file, rows, None)
        assert len(block.memory) <= BLOCK_BYTES + SMALL_BYTES
        end = 0
        offsets, sizes_bytes = rows.columns.offsets.tolist(), rows.columns.sizes_bytes.tolist()
        places = zip(block.starts.tolist(), offsets, sizes_bytes, strict=True)
        for start, offset, size_bytes in places:
            assert start >= end  # none overlap
            end = start + size_bytes
            assert block.memory.ctypes.data % 64 == offsets[0] % 64
            found = block.memory[start:end]
            assert found.tobytes() == BYTES[offset : offset + size_bytes].tobytes()
    assert [call for call in storage.calls if call[0] == "read"] == [("read", "data")] * len(groups)
    return [len(rows.names) for rows in groups], len(others)


CASES: dict[str, tuple[Extents, list[int], int]] = {
    "none": ([], [], 0),
    "too few to gain anything": (in_a_row(15), [], 15),
    "enough": (in_a_row(16), [16], 0),
    "empty ones are in none": ([*in_a_row(16), (9, 0)], [16], 1),
    "as far apart as padding": (in_a_row(16) + in_a_row(4, start=16 * 64 + 4096), [20], 0),
    "farther": (in_a_row(16) + in_a_row(17, start=16 * 64 + 4097), [16, 17], 0),
    "the same bytes twice": (in_a_row(16) + in_a_row(16), [], 32),
    "overlapping": (in_a_row(16) + in_a_row(16, start=16 * 64 - 1), [16, 16], 0),
    "a block and more": (in_a_row(300, SMALL_BYTES), [256, 44], 0),
    "too large": (in_a_row(16, SMALL_BYTES + 1), [], 16),
    "in any order": (in_a_row(40)[::-1], [40], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_groups(case: str) -> None:
    extents, sizes, others = CASES[case]
    assert check_groups(extents) == (sizes, others)


@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, SMALL_BYTES + 1)), max_size=20),
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 300)), max_size=6),
)
def test_any_tensors(extents: Extents, runs: Extents) -> None:
    for start, size_bytes in runs:
        extents = extents + in_a_row(30, size_bytes, start)
    check_groups(extents)


def test_other_shards_are_no_neighbours() -> None:
    rows = rows_at(in_a_row(40))
    rows.columns.shard_ids[::2] = 1
    groups, others = neighbours.group(rows)
    found = [set(group.columns.shard_ids.tolist()) for group in groups]
    assert found in ([{0}, {1}], [])
    assert len(others) + sum(len(group.names) for group in groups) == 40


def drain(file: ReadableFile, extents: Extents) -> None:
    groups, _ = neighbours.group(rows_at(extents))
    assert groups
    for rows in groups:
        neighbours.read_block(file, rows, None)


MIXED = [(0, 64), (64, 100), (192, 1), *in_a_row(20, start=256)]


@pytest.mark.parametrize(
    ("position", "name"), [(0, "w0"), (63, "w0"), (64, "w1"), (163, "w1"), (192, "w2")]
)
def test_damage_in_each_small_tensor(position: int, name: str) -> None:
    damaged = BYTES.copy()
    damaged[position] ^= 1
    with pytest.raises(errors.ChecksumMismatch, match=f"^data: .*tensor '{name}'"):
        drain(stored(damaged), MIXED)


def test_damage_between_small_tensors_is_harmless() -> None:
    damaged = BYTES.copy()
    damaged[170] ^= 1
    drain(stored(damaged), MIXED)


@pytest.mark.parametrize("left", [0, 100])
def test_a_file_that_becomes_shorter(left: int) -> None:
    storage = ObservedStorage(MemoryStorage())
    writer = storage.inner.create("data")
    writer.write([BYTES.data], 0)
    file = storage.open("data")
    writer.truncate(left)
    with pytest.raises(errors.TruncatedFile, match="^data: .*tensor 'w0'"):
        drain(file, MIXED)


FORMS = {
    "alike": (np.dtype(np.float32), (4, 4), 64, 0),
    "padded": (np.dtype(np.float32), (3,), 64, 0),
    "not aligned": (np.dtype(np.float64), (4,), 36, 4),
    "without dimensions": (np.dtype(np.float32), (), 64, 0),
    "bfloat16": (np.dtype(ml_dtypes.bfloat16), (6,), 12, 0),
    "one dimension of none": (np.dtype(np.int8), (1, 5, 1), 5, 3),
}


@pytest.mark.parametrize("case", FORMS)
def test_arrays_are_cut_out(case: str) -> None:
    dtype, shape, distance, start = FORMS[case]
    size_bytes = dtype.itemsize * int(np.prod(shape, dtype=int))
    extents = [(start + n * distance, size_bytes) for n in range(40)]
    # One that stands at another distance, and one of another form, as any list may have.
    extents.append((start + 41 * distance, size_bytes))
    rows = rows_at(extents, DataType.DT_FLOAT, shape)
    rows.columns.forms.append((DataType.DT_UINT8, (size_bytes,)))
    rows.columns.form_of[20] = 1
    (group,), _ = neighbours.group(rows)
    block = neighbours.read_block(stored(BYTES), group, None)
    arrays = neighbours.cut(block, [dtype, np.dtype(np.uint8)])
    for number, (array, (offset, _)) in enumerate(zip(arrays, extents, strict=True)):
        expected = (np.dtype(np.uint8), (size_bytes,)) if number == 20 else (dtype, shape)
        assert (array.dtype, array.shape) == expected
        assert array.flags.aligned
        assert array.flags.c_contiguous
        assert array.tobytes() == BYTES[offset : offset + size_bytes].tobytes()
