"""Sorted tables, written to the byte as TensorFlow does (layout in `table`).

An entry goes to the current block. The block is closed once its size estimate (entries, restart
offsets and their count) reaches the block size, and also in front of an entry twice that size, so
that a giant does not drag its small neighbours along. The separator of a closed block depends on
the key that follows it, so the index is built when all blocks are known.

Source: tensorflow/core/lib/io/{table_builder,block_builder}.cc; leveldb/util/comparator.cc.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from ckptmgr.errors import InvalidArgument
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.table import (
    BLOCK_SIZE_BYTES,
    INDEX_RESTART_INTERVAL,
    MAX_ENTRY_BYTES,
    RAW,
    RESTART_INTERVAL,
    BlockHandle,
    Footer,
    encode_footer,
    encode_handle,
)
from ckptmgr.formats.varint import encode_varint

_RAW_TYPE = bytes((RAW,))
# Restart offsets are u32, and an entry of up to twice the block size is still "small".
_MAX_BLOCK_SIZE_BYTES = MAX_ENTRY_BYTES // 2


def encode_table(
    entries: Iterable[tuple[bytes, bytes]],
    *,
    block_size_bytes: int = BLOCK_SIZE_BYTES,
    restart_interval: int = RESTART_INTERVAL,
) -> bytes:
    """Encode keys and values, the keys strictly ascending, into the bytes of a table file.

    Raises:
        InvalidArgument: Keys out of order, an entry of 4 GiB, or a size or interval out of range.
    """
    if not 1 <= block_size_bytes <= _MAX_BLOCK_SIZE_BYTES or restart_interval < 1:
        raise InvalidArgument(
            f"block size must be 1 to {_MAX_BLOCK_SIZE_BYTES} and restart interval at least 1, "
            f"found {block_size_bytes} and {restart_interval}"
        )
    blocks = list(_encode_blocks(entries, block_size_bytes, restart_interval))
    file = _File()
    index_entries = [
        (separator, encode_handle(file.append(block.contents)))
        for separator, block in zip(_separators(blocks), blocks, strict=True)
    ]
    metaindex = file.append(_EMPTY_BLOCK)
    index_contents = _EMPTY_BLOCK
    for block in _encode_blocks(index_entries, sys.maxsize, INDEX_RESTART_INTERVAL):
        index_contents = block.contents
    index = file.append(index_contents)
    return b"".join((*file.parts, encode_footer(Footer(metaindex, index))))


class _Block(NamedTuple):
    contents: bytes
    first_key: bytes
    last_key: bytes


class _File:
    """Sealed blocks, one behind the other."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size_bytes = 0

    def append(self, contents: bytes) -> BlockHandle:
        """Add a block with its type and checksum; returns where it lies."""
        handle = BlockHandle(self._size_bytes, len(contents))
        checksum = mask(crc32c(_RAW_TYPE, crc32c(contents)))
        trailer = _RAW_TYPE + struct.pack("<I", checksum)
        self.parts += (contents, trailer)
        self._size_bytes += len(contents) + len(trailer)
        return handle


def _encode_blocks(
    entries: Iterable[tuple[bytes, bytes]], block_size_bytes: int, restart_interval: int
) -> Iterator[_Block]:
    """Cut the entries into blocks, none for no entries."""
    # This loop runs once per tensor at every save: locals, and no call that can be spared.
    to_integer = int.from_bytes
    giant_bytes = 2 * block_size_bytes
    contents = bytearray()
    restarts: list[int] = []
    until_restart = 0
    first_key = previous = b""
    # A key read as a little-endian integer: the lowest bit in which two differ gives the length of
    # their common prefix without a loop over bytes.
    previous_integer = 0
    for key, value in entries:
        if key <= previous and restarts:
            raise InvalidArgument(
                f"table keys must be strictly ascending, found {key[:200]!r} after "
                f"{previous[:200]!r}"
            )
        key_length = len(key)
        value_length = len(value)
        is_giant = key_length + value_length >= giant_bytes
        if is_giant:
            _check_entry(key_length, value_length)
        if restarts and (is_giant or len(contents) + 4 * len(restarts) + 4 >= block_size_bytes):
            yield _Block(_finish_block(contents, restarts), first_key, previous)
            contents, restarts, until_restart = bytearray(), [], 0

        key_integer = to_integer(key, "little")
        if until_restart:
            shared = previous_length = len(previous)
            # No difference: the key only adds zero bytes. A difference behind the end of the
            # shorter one, which is always `previous`: the key only adds bytes.
            if difference := key_integer ^ previous_integer:
                shared = ((difference & -difference).bit_length() - 1) >> 3
                if shared > previous_length:  # noqa: PLR1730 -- min() is a call per tensor
                    shared = previous_length
        else:
            if not restarts:
                first_key = key
            restarts.append(len(contents))
            until_restart = restart_interval
            shared = 0
        until_restart -= 1

        unshared = key_length - shared
        if shared | unshared | value_length < 0x80:
            contents.append(shared)
            contents.append(unshared)
            contents.append(value_length)
        else:
            contents += encode_varint(shared) + encode_varint(unshared)
            contents += encode_varint(value_length)
        contents += key[shared:]
        contents += value
        previous, previous_integer = key, key_integer
    if restarts:
        yield _Block(_finish_block(contents, restarts), first_key, previous)


def _check_entry(key_length: int, value_length: int) -> None:
    if max(key_length, value_length) > MAX_ENTRY_BYTES:
        raise InvalidArgument(
            f"a table holds keys and values below 4 GiB, found a key of {key_length} and a value "
            f"of {value_length} bytes"
        )


def _finish_block(contents: bytearray, restarts: list[int]) -> bytes:
    count = len(restarts)
    return bytes(contents) + struct.pack(f"<{count + 1}I", *restarts, count)


# Even a block without entries has its first restart offset.
_EMPTY_BLOCK = _finish_block(bytearray(), [0])


def _separators(blocks: list[_Block]) -> Iterator[bytes]:
    """One key per block: at least its last key, and less than the first of the next block."""
    for block, following in pairwise(blocks):
        yield _shortest_separator(block.last_key, following.first_key)
    if blocks:
        yield _short_successor(blocks[-1].last_key)


def _shortest_separator(last_key: bytes, next_key: bytes) -> bytes:
    """`last_key` cut at the first byte that differs, that byte raised by one; else unchanged."""
    for position, (low, high) in enumerate(zip(last_key, next_key, strict=False)):
        if low != high:
            if low + 1 < high:
                return last_key[:position] + bytes((low + 1,))
            break
    return last_key


def _short_successor(last_key: bytes) -> bytes:
    """`last_key` cut at the first byte below 0xff, that byte raised by one; else unchanged."""
    prefix_length = len(last_key) - len(last_key.lstrip(b"\xff"))
    if prefix_length == len(last_key):
        return last_key
    return last_key[:prefix_length] + bytes((last_key[prefix_length] + 1,))
