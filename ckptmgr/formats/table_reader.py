"""Sorted tables, read with every byte distrusted (layout in `table`).

The caller does the reading. For one key: the last 48 bytes give the footer, the footer the index
block, `find_block` the one data block that can hold the key. Each step bounds what the next is
asked to read, and a block is looked into only when its checksum is right. `decode_table` takes a
whole file and verifies all of it.

Source: tensorflow/core/lib/io/{format,block,table}.cc.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from operator import lt

from ckptmgr.errors import ChecksumMismatch, MalformedTable, TruncatedFile
from ckptmgr.formats.compression import MAX_EXPANSION, decompress_snappy
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.table import (
    FOOTER_BYTES,
    RAW,
    SNAPPY,
    TRAILER_BYTES,
    BlockHandle,
    block_extent,
    decode_footer,
    decode_handle,
)
from ckptmgr.formats.varint import decode_varint

__all__ = [
    "block_extent",
    "decode_block",
    "decode_first_entry",
    "decode_footer",
    "decode_table",
    "find_block",
]

Entry = tuple[bytes, bytes]

# Sharing prefixes lets a few bytes on disk stand for a long key, again and again. A restart
# interval of 16 makes at most 16 key bytes of each byte of a block; four times that, and 64 KiB for
# small blocks, leaves room for other writers and none for a bomb, nor for a file of small ones.
_MAX_KEY_EXPANSION = 64
_KEY_EXPANSION_SLACK_BYTES = 1 << 16
# What an entry takes in memory beside its key and value.
_ENTRY_BYTES = 128


def decode_block(stored: bytes) -> dict[bytes, bytes]:
    """Decode one block, trailer included, into its entries, in key order.

    Raises:
        TruncatedFile: There is no room for a trailer.
        ChecksumMismatch: Stored and computed checksum differ.
        MalformedTable: The block is not what a writer can have made.
        MissingExtra: The block is compressed and the decompressor is not installed.
    """
    contents = _verified_contents(stored)
    limit = _entries_length(contents)
    budget = _MAX_KEY_EXPANSION * len(contents) + _KEY_EXPANSION_SLACK_BYTES
    entries: dict[bytes, bytes] = {}
    # This loop runs once per tensor: locals, and no call that can be spared. At least eight bytes
    # of restarts follow `limit`, so the three length bytes are always there.
    position = 0
    key = b""
    while position < limit:
        shared = contents[position]
        unshared = contents[position + 1]
        value_length = contents[position + 2]
        if shared | unshared | value_length < 0x80:
            position += 3
        else:
            shared, unshared, value_length, position = _decode_lengths(contents, position)
            budget -= shared
            if budget < 0:
                raise MalformedTable(
                    "the keys of a block are out of proportion to its size",
                    expected=f"at most {_MAX_KEY_EXPANSION} times {len(contents)} bytes",
                    found="more",
                )
        key_end = position + unshared
        value_end = key_end + value_length
        if value_end > limit:
            raise MalformedTable(
                "a table entry runs over the end of its block",
                expected=f"an end of at most {limit}",
                found=value_end,
            )
        if shared > len(key):
            raise MalformedTable(
                "a table key shares more with the key before it than that key has",
                expected=f"at most {len(key)} bytes",
                found=f"{shared} bytes",
            )
        previous, key = key, key[:shared] + contents[position:key_end]
        if key <= previous and entries:
            raise _not_ascending(previous, key)
        entries[key] = contents[key_end:value_end]
        position = value_end
    return entries


def decode_first_entry(stored: bytes) -> Entry | None:
    """The first entry of a block, None if it has none; raises as `decode_block`."""
    contents = _verified_contents(stored)
    limit = _entries_length(contents)
    if not limit:
        return None
    shared, unshared, value_length, start = _decode_lengths(contents, 0)
    end = start + unshared + value_length
    if shared or end > limit:
        raise MalformedTable(
            "the first entry of a table block is not one",
            expected=f"no shared bytes and an end of at most {limit}",
            found=f"{shared} shared bytes and an end of {end}",
        )
    return contents[start : start + unshared], contents[start + unshared : end]


def find_block(index_entries: Sequence[Entry], key: bytes) -> BlockHandle | None:
    """The only data block that can hold `key`, given the entries of the index block.

    Returns:
        None when `key` is beyond the last block.
    Raises:
        MalformedTable: The entry is not a handle.
    """
    # A one-tuple sorts in front of every pair with the same key: this finds separator >= key.
    position = bisect_left(index_entries, (key,))
    if position == len(index_entries):
        return None
    return _decode_index_value(index_entries[position][1])


def decode_table(data: bytes) -> dict[bytes, bytes]:
    """Decode a whole table file, every block verified, into its entries in key order.

    Raises:
        TruncatedFile, NotATable, ChecksumMismatch, MalformedTable: The file is damaged.
        MissingExtra: The table is compressed and the decompressor is not installed.
    """
    footer = decode_footer(data[-FOOTER_BYTES:], len(data))
    decode_block(_stored_block(data, footer.metaindex))
    entries: dict[bytes, bytes] = {}
    lower_bound: bytes | None = None
    for separator, value in decode_block(_stored_block(data, footer.index)).items():
        block = decode_block(_stored_block(data, _decode_index_value(value)))
        if block:
            first, last = next(iter(block)), next(reversed(block))
            # Also what find_block relies on: a key outside its bounds would be there, and missed.
            if lower_bound is not None and first <= lower_bound:
                raise _not_ascending(lower_bound, first)
            if last > separator:
                raise _not_ascending(last, separator)
            entries |= block
        lower_bound = separator
    return entries


def _stored_block(data: bytes, handle: BlockHandle) -> bytes:
    offset, length = block_extent(handle, len(data))
    return data[offset : offset + length]


def _verified_contents(stored: bytes) -> bytes:
    """The block without its trailer, uncompressed."""
    if len(stored) < TRAILER_BYTES:
        raise TruncatedFile(
            "a table block is cut off",
            expected=f"at least {TRAILER_BYTES} bytes",
            found=f"{len(stored)} bytes",
        )
    computed = mask(crc32c(memoryview(stored)[:-4]))
    found = int.from_bytes(stored[-4:], "little")
    if computed != found:
        raise ChecksumMismatch(
            "the masked CRC-32C of a table block differs",
            expected=f"0x{found:08x}",
            found=f"0x{computed:08x}",
        )
    contents = stored[:-TRAILER_BYTES]
    block_type = stored[-TRAILER_BYTES]
    if block_type == RAW:
        return contents
    if block_type == SNAPPY:
        uncompressed = decompress_snappy(contents, MAX_EXPANSION * len(contents))
        _refuse_bomb(uncompressed, len(stored))
        return uncompressed
    raise MalformedTable(
        "a table block is of unknown type", expected="0 (raw) or 1 (snappy)", found=block_type
    )


def _refuse_bomb(contents: bytes, stored_bytes: int) -> None:
    """Raise if compression makes very many entries of few bytes, as no writer's names do."""
    limit = _entries_length(contents)
    budget = _MAX_KEY_EXPANSION * stored_bytes + _KEY_EXPANSION_SLACK_BYTES
    position = 0
    while position < limit:
        shared, unshared, value_length, position = _decode_lengths(contents, position)
        position += unshared + value_length
        budget -= _ENTRY_BYTES + shared + unshared + value_length
        if budget < 0:
            raise MalformedTable(
                "the entries of a compressed block are out of proportion to its size",
                expected=f"at most {_MAX_KEY_EXPANSION} times {stored_bytes} bytes",
                found="more",
            )


