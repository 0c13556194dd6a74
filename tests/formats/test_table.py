from __future__ import annotations

import pytest

from ckptmgr.errors import MalformedTable, NotATable, TruncatedFile
from ckptmgr.formats.table import (
    BlockHandle,
    Footer,
    block_extent,
    decode_footer,
    decode_handle,
    encode_footer,
    encode_handle,
)

FOOTER = Footer(BlockHandle(300, 8), BlockHandle(313, 40))
FOOTER_BYTES = b"\xac\x02\x08\xb9\x02\x28" + bytes(34) + bytes.fromhex("57fb808b247547db")
FILE_SIZE_BYTES = 313 + 40 + 5 + 48


def test_footer_both_ways() -> None:
    assert encode_footer(FOOTER) == FOOTER_BYTES
    assert decode_footer(FOOTER_BYTES, FILE_SIZE_BYTES) == FOOTER


def test_handle_both_ways() -> None:
    assert encode_handle(BlockHandle(300, 8)) == b"\xac\x02\x08"
    assert decode_handle(b"-\xac\x02\x08-", 1) == (BlockHandle(300, 8), 4)


def test_the_largest_handles_fit_the_footer() -> None:
    largest = BlockHandle(2**64 - 1, 2**64 - 1)
    assert len(encode_footer(Footer(largest, largest))) == 48


@pytest.mark.parametrize(
    ("tail", "file_size_bytes", "error", "message"),
    [
        (b"", 0, TruncatedFile, "too short .* at least 48 bytes, found 0 bytes"),
        (FOOTER_BYTES[1:], 47, TruncatedFile, "found 47 bytes"),
        (FOOTER_BYTES[1:], FILE_SIZE_BYTES, TruncatedFile, "found 47 bytes"),
        (
            FOOTER_BYTES[:-1] + b"\x00",
            FILE_SIZE_BYTES,
            NotATable,
            "expected 0xdb4775248b80fb57, found 0x004775248b80fb57",
        ),
        (FOOTER_BYTES, FILE_SIZE_BYTES - 1, MalformedTable, "outside the file: .* offset 313"),
        (
            encode_footer(Footer(BlockHandle(354, 0), BlockHandle(0, 8))),
            FILE_SIZE_BYTES,
            MalformedTable,
            "outside the file: .* offset 354, 5 bytes",
        ),
        (b"\xff" * 40 + FOOTER_BYTES[40:], FILE_SIZE_BYTES, MalformedTable, "too long"),
    ],
)
def test_footer_refused(
    tail: bytes, file_size_bytes: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode_footer(tail, file_size_bytes)


def test_block_extent_is_bounded_by_the_footer() -> None:
    assert block_extent(BlockHandle(10, 20), 10 + 20 + 5 + 48) == (10, 25)
    with pytest.raises(MalformedTable, match="outside the file: expected an end of at most 34"):
        block_extent(BlockHandle(10, 20), 10 + 20 + 5 + 47)
