"""Reading a bundle: every value verified against its checksum, nothing read that is not asked for.

A reader opens the index and the shards at once, so that it goes on reading when the checkpoint is
deleted or replaced under it. An entry may say anything: its offset and size are held against the
file before memory is taken for it.

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle import arrays, slices
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.index import BundleIndex, tensor_of_key
from ckptmgr.bundle.opening import open_unchanged
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.bundle_entry import BundleEntry, check_entry_size
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Region, TensorSlice, resolve_slice
from ckptmgr.storage.protocol import ReadableFile, Storage

# As in the writer: the checksum is taken while the chunk is in cache.
_CHUNK_BYTES = 4 << 20

# Shards open at once. A bundle of more shards (thousands of hosts) would use up the process's
# descriptors (1024 by default), so its shards are opened when they are read.
_MAX_OPEN_SHARDS = 256


class BundleReader:
    """The tensors under one prefix. Several threads may read at a time.

    Raises:
        CheckpointNotFound: No index of that prefix.
        CorruptCheckpoint: The index is damaged.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.prefix = prefix
        index = naming.index_file(prefix)
        try:
            self._files = open_unchanged(storage, [index], lambda: _OpenBundle(storage, prefix))
        except errors.FileMissing:
            raise errors.CheckpointNotFound(
                f"no checkpoint at {prefix}: {index} does not exist"
            ) from None
        self._index = self._files.index
        self._is_swapped = self._index.header.big_endian != (sys.byteorder == "big")

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()

    @property
    def num_shards(self) -> int:
        return self._index.header.num_shards

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

    def read_slice(self, name: str, part: TensorSlice) -> Array:
        """One slice of a tensor, whether it is stored whole or in other slices.

        Raises:
            InvalidArgument: The slice does not fit the tensor.
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        entry = self.entry(name)
        try:
            region = resolve_slice(part, entry.shape)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"tensor {name!r}: {error}") from None
        return self._read_region(name, entry, region)

    def verify(self) -> None:
        """Read every byte that an entry covers and compare its checksum.

        Raises:
            CorruptCheckpoint: At the first that differs.
        """
        for name, entry in self.entries().items():
            if entry.slices:
                self._stored_parts(name, entry, slices.whole(entry.shape))
        for key, entry in self.stored_entries():
            self._verify_entry(tensor_of_key(key), entry)

    # ----------------------------------------------------------------------- tensors

    def _read_region(self, name: str, entry: BundleEntry, region: Region) -> Array:
        dtype = self._numpy_dtype(name, entry)
        if not entry.slices:
            # The checksum is that of the whole, so the whole is read.
            value = self._read_entry(name, entry, dtype)
            if region.lengths != entry.shape:
                value = value[region.within(slices.whole(entry.shape))].copy()
            return value
        # Every part is held against its file before memory is taken for the whole.
        parts = self._stored_parts(name, entry, region)
        target = self._new_array(name, region.lengths, dtype)
        for part, stored in parts:
            # The ellipsis makes it a view where a scalar would be a copy.
            index: tuple[Any, ...] = (*part.shared.within(region), ...)
            place = target[index]
            if part.shared == part.stored_region and _can_fill(place):
                self._fill(name, stored, place)
            else:
                value = self._read_entry(name, stored, dtype)
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
        self._check_size(name, stored)
        self._bounded_shard(name, stored)
        return stored

    def _numpy_dtype(self, name: str, entry: BundleEntry) -> np.dtype[Any]:
        try:
            return dtypes.to_numpy(entry.dtype)
        except errors.UnsupportedDtype as error:
            raise errors.UnsupportedDtype(f"tensor {name!r}: {error}") from None

    def _new_array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        try:
            return arrays.new_array(shape, dtype)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None

    # ----------------------------------------------------------------------- runs of bytes

    def _read_entry(self, name: str, entry: BundleEntry, dtype: np.dtype[Any]) -> Array:
        """The value of an entry that has bytes of its own."""
        self._check_size(name, entry)
        if entry.dtype == DataType.DT_STRING:
            return self._read_strings(name, entry)
        if entry.size_bytes:
            self._bounded_shard(name, entry)
        array = self._new_array(name, entry.shape, dtype)
        self._fill(name, entry, array)
        return array

    def _fill(self, name: str, entry: BundleEntry, array: Array) -> None:
        """Read a numeric entry straight into a contiguous array of its shape."""
        self._read_verified(name, entry, _chunks(arrays.memory_of(array)))
        if self._is_swapped:
            arrays.swap_bytes(array)

    def _read_verified(self, name: str, entry: BundleEntry, targets: Iterable[memoryview]) -> None:
        """Read an entry's bytes into the targets, one after the other."""
        crc = 0
        # An empty tensor's offset may lie beyond its shard, and the shard may be missing.
        if entry.size_bytes:
            shard = self._bounded_shard(name, entry)
            position = entry.offset
            for target in targets:
                if shard.read_into(target, position) != len(target):
                    raise errors.TruncatedFile(
                        "the file became shorter while it was read",
                        path=shard.path,
                        tensor=name,
                        expected=f"{len(target)} bytes at {position}",
                        found="fewer",
                    )
                crc = crc32c(target, crc)
                position += len(target)
        if mask(crc) != entry.crc32c:
            raise errors.ChecksumMismatch(
                "the checksum of the tensor differs",
                path=self._files.shard_path(entry.shard_id),
                tensor=name,
                expected=f"0x{entry.crc32c:08x}",
                found=f"0x{mask(crc):08x}",
            )

    def _read_strings(self, name: str, entry: BundleEntry) -> Array:
        shard = self._bounded_shard(name, entry)
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

    def _verify_entry(self, name: str, entry: BundleEntry) -> None:
        # The bytes of a dtype that only a later TensorFlow knows have a checksum all the same.
        with suppress(errors.UnsupportedDtype):
            self._check_size(name, entry)
        if entry.dtype == DataType.DT_STRING:
            self._read_strings(name, entry)
        elif entry.dtype == DataType.DT_VARIANT:
            self._verify_variants(name, entry)
        else:
            self._read_verified(name, entry, _scratch(entry.size_bytes))

    def _verify_variants(self, name: str, entry: BundleEntry) -> None:
        shard = self._bounded_shard(name, entry)
        data = shard.read(entry.offset, entry.size_bytes)
        try:
            string_tensor.decode_variants(data, math.prod(entry.shape), entry.crc32c)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=shard.path, tensor=name) from None

    def _check_size(self, name: str, entry: BundleEntry) -> None:
        try:
            check_entry_size(entry)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None
        # Each string takes at least the byte of its length.
        if entry.dtype == DataType.DT_STRING and math.prod(entry.shape) > entry.size_bytes:
            raise errors.MalformedTensor(
                "a string tensor is shorter than its shape asks for",
                path=self._index.path,
                tensor=name,
                expected=f"at least {math.prod(entry.shape)} bytes",
                found=f"{entry.size_bytes} bytes",
            )

    def _bounded_shard(self, name: str, entry: BundleEntry) -> ReadableFile:
        """The shard that an entry lies in, once it is sure that it does."""
        if entry.shard_id >= self.num_shards:
            raise errors.MalformedEntry(
                "an entry names a shard that the bundle does not have",
                path=self._index.path,
                tensor=name,
                expected=f"less than {self.num_shards}",
                found=entry.shard_id,
            )
        shard = self._files.shard(entry.shard_id)
        if shard is None:
            raise errors.MissingShard(
                "the data shard is missing",
                path=self._files.shard_path(entry.shard_id),
                tensor=name,
            )
        end = entry.offset + entry.size_bytes
        if end > shard.size_bytes:
            raise errors.TruncatedFile(
                "the file ends before the tensor does",
                path=shard.path,
                tensor=name,
                expected=f"at least {end} bytes",
                found=f"{shard.size_bytes} bytes",
            )
        return shard


