"""The entries of tens of thousands of tensors at once, as columns.

Most tensors of a large state share dtype, shape and size with many others. The entries of such a
group differ in two places, the varint of the offset and the checksum; among those whose varints are
of one length they are rows of a matrix, which NumPy fills or reads column by column. That takes a
third of the time of each by itself (`bundle_entry`, which this equals byte for byte), and leaves no
object per tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ckptmgr.errors import CorruptCheckpoint
from ckptmgr.formats.bundle_entry import (
    CRC32C_BYTES,
    OFFSET_TAG,
    SHARD_ID_TAG,
    BundleEntry,
    decode_as_written,
    decode_head,
    decode_natural,
    encode_entry,
)

Array = np.ndarray[Any, Any]

# Smaller groups are left to one by one: NumPy's calls cost as much as some tens of entries.
_FEWEST_ALIKE = 64

# Each group looks at all rows of its length.
_MOST_GROUPS = 16

# Offsets below this have varints of at most four bytes; larger ones are encoded one by one.
_LARGEST_OFFSET = 1 << 28


class EntryColumns(NamedTuple):
    """What entries without slices say: one row per entry, int64 unless another type is named."""

    #: The distinct pairs of dtype and shape.
    forms: list[tuple[int, tuple[int, ...]]]
    #: Indexes of `forms`.
    form_of: Array
    shard_ids: Array
    offsets: Array
    sizes_bytes: Array
    #: uint32, masked.
    checksums: Array

    def entry(self, row: int) -> BundleEntry:
        dtype, shape = self.forms[self.form_of[row]]
        shard_id, offset = int(self.shard_ids[row]), int(self.offsets[row])
        size_bytes, crc32c = int(self.sizes_bytes[row]), int(self.checksums[row])
        return BundleEntry(dtype, shape, shard_id, offset, size_bytes, crc32c)

    def entries(self) -> list[BundleEntry]:
        """Each row as an object."""
        forms = [self.forms[form] for form in self.form_of.tolist()]
        columns = [column.tolist() for column in self[2:]]
        return [
            BundleEntry(form[0], form[1], shard_id, offset, size_bytes, crc32c)
            for form, shard_id, offset, size_bytes, crc32c in zip(forms, *columns, strict=True)
        ]

    def take(self, rows: Array) -> EntryColumns:
        return EntryColumns(
            self.forms,
            self.form_of[rows],
            self.shard_ids[rows],
            self.offsets[rows],
            self.sizes_bytes[rows],
            self.checksums[rows],
        )


def concatenate(first: EntryColumns, second: EntryColumns) -> EntryColumns:
    """The rows of both, one behind the other."""
    forms = dict.fromkeys(first.forms)
    forms.update(dict.fromkeys(second.forms))
    numbers = {form: number for number, form in enumerate(forms)}
    renumbered = np.array([numbers[form] for form in second.forms], np.int64)[second.form_of]
    return EntryColumns(
        [*forms],
        np.concatenate((first.form_of, renumbered)),
        np.concatenate((first.shard_ids, second.shard_ids)),
        np.concatenate((first.offsets, second.offsets)),
        np.concatenate((first.sizes_bytes, second.sizes_bytes)),
        np.concatenate((first.checksums, second.checksums)),
    )


def columns_of(entries: Sequence[BundleEntry]) -> EntryColumns:
    """The columns of entries that were decoded one by one."""
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    form_of = [numbers.setdefault((e.dtype, e.shape), len(numbers)) for e in entries]
    places = np.array([entry[2:5] for entry in entries], np.int64).reshape(-1, 3).T
    checksums = np.array([entry.crc32c for entry in entries], np.uint32)
    columns = np.array(form_of, np.int64), places[0], places[1], places[2]
    return EntryColumns([*numbers], *columns, checksums)


def encode_entries(columns: EntryColumns) -> list[bytes]:
    """Encode every row."""
    kinds = np.stack((columns.form_of, columns.shard_ids, columns.sizes_bytes))
    order = np.lexsort(kinds)
    kinds = kinds[:, order]
    borders = np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(0)) + 1
    encoded: list[bytes] = [b""] * len(order)
    for places in np.split(order, borders) if len(order) else ():
        like = columns.entry(places[0])
        found = encode_alike(like, columns.offsets[places], columns.checksums[places])
        for place, entry in zip(places.tolist(), found, strict=True):
            encoded[place] = entry
    return encoded


def encode_alike(like: BundleEntry, offsets: Array, checksums: Array) -> list[bytes]:
    """Encode entries that differ in offset (int64) and masked checksum (uint32) only."""
    is_small = len(offsets) < _FEWEST_ALIKE
    if is_small or offsets.max() >= _LARGEST_OFFSET or not checksums.all():
        pairs = zip(offsets.tolist(), checksums.tolist(), strict=True)
        return [_encode_one(like, *pair) for pair in pairs]
    checksums = checksums.astype("<u4")
    encoded: list[bytes] = [b""] * len(offsets)
    lengths = _varint_lengths(offsets)
    for length in np.unique(lengths).tolist():
        places = np.flatnonzero(lengths == length)
        rows = _rows(like, length, offsets[places], checksums[places])
        width = rows.shape[1]
        content = rows.tobytes()
        for row, place in enumerate(places.tolist()):
            encoded[place] = content[row * width : row * width + width]
    return encoded


def decode_entries(values: Sequence[bytes]) -> tuple[Array, EntryColumns]:
    """Decode those of many entries that come in large groups of one dtype, shape and shard.

    Returns:
        The indexes of their values, ascending, and their columns; all others are left to
        `bundle_entry.decode_entry`.
    """
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    found = _Decoded()
    for length in np.unique(lengths).tolist():
        places = np.flatnonzero(lengths == length)
        if length < 4 or len(places) < _FEWEST_ALIKE:
            continue
        joined = b"".join([values[place] for place in places.tolist()])
        rows = np.frombuffer(joined, np.uint8).reshape(-1, length)
        for _ in range(_MOST_GROUPS):
            if len(rows) < _FEWEST_ALIKE:
                break
            try:
                rows, places = found.take_alike(rows, places)
            except CorruptCheckpoint:
                break  # `decode_entry` will say so, of the tensor that it is of
    return found.columns()


class _Decoded:
    """Columns, group after group."""

    def __init__(self) -> None:
        self._forms: dict[tuple[int, tuple[int, ...]], int] = {}
        self._places: list[Array] = [np.zeros(0, np.int64)]
        self._columns: list[Array] = [np.zeros((4, 0), np.int64)]
        self._checksums: list[Array] = [np.zeros(0, np.uint32)]

    def columns(self) -> tuple[Array, EntryColumns]:
        places = np.concatenate(self._places)
        order = np.argsort(places)
        form_of, shard_ids, offsets, sizes_bytes = np.concatenate(self._columns, axis=1)[:, order]
        checksums = np.concatenate(self._checksums)[order]
        columns = form_of, shard_ids, offsets, sizes_bytes, checksums
        return places[order], EntryColumns([*self._forms], *columns)

    def take_alike(self, rows: Array, places: Array) -> tuple[Array, Array]:
        """Decode the rows that agree with the first but for offset and checksum.

        Returns:
            The other rows, and their places.
        """
        first = rows[0].tobytes()
        entry = decode_as_written(first)
        if entry is None:
            return rows[:0], places[:0]
        head = decode_head(first[: 4 + first[3]])
        assert head is not None
        start = 4 + first[3]
        if first[start] == SHARD_ID_TAG[0]:
            _, start = decode_natural(first, start + 1)
        end = len(first) - CRC32C_BYTES - len(head.size_and_tag)
        alike = (rows[:, :start] == rows[0, :start]).all(1)
        alike &= (rows[:, end:-CRC32C_BYTES] == rows[0, end:-CRC32C_BYTES]).all(1)
        offsets = np.zeros(len(rows), np.int64)
        if end > start:
            alike &= (rows[:, start] == OFFSET_TAG[0]) & (rows[:, end - 1] < 0x80)
            alike &= (rows[:, start + 1 : end - 1] >= 0x80).all(1)
            for number, column in enumerate(range(start + 1, end)):
                offsets |= (rows[:, column] & 0x7F).astype(np.int64) << 7 * number
        checksums = np.ascontiguousarray(rows[:, -CRC32C_BYTES:]).view("<u4")[:, 0]
        form = self._forms.setdefault((entry.dtype, entry.shape), len(self._forms))
        count = np.count_nonzero(alike)
        constant = [np.full(count, value) for value in (form, entry.shard_id, entry.size_bytes)]
        self._places.append(places[alike])
        self._columns.append(np.stack((*constant[:2], offsets[alike], constant[2])))
        self._checksums.append(checksums[alike].astype(np.uint32))
        return rows[~alike], places[~alike]


def _encode_one(like: BundleEntry, offset: int, checksum: int) -> bytes:
    return encode_entry(like._replace(offset=offset, crc32c=checksum))


def _varint_lengths(offsets: Array) -> Array:
    """How many bytes each offset takes; an offset of 0 is left out, with its tag."""
    lengths = np.zeros(len(offsets), np.int64)
    for bits in (0, 7, 14, 21):
        lengths += offsets >= (1 << bits if bits else 1)
    return lengths


def _rows(like: BundleEntry, length: int, offsets: Array, checksums: Array) -> Array:
    """The entries whose offsets have varints of `length` bytes, one per row."""
    # Any offset of that length shows where the bytes that differ lie.
    sample = _encode_one(like, int(offsets[0]), int(checksums[0]))
    rows = np.empty((len(offsets), len(sample)), np.uint8)
    rows[:] = np.frombuffer(sample, np.uint8)
    rows[:, -CRC32C_BYTES:] = checksums.view(np.uint8).reshape(-1, CRC32C_BYTES)
    # The same entry without an offset has the same bytes around it.
    head = len(_common_prefix(sample, _encode_one(like, 0, int(checksums[0]))))
    for byte in range(length):
        septet = (offsets >> (7 * byte)) & 0x7F
        more = 0x80 if byte < length - 1 else 0
        rows[:, head + 1 + byte] = septet | more  # behind the field's tag
    return rows


def _common_prefix(one: bytes, other: bytes) -> bytes:
    size = next(
        (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
    return one[:size]
