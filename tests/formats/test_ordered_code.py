from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import InvalidArgument, MalformedSlices
from ckptmgr.formats.ordered_code import (
    decode_num_increasing,
    decode_signed_increasing,
    decode_string,
    encode_num_increasing,
    encode_signed_increasing,
    encode_string,
)

NUMBERS = [(0, "00"), (2, "0102"), (255, "01ff"), (256, "020100"), (2**64 - 1, "08" + "ff" * 8)]
STRINGS = [
    (b"", "0001"),
    (b"p0", "70300001"),
    (b"\x00", "00ff0001"),
    (b"\xff\x01", "ff00010001"),
    (b"a\x00\xffb\n", "6100ffff00620a0001"),
]
SIGNED = [
    (0, "80"),
    (63, "bf"),
    (64, "c040"),
    (8191, "dfff"),
    (8192, "e02000"),
    (2**20, "f0100000"),
    (2**27, "f808000000"),
    (2**34, "fc0400000000"),
    (2**48, "ff01000000000000"),
    (2**55, "ff8080000000000000"),
    (2**61, "ffa000000000000000"),
    (2**63 - 1, "ffc07fffffffffffffff"),
    (-1, "7f"),
    (-64, "40"),
    (-65, "3fbf"),
    (-(2**63), "003f8000000000000000"),
]


@pytest.mark.parametrize(("value", "code"), NUMBERS)
def test_num_increasing(value: int, code: str) -> None:
    encoded = bytes.fromhex(code)
    assert encode_num_increasing(value) == encoded
    assert decode_num_increasing(b"-" + encoded + b"-", 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize(("value", "code"), STRINGS)
def test_string(value: bytes, code: str) -> None:
    encoded = bytes.fromhex(code)
    assert encode_string(value) == encoded
    assert decode_string(b"-" + encoded + b"-", 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize(("value", "code"), SIGNED)
def test_signed_increasing(value: int, code: str) -> None:
    encoded = bytes.fromhex(code)
    assert encode_signed_increasing(value) == encoded
    assert decode_signed_increasing(b"-" + encoded + b"-", 1) == (value, 1 + len(encoded))


signed = st.integers(-(2**63), 2**63 - 1)
unsigned = st.integers(0, 2**64 - 1)


@given(signed, signed)
def test_signed_codes_round_trip_and_sort_like_their_values(one: int, other: int) -> None:
    encoded = encode_signed_increasing(one)
    assert decode_signed_increasing(encoded, 0) == (one, len(encoded))
    assert (encoded < encode_signed_increasing(other)) == (one < other)


@given(unsigned, unsigned)
def test_unsigned_codes_round_trip_and_sort_like_their_values(one: int, other: int) -> None:
    encoded = encode_num_increasing(one)
    assert decode_num_increasing(encoded, 0) == (one, len(encoded))
    assert (encoded < encode_num_increasing(other)) == (one < other)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_strings_round_trip_and_sort_like_their_values(one: bytes, other: bytes) -> None:
    encoded = encode_string(one)
    assert decode_string(encoded, 0) == (one, len(encoded))
    assert (encoded < encode_string(other)) == (one < other)


Decoder = Callable[[bytes, int], tuple[object, int]]


@pytest.mark.parametrize(
    ("decode", "code", "problem"),
    [
        (decode_num_increasing, "", "cut off"),
        (decode_num_increasing, "01", "cut off"),
        (decode_num_increasing, "0201", "cut off"),
        (decode_num_increasing, "0100", "not in its ordered code"),
        (decode_num_increasing, "09" + "01" * 9, "not in its ordered code"),
        (decode_string, "", "cut off"),
        (decode_string, "6162", "cut off"),
        (decode_string, "00ff", "cut off"),
        (decode_string, "00", "not in its ordered code"),
        (decode_string, "0002", "not in its ordered code"),
        (decode_string, "ff01", "not in its ordered code"),
        (decode_signed_increasing, "", "cut off"),
        (decode_signed_increasing, "c0", "cut off"),
        (decode_signed_increasing, "ff", "cut off"),
        (decode_signed_increasing, "ffc000", "cut off"),
        (decode_signed_increasing, "c03f", "not in its ordered code"),
        (decode_signed_increasing, "3fff", "not in its ordered code"),
        (decode_signed_increasing, "ffc08000000000000000", "not in its ordered code"),
        (decode_signed_increasing, "ffe0" + "00" * 9, "not in its ordered code"),
    ],
)
def test_refuses(decode: Decoder, code: str, problem: str) -> None:
    with pytest.raises(MalformedSlices, match=problem):
        decode(bytes.fromhex(code), 0)


@pytest.mark.parametrize("decode", [decode_num_increasing, decode_string, decode_signed_increasing])
@given(st.binary(max_size=24), st.integers(0, 26))
def test_any_bytes_give_a_value_or_the_documented_error(
    decode: Decoder, data: bytes, offset: int
) -> None:
    try:
        _, end = decode(data, offset)
    except MalformedSlices:
        return
    assert offset < end <= len(data)


@pytest.mark.parametrize(
    ("encode", "value"),
    [
        (encode_num_increasing, -1),
        (encode_num_increasing, 2**64),
        (encode_signed_increasing, 2**63),
        (encode_signed_increasing, -(2**63) - 1),
    ],
)
def test_refuses_to_encode(encode: Callable[[int], bytes], value: int) -> None:
    with pytest.raises(InvalidArgument, match="ordered code"):
        encode(value)
