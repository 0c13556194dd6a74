from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import InvalidArgument
from ckptmgr.formats.table_reader import decode_block, decode_footer, decode_table
from ckptmgr.formats.table_writer import encode_table

GOLDEN = Path(__file__).parents[1] / "golden"
# Made by hand with another block size, and with compression.
NOT_OF_TENSORFLOW = {"tiny_blocks.index", "snappy_index.index"}
TABLES = sorted(
    path
    for path in (*GOLDEN.rglob("*.index"), *(GOLDEN / "v1_ckpt").glob("*ckpt-10*"))
    if path.name not in NOT_OF_TENSORFLOW and path.suffix != ".meta"
)


def index_of(table: bytes) -> list[tuple[bytes, bytes]]:
    handle = decode_footer(table[-48:], len(table)).index
    return [*decode_block(table[handle.offset : handle.offset + handle.size_bytes + 5]).items()]


def separators_of(table: bytes) -> list[bytes]:
    return [separator for separator, _ in index_of(table)]


def test_golden_tables_are_found() -> None:
    assert len(TABLES) >= 20


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_encodes_to_the_bytes_that_tensorflow_wrote(path: Path) -> None:
    table = path.read_bytes()
    assert encode_table([*decode_table(table).items()]) == table


def names_of_several_blocks() -> list[str]:
    names = [f"model/layer_{i // 8:04d}/block_{i % 8}/kernel" for i in range(12000)]
    # Prefixes of each other, keys that need long varints, and giants of more than two blocks.
    names += ["p" * length for length in (1, 2, 100, 127, 128, 129, 300, 40000)]
    names += ["q" + "x" * 600000, "q" + "x" * 600000 + "y", "q" + "x" * 599999 + "z", "r"]
    names += ["z\x00", "z\x00\x00", "z\x7f", "\u00ff", "\uffff"]
    return sorted(names)


def test_encodes_several_blocks_to_the_bytes_that_tensorflow_writes(
    tf: Any, tmp_path: Path
) -> None:
    names = names_of_several_blocks()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(1.0)] * len(names),
    )
    table = (tmp_path / "m.index").read_bytes()
    entries = [*decode_table(table).items()]
    assert [key for key, _ in entries] == [b"", *(sorted(name.encode() for name in names))]
    assert len(index_of(table)) > 4
    assert encode_table(entries) == table


EMPTY_BLOCK = bytes.fromhex("0000000001000000" + "00" + "c0f2a1b0")
FOOTER_MAGIC = bytes.fromhex("57fb808b247547db")


def test_a_table_without_entries_is_two_empty_blocks_and_a_footer() -> None:
    handles = bytes.fromhex("0008" + "0d08")
    assert encode_table([]) == EMPTY_BLOCK * 2 + handles.ljust(40, b"\0") + FOOTER_MAGIC


def test_every_byte_of_a_small_table() -> None:
    table = encode_table([(b"", b"H"), (b"ab", b"1"), (b"abc", b"22")])
    block = (
        b"\x00\x00\x01H" + b"\x00\x02\x01ab1" + b"\x02\x01\x02c22" + bytes([0] * 4 + [1, 0, 0, 0])
    )
    index = b"\x00\x01\x02b\x00" + bytes([len(block)]) + bytes([0] * 4 + [1, 0, 0, 0])
    assert table.startswith(block + b"\x00")
    metaindex_at = len(block) + 5
    index_at = metaindex_at + len(EMPTY_BLOCK)
    assert table[metaindex_at:index_at] == EMPTY_BLOCK
    assert table[index_at:].startswith(index + b"\x00")
    handles = bytes([metaindex_at, 8, index_at, len(index)])
    assert table[index_at + len(index) + 5 :] == handles.ljust(40, b"\0") + FOOTER_MAGIC


