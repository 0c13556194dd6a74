from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.formats.bundle_entries import EntryColumns, EntryGroup, encode_alike, encode_entries
from ckptmgr.formats.bundle_entry import BundleEntry, encode_entry

_borders = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**40]


def one_by_one(group: EntryGroup, offsets: list[int], checksums: list[int]) -> list[bytes]:
    return [
        encode_entry(
            BundleEntry(group.dtype, group.shape, group.shard_id, offset, group.size_bytes, crc)
        )
        for offset, crc in zip(offsets, checksums, strict=True)
    ]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 1000])
@pytest.mark.parametrize(
    "group",
    [
        EntryGroup(1, (256,), 0, 1024),
        EntryGroup(1, (), 3, 4),
        EntryGroup(9, (0, 3), 0, 0),
        EntryGroup(2, (5, 40, 300), 70_000, 480_000),
    ],
)
def test_equals_one_by_one(group: EntryGroup, count: int) -> None:
    offsets = [n * 997 for n in range(count)]
    checksums = [(n * 2654435761 + 1) % 2**32 for n in range(count)]
    found = encode_alike(group, np.array(offsets, np.int64), np.array(checksums, np.uint32))
    assert found == one_by_one(group, offsets, checksums)


@given(
    st.integers(0, 2**20),
    st.integers(0, 2**33),
    st.lists(
        st.tuples(st.sampled_from(_borders) | st.integers(0, 2**30), st.integers(0, 2**32 - 1)),
        min_size=64,
        max_size=90,
    ),
)
def test_any_group(shard_id: int, size_bytes: int, pairs: list[tuple[int, int]]) -> None:
    group = EntryGroup(1, (7, 9), shard_id, size_bytes)
    offsets, checksums = [list(column) for column in zip(*pairs, strict=True)]
    found = encode_alike(group, np.array(offsets, np.int64), np.array(checksums, np.uint32))
    assert found == one_by_one(group, offsets, checksums)


def test_a_shard_of_several_forms_and_sizes() -> None:
    forms = [(1, (256,)), (7, ()), (9, ())]
    form_of = [n % 7 % 3 for n in range(500)]
    sizes_bytes = [(1024, n % 5, 8)[form] for n, form in enumerate(form_of)]
    offsets = [n * 1024 for n in range(500)]
    checksums = [(n * 2654435761) % 2**32 for n in range(500)]  # the first is 0
    columns = EntryColumns(
        forms,
        form_of,
        np.array(offsets, np.int64),
        np.array(sizes_bytes, np.int64),
        np.array(checksums, np.uint32),
    )
    assert encode_entries(columns, 3) == [
        encode_entry(BundleEntry(*forms[form], 3, offset, size_bytes, crc))
        for form, offset, size_bytes, crc in zip(
            form_of, offsets, sizes_bytes, checksums, strict=True
        )
    ]


def test_no_tensors() -> None:
    nothing = np.zeros(0, np.int64)
    assert encode_entries(EntryColumns([], [], nothing, nothing, nothing), 0) == []
