"""What a user reads a checkpoint with, whichever of TensorFlow's formats it is in.

The names and types are those of TensorFlow's own reader. `P.index` makes a V2 checkpoint of P and
wins over a V1 file called P.

Source: tensorflow/python/training/py_checkpoint_reader.py,
tensorflow/c/checkpoint_reader.cc.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle import arrays
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.read_engine import ReadObserver
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.bundle.v1_reader import V1Reader
from ckptmgr.formats import dtypes
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import SavedTensor
from ckptmgr.formats.tensor_slice import TensorSlice
from ckptmgr.storage.posix import PosixStorage
from ckptmgr.storage.protocol import Storage

#: What `get_variable_to_dtype_map` says of a dtype that no array can hold, such as a variant.
UNREADABLE_DTYPE = np.dtype(np.void)


class CheckpointReader:
    """The tensors of one checkpoint. Several threads may read at a time.

    Args:
        prefix: `run/model.ckpt-100`; for a sharded V1 checkpoint TensorFlow's pattern of its files.
        mmap: Return arrays, read-only, that are a map of the files wherever a tensor can be used
            as it is stored (`BundleReader.map` says when), instead of reading it; its checksum is
            verified when it is first asked for. V1 checkpoints are always read.
        observer: Told of each few megabytes of a V2 checkpoint's numbers that were read.
    Raises:
        CheckpointNotFound: Saying what there is instead.
        CorruptCheckpoint: The index is damaged.
    """

    def __init__(
        self,
        prefix: str | os.PathLike[str],
        *,
        mmap: bool = False,
        storage: Storage | None = None,
        observer: ReadObserver | None = None,
    ) -> None:
        self._prefix = arguments.path_text(prefix)
        self._uses_maps = mmap
        self._reader = _open(storage or PosixStorage(), self._prefix, observer)

    def __enter__(self) -> CheckpointReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()

    @property
    def prefix(self) -> str:
        return self._prefix

    # ----------------------------------------------------------------------- values

    def has_tensor(self, name: str | bytes) -> bool:
        try:
            return _as_text(name) in self._reader
        except errors.TensorNotFound:
            return False

    def get_tensor(self, name: str | bytes) -> Any:
        """The value of a tensor, its checksum verified.

        Returns:
            An array; a NumPy scalar for rank 0; strings as bytes, alone or in an object array.
        Raises:
            TensorNotFound, UnsupportedDtype, CorruptCheckpoint: Naming the tensor.
        """
        reader = self._reader
        if self._uses_maps and isinstance(reader, BundleReader):
            array = reader.map(_as_text(name))
        else:
            array = reader.read(_as_text(name))
        return _as_value(array)

    def get_tensors(
        self,
        names: Iterable[str | bytes] | None = None,
        into: Mapping[str, Array] | None = None,
    ) -> dict[str, Any]:
        """`get_tensor` of several, of all by default, in far less time than one by one.

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
        if isinstance(names, str | bytes):
            raise errors.InvalidArgument(f"names must be a list of names, found {names!r:.80}")
        reader = self._reader
        wanted = list(reader.entries() if names is None else map(_as_text, names))
        targets = into or {}
        if isinstance(reader, V1Reader):
            found = _read_v1(reader, wanted, targets)
        elif self._uses_maps and not targets:
            found = {name: reader.map(name) for name in wanted}
        else:
            found = reader.read_many(wanted if names is not None else None, targets)
        for name in [name for name, array in found.items() if not array.ndim]:
            if name not in targets:
                found[name] = _as_value(found[name])
        return found

    def get_slice(self, name: str | bytes, part: TensorSlice, *, verify: bool = True) -> Array:
        """A part of a tensor, whether it is stored whole or in slices of any kind.

        Args:
            verify: A checksum is that of everything that is stored under it, so all of that is
                read, however small the slice. False: of a tensor of numbers that is stored whole
                read only the range of the first dimension that the slice lies in, unverified. V1
                checkpoints are always verified.
        """
        if isinstance(self._reader, V1Reader):
            return self._reader.read_slice(_as_text(name), part)
        return self._reader.read_slice(_as_text(name), part, verify=verify)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Read some tensors, all by default, and compare the checksums; nothing is kept.

        Raises:
            TensorNotFound: There is no tensor of one of the names.
            CorruptCheckpoint: At the first that differs.
        """
        self._reader.verify(names)

    def damage(self) -> Iterator[errors.CorruptCheckpoint]:
        """As `verify`, and go on: yields what is wrong with each damaged tensor.

        However large the tensors, a few megabytes of numbers are in memory at a time.

        Raises:
            CorruptCheckpoint: The index cannot be listed.
        """
        return self._reader.damage()

    # ----------------------------------------------------------------------- descriptions

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Every tensor's shape by name, sorted; a partitioned tensor's is that of the whole."""
        return {name: list(entry.shape) for name, entry in self._reader.entries().items()}

    def get_variable_to_dtype_map(self) -> dict[str, np.dtype[Any]]:
        """The dtype that each tensor will have: `object` for strings.

        A tensor that cannot be read is listed as `UNREADABLE_DTYPE`; `dtype_name` tells what it is.
        """
        return {name: _listed_dtype(entry.dtype) for name, entry in self._reader.entries().items()}

    def entry(self, name: str | bytes) -> BundleEntry | SavedTensor:
        """What the checkpoint says of a tensor: dtype, shape and slices, in V2 its place too.

        Raises:
            TensorNotFound: With the names closest to it.
        """
        return self._reader.entry(_as_text(name))

    def dtype_name(self, name: str | bytes) -> str:
        """TensorFlow's name of the stored dtype: "qint8" where `get_tensor` gives an int8."""
        return dtypes.name(self.entry(name).dtype)

    def num_bytes(self, name: str | bytes) -> int:
        """How many bytes of the checkpoint's files the values of a tensor take."""
        return self._reader.stored_bytes(_as_text(name))

    def debug_string(self) -> bytes:
        """One line per tensor, "w (DT_FLOAT) [3,4]", as TensorFlow's.

        Of a partitioned tensor, V2 lists the slices under their keys, which are not text, and V1
        the tensor with the number of its slices.
        """
        reader = self._reader
        if isinstance(reader, BundleReader):
            lines = [_line(key, entry) for key, entry in reader.stored_entries()]
        else:
            lines = [
                _line(name.encode("utf-8"), tensor) + _slice_count(tensor)
                for name, tensor in reader.entries().items()
            ]
        return b"".join(line + b"\n" for line in lines)