class _OpenBundle:
    """The index and the shards of one bundle, as far as they are there."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._shards: dict[int, ReadableFile] = {}
        self._is_closed = False
        file = storage.open(naming.index_file(prefix))
        try:
            self.index = BundleIndex(file)
            self._num_shards = self.index.header.num_shards
            if self._num_shards <= _MAX_OPEN_SHARDS:
                for shard_id in range(self._num_shards):
                    self._open(shard_id)
        except BaseException:
            file.close()
            self._close_shards()
            raise

    def shard(self, shard_id: int) -> ReadableFile | None:
        """An open shard; None if there is none (it need not be there, if no entry is in it)."""
        if self._is_closed:
            raise errors.InvalidArgument(f"the reader of checkpoint {self._prefix} is closed")
        found = self._shards.get(shard_id)
        if found is None and self._num_shards > _MAX_OPEN_SHARDS:
            while len(self._shards) >= _MAX_OPEN_SHARDS:
                # Not closed but dropped: another thread may be reading it.
                self._shards.popitem()
            found = self._open(shard_id)
        return found

    def shard_path(self, shard_id: int) -> str:
        return naming.data_shard(self._prefix, shard_id, self._num_shards)

    def close(self) -> None:
        self._is_closed = True
        self.index.close()
        self._close_shards()

    def _open(self, shard_id: int) -> ReadableFile | None:
        try:
            shard = self._storage.open(self.shard_path(shard_id))
        except errors.FileMissing:
            return None
        self._shards[shard_id] = shard
        return shard

    def _close_shards(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()


def _can_fill(place: Array) -> bool:
    return place.flags.c_contiguous and not place.dtype.hasobject


def _chunks(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), _CHUNK_BYTES):
        yield view[start : start + _CHUNK_BYTES]


def _scratch(size_bytes: int) -> Iterator[memoryview]:
    """One buffer again and again, for bytes that are read only for their checksum."""
    buffer = memoryview(bytearray(min(size_bytes, _CHUNK_BYTES)))
    for start in range(0, size_bytes, _CHUNK_BYTES):
        yield buffer[: size_bytes - start]
