from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import InvalidArgument, MalformedTable
from ckptmgr.formats.varint import decode_varint, encode_varint

CASES = [
    (0, b"\x00"),
    (1, b"\x01"),
    (127, b"\x7f"),
    (128, b"\x80\x01"),
    (300, b"\xac\x02"),
    (2**32 - 1, b"\xff\xff\xff\xff\x0f"),
    (2**63, b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
    (2**64 - 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
]


@pytest.mark.parametrize(("value", "encoded"), CASES)
def test_both_ways(value: int, encoded: bytes) -> None:
    assert encode_varint(value) == encoded
    assert decode_varint(encoded, 0) == (value, len(encoded))
    assert decode_varint(b"\xff" + encoded + b"\xff", 1) == (value, 1 + len(encoded))


@given(st.integers(0, 2**64 - 1))
def test_round_trip(value: int) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded, 0) == (value, len(encoded))


@pytest.mark.parametrize(
    ("data", "offset", "problem"),
    [
        (b"", 0, "over the end"),
        (b"\x01", 1, "over the end"),
        (b"\x01", 9, "over the end"),
        (b"\x80\x80", 0, "over the end"),
        (b"\x80" * 10 + b"\x01", 0, "too long"),
        (b"\x80" * 9 + b"\x02", 0, "too long"),
    ],
)
def test_refuses(data: bytes, offset: int, problem: str) -> None:
    with pytest.raises(MalformedTable, match=problem):
        decode_varint(data, offset)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_refuses_to_encode(value: int) -> None:
    with pytest.raises(InvalidArgument, match="varint"):
        encode_varint(value)
