"""Reading a V1 checkpoint: one sorted table per shard, which holds names and values alike.

Every shard lists the tensors of which it has slices; together they make the checkpoint. Values
stand in table blocks, which are verified as they are read.

Source: docs/formats/v1-checkpoint.md; tensorflow/core/util/tensor_slice_reader.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle import arrays, slices
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.opening import open_unchanged
from ckptmgr.bundle.table_file import TableFile
from ckptmgr.bundle.v1_files import v1_candidates
from ckptmgr.formats import dtypes
from ckptmgr.formats.saved_tensor_slices import (
    CONTENTS_KEY,
    SavedTensor,
    decode_contents,
    decode_slice,
)
from ckptmgr.formats.tensor_slice import Region, TensorSlice, encode_slice_key, resolve_slice
from ckptmgr.storage.protocol import Storage


class V1Reader:
    """The tensors of a V1 file, or of all files that a pattern `P-?????-of-00002` stands for.

    All files stay open, so that it goes on reading when they are deleted or replaced.

    Raises:
        CheckpointNotFound: No such file.
        CorruptCheckpoint: A file is damaged or missing, or of another format.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self.prefix = path
        files = naming.v1_shard_files(path) or [path]
        deciding = v1_candidates(storage, path)
        if not any(storage.stat(file) for file in deciding):
            raise errors.CheckpointNotFound(f"no checkpoint at {path}")
        self._files = open_unchanged(storage, deciding, lambda: _OpenFiles(storage, files))

    def __enter__(self) -> V1Reader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._files.close()

    @property
    def num_shards(self) -> int:
        return len(self._files.tables)

    def entries(self) -> dict[str, SavedTensor]:
        """Every tensor by name, sorted, each with its slices in all shards."""
        return self._files.tensors

    def entry(self, name: str) -> SavedTensor:
        """What is known of one tensor.

        Raises:
            TensorNotFound: With the names closest to it.
        """
        found = self._files.tensors.get(name)
        if found is None:
            raise errors.TensorNotFound(
                f"Key {name} not found in checkpoint {self.prefix}."
                f"{errors.near_misses(name, self._files.tensors)}"
            )
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._files.tensors

    def stored_bytes(self, name: str) -> int:
        """How many bytes of the files a tensor takes."""
        tensor = self.entry(name)
        return sum(len(self._value(tensor, part)[1]) for part in tensor.slices)

    def read(self, name: str) -> Array:
        """The value of a tensor, in C order; strings as an object array of bytes.

        Raises:
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        tensor = self.entry(name)
        return self._read_region(tensor, slices.whole(tensor.shape))

    def read_slice(self, name: str, part: TensorSlice) -> Array:
        """One slice of a tensor, whether it is stored whole or in other slices.

        Raises:
            InvalidArgument: The slice does not fit the tensor.
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        tensor = self.entry(name)
        try:
            region = resolve_slice(part, tensor.shape)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"tensor {name!r}: {error}") from None
        return self._read_region(tensor, region)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Decode every value of some tensors, of all by default, and so verify their blocks.

        Raises:
            TensorNotFound: There is no tensor of one of the names.
            CorruptCheckpoint: At the first that is damaged.
        """
        for error in self.damage(names):
            raise error

    def damage(self, names: Iterable[str] | None = None) -> Iterator[errors.CorruptCheckpoint]:
        """As `verify`, and go on: yields what is wrong with each damaged tensor.

        One slice is in memory at a time.
        """
        wanted = self.entries().keys() if names is None else names
        for tensor in [self.entry(name) for name in wanted]:
            try:
                self._parts(tensor, slices.whole(tensor.shape))
                for part in tensor.slices:
                    self._read_slice(tensor, part)
            except errors.CorruptCheckpoint as error:
                yield error

    def _read_region(self, tensor: SavedTensor, region: Region) -> Array:
        dtype = _numpy_dtype(tensor)
        parts = self._parts(tensor, region)
        try:
            # Values first: only they show that memory for the whole is not asked for in vain.
            values = [self._read_slice(tensor, part.stored) for part in parts]
            if len(parts) == 1 and parts[0].stored_region == region:
                return values[0]
            target = arrays.new_array(region.lengths, dtype)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.prefix, tensor=tensor.name) from None
        for part, value in zip(parts, values, strict=True):
            target[part.shared.within(region)] = value[part.shared.within(part.stored_region)]
        return target

    def _parts(self, tensor: SavedTensor, region: Region) -> list[slices.Part]:
        try:
            return slices.cover(tensor.shape, tensor.slices, region)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=self.prefix, tensor=tensor.name) from None

    def _read_slice(self, tensor: SavedTensor, part: TensorSlice) -> Array:
        table, value = self._value(tensor, part)
        try:
            return decode_slice(value, tensor, part)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=table.path, tensor=tensor.name) from None

    def _value(self, tensor: SavedTensor, part: TensorSlice) -> tuple[TableFile, bytes]:
        """What is stored of a slice, and the file that has it."""
        table = self._files.owners[tensor.name, part]
        value = table.lookup(encode_slice_key(tensor.name, part))
        if value is None:
            raise errors.MalformedTable(
                "a V1 checkpoint lists a slice that it does not hold",
                path=table.path,
                tensor=tensor.name,
                expected=f"slice {str(part)!r}",
                found="no such key",
            )
        return table, value


class _OpenFiles:
    """The open files of one checkpoint, and what they list together."""

    def __init__(self, storage: Storage, files: Sequence[str]) -> None:
        self.tables: list[TableFile] = []
        #: The file that has a slice of a tensor.
        self.owners: dict[tuple[str, TensorSlice], TableFile] = {}
        self._found: dict[str, tuple[SavedTensor, list[TensorSlice]]] = {}
        try:
            for path in files:
                table = _open_table(storage, path)
                self.tables.append(table)
                for tensor in _contents(table):
                    self._add(table, tensor)
        except BaseException:
            self.close()
            raise
        self.tensors = {
            name: replace(tensor, slices=tuple(stored))
            for name, (tensor, stored) in sorted(self._found.items())
        }

    def close(self) -> None:
        for table in self.tables:
            table.close()

    def _add(self, table: TableFile, tensor: SavedTensor) -> None:
        known, stored = self._found.setdefault(tensor.name, (tensor, []))
        if (known.dtype, known.shape) != (tensor.dtype, tensor.shape):
            raise errors.MalformedEntry(
                "two shards disagree on a tensor",
                path=table.path,
                tensor=tensor.name,
                expected=f"{dtypes.name(known.dtype)} {known.shape}",
                found=f"{dtypes.name(tensor.dtype)} {tensor.shape}",
            )
        stored += tensor.slices
        for part in tensor.slices:
            self.owners.setdefault((tensor.name, part), table)


def _open_table(storage: Storage, path: str) -> TableFile:
    try:
        file = storage.open(path)
    except errors.FileMissing:
        raise errors.MissingShard("a shard of the V1 checkpoint is missing", path=path) from None
    try:
        return TableFile(file)
    except BaseException:
        file.close()
        raise


def _contents(table: TableFile) -> tuple[SavedTensor, ...]:
    value = table.lookup(CONTENTS_KEY)
    if value is None:
        raise errors.MalformedTable(
            "no V1 checkpoint: the table does not list its tensors",
            path=table.path,
            expected="a first entry with the empty key",
            found="none",
        )
    try:
        return decode_contents(value)
    except errors.CorruptCheckpoint as error:
        raise error.located(path=table.path) from None


def _numpy_dtype(tensor: SavedTensor) -> np.dtype[Any]:
    try:
        return dtypes.to_numpy(tensor.dtype)
    except errors.UnsupportedDtype as error:
        raise errors.UnsupportedDtype(f"tensor {tensor.name!r}: {error}") from None
