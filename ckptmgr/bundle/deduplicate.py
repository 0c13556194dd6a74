"""Which tensors of a save stand in an earlier checkpoint already, bit for bit.

A shard file of the earlier checkpoint gets a second name, a hard link, under the new one; entries
of the tensors that are still the same keep their offsets in it, and all others are written anew.
Deleting either checkpoint removes its own names only.

The search narrows down, the cheapest test first:

    metadata    an entry of the same key, dtype, shape and size, at an offset fit for a memory map
    checksum    the tensor has the checksum of that entry; costs no reading
    files       of which at least half is in use, at most so many: only these are linked
    bytes       the tensor is compared with the linked file, every byte

Comparing with the link and not with the earlier name makes all of this safe while other processes
delete or replace the earlier checkpoint: whatever file the link leads to, its bytes were seen and
will stay. Nothing that goes wrong with the earlier checkpoint fails the save.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.bundle.layout import BundleLayout, ShardLayout
from ckptmgr.bundle.write_engine import CHUNK_BYTES, Pieces, for_each_chunk
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import combine, crc32c, mask
from ckptmgr.storage.protocol import ReadableFile, Storage

#: A file is linked while at least one byte in so many is in use. A byte that must be written again
#: because its file is given up is then matched by one that had changed, so that all saves together
#: write at most twice what changed, and a checkpoint takes at most twice its size on the disk.
MAX_BYTES_PER_USED_BYTE = 2

#: Files linked for each shard that the save would write without: TensorFlow opens every shard of a
#: checkpoint, and what the smallest files hold costs least to write again.
MAX_LINKS_PER_SHARD = 7

# Reading on over what is not wanted is cheaper than another call, up to about this.
_BRIDGED_BYTES = 64 << 10

# Bytes objects compare fastest while they are small; NumPy lets other threads run.
_SMALL_PIECE_BYTES = 64 << 10


class Match(NamedTuple):
    """A tensor of the plan, and the entry of the earlier checkpoint that has, or may have, it."""

    shard: int
    #: Its index in that shard.
    placement: int
    entry: BundleEntry


@dataclass(frozen=True, slots=True)
class SharedShard:
    """A shard file of the earlier checkpoint, and the tensors of the plan that it holds."""

    path: str
    matches: tuple[Match, ...]

    @property
    def used_bytes(self) -> int:
        return sum(match.entry.size_bytes for match in self.matches)


def find_shards(
    storage: Storage, plan: BundleLayout, prefix: str, alignment_bytes: int
) -> list[SharedShard]:
    """The shards of checkpoint `prefix` that are worth a link; none if it cannot be used."""
    num_shards, entries = _read_entries(storage, prefix)
    matches = _with_equal_checksums(plan, match_entries(plan, entries, alignment_bytes))
    by_shard: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        by_shard[naming.data_shard(prefix, match.entry.shard_id, num_shards)].append(match)
    shards = [SharedShard(path, tuple(found)) for path, found in sorted(by_shard.items())]
    sizes_bytes = {shard.path: _size_bytes(storage, shard.path) for shard in shards}
    limit = MAX_LINKS_PER_SHARD * len(plan.shards)
    return choose_shards(shards, sizes_bytes, alignment_bytes, limit)


def match_entries(
    plan: BundleLayout, entries: Mapping[bytes, BundleEntry], alignment_bytes: int
) -> list[Match]:
    """The tensors of a plan that may be those of the entries, by everything but their bytes."""
    matches = []
    for number, shard in enumerate(plan.shards):
        sizes_bytes = shard.sizes_bytes.tolist()
        for index, key in enumerate(shard.keys):
            entry = entries.get(key)
            # An empty tensor has no bytes to save.
            if (
                entry is not None
                and entry.size_bytes == sizes_bytes[index] > 0
                and (entry.dtype, entry.shape) == shard.form(index)[:2]
                and entry.offset % alignment_bytes == 0
            ):
                matches.append(Match(number, index, entry))
    return matches


def choose_shards(
    shards: Iterable[SharedShard],
    sizes_bytes: Mapping[str, int],
    alignment_bytes: int,
    limit: int,
) -> list[SharedShard]:
    """Of the files of which enough is in use, those of which most is."""
    worth = [
        shard
        for shard in shards
        if _is_used_enough(shard, sizes_bytes[shard.path], alignment_bytes)
    ]
    by_use = sorted(worth, key=lambda shard: shard.used_bytes, reverse=True)
    chosen = {shard.path for shard in by_use[:limit]}
    return [shard for shard in worth if shard.path in chosen]


def link_shards(
    storage: Storage,
    plan: BundleLayout,
    shards: Sequence[SharedShard],
    targets: Sequence[str],
    alignment_bytes: int,
) -> list[SharedShard]:
    """Link each shard to its target, and keep what is equal byte for byte.

    Returns:
        The targets that exist now, each with the tensors that the plan need not write.
    """
    with ExitStack() as open_files:
        linked: list[tuple[str, ReadableFile]] = []
        wanted: dict[int, dict[int, _Stored]] = defaultdict(dict)
        for shard, target in zip(shards, targets, strict=True):
            file = _link(storage, shard.path, target)
            if file is None:
                continue
            open_files.callback(file.close)
            for match in shard.matches:
                wanted[match.shard][match.placement] = _Stored(file, match.entry)
            linked.append((target, file))
        by_file: dict[ReadableFile, list[Match]] = defaultdict(list)
        for number, stored in wanted.items():
            for index in sorted(_equal_tensors(plan.shards[number], stored)):
                by_file[stored[index].file].append(Match(number, index, stored[index].entry))
        kept = []
        for target, file in linked:
            shard = SharedShard(target, tuple(by_file[file]))
            if _is_used_enough(shard, file.size_bytes, alignment_bytes):
                kept.append(shard)
            else:
                _unlink_quietly(storage, target)
    return kept


def _is_used_enough(shard: SharedShard, size_bytes: int, alignment_bytes: int) -> bool:
    # What only fills up to the next tensor is in use with the tensor.
    used_bytes = sum(
        -(-match.entry.size_bytes // alignment_bytes) * alignment_bytes for match in shard.matches
    )
    return bool(shard.matches) and used_bytes * MAX_BYTES_PER_USED_BYTE >= size_bytes


# --------------------------------------------------------------------------- the earlier checkpoint


def _read_entries(storage: Storage, prefix: str) -> tuple[int, dict[bytes, BundleEntry]]:
    """The shard count and the entries of a checkpoint; none where they are of no use."""
    try:
        file = storage.open(naming.index_file(prefix))
    except errors.StorageError:
        return 0, {}
    try:
        index = BundleIndex(file)
        if index.header.big_endian:
            return 0, {}  # one header holds for all shards, and ours says little-endian
        return index.header.num_shards, dict(index.stored_entries())
    except errors.CheckpointError:
        return 0, {}
    finally:
        file.close()


def _size_bytes(storage: Storage, path: str) -> int:
    """The size of a file; of one that is not there, too large to be in use."""
    with suppress(errors.StorageError):
        info = storage.stat(path)
        if info is not None:
            return info.size_bytes
    return 1 << 63


def _link(storage: Storage, path: str, target: str) -> ReadableFile | None:
    """The file under its new name; None where it is gone, or cannot have one.

    That is so across file systems, on some that know no hard links, for files of other users, and
    when a file has as many names as it can have.
    """
    try:
        storage.link(path, target)
        return storage.open(target)
    except errors.StorageError:
        _unlink_quietly(storage, target)
        return None


def _unlink_quietly(storage: Storage, path: str) -> None:
    with suppress(errors.StorageError):
        storage.unlink(path)


# --------------------------------------------------------------------------- comparing


def _with_equal_checksums(plan: BundleLayout, matches: Iterable[Match]) -> Iterator[Match]:
    by_shard: dict[int, list[Match]] = defaultdict(list)
    for match in matches:
        by_shard[match.shard].append(match)
    for number, found in by_shard.items():
        shard = plan.shards[number]
        checksums = _masked_checksums(shard, {match.placement for match in found})
        for match in found:
            # The checksum of strings is not that of their bytes; the layout has it already.
            index = match.placement
            if match.entry.crc32c == shard.text_checksums.get(index, checksums[index]):
                yield match


def _masked_checksums(shard: ShardLayout, wanted: set[int]) -> dict[int, int]:
    """The checksum of each tensor that is wanted and not empty, by index."""
    pieces = _pieces_of(shard, wanted)
    parts: list[tuple[int, int, int, int]] = []

    def add_chunk(chunk: int) -> None:
        for index, _, start, _, view in pieces.of_chunk(chunk):
            parts.append((index, start, len(view), crc32c(view)))

    for_each_chunk(pieces.num_chunks, lambda: add_chunk)
    checksums: dict[int, int] = {}
    for index, start, size_bytes, crc in sorted(parts):
        checksums[index] = combine(checksums[index], crc, size_bytes) if start else crc
    return {index: mask(crc) for index, crc in checksums.items()}


class _Stored(NamedTuple):
    file: ReadableFile
    entry: BundleEntry


class _Run(NamedTuple):
    """Pieces that one call reads from an earlier file."""

    file: ReadableFile
    position: int
    #: The index of each piece's tensor, where the piece begins in the run, and what to expect.
    pieces: list[tuple[int, int, memoryview]]

    @property
    def size_bytes(self) -> int:
        _, start, view = self.pieces[-1]
        return start + len(view)


def _equal_tensors(shard: ShardLayout, stored: Mapping[int, _Stored]) -> set[int]:
    """The indexes of the tensors that stand in the earlier files as they are in the plan."""
    comparison = _Comparison(shard, stored)
    for_each_chunk(comparison.pieces.num_chunks, comparison.new_worker)
    return stored.keys() - comparison.different


class _Comparison:
    """Compares a shard with files, one chunk in memory for each thread."""

    def __init__(self, shard: ShardLayout, stored: Mapping[int, _Stored]) -> None:
        self.pieces = _pieces_of(shard, stored.keys())
        self.different: set[int] = set()
        self._stored = stored

    def new_worker(self) -> partial[None]:
        return partial(self._compare_chunk, np.empty(CHUNK_BYTES, np.uint8).data)

    def _compare_chunk(self, buffer: memoryview, chunk: int) -> None:
        for run in self._runs(chunk):
            try:
                filled = run.file.read_into(buffer[: run.size_bytes], run.position)
            except errors.StorageError:
                filled = 0
            for index, start, view in run.pieces:
                end = start + len(view)
                if end > filled or not _are_equal(buffer[start:end], view):
                    self.different.add(index)

    def _runs(self, chunk: int) -> Iterator[_Run]:
        run: _Run | None = None
        for index, _, start, _, view in self.pieces.of_chunk(chunk):
            if index in self.different:
                continue
            file, entry = self._stored[index]
            position = entry.offset + start
            if run is not None:
                at = position - run.position
                gap_bytes = at - run.size_bytes
                fits = 0 <= gap_bytes <= _BRIDGED_BYTES and at + len(view) <= CHUNK_BYTES
                if file is run.file and fits:
                    run.pieces.append((index, at, view))
                    continue
                yield run
            run = _Run(file, position, [(index, 0, view)])
        if run is not None:
            yield run


def _pieces_of(shard: ShardLayout, wanted: Iterable[int]) -> Pieces:
    return Pieces(shard, skip=frozenset(range(len(shard))).difference(wanted))


def _are_equal(one: memoryview, other: memoryview) -> bool:
    if len(one) <= _SMALL_PIECE_BYTES:
        return bytes(one) == bytes(other)
    # Eight bytes at a time, twice as fast as one by one.
    even_bytes = len(one) // 8 * 8
    return bytes(one[even_bytes:]) == bytes(other[even_bytes:]) and np.array_equal(
        np.frombuffer(one[:even_bytes], np.uint64), np.frombuffer(other[:even_bytes], np.uint64)
    )
