from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckptmgr.errors import (
    CorruptCheckpoint,
    MalformedEntry,
    MalformedSlices,
    UnsupportedDtype,
    UnsupportedVersion,
)
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    check_entry_size,
    decode_entry,
    decode_header,
    encode_entry,
    encode_header,
)
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.table_reader import decode_table
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, slice_to_proto

MAX_INT32, MAX_INT64, MAX_UINT32 = 2**31 - 1, 2**63 - 1, 2**32 - 1

# Every header is encoded to these bytes and decoded from them.
HEADERS = [
    (BundleHeader(1), "08011a020801"),
    (BundleHeader(200), "08c8011a020801"),
    (BundleHeader(3, big_endian=True), "080310011a020801"),
    (BundleHeader(1, producer=5, min_consumer=1, bad_consumers=(2,)), "08011a07080510011a0102"),
    (BundleHeader(1, producer=0), "08011a00"),
]
# The same for entries. The first three are as TensorFlow wrote them.
ENTRIES = [
    (BundleEntry(DataType.DT_FLOAT, (), 0, 489, 4, 0x66807E74), "0801120020e903280435747e8066"),
    (BundleEntry(DataType.DT_VARIANT, (), 0, 0, 107, 0x588E0FD4), "08151200286b35d40f8e58"),
    (
        BundleEntry(DataType.DT_INT32, (3,), 0, 107, 12, 0xC6B8BF6E),
        "0803120412020803206b280c356ebfb8c6",
    ),
    (BundleEntry(DataType.DT_INVALID, ()), "1200"),
    (BundleEntry(999, (1,)), "08e707120412020801"),
    (BundleEntry(DataType.DT_FLOAT, (0, 3), 2, 5, 0, 1), "08011206120012020803180220053501000000"),
    (
        BundleEntry(
            DataType.DT_FLOAT,
            (10, 4),
            slices=(TensorSlice((Extent(0, 4), Extent())), TensorSlice((Extent(4, 6), Extent()))),
        ),
        "08011208" + "1202080a" + "12020804" + "3a060a0210040a00" + "3a080a04080410060a00",
    ),
]
EXTENTS = st.one_of(
    st.just(Extent()),
    st.builds(Extent, st.integers(0, 2**40), st.integers(1, 2**40)),
)
SHAPES = st.one_of(
    st.lists(st.integers(0, 300), max_size=6),
    st.lists(st.integers(0, 1), max_size=254),
    st.lists(st.integers(0, 2**58), max_size=1),
).map(tuple)
BUNDLE_ENTRIES = st.builds(
    BundleEntry,
    dtype=st.one_of(st.sampled_from(DataType), st.integers(134, MAX_INT32)),
    shape=SHAPES,
    shard_id=st.one_of(st.integers(0, 300), st.integers(0, MAX_INT32)),
    offset=st.one_of(st.integers(0, 300), st.integers(0, MAX_INT64)),
    size_bytes=st.one_of(st.integers(0, 300), st.integers(0, MAX_INT64)),
    crc32c=st.integers(0, MAX_UINT32),
    slices=st.lists(st.lists(EXTENTS, max_size=3).map(tuple).map(TensorSlice), max_size=2).map(
        tuple
    ),
)


def to_message(entry: BundleEntry) -> BundleEntryProto:
    message = BundleEntryProto(
        dtype=entry.dtype,  # type: ignore[arg-type]
        shard_id=entry.shard_id,
        offset=entry.offset,
        size=entry.size_bytes,
        crc32c=entry.crc32c,
        slices=map(slice_to_proto, entry.slices),
    )
    message.shape.SetInParent()
    for size in entry.shape:
        message.shape.dim.add(size=size)
    return message


def check_against_protobuf(data: bytes) -> None:
    try:
        message = BundleEntryProto.FromString(data)
    except DecodeError:
        with pytest.raises(MalformedEntry, match="does not parse"):
            decode_entry(data)
        return
    try:
        entry = decode_entry(data)
    except CorruptCheckpoint:
        assert min(message.shard_id, message.offset, message.size) < 0 or not sound_shape(message)
        return
    assert entry.dtype == message.dtype
    assert entry.shape == tuple(dim.size for dim in message.shape.dim)
    assert (entry.shard_id, entry.offset) == (message.shard_id, message.offset)
    assert (entry.size_bytes, entry.crc32c) == (message.size, message.crc32c)
    assert len(entry.slices) == len(message.slices)


def sound_shape(message: BundleEntryProto) -> bool:
    sizes = [dim.size for dim in message.shape.dim]
    elements = math.prod(size or 1 for size in sizes)
    known = not message.shape.unknown_rank and not message.slices
    return known and len(sizes) <= 254 and all(size >= 0 for size in sizes) and elements <= 2**58


