"""String and variant tensors: elements of different lengths in one run of bytes.

    string tensor  = varint length * count, checksum (u32), the strings one after the other
    variant tensor = (varint length, message, checksum (u32)) * count

Elements are in C order. One CRC-32C runs over the tensor, and each checksum is its masked value so
far. It does not run over the varints but over each length as a fixed-width integer: u32 for a
string (u64 from 2**32 bytes on), u64 for a variant. It does run over the checksums as they are
stored. Its final value, masked, is `crc32c` of the bundle entry; the last checksum of a variant
tensor is therefore not that value, but is part of what it covers.

Integers are little-endian, in a bundle whose header says so big-endian; varints are neither.

Source: docs/formats/tensor-bundle.md; WriteStringTensor, WriteVariantTensor and ReadStringTensor in
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

from ckptmgr.errors import ChecksumMismatch, MalformedTable, MalformedTensor, UnsupportedDtype
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.varint import Buffer, decode_varint, encode_varint

_CHECKSUM_BYTES = 4
_MAX_UINT32 = 2**32 - 1
_ByteOrder = Literal["little", "big"]


def encode_strings(strings: Sequence[bytes]) -> tuple[bytes, int]:
    """Encode strings, in C order of their tensor, into its stored bytes and their masked CRC.

    Raises:
        UnsupportedDtype: An element is not bytes.
    """
    check_strings(strings)
    lengths = list(map(len, strings))
    crc = crc32c(fixed_width_lengths(lengths, "little"))
    checksum = mask(crc).to_bytes(_CHECKSUM_BYTES, "little")
    content = b"".join(strings)
    crc = crc32c(content, crc32c(checksum, crc))
    return b"".join([*map(encode_varint, lengths), checksum, content]), mask(crc)


def check_strings(values: Iterable[object]) -> None:
    """Raise unless every element of a string tensor is bytes.

    Raises:
        UnsupportedDtype: One is not.
    """
    for element, value in enumerate(values):
        if not isinstance(value, bytes):
            raise UnsupportedDtype(
                f"a string tensor holds bytes, element {element} is {type(value).__name__}"
            )


def decode_strings(
    data: Buffer, count: int, masked_crc: int, *, big_endian: bool = False
) -> list[bytes]:
    """Decode a string tensor of `count` elements, verifying both of its checksums.

    Args:
        data: All bytes of the tensor and nothing else.
        count: Product of its shape.
        masked_crc: `crc32c` of its bundle entry.
        big_endian: As the header of the bundle says.
    Raises:
        MalformedTensor: The lengths do not decode, or do not add up to `data`.
        ChecksumMismatch: The lengths or the strings are not what was written.
    """
    order: _ByteOrder = "big" if big_endian else "little"
    if count + _CHECKSUM_BYTES > len(data):
        raise MalformedTensor(
            "a string tensor is shorter than its shape asks for",
            expected=f"at least {count + _CHECKSUM_BYTES} bytes",
            found=f"{len(data)} bytes",
        )
    lengths, content_at = _decode_lengths(data, count)
    checksum = bytes(data[content_at : content_at + _CHECKSUM_BYTES])
    content_at += _CHECKSUM_BYTES
    if content_at + sum(lengths) != len(data):
        raise MalformedTensor(
            "the lengths in a string tensor do not add up to its size",
            expected=f"{content_at + sum(lengths)} bytes",
            found=f"{len(data)} bytes",
        )
    crc = crc32c(fixed_width_lengths(lengths, order))
    _check("the checksum of the string lengths", int.from_bytes(checksum, order), mask(crc))
    crc = crc32c(memoryview(data)[content_at:], crc32c(checksum, crc))
    _check("the checksum of the string tensor", masked_crc, mask(crc))
    ends = list(accumulate(lengths, initial=content_at))
    return [bytes(data[start:end]) for start, end in pairwise(ends)]


def decode_variants(data: Buffer, count: int, masked_crc: int) -> list[bytes]:
    """Decode a variant tensor into serialized VariantTensorDataProtos, verifying every checksum.

    There is no big-endian form: TensorFlow neither writes nor reads one.

    Raises:
        MalformedTensor: A length leaves `data`, or bytes are left over.
        ChecksumMismatch: An element is not what was written.
    """
    variants = []
    crc = at = 0
    for element in range(count):
        length, at = _decode_length(data, at)
        end = at + length
        if end + _CHECKSUM_BYTES > len(data):
            raise MalformedTensor(
                f"element {element} of a variant tensor runs over the end of its data",
                expected=f"at least {end + _CHECKSUM_BYTES} bytes",
                found=f"{len(data)} bytes",
            )
        variant = bytes(data[at:end])
        at = end + _CHECKSUM_BYTES
        checksum = bytes(data[end:at])
        crc = crc32c(variant, crc32c(length.to_bytes(8, "little"), crc))
        stored = int.from_bytes(checksum, "little")
        _check(f"the checksum of element {element} of the variant tensor", stored, mask(crc))
        crc = crc32c(checksum, crc)
        variants.append(variant)
    if at != len(data):
        raise MalformedTensor(
            "bytes are left over behind a variant tensor",
            expected=f"{at} bytes",
            found=f"{len(data)} bytes",
        )
    _check("the checksum of the variant tensor", masked_crc, mask(crc))
    return variants


def fixed_width_lengths(lengths: Sequence[int], order: _ByteOrder) -> bytes:
    """The lengths of strings in the form that the running CRC sees."""
    if max(lengths, default=0) <= _MAX_UINT32:
        return np.array(lengths, "<u4" if order == "little" else ">u4").tobytes()
    return b"".join(length.to_bytes(4 if length <= _MAX_UINT32 else 8, order) for length in lengths)


def _decode_lengths(data: Buffer, count: int) -> tuple[list[int], int]:
    """The lengths that open a string tensor, and the offset behind them."""
    if (np.frombuffer(data, np.uint8, count) < 0x80).all():
        return list(data[:count]), count
    lengths = []
    at = 0
    for _ in range(count):
        length, at = _decode_length(data, at)
        lengths.append(length)
    return lengths, at


def _decode_length(data: Buffer, at: int) -> tuple[int, int]:
    try:
        length, at = decode_varint(data, at)
    except MalformedTable as error:
        raise MalformedTensor(
            f"an element length: {error.problem}", expected=error.expected, found=error.found
        ) from None
    # Bounded one by one: the lengths are summed and hashed before they are compared to the data.
    if length > len(data):
        raise MalformedTensor(
            "an element is longer than its tensor",
            expected=f"at most {len(data)} bytes",
            found=f"{length} bytes",
        )
    return length, at


def _check(what: str, stored: int, computed: int) -> None:
    if stored != computed:
        raise ChecksumMismatch(
            f"{what} differs", expected=f"0x{stored:08x}", found=f"0x{computed:08x}"
        )
