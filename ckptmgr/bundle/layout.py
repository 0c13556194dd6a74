"""Where every byte of a bundle goes, decided before a file is opened.

Within a shard, tensors stand in the order of their names, each at a multiple of the alignment,
so that the same tensors always give the same bytes and a memory map can be used as arrays as it is.
TensorFlow packs without gaps (alignment 1) and reads both: an entry carries its own offset.

A partitioned tensor is one entry under its name that lists the slices, and one entry per slice,
with the bytes, under a key that encodes name and slice.

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, encode_slice_key

#: One cache line: what SIMD loads and zero-copy users (NumPy, JAX on CPU) want of an array.
DEFAULT_ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Partition:
    """Which part of a larger tensor an array is."""

    full_shape: tuple[int, ...]
    #: Where the part begins, one number per dimension.
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor to be written, or one part of a partitioned one."""

    name: str
    array: np.ndarray[Any, Any]
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """One run of bytes in a shard, and the entry that will describe it."""

    key: bytes
    #: Its checksum is not known before the bytes are written.
    entry: BundleEntry
    #: The array whose bytes these are, or the encoded strings.
    source: np.ndarray[Any, Any] | bytes

    def payload(self) -> memoryview:
        """The bytes to write: C order, little-endian, without a copy where the array is that."""
        if isinstance(self.source, bytes):
            return memoryview(self.source)
        array = self.source
        little = array.dtype.newbyteorder("<") if array.dtype.byteorder in "<>=" else array.dtype
        # ml_dtypes arrays have no buffer interface of their own; their bytes have.
        flat = np.ascontiguousarray(array, dtype=little).reshape(-1)
        return memoryview(flat.view(np.uint8))


@dataclass(frozen=True, slots=True)
class ShardLayout:
    placements: tuple[Placement, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BundleLayout:
    shards: tuple[ShardLayout, ...]
    #: Entries without bytes of their own: partitioned tensors under their full names.
    partitioned: tuple[tuple[bytes, BundleEntry], ...]

    @property
    def data_bytes(self) -> int:
        return sum(shard.size_bytes for shard in self.shards)


def plan_bundle(
    shards: Sequence[Iterable[NamedTensor]], *, alignment_bytes: int = DEFAULT_ALIGNMENT_BYTES
) -> BundleLayout:
    """Lay out the tensors of each shard.

    Raises:
        DuplicateName, UnsupportedDtype, InvalidArgument: Naming the tensor.
    """
    seen: set[bytes] = set()
    slices: dict[str, list[NamedTensor]] = {}
    layouts = []
    for shard_id, tensors in enumerate(shards):
        placements = []
        offset = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.name):
            key = _key_of(tensor, slices)
            if key in seen:
                raise errors.DuplicateName(f"two tensors have the name {tensor.name!r}")
            seen.add(key)
            offset = -(-offset // alignment_bytes) * alignment_bytes
            placement = _place(tensor, key, shard_id, offset)
            placements.append(placement)
            offset += placement.entry.size_bytes
        layouts.append(ShardLayout(tuple(placements), offset))
    partitioned = tuple(_full_entry(name, parts) for name, parts in sorted(slices.items()))
    for key, _ in partitioned:
        if key in seen:
            raise errors.DuplicateName(f"two tensors have the name {key.decode()!r}")
    return BundleLayout(tuple(layouts), partitioned)


def _key_of(tensor: NamedTensor, slices: dict[str, list[NamedTensor]]) -> bytes:
    part = tensor.partition
    # A single slice that covers everything is a plain entry, as TensorFlow writes it.
    if part is None or part.full_shape == tensor.array.shape:
        return tensor.name.encode("utf-8")
    slices.setdefault(tensor.name, []).append(tensor)
    return encode_slice_key(tensor.name, _slice_of(tensor, part))


def _slice_of(tensor: NamedTensor, part: Partition) -> TensorSlice:
    shape = tensor.array.shape
    bounds = zip(part.starts, shape, part.full_shape, strict=False)
    if (
        not len(shape) == len(part.starts) == len(part.full_shape)
        or 0 in shape
        or any(start < 0 or start + length > full for start, length, full in bounds)
    ):
        raise errors.InvalidArgument(
            f"tensor {tensor.name!r}: a slice of shape {shape} at {part.starts} does not lie in a "
            f"tensor of shape {part.full_shape}"
        )
    return TensorSlice(
        tuple(Extent(start, length) for start, length in zip(part.starts, shape, strict=True))
    )


def _full_entry(name: str, parts: list[NamedTensor]) -> tuple[bytes, BundleEntry]:
    first = parts[0]
    assert first.partition is not None
    dtype = dtypes.from_numpy(first.array.dtype)
    if dtype not in dtypes.REASSEMBLABLE:
        raise errors.UnsupportedDtype(
            f"tensor {name!r}: TensorFlow cannot put slices of dtype {dtypes.name(dtype)} together "
            f"again; save it whole"
        )
    for part in parts:
        assert part.partition is not None
        if part.partition.full_shape != first.partition.full_shape:
            raise errors.InvalidArgument(
                f"tensor {name!r}: its slices disagree on the full shape, "
                f"{first.partition.full_shape} and {part.partition.full_shape}"
            )
        if dtypes.from_numpy(part.array.dtype) != dtype:
            raise errors.InvalidArgument(f"tensor {name!r}: its slices differ in dtype")
    entry = BundleEntry(
        dtype=dtype,
        shape=first.partition.full_shape,
        shard_id=0,
        offset=0,
        size_bytes=0,
        crc32c=0,
        slices=tuple(_slice_of(part, part.partition) for part in parts if part.partition),
    )
    return name.encode("utf-8"), entry


def _place(tensor: NamedTensor, key: bytes, shard_id: int, offset: int) -> Placement:
    array = tensor.array
    try:
        dtype = dtypes.from_numpy(array.dtype)
    except errors.UnsupportedDtype as error:
        raise errors.UnsupportedDtype(f"tensor {tensor.name!r}: {error}") from None
    source: np.ndarray[Any, Any] | bytes = array
    size_bytes, crc = array.nbytes, 0
    if dtype == DataType.DT_STRING:
        source, crc = string_tensor.encode_strings(_as_bytes_list(tensor))
        size_bytes = len(source)
    entry = BundleEntry(dtype, array.shape, shard_id, offset, size_bytes, crc, ())
    return Placement(key, entry, source)


def _as_bytes_list(tensor: NamedTensor) -> list[bytes]:
    """The elements of a string tensor in C order; text is stored as UTF-8."""
    items = tensor.array.reshape(-1).tolist()
    try:
        encoded = [item if isinstance(item, bytes) else item.encode("utf-8") for item in items]
    except AttributeError:
        odd = next(item for item in items if not isinstance(item, bytes | str))
        raise errors.UnsupportedDtype(
            f"tensor {tensor.name!r}: an object array must hold bytes or str, found {odd!r:.60}"
        ) from None
    except UnicodeEncodeError:
        raise errors.InvalidArgument(
            f"tensor {tensor.name!r}: one of its strings is not valid Unicode"
        ) from None
    return encoded


def with_checksum(placement: Placement, masked_crc: int) -> tuple[bytes, BundleEntry]:
    return placement.key, replace(placement.entry, crc32c=masked_crc)

