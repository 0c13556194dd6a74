"""The values in a bundle's index: one header, under the empty key, and one entry per tensor.

    BundleHeaderProto  num_shards=1 int32, endianness=2 enum, version=3 VersionDef
    BundleEntryProto   dtype=1 enum, shape=2 TensorShapeProto, shard_id=3 int32, offset=4 int64,
                       size=5 int64, crc32c=6 fixed32, slices=7 repeated TensorSliceProto

    08 dtype  12 length shape  [18 shard_id]  [20 offset]  [28 size]  [35 crc32c]  [3a slice]*

A checkpoint may hold tens of thousands of entries, and a message object for each would take longer
than moving its tensor. Most have a dtype and shape seen before, thereby the size seen with them,
and differ only in an offset and a checksum. So the bytes up to the shape are cached, both ways,
with the size and the tags to expect behind them, and the rest is spelled out here. Whatever does
not look exactly as TensorFlow writes it, strings, and entries with slices go through the generated
message, which thereby decides what any other bytes mean.

Source: docs/formats/tensor-bundle.md; tensorflow/core/protobuf/tensor_bundle.proto,
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.errors import MalformedEntry, MalformedSlices, UnsupportedDtype
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_shape import decode_shape, encode_shape
from ckptmgr.formats.tensor_slice import TensorSlice, slice_from_proto, slice_to_proto
from ckptmgr.formats.varint import encode_varint
from ckptmgr.formats.versions import CHECKPOINT_VERSION, check_checkpoint_version

HEADER_KEY = b""
"""Where the header stands; it sorts before every tensor name."""

_DTYPE_TAG = 0x08
_SHAPE_TAG = 0x12
SHARD_ID_TAG = b"\x18"
OFFSET_TAG = b"\x20"
_SIZE_TAG = b"\x28"
_CRC32C_TAG = b"\x35"
CRC32C_BYTES = 4
# Up to nine bytes of varint are a number below 2**63, so never negative.
_MAX_NATURAL_BYTES = 9
# Two bytes make a slice that takes hundreds in memory; partitions are hundreds at most.
_MOST_SLICES = 65536
_MAX_INT32 = 2**31 - 1
# Distinct (dtype, shape) pairs remembered; models have some hundreds.
_CACHED_SHAPES = 4096


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What holds for a whole bundle."""

    num_shards: int
    big_endian: bool = False
    producer: int = CHECKPOINT_VERSION
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()


class BundleEntry(NamedTuple):
    """Where one tensor, or one stored slice of it, lies and what it is.

    A tensor stored in slices has an entry of its own which only describes it: there `slices` is
    not empty and shard, offset, size and checksum mean nothing.
    """

    dtype: int
    """A DataType; a plain int where this package does not know the number."""
    shape: tuple[int, ...]
    shard_id: int = 0
    offset: int = 0
    size_bytes: int = 0
    crc32c: int = 0
    """Masked, as stored."""
    slices: tuple[TensorSlice, ...] = ()


def encode_header(header: BundleHeader) -> bytes:
    """Encode the value of HEADER_KEY."""
    version = VersionDef(
        producer=header.producer,
        min_consumer=header.min_consumer,
        bad_consumers=header.bad_consumers,
    )
    endianness = BundleHeaderProto.BIG if header.big_endian else BundleHeaderProto.LITTLE
    message = BundleHeaderProto(
        num_shards=header.num_shards, endianness=endianness, version=version
    )
    return message.SerializeToString()


def decode_header(data: bytes) -> BundleHeader:
    """Decode the value of HEADER_KEY.

    Raises:
        MalformedEntry: It is no bundle header.
        UnsupportedVersion: It asks for a later reader.
    """
    try:
        message = BundleHeaderProto.FromString(data)
    except DecodeError as error:
        raise MalformedEntry(f"the bundle header does not parse ({error})") from None
    check_checkpoint_version(message.version)
    if message.num_shards < 1:
        raise MalformedEntry(
            "the bundle header counts no shards", expected="at least 1", found=message.num_shards
        )
    if message.endianness not in (BundleHeaderProto.LITTLE, BundleHeaderProto.BIG):
        raise MalformedEntry(
            "the bundle header names an unknown byte order",
            expected="0 (little) or 1 (big)",
            found=message.endianness,
        )
    return BundleHeader(
        num_shards=message.num_shards,
        big_endian=message.endianness == BundleHeaderProto.BIG,
        producer=message.version.producer,
        min_consumer=message.version.min_consumer,
        bad_consumers=tuple(message.version.bad_consumers),
    )


def encode_entry(entry: BundleEntry) -> bytes:
    """Encode an entry into the bytes that TensorFlow would write."""
    encoded = _encode_dtype_and_shape(entry.dtype, entry.shape)
    if entry.shard_id:
        encoded += SHARD_ID_TAG + encode_varint(entry.shard_id)
    if entry.offset:
        encoded += OFFSET_TAG + encode_varint(entry.offset)
    if entry.size_bytes:
        encoded += _SIZE_TAG + encode_varint(entry.size_bytes)
    if entry.crc32c:
        encoded += _CRC32C_TAG + entry.crc32c.to_bytes(4, "little")
    if entry.slices:
        slices = BundleEntryProto(slices=map(slice_to_proto, entry.slices))
        encoded += slices.SerializeToString()
    return encoded


