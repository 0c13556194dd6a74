"""Reading a bundle: every value verified against its checksum, nothing read that is not asked for.

A reader opens the index and the shards at once, so that it goes on reading when the checkpoint is
deleted or replaced under it. An entry may say anything: its offset and size are held against the
file before memory is taken for it.

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle import arrays, batch, slices
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.bundle_files import BundleFiles
from ckptmgr.bundle.index import is_numbers, tensor_of_key
from ckptmgr.bundle.neighbours import Rows
from ckptmgr.bundle.opening import open_unchanged
from ckptmgr.bundle.read_engine import ReadObserver, fill, read_exactly
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Region, TensorSlice, resolve_slice
from ckptmgr.storage.protocol import Storage

# For so many names all of the index is read: looking up one takes as long as decoding some tens.
_MANY = 64


class BundleReader:
    """The tensors under one prefix. Several threads may read at a time.

    Args:
        observer: Told of each few megabytes of numbers that were read and verified.
    Raises:
        CheckpointNotFound: No index of that prefix.
        CorruptCheckpoint: The index is damaged.
    """

    def __init__(self, storage: Storage, prefix: str, observer: ReadObserver | None = None) -> None:
        self.prefix = prefix
        index = naming.index_file(prefix)
        try:
            self._files = open_unchanged(
                storage, [index], lambda: BundleFiles(storage, prefix, observer)
            )
        except errors.FileMissing:
            raise errors.CheckpointNotFound(
                f"no checkpoint at {prefix}: {index} does not exist"
            ) from None
        self._index = self._files.index
        self._verified: set[str] = set()

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()

    @property
    def num_shards(self) -> int:
        return self._files.num_shards

    def entries(self) -> dict[str, BundleEntry]:
        """Every tensor's entry by name, sorted."""
        return self._index.entries()

    def stored_entries(self) -> Iterator[tuple[bytes, BundleEntry]]:
        """The entries that have bytes, of whole tensors and of slices, by key."""
        return self._index.stored_entries()

    def entry(self, name: str) -> BundleEntry:
        """The entry of one tensor.

        Raises:
            TensorNotFound: With the names closest to it.
        """
        found = self._index.entry(name)
        if found is None:
            raise errors.TensorNotFound(
                f"Key {name} not found in checkpoint {self.prefix}."
                f"{errors.near_misses(name, self._index.entries())}"
            )
        return found

    def __contains__(self, name: str) -> bool:
        return self._index.entry(name) is not None

    def stored_bytes(self, name: str) -> int:
        """How many bytes of the shards a tensor takes."""
        entry = self.entry(name)
        if not entry.slices:
            return entry.size_bytes
        found = [self._index.slice_entry(name, part) for part in entry.slices]
        return sum(stored.size_bytes for stored in found if stored)

    def read(self, name: str) -> Array:
        """The value of a tensor, in C order; strings as an object array of bytes.

        Raises:
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        entry = self.entry(name)
        return self._read_region(name, entry, slices.whole(entry.shape))

    def read_into(self, name: str, target: Array) -> None:
        """Read a tensor into an array of its shape and dtype; as `read_many`."""
        self.read_many([name], {name: target})

    def read_many(
        self, names: Iterable[str] | None = None, into: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """`read` of several tensors, of all by default, in far less time than one by one.

        New arrays of small tensors may share memory: as long as one of them lives, so do the few
        megabytes that were read with it. They never overlap.

        Args:
            into: Arrays to be filled instead of new ones, by name; they are what is returned. One
                that is contiguous and in native byte order is read into without a copy.
        Raises:
            TensorNotFound, UnsupportedDtype, ShapeMismatch, DtypeMismatch, InvalidArgument: Naming
                the tensor; no array has been changed.
            CorruptCheckpoint, StorageError: Arrays of `into` may have been overwritten, wholly or
                in part, with bytes that are not verified.
        """
        targets = into or {}
        wanted, rows, others = self._select(names)
        arrays.check_asked(targets, frozenset(wanted) if targets else ())
        for name in targets.keys() & others.keys():
            dtype = arrays.numpy_dtype(name, others[name].dtype)
            arrays.check_target(name, targets[name], others[name].shape, dtype)
        found = batch.Batch(self._files, rows, targets).read()
        for name, entry in others.items():
            found[name] = self._read_region(name, entry, slices.whole(entry.shape))
            if name in targets:
                np.copyto(targets[name], found[name])
                found[name] = targets[name]
        return {name: found[name] for name in wanted}

    def _select(
        self, names: Iterable[str] | None
    ) -> tuple[list[str], Rows, dict[str, BundleEntry]]:
        """Names, without repetitions; numbers stored whole as rows; the entries of the others."""
        wanted = None if names is None else list(dict.fromkeys(names))
        if wanted is not None and len(wanted) < _MANY:
            entries = {name: self.entry(name) for name in wanted}
            rows = batch.rows_of([item for item in entries.items() if is_numbers(item[1])])
            return wanted, rows, {n: e for n, e in entries.items() if not is_numbers(e)}
        listing = self._index.listing()
        if wanted is None:
            return listing.names, Rows([*listing.rows], listing.columns), listing.others
        listed = [name for name in wanted if name in listing.rows]
        columns = listing.columns.take(np.array([listing.rows[n] for n in listed], np.int64))
        others = {}
        if len(listed) < len(wanted):
            others = {name: self.entry(name) for name in wanted if name not in listing.rows}
        return wanted, Rows(listed, columns), others

    def map(self, name: str) -> Array:
        """The value of a tensor, read-only, where possible as a map of its file: without a copy.

        The first call for a name verifies its checksum. What cannot be mapped is read: strings,
        partitioned tensors, other byte orders, and tensors that are not aligned for their dtype.
        A map remains when the reader is closed. It shows what is in the file at the time: the file
        must not be written to or cut short meanwhile (to replace or delete it is fine).

        Raises:
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        entry = self.entry(name)
        dtype = arrays.numpy_dtype(name, entry.dtype)
        # An empty tensor need not lie in its file; strings have no fixed place for an element.
        is_numbers = entry.size_bytes and not entry.slices and not dtype.hasobject
        if not is_numbers or self._files.is_swapped or entry.offset % dtype.alignment:
            array = self.read(name)
            array.flags.writeable = False
            return array
        self._files.check_size(name, entry)
        mapped = self._files.mapped(name, entry)
        if name not in self._verified:
            # Read, not touched: that is faster, and a file cut short is an error, not a signal.
            fill([batch.run_of(self._files, name, entry, None)])
            self._verified.add(name)
        self._new_array(name, (0,) * len(entry.shape), dtype)  # refuses too many dimensions
        view: Array = np.ndarray(entry.shape, dtype, mapped)
        return view

    def read_slice(self, name: str, part: TensorSlice, *, verify: bool = True) -> Array:
        """One slice of a tensor, whether it is stored whole or in other slices.

        Args:
            verify: A checksum is that of everything that is stored under it, so all of that is
                read, however small the slice. False: of a tensor of numbers that is stored whole
                read only the range of the first dimension that the slice lies in, unverified.
        Raises:
            InvalidArgument: The slice does not fit the tensor.
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        entry = self.entry(name)
        try:
            region = resolve_slice(part, entry.shape)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"tensor {name!r}: {error}") from None
        has_rows = entry.size_bytes and entry.shape and not entry.slices
        if verify or not has_rows or entry.dtype == DataType.DT_STRING:
            return self._read_region(name, entry, region)
        return self._read_unverified(name, entry, region)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Read every byte of some tensors, of all by default, and compare their checksums.

        Raises:
            TensorNotFound: There is no tensor of one of the names.
            CorruptCheckpoint: At one that differs.
        """
        for error in self.damage(names):
            raise error

    def damage(self, names: Iterable[str] | None = None) -> Iterator[errors.CorruptCheckpoint]:
        """As `verify`, and go on: yields what is wrong with each damaged tensor.

        Raises:
            TensorNotFound: There is no tensor of one of the names.
            CorruptCheckpoint: The index cannot be listed.
        """
        entries = self.entries()
        wanted = entries.keys() if names is None else frozenset(names)
        for name in wanted - entries.keys():
            self.entry(name)  # raises
        for name, entry in entries.items():
            try:
                if entry.slices and name in wanted:
                    self._stored_parts(name, entry, slices.whole(entry.shape))
            except errors.CorruptCheckpoint as error:
                yield error
        numeric = []
        for key, entry in self.stored_entries():
            name = tensor_of_key(key)
            if names is not None and name not in wanted:
                continue
            try:
                if self._verify_alone(name, entry):
                    numeric.append((name, entry))
            except errors.CorruptCheckpoint as error:
                yield error
        yield from batch.damage(self._files, numeric)

    def _verify_alone(self, name: str, entry: BundleEntry) -> bool:
        """Hold an entry against its file; whether its bytes remain to be verified, as numbers."""
        # The bytes of a dtype that only a later TensorFlow knows have a checksum all the same.
        with suppress(errors.UnsupportedDtype):
            self._files.check_size(name, entry)
        if entry.size_bytes:
            self._files.shard_of(name, entry)
        if entry.dtype == DataType.DT_STRING:
            self._read_strings(name, entry)
        elif entry.dtype == DataType.DT_VARIANT:
            self._verify_variants(name, entry)
        else:
            return True
        return False

    # ----------------------------------------------------------------------- tensors

    def _read_region(self, name: str, entry: BundleEntry, region: Region) -> Array:
        if not entry.slices:
            # The checksum is that of the whole, so the whole is read.
            value = self._read_entry(name, entry)
            if region.lengths != entry.shape:
                value = value[region.within(slices.whole(entry.shape))].copy()
            return value
        # Every part is held against its file before memory is taken for the whole.
        parts = self._stored_parts(name, entry, region)
        dtype = arrays.numpy_dtype(name, entry.dtype)
        target = self._new_array(name, region.lengths, dtype)
        for part, stored in parts:
            # The ellipsis makes it a view where a scalar would be a copy.
            index: tuple[Any, ...] = (*part.shared.within(region), ...)
            place = target[index]
            if part.shared == part.stored_region and arrays.can_fill(place):
                batch.read_alone(self._files, name, stored, place)
            else:
                value = self._read_entry(name, stored)
                place[...] = value[part.shared.within(part.stored_region)]
        return target

    def _stored_parts(
        self, name: str, entry: BundleEntry, region: Region
    ) -> list[tuple[slices.Part, BundleEntry]]:
        """The slices that make up a region, with the entries that have their bytes."""
        try:
            parts = slices.cover(entry.shape, entry.slices, region)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None
        return [(part, self._slice_entry(name, entry, part)) for part in parts]

    def _slice_entry(self, name: str, entry: BundleEntry, part: slices.Part) -> BundleEntry:
        """The entry with the bytes of one part, as far as it agrees with the tensor's own."""
        stored = self._index.slice_entry(name, part.stored)
        expected = (entry.dtype, part.stored_region.lengths)
        if stored is None or (stored.dtype, stored.shape) != expected or stored.slices:
            raise errors.MalformedSlices(
                f"the entry of slice {part.stored} is missing or not of its tensor",
                path=self._index.path,
                tensor=name,
                expected=f"{dtypes.name(entry.dtype)} {part.stored_region.lengths}",
                found=None if stored is None else f"{dtypes.name(stored.dtype)} {stored.shape}",
            )
        self._files.check_size(name, stored)
        self._files.shard_of(name, stored)
        return stored

    def _new_array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        try:
            return arrays.new_array(shape, dtype)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None

    # ----------------------------------------------------------------------- runs of bytes

    def _read_entry(self, name: str, entry: BundleEntry) -> Array:
        """The value of an entry that has bytes of its own."""
        if entry.dtype == DataType.DT_STRING:
            self._files.check_size(name, entry)
            return self._read_strings(name, entry)
        return batch.read_alone(self._files, name, entry)

    def _read_unverified(self, name: str, entry: BundleEntry, region: Region) -> Array:
        """A region of a numeric tensor that is stored whole, from the rows that it lies in."""
        dtype = arrays.numpy_dtype(name, entry.dtype)
        self._files.check_size(name, entry)
        shard = self._files.shard_of(name, entry)
        rows = self._new_array(name, (region.lengths[0], *entry.shape[1:]), dtype)
        row_bytes = entry.size_bytes // entry.shape[0]
        offset = entry.offset + region.starts[0] * row_bytes
        read_exactly(shard, arrays.memory_of(rows), offset, name)
        if self._files.is_swapped:
            arrays.swap_bytes(rows)
        if rows.shape == region.lengths:
            return rows
        within = region.within(slices.whole(entry.shape))
        index: tuple[slice, ...] = (slice(None), *within[1:])
        part: Array = rows[index].copy()
        return part

    def _read_strings(self, name: str, entry: BundleEntry) -> Array:
        shard = self._files.shard_of(name, entry)
        data = shard.read(entry.offset, entry.size_bytes)
        try:
            strings = string_tensor.decode_strings(
                data,
                math.prod(entry.shape),
                entry.crc32c,
                big_endian=self._index.header.big_endian,
            )
            return arrays.string_array(entry.shape, strings)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=shard.path, tensor=name) from None

    def _verify_variants(self, name: str, entry: BundleEntry) -> None:
        shard = self._files.shard_of(name, entry)
        data = shard.read(entry.offset, entry.size_bytes)
        try:
            string_tensor.decode_variants(data, math.prod(entry.shape), entry.crc32c)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=shard.path, tensor=name) from None
