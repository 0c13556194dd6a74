"""One leaf of a state, as the array that goes into a bundle, and back.

A leaf is stored as the tensor that a TensorFlow user would expect of it; what NumPy's types cannot
tell on the way back (a Python int from an int64 scalar) is its *kind*, kept with the tree:

    array         ndarray, or anything with `__array__`      the same dtype and shape
    array:str     ndarray of str (read back: `packed`)       DT_STRING, UTF-8
    scalar        NumPy scalar                               rank 0
    int           int within 64 bits                         DT_INT64, rank 0
    bigint        any other int                              DT_STRING, rank 0, decimal
    bool, float, complex                                     DT_BOOL, DT_DOUBLE, DT_COMPLEX128
    str, bytes                                               DT_STRING, rank 0
    none          None                                       nothing: it is in the tree alone
    torch, jax    a tensor of that framework (`foreign.py`)  the same dtype and shape
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.formats import dtypes
from ckptmgr.lifecycle import foreign

ARRAY = "array"
TEXT_ARRAY = "array:str"
SCALAR = "scalar"
NONE = "none"
BIG_INT = "bigint"

# Framework and class of what turns into an array and loses its labels by that.
_LABELLED = frozenset(
    {
        ("pandas", "DataFrame"),
        ("pandas", "Series"),
        ("polars", "DataFrame"),
        ("xarray", "DataArray"),
    }
)

_INT64 = np.iinfo(np.int64)
# An array of fixed width makes each string as long as the longest. So much it may take in any case,
# and so many times its strings.
_PACKED_BYTES = 16 << 20
_PACKED_MULTIPLE = 16

# Python refuses int() of a text of more than 4300 digits, for it takes quadratic time; a seed is
# far below. So many bits make fewer digits than that.
_BIGINT_BITS_LIMIT = 13_000
_BIGINT_DIGITS_LIMIT = 4000


def encode_leaf(value: Any, name: str) -> tuple[str, np.ndarray[Any, Any] | None]:
    """The kind of a leaf and the array that stands for it; None for a leaf without bytes.

    Raises:
        UnsupportedLeaf: Nothing in the format can hold it; names the leaf.
    """
    if isinstance(value, np.ndarray):
        return _encode_array(value, name)
    if value is None:
        return NONE, None
    # Those of NumPy, too: made an array, they would lose NULs at their ends.
    if isinstance(value, str):
        return "str", np.asarray(_utf8(value, name), object)
    if isinstance(value, bytes):
        kind = SCALAR if isinstance(value, np.generic) else "bytes"
        return kind, np.asarray(bytes(value), object)
    if isinstance(value, np.generic):
        return SCALAR, _encode_array(np.asarray(value), name)[1]
    if isinstance(value, bool):
        return "bool", np.asarray(value)
    if isinstance(value, int):
        if _INT64.min <= value <= _INT64.max:
            return "int", np.asarray(value, np.int64)
        return BIG_INT, _encode_big_int(int(value), name)
    if isinstance(value, float):
        return "float", np.asarray(value, np.float64)
    if isinstance(value, complex):
        return "complex", np.asarray(value, np.complex128)
    return _encode_other(value, name)


def outline_leaf(value: Any, name: str) -> tuple[str, np.ndarray[Any, Any] | None]:
    """`encode_leaf` for the sake of shape and dtype: a framework's values are not looked at."""
    found = None if isinstance(value, np.ndarray) else foreign.adapter_and_kind(value)
    if found is None:
        return encode_leaf(value, name)
    adapter, kind = found
    shape, dtype = _converted(adapter.outline, value, name)
    return kind, np.broadcast_to(np.empty((), dtype), shape)


def is_array(kind: str) -> bool:
    """Whether a kind is that of an array of numbers, NumPy's or a framework's."""
    return kind == ARRAY or foreign.is_foreign(kind)


def decode_leaf(kind: str, array: np.ndarray[Any, Any]) -> Any:
    """The inverse of `encode_leaf` for every kind but `none`.

    Raises:
        MalformedMetadata: The tensor is not what its kind says.
    """
    if kind == ARRAY:
        return array
    if kind == TEXT_ARRAY:
        return _decode_text_array(array)
    if foreign.is_foreign(kind):
        return foreign.decode(kind, array)
    if array.ndim != 0:
        raise errors.MalformedMetadata(
            f"a leaf of kind {kind!r} is stored as an array", expected="rank 0", found=array.shape
        )
    if kind == SCALAR:
        return array[()]
    item = array.item()
    if kind in _DECODERS and isinstance(item, _DECODERS[kind][0]):
        try:
            return _DECODERS[kind][1](item)
        except ValueError:  # bytes that are not UTF-8, or not a decimal number
            pass
    raise errors.MalformedMetadata(
        "a leaf is not what its kind says", expected=kind, found=f"{item!r:.60}"
    )


def decode_number(array: np.ndarray[Any, Any]) -> Any:
    """The Python number in a rank-0 tensor of any numeric dtype, or in the text of a big int."""
    item = array.item()
    return decode_leaf(BIG_INT, array) if isinstance(item, bytes) else item