def decode_entry(data: bytes) -> BundleEntry:
    """Decode an entry; what its dtype and size mean together is `check_entry_size`'s.

    Raises:
        MalformedEntry: It does not parse, or a field has a value that no writer gives it.
        MalformedSlices: A slice in it is none.
    """
    return decode_as_written(data) or _decode_message(data)


def check_entry_size(entry: BundleEntry) -> None:
    """Raise unless the stored size is what dtype and shape ask for.

    Strings and variants have no size of their own: their decoders check it.

    Raises:
        MalformedEntry: It is not.
        UnsupportedDtype: The dtype is not known, or cannot be stored.
    """
    if entry.dtype in (DataType.DT_STRING, DataType.DT_VARIANT):
        return
    size_bytes = math.prod(entry.shape) * dtypes.item_size_bytes(entry.dtype)
    if entry.size_bytes != size_bytes:
        raise MalformedEntry(
            "invalid size in bundle entry",
            expected=f"size {size_bytes}",
            found=f"stored size {entry.size_bytes}",
        )


@lru_cache(_CACHED_SHAPES)
def _encode_dtype_and_shape(dtype: int, shape: tuple[int, ...]) -> bytes:
    # Given as a message the shape is emitted even for a scalar, where it is empty.
    message = BundleEntryProto(dtype=dtype, shape=encode_shape(shape))  # type: ignore[arg-type]
    return message.SerializeToString()


class Head(NamedTuple):
    """What the bytes up to the shape tell."""

    dtype: int
    shape: tuple[int, ...]
    size_bytes: int
    #: What a tensor of that size has in front of its checksum.
    size_and_tag: bytes


@lru_cache(_CACHED_SHAPES)
def decode_head(data: bytes) -> Head | None:
    """None where the entry must be decoded as a message: there is no size to expect, or no head."""
    # One byte each of dtype and of shape length: all that TensorFlow is likely to write.
    if len(data) < 4 or data[0] != _DTYPE_TAG or data[2] != _SHAPE_TAG or data[1] | data[3] >= 0x80:
        return None
    message = _parse(data)
    dtype, shape = dtypes.known(message.dtype), decode_shape(message.shape)
    try:
        size_bytes = math.prod(shape) * dtypes.item_size_bytes(dtype)
    except UnsupportedDtype:
        return None
    size = _SIZE_TAG + encode_varint(size_bytes) if size_bytes else b""
    return Head(dtype, shape, size_bytes, size + _CRC32C_TAG)


def decode_as_written(data: bytes) -> BundleEntry | None:
    """The entry, if it is laid out as in the module's docstring and has no slices."""
    shape_end = 4 + data[3] if len(data) > 3 else 0
    head = decode_head(data[:shape_end])
    if head is None:
        return None
    dtype, shape, size_bytes, size_and_tag = head
    size_start = len(data) - CRC32C_BYTES - len(size_and_tag)
    if size_start < shape_end or data[size_start:-CRC32C_BYTES] != size_and_tag:
        return None
    shard_id = offset = 0
    position = shape_end
    if position < size_start and data[position] == SHARD_ID_TAG[0]:
        shard_id, position = decode_natural(data, position + 1)
    if position < size_start and data[position] == OFFSET_TAG[0]:
        offset, position = decode_natural(data, position + 1)
    if position != size_start or shard_id > _MAX_INT32:
        return None
    crc32c = int.from_bytes(data[-CRC32C_BYTES:], "little")
    return BundleEntry(dtype, shape, shard_id, offset, size_bytes, crc32c)


def decode_natural(data: bytes, start: int) -> tuple[int, int]:
    """A varint and where it ends: behind all of the data if it is too long."""
    value = shift = 0
    for byte in data[start : start + _MAX_NATURAL_BYTES]:
        if byte < 0x80:
            return value | byte << shift, start + shift // 7 + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return 0, len(data) + 1


def _decode_message(data: bytes) -> BundleEntry:
    message = _parse(data)
    for field in ("shard_id", "offset", "size"):
        value = getattr(message, field)
        if value < 0:
            raise MalformedEntry(
                f"negative {field} in a bundle entry", expected="at least 0", found=value
            )
    if len(message.slices) > _MOST_SLICES:
        raise MalformedSlices(
            "a bundle entry has too many slices",
            expected=f"at most {_MOST_SLICES}",
            found=len(message.slices),
        )
    return BundleEntry(
        dtype=dtypes.known(message.dtype),
        shape=decode_shape(message.shape),
        shard_id=message.shard_id,
        offset=message.offset,
        size_bytes=message.size,
        crc32c=message.crc32c,
        slices=tuple(map(slice_from_proto, message.slices)),
    )


def _parse(data: bytes) -> BundleEntryProto:
    try:
        return BundleEntryProto.FromString(data)
    except DecodeError as error:
        raise MalformedEntry(f"a bundle entry does not parse ({error})") from None
