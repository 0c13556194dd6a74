"""Legal checkpoints that TensorFlow reads but never writes itself.

Written byte by byte, with nothing of this project, so that they can be held against it. make.py
runs this, and TensorFlow reads every file back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cramjam
import crc32c
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.protobuf import tensor_bundle_pb2

HANDMADE: dict[str, np.ndarray[Any, Any]] = {
    "a": np.arange(6, dtype="float32").reshape(2, 3),
    "b": np.array([0, 10, 20, 30], "int64"),
    "c": np.array(2.5),
    "z": np.zeros((0, 3), "float32"),
}
DENSE = {"a": 0, "b": 24, "c": 56, "z": 64}
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
CRC_MASK_DELTA = 0xA282EAD8


def varint(value: int) -> bytes:
    """Encode an unsigned number in groups of seven bits, lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def masked_crc(data: bytes) -> int:
    """Compute the CRC-32C as TensorFlow stores it."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + CRC_MASK_DELTA) & 0xFFFFFFFF


def shared_length(first: bytes, second: bytes) -> int:
    """Count the bytes that two keys begin with in common."""
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)


def table_block(entries: list[tuple[bytes, bytes]], restart_interval: int) -> bytes:
    """Encode one block without its trailer."""
    block = bytearray()
    restarts = [0]
    previous = b""
    for index, (key, value) in enumerate(entries):
        shared = shared_length(previous, key)
        if index and index % restart_interval == 0:
            restarts.append(len(block))
        if index % restart_interval == 0:
            shared = 0
        block += varint(shared) + varint(len(key) - shared) + varint(len(value))
        block += key[shared:] + value
        previous = key
    for number in (*restarts, len(restarts)):
        block += number.to_bytes(4, "little")
    return bytes(block)


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Decode a number; return it and the offset behind it."""
    value = shift = 0
    while data[offset] >= 0x80:
        value |= (data[offset] & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
    return value | data[offset] << shift, offset + 1


def read_block(table: bytes, handle: bytes) -> list[tuple[bytes, bytes]]:
    """Decode an uncompressed block of a table that TensorFlow wrote."""
    start, at = read_varint(handle, 0)
    size, _ = read_varint(handle, at)
    block = table[start : start + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    entries = []
    at, key = 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        rest, at = read_varint(block, at)
        length, at = read_varint(block, at)
        key = key[:shared] + block[at : at + rest]
        entries.append((key, block[at + rest : at + rest + length]))
        at += rest + length
    return entries


def read_table(table: bytes) -> list[tuple[bytes, bytes]]:
    """Decode every entry of a table that TensorFlow wrote."""
    footer = table[-48:]
    _, at = read_varint(footer, 0)
    _, at = read_varint(footer, at)
    return [
        entry for _, handle in read_block(table, footer[at:]) for entry in read_block(table, handle)
    ]


def separator(last: bytes, following: bytes) -> bytes:
    """Find a short key from `last` up to, not including, `following`."""
    for index, (low, high) in enumerate(zip(last, following, strict=False)):
        if low != high:
            return last[:index] + bytes([low + 1]) if low + 1 < high else last
    return last


def write_table(
    path: Path,
    entries: list[tuple[bytes, bytes]],
    *,
    block_bytes: int,
    restart_interval: int = 16,
    snappy: bool = False,
) -> None:
    """Write a table whose data blocks end once they hold `block_bytes`."""
    file = bytearray()

    def store(block: bytes) -> bytes:
        kind = bytes([snappy])
        stored = bytes(cramjam.snappy.compress_raw(block)) if snappy else block
        handle = varint(len(file)) + varint(len(stored))
        file.extend(stored + kind + masked_crc(stored + kind).to_bytes(4, "little"))
        return handle

    index = []
    group: list[tuple[bytes, bytes]] = []
    for position, entry in enumerate(entries):
        group.append(entry)
        if position + 1 == len(entries):
            index.append((bytes([entry[0][0] + 1]), store(table_block(group, restart_interval))))
        elif len(table_block(group, restart_interval)) >= block_bytes:
            between = separator(entry[0], entries[position + 1][0])
            index.append((between, store(table_block(group, restart_interval))))
            group = []
    handles = store(table_block([], restart_interval)) + store(table_block(index, 1))
    path.write_bytes(bytes(file) + handles.ljust(40, b"\0") + TABLE_MAGIC)


def bundle_entries(
    offsets: dict[str, int], *, num_shards: int = 1, shard_id: int = 0, big_endian: bool = False
) -> list[tuple[bytes, bytes]]:
    """Make the index entries of the handmade tensors."""
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=num_shards, endianness=int(big_endian))
    header.version.producer = 1
    messages: dict[str, Message] = {"": header}
    for name, array in HANDMADE.items():
        data = (array.byteswap() if big_endian else array).tobytes()
        entry = tensor_bundle_pb2.BundleEntryProto(
            dtype=tf.as_dtype(array.dtype).as_datatype_enum,
            shard_id=shard_id,
            offset=offsets[name],
            size=len(data),
            crc32c=masked_crc(data),
        )
        entry.shape.SetInParent()
        for size in array.shape:
            entry.shape.dim.add(size=size)
        messages[name] = entry
    return [(name.encode(), message.SerializeToString()) for name, message in messages.items()]


def shard(
    offsets: dict[str, int], size_bytes: int, tail: bytes, *, big_endian: bool = False
) -> bytes:
    """Lay the handmade tensors out in a shard; every hole is filled with EE."""
    data = bytearray(b"\xee" * size_bytes)
    for name, array in HANDMADE.items():
        content = (array.byteswap() if big_endian else array).tobytes()
        data[offsets[name] : offsets[name] + len(content)] = content
    return bytes(data) + tail


def write_handmade(folder: Path, v1_file: Path) -> None:
    """Holes, any order, unused shards, big-endian values, compressed and tiny blocks.

    `v1_snappy` is the given V1 checkpoint, compressed.
    """
    one = ".data-00000-of-00001"
    tail = b"trailing junk"
    gaps = {"a": 4096, "b": 8192, "c": 12288, "z": 16384}
    backwards = {"a": 1000, "b": 500, "c": 100, "z": 0}
    shards = {
        f"gap4096{one}": shard(gaps, 16384, tail),
        f"reversed{one}": shard(backwards, 1024, tail),
        "absent_shards.data-00001-of-00003": shard(DENSE, 64, tail),
        f"big_endian{one}": shard(DENSE, 64, tail, big_endian=True),
        f"snappy_index{one}": shard(DENSE, 64, tail),
        f"tiny_blocks{one}": shard(DENSE, 64, tail),
    }
    for name, content in shards.items():
        (folder / name).write_bytes(content)
    indexes = {
        "gap4096": bundle_entries(gaps),
        "reversed": bundle_entries(backwards),
        "absent_shards": bundle_entries(DENSE, num_shards=3, shard_id=1),
        "big_endian": bundle_entries(DENSE, big_endian=True),
    }
    for name, entries in indexes.items():
        write_table(folder / f"{name}.index", entries, block_bytes=262144)
    dense = bundle_entries(DENSE)
    write_table(folder / "snappy_index.index", dense, block_bytes=262144, snappy=True)
    write_table(folder / "tiny_blocks.index", dense, block_bytes=50, restart_interval=1)
    v1_entries = read_table(v1_file.read_bytes())
    write_table(folder / "v1_snappy", v1_entries, block_bytes=300, snappy=True)
    for prefix in (*indexes, "snappy_index", "tiny_blocks"):
        reader = tf.train.load_checkpoint(str(folder / prefix))
        for name, value in HANDMADE.items():
            np.testing.assert_array_equal(reader.get_tensor(name), value)
    assert tf.train.load_checkpoint(str(folder / "v1_snappy")).get_tensor("scalar") == 2.5
