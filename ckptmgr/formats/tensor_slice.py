"""Slices of partitioned tensors: as values, as text, as table keys, as protos.

    spec text  "10 4 0,4:-"      full shape, then per dimension `start,length` or `-` for all of it
    table key  unsigned 0, string name, unsigned rank, per dimension signed start, signed length
               (codes of `ordered_code`; all of a dimension is start 0, length -1)
    proto      TensorSliceProto, an empty Extent for all of a dimension

"All of it" and "from 0 to the size" cover the same elements under different keys, so an Extent
keeps the difference. `resolve` drops it: a Region has numbers only.

Source: docs/formats/slice-keys.md; tensorflow/core/framework/tensor_slice.cc;
tensorflow/core/util/saved_tensor_slice_util.cc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ckptmgr._proto.tensor_slice_pb2 import TensorSliceProto
from ckptmgr.errors import InvalidArgument, InvalidName, MalformedSlices
from ckptmgr.formats.ordered_code import (
    decode_num_increasing,
    decode_signed_increasing,
    decode_string,
    encode_num_increasing,
    encode_signed_increasing,
    encode_string,
)

_MAX_INT64 = 2**63 - 1
# TensorShape::MaxDimensions().
_MAX_RANK = 254
# What a key holds for the length of a full extent (TensorSlice::kFullExtent).
_FULL_EXTENT = -1
_DIGITS = re.compile(r"[0-9]{1,19}")
_EXTENT = re.compile(r"([0-9]{1,19}),([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of one dimension; `length` None is all of it, whatever its size."""

    start: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.length is None:
            if self.start != 0:
                raise InvalidArgument(f"a full extent starts at 0, found {self.start}")
        elif self.start < 0 or self.length < 1 or self.start + self.length > _MAX_INT64:
            raise InvalidArgument(
                "an extent lies in 0 to 2**63 - 1 and is at least 1 long, "
                f"found start {self.start}, length {self.length}"
            )


@dataclass(frozen=True, slots=True)
class TensorSlice:
    """One extent per dimension."""

    extents: tuple[Extent, ...]

    def __post_init__(self) -> None:
        if len(self.extents) > _MAX_RANK:
            raise InvalidArgument(
                f"a slice has at most {_MAX_RANK} dimensions, found {len(self.extents)}"
            )

    @classmethod
    def full(cls, rank: int) -> TensorSlice:
        """All of a tensor of that rank."""
        return cls((Extent(),) * rank)

    def __str__(self) -> str:
        """The slice part of the spec text; a scalar has none."""
        return ":".join(
            "-" if extent.length is None else f"{extent.start},{extent.length}"
            for extent in self.extents
        )


