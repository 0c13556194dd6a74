"""Reading tables: crafted ones with valid checksums, and damaged ones."""

from __future__ import annotations

import sys
from pathlib import Path

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import (
    ChecksumMismatch,
    CorruptCheckpoint,
    MalformedTable,
    MissingExtra,
    NotATable,
    TruncatedFile,
)
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.table import BlockHandle, Footer, encode_footer, encode_handle
from ckptmgr.formats.table_reader import (
    Entry,
    block_extent,
    decode_block,
    decode_footer,
    decode_table,
    find_block,
)
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.varint import encode_varint

GOLDEN = Path(__file__).parents[1] / "golden"


# --------------------------------------------------------------------------- crafting


def u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


ONE_RESTART = u32(0, 1)


def entry(shared: int, unshared: bytes, value: bytes = b"v") -> bytes:
    lengths = (shared, len(unshared), len(value))
    return b"".join(map(encode_varint, lengths)) + unshared + value


def sealed(contents: bytes, block_type: int = 0) -> bytes:
    """A block as stored, with the checksum that fits."""
    typed = contents + bytes((block_type,))
    return typed + u32(mask(crc32c(typed)))


def block_of(*keys: bytes) -> bytes:
    return b"".join(entry(0, key) for key in keys) + ONE_RESTART


def table_of(blocks: list[bytes], separators: list[bytes], index: bytes | None = None) -> bytes:
    """A table file around stored blocks; `index` replaces the contents of the index block."""
    handles = []
    data = b""
    for stored in (*blocks, sealed(ONE_RESTART)):
        handles.append(BlockHandle(len(data), len(stored) - 5))
        data += stored
    if index is None:
        pairs = zip(separators, handles, strict=False)
        index = b"".join(entry(0, key, encode_handle(handle)) for key, handle in pairs)
        index += ONE_RESTART
    index_handle = BlockHandle(len(data), len(index))
    return data + sealed(index) + encode_footer(Footer(handles[-1], index_handle))


# --------------------------------------------------------------------------- sound tables


def test_reads_every_restart_interval_and_unusual_layout() -> None:
    keys = [b"a", b"ab", b"abc", b"abd"]
    contents = entry(0, b"a") + entry(1, b"b") + entry(2, b"c") + entry(2, b"d")
    assert [key for key, _ in [*decode_block(sealed(contents + ONE_RESTART)).items()]] == keys
    restarts = u32(0, 5, 10, 3)
    assert [key for key, _ in [*decode_block(sealed(contents + restarts)).items()]] == keys


def test_reads_lengths_of_several_bytes() -> None:
    long = b"k" * 300
    contents = entry(0, long, b"v" * 200) + entry(300, b"2", b"") + ONE_RESTART
    assert [*decode_block(sealed(contents)).items()] == [(long, b"v" * 200), (long + b"2", b"")]


def test_reads_a_block_without_entries() -> None:
    assert [*decode_block(sealed(ONE_RESTART)).items()] == []


def test_reads_snappy_blocks() -> None:
    contents = block_of(*(b"key%02d" % i for i in range(100)))
    stored = sealed(bytes(cramjam.snappy.compress_raw(contents)), block_type=1)
    assert [*decode_block(stored).items()] == [*decode_block(sealed(contents)).items()]


@pytest.mark.parametrize("name", ["tiny_blocks", "snappy_index", "gap4096"])
def test_reads_tables_of_other_writers(name: str) -> None:
    entries = [*decode_table((GOLDEN / "handmade" / f"{name}.index").read_bytes()).items()]
    plain = [*decode_table((GOLDEN / "handmade" / "reversed.index").read_bytes()).items()]
    assert [key for key, _ in entries] == [key for key, _ in plain]


def test_reads_a_compressed_v1_checkpoint() -> None:
    entries = [*decode_table((GOLDEN / "handmade" / "v1_snappy").read_bytes()).items()]
    plain = [*decode_table((GOLDEN / "v1_ckpt" / "model.ckpt-10").read_bytes()).items()]
    assert entries == plain


def test_allows_gaps_between_blocks_and_empty_blocks() -> None:
    blocks = [sealed(block_of(b"a")), sealed(ONE_RESTART), sealed(block_of(b"c"))]
    table = table_of(blocks, [b"a", b"b", b"d"])
    assert [*decode_table(table).items()] == [(b"a", b"v"), (b"c", b"v")]
    handle = decode_footer(table[-48:], len(table))
    gap = table[:-48] + b"junk" + encode_footer(handle)
    assert [*decode_table(gap).items()] == [*decode_table(table).items()]