def packed(strings: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """An object array of strings as one of fixed width, as long as the longest of them.

    As it is, if that would take many times their memory, or lose NULs at the end of one.

    Args:
        kind: `U` for str, `S` for bytes.
    """
    items = strings.reshape(-1).tolist()
    lengths = [*map(len, items)]
    packed_bytes = max(lengths, default=0) * len(items) * np.dtype(f"{kind}1").itemsize
    is_too_large = packed_bytes > max(_PACKED_BYTES, _PACKED_MULTIPLE * sum(lengths))
    nul = "\0" if kind == "U" else b"\0"
    if is_too_large or any(item.endswith(nul) for item in items):
        return strings
    return strings.astype(kind)


def _encode_big_int(value: int, name: str) -> np.ndarray[Any, Any]:
    if value.bit_length() > _BIGINT_BITS_LIMIT:
        raise errors.UnsupportedLeaf(
            f"leaf {name!r} cannot be saved: wanted an int of at most {_BIGINT_BITS_LIMIT} bits, "
            f"found one of {value.bit_length()}"
        )
    return np.asarray(str(value).encode(), object)


def _decode_big_int(item: bytes) -> int:
    if len(item) > _BIGINT_DIGITS_LIMIT:
        raise ValueError
    return int(item.decode("ascii"))


_DECODERS: dict[str, tuple[Any, Any]] = {
    "int": (int, int),
    "bool": (bool, bool),
    "float": (int | float, float),
    "complex": (int | float | complex, complex),
    "str": (bytes, lambda item: item.decode("utf-8")),
    "bytes": (bytes, bytes),
    BIG_INT: (bytes, _decode_big_int),
}


def _encode_other(value: Any, name: str) -> tuple[str, np.ndarray[Any, Any]]:
    if (found := foreign.adapter_and_kind(value)) is not None:
        adapter, kind = found
        return kind, _encode_array(_converted(adapter.to_array, value, name), name)[1]
    if _is_labelled(value):
        raise errors.UnsupportedLeaf(
            f"leaf {name!r} cannot be saved: an array has no place for the labels of "
            f"{_type_name(value)}; save its values and its labels as leaves of their own, "
            f".to_numpy() of each column and of the index"
        )
    if hasattr(value, "__array__"):
        return _encode_array(_converted(np.asarray, value, name), name)
    raise errors.UnsupportedLeaf(
        f"leaf {name!r} cannot be saved: wanted an array, a number, a string, None or an object "
        f"with state_dict() and load_state_dict(), found {_type_name(value)}"
    )


def _encode_array(array: np.ndarray[Any, Any], name: str) -> tuple[str, np.ndarray[Any, Any]]:
    if isinstance(array, np.ma.MaskedArray):
        raise errors.UnsupportedLeaf(
            f"leaf {name!r} cannot be saved: a masked array; save its .data and .mask as two leaves"
        )
    array = np.asarray(array)  # a matrix would stay two-dimensional
    if array.dtype.kind in "UT":
        return TEXT_ARRAY, _encoded_text(array, name)
    if array.dtype.kind == "S":
        return ARRAY, array.astype(object)
    if array.dtype.kind == "O":
        return _encode_object_array(array, name)
    try:
        dtypes.from_numpy(array.dtype)
    except errors.UnsupportedDtype as error:
        raise errors.UnsupportedLeaf(f"leaf {name!r} cannot be saved: {error}") from None
    return ARRAY, array


def _encode_object_array(
    array: np.ndarray[Any, Any], name: str
) -> tuple[str, np.ndarray[Any, Any]]:
    kinds = {type(item) for item in array.flat}
    if kinds <= {bytes}:
        return ARRAY, array
    if kinds == {str}:
        return TEXT_ARRAY, _encoded_text(array, name)
    found = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise errors.UnsupportedLeaf(
        f"leaf {name!r} cannot be saved: wanted an object array of bytes or of str, found {found}"
    )


def _encoded_text(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    items = array.reshape(-1).tolist()
    for item in items:
        if not isinstance(item, str):  # what StringDType says for a string that is missing
            raise errors.UnsupportedLeaf(
                f"leaf {name!r} cannot be saved: a string is missing, found {item!r}; put a text "
                f"in its place"
            )
    encoded = np.empty(array.shape, object)
    encoded.reshape(-1)[:] = [_utf8(item, name) for item in items]
    return encoded


def _decode_text_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        texts = [item.decode("utf-8") for item in array.flat]
    except (AttributeError, UnicodeDecodeError):
        raise errors.MalformedMetadata("an array of text is not UTF-8") from None
    decoded = np.empty(array.shape, object)
    decoded.reshape(-1)[:] = texts
    return packed(decoded, "U")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.UnsupportedLeaf(
            f"leaf {name!r} cannot be saved: its text is not valid Unicode, found {text!r:.60}"
        ) from None


def _converted(convert: Callable[[Any], Any], value: Any, name: str) -> Any:
    try:
        return convert(value)
    except Exception as error:  # whatever a foreign __array__ raises, the leaf must be named
        raise errors.UnsupportedLeaf(
            f"leaf {name!r} cannot be saved: {_type_name(value)} does not turn into a NumPy array: "
            f"{error}"
        ) from error


def _is_labelled(value: object) -> bool:
    bases = type(value).__mro__  # somebody's subclass is defined in their module
    return any((base.__module__.partition(".")[0], base.__name__) in _LABELLED for base in bases)


def _type_name(value: object) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
