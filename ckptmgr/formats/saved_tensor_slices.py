"""The entries of a V1 checkpoint file, a sorted table of SavedTensorSlices messages.

    ""                           meta: name, shape, dtype and slices of each tensor; versions
    slice key of (name, slice)   data: name, slice, and the values as a TensorProto

A tensor that is not partitioned has one slice, all of it. The TensorProto has no dtype, no shape
and no `tensor_content`, only one value per element in the repeated field of its dtype: small
integers widened to `int_val`, halves as their bit patterns in `half_val`, complex numbers as real
and imaginary parts in turn.

protobuf's Python objects turn a float into a double and back, which changes signalling NaNs. So
floats pass between array and message as the packed bytes of their field.

Source: docs/formats/v1-checkpoint.md; tensorflow/core/util/saved_tensor_slice.proto,
tensorflow/core/util/tensor_slice_writer.cc, tensorflow/core/util/saved_tensor_slice_util.h.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ckptmgr._proto.saved_tensor_slice_pb2 import (
    SavedSlice,
    SavedSliceMeta,
    SavedTensorSliceMeta,
    SavedTensorSlices,
)
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.errors import (
    CorruptCheckpoint,
    InvalidArgument,
    MalformedEntry,
    MalformedTable,
    MalformedTensor,
    UnsupportedDtype,
)
from ckptmgr.formats import bundle_entry, dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.string_tensor import check_strings
from ckptmgr.formats.tensor_shape import decode_shape, encode_shape
from ckptmgr.formats.tensor_slice import (
    TensorSlice,
    encode_slice_key,
    resolve_slice,
    resolve_stored_slice,
    slice_from_proto,
    slice_to_proto,
)
from ckptmgr.formats.varint import decode_varint, encode_varint
from ckptmgr.formats.versions import CHECKPOINT_VERSION, check_checkpoint_version

CONTENTS_KEY = b""
"""kSavedTensorSlicesKey: where the list of tensors stands."""

# kMaxMessageBytes and kTensorProtoHeaderBytes of tensorflow/core/util/tensor_slice_writer.h.
_MAX_MESSAGE_BYTES = 2**31
_TENSOR_PROTO_SLACK_BYTES = 1024
# A negative int32 is a ten-byte varint.
_STRING_OVERHEAD_BYTES = 10
_MAX_BYTES_PER_INTEGER = {
    DataType.DT_BOOL: 1,
    DataType.DT_UINT8: 2,
    DataType.DT_QUINT8: 2,
    DataType.DT_UINT16: 3,
    DataType.DT_HALF: 3,
}
# Field of TensorProto, and the dtype of its packed values.
_PACKED_FLOATS = {
    DataType.DT_FLOAT: (5, "float_val", "<f4"),
    DataType.DT_DOUBLE: (6, "double_val", "<f8"),
    DataType.DT_COMPLEX64: (9, "scomplex_val", "<c8"),
    DataType.DT_COMPLEX128: (12, "dcomplex_val", "<c16"),
}
_INTEGER_FIELDS = {
    DataType.DT_BOOL: "bool_val",
    DataType.DT_INT64: "int64_val",
    DataType.DT_HALF: "half_val",
}
_LENGTH_DELIMITED = 2


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """One tensor as a V1 file lists it, with the slices that this file holds."""

    name: str
    dtype: int
    """A DataType; a plain int where this package does not know the number."""
    shape: tuple[int, ...]
    """The full shape, also where only some slices are in this file."""
    slices: tuple[TensorSlice, ...]


def encode_entries(
    tensors: Iterable[tuple[SavedTensor, Sequence[np.ndarray[Any, Any]]]],
) -> list[tuple[bytes, bytes]]:
    """Encode tensors, with one array per slice, into the table entries of a V1 file, key order.

    Raises:
        UnsupportedDtype: The V1 format has no place for a dtype.
        InvalidArgument: An array is not what its slice says, or too large for a message.
    """
    contents = SavedTensorSliceMeta(versions=VersionDef(producer=CHECKPOINT_VERSION))
    entries = []
    for tensor, arrays in tensors:
        contents.tensor.append(
            SavedSliceMeta(
                name=tensor.name,
                shape=encode_shape(tensor.shape),
                type=tensor.dtype,  # type: ignore[arg-type]
                slice=map(slice_to_proto, tensor.slices),
            )
        )
        for tensor_slice, array in zip(tensor.slices, arrays, strict=True):
            key = encode_slice_key(tensor.name, tensor_slice)
            entries.append((key, _encode_slice(tensor, tensor_slice, array)))
    entries.append((CONTENTS_KEY, SavedTensorSlices(meta=contents).SerializeToString()))
    return sorted(entries)


def decode_entries(
    entries: Iterable[tuple[bytes, bytes]],
) -> list[tuple[SavedTensor, list[np.ndarray[Any, Any]]]]:
    """Decode all entries of a V1 file into its tensors, with one array per slice.

    Raises:
        CorruptCheckpoint: As `decode_contents` and `decode_slice`, or a listed entry is missing.
        UnsupportedDtype: As `decode_slice`.
    """
    by_key = dict(entries)
    if CONTENTS_KEY not in by_key:
        raise MalformedTable("no V1 checkpoint: the table does not list its tensors")
    decoded = []
    for tensor in decode_contents(by_key[CONTENTS_KEY]):
        arrays = []
        for tensor_slice in tensor.slices:
            value = by_key.get(encode_slice_key(tensor.name, tensor_slice))
            if value is None:
                raise MalformedTable(
                    "a V1 checkpoint lists a slice that it does not hold",
                    tensor=tensor.name,
                    expected=f"slice {str(tensor_slice)!r}",
                    found="no such key",
                )
            arrays.append(decode_slice(value, tensor, tensor_slice))
        decoded.append((tensor, arrays))
    return decoded


def decode_contents(value: bytes) -> tuple[SavedTensor, ...]:
    """Decode the value of CONTENTS_KEY.

    Raises:
        MalformedTable: It belongs to the index of a V2 checkpoint.
        MalformedEntry: It does not parse, or lists a shape that no tensor has.
        MalformedSlices: It lists a slice that does not lie in its tensor.
        UnsupportedVersion: It asks for a later reader.
    """
    message = _parse(value)
    if not message.HasField("meta"):
        raise _not_v1(value)
    check_checkpoint_version(message.meta.versions)
    return tuple(map(_decode_saved_tensor, message.meta.tensor))


def decode_slice(
    value: bytes, tensor: SavedTensor, tensor_slice: TensorSlice
) -> np.ndarray[Any, Any]:
    """Decode the values of one slice into a new array of its shape; elements are bytes if strings.

    Args:
        value: What the table holds under `encode_slice_key(tensor.name, tensor_slice)`.
    Raises:
        MalformedEntry: It does not parse, or is another slice.
        MalformedTensor: There are more or fewer values than elements, or one is out of range.
        UnsupportedDtype: The V1 format has no place for the dtype.
    """
    dtype = _writable(tensor)
    message = _parse(value).data
    found = (message.name, slice_from_proto(message.slice))
    if found != (tensor.name, tensor_slice):
        raise MalformedEntry(
            "a V1 checkpoint holds another slice than its key says",
            tensor=tensor.name,
            expected=f"slice {str(tensor_slice)!r}",
            found=f"slice {str(found[1])!r} of {found[0]!r}",
        )
    shape = resolve_stored_slice(tensor_slice, tensor.shape).lengths
    try:
        return _decode_values(message.data, dtype, math.prod(shape)).reshape(shape)
    except CorruptCheckpoint as error:
        raise error.located(tensor=tensor.name) from None


def _parse(value: bytes) -> SavedTensorSlices:
    try:
        return SavedTensorSlices.FromString(value)
    except DecodeError as error:
        raise MalformedEntry(f"an entry of a V1 checkpoint does not parse ({error})") from None


def _not_v1(value: bytes) -> CorruptCheckpoint:
    """What to say about a first value without `meta`; TensorFlow would see an empty checkpoint."""
    try:
        bundle_entry.decode_header(value)
    except CorruptCheckpoint:
        return MalformedEntry("no V1 checkpoint: its first entry does not list its tensors")
    return MalformedTable(
        "this is the index of a V2 checkpoint, not a V1 checkpoint; "
        "a V2 checkpoint is opened by its prefix, the path without .index"
    )


def _decode_saved_tensor(message: SavedSliceMeta) -> SavedTensor:
    shape = decode_shape(message.shape)
    slices = tuple(map(slice_from_proto, message.slice))
    for tensor_slice in slices:
        resolve_stored_slice(tensor_slice, shape)
    return SavedTensor(message.name, dtypes.known(message.type), shape, slices)


def _writable(tensor: SavedTensor) -> DataType:
    if tensor.dtype not in dtypes.V1_WRITABLE:
        raise UnsupportedDtype(
            f"a V1 checkpoint cannot hold dtype {dtypes.name(tensor.dtype)} of tensor "
            f"{tensor.name!r}; the V2 format can hold every dtype of an array"
        )
    return DataType(tensor.dtype)


def _encode_slice(
    tensor: SavedTensor, tensor_slice: TensorSlice, array: np.ndarray[Any, Any]
) -> bytes:
    dtype = _writable(tensor)
    held, shape = dtypes.to_numpy(dtype), resolve_slice(tensor_slice, tensor.shape).lengths
    if array.dtype != held or array.shape != shape:
        raise InvalidArgument(
            f"slice {str(tensor_slice)!r} of tensor {tensor.name!r} is {held} of shape {shape}, "
            f"found {array.dtype} of shape {array.shape}"
        )
    if dtype is DataType.DT_STRING:
        check_strings(array.flat)
    message = SavedSlice(name=tensor.name, slice=slice_to_proto(tensor_slice))
    size_bytes = message.ByteSize() + _TENSOR_PROTO_SLACK_BYTES + _max_value_bytes(array, dtype)
    if size_bytes > _MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            f"slice {str(tensor_slice)!r} of tensor {tensor.name!r} is too large for a V1 "
            f"checkpoint: at most {_MAX_MESSAGE_BYTES} bytes, found {size_bytes} (estimated)"
        )
    message.data.CopyFrom(_encode_values(array, dtype))
    return SavedTensorSlices(data=message).SerializeToString()


def _max_value_bytes(array: np.ndarray[Any, Any], dtype: DataType) -> int:
    """TensorFlow's estimate of what the values take in a message, which decides what it refuses."""
    if dtype is DataType.DT_STRING:
        return array.size * _STRING_OVERHEAD_BYTES + sum(map(len, array.ravel()))
    if dtype in _PACKED_FLOATS:
        return array.nbytes
    return array.size * _MAX_BYTES_PER_INTEGER.get(dtype, 10)


