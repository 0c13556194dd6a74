"""The index of a bundle: a sorted table of one header and an entry per tensor and stored slice.

    the empty key          the header
    a tensor's name        its entry
    NUL, name and slice    the entry of one stored slice, in the code of `tensor_slice`

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptmgr import errors
from ckptmgr.bundle.table_file import TableFile
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    decode_alike,
    decode_entry,
    decode_header,
)
from ckptmgr.formats.tensor_slice import TensorSlice, decode_slice_key, encode_slice_key
from ckptmgr.storage.protocol import ReadableFile

#: The key of a stored slice begins with this (an ordered-code 0); a tensor's name never does.
SLICE_KEY_MARK = "\0"

_SLICE_KEY_MARK = SLICE_KEY_MARK.encode()


class BundleIndex:
    """What an `.index` file says. Every error names the file."""

    def __init__(self, file: ReadableFile) -> None:
        self._table = TableFile(file)
        self._entries: dict[str, BundleEntry] | None = None
        self.header = self._read_header()

    @property
    def path(self) -> str:
        return self._table.path

    def entry(self, name: str) -> BundleEntry | None:
        """The entry of a tensor, None if there is none of that name."""
        if self._entries is not None:
            return self._entries.get(name)
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
            found = {}
            name = ""
            # This loop runs once per tensor: no call that can be spared.
            table = self._table.entries()
            try:
                for (key, value), entry in zip(
                    table.items(), decode_alike(list(table.values())), strict=True
                ):
                    if key[:1] > _SLICE_KEY_MARK:  # neither the header nor a slice
                        name = key.decode("utf-8")
                        found[name] = entry or decode_entry(value)
            except UnicodeDecodeError:
                raise _not_text(self.path, key) from None
            except errors.CorruptCheckpoint as error:
                raise error.located(path=self.path, tensor=name) from None
            self._entries = found
        return self._entries

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

    def _read_header(self) -> BundleHeader:
        value = self._table.lookup(HEADER_KEY)
        if value is None:
            raise errors.MalformedEntry(
                "the index has no header; is this the file of another format?",
                path=self.path,
                expected="a first entry with the empty key",
                found="none",
            )
        try:
            return decode_header(value)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.path) from None

    def _decode(self, value: bytes, name: str) -> BundleEntry:
        try:
            return decode_entry(value)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.path, tensor=name) from None


def tensor_of_key(key: bytes) -> str:
    """The name of the tensor that an entry belongs to, as far as the key tells."""
    if key.startswith(_SLICE_KEY_MARK):
        try:
            return decode_slice_key(key)[0]
        except errors.CorruptCheckpoint:
            pass
    return key.decode("utf-8", "backslashreplace")


def _not_text(path: str, key: bytes) -> errors.MalformedEntry:
    return errors.MalformedEntry(
        "a tensor name is not UTF-8", path=path, expected="text", found=repr(key[:200])
    )
