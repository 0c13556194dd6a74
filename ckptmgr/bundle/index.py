"""The index of a bundle: a sorted table of one header and an entry per tensor and stored slice.

    the empty key          the header
    a tensor's name        its entry
    NUL, name and slice    the entry of one stored slice, in the code of `tensor_slice`

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from ckptmgr import errors
from ckptmgr.bundle.table_file import TableFile, read_first_entry
from ckptmgr.formats.bundle_entries import EntryColumns, columns_of, concatenate, decode_entries
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    decode_entry,
    decode_header,
)
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import TensorSlice, decode_slice_key, encode_slice_key
from ckptmgr.storage.protocol import ReadableFile

#: The key of a stored slice begins with this (an ordered-code 0); a tensor's name never does.
SLICE_KEY_MARK = "\0"

_SLICE_KEY_MARK = SLICE_KEY_MARK.encode()
# No tensor's key sorts before this, no other key behind it.
_FIRST_NAME = b"\1"


class Listing(NamedTuple):
    """All tensors of an index, without an object for each."""

    #: In the order of the index.
    names: list[str]
    #: Numbers stored whole: the row of each in `columns`, ascending.
    rows: dict[str, int]
    columns: EntryColumns
    #: Strings, and tensors stored in slices.
    others: dict[str, BundleEntry]

    def entry(self, name: str) -> BundleEntry | None:
        row = self.rows.get(name)
        return self.others.get(name) if row is None else self.columns.entry(row)

    def entries(self) -> dict[str, BundleEntry]:
        found = dict(zip(self.rows, self.columns.entries(), strict=True)) | self.others
        return {name: found[name] for name in self.names}


class BundleIndex:
    """What an `.index` file says. Every error names the file."""

    def __init__(self, file: ReadableFile) -> None:
        self._table = TableFile(file)
        self._listing: Listing | None = None
        self._entries: dict[str, BundleEntry] | None = None
        self.header = _decode_header(file, self._table.lookup(HEADER_KEY))

    @property
    def path(self) -> str:
        return self._table.path

    def entry(self, name: str) -> BundleEntry | None:
        """The entry of a tensor, None if there is none of that name."""
        if self._listing is not None:
            return self._listing.entry(name)
        if not name or name.startswith(SLICE_KEY_MARK):
            return None  # these are the keys of the header and of slices
        try:
            key = name.encode("utf-8")
        except UnicodeEncodeError:
            return None
        return self._lookup(key, name)

    def slice_entry(self, name: str, part: TensorSlice) -> BundleEntry | None:
        """The entry with the bytes of one stored slice."""
        return self._lookup(encode_slice_key(name, part), name)

    def entries(self) -> dict[str, BundleEntry]:
        """Every tensor by name, in the order of the names; stored slices stand in their tensor."""
        if self._entries is None:
            self._entries = self.listing().entries()
        return self._entries

    def listing(self) -> Listing:
        """Every tensor, without an object for each."""
        if self._listing is None:
            found = self._table.entries()
            # In the order of the keys: the header, slices, tensors.
            keys, values = list(found), list(found.values())
            first = bisect_left(keys, _FIRST_NAME)
            self._listing = self._list(keys[first:], values[first:])
        return self._listing

    def _list(self, keys: list[bytes], values: list[bytes]) -> Listing:
        names = _decode_names(self.path, keys)
        places, columns = decode_entries(values)
        of_rows = names if len(places) == len(names) else [names[n] for n in places.tolist()]
        rows = dict(zip(of_rows, range(len(places)), strict=True))
        single: dict[str, BundleEntry] = {}
        others: dict[str, BundleEntry] = {}
        for name, value in zip(names, values, strict=True) if len(rows) < len(names) else ():
            if name not in rows:
                entry = self._decode(value, name)
                (single if is_numbers(entry) else others)[name] = entry
        rows |= {name: row for row, name in enumerate(single, start=len(rows))}
        columns = concatenate(columns, columns_of([*single.values()]))
        return Listing(names, rows, columns, others)

    def stored_entries(self) -> Iterator[tuple[bytes, BundleEntry]]:
        """What has bytes in a shard, whole tensors and slices, by key in the order of the keys."""
        for key, value in self._table.entries().items():
            if key != HEADER_KEY:
                entry = self._decode(value, tensor_of_key(key))
                if not entry.slices:
                    yield key, entry

    def close(self) -> None:
        self._table.close()

    def _lookup(self, key: bytes, name: str) -> BundleEntry | None:
        value = self._table.lookup(key)
        return None if value is None else self._decode(value, name)

    def _decode(self, value: bytes, name: str) -> BundleEntry:
        try:
            return decode_entry(value)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.path, tensor=name) from None


def read_header(file: ReadableFile) -> BundleHeader:
    """The header of an index, of which nothing else is looked at.

    Raises:
        CorruptCheckpoint: Naming the file.
    """
    key, value = read_first_entry(file) or (None, None)
    return _decode_header(file, value if key == HEADER_KEY else None)


def _decode_header(file: ReadableFile, value: bytes | None) -> BundleHeader:
    if value is None:
        raise errors.MalformedEntry(
            "the index has no header; is this the file of another format?",
            path=file.path,
            expected="a first entry with the empty key",
            found="none",
        )
    try:
        return decode_header(value)
    except errors.CorruptCheckpoint as error:
        raise error.located(path=file.path) from None


def is_numbers(entry: BundleEntry) -> bool:
    """Whether an entry has bytes of its own, of elements of one size."""
    return not entry.slices and entry.dtype != DataType.DT_STRING


def tensor_of_key(key: bytes) -> str:
    """The name of the tensor that an entry belongs to, as far as the key tells."""
    if key.startswith(_SLICE_KEY_MARK):
        try:
            return decode_slice_key(key)[0]
        except errors.CorruptCheckpoint:
            pass
    return key.decode("utf-8", "backslashreplace")


def _decode_names(path: str, keys: list[bytes]) -> list[str]:
    try:
        return list(map(bytes.decode, keys))
    except UnicodeDecodeError as error:
        key: bytes = error.object
        raise errors.MalformedEntry(
            "a tensor name is not UTF-8", path=path, expected="text", found=repr(key[:200])
        ) from None