# --------------------------------------------------------------------------- header


@pytest.mark.parametrize(("header", "encoded"), HEADERS)
def test_header(header: BundleHeader, encoded: str) -> None:
    assert encode_header(header).hex() == encoded
    assert decode_header(bytes.fromhex(encoded)) == header


def test_header_without_version() -> None:
    assert decode_header(bytes.fromhex("0801")) == BundleHeader(1, producer=0)


@pytest.mark.parametrize(
    ("encoded", "error", "says"),
    [
        ("", MalformedEntry, "counts no shards: expected at least 1, found 0"),
        ("08ffffffffffffffffff01", MalformedEntry, "counts no shards.*found -1"),
        ("08011002", MalformedEntry, "unknown byte order.*found 2"),
        ("0801ff", MalformedEntry, "does not parse"),
        ("08011a021002", UnsupportedVersion, "min consumer version.*at most 1, found 2"),
        ("08011a021801", UnsupportedVersion, "disallows this consumer version"),
        ("08011a0b08ffffffffffffffffff01", UnsupportedVersion, "producer version.*found -1"),
    ],
)
def test_damaged_header(encoded: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_header(bytes.fromhex(encoded))


# --------------------------------------------------------------------------- entry


@pytest.mark.parametrize(("entry", "encoded"), ENTRIES)
def test_entry(entry: BundleEntry, encoded: str) -> None:
    assert encode_entry(entry).hex() == encoded
    decoded = decode_entry(bytes.fromhex(encoded))
    assert decoded == entry
    assert type(decoded.dtype) is type(entry.dtype)


@given(BUNDLE_ENTRIES)
def test_entry_is_what_protobuf_encodes(entry: BundleEntry) -> None:
    encoded = encode_entry(entry)
    assert encoded == to_message(entry).SerializeToString()
    assert decode_entry(encoded) == entry


# What the quick decoder must leave to protobuf, or get as right.
ALMOST_AS_WRITTEN = [
    to_message(BundleEntry(1, (1,) * 100, 1, 2, 3, 4)).SerializeToString(),
    bytes.fromhex("08011200" + "18ffffffff7f"),  # a shard_id that int32 cuts to -1
    bytes.fromhex("08011200" + "18ffffffff1f"),  # and one that it does not change
    bytes.fromhex("08011200" + "3504000a0a"),  # line feeds in the checksum
    bytes.fromhex("08011200" + "280420052003"),  # fields out of order, and twice
    bytes.fromhex("08011200" + "0802"),
    bytes.fromhex("08011200" + "12021200"),  # a second shape: its dimensions are added
    bytes.fromhex("08011205"),
    # A dtype of two bytes, the second of which looks like the tag of the shape.
    bytes.fromhex("088112" + "208500" + "121c" + "1200" * 14),
    # A shape length of two bytes, and a shape whose last byte looks like the tag of the size.
    bytes.fromhex("0801128001" + "12020801" * 31 + "12020828" + "2035" + "28012801"),
]


@pytest.mark.parametrize("data", ALMOST_AS_WRITTEN)
def test_almost_as_written(data: bytes) -> None:
    check_against_protobuf(data)


FIELDS = st.lists(
    st.one_of(
        st.builds(
            lambda name, value: BundleEntryProto(**{name: value}).SerializeToString(),
            st.sampled_from(["offset", "size", "shard_id", "dtype", "crc32c"]),
            st.integers(0, 300),
        ),
        SHAPES.map(lambda shape: to_message(BundleEntry(0, shape)).SerializeToString()),
        # Unknown fields of each wire type, and a known number with another wire type.
        st.sampled_from([b"\x78\x01", b"\x79" + bytes(8), b"\x7a\x02ab", b"\x7d" + bytes(4)]),
        st.sampled_from([b"\x0d" + bytes(4), b"\x18\x80\x00", b"\x28\x81\x80\x80\x00"]),
        st.sampled_from([b"\x18\xff\xff\xff\xff\x7f", b"\x20" + b"\xff" * 9 + b"\x01"]),
    ),
    max_size=7,
).map(b"".join)


@given(st.one_of(FIELDS, st.binary(max_size=40)))
def test_any_bytes_mean_what_they_mean_to_protobuf(data: bytes) -> None:
    check_against_protobuf(data)


@given(BUNDLE_ENTRIES, st.data())
def test_only_documented_errors_for_damaged_bytes(entry: BundleEntry, data: st.DataObject) -> None:
    damaged = bytearray(encode_entry(entry))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for decode in (decode_entry, decode_header):
        try:
            decoded = decode(cut)
        except CorruptCheckpoint:
            continue
        assert isinstance(decoded, (BundleEntry, BundleHeader))


def message_bytes(**fields: Any) -> bytes:
    return BundleEntryProto(**fields).SerializeToString()


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (message_bytes(shard_id=-1), MalformedEntry, "negative shard_id.*found -1"),
        (message_bytes(offset=-5), MalformedEntry, "negative offset.*found -5"),
        (message_bytes(dtype=1, shape={}, offset=-5), MalformedEntry, "negative offset.*found -5"),
        (message_bytes(size=-(2**63)), MalformedEntry, "negative size.*found -9223372036854775808"),
        (message_bytes(shape={"unknown_rank": True}), MalformedEntry, "has no shape"),
        (message_bytes(shape={"dim": [{"size": -1}]}), MalformedEntry, "negative size.*found -1"),
        (message_bytes(shape={"dim": [{}] * 255}), MalformedEntry, "at most 254, found 255"),
        (
            message_bytes(shape={"dim": [{"size": 2**30}, {}, {"size": 2**29}]}),
            MalformedEntry,
            "too many elements",
        ),
        (
            message_bytes(slices=[{"extent": [{"start": -1, "length": 2}]}]),
            MalformedSlices,
            "impossible extent",
        ),
        (b"\x08\x01\x12\x05", MalformedEntry, "does not parse"),
        (b"\x08\x01\x12\x02\xff\xff", MalformedEntry, "does not parse"),
        (b"\xff", MalformedEntry, "does not parse"),
    ],
)
def test_damaged_entry(data: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_entry(data)


@pytest.mark.parametrize(
    "index",
    ["v2_multi/model", "v2_variant/model", "v2_partitioned/model", "v2_sharded/model-3"],
)
def test_tensorflow_bytes(golden: Path, index: str) -> None:
    (key, header), *entries = [*decode_table((golden / f"{index}.index").read_bytes()).items()]
    assert key == HEADER_KEY
    assert encode_header(decode_header(header)) == header
    assert entries
    for name, value in entries:
        entry = decode_entry(value)
        assert encode_entry(entry) == value, name
        if not entry.slices:
            check_entry_size(entry)


# --------------------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes"),
    [
        (DataType.DT_FLOAT, (), 4),
        (DataType.DT_INT4, (3, 5), 15),
        (DataType.DT_COMPLEX128, (2, 0), 0),
        (DataType.DT_QINT32, (2,), 8),
        (DataType.DT_STRING, (2,), 1000),
        (DataType.DT_VARIANT, (2,), 1000),
    ],
)
def test_sound_size(dtype: DataType, shape: tuple[int, ...], size_bytes: int) -> None:
    check_entry_size(BundleEntry(dtype, shape, size_bytes=size_bytes))


