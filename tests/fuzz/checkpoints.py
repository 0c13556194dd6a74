"""Checkpoints changed on purpose: decoded, some things made wrong, encoded, all sums right.

An input is the packed files of one checkpoint (`packing`). What cannot be decoded any more is
changed as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message

from ckptmgr import errors
from ckptmgr._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import encode_slice_key, slice_from_proto
from ckptmgr.formats.varint import encode_varint
from ckptmgr.saved_model.object_graph import OBJECT_GRAPH_KEY
from ckptmgr.storage import MemoryStorage
from tests.fuzz import tables
from tests.fuzz.mutation import mutate_bytes, mutate_int, mutate_message
from tests.fuzz.packing import pack, unpack

_SHARD = "m.data-00000-of-00001"
# The index of a bundle is the first file; its shards follow.
_INDEX = 0
_LARGEST_SHARD_BYTES = 1 << 16
_UNSIZED = (int(DataType.DT_STRING), int(DataType.DT_VARIANT))


def mutate_bundle(data: bytes, random: Random) -> bytes:
    files = unpack(data)
    entries = tables.take_apart(files.get(_INDEX, b""))
    if entries is None or random.random() < 0.05:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(_BUNDLE_CHANGES)(entries, files, random)
    if random.random() < 0.8:
        _make_consistent(entries, files, random)
    files[_INDEX] = _table(entries, random)
    return pack(files)


def mutate_object_graph(index: bytes, shard: bytes, random: Random) -> tuple[bytes, bytes]:
    """Change which tensor of a checkpoint is the value of which object, if it says so."""
    storage = MemoryStorage()
    for path, content in (("m.index", index), (_SHARD, shard)):
        storage.create(path).write([content], 0)
    try:
        with CheckpointReader("m", storage=storage) as reader:
            tensors = reader.get_tensors()
        graph = TrackableObjectGraph.FromString(tensors[OBJECT_GRAPH_KEY])
    except (errors.CheckpointError, DecodeError, KeyError, TypeError):
        return index, shard
    for _ in range(random.choice((1, 2, 4))):
        mutate_message(graph, random)
    message = graph.SerializeToString(deterministic=True)
    return staged({**tensors, OBJECT_GRAPH_KEY: np.array(message, object)})


def staged(tensors: dict[str, Any]) -> tuple[bytes, bytes]:
    """The index and the only shard of a checkpoint."""
    storage = MemoryStorage()
    named = [NamedTensor(name, _array(value)) for name, value in sorted(tensors.items())]
    options = WriteOptions("0" * 32, durable=False, alignment_bytes=1)
    stage(storage, "m", [named], options).publish()
    files = (storage.open("m.index"), storage.open(_SHARD))
    index, shard = (file.read(0, file.size_bytes) for file in files)
    return index, shard


def _array(value: Any) -> Any:
    return np.array(value, object) if isinstance(value, bytes) else value


def mutate_v1(data: bytes, random: Random) -> bytes:
    files = unpack(data)
    number = random.choice(sorted(files) or [0])
    entries = tables.take_apart(files.get(number, b""))
    if entries is None or random.random() < 0.05:
        return mutate_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(_V1_CHANGES)(entries, files, random)
    files[number] = _table(entries, random)
    return pack(files)


def _table(entries: list[tables.Entry], random: Random) -> bytes:
    if random.random() < 0.95:
        entries = sorted(dict(entries).items())
    kind = random.choice(("block", "stored", "index", "metaindex", "handle", "footer", "type"))
    times = 1 if random.random() < 0.15 else 0

    def tamper(piece_kind: str, piece: bytes) -> bytes:
        nonlocal times
        if piece_kind != kind or not times:
            return piece
        times -= 1
        return mutate_bytes(piece, random)

    return tables.put_together(
        entries,
        block_bytes=random.choice((1, 40, 200, 4096, 1 << 18)),
        restart_interval=random.choice((1, 2, 16, 1000)),
        compress=random.random() < 0.3,
        tamper=tamper,
    )


def _change(entries: list[tables.Entry], place: int, kind: type[Message], random: Random) -> None:
    """Change the message that an entry holds, or its bytes if it holds none."""
    key, value = entries[place]
    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError:
        entries[place] = (key, mutate_bytes(value, random))
        return
    if random.random() < 0.9:
        mutate_message(message, random)
        entries[place] = (key, message.SerializeToString())
    else:
        entries[place] = (key, mutate_bytes(value, random))


# --------------------------------------------------------------------------- what both have


def _change_key(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    if entries:
        place = _place(entries, random)
        key, value = entries[place]
        entries[place] = (mutate_bytes(key, random), value)


def _drop(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    if entries:
        del entries[_place(entries, random)]


def _repeat(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    if entries:
        key, value = random.choice(entries)
        times = random.choice((1, 1, 3, 70))
        entries += [(key + str(number).encode(), value) for number in range(times)]


def _place(entries: list[tables.Entry], random: Random) -> int:
    """Any entry, but seldom the first: without the header nothing else is looked at."""
    seldom = 0 if random.random() < 0.1 else 1
    return random.randrange(min(seldom, len(entries) - 1), len(entries))


def _exchange(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    if entries:
        place, other = _place(entries, random), _place(entries, random)
        entries[place] = (entries[place][0], entries[other][1])


def _change_file(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    number = random.randrange(6)
    if number in files and random.random() < 0.2:
        del files[number]
    else:
        files[number] = mutate_bytes(files.get(number, b""), random)


# --------------------------------------------------------------------------- V2


def _change_header(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    for place, (key, _) in enumerate(entries):
        if not key:
            _change(entries, place, BundleHeaderProto, random)
            return


def _change_entry(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    places = [place for place, (key, _) in enumerate(entries) if key]
    if places:
        _change(entries, random.choice(places), BundleEntryProto, random)


def _change_strings(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    """Store other strings, or lengths that lie, behind what a shard has."""
    for place, (key, value) in enumerate(entries):
        entry = _parsed(value) if key else None
        if entry is None or int(entry.dtype) not in _UNSIZED:
            continue
        count = min(math.prod(dim.size for dim in entry.shape.dim), 300)
        lengths = [random.choice((0, 1, 5, 127, 128, 300)) for _ in range(max(count, 0))]
        content = b"".join(map(random.randbytes, lengths))
        if lengths and random.random() < 0.4:
            spot = random.randrange(len(lengths))
            lengths[spot] = abs(mutate_int(lengths[spot], random)) % 2**64
        stored = encode_lying_strings(lengths, content)
        if random.random() < 0.2:
            stored = mutate_bytes(stored, random)
        shard = files.get(1 + entry.shard_id % 5, b"")[:_LARGEST_SHARD_BYTES]
        files[1 + entry.shard_id % 5] = shard + stored
        entry.offset, entry.size = len(shard), len(stored)
        crc = crc32c(string_tensor.fixed_width_lengths(lengths, "little"))
        checksum = mask(crc).to_bytes(4, "little")
        entry.crc32c = mask(crc32c(content, crc32c(checksum, crc)))
        entries[place] = (key, entry.SerializeToString())
        return


def encode_lying_strings(lengths: list[int], content: bytes) -> bytes:
    """A string tensor whose lengths are as given, their checksum right."""
    checksum = mask(crc32c(string_tensor.fixed_width_lengths(lengths, "little")))
    return b"".join([*map(encode_varint, lengths), checksum.to_bytes(4, "little"), content])


def _make_consistent(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    """Give numeric entries the size of their shape and the checksum of their bytes.

    And slices of a tensor the keys that they are looked up by. As far as can be.
    """
    fix_sizes = random.random() < 0.6
    for place, (key, value) in enumerate(entries):
        entry = _parsed(value) if key else None
        if entry is None or int(entry.dtype) in _UNSIZED:
            continue
        shard = files.get(1 + entry.shard_id % 5, b"")
        if fix_sizes:
            try:
                size = dtypes.item_size_bytes(entry.dtype)
                size *= math.prod(dim.size for dim in entry.shape.dim)
            except errors.UnsupportedDtype:
                continue
            if 0 <= size <= _LARGEST_SHARD_BYTES:
                entry.size = size
                if 0 <= entry.offset <= len(shard) < entry.offset + size:
                    shard += bytes(entry.offset + size - len(shard))
                    files[1 + entry.shard_id % 5] = shard
        if entry.offset >= 0 and 0 <= entry.size <= _LARGEST_SHARD_BYTES:
            entry.crc32c = mask(crc32c(shard[entry.offset : entry.offset + entry.size]))
        entries[place] = (key, entry.SerializeToString())
    if random.random() < 0.5:
        _add_slices(entries, random)


def _add_slices(entries: list[tables.Entry], random: Random) -> None:
    """Entries for the slices that some tensor says it has."""
    known = dict(entries)
    stored = [value for key, value in entries if key.startswith(b"\0")]
    for key, value in list(entries):
        entry = _parsed(value) if key else None
        if entry is None or not stored:
            continue
        for part in entry.slices[:10]:
            try:
                slice_key = encode_slice_key(key.decode(), slice_from_proto(part))
            except (errors.CheckpointError, UnicodeDecodeError):
                continue
            if slice_key not in known:
                entries.append((slice_key, random.choice(stored)))


def _parsed(value: bytes) -> BundleEntryProto | None:
    try:
        return BundleEntryProto.FromString(value)
    except DecodeError:
        return None


# --------------------------------------------------------------------------- V1


def _change_saved(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    """Change the list of tensors, or one of them; mostly, the key follows."""
    if not entries:
        return
    place = 0 if random.random() < 0.4 else random.randrange(len(entries))
    _change(entries, place, SavedTensorSlices, random)
    key, value = entries[place]
    if not key or random.random() < 0.3:
        return
    try:
        data = SavedTensorSlices.FromString(value).data
        entries[place] = (encode_slice_key(data.name, slice_from_proto(data.slice)), value)
    except Exception:  # noqa: BLE001 - it is no message any more, or one that has no key
        return


_LISTED_DTYPES: tuple[Any, ...] = (1, 2, 3, 7, 8, 9, 10, 18, 19)


def _list_stored(entries: list[tables.Entry], files: dict[int, bytes], random: Random) -> None:
    """Make the list of tensors name what is stored."""
    for place, (key, value) in enumerate(entries):
        if key:
            continue
        try:
            contents = SavedTensorSlices.FromString(value)
            listed = {tensor.name: tensor for tensor in contents.meta.tensor}
            for other_key, other in entries:
                data = SavedTensorSlices.FromString(other).data if other_key else None
                if data is not None and data.name not in listed:
                    tensor = contents.meta.tensor.add(name=data.name)
                    tensor.slice.append(data.slice)
                    tensor.type = random.choice(_LISTED_DTYPES)
        except Exception:  # noqa: BLE001 - it is no message any more
            return
        entries[place] = (key, contents.SerializeToString())


_Change = Callable[[list[tables.Entry], dict[int, bytes], Random], None]
_BUNDLE_CHANGES: tuple[_Change, ...] = (
    *(_change_entry,) * 8,
    *(_change_key, _drop, _repeat, _exchange, _change_file, _change_header),
    *(_change_strings,) * 2,
)
_V1_CHANGES: tuple[_Change, ...] = (
    *(_change_saved,) * 8,
    *(_change_key, _drop, _repeat, _exchange, _change_file, _list_stored),
)