def test_keys_that_tensorflow_itself_writes_never_exceed_the_key_budget() -> None:
    # The worst case of restart interval 16: giant keys that differ in their last byte alone.
    prefix = b"k" * 200_000
    entries = [(prefix + bytes((i,)), b"") for i in range(16)]
    table = encode_table(entries, block_size_bytes=1 << 20)
    assert len(table) < 210_000
    assert [*decode_table(table).items()] == entries


# --------------------------------------------------------------------------- looking one key up


def test_looks_a_key_up_with_footer_index_and_one_block() -> None:
    entries = [(b"key%05d" % i, b"%d" % i) for i in range(0, 5000, 2)]
    table = encode_table(entries, block_size_bytes=512)
    handle = decode_footer(table[-48:], len(table)).index
    offset, length = block_extent(handle, len(table))
    index = [*decode_block(table[offset : offset + length]).items()]
    assert len(index) > 40

    def look_up(key: bytes) -> bytes | None:
        found = find_block(index, key)
        if found is None:
            return None
        offset, length = block_extent(found, len(table))
        return dict(decode_block(table[offset : offset + length])).get(key)

    for key, value in entries:
        assert look_up(key) == value
    for i in range(1, 5000, 2):
        assert look_up(b"key%05d" % i) is None
    assert look_up(b"") is None
    assert look_up(b"z") is None


@pytest.mark.parametrize(
    ("key", "found"), [(b"", 0), (b"a", 0), (b"b", 0), (b"b\x00", 1), (b"d", 1), (b"d\x00", None)]
)
def test_a_separator_belongs_to_the_block_in_front_of_it(key: bytes, found: int | None) -> None:
    handles = [BlockHandle(0, 10), BlockHandle(15, 20)]
    index = [(b"b", encode_handle(handles[0])), (b"d", encode_handle(handles[1]))]
    assert find_block(index, key) == (None if found is None else handles[found])


@pytest.mark.parametrize(
    ("value", "message"), [(b"\x05", "over the end"), (b"\x05\x06\x07", "more than a handle")]
)
def test_find_block_refuses_what_is_no_handle(value: bytes, message: str) -> None:
    with pytest.raises(MalformedTable, match=message):
        find_block([(b"b", value)], b"a")


# --------------------------------------------------------------------------- refused blocks

A = entry(0, b"a")
LONG = b"k" * 5000

MALFORMED_BLOCKS = {
    "unknown type": (sealed(A + ONE_RESTART, 2), "unknown type: .*, found 2"),
    "not snappy": (sealed(b"\x05\xff\xff", 1), "does not decompress"),
    "snappy bomb": (sealed(encode_varint(10**9) + b"\x00a", 1), "claims to be too long"),
    "snappy without length": (sealed(b"", 1), "over the end"),
    "no restart count": (sealed(b""), "impossible number of restarts"),
    "three bytes": (sealed(b"\x01\x00\x00"), "impossible number of restarts"),
    "no restarts": (sealed(A + u32(0)), "number of restarts: expected 1 to 1, found 0"),
    "restarts beyond block": (sealed(A + u32(0, 3)), "number of restarts: .* found 3"),
    "2**32-1 restarts": (sealed(A + u32(0, 2**32 - 1)), "number of restarts: .* found 4294967295"),
    "first restart not 0": (sealed(A + u32(1, 1)), "restart offsets .*, found 1 to 1"),
    "restart beyond entries": (sealed(A + u32(0, 6, 2)), "expected ascending from 0 to at most 5"),
    "restarts descend": (sealed(A + A + u32(0, 5, 2, 3)), "restart offsets .* are wrong"),
    "restarts repeat": (sealed(A + u32(0, 0, 2)), "restart offsets .* are wrong"),
    "key beyond block": (sealed(b"\x00\x09\x00a" + ONE_RESTART), "over the end of its block"),
    "value beyond block": (sealed(b"\x00\x01\x02av" + ONE_RESTART), "expected .* 5, found 6"),
    "entry of one byte": (sealed(b"\x00" + ONE_RESTART), "over the end of its block"),
    "huge length": (
        sealed(b"\x00\x01" + encode_varint(2**64 - 1) + b"av" + ONE_RESTART),
        "over the end of its block",
    ),
    "endless length": (sealed(b"\xff" * 20 + ONE_RESTART), "too long"),
    "length cut off": (sealed(b"\x00\x01" + b"\xff\xff" + u32(0x80808080, 1)), "restart offsets"),
    "first key shares": (sealed(entry(1, b"a") + ONE_RESTART), "at most 0 bytes, found 1 bytes"),
    "shares too much": (sealed(A + entry(2, b"b") + ONE_RESTART), "at most 1 bytes, found 2"),
    "shares far too much": (sealed(A + entry(2**60, b"b") + ONE_RESTART), "out of proportion"),
    "key bomb": (
        sealed(entry(0, LONG) + b"".join(entry(5000 + i, b"k") for i in range(999)) + ONE_RESTART),
        "out of proportion to its size",
    ),
    "keys descend": (sealed(block_of(b"b", b"a")), "strictly ascending: .* above b'b', found b'a'"),
    "key twice": (sealed(block_of(b"a", b"a")), "not strictly ascending"),
    "empty key second": (sealed(block_of(b"a", b"")), "not strictly ascending"),
    "empty key twice": (sealed(block_of(b"", b"")), "not strictly ascending"),
}