@dataclass(frozen=True, slots=True)
class Region:
    """A slice of a tensor whose shape is known."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    def within(self, outer: Region) -> tuple[slice, ...]:
        """The index that picks this region out of an array that holds `outer`, which covers it."""
        return tuple(
            slice(start - origin, start - origin + length)
            for start, length, origin in zip(self.starts, self.lengths, outer.starts, strict=True)
        )


def resolve_slice(tensor_slice: TensorSlice, full_shape: tuple[int, ...]) -> Region:
    """The region that a requested slice covers.

    Raises:
        InvalidArgument: It has another rank than the tensor, or leaves it.
    """
    extents = tensor_slice.extents
    fits = len(extents) == len(full_shape) and all(
        extent.length is None or extent.start + extent.length <= size
        for extent, size in zip(extents, full_shape, strict=True)
    )
    if not fits:
        raise InvalidArgument(f"slice {tensor_slice} does not fit a tensor of shape {full_shape}")
    return Region(
        tuple(extent.start for extent in extents),
        tuple(
            size if extent.length is None else extent.length
            for extent, size in zip(extents, full_shape, strict=True)
        ),
    )


def resolve_stored_slice(tensor_slice: TensorSlice, full_shape: tuple[int, ...]) -> Region:
    """The region that a slice found in a checkpoint covers.

    Raises:
        MalformedSlices: It has another rank than the tensor, or leaves it.
    """
    try:
        return resolve_slice(tensor_slice, full_shape)
    except InvalidArgument:
        raise MalformedSlices(
            "a stored slice does not fit its tensor",
            expected=f"a slice of shape {full_shape}",
            found=str(tensor_slice),
        ) from None


def intersect(one: Region, other: Region) -> Region | None:
    """What two regions of one tensor have in common; None if that is no element."""
    starts = tuple(map(max, one.starts, other.starts))
    lengths = tuple(
        min(one_start + one_length, other_start + other_length) - start
        for one_start, one_length, other_start, other_length, start in zip(
            one.starts, one.lengths, other.starts, other.lengths, starts, strict=True
        )
    )
    return Region(starts, lengths) if all(length > 0 for length in lengths) else None


# --------------------------------------------------------------------------- text


def parse_slice_spec(spec: str) -> tuple[tuple[int, ...], TensorSlice] | None:
    """Read "10 4 0,4:-" into the full shape and the slice; None for "", the whole tensor.

    Raises:
        InvalidArgument: The text is not of that form, or the slice leaves the shape.
    """
    if not spec:
        return None
    *sizes, extents = spec.split(" ")
    try:
        full_shape = tuple(_parse_size(size) for size in sizes)
        tensor_slice = TensorSlice(tuple(_parse_extent(extent) for extent in extents.split(":")))
        resolve_slice(tensor_slice, full_shape)
    except InvalidArgument as error:
        raise InvalidArgument(f"slice spec {spec[:200]!r}: {error}") from None
    return full_shape, tensor_slice


def format_slice_spec(full_shape: tuple[int, ...], tensor_slice: TensorSlice) -> str:
    """Write the text that `parse_slice_spec` reads; "" for a scalar, which has no parts.

    Raises:
        InvalidArgument: The slice leaves the shape.
    """
    resolve_slice(tensor_slice, full_shape)
    return " ".join((*map(str, full_shape), str(tensor_slice)))


def _parse_size(text: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_INT64:
        raise InvalidArgument(f"expected a dimension's size, found {text[:40]!r}")
    return int(text)


def _parse_extent(text: str) -> Extent:
    if text == "-":
        return Extent()
    match = _EXTENT.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"expected '-' or 'start,length', found {text[:40]!r}")
    return Extent(int(match[1]), int(match[2]))


# --------------------------------------------------------------------------- table keys


def encode_slice_key(name: str, tensor_slice: TensorSlice) -> bytes:
    """The key under which a table holds one stored part of a tensor.

    Raises:
        InvalidName: The name is not text that UTF-8 can hold.
    """
    try:
        encoded_name = name.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"tensor name {name!r} cannot be encoded as UTF-8") from None
    parts = [
        encode_num_increasing(0),
        encode_string(encoded_name),
        encode_num_increasing(len(tensor_slice.extents)),
    ]
    for extent in tensor_slice.extents:
        parts.append(encode_signed_increasing(extent.start))
        length = _FULL_EXTENT if extent.length is None else extent.length
        parts.append(encode_signed_increasing(length))
    return b"".join(parts)


def decode_slice_key(key: bytes) -> tuple[str, TensorSlice]:
    """The name and slice of a key that `encode_slice_key` made.

    Raises:
        MalformedSlices: It made no such key.
    """
    marker, offset = decode_num_increasing(key, 0)
    if marker != 0:
        raise MalformedSlices("not a slice key", expected="a key that begins with 0", found=marker)
    encoded_name, offset = decode_string(key, offset)
    rank, offset = decode_num_increasing(key, offset)
    _check_rank(rank)
    extents = []
    for _ in range(rank):
        start, offset = decode_signed_increasing(key, offset)
        length, offset = decode_signed_increasing(key, offset)
        extents.append(_stored_extent(start, None if length == _FULL_EXTENT else length))
    if offset != len(key):
        raise MalformedSlices(
            "a slice key goes on behind its slice",
            expected=f"{offset} bytes",
            found=f"{len(key)} bytes",
        )
    try:
        return encoded_name.decode(), TensorSlice(tuple(extents))
    except UnicodeDecodeError:
        raise MalformedSlices(
            "the tensor name in a slice key is not UTF-8",
            expected="UTF-8",
            found=repr(encoded_name[:200]),
        ) from None


# --------------------------------------------------------------------------- protos


def slice_to_proto(tensor_slice: TensorSlice) -> TensorSliceProto:
    """The slice as TensorFlow's message."""
    return TensorSliceProto(
        extent=[
            TensorSliceProto.Extent(start=extent.start, length=extent.length)
            for extent in tensor_slice.extents
        ]
    )


def slice_from_proto(proto: TensorSliceProto) -> TensorSlice:
    """The slice that a message from a checkpoint describes.

    Raises:
        MalformedSlices: An extent is negative or empty, or there are too many.
    """
    _check_rank(len(proto.extent))
    return TensorSlice(
        tuple(
            _stored_extent(extent.start, extent.length if extent.HasField("length") else None)
            for extent in proto.extent
        )
    )


def _check_rank(rank: int) -> None:
    if rank > _MAX_RANK:
        raise MalformedSlices(
            "a stored slice has too many dimensions", expected=f"at most {_MAX_RANK}", found=rank
        )


def _stored_extent(start: int, length: int | None) -> Extent:
    try:
        return Extent(start, length)
    except InvalidArgument:
        raise MalformedSlices(
            "a stored slice has an impossible extent",
            expected="start at least 0 and length at least 1, or neither",
            found=f"start {start}, length {length}",
        ) from None
