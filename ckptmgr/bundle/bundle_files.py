"""The open files of one bundle, and what an entry may ask of them.

An entry may say anything. Everything that reads its bytes gets the file from here, and gets it only
when the entry's offset and size lie within.
"""

from __future__ import annotations

import math
import sys

from ckptmgr import errors, naming
from ckptmgr.bundle.index import BundleIndex
from ckptmgr.bundle.read_engine import ReadObserver
from ckptmgr.formats.bundle_entry import BundleEntry, check_entry_size
from ckptmgr.formats.dtypes import DataType
from ckptmgr.storage.protocol import ReadableFile, Storage

#: Shards open at once. A bundle of more shards (thousands of hosts) would use up the process's
#: descriptors (1024 by default), so its shards are opened when they are read.
MAX_OPEN_SHARDS = 256


class BundleFiles:
    """The index and the shards of one bundle, as far as they are there."""

    def __init__(self, storage: Storage, prefix: str, observer: ReadObserver | None = None) -> None:
        self._storage = storage
        self._prefix = prefix
        #: Who is told of the numbers that are read.
        self.observer = observer
        self._shards: dict[int, ReadableFile] = {}
        self._maps: dict[int, memoryview] = {}
        self._is_closed = False
        file = storage.open(naming.index_file(prefix))
        try:
            self.index = BundleIndex(file)
            self.num_shards = self.index.header.num_shards
            #: Whether numbers are stored in another byte order than that of this machine.
            self.is_swapped = self.index.header.big_endian != (sys.byteorder == "big")
            if self.num_shards <= MAX_OPEN_SHARDS:
                for shard_id in range(self.num_shards):
                    self._open(shard_id)
        except BaseException:
            file.close()
            self._close_shards()
            raise

    def shard_path(self, shard_id: int) -> str:
        return naming.data_shard(self._prefix, shard_id, self.num_shards)

    def shard_of(self, name: str, entry: BundleEntry) -> ReadableFile:
        """The shard that an entry lies in, once it is sure that it does.

        Raises:
            MalformedEntry, MissingShard, TruncatedFile: Naming the tensor.
        """
        if entry.shard_id >= self.num_shards:
            raise errors.MalformedEntry(
                "an entry names a shard that the bundle does not have",
                path=self.index.path,
                tensor=name,
                expected=f"less than {self.num_shards}",
                found=entry.shard_id,
            )
        shard = self._shard(entry.shard_id)
        if shard is None:
            raise errors.MissingShard(
                "the data shard is missing", path=self.shard_path(entry.shard_id), tensor=name
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

    def mapped(self, name: str, entry: BundleEntry) -> memoryview:
        """The bytes of an entry in a map of its shard; raises as `shard_of` does."""
        shard = self.shard_of(name, entry)
        found = self._maps.get(entry.shard_id)
        if found is None:
            found = self._maps.setdefault(entry.shard_id, shard.map())
        return found[entry.offset : entry.offset + entry.size_bytes]

    def check_size(self, name: str, entry: BundleEntry) -> None:
        """Raise unless the size of an entry is one that its dtype and shape can have.

        Raises:
            MalformedEntry, MalformedTensor: It is not.
            UnsupportedDtype: That is not known.
        """
        try:
            check_entry_size(entry)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.index.path, tensor=name) from None
        # Each string takes at least the byte of its length.
        if entry.dtype == DataType.DT_STRING and math.prod(entry.shape) > entry.size_bytes:
            raise errors.MalformedTensor(
                "a string tensor is shorter than its shape asks for",
                path=self.index.path,
                tensor=name,
                expected=f"at least {math.prod(entry.shape)} bytes",
                found=f"{entry.size_bytes} bytes",
            )

    def close(self) -> None:
        self._is_closed = True
        self.index.close()
        self._close_shards()
        self._maps.clear()

    def _shard(self, shard_id: int) -> ReadableFile | None:
        """An open shard; None if there is none (it need not be there, if no entry is in it)."""
        if self._is_closed:
            raise errors.InvalidArgument(f"the reader of checkpoint {self._prefix} is closed")
        found = self._shards.get(shard_id)
        if found is None and self.num_shards > MAX_OPEN_SHARDS:
            while len(self._shards) >= MAX_OPEN_SHARDS:
                # Not closed but dropped: another thread may be reading it.
                self._shards.popitem()
            found = self._open(shard_id)
        return found

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
