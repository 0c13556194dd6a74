"""Indexes that no writer made, with every checksum right."""

from __future__ import annotations

import contextlib
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
)
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, encode_slice_key
from ckptmgr.storage import MemoryStorage

DATA = np.arange(4, dtype=np.float32).tobytes()
SOUND = BundleEntry(DataType.DT_FLOAT, (4,), size_bytes=16, crc32c=mask(crc32c(DATA)))
BIG = 2**40
EMPTY_CRC = mask(0)


def storage_of(
    entries: dict[bytes, bytes], header: bytes | None = None, *, data: bytes = DATA
) -> MemoryStorage:
    header = encode_header(BundleHeader(num_shards=1)) if header is None else header
    table = {**({HEADER_KEY: header} if header else {}), **entries}
    memory = MemoryStorage()
    for path, content in (
        ("m.index", encode_table(sorted(table.items()))),
        ("m.data-00000-of-00001", data),
    ):
        file = memory.create(path)
        file.write([content], 0)
    return memory


def extent(*bounds: tuple[int, int]) -> TensorSlice:
    return TensorSlice(tuple(Extent(*pair) for pair in bounds))


def proto(**fields: object) -> bytes:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=4)])
    message = BundleEntryProto(dtype="DT_FLOAT", shape=shape, size=16, crc32c=SOUND.crc32c)
    for field, value in fields.items():
        setattr(message, field, value)
    return message.SerializeToString()


def shape_proto(*sizes: int) -> bytes:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
    return BundleEntryProto(dtype="DT_FLOAT", shape=shape, size=16).SerializeToString()


def test_the_sound_one_is_read() -> None:
    with BundleReader(storage_of({b"w": encode_entry(SOUND)}), "m") as reader:
        assert reader.read("w").tolist() == [0, 1, 2, 3]
        reader.verify()


