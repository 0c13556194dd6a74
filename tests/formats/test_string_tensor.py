from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr._proto.tensor_pb2 import VariantTensorDataProto
from ckptmgr.errors import ChecksumMismatch, CorruptCheckpoint, MalformedTensor, UnsupportedDtype
from ckptmgr.formats.bundle_entry import HEADER_KEY, BundleEntry, decode_entry
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.string_tensor import (
    decode_strings,
    decode_variants,
    encode_strings,
    fixed_width_lengths,
)
from ckptmgr.formats.table_reader import decode_table

STRINGS = st.lists(st.binary(max_size=200), max_size=20)


def entries_of(index: Path) -> dict[str, BundleEntry]:
    table = [*decode_table(index.read_bytes()).items()]
    return {key.decode(): decode_entry(value) for key, value in table if key != HEADER_KEY}


def stored_tensors(golden: Path, prefix: str) -> dict[str, tuple[BundleEntry, bytes]]:
    data = (golden / f"{prefix}.data-00000-of-00001").read_bytes()
    return {
        name: (entry, data[entry.offset : entry.offset + entry.size_bytes])
        for name, entry in entries_of(golden / f"{prefix}.index").items()
    }


@pytest.mark.parametrize(
    ("strings", "encoded"),
    [
        ([], bytes.fromhex("d8ea82a2")),
        ([b""], b"\x00" + mask(crc32c(bytes(4))).to_bytes(4, "little")),
        (
            [b"ab", b"x" * 128],
            b"\x02\x80\x01"
            + mask(crc32c(bytes([2, 0, 0, 0, 128, 0, 0, 0]))).to_bytes(4, "little")
            + b"ab"
            + b"x" * 128,
        ),
    ],
)
def test_layout(strings: list[bytes], encoded: bytes) -> None:
    data, masked_crc = encode_strings(strings)
    assert data == encoded
    assert decode_strings(data, len(strings), masked_crc) == strings


@given(STRINGS)
def test_round_trip(strings: list[bytes]) -> None:
    data, masked_crc = encode_strings(strings)
    for stored in (data, bytearray(data), memoryview(data)):
        assert decode_strings(stored, len(strings), masked_crc) == strings


def test_tensorflow_bytes(
    golden: Path, load_expected: Callable[[str], dict[str, np.ndarray[Any, Any]]]
) -> None:
    expected = load_expected("v2_multi")
    checked = 0
    for name, (entry, data) in stored_tensors(golden, "v2_multi/model").items():
        if entry.dtype is DataType.DT_STRING and not name.startswith("_CHECKPOINTABLE"):
            strings = expected[name].ravel().tolist()
            assert decode_strings(data, len(strings), entry.crc32c) == strings
            assert encode_strings(strings) == (data, entry.crc32c)
            checked += 1
    assert checked >= 3


def test_tensorflow_variants(golden: Path) -> None:
    entry, data = stored_tensors(golden, "v2_variant/model")["lst"]
    assert entry.dtype is DataType.DT_VARIANT
    (variant,) = decode_variants(data, 1, entry.crc32c)
    message = VariantTensorDataProto.FromString(variant)
    assert message.type_name == "tensorflow::TensorList"


def big_endian_form(strings: list[bytes]) -> tuple[bytes, int]:
    """Written out by hand for lengths below 128."""
    crc = crc32c(b"".join(len(string).to_bytes(4, "big") for string in strings))
    checksum = mask(crc).to_bytes(4, "big")
    content = b"".join(strings)
    data = bytes(map(len, strings)) + checksum + content
    return data, mask(crc32c(content, crc32c(checksum, crc)))


def test_big_endian() -> None:
    data, masked_crc = big_endian_form([b"one", b"", b"three"])
    assert decode_strings(data, 3, masked_crc, big_endian=True) == [b"one", b"", b"three"]
    with pytest.raises(ChecksumMismatch, match="string lengths"):
        decode_strings(data, 3, masked_crc)


@pytest.mark.parametrize("order", ["little", "big"])
def test_lengths_beyond_32_bits_are_hashed_as_64(order: Any) -> None:
    assert fixed_width_lengths([1, 2**32, 2**32 - 1], order) == b"".join(
        (
            (1).to_bytes(4, order),
            (2**32).to_bytes(8, order),
            (2**32 - 1).to_bytes(4, order),
        )
    )


@pytest.mark.parametrize("value", ["text", 3, None, {}])
def test_element_that_is_not_bytes(value: Any) -> None:
    with pytest.raises(UnsupportedDtype, match=f"element 1 is {type(value).__name__}"):
        encode_strings([b"", value])