def test_wrong_size() -> None:
    entry = BundleEntry(DataType.DT_FLOAT, (2, 4), size_bytes=31)
    with pytest.raises(MalformedEntry, match="expected size 32, found stored size 31"):
        check_entry_size(entry)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (999, "unknown_999"),
        (DataType.DT_RESOURCE, "resource"),
        (DataType.DT_FLOAT_REF, "float32_ref"),
        (DataType.DT_INVALID, "invalid"),
    ],
)
def test_size_of_a_dtype_that_cannot_be_used(dtype: int, name: str) -> None:
    with pytest.raises(UnsupportedDtype, match=name):
        check_entry_size(BundleEntry(dtype, ()))


# --------------------------------------------------------------------------- TensorFlow, speed


def test_tensorflow_reads_what_is_encoded(tf: Any, tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=["a", "b"],
        shape_and_slices=["", "6 0,6"],
        tensors=[values, values],
    )
    theirs = (tmp_path / "theirs.index").read_bytes()
    (key, header), *entries = [*decode_table(theirs).items()]
    ours = [(name, encode_entry(decode_entry(value))) for name, value in entries]
    assert encode_table([(key, encode_header(decode_header(header))), *ours]) == theirs


def test_no_tensorflow_bundle_counts_no_shards(tf: Any, tmp_path: Path) -> None:
    """Why a header with 0 shards is refused: there is no way to an empty bundle."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least minimum 1"):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "none"), tensor_names=[], shape_and_slices=[], tensors=[]
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="At least one prefix"):
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=tf.zeros([0], tf.string),
            destination_prefix=str(tmp_path / "none"),
        )
    assert BundleHeaderProto.FromString(encode_header(BundleHeader(1))).num_shards == 1


def test_twenty_thousand_entries_take_a_fraction_of_a_second() -> None:
    entries = [
        BundleEntry(DataType.DT_FLOAT, (16, index % 50), 0, 1024 * index, 1024, index * 7919)
        for index in range(20_000)
    ]
    start = time.process_time()
    encoded = [encode_entry(entry) for entry in entries]
    decoded = [decode_entry(value) for value in encoded]
    assert time.process_time() - start < 1  # 0.12 on a quiet machine
    assert decoded == entries
