"""Reading a bundle: every value verified against its checksum, nothing read that is not asked for.

A reader opens the index and the shards at once, so that it goes on reading when the checkpoint is
deleted or replaced under it. An entry may say anything: its offset and size are held against the
file before memory is taken for it.

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle import slices
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.bundle_entry import BundleEntry, check_entry_size
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Region, TensorSlice, resolve_slice
from ckptmgr.storage.protocol import ReadableFile, Storage

Array = np.ndarray[Any, Any]

# As in the writer: the checksum is taken while the chunk is in cache.
_CHUNK_BYTES = 4 << 20

# Shards opened at once. A bundle of more shards (thousands of hosts) would use up the process's
# descriptors (1024 by default), so its shards are opened when they are read.
_EAGER_SHARDS = 256

# How often a bundle may be replaced under us while we open it. Each try meets a newer one.
_OPEN_ATTEMPTS = 20


class BundleReader:
    """The tensors under one prefix.

    Raises:
        CheckpointNotFound: No index of that prefix.
        CorruptCheckpoint: The index is damaged.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.prefix = prefix
        self._storage = storage
        self._shards: dict[int, ReadableFile] = {}
        self._open()

    def __enter__(self) -> BundleReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._index.close()
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    @property
    def num_shards(self) -> int:
        return self._index.header.num_shards

    def entries(self) -> dict[str, BundleEntry]:
        """Every tensor's entry by name, sorted."""
        return self._index.entries()

    def entry(self, name: str) -> BundleEntry:
        """The entry of one tensor.

        Raises:
            TensorNotFound: With the names closest to it.
        """
        found = self._index.entry(name)
        if found is None:
            raise errors.TensorNotFound(
                f"tensor {name!r} not found in checkpoint {self.prefix}."
                f"{errors.near_misses(name, self._index.entries())}"
            )
        return found

    def __contains__(self, name: str) -> bool:
        return self._index.entry(name) is not None

    def read(self, name: str) -> Array:
        """The value of a tensor, in C order; strings as an object array of bytes.

        Raises:
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        entry = self.entry(name)
        if entry.slices:
            return self._read_region(name, entry, slices.whole(entry.shape))
        return self._read_entry(name, entry)

    def read_slice(self, name: str, part: TensorSlice) -> Array:
        """One slice of a tensor, whether it is stored whole or in other slices."""
        entry = self.entry(name)
        region = resolve_slice(part, entry.shape)
        if entry.slices:
            return self._read_region(name, entry, region)
        return self._read_entry(name, entry)[region.within(slices.whole(entry.shape))].copy()

    def verify(self) -> None:
        """Read every byte that an entry covers and compare its checksum."""
        for name, entry in self.entries().items():
            if entry.dtype == DataType.DT_VARIANT:
                self._read_variants(name, entry)
            else:
                self.read(name)

    # ----------------------------------------------------------------------- opening

    def _open(self) -> None:
        path = naming.index_file(self.prefix)
        for _ in range(_OPEN_ATTEMPTS):
            before = self._storage.stat(path)
            if before is None:
                break
            try:
                file = self._storage.open(path)
            except errors.FileMissing:
                continue
            try:
                self._index = BundleIndex(file)
            except BaseException:
                file.close()
                raise
            if self._open_shards():
                return
            after = self._storage.stat(path)
            if after is not None and after.identity == before.identity:
                return  # the shards that are missing are missing from this very bundle
            self.close()
        raise errors.CheckpointNotFound(f"no checkpoint at {self.prefix}: {path} does not exist")

    def _open_shards(self) -> bool:
        """Open what there is; False if a shard is not there (it need not be, if unused)."""
        complete = True
        if self.num_shards <= _EAGER_SHARDS:
            for shard_id in range(self.num_shards):
                complete = self._try_open_shard(shard_id) is not None and complete
        return complete

    def _try_open_shard(self, shard_id: int) -> ReadableFile | None:
        try:
            shard = self._storage.open(naming.data_shard(self.prefix, shard_id, self.num_shards))
        except errors.FileMissing:
            return None
        self._shards[shard_id] = shard
        return shard

    def _shard(self, name: str, entry: BundleEntry) -> ReadableFile:
        shard_id = entry.shard_id
        if shard_id >= self.num_shards:
            raise errors.MalformedEntry(
                "an entry names a shard that the bundle does not have",
                path=self._index.path,
                tensor=name,
                expected=f"less than {self.num_shards}",
                found=shard_id,
            )
        shard = self._shards.get(shard_id) or self._try_open_shard(shard_id)
        if shard is None:
            raise errors.MissingShard(
                "the data shard is missing",
                path=naming.data_shard(self.prefix, shard_id, self.num_shards),
                tensor=name,
            )
        return shard

    # ----------------------------------------------------------------------- reading

    def _read_entry(self, name: str, entry: BundleEntry) -> Array:
        """The value of an entry that has bytes of its own."""
        try:
            if entry.dtype == DataType.DT_STRING:
                return self._read_strings(name, entry)
            dtype = dtypes.to_numpy(entry.dtype)
            check_entry_size(entry)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None
        except errors.UnsupportedDtype as error:
            raise errors.UnsupportedDtype(f"tensor {name!r}: {error}") from None
        if entry.size_bytes == 0:
            return np.empty(entry.shape, dtype)
        shard = self._bounded_shard(name, entry)
        array = np.empty(entry.shape, dtype)
        view = memoryview(array.reshape(-1).view(np.uint8))
        self._read_verified(name, entry, shard, view)
        if self._index.header.big_endian and dtype.itemsize > 1:
            array.byteswap(inplace=True)
        return array

    def _bounded_shard(self, name: str, entry: BundleEntry) -> ReadableFile:
        shard = self._shard(name, entry)
        if entry.offset + entry.size_bytes > shard.size_bytes:
            raise errors.TruncatedFile(
                "the file ends before the tensor does",
                path=shard.path,
                tensor=name,
                expected=f"at least {entry.offset + entry.size_bytes} bytes",
                found=f"{shard.size_bytes} bytes",
            )
        return shard

    def _read_verified(
        self, name: str, entry: BundleEntry, shard: ReadableFile, view: memoryview
    ) -> None:
        crc = 0
        for start in range(0, len(view), _CHUNK_BYTES):
            chunk = view[start : start + _CHUNK_BYTES]
            if shard.read_into(chunk, entry.offset + start) != len(chunk):
                raise errors.TruncatedFile("the file became shorter", path=shard.path, tensor=name)
            crc = crc32c(chunk, crc)
        if mask(crc) != entry.crc32c:
            raise errors.ChecksumMismatch(
                "the checksum differs",
                path=shard.path,
                tensor=name,
                expected=f"0x{entry.crc32c:08x}",
                found=f"0x{mask(crc):08x}",
            )

    def _read_strings(self, name: str, entry: BundleEntry) -> Array:
        shard = self._bounded_shard(name, entry)
        data = shard.read(entry.offset, entry.size_bytes)
        count = math.prod(entry.shape)
        try:
            strings = string_tensor.decode_strings(
                data, count, entry.crc32c, big_endian=self._index.header.big_endian
            )
        except errors.CorruptCheckpoint as error:
            raise error.located(path=shard.path, tensor=name) from None
        array = np.empty(entry.shape, object)
        array.reshape(-1)[:] = strings
        return array

    def _read_variants(self, name: str, entry: BundleEntry) -> list[bytes]:
        shard = self._bounded_shard(name, entry)
        data = shard.read(entry.offset, entry.size_bytes)
        try:
            return string_tensor.decode_variants(data, math.prod(entry.shape), entry.crc32c)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=shard.path, tensor=name) from None

    def _read_region(self, name: str, entry: BundleEntry, region: Region) -> Array:
        """Put a region together from the stored slices that meet it."""
        try:
            parts = slices.cover(entry.shape, entry.slices, region)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self._index.path, tensor=name) from None
        # Every part is held against its file before memory is taken for the whole.
        stored = [self._slice_entry(name, entry, part) for part in parts]
        target = np.empty(region.lengths, dtypes.to_numpy(entry.dtype))
        for part, part_entry in zip(parts, stored, strict=True):
            value = self._read_entry(name, part_entry)
            target[part.shared.within(region)] = value[part.shared.within(part.stored_region)]
        return target

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
        self._bounded_shard(name, stored)
        return stored
