"""NumPy arrays as TensorProto messages, spelled as TensorFlow's Python code spells them.

Arrays of more than one element are `tensor_content`, raw and little-endian, except for the types
that have no fixed representation or that TensorFlow leaves out; those, and single elements, are in
the repeated field of their type. Fewer values than elements mean that the last is repeated, none
that all are zero: such a splat is decoded as a view that takes no memory, whatever its shape.

Source: tensorflow/core/framework/tensor.proto, tensorflow/python/framework/tensor_util.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_shape import decode_shape, encode_shape

Array = np.ndarray[Any, Any]

# A message of 2 GiB cannot be serialized.
_MAX_CONTENT_BYTES = 2**31 - 1

_INTEGERS_IN_INT_VAL = (
    DataType.DT_INT32,
    DataType.DT_INT16,
    DataType.DT_INT8,
    DataType.DT_INT4,
    DataType.DT_INT2,
    DataType.DT_UINT16,
    DataType.DT_UINT8,
    DataType.DT_UINT4,
    DataType.DT_UINT2,
    DataType.DT_QINT8,
    DataType.DT_QINT16,
    DataType.DT_QINT32,
    DataType.DT_QUINT8,
    DataType.DT_QUINT16,
)
_BYTE_FLOATS = (
    DataType.DT_FLOAT8_E5M2,
    DataType.DT_FLOAT8_E4M3FN,
    DataType.DT_FLOAT8_E4M3FNUZ,
    DataType.DT_FLOAT8_E4M3B11FNUZ,
    DataType.DT_FLOAT8_E5M2FNUZ,
    DataType.DT_FLOAT4_E2M1FN,
)
#: The repeated field that holds single values of each type.
_FIELDS: dict[int, str] = {
    DataType.DT_FLOAT: "float_val",
    DataType.DT_DOUBLE: "double_val",
    DataType.DT_HALF: "half_val",
    DataType.DT_BFLOAT16: "half_val",
    DataType.DT_BOOL: "bool_val",
    DataType.DT_STRING: "string_val",
    DataType.DT_INT64: "int64_val",
    DataType.DT_UINT32: "uint32_val",
    DataType.DT_UINT64: "uint64_val",
    DataType.DT_COMPLEX64: "scomplex_val",
    DataType.DT_COMPLEX128: "dcomplex_val",
    **dict.fromkeys(_INTEGERS_IN_INT_VAL, "int_val"),
    **dict.fromkeys(_BYTE_FLOATS, "float8_val"),
}
#: _TENSOR_CONTENT_TYPES of tensor_util.py names the others.
_NEVER_CONTENT = frozenset(
    {
        DataType.DT_BOOL,
        DataType.DT_STRING,
        DataType.DT_UINT16,
        DataType.DT_COMPLEX64,
        DataType.DT_COMPLEX128,
        DataType.DT_INT4,
        DataType.DT_UINT4,
        DataType.DT_INT2,
        DataType.DT_UINT2,
    }
)


def encode_tensor(
    array: Array, dtype: int | None = None, shape: Iterable[int] | None = None
) -> TensorProto:
    """The message for an array.

    Args:
        dtype: Its type where that is not what the array's own says: a quantized one.
        shape: Its shape where the array holds fewer elements, the last of which is repeated.
    Raises:
        UnsupportedDtype: TensorFlow has no type for the array's.
        GraphError: There are more values than elements, or too many for a message.
    """
    number = dtypes.from_numpy(array.dtype) if dtype is None else DataType(dtype)
    sizes = array.shape if shape is None else tuple(int(size) for size in shape)
    elements = math.prod(sizes)
    if array.size > elements:
        raise errors.GraphError(
            f"too many values for a tensor of shape {sizes}: at most {elements}, found {array.size}"
        )
    message = TensorProto(dtype=int(number), tensor_shape=encode_shape(sizes))  # type: ignore[arg-type]
    if number not in _NEVER_CONTENT and array.size == elements and elements > 1:
        if array.nbytes > _MAX_CONTENT_BYTES:
            raise errors.GraphError(
                f"a tensor of {array.nbytes} bytes does not fit a message; keep it in a variable"
            )
        message.tensor_content = _little_endian(array).tobytes()
    elif number in _BYTE_FLOATS:
        message.float8_val = array.tobytes()
    elif array.size:
        getattr(message, _FIELDS[number]).extend(_single_values(array, number))
    return message


def decode_tensor(message: TensorProto) -> Array:
    """The array in a message, read-only; strings as an object array of bytes.

    Raises:
        InvalidGraph: The message describes no tensor that an array can hold.
    """
    try:
        shape = decode_shape(message.tensor_shape)
        held = dtypes.to_numpy(message.dtype)
    except (errors.MalformedEntry, errors.UnsupportedDtype) as error:
        raise errors.InvalidGraph(f"a constant cannot be decoded: {error}") from None
    elements = math.prod(shape)
    if message.tensor_content:
        values = _from_content(message, held, elements)
    else:
        values = _from_field(message, held)
    if values.size > elements:
        raise errors.InvalidGraph(
            f"a constant of shape {shape} has {elements} elements, found {values.size} values"
        )
    if 1 < values.size < elements:
        values = _with_last_repeated(values, elements)
    try:
        if values.size == elements:
            array = values.reshape(shape)
        else:
            array = np.broadcast_to(values[0] if values.size else _zero(held), shape)
    except ValueError:
        raise errors.InvalidGraph(
            f"a constant has {len(shape)} dimensions, more than a NumPy array can: 32 (NumPy 1) or "
            f"64 (NumPy 2)"
        ) from None
    array.flags.writeable = False
    return array


def _from_content(message: TensorProto, held: np.dtype[Any], elements: int) -> Array:
    content = message.tensor_content
    if held.hasobject:
        raise errors.InvalidGraph("a string constant has raw content; it must have string_val")
    if len(content) != elements * held.itemsize:
        raise errors.InvalidGraph(
            f"the content of a constant must have {elements} * {held.itemsize} bytes, "
            f"found {len(content)}"
        )
    if held == np.bool_:
        # Any byte but 0 is true; NumPy trusts that a bool is 0 or 1.
        truths: Array = np.frombuffer(content, np.uint8) != 0
        return truths
    return np.frombuffer(content, held.newbyteorder("<")).astype(held, copy=False)


def _from_field(message: TensorProto, held: np.dtype[Any]) -> Array:
    number: int = message.dtype
    field = getattr(message, _FIELDS[number])
    if number == DataType.DT_STRING:
        strings = np.empty(len(field), object)
        strings[:] = list(field)
        return strings
    if number in _BYTE_FLOATS:
        return np.frombuffer(field, held)
    if number in (DataType.DT_HALF, DataType.DT_BFLOAT16):
        return np.array(field, np.int32).astype(np.uint16).view(held)
    if number in (DataType.DT_COMPLEX64, DataType.DT_COMPLEX128):
        part = np.float32 if number == DataType.DT_COMPLEX64 else np.float64
        if len(field) % 2:
            raise errors.InvalidGraph(
                f"a complex constant needs pairs of values, found {len(field)}"
            )
        return np.array(field, part).view(held)
    if number in _INTEGERS_IN_INT_VAL:
        return np.array(field, np.int32).astype(held)
    return np.array(field, held)


def _zero(held: np.dtype[Any]) -> Array:
    if held.hasobject:
        empty = np.empty((), object)
        empty[()] = b""
        return empty
    return np.zeros((), held)


# Several values and then a repetition: TensorFlow writes this to save space, and only for what it
# had in memory. A message of some bytes must not take all of it here.
_MAX_REPEATED_BYTES = 2**28


def _with_last_repeated(values: Array, elements: int) -> Array:
    if elements * values.itemsize > _MAX_REPEATED_BYTES:
        raise errors.InvalidGraph(
            f"a constant of {elements} elements has {values.size} values and repeats the last; "
            f"at most {_MAX_REPEATED_BYTES // values.itemsize} elements are decoded from that"
        )
    array = np.empty(elements, values.dtype)
    array[: values.size] = values
    array[values.size :] = values[-1:]
    return array


def _single_values(array: Array, number: int) -> list[Any]:
    flat = array.ravel()
    if number in (DataType.DT_HALF, DataType.DT_BFLOAT16):
        flat = flat.view(np.uint16)
    if number in (DataType.DT_COMPLEX64, DataType.DT_COMPLEX128):
        return [part for value in flat.tolist() for part in (value.real, value.imag)]
    if number in _INTEGERS_IN_INT_VAL:
        flat = flat.astype(np.int32)
    values: list[Any] = flat.tolist()
    return values


def _little_endian(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


# --------------------------------------------------------------------------- values of Python


def as_array(values: Any, dtype: int | None = None) -> tuple[Array, DataType]:
    """Values as an array, and their type, as `tf.constant` would choose it.

    Python's whole numbers are int32 where they fit, else int64; its floats are float32; text is
    UTF-8. Arrays keep their type, or are cast to `dtype`.

    Raises:
        GraphTypeError: A value is not one of `dtype`.
        GraphError: Lists of unequal length, or a whole number beyond `dtype`.
        UnsupportedDtype: TensorFlow has no type for the values.
    """
    wanted = None if dtype is None else DataType(dtype)
    if isinstance(values, np.ndarray | np.generic):
        array = _text_as_bytes(np.asarray(values))
        if wanted is not None:
            array = _cast(array, wanted)
        return array, dtypes.from_numpy(array.dtype) if wanted is None else wanted
    if wanted is not None:
        _check_all(values, wanted)
    array = _text_as_bytes(_array_of(values, wanted))
    if wanted is None:
        array = _with_preferred_type(array)
        return array, dtypes.from_numpy(array.dtype)
    return _cast(array, wanted), wanted


def _array_of(values: Any, wanted: DataType | None) -> Array:
    if wanted == DataType.DT_STRING or _first_leaf(values) in (str, bytes):
        # As objects: an array of text or bytes would lose zeros at the end.
        return _checked(lambda: np.array(values, object))
    if wanted is not None:
        return _checked(lambda: np.array(values, dtypes.to_numpy(wanted)))
    return _checked(lambda: np.array(values))


def _checked(make: Callable[[], Array]) -> Array:
    try:
        return make()
    except OverflowError as error:
        raise errors.GraphError(f"a value does not fit its type: {error}") from None
    except ValueError as error:
        raise errors.GraphError(f"values that make no tensor: {error}") from None
    except TypeError as error:
        raise errors.GraphTypeError(f"values that make no tensor: {error}") from None


def _first_leaf(values: Any) -> type:
    while isinstance(values, list | tuple) and values:
        values = values[0]
    return type(values)


def _with_preferred_type(array: Array) -> Array:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64:
        narrow = array.astype(np.int32)
        return narrow if np.array_equal(narrow, array) else array
    return array


def _text_as_bytes(array: Array) -> Array:
    if array.dtype.kind not in "SUTO":
        return array
    encoded = np.empty(array.shape, object)
    flat = encoded.reshape(-1)
    for index, value in enumerate(array.astype(object).reshape(-1)):
        if isinstance(value, str):
            flat[index] = value.encode("utf-8", "surrogateescape")
        elif isinstance(value, bytes):
            flat[index] = bytes(value)
        else:
            raise errors.GraphTypeError(
                f"a string tensor holds text or bytes, found {value!r:.80} of type "
                f"{type(value).__name__}"
            )
    return encoded


def _cast(array: Array, wanted: DataType) -> Array:
    held = dtypes.to_numpy(wanted)
    if array.dtype == held:
        return array
    if held.hasobject or array.dtype.hasobject:
        raise errors.GraphTypeError(
            f"cannot make a {dtypes.name(wanted)} tensor of values of dtype {array.dtype}"
        )
    return array.astype(held)


_ACCEPTED: dict[str, tuple[type, ...]] = {
    "b": (bool, np.bool_),
    "i": (int, np.integer),
    "u": (int, np.integer),
    "f": (int, float, np.integer, np.floating),
    "c": (int, float, complex, np.number),
}


def _check_all(values: Any, wanted: DataType) -> None:
    """Refuse what would lose something: 1.5 as an int32."""
    held = dtypes.to_numpy(wanted)
    accepted = _ACCEPTED.get(held.kind)
    if accepted is None:
        return
    bounds = np.iinfo(held) if held.kind in "iu" else None
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, list | tuple):
            pending.extend(reversed(value))
        elif isinstance(value, np.ndarray):
            continue
        elif not isinstance(value, accepted) or (held.kind != "b" and isinstance(value, bool)):
            raise errors.GraphTypeError(
                f"expected {dtypes.name(wanted)}, found {value!r:.80} of type "
                f"{type(value).__name__!r}"
            )
        # NumPy 1 takes what is left of it.
        elif bounds and isinstance(value, int) and not bounds.min <= value <= bounds.max:
            raise errors.GraphError(
                f"a value does not fit its type: {dtypes.name(wanted)} is {bounds.min} to "
                f"{bounds.max}"
            )