def _entries_length(contents: bytes) -> int:
    """Where the entries of a block end and its restart offsets begin."""
    size_bytes = len(contents)
    count = int.from_bytes(contents[-4:], "little")
    limit = size_bytes - 4 * (count + 1)
    if count < 1 or limit < 0:
        raise MalformedTable(
            "a table block has an impossible number of restarts",
            expected=f"1 to {max(size_bytes // 4 - 1, 1)}",
            found=count,
        )
    restarts = struct.unpack_from(f"<{count}I", contents, limit)
    ascending = all(map(lt, restarts, islice(restarts, 1, None)))
    if restarts[0] != 0 or restarts[-1] > limit or not ascending:
        raise MalformedTable(
            "the restart offsets of a table block are wrong",
            expected=f"ascending from 0 to at most {limit}",
            found=f"{restarts[0]} to {restarts[-1]}",
        )
    return limit


def _decode_lengths(contents: bytes, position: int) -> tuple[int, int, int, int]:
    shared, position = decode_varint(contents, position)
    unshared, position = decode_varint(contents, position)
    value_length, position = decode_varint(contents, position)
    return shared, unshared, value_length, position


def _decode_index_value(value: bytes) -> BlockHandle:
    handle, end = decode_handle(value)
    if end != len(value):
        raise MalformedTable(
            "an entry of a table's index is more than a handle",
            expected=f"{end} bytes",
            found=f"{len(value)} bytes",
        )
    return handle


def _not_ascending(lower: bytes, upper: bytes) -> MalformedTable:
    return MalformedTable(
        "table keys are not strictly ascending",
        expected=f"a key above {lower[:200]!r}",
        found=repr(upper[:200]),
    )
