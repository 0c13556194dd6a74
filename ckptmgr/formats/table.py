"""The sorted table: what its writer and its reader share.

    file        = data block*, metaindex block, index block, footer
    block       = entry*, restart offset (u32)*, restart count (u32)
    stored      = block, type (u8: 0 raw, 1 snappy), masked CRC-32C of block and type (u32)
    entry       = varint shared, varint unshared, varint value length, key[shared:], value
    index entry = separator -> handle of one data block
    handle      = varint offset, varint size (without the five bytes of type and CRC)
    footer      = metaindex handle, index handle, zeros up to 40 bytes, magic (u64)

Integers are little-endian. `shared` counts the bytes that a key has in common with the key before
it in the block; it is 0 at each restart offset. A separator is at least the last key of its block
and less than the first key of the next. The metaindex block is there and empty.

Source: docs/formats/sorted-table.md; tensorflow/core/lib/io/format.cc; leveldb/table/format.cc.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ckptmgr.errors import MalformedTable, NotATable, TruncatedFile
from ckptmgr.formats.varint import decode_varint, encode_varint

# kTableMagicNumber: the first 64 bits of the SHA-1 of LevelDB's original home page.
MAGIC = 0xDB4775248B80FB57
# Two handles of at most two ten-byte varints each, then the magic number.
HANDLES_BYTES = 40
FOOTER_BYTES = HANDLES_BYTES + 8
# Block type (1) and masked CRC (4), behind every block.
TRAILER_BYTES = 5
RAW = 0
SNAPPY = 1
# table::Options of TensorFlow (LevelDB's default is 4096).
BLOCK_SIZE_BYTES = 262144
RESTART_INTERVAL = 16
# Each separator stands whole, so that a reader can bisect the index block in place.
INDEX_RESTART_INTERVAL = 1
# Lengths in an entry are u32.
MAX_ENTRY_BYTES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class BlockHandle:
    """Where a block lies; `size_bytes` leaves the trailer out, as in the file."""

    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 48 bytes of a table."""

    metaindex: BlockHandle
    index: BlockHandle


def encode_handle(handle: BlockHandle) -> bytes:
    """Encode a handle as two varints."""
    return encode_varint(handle.offset) + encode_varint(handle.size_bytes)


def decode_handle(data: bytes, offset: int = 0) -> tuple[BlockHandle, int]:
    """Decode a handle into itself and the offset behind it; not yet bounded by any file."""
    block_offset, offset = decode_varint(data, offset)
    size_bytes, offset = decode_varint(data, offset)
    return BlockHandle(block_offset, size_bytes), offset


def encode_footer(footer: Footer) -> bytes:
    """Encode the 48 bytes that end a table."""
    handles = encode_handle(footer.metaindex) + encode_handle(footer.index)
    return handles.ljust(HANDLES_BYTES, b"\0") + struct.pack("<Q", MAGIC)


def decode_footer(tail: bytes, file_size_bytes: int) -> Footer:
    """Decode the last 48 bytes of a table and bound both of its handles by the file.

    Raises:
        TruncatedFile: The file is shorter than a footer.
        NotATable: The magic number is another.
        MalformedTable: A handle does not decode, or leaves the file.
    """
    if file_size_bytes < FOOTER_BYTES or len(tail) < FOOTER_BYTES:
        raise TruncatedFile(
            "the file is too short to be a sorted table",
            expected=f"at least {FOOTER_BYTES} bytes",
            found=f"{min(len(tail), file_size_bytes)} bytes",
        )
    tail = tail[-FOOTER_BYTES:]
    magic = int.from_bytes(tail[HANDLES_BYTES:], "little")
    if magic != MAGIC:
        raise NotATable(
            "the file does not end like a sorted table: wrong magic number",
            expected=f"0x{MAGIC:016x}",
            found=f"0x{magic:016x}",
        )
    handles = tail[:HANDLES_BYTES]
    metaindex, offset = decode_handle(handles)
    index, _ = decode_handle(handles, offset)
    for handle in (metaindex, index):
        block_extent(handle, file_size_bytes)
    return Footer(metaindex, index)


def block_extent(handle: BlockHandle, file_size_bytes: int) -> tuple[int, int]:
    """Offset and length, trailer included, of the bytes to read for a block.

    Raises:
        MalformedTable: They do not lie in front of the footer.
    """
    length = handle.size_bytes + TRAILER_BYTES
    limit = file_size_bytes - FOOTER_BYTES
    if handle.offset + length > limit:
        raise MalformedTable(
            "a block handle points outside the file",
            expected=f"an end of at most {limit}",
            found=f"offset {handle.offset}, {length} bytes",
        )
    return handle.offset, length
