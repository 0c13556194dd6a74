"""Reading many tensors of a bundle at once: everything is checked, then everything is read.

Nothing is read, and no target touched, before every entry has been held against its dtype, its
shape and its file. Then each shard is read in the order of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle import arrays, neighbours
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.bundle_files import BundleFiles
from ckptmgr.bundle.neighbours import Block, Rows
from ckptmgr.bundle.read_engine import Item, Run, checksum_mismatch, fill
from ckptmgr.formats.bundle_entries import columns_of
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.crc32c import mask
from ckptmgr.storage.protocol import ReadableFile

_EMPTY_CHECKSUM = mask(0)

# No writer lets tensors overlap; one that stores equal ones once would stay far below.
_MOST_OVERLAP = 16

# What is verified at once: long enough for every thread, short enough to be read again.
_GROUP_BYTES = 256 << 20


def rows_of(items: Sequence[Item]) -> Rows:
    """Numeric tensors whose entries were decoded one by one."""
    return Rows([name for name, _ in items], columns_of([entry for _, entry in items]))


def read_alone(
    files: BundleFiles, name: str, entry: BundleEntry, target: Array | None = None
) -> Array:
    """Read one numeric tensor into a new array, or into one whose bytes can be filled as they are.

    Raises:
        CorruptCheckpoint, UnsupportedDtype, StorageError: Naming the tensor.
    """
    dtype = _check_form(files, name, entry)
    if entry.size_bytes:
        files.shard_of(name, entry)  # before memory is taken for it
    array = arrays.new_array(entry.shape, dtype) if target is None else target
    if entry.size_bytes:
        fill([run_of(files, name, entry, arrays.memory_of(array))], files.observer)
    else:
        _check_empty(files, name, entry)
    if files.is_swapped:
        arrays.swap_bytes(array)
    return array


class Batch:
    """Numeric tensors that have bytes of their own.

    Args:
        targets: What to fill, by name; the others get new arrays.
    Raises:
        CorruptCheckpoint, UnsupportedDtype: Naming the tensor.
        ShapeMismatch, DtypeMismatch, InvalidArgument: It cannot go into its target.
    """

    def __init__(self, files: BundleFiles, rows: Rows, targets: Mapping[str, Array]) -> None:
        self._files = files
        self._rows = rows
        self._targets = targets
        self._found: dict[str, Array] = {}
        #: What holds each form.
        self._dtypes = self._check_forms()
        self._check_extents()
        if targets:
            self._check_targets()

    def read(self) -> dict[str, Array]:
        """The arrays by name, targets filled and new ones.

        Raises:
            CorruptCheckpoint, StorageError: Targets may hold other values than before.
        """
        rows = self._rows
        sizes_bytes = rows.columns.sizes_bytes
        for row in np.flatnonzero(sizes_bytes == 0).tolist():
            _check_empty(self._files, rows.names[row], rows.columns.entry(row))
            self._deliver(rows.names[row], self._new_array(row))
        groups, others = neighbours.group(rows)
        self._fill(_in_order(rows, others[sizes_bytes[others] > 0]))
        for members in groups:
            self._cut(_read_block(self._files, members))
        return self._found

    def _check_forms(self) -> list[np.dtype[Any]]:
        columns = self._rows.columns
        kinds = np.stack((columns.form_of, columns.sizes_bytes))
        _, firsts = np.unique(kinds, axis=1, return_index=True)
        found = [np.dtype(np.void)] * len(columns.forms)
        for row in sorted(firsts.tolist()):
            dtype = _check_form(self._files, self._rows.names[row], columns.entry(row))
            found[columns.form_of[row]] = dtype
        return found

    def _check_extents(self) -> None:
        """Hold the end of every tensor against its shard."""
        columns = self._rows.columns
        ends = columns.offsets + columns.sizes_bytes
        # An empty tensor's offset may lie beyond its shard, and the shard may be missing. An end
        # beyond what 64 bits can say is the largest as an unsigned number.
        full = np.flatnonzero(columns.sizes_bytes)
        order = full[np.lexsort((ends[full].view(np.uint64), columns.shard_ids[full]))]
        borders = np.flatnonzero(np.diff(columns.shard_ids[order])) + 1
        for of_shard in np.split(order, borders) if len(order) else ():
            try:
                shard = _shard_of(self._files, self._rows, of_shard[-1])
            except errors.TruncatedFile:
                for row in of_shard:
                    _shard_of(self._files, self._rows, row)  # raises for the first that is cut off
                raise
            self._check_overlap(of_shard, shard)

    def _check_overlap(self, of_shard: Array, shard: ReadableFile) -> None:
        """Refuse a shard that stands for far more than it holds, the same bytes in many tensors."""
        total_bytes = self._rows.columns.sizes_bytes[of_shard].sum(dtype=np.float64)
        if total_bytes > _MOST_OVERLAP * shard.size_bytes:
            raise errors.MalformedEntry(
                f"the tensors of {shard.path} share its bytes",
                path=self._files.index.path,
                tensor=self._rows.names[of_shard[-1]],
                expected=f"at most {_MOST_OVERLAP} times {shard.size_bytes} bytes",
                found=f"{total_bytes:.0f} bytes",
            )

    def _check_targets(self) -> None:
        columns = self._rows.columns
        for name, form in zip(self._rows.names, columns.form_of.tolist(), strict=True):
            target = self._targets.get(name)
            if target is not None:
                arrays.check_target(name, target, columns.forms[form][1], self._dtypes[form])

    def _new_array(self, row: int) -> Array:
        columns = self._rows.columns
        form = columns.form_of[row]
        return arrays.new_array(columns.forms[form][1], self._dtypes[form])

    def _fill(self, numbers: Sequence[int]) -> None:
        runs = []
        filled = []
        for row in numbers:
            name, entry = self._rows.names[row], self._rows.columns.entry(row)
            target = self._targets.get(name)
            is_direct = target is not None and arrays.can_fill(target)
            array = target if is_direct and target is not None else self._new_array(row)
            filled.append((name, array))
            runs.append(run_of(self._files, name, entry, arrays.memory_of(array)))
        fill(runs, self._files.observer)
        for name, array in filled:
            if self._files.is_swapped:
                arrays.swap_bytes(array)
            self._deliver(name, array)

    def _cut(self, block: Block) -> None:
        found = zip(block.rows.names, neighbours.cut(block, self._dtypes), strict=True)
        if not self._targets and not self._files.is_swapped:
            self._found.update(found)
            return
        for name, array in found:
            if self._files.is_swapped:
                arrays.swap_bytes(array)
            self._deliver(name, array)

    def _deliver(self, name: str, array: Array) -> None:
        target = self._targets.get(name, array)
        if target is not array:
            np.copyto(target, array)
        self._found[name] = target


def damage(files: BundleFiles, items: Iterable[Item]) -> Iterator[errors.CorruptCheckpoint]:
    """Read the bytes of entries that lie within their shards; yields what is wrong with them.

    Sizes are taken as they are.

    Raises:
        StorageError: The system cannot read a shard.
    """
    for group in _groups(sorted(items, key=lambda item: (item[1].shard_id, item[1].offset))):
        try:
            _verify(files, group)
        except errors.CorruptCheckpoint:
            # Which ones: read again one by one, most likely from the system's cache.
            for item in group:
                try:
                    _verify(files, [item])
                except errors.CorruptCheckpoint as error:
                    yield error


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    group: list[Item] = []
    room = _GROUP_BYTES
    for item in items:
        if group and room < item[1].size_bytes:
            yield group
            group, room = [], _GROUP_BYTES
        group.append(item)
        room -= item[1].size_bytes
    if group:
        yield group


def _verify(files: BundleFiles, items: list[Item]) -> None:
    rows = rows_of(items)
    for name, entry in items:
        if not entry.size_bytes:
            _check_empty(files, name, entry)
    groups, others = neighbours.group(rows)
    full = [row for row in _in_order(rows, others) if items[row][1].size_bytes]
    fill([run_of(files, *items[row], None) for row in full], files.observer)
    for members in groups:
        _read_block(files, members)


def run_of(files: BundleFiles, name: str, entry: BundleEntry, target: memoryview | None) -> Run:
    """An entry with bytes as the engine reads it."""
    shard = files.shard_of(name, entry)
    return Run(name, shard, entry.offset, entry.size_bytes, entry.crc32c, target)


def _check_form(files: BundleFiles, name: str, entry: BundleEntry) -> np.dtype[Any]:
    """What holds a tensor, once its size and its number of dimensions are sure to be possible."""
    held_as = arrays.numpy_dtype(name, entry.dtype)
    files.check_size(name, entry)
    try:
        arrays.new_array((0,) * len(entry.shape), held_as)
    except errors.CorruptCheckpoint as error:
        raise error.located(path=files.index.path, tensor=name) from None
    return held_as


def _check_empty(files: BundleFiles, name: str, entry: BundleEntry) -> None:
    """Compare the checksum of a tensor without bytes."""
    if entry.crc32c != _EMPTY_CHECKSUM:
        raise checksum_mismatch(files.shard_path(entry.shard_id), name, entry.crc32c, 0)


def _shard_of(files: BundleFiles, rows: Rows, row: int) -> ReadableFile:
    """The file of a tensor, once it is sure that it holds it."""
    return files.shard_of(rows.names[row], rows.columns.entry(row))


def _read_block(files: BundleFiles, members: Rows) -> Block:
    return neighbours.read_block(_shard_of(files, members, 0), members, files.observer)


def _in_order(rows: Rows, numbers: Array) -> list[int]:
    """Rows in the order of their bytes."""
    columns = rows.columns.take(numbers)
    ordered: list[int] = numbers[np.lexsort((columns.offsets, columns.shard_ids))].tolist()
    return ordered