@pytest.mark.parametrize(("stored", "message"), MALFORMED_BLOCKS.values(), ids=MALFORMED_BLOCKS)
def test_refuses_a_malformed_block(stored: bytes, message: str) -> None:
    with pytest.raises(MalformedTable, match=message):
        decode_block(stored)


@pytest.mark.parametrize("size_bytes", range(5))
def test_refuses_a_block_shorter_than_its_trailer(size_bytes: int) -> None:
    with pytest.raises(TruncatedFile, match=f"at least 5 bytes, found {size_bytes} bytes"):
        decode_block(sealed(block_of(b"a"))[:size_bytes])


@pytest.mark.parametrize("position", range(len(sealed(block_of(b"a")))))
def test_refuses_a_flipped_bit_before_anything_else(position: int) -> None:
    stored = bytearray(sealed(block_of(b"a")))
    stored[position] ^= 0x10
    with pytest.raises(ChecksumMismatch, match=r"masked CRC-32C .* expected 0x\w{8}, found 0x"):
        decode_block(bytes(stored))


def test_names_the_extra_that_a_compressed_block_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(MissingExtra, match=r"pip install ckptmgr\[snappy\]"):
        decode_table((GOLDEN / "handmade" / "snappy_index.index").read_bytes())


# --------------------------------------------------------------------------- refused tables

SOUND = table_of([sealed(block_of(b"a")), sealed(block_of(b"c"))], [b"b", b"d"])


def index_with(value: bytes, key: bytes = b"z") -> bytes:
    return table_of([sealed(block_of(b"a"))], [], entry(0, key, value) + ONE_RESTART)


def with_footer(metaindex: BlockHandle, index: BlockHandle) -> bytes:
    return SOUND[:-48] + encode_footer(Footer(metaindex, index))


def with_damaged_metaindex() -> bytes:
    offset = decode_footer(SOUND[-48:], len(SOUND)).metaindex.offset
    return SOUND[:offset] + b"\x01" + SOUND[offset + 1 :]


