"""Sorted tables taken apart and put together again: every checksum right, anything else wrong.

Taking apart trusts a file that a writer made, and gives up on any other. Putting together asks
`tamper` about each piece, with the piece's kind, before its checksum is taken: that is how a block
of nonsense gets past the checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cramjam

from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.table import MAGIC
from ckptmgr.formats.varint import decode_varint, encode_varint

Entry = tuple[bytes, bytes]
Tamper = Callable[[str, bytes], bytes]

_FOOTER_BYTES = 48
_TRAILER_BYTES = 5


def as_it_is(kind: str, piece: bytes) -> bytes:
    return piece


def take_apart(table: bytes) -> list[Entry] | None:
    """The entries in the order of the file; None if it cannot be taken apart."""
    try:
        footer = table[-_FOOTER_BYTES:]
        at = decode_varint(footer, decode_varint(footer, 0)[1])[1]
        index = _block(table, footer[at:])
        return [entry for _, handle in _entries(index) for entry in _entries(_block(table, handle))]
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return None


def put_together(
    entries: Sequence[Entry],
    *,
    block_bytes: int = 1 << 18,
    restart_interval: int = 16,
    compress: bool = False,
    tamper: Tamper = as_it_is,
) -> bytes:
    """A table of these entries, in this order."""
    file = bytearray()

    def append(kind: str, contents: bytes, *, squeeze: bool) -> bytes:
        """Add a block; returns its handle."""
        contents = tamper(kind, contents)
        stored = bytes(cramjam.snappy.compress_raw(contents)) if squeeze else contents
        stored = tamper("stored", stored) + tamper("type", bytes((squeeze,)))
        handle = encode_varint(len(file)) + encode_varint(max(len(stored) - 1, 0))
        file.extend(stored + mask(crc32c(stored)).to_bytes(4, "little"))
        return tamper("handle", handle)

    index: list[Entry] = []
    group: list[Entry] = []
    size = 0
    for number, entry in enumerate(entries):
        group.append(entry)
        size += len(entry[0]) + len(entry[1])
        if size >= block_bytes or number == len(entries) - 1:
            block = _encoded(group, restart_interval)
            index.append((group[-1][0], append("block", block, squeeze=compress)))
            group, size = [], 0
    metaindex_handle = append("metaindex", _encoded([], 16), squeeze=False)
    index_handle = append("index", _encoded(index, 1), squeeze=compress)
    handles = (metaindex_handle + index_handle).ljust(40, b"\0")[:40]
    return bytes(file) + tamper("footer", handles + MAGIC.to_bytes(8, "little"))


def _encoded(entries: Sequence[Entry], restart_interval: int) -> bytes:
    block = bytearray()
    restarts = [0]
    previous = b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % restart_interval:
            limit = min(len(previous), len(key))
            shared = next((at for at in range(limit) if previous[at] != key[at]), limit)
        elif number:
            restarts.append(len(block))
        for length in (shared, len(key) - shared, len(value)):
            block += encode_varint(length)
        block += key[shared:] + value
        previous = key
    for offset in (*restarts, len(restarts)):
        block += offset.to_bytes(4, "little")
    return bytes(block)


def _block(table: bytes, handle: bytes) -> bytes:
    offset, at = decode_varint(handle, 0)
    end = offset + decode_varint(handle, at)[0]
    contents = table[offset:end]
    return bytes(cramjam.snappy.decompress_raw(contents)) if table[end] else contents


def _entries(block: bytes) -> list[Entry]:
    restarts = int.from_bytes(block[-4:], "little")
    limit = len(block) - 4 * (restarts + 1)
    found = []
    key = b""
    at = 0
    while at < limit:
        shared, at = decode_varint(block, at)
        unshared, at = decode_varint(block, at)
        length, at = decode_varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        found.append((key, block[at : at + length]))
        at += length
    return found
