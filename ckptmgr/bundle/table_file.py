"""A sorted table in a file, read block by block as it is asked.

Opening a small table reads all of it. Of a larger one it reads the footer and the index block;
looking up one key then reads the one block that can hold it, and listing reads all. Blocks are
verified whenever they are read.
"""

from __future__ import annotations

from ckptmgr import errors
from ckptmgr.formats import table
from ckptmgr.formats.table_reader import (
    block_extent,
    decode_block,
    decode_first_entry,
    decode_footer,
    decode_table,
    find_block,
)
from ckptmgr.storage.protocol import ReadableFile

# A table up to this size is read in one call: two more round trips would cost more than its bytes.
_WHOLE_FILE_BYTES = 1 << 20

# Blocks kept for the next look-up, which is likely to be for a neighbour. A block holds 256 KiB,
# or a single larger entry, which is not kept. Any other large one is: a file could be made so that
# it would be decoded again for each of its entries.
_KEPT_BLOCKS = 64
_KEPT_BYTES = 64 << 20
_KEPT_ENTRY_BYTES = 1 << 20


class TableFile:
    """The keys and values of one file. Every error names it."""

    def __init__(self, file: ReadableFile) -> None:
        self._file = file
        self._all: dict[bytes, bytes] | None = None
        self._separators: list[tuple[bytes, bytes]] = []
        self._kept: dict[table.BlockHandle, dict[bytes, bytes]] = {}
        if file.size_bytes <= _WHOLE_FILE_BYTES:
            self._all = self._read_all()
            return
        try:
            self._separators = _read_separators(file)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=file.path) from None

    @property
    def path(self) -> str:
        return self._file.path

    def close(self) -> None:
        self._file.close()

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key, None if it is not there."""
        if self._all is not None:
            return self._all.get(key)
        try:
            handle = find_block(self._separators, key)
            return None if handle is None else self._block(handle).get(key)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.path) from None

    def entries(self) -> dict[bytes, bytes]:
        """All of it, in the order of the keys, read afresh if the table is large."""
        return self._read_all() if self._all is None else self._all

    def _block(self, handle: table.BlockHandle) -> dict[bytes, bytes]:
        block = self._kept.get(handle)
        if block is None:
            block = decode_block(_read_block(self._file, handle))
            if len(block) > 1 or handle.size_bytes <= _KEPT_ENTRY_BYTES:
                kept_bytes = sum(kept.size_bytes for kept in self._kept)
                if len(self._kept) >= _KEPT_BLOCKS or kept_bytes > _KEPT_BYTES:
                    self._kept.clear()
                self._kept[handle] = block
        return block

    def _read_all(self) -> dict[bytes, bytes]:
        try:
            return decode_table(self._file.read(0, self._file.size_bytes))
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.path) from None


def read_first_entry(file: ReadableFile) -> tuple[bytes, bytes] | None:
    """The first key of a table and its value, whatever else there is; None in an empty one.

    Raises:
        CorruptCheckpoint: Naming the file.
    """
    try:
        handle = find_block(_read_separators(file), b"")
        return None if handle is None else decode_first_entry(_read_block(file, handle))
    except errors.CorruptCheckpoint as error:
        raise error.located(path=file.path) from None


def _read_separators(file: ReadableFile) -> list[tuple[bytes, bytes]]:
    """The entries of the index block: where each data block is, and which keys come before."""
    tail = file.read(file.size_bytes - table.FOOTER_BYTES, table.FOOTER_BYTES)
    footer = decode_footer(tail, file.size_bytes)
    return [*decode_block(_read_block(file, footer.index)).items()]


def _read_block(file: ReadableFile, handle: table.BlockHandle) -> bytes:
    offset, length = block_extent(handle, file.size_bytes)
    return file.read(offset, length)
