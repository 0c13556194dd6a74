"""Reading many tensors of a bundle at once: everything is checked, then everything is read.

Nothing is read, and no target touched, before every entry has been held against its dtype, its
shape and its file. Then each shard is read in the order of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle import arrays
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.bundle_files import BundleFiles
from ckptmgr.bundle.read_engine import (
    SMALL_BYTES,
    Item,
    Run,
    checksum_mismatch,
    fill,
    neighbours,
    read_block,
)
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import mask

# Fewer neighbours are read as fast one by one, and keep no memory but their own.
_FEWEST_NEIGHBOURS = 16

_EMPTY_CHECKSUM = mask(0)


class Batch:
    """Numeric tensors that have entries with bytes of their own."""

    def __init__(self, files: BundleFiles) -> None:
        self._files = files
        self._items: list[Item] = []
        self._targets: dict[str, Array] = {}
        self._found: dict[str, Array] = {}
        # What has been checked already: models repeat shapes, and shards.
        self._dtypes: dict[tuple[int, tuple[int, ...], int], np.dtype[Any]] = {}
        self._limits: dict[int, int] = {}

    def add(self, name: str, entry: BundleEntry, target: Array | None) -> None:
        """Check a tensor and note it.

        Args:
            target: What to fill; None for a new array.
        Raises:
            CorruptCheckpoint, UnsupportedDtype: Naming the tensor.
            ShapeMismatch, DtypeMismatch, InvalidArgument: It cannot go into the target.
        """
        dtype, shape, shard_id, offset, size_bytes, _, _ = entry
        held_as = self._dtypes.get((dtype, shape, size_bytes))
        if held_as is None:
            held_as = self._check_form(name, entry)
        if target is not None:
            arrays.check_target(name, target, shape, held_as)
            self._targets[name] = target
        # An empty tensor's offset may lie beyond its shard, and the shard may be missing.
        if size_bytes and offset + size_bytes > self._limits.get(shard_id, -1):
            self._limits[shard_id] = self._files.shard_of(name, entry).size_bytes
        self._items.append((name, entry))

    def read(self) -> dict[str, Array]:
        """The arrays by name, targets filled and new ones.

        Raises:
            CorruptCheckpoint, StorageError: Targets may hold other values than before.
        """
        for name, entry in check_empty(self._files, self._items):
            array = self._targets.get(name)
            self._found[name] = self._new_array(entry) if array is None else array
        for blocks, others in by_shard(self._items):
            self._fill(others)
            for members in blocks:
                self._cut(members)
        return self._found

    def _check_form(self, name: str, entry: BundleEntry) -> np.dtype[Any]:
        held_as = arrays.numpy_dtype(name, entry.dtype)
        self._files.check_size(name, entry)
        try:
            arrays.new_array((0,) * len(entry.shape), held_as)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._files.index.path, tensor=name) from None
        self._dtypes[entry.dtype, entry.shape, entry.size_bytes] = held_as
        return held_as

    def _new_array(self, entry: BundleEntry) -> Array:
        held_as = self._dtypes[entry.dtype, entry.shape, entry.size_bytes]
        return arrays.new_array(entry.shape, held_as)

    def _fill(self, items: Iterable[Item]) -> None:
        runs = []
        filled = []
        for name, entry in items:
            target = self._targets.get(name)
            is_direct = target is not None and arrays.can_fill(target)
            array = target if is_direct and target is not None else self._new_array(entry)
            filled.append((name, array))
            runs.append(run_of(self._files, name, entry, arrays.memory_of(array)))
        fill(runs)
        for name, array in filled:
            if self._files.is_swapped:
                arrays.swap_bytes(array)
            self._deliver(name, array)

    def _cut(self, members: Sequence[Item]) -> None:
        memory, start = read_block(self._files.shard_of(*members[0]), members)
        targets, found, held = self._targets, self._found, self._dtypes
        is_swapped = self._files.is_swapped
        alike: tuple[int, ...] | None = None
        alike_dtype = 0
        for name, entry in members:
            dtype, shape, _, offset, size_bytes, _, _ = entry
            # Neighbours often have one decoded shape, and looking it up takes longer than a cut.
            if shape is not alike or dtype != alike_dtype:
                alike, alike_dtype = shape, dtype
                held_as = held[dtype, shape, size_bytes]
                alignment = held_as.alignment
            array: Array = np.ndarray(shape, held_as, memory, offset - start)
            if offset % alignment:
                array = array.copy()
            if is_swapped:
                arrays.swap_bytes(array)
            if name in targets:
                self._deliver(name, array)
            else:
                found[name] = array

    def _deliver(self, name: str, array: Array) -> None:
        target = self._targets.get(name, array)
        if target is not array:
            np.copyto(target, array)
        self._found[name] = target


def verify(files: BundleFiles, items: list[Item]) -> None:
    """Read the bytes of entries, whose sizes are taken as they are, and compare their checksums.

    Raises:
        CorruptCheckpoint, StorageError: Naming the tensor.
    """
    for name, entry in items:
        if entry.size_bytes:
            files.shard_of(name, entry)
    check_empty(files, items)
    for blocks, others in by_shard(items):
        fill([run_of(files, name, entry, None) for name, entry in others])
        for members in blocks:
            read_block(files.shard_of(*members[0]), members)


def run_of(files: BundleFiles, name: str, entry: BundleEntry, target: memoryview | None) -> Run:
    """An entry with bytes as the engine reads it."""
    shard = files.shard_of(name, entry)
    return Run(name, shard, entry.offset, entry.size_bytes, entry.crc32c, target)


def check_empty(files: BundleFiles, items: Iterable[Item]) -> list[Item]:
    """Those without bytes, their checksums compared."""
    empty = [item for item in items if not item[1].size_bytes]
    for name, entry in empty:
        if entry.crc32c != _EMPTY_CHECKSUM:
            raise checksum_mismatch(files.shard_path(entry.shard_id), name, entry.crc32c, 0)
    return empty


def by_shard(items: Iterable[Item]) -> list[tuple[list[Sequence[Item]], list[Item]]]:
    """Of each shard the blocks of small neighbours and all others, in the order of the file."""
    shards: dict[int, tuple[list[Item], list[Item]]] = {}
    for item in items:
        _, _, shard_id, _, size_bytes, _, _ = item[1]
        if size_bytes:
            small, others = shards.get(shard_id) or shards.setdefault(shard_id, ([], []))
            (small if size_bytes <= SMALL_BYTES else others).append(item)
    found = []
    for shard_id in sorted(shards):
        small, others = shards[shard_id]
        small.sort(key=_offset)
        groups = list(neighbours(small))
        for members in groups:
            if len(members) < _FEWEST_NEIGHBOURS:
                others.extend(members)
        others.sort(key=_offset)
        found.append(([group for group in groups if len(group) >= _FEWEST_NEIGHBOURS], others))
    return found


def _offset(item: Item) -> int:
    return item[1].offset