def _open(storage: Storage, prefix: str, observer: ReadObserver | None) -> BundleReader | V1Reader:
    if storage.stat(naming.index_file(prefix)) is not None:
        return BundleReader(storage, prefix, observer)
    files = naming.v1_shard_files(prefix)
    info = storage.stat(prefix)
    meant = _prefix_meant(storage, prefix)
    if files is None and (info is None or info.is_dir or meant is not None):
        raise errors.CheckpointNotFound(_why_not_found(storage, prefix, meant))
    try:
        return V1Reader(storage, prefix)
    except errors.CheckpointNotFound:
        raise errors.CheckpointNotFound(_why_not_found(storage, prefix, meant)) from None
    except (errors.NotATable, errors.TruncatedFile):
        if naming.base_of(prefix) != naming.STATE_FILENAME:
            raise
        raise errors.CheckpointNotFound(_why_not_found(storage, prefix, meant)) from None


def _read_v1(
    reader: V1Reader, names: Iterable[str], targets: Mapping[str, Array]
) -> dict[str, Array]:
    found = {name: reader.read(name) for name in names}
    arrays.check_asked(targets, found)
    for name, target in targets.items():
        arrays.check_target(name, target, found[name].shape, found[name].dtype)
    for name, target in targets.items():
        np.copyto(target, found[name])
    return found | dict(targets)


def _prefix_meant(storage: Storage, path: str) -> str | None:
    """The prefix of the checkpoint that a path is one file of; None if it is not."""
    stem = os.path.splitext(path)[0]
    is_part = path in (naming.index_file(stem), naming.meta_graph_file(stem))
    is_part = is_part or bool(naming.shards_of(naming.base_of(stem), [naming.base_of(path)]))
    stands = storage.stat(naming.index_file(stem)) or storage.stat(stem)
    return stem if is_part and stands else None


def _why_not_found(storage: Storage, prefix: str, meant: str | None) -> str:
    problem = f"no checkpoint at {prefix}: "
    if meant is not None:
        return problem + f"this is one file of a checkpoint; give the prefix {meant!r} instead"
    info = storage.stat(prefix)
    directory = naming.directory_of(prefix)
    if info is not None and info.is_dir:
        found = _prefixes_in(storage, prefix)
        examples = [os.path.join(prefix, base) for base in found[-3:]]
        hint = f", such as {' or '.join(map(repr, examples))}" if examples else ""
        return problem + f"this is a directory; give the prefix of a checkpoint in it{hint}"
    if storage.stat(directory) is None:
        return problem + f"the directory {directory} does not exist"
    if info is not None and naming.base_of(prefix) == naming.STATE_FILENAME:
        return problem + f"this is the checkpoint state of its directory {directory}"
    if naming.v1_shard_files(prefix) is not None:
        return problem + "none of these files exists"
    known = [naming.in_directory_of(prefix, base) for base in _prefixes_in(storage, directory)]
    near = errors.near_misses(prefix, known)
    return problem + f"{naming.index_file(prefix)} does not exist.{near}"


def _prefixes_in(storage: Storage, directory: str) -> list[str]:
    try:
        names = storage.list_dir(directory)
    except errors.StorageError:
        return []
    return [base for base in map(naming.prefix_of_index, names) if base]


def _as_value(array: Array) -> Any:
    """A NumPy scalar, or bytes, for an array of rank 0."""
    return array if array.ndim else array[()]


def _as_text(name: str | bytes) -> str:
    """A tensor's name as text; one that is not UTF-8 is no tensor's."""
    if isinstance(name, str):
        return name
    if not isinstance(name, bytes):
        raise errors.InvalidArgument(
            f"the name of a tensor must be a str, found {name!r:.80} ({type(name).__name__})"
        )
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise errors.TensorNotFound(f"Key {name!r} not found: it is not UTF-8") from None


def _listed_dtype(dtype: int) -> np.dtype[Any]:
    try:
        return dtypes.to_numpy(dtype)
    except errors.UnsupportedDtype:
        return UNREADABLE_DTYPE


def _line(key: bytes, entry: BundleEntry | SavedTensor) -> bytes:
    dtype = entry.dtype.name if isinstance(entry.dtype, DataType) else ""
    shape = ",".join(map(str, entry.shape))
    return key + f" ({dtype}) [{shape}]".encode()


def _slice_count(tensor: SavedTensor) -> bytes:
    return b"" if len(tensor.slices) == 1 else f", {len(tensor.slices)} slices".encode()
