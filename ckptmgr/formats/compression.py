"""Snappy, for tables that other writers compressed: read only.

TensorFlow writes no compressed blocks, but reads them, and public checkpoints of its first years
have them. A block is a varint of the uncompressed length and then literals and copies. A copy tag
of three bytes makes at most 64 bytes, so a length beyond 22 times the input is a lie, and is
refused before anything is allocated for it.
Source: google/snappy format_description.txt.
"""

from __future__ import annotations

from ckptmgr.errors import MalformedTable, MissingExtra
from ckptmgr.formats.varint import decode_varint

# 64 / 3, rounded up.
MAX_EXPANSION = 22


def decompress_snappy(data: bytes, limit_bytes: int) -> bytes:
    """Decompress one block of raw snappy data into at most `limit_bytes`.

    Raises:
        MalformedTable: The data does not decompress, or claims to be longer than the limit.
        MissingExtra: The decompressor is not installed.
    """
    length, _ = decode_varint(data, 0)
    if length > limit_bytes:
        raise MalformedTable(
            "a snappy block claims to be too long",
            expected=f"at most {limit_bytes} bytes",
            found=f"{length} bytes",
        )
    try:
        import cramjam
    except ImportError:
        raise MissingExtra(
            "this table has snappy-compressed blocks; to read it: pip install ckptmgr[snappy]"
        ) from None
    try:
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise MalformedTable(f"a snappy block does not decompress: {error}") from None