REFUSED_TABLES = {
    "empty file": (b"", TruncatedFile, "too short to be a sorted table"),
    "47 bytes": (SOUND[-47:], TruncatedFile, "at least 48 bytes, found 47 bytes"),
    "cut off": (SOUND[:-1], NotATable, "wrong magic number: expected 0xdb4775248b80fb57"),
    "grown": (SOUND + b"\x00", NotATable, "wrong magic number"),
    "another file": (b"PK\x03\x04" + bytes(100), NotATable, "found 0x0000000000000000"),
    "index beyond file": (
        with_footer(BlockHandle(0, 1), BlockHandle(2**63, 8)),
        MalformedTable,
        "points outside the file",
    ),
    "metaindex beyond file": (
        with_footer(BlockHandle(len(SOUND), 8), BlockHandle(0, 8)),
        MalformedTable,
        "points outside the file",
    ),
    "footer of varints without end": (
        SOUND[:-48] + b"\x80" * 40 + SOUND[-8:],
        MalformedTable,
        "too long",
    ),
    "metaindex damaged": (with_damaged_metaindex(), ChecksumMismatch, "masked CRC-32C"),
    "data block beyond file": (
        index_with(encode_handle(BlockHandle(0, 10**6))),
        MalformedTable,
        "points outside the file",
    ),
    "data block in the footer": (
        index_with(encode_handle(BlockHandle(60, 20))),
        MalformedTable,
        "points outside the file",
    ),
    "half a handle": (index_with(b"\x00"), MalformedTable, "over the end of its data"),
    "handle and more": (
        index_with(encode_handle(BlockHandle(0, 13)) + b"!"),
        MalformedTable,
        "more than a handle: expected 2 bytes, found 3 bytes",
    ),
    "handle that misses its block": (
        index_with(encode_handle(BlockHandle(1, 12))),
        ChecksumMismatch,
        "masked CRC-32C",
    ),
    "index unsorted": (
        table_of([sealed(block_of(b"a")), sealed(block_of(b"c"))], [b"d", b"b"]),
        MalformedTable,
        "not strictly ascending",
    ),
    "blocks unsorted": (
        table_of([sealed(block_of(b"c")), sealed(block_of(b"a"))], [b"c", b"d"]),
        MalformedTable,
        "not strictly ascending: expected a key above b'c', found b'a'",
    ),
    "key in two blocks": (
        table_of([sealed(block_of(b"a")), sealed(block_of(b"a"))], [b"a", b"b"]),
        MalformedTable,
        "not strictly ascending",
    ),
    "key above its separator": (
        table_of([sealed(block_of(b"c")), sealed(block_of(b"d"))], [b"b", b"d"]),
        MalformedTable,
        "not strictly ascending: expected a key above b'c', found b'b'",
    ),
    "key at the separator in front": (
        table_of([sealed(block_of(b"a")), sealed(block_of(b"b"))], [b"b", b"d"]),
        MalformedTable,
        "not strictly ascending",
    ),
}


def test_the_table_that_the_refused_ones_are_made_of_is_sound() -> None:
    assert [*decode_table(SOUND).items()] == [(b"a", b"v"), (b"c", b"v")]
    assert [*decode_table(index_with(encode_handle(BlockHandle(0, 13)))).items()] == [(b"a", b"v")]


@pytest.mark.parametrize(("data", "error", "message"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_refuses_a_table(data: bytes, error: type[CorruptCheckpoint], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        decode_table(data)
    assert type(caught.value) is error


# --------------------------------------------------------------------------- any bytes at all


def check_unchanged_or_corrupt(data: bytes, entries: list[Entry]) -> bool:
    """Whether damaged `data` was refused; if not it must still hold the same."""
    try:
        decoded = [*decode_table(data).items()]
    except CorruptCheckpoint:
        return True
    assert decoded == entries
    return False


FLIPPED = ["v2_multi/model.index", "handmade/snappy_index.index", "handmade/tiny_blocks.index"]


@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_byte_is_refused_or_changes_nothing(name: str) -> None:
    sound = (GOLDEN / name).read_bytes()
    entries = [*decode_table(sound).items()]
    refused = 0
    for position in range(len(sound)):
        data = bytearray(sound)
        data[position] ^= 1 + position * 37 % 255
        refused += check_unchanged_or_corrupt(bytes(data), entries)
    # Only the zeros that fill the footer, 40 bytes less four varints, hold nothing.
    assert refused >= len(sound) - 40


@given(st.integers(0, len(SOUND) - 1))
def test_a_cut_table_is_refused(size_bytes: int) -> None:
    with pytest.raises((NotATable, TruncatedFile)):
        decode_table(SOUND[:size_bytes])


@given(st.binary(max_size=80), st.integers(0, 3))
def test_any_block_contents_give_entries_or_the_documented_error(
    contents: bytes, restarts: int
) -> None:
    stored = sealed(contents + u32(*range(restarts), restarts))
    try:
        entries = [*decode_block(stored).items()]
    except MalformedTable:
        return
    assert entries == sorted(dict(entries).items())


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_index_gives_entries_or_the_documented_error(index: bytes, handles: bytes) -> None:
    data = table_of([sealed(block_of(b"a"))], [], index + ONE_RESTART)
    footer = handles[:40].ljust(40, b"\0") + data[-8:]
    for damaged in (data, data[:-48] + footer):
        try:
            entries = [*decode_table(damaged).items()]
        except CorruptCheckpoint:
            continue
        assert entries == sorted(dict(entries).items())