def _encode_values(array: np.ndarray[Any, Any], dtype: DataType) -> TensorProto:
    if dtype is DataType.DT_STRING:
        return TensorProto(string_val=array.ravel().tolist())
    if dtype in _PACKED_FLOATS:
        if array.size == 0:
            return TensorProto()
        number, _, stored = _PACKED_FLOATS[dtype]
        packed = array.astype(stored, copy=False).tobytes()
        tag = encode_varint(number << 3 | _LENGTH_DELIMITED)
        return TensorProto.FromString(tag + encode_varint(len(packed)) + packed)
    if dtype is DataType.DT_HALF:
        array = array.view(np.uint16)
    return TensorProto(**{_INTEGER_FIELDS.get(dtype, "int_val"): array.ravel().tolist()})


def _decode_values(message: TensorProto, dtype: DataType, count: int) -> np.ndarray[Any, Any]:
    if dtype is DataType.DT_STRING:
        _check_count(len(message.string_val), count)
        strings = np.empty(count, object)
        strings[:] = list(message.string_val)
        return strings
    if dtype in _PACKED_FLOATS:
        return _decode_floats(message, dtype, count)
    integers = getattr(message, _INTEGER_FIELDS.get(dtype, "int_val"))
    _check_count(len(integers), count)
    wide = np.fromiter(integers, np.int64, count)
    held = np.dtype(np.uint16) if dtype is DataType.DT_HALF else dtypes.to_numpy(dtype)
    values = wide.astype(held)
    if not np.array_equal(values, wide):
        raise MalformedTensor(
            f"a value is out of the range of {dtypes.name(dtype)}",
            expected=f"values that fit {held}",
            found=wide[values != wide][0],
        )
    return values.view(dtypes.to_numpy(dtype))


def _decode_floats(message: TensorProto, dtype: DataType, count: int) -> np.ndarray[Any, Any]:
    _, field_name, stored = _PACKED_FLOATS[dtype]
    per_element = 2 if np.dtype(stored).kind == "c" else 1
    _check_count(len(getattr(message, field_name)), count * per_element)
    for field, _ in message.ListFields():
        if field.name != field_name:
            message.ClearField(field.name)
    message.DiscardUnknownFields()
    # What is left of the message is a tag, a length, and the packed values.
    serialized = message.SerializeToString()
    packed_at = decode_varint(serialized, 1)[1] if count else 0
    return np.frombuffer(serialized, stored, count, packed_at).astype(dtypes.to_numpy(dtype))


def _check_count(found: int, expected: int) -> None:
    if found != expected:
        raise MalformedTensor(
            "the values of a slice are not as many as its elements",
            expected=expected,
            found=found,
        )