SOUND, SOUND_CRC = encode_strings([b"ab", b"cde"])


@pytest.mark.parametrize(
    ("data", "count", "error", "says"),
    [
        (b"", 0, MalformedTensor, "shorter than its shape.*at least 4 bytes, found 0"),
        (SOUND, 8, MalformedTensor, "shorter than its shape.*at least 12 bytes, found 11"),
        (SOUND, 2**61, MalformedTensor, "shorter than its shape"),
        (SOUND, 1, MalformedTensor, "do not add up.*expected 7 bytes, found 11"),
        (SOUND[:-1], 2, MalformedTensor, "do not add up.*expected 11 bytes, found 10"),
        (SOUND + b"x", 2, MalformedTensor, "do not add up.*expected 11 bytes, found 12"),
        (b"\x03" + b"\x02" + SOUND[2:], 2, ChecksumMismatch, "string lengths"),
        (SOUND[:-1] + b"x", 2, ChecksumMismatch, "checksum of the string tensor"),
        (b"\x80" * 20, 2, MalformedTensor, "element length"),
        (b"\xff\xff\x7f" + bytes(9), 2, MalformedTensor, "longer than its tensor.*at most 12"),
    ],
)
def test_damaged_strings(data: bytes, count: int, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_strings(data, count, SOUND_CRC)


def test_whole_checksum_is_checked() -> None:
    with pytest.raises(ChecksumMismatch, match=f"string tensor.*0x{SOUND_CRC ^ 1:08x}"):
        decode_strings(SOUND, 2, SOUND_CRC ^ 1)


def variant_tensor(variants: list[bytes]) -> tuple[bytes, int]:
    """Written out by hand for lengths below 128."""
    data, crc = b"", 0
    for variant in variants:
        crc = crc32c(len(variant).to_bytes(8, "little") + variant, crc)
        checksum = mask(crc).to_bytes(4, "little")
        crc = crc32c(checksum, crc)
        data += bytes([len(variant)]) + variant + checksum
    return data, mask(crc)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_variants(variants: list[bytes]) -> None:
    data, masked_crc = variant_tensor(variants)
    assert decode_variants(data, len(variants), masked_crc) == variants


VARIANTS, VARIANTS_CRC = variant_tensor([b"one", b"two"])


@pytest.mark.parametrize(
    ("data", "count", "error", "says"),
    [
        (VARIANTS, 1, MalformedTensor, "left over.*expected 8 bytes, found 16"),
        (VARIANTS, 3, MalformedTensor, "element length"),
        (VARIANTS[:-1], 2, MalformedTensor, "element 1.*expected at least 16 bytes, found 15"),
        (VARIANTS[:1] + b"x" + VARIANTS[2:], 2, ChecksumMismatch, "element 0"),
        (VARIANTS[:-1] + b"x", 2, ChecksumMismatch, "element 1"),
        (VARIANTS, 2**61, MalformedTensor, "element length"),
    ],
)
def test_damaged_variants(data: bytes, count: int, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_variants(data, count, VARIANTS_CRC)


def test_whole_variant_checksum_is_checked() -> None:
    with pytest.raises(ChecksumMismatch, match="checksum of the variant tensor"):
        decode_variants(VARIANTS, 2, VARIANTS_CRC ^ 1)


@given(st.binary(max_size=60), st.integers(0, 2**62), st.booleans())
def test_only_documented_errors_for_any_bytes(data: bytes, count: int, big_endian: bool) -> None:
    for number in (count, count % 8):
        with pytest.raises(CorruptCheckpoint):
            decode_strings(data, number, mask(crc32c(data)) ^ 1, big_endian=big_endian)
    with pytest.raises(CorruptCheckpoint):
        decode_variants(data, count % 8, 0)


@given(STRINGS, st.data())
def test_every_flipped_bit_is_found(strings: list[bytes], data: st.DataObject) -> None:
    encoded, masked_crc = encode_strings(strings)
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    damaged = bytearray(encoded)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptCheckpoint):
        decode_strings(damaged, len(strings), masked_crc)


@pytest.mark.parametrize("length", [100, 200])
def test_a_hundred_thousand_strings_take_well_under_a_second(length: int) -> None:
    strings = [bytes(length)] * 100_000
    start = time.perf_counter()
    data, masked_crc = encode_strings(strings)
    assert decode_strings(data, len(strings), masked_crc) == strings
    assert time.perf_counter() - start < 2  # 0.1 on a quiet machine
