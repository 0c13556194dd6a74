from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.formats.bundle_entries import (
    EntryColumns,
    columns_of,
    concatenate,
    decode_entries,
    encode_alike,
    encode_entries,
)
from ckptmgr.formats.bundle_entry import BundleEntry, decode_entry, encode_entry
from ckptmgr.formats.dtypes import DataType

_borders = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**40]


def one_by_one(group: BundleEntry, offsets: list[int], checksums: list[int]) -> list[bytes]:
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
        BundleEntry(1, (256,), 0, size_bytes=1024),
        BundleEntry(1, (), 3, size_bytes=4),
        BundleEntry(9, (0, 3), 0, size_bytes=0),
        BundleEntry(2, (5, 40, 300), 70_000, size_bytes=480_000),
    ],
)
def test_equals_one_by_one(group: BundleEntry, count: int) -> None:
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
    group = BundleEntry(1, (7, 9), shard_id, size_bytes=size_bytes)
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
        np.array(form_of, np.int64),
        np.full(500, 3),
        np.array(offsets, np.int64),
        np.array(sizes_bytes, np.int64),
        np.array(checksums, np.uint32),
    )
    assert encode_entries(columns) == [
        encode_entry(BundleEntry(*forms[form], 3, offset, size_bytes, crc))
        for form, offset, size_bytes, crc in zip(
            form_of, offsets, sizes_bytes, checksums, strict=True
        )
    ]


def test_no_tensors() -> None:
    assert encode_entries(columns_of([])) == []
    places, columns = decode_entries([])
    assert (places.tolist(), columns.entries()) == ([], [])


# --------------------------------------------------------------------------- decoding

FORMS = st.sampled_from(
    [
        (DataType.DT_FLOAT, (3, 4), 48),
        (DataType.DT_FLOAT, (4, 3), 48),
        (DataType.DT_INT8, (), 1),
        (DataType.DT_DOUBLE, (0, 2), 0),
        (DataType.DT_STRING, (2,), 9),
        (999, (1,), 4),
    ]
)
ALIKE = st.builds(
    lambda form, place: BundleEntry(form[0], form[1], place[0], place[1], form[2], place[2]),
    FORMS,
    st.tuples(
        st.sampled_from([0, 0, 0, 3, 300]),
        st.sampled_from([0, 1, 127, 128, 2**14, 2**28 - 1, 2**35, 2**62, 2**63 - 1]),
        st.integers(0, 2**32 - 1),
    ),
)


@given(st.lists(ALIKE, min_size=1, max_size=6), st.lists(st.binary(max_size=20), max_size=3))
def test_alike_are_decoded_as_alone(entries: list[BundleEntry], others: list[bytes]) -> None:
    values = [encode_entry(e._replace(crc32c=i or e.crc32c)) for i in range(100) for e in entries]
    values += others
    assert_as_alone(values)


def test_alike_are_decoded_together() -> None:
    entries = [
        BundleEntry(DataType.DT_FLOAT, (16, 16), shard_id, 1024 * index, 1024, index * 7919 + 1)
        for shard_id in (0, 200)
        for index in range(1000)
    ]
    places, columns = decode_entries([encode_entry(entry) for entry in entries])
    # All but a few whose offset takes a length that few others have.
    assert len(places) >= 1700
    assert columns.entries() == [entries[place] for place in places]


def assert_as_alone(values: list[bytes]) -> None:
    places, columns = decode_entries(values)
    alone = [decode_entry(values[place]) for place in places]
    assert columns.entries() == alone
    assert [columns.entry(row) for row in range(len(places))] == alone
    again = columns_of(alone)
    assert concatenate(columns, again).entries() == alone + alone
    assert concatenate(again, columns_of([])).entries() == alone
    assert again.entries() == alone
    assert encode_entries(again) == encode_entries(columns) == list(map(encode_entry, alone))


@given(st.integers(0, 99), st.integers(0, 25), st.integers(0, 255))
def test_damage_among_alike(which: int, position: int, byte: int) -> None:
    values = [
        encode_entry(BundleEntry(DataType.DT_FLOAT, (4,), 3, 2**20 + 16 * index, 16, index + 1))
        for index in range(100)
    ]
    damaged = bytearray(values[which])
    damaged[position % len(damaged)] = byte
    values[which] = bytes(damaged)
    assert_as_alone(values)