@pytest.mark.parametrize(
    ("last", "following", "separator"),
    [
        (b"abc", b"abf", b"abd"),
        (b"abc", b"abd", b"abc"),
        (b"ab", b"abc", b"ab"),
        (b"a\xff", b"b", b"a\xff"),
        (b"a\xfe\x01", b"a\xff", b"a\xfe\x01"),
        (b"a\x01\x01", b"c", b"b"),
        (b"", b"c", b""),
    ],
)
def test_separator_between_blocks(last: bytes, following: bytes, separator: bytes) -> None:
    table = encode_table([(last, b""), (following, b"")], block_size_bytes=1)
    assert separators_of(table)[0] == separator


@pytest.mark.parametrize(
    ("last", "separator"),
    [
        (b"plain", b"q"),
        (b"\xff\xffa\xff", b"\xff\xffb"),
        (b"\xff\xff", b"\xff\xff"),
        (b"", b""),
    ],
)
def test_separator_behind_the_last_block(last: bytes, separator: bytes) -> None:
    assert separators_of(encode_table([(last, b"v")])) == [separator]


def test_a_block_ends_with_the_entry_that_fills_it() -> None:
    # An entry is 3 + 1 + 4 bytes, a block 8 more: the second entry makes the estimate 24.
    entries = [(b"%d" % i, b"four") for i in range(5)]
    assert len(index_of(encode_table(entries, block_size_bytes=24))) == 3
    assert len(index_of(encode_table(entries, block_size_bytes=25))) == 2


def test_a_giant_entry_gets_a_block_of_its_own() -> None:
    giant = bytes(2 * 100 - 1)
    entries = [(b"a", b""), (b"b", giant), (b"c", b"")]
    assert separators_of(encode_table(entries, block_size_bytes=100)) == [b"a", b"b", b"d"]
    entries[1] = (b"b", giant[1:])
    assert separators_of(encode_table(entries, block_size_bytes=100)) == [b"b", b"d"]


keys_and_values = st.dictionaries(
    st.binary(max_size=12) | st.binary(max_size=3).map(lambda key: key * 60),
    st.binary(max_size=200),
    max_size=60,
).map(lambda entries: sorted(entries.items()))


@given(keys_and_values, st.integers(1, 400), st.integers(1, 40))
def test_round_trip(
    entries: list[tuple[bytes, bytes]], block_size_bytes: int, restart_interval: int
) -> None:
    table = encode_table(
        entries, block_size_bytes=block_size_bytes, restart_interval=restart_interval
    )
    assert [*decode_table(table).items()] == entries


@given(st.lists(st.text("\x00\x01\xff", max_size=6), unique=True))
def test_round_trip_of_keys_that_differ_by_zero_bytes(names: list[str]) -> None:
    entries = sorted((name.encode("latin-1"), b"v") for name in names)
    assert [*decode_table(encode_table(entries)).items()] == entries


@pytest.mark.parametrize(
    "keys", [[b"b", b"a"], [b"", b""], [b"a", b"a"], [b"a", b""], [b"ab", b"a"]]
)
def test_refuses_keys_that_do_not_ascend(keys: list[bytes]) -> None:
    with pytest.raises(InvalidArgument, match=r"ascending, found b'.*' after b'.*'"):
        encode_table([(key, b"") for key in keys])


@pytest.mark.parametrize(
    ("block_size_bytes", "restart_interval"), [(0, 16), (-1, 16), (2**31, 16), (4096, 0)]
)
def test_refuses_sizes_out_of_range(block_size_bytes: int, restart_interval: int) -> None:
    with pytest.raises(InvalidArgument, match="block size"):
        encode_table([], block_size_bytes=block_size_bytes, restart_interval=restart_interval)


def test_refuses_a_value_of_4_gib() -> None:
    # Zeros that nobody touches cost no memory.
    with pytest.raises(
        InvalidArgument, match="below 4 GiB, found a key of 1 and a value of 429496"
    ):
        encode_table([(b"k", bytes(2**32))])
