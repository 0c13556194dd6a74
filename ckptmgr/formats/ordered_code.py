"""Numbers and strings as bytes that sort like their values, for keys of table entries.

    unsigned  one byte n, then n bytes big-endian without leading zeros
    string    00 as 00 ff, ff as ff 00, then 00 01
    signed    n bytes: n ones, a zero, then the number in the other 7n - 1 bits; n is the least that
              holds it. A negative number is the complement of every bit of its own complement's
              code (-1 is that of 0), so that it begins with a zero and sorts in front.

Each decoder takes the offset to begin at, returns the value and the offset behind it, and accepts
only what its encoder makes: two codes for one value would be two keys for one slice.

Source: tensorflow/core/lib/strings/ordered_code.cc.
"""

from __future__ import annotations

import re

from ckptmgr.errors import InvalidArgument, MalformedSlices
from ckptmgr.formats.varint import MAX_UINT64

_TERMINATOR = b"\x00\x01"
_ESCAPED_OR_END = re.compile(rb"[\x00\xff].?", re.DOTALL)
_LITERAL_OF_ESCAPE = {b"\x00\xff": b"\x00", b"\xff\x00": b"\xff"}


def encode_num_increasing(value: int) -> bytes:
    """Encode an unsigned 64-bit integer."""
    if not 0 <= value <= MAX_UINT64:
        raise InvalidArgument(f"an unsigned ordered code holds 0 to 2**64 - 1, found {value}")
    length = (value.bit_length() + 7) // 8
    return bytes((length,)) + value.to_bytes(length, "big")


def decode_num_increasing(data: bytes, offset: int) -> tuple[int, int]:
    """Decode an unsigned integer.

    Raises:
        MalformedSlices: It is cut off, longer than 64 bits, or has leading zeros.
    """
    start = offset + 1
    length = data[offset] if offset < len(data) else 1
    end = start + length
    if end > len(data):
        raise _cut_off("number", data)
    if length > 8 or (length and not data[start]):
        raise _not_canonical("number", data[offset:end])
    return int.from_bytes(data[start:end], "big"), end


def encode_string(value: bytes) -> bytes:
    """Encode a byte string."""
    parts = value.split(b"\x00")
    return b"\x00\xff".join(part.replace(b"\xff", b"\xff\x00") for part in parts) + _TERMINATOR


def decode_string(data: bytes, offset: int) -> tuple[bytes, int]:
    """Decode a byte string.

    Raises:
        MalformedSlices: It has no end, or an escape that is none.
    """
    parts = []
    for match in _ESCAPED_OR_END.finditer(data, offset):
        parts.append(data[offset : match.start()])
        offset = match.end()
        code = match.group()
        if code == _TERMINATOR:
            return b"".join(parts), offset
        literal = _LITERAL_OF_ESCAPE.get(code)
        if literal is None:
            raise _not_canonical("string", code)
        parts.append(literal)
    raise _cut_off("string", data)


def encode_signed_increasing(value: int) -> bytes:
    """Encode a signed 64-bit integer."""
    if not -(2**63) <= value < 2**63:
        raise InvalidArgument(f"a signed ordered code holds 64 bits, found {value}")
    magnitude = value if value >= 0 else ~value
    length = magnitude.bit_length() // 7 + 1
    code = _header(length) | magnitude
    if value < 0:
        code ^= (1 << 8 * length) - 1
    return code.to_bytes(length, "big")


def decode_signed_increasing(data: bytes, offset: int) -> tuple[int, int]:
    """Decode a signed integer.

    Raises:
        MalformedSlices: It is cut off, longer than 64 bits, or longer than it need be.
    """
    if offset >= len(data):
        raise _cut_off("number", data)
    # 64 bits take ten bytes at most, so two hold the whole header. A missing second one cannot
    # matter to a one-byte code.
    first = data[offset : offset + 2].ljust(2, b"\x00")
    negative = first[0] < 0x80
    bits = int.from_bytes(first, "big") ^ (0xFFFF if negative else 0)
    length = 16 - (bits ^ 0xFFFF).bit_length()
    end = offset + length
    if end > len(data):
        raise _cut_off("number", data)
    code = int.from_bytes(data[offset:end], "big")
    if negative:
        code ^= (1 << 8 * length) - 1
    magnitude = code ^ _header(length)
    if magnitude >= 2**63 or magnitude.bit_length() // 7 + 1 != length:
        raise _not_canonical("number", data[offset:end])
    return (~magnitude if negative else magnitude), end


def _header(length: int) -> int:
    """`length` ones, then zeros, in `length` bytes."""
    return ((1 << length) - 1) << 7 * length


def _cut_off(what: str, data: bytes) -> MalformedSlices:
    return MalformedSlices(
        f"a {what} in a slice key is cut off",
        expected="more bytes",
        found=f"end of key at {len(data)}",
    )


def _not_canonical(what: str, code: bytes) -> MalformedSlices:
    return MalformedSlices(
        f"a {what} in a slice key is not in its ordered code",
        expected="the one code of its value",
        found=code[:20].hex(),
    )
