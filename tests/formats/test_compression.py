from __future__ import annotations

import sys

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import MalformedTable, MissingExtra
from ckptmgr.formats.compression import MAX_EXPANSION, decompress_snappy

# One literal, and a copy: format_description.txt, section 2.
ABC = b"\x03\x08abc"
TEN_A = b"\x0a\x00a\x15\x01"


def test_literal_and_copy() -> None:
    assert decompress_snappy(ABC, 3) == b"abc"
    assert decompress_snappy(TEN_A, 10) == b"a" * 10


@given(st.binary(max_size=2000))
def test_reads_what_snappy_writes(data: bytes) -> None:
    compressed = bytes(cramjam.snappy.compress_raw(data))
    assert decompress_snappy(compressed, len(data)) == data


def test_the_expansion_bound_holds_for_the_best_compressed_data() -> None:
    compressed = bytes(cramjam.snappy.compress_raw(bytes(1 << 16)))
    assert len(decompress_snappy(compressed, MAX_EXPANSION * len(compressed))) == 1 << 16


@pytest.mark.parametrize(
    ("data", "limit_bytes", "message"),
    [
        (ABC, 2, "too long: expected at most 2 bytes, found 3 bytes"),
        (b"\xff\xff\xff\xff\x0f" + ABC, 100, "found 4294967295 bytes"),
        (b"", 100, "over the end"),
        (b"\x04\x08abc", 100, "does not decompress"),
        (b"\x03\x08ab", 100, "does not decompress"),
        (b"\x0a\x00a\x15\x02", 100, "does not decompress"),
        (b"\x0a\x00a\x15\x00", 100, "does not decompress"),
    ],
    ids=["limit", "bomb", "empty", "short", "cut off", "copy from before", "copy from nowhere"],
)
def test_refuses(data: bytes, limit_bytes: int, message: str) -> None:
    with pytest.raises(MalformedTable, match=message):
        decompress_snappy(data, limit_bytes)


@given(st.binary(max_size=60))
def test_any_bytes_give_data_or_the_documented_error(data: bytes) -> None:
    try:
        decompressed = decompress_snappy(data, 1000)
    except MalformedTable:
        return
    assert len(decompressed) <= 1000


def test_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(MissingExtra, match=r"pip install ckptmgr\[snappy\]"):
        decompress_snappy(ABC, 3)
