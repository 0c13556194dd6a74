"""Variable-length unsigned integers: seven bits per byte, lowest first, the top bit says "more".

Source: tensorflow/core/lib/core/coding.cc; leveldb/util/coding.cc.
"""

from __future__ import annotations

from typing import TypeAlias

from ckptmgr.errors import InvalidArgument, MalformedTable

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_UINT64 = 2**64 - 1

# Ten groups of seven bits hold 64 bits.
_MAX_VARINT_BYTES = 10
_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


def encode_varint(value: int) -> bytes:
    """Encode an unsigned 64-bit integer."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if not 0 <= value <= MAX_UINT64:
        raise InvalidArgument(f"a varint holds 0 to 2**64 - 1, found {value}")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: Buffer, offset: int) -> tuple[int, int]:
    """Decode the integer at `offset` (at least 0) into its value and the offset behind it.

    Raises:
        MalformedTable: `data` ends first, or the value does not fit 64 bits.
    """
    value = shift = 0
    end = min(len(data), offset + _MAX_VARINT_BYTES)
    for position in range(offset, end):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_UINT64:
                break
            return value, position + 1
        shift += 7
    else:
        if end == len(data):
            raise MalformedTable(
                "a variable-length integer runs over the end of its data",
                expected="a final byte below 0x80",
                found=f"end of data at {len(data)}",
            )
    raise MalformedTable(
        "a variable-length integer is too long",
        expected="at most 64 bits",
        found=bytes(data[offset:end]).hex(),
    )