ENTRIES: dict[str, tuple[bytes, type[Exception], str]] = {
    "offset beyond the file": (
        encode_entry(SOUND._replace(offset=2**62)),
        errors.TruncatedFile,
        (
            f"m.data-00000-of-00001: the file ends before the tensor does, tensor 'w': "
            f"expected at least {2**62 + 16} bytes, found 16 bytes"
        ),
    ),
    "one byte too far": (
        encode_entry(SOUND._replace(offset=1)),
        errors.TruncatedFile,
        "tensor 'w': expected at least 17 bytes, found 16 bytes",
    ),
    "negative offset": (proto(offset=-1), errors.MalformedEntry, "m.index: negative offset .*'w'"),
    "negative size": (proto(size=-16), errors.MalformedEntry, "m.index: negative size"),
    "negative shard": (proto(shard_id=-1), errors.MalformedEntry, "m.index: negative shard_id"),
    "size of another shape": (
        encode_entry(SOUND._replace(shape=(5,))),
        errors.MalformedEntry,
        "m.index: invalid size in bundle entry, tensor 'w': expected size 20, found stored size 16",
    ),
    "huge": (
        encode_entry(SOUND._replace(shape=(BIG,), size_bytes=4 * BIG)),
        errors.TruncatedFile,
        f"tensor 'w': expected at least {4 * BIG} bytes, found 16 bytes",
    ),
    "huge and empty": (
        encode_entry(SOUND._replace(shape=(BIG,), size_bytes=0, crc32c=EMPTY_CRC)),
        errors.MalformedEntry,
        f"expected size {4 * BIG}, found stored size 0",
    ),
    "more elements than can be": (
        shape_proto(2**60, 2**60),
        errors.MalformedEntry,
        "m.index: a shape has too many elements",
    ),
    "negative dimension": (shape_proto(-4), errors.MalformedEntry, "negative size"),
    "more dimensions than an array": (
        encode_entry(SOUND._replace(shape=(1,) * 100 + (4,))),
        errors.MalformedEntry,
        "m.index: a tensor has more dimensions than a NumPy array can, tensor 'w': .*found 101",
    ),
    "shard that the header does not count": (
        encode_entry(SOUND._replace(shard_id=1)),
        errors.MalformedEntry,
        "m.index: an entry names a shard .*, tensor 'w': expected less than 1, found 1",
    ),
    "checksum 0": (
        encode_entry(SOUND._replace(crc32c=0)),
        errors.ChecksumMismatch,
        (
            f"m.data-00000-of-00001: the checksum of the tensor differs, tensor 'w': "
            f"expected 0x00000000, found 0x{SOUND.crc32c:08x}"
        ),
    ),
    "checksum of an empty tensor": (
        encode_entry(BundleEntry(DataType.DT_FLOAT, (0,), crc32c=1)),
        errors.ChecksumMismatch,
        "tensor 'w': expected 0x00000001, found 0xa282ead8",
    ),
    "strings in too few bytes": (
        encode_entry(BundleEntry(DataType.DT_STRING, (BIG,), size_bytes=16)),
        errors.MalformedTensor,
        f"a string tensor is shorter .*'w': expected at least {BIG} bytes, found 16 bytes",
    ),
    "strings of numbers": (
        encode_entry(SOUND._replace(dtype=DataType.DT_STRING)),
        errors.CorruptCheckpoint,
        "m.data-00000-of-00001: .*tensor 'w'",
    ),
    "no message": (b"\xff\xff", errors.MalformedEntry, "m.index: .*does not parse.*tensor 'w'"),
    "slices that overlap": (
        encode_entry(SOUND._replace(slices=(extent((0, 3)), extent((2, 2))))),
        errors.MalformedSlices,
        "m.index: two stored slices overlap, tensor 'w': .*found 0,3 and 2,2",
    ),
    "slices with a hole": (
        encode_entry(SOUND._replace(slices=(extent((0, 3)),))),
        errors.MalformedSlices,
        "m.index: .*do not cover the tensor, tensor 'w': expected 4 elements, found 3",
    ),
    "slice that leaves the tensor": (
        encode_entry(SOUND._replace(slices=(extent((0, 5)),))),
        errors.MalformedSlices,
        "m.index: a stored slice does not fit its tensor, tensor 'w'",
    ),
    "slice of another rank": (
        encode_entry(SOUND._replace(slices=(extent((0, 4), (0, 1)),))),
        errors.MalformedSlices,
        "does not fit its tensor, tensor 'w'",
    ),
    "slice without an entry": (
        encode_entry(SOUND._replace(slices=(extent((0, 4)),))),
        errors.MalformedSlices,
        (
            r"m.index: the entry of slice 0,4 is missing .*, tensor 'w': "
            r"expected float32 \(4,\), found None"
        ),
    ),
    "huge partitioned tensor": (
        encode_entry(SOUND._replace(shape=(BIG,), slices=(TensorSlice.full(1),))),
        errors.MalformedSlices,
        "the entry of slice - is missing",
    ),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_entry(case: str) -> None:
    encoded, error, message = ENTRIES[case]
    with BundleReader(storage_of({b"w": encoded}), "m") as reader:
        with pytest.raises(error, match=message):
            reader.read("w")
        if case != "more dimensions than an array":
            with pytest.raises(error, match=message):
                reader.verify()


WHOLE = TensorSlice.full(1)

SLICE_ENTRIES: dict[str, tuple[BundleEntry, BundleEntry, type[Exception], str]] = {
    "another dtype": (
        SOUND._replace(slices=(WHOLE,)),
        SOUND._replace(dtype=DataType.DT_INT32),
        errors.MalformedSlices,
        r"expected float32 \(4,\), found int32 \(4,\)",
    ),
    "another shape": (
        SOUND._replace(slices=(WHOLE,)),
        SOUND._replace(shape=(2, 2)),
        errors.MalformedSlices,
        r"expected float32 \(4,\), found float32 \(2, 2\)",
    ),
    "slices of its own": (
        SOUND._replace(slices=(WHOLE,)),
        SOUND._replace(slices=(WHOLE,)),
        errors.MalformedSlices,
        "not of its tensor",
    ),
    "too few bytes": (
        SOUND._replace(shape=(BIG,), slices=(WHOLE,)),
        SOUND._replace(shape=(BIG,)),
        errors.MalformedEntry,
        f"expected size {4 * BIG}, found stored size 16",
    ),
    "bytes that are not there": (
        SOUND._replace(shape=(BIG,), slices=(WHOLE,)),
        SOUND._replace(shape=(BIG,), size_bytes=4 * BIG),
        errors.TruncatedFile,
        f"expected at least {4 * BIG} bytes",
    ),
    "strings in too few bytes": (
        BundleEntry(DataType.DT_STRING, (BIG,), slices=(WHOLE,)),
        BundleEntry(DataType.DT_STRING, (BIG,), size_bytes=16),
        errors.MalformedTensor,
        f"expected at least {BIG} bytes, found 16",
    ),
    "damaged bytes": (
        SOUND._replace(slices=(WHOLE,)),
        SOUND._replace(crc32c=7),
        errors.ChecksumMismatch,
        "expected 0x00000007",
    ),
}


@pytest.mark.parametrize("case", SLICE_ENTRIES)
def test_slice_entry(case: str) -> None:
    full, stored, error, message = SLICE_ENTRIES[case]
    table = {b"w": encode_entry(full), encode_slice_key("w", WHOLE): encode_entry(stored)}
    with BundleReader(storage_of(table), "m") as reader:
        with pytest.raises(error, match=f"tensor 'w': .*{message}|{message}.*tensor 'w'"):
            reader.read("w")
        with pytest.raises(error, match=message):
            reader.verify()


HEADERS: dict[str, tuple[bytes, type[Exception], str]] = {
    "none": (b"", errors.MalformedEntry, "m.index: the index has no header"),
    "no shards": (
        BundleHeaderProto(version=VersionDef(producer=1)).SerializeToString(),
        errors.MalformedEntry,
        "m.index: the bundle header counts no shards: expected at least 1, found 0",
    ),
    "negative shards": (
        BundleHeaderProto(num_shards=-1).SerializeToString(),
        errors.MalformedEntry,
        "found -1",
    ),
    "later version": (
        BundleHeaderProto(num_shards=1, version=VersionDef(min_consumer=2)).SerializeToString(),
        errors.UnsupportedVersion,
        "m.index: checkpoint min consumer version above",
    ),
    "no message": (b"\xff", errors.MalformedEntry, "m.index: the bundle header does not parse"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_header(case: str) -> None:
    header, error, message = HEADERS[case]
    with pytest.raises(error, match=message):
        BundleReader(storage_of({b"w": encode_entry(SOUND)}, header), "m")


def test_two_billion_shards() -> None:
    header = encode_header(BundleHeader(num_shards=2**31 - 1))
    table = {b"w": encode_entry(SOUND._replace(shard_id=2**31 - 2))}
    started = time.perf_counter()
    with (
        BundleReader(storage_of(table, header), "m") as reader,
        pytest.raises(errors.MissingShard, match=r"data-2147483646-of-2147483647.*'w'"),
    ):
        reader.read("w")
    assert time.perf_counter() - started < 1


def test_name_that_is_no_text() -> None:
    table = {b"w": encode_entry(SOUND), b"\xff\xfe": encode_entry(SOUND)}
    with BundleReader(storage_of(table), "m") as reader:
        assert reader.read("w").tolist() == [0, 1, 2, 3]
        with pytest.raises(
            errors.MalformedEntry, match=re.escape(r"not UTF-8: expected text, found b'\xff\xfe'")
        ):
            reader.entries()


@pytest.mark.parametrize("dtype", [0, DataType.DT_RESOURCE, DataType.DT_FLOAT_REF, 77])
def test_dtype_that_cannot_be_held(dtype: int) -> None:
    table = {b"v": encode_entry(SOUND), b"w": encode_entry(SOUND._replace(dtype=dtype))}
    with BundleReader(storage_of(table), "m") as reader:
        assert list(reader.entries()) == ["v", "w"]
        with pytest.raises(errors.UnsupportedDtype, match="tensor 'w': no NumPy array"):
            reader.read("w")
        reader.verify()
    with (
        BundleReader(storage_of(table, data=bytes(16)), "m") as reader,
        pytest.raises(errors.ChecksumMismatch),
    ):
        reader.verify()


def test_slice_keys_without_their_tensor() -> None:
    table = {
        b"w": encode_entry(SOUND),
        encode_slice_key("lost", WHOLE): encode_entry(SOUND),
        b"\0garbage": encode_entry(SOUND),
    }
    with BundleReader(storage_of(table), "m") as reader:
        assert list(reader.entries()) == ["w"]
        reader.verify()
    table[encode_slice_key("lost", WHOLE)] = encode_entry(SOUND._replace(crc32c=1))
    with (
        BundleReader(storage_of(table), "m") as reader,
        pytest.raises(errors.ChecksumMismatch, match="tensor 'lost'"),
    ):
        reader.verify()


def test_key_that_the_fast_path_and_the_message_agree_on() -> None:
    # `proto` spells the sound entry through the generated message.
    with BundleReader(storage_of({b"w": proto()}), "m") as reader:
        assert reader.entry("w") == SOUND


SEEDS = [
    encode_entry(SOUND),
    encode_entry(BundleEntry(DataType.DT_STRING, (2,), size_bytes=16)),
    encode_entry(BundleEntry(DataType.DT_VARIANT, (), size_bytes=16)),
    encode_entry(SOUND._replace(slices=(extent((0, 2)), extent((2, 2))))),
]


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@given(st.one_of(st.binary(max_size=40), altered()), altered(), st.binary(max_size=20))
def test_any_bytes_as_entries(entry: bytes, stored: bytes, header: bytes) -> None:
    """Nothing but the documented errors comes out, whatever the index says."""
    table = {b"w": entry, encode_slice_key("w", extent((0, 2))): stored}
    for chosen in (None, header):
        with (
            contextlib.suppress(errors.CorruptCheckpoint, errors.UnsupportedDtype),
            BundleReader(storage_of(table, chosen), "m") as reader,
        ):
            for step in (reader.entries, lambda: reader.read("w"), reader.verify):
                with contextlib.suppress(errors.CorruptCheckpoint, errors.UnsupportedDtype):
                    step()
