"""Strings: joined, cut, searched, and turned into numbers and back. They are bytes, or UTF-8.

Regular expressions are RE2's in TensorFlow and Python's here: what both have means the same, but
for text that is no UTF-8. A pattern of a graph may take Python long.
"""

from __future__ import annotations

import base64
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.arguments import axes_within, check_size, integers
from ckptmgr.graph.kernels.assertions import summary
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.string_hashes import fingerprint64, keyed_hash, legacy_hash64


def _each(function: Callable[[bytes], Any], value: Array, dtype: Any = object) -> Array:
    """The results for each string, in the same places."""
    result = np.empty(value.shape, dtype)
    result.reshape(-1)[:] = [function(item) for item in value.reshape(-1).tolist()]
    return result


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _data(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# --------------------------------------------------------------------------- joining


@kernel("StringJoin")
def join(node: KernelNode, *inputs: Array) -> Array:
    separator = node.attr("separator")
    shapes = {value.shape for value in inputs if value.ndim}
    if len(shapes) > 1:
        raise errors.InvalidArgument(
            f"Input shapes do not match: {' vs. '.join(str(list(shape)) for shape in shapes)}"
        )
    shape = shapes.pop() if shapes else ()
    columns = [np.broadcast_to(value, shape).reshape(-1).tolist() for value in inputs]
    result = np.empty(shape, object)
    if not columns:
        result[()] = b""
        return result
    result.reshape(-1)[:] = [separator.join(parts) for parts in zip(*columns, strict=True)]
    return result


@kernel("ReduceJoin")
def reduce_join(node: KernelNode, inputs: Array, reduction_indices: Array) -> Array:
    """Along several axes, the last one named changes quickest."""
    axes = axes_within(integers(reduction_indices, "reduction_indices"), inputs.ndim)
    if not axes:
        return inputs
    rest = [axis for axis in range(inputs.ndim) if axis not in axes]
    kept = [inputs.shape[axis] for axis in rest]
    count = math.prod(inputs.shape[axis] for axis in axes)
    rows = np.transpose(inputs, [*rest, *axes]).reshape(math.prod(kept), count)
    joined = np.empty(kept, object)
    separator = node.attr("separator")
    flat = joined.reshape(-1)
    for place, row in enumerate(rows):
        flat[place] = separator.join(row.tolist())
    if node.attr("keep_dims"):
        shape = [1 if axis in axes else size for axis, size in enumerate(inputs.shape)]
        return joined.reshape(shape)
    return joined


@kernel("StringFormat")
def string_format(node: KernelNode, *inputs: Array) -> Array:
    placeholder = node.attr("placeholder")
    parts = node.attr("template").split(placeholder)
    if len(parts) != len(inputs) + 1:
        raise errors.InvalidArgument(
            f"the template has {len(parts) - 1} placeholders, got {len(inputs)} inputs"
        )
    texts = [_data(_nested(value, node.attr("summarize"))) for value in inputs]
    texts.append(b"")
    return np.array(b"".join(a + b for a, b in zip(parts, texts, strict=True)), object)


def _nested(value: Array, count: int) -> str:
    """As tf.print shows a tensor: the first and the last few of each dimension."""
    if not value.ndim:
        item = value.item()
        return f'"{_text(item)}"' if isinstance(item, bytes) else summary(value, -1)
    rows = list(range(len(value)))
    if count >= 0 and len(rows) > 2 * count:
        shown = [_nested(np.asarray(value[row, ...]), count) for row in rows[:count]]
        shown += ["..."] + [
            _nested(np.asarray(value[row, ...]), count) for row in rows[len(rows) - count :]
        ]
    else:
        shown = [_nested(np.asarray(value[row, ...]), count) for row in rows]
    return f"[{(' ' if value.ndim == 1 else chr(10) + ' ').join(shown)}]"


# --------------------------------------------------------------------------- splitting


@kernel("StringSplit")
def split(node: KernelNode, strings: Array, delimiter: Array) -> tuple[Array, Array, Array]:
    """At each character of the delimiter; without one, into bytes."""
    characters = delimiter.reshape(-1).tolist()[0] if delimiter.size else b""
    pattern = re.compile(b"[" + re.escape(characters) + b"]") if characters else None
    rows = []
    for item in strings.reshape(-1).tolist():
        parts = (
            pattern.split(item)
            if pattern is not None and item
            else [item[place : place + 1] for place in range(len(item))]
        )
        rows.append([part for part in parts if part or not node.attr("skip_empty")])
    return _sparse(rows)


@kernel("StringSplitV2")
def split_v2(node: KernelNode, strings: Array, sep: Array) -> tuple[Array, Array, Array]:
    separator, most = sep.reshape(-1).tolist()[0], node.attr("maxsplit")
    # Without a separator runs of white space count as one; Python knows the same six characters.
    return _sparse([item.split(separator or None, most) for item in strings.reshape(-1).tolist()])


def _sparse(rows: list[list[bytes]]) -> tuple[Array, Array, Array]:
    indices = [(row, column) for row, parts in enumerate(rows) for column in range(len(parts))]
    values = np.empty(len(indices), object)
    values[:] = [part for parts in rows for part in parts]
    shape = np.array([len(rows), max(map(len, rows), default=0)], np.int64)
    return np.array(indices, np.int64).reshape(-1, 2), values, shape


# --------------------------------------------------------------------------- one by one


@kernel("StringLower")
def lower(node: KernelNode, value: Array) -> Array:
    if node.attr("encoding") == b"utf-8":
        return _each(lambda item: _data(_text(item).lower()), value)
    return _each(bytes.lower, value)


@kernel("StringUpper")
def upper(node: KernelNode, value: Array) -> Array:
    if node.attr("encoding") == b"utf-8":
        return _each(lambda item: _data(_text(item).upper()), value)
    return _each(bytes.upper, value)


@kernel("StringStrip")
def strip(node: KernelNode, value: Array) -> Array:
    return _each(bytes.strip, value)


@kernel("StringLength")
def length(node: KernelNode, value: Array) -> Array:
    if node.attr("unit") == b"UTF8_CHAR":
        return _each(lambda item: len(_characters(item)), value, np.int32)
    return _each(len, value, np.int32)


_CHARACTER = re.compile(rb"[\x00-\x7f\xc0-\xff][\x80-\xbf]*|[\x80-\xbf]+")


def _characters(data: bytes) -> list[bytes]:
    return _CHARACTER.findall(data)


@kernel("Substr")
def substring(node: KernelNode, value: Array, pos: Array, length: Array) -> Array:
    shape = np.broadcast_shapes(value.shape, pos.shape)
    result = np.empty(shape, object)
    columns = [np.broadcast_to(item, shape).reshape(-1).tolist() for item in (value, pos, length)]
    by_character = node.attr("unit") == b"UTF8_CHAR"
    flat = result.reshape(-1)
    for place, (item, start, size) in enumerate(zip(*columns, strict=True)):
        units: Any = _characters(item) if by_character else item
        if not -len(units) <= start <= len(units):
            raise errors.InvalidArgument(
                f"pos {start} out of range for string b'{_text(item)}' at index {place}"
            )
        first = start if start >= 0 else len(units) + start
        part = units[first : first + max(size, 0)]
        flat[place] = b"".join(part) if by_character else part
    return result


@kernel("StringToHashBucketFast")
def hash_bucket(node: KernelNode, value: Array) -> Array:
    buckets = node.attr("num_buckets")
    return _each(lambda item: fingerprint64(item) % buckets, value, np.int64)


@kernel("StringToHashBucketStrong")
def keyed_hash_bucket(node: KernelNode, value: Array) -> Array:
    key, buckets = node.attr("key"), node.attr("num_buckets")
    if len(key) != 2:
        raise errors.InvalidArgument(f"Key must have 2 elements, got {len(key)}")
    return _each(lambda item: keyed_hash(item, key) % buckets, value, np.int64)


@kernel("StringToHashBucket")
def legacy_hash_bucket(node: KernelNode, value: Array) -> Array:
    buckets = node.attr("num_buckets")
    return _each(lambda item: legacy_hash64(item) % buckets, value, np.int64)


@kernel("EncodeBase64")
def encode_base64(node: KernelNode, value: Array) -> Array:
    if node.attr("pad"):
        return _each(base64.urlsafe_b64encode, value)
    return _each(lambda item: base64.urlsafe_b64encode(item).rstrip(b"="), value)


@kernel("DecodeBase64")
def decode_base64(node: KernelNode, value: Array) -> Array:
    return _each(_decode_base64, value)


def _decode_base64(data: bytes) -> bytes:
    bare = data.rstrip(b"=")
    # One character alone stands for six bits of a byte.
    if not re.fullmatch(rb"[A-Za-z0-9_-]*", bare) or len(bare) % 4 == 1:
        raise errors.InvalidArgument(f"Invalid character found in base64: {data[:80]!r}")
    return base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))


# --------------------------------------------------------------------------- patterns


@kernel("RegexReplace")
def regex_replace(node: KernelNode, value: Array, pattern: Array, rewrite: Array) -> Array:
    return _replaced(node, value, pattern.item(), rewrite.item())


@kernel("StaticRegexReplace")
def static_regex_replace(node: KernelNode, value: Array) -> Array:
    return _replaced(node, value, node.attr("pattern"), node.attr("rewrite"))


@kernel("RegexFullMatch")
def regex_full_match(node: KernelNode, value: Array, pattern: Array) -> Array:
    compiled = _pattern(pattern.item())
    return _each(lambda item: compiled.fullmatch(_text(item)) is not None, value, np.bool_)


@kernel("StaticRegexFullMatch")
def static_regex_full_match(node: KernelNode, value: Array) -> Array:
    compiled = _pattern(node.attr("pattern"))
    return _each(lambda item: compiled.fullmatch(_text(item)) is not None, value, np.bool_)


def _replaced(node: KernelNode, value: Array, pattern: bytes, rewrite: bytes) -> Array:
    compiled, count = _pattern(pattern), 0 if node.attr("replace_global") else 1
    replacement = _rewrite(_text(rewrite), compiled.groups)
    return _each(lambda item: _data(compiled.sub(replacement, _text(item), count)), value)


@functools.lru_cache(maxsize=64)
def _pattern(pattern: bytes) -> re.Pattern[str]:
    text = _text(pattern).replace(r"\z", r"\Z")
    try:
        return re.compile(text, re.ASCII)  # as in RE2, \d and \w are ASCII only
    except (re.error, OverflowError, RecursionError) as error:
        raise errors.InvalidArgument(f"Invalid pattern: {text[:200]}, error: {error}") from None


def _rewrite(rewrite: str, groups: int) -> Callable[[re.Match[str]], str]:
    r"""Where `\1` is a group and `\\` a backslash."""
    parts = re.split(r"\\(.?)", rewrite, flags=re.DOTALL)
    for escaped in parts[1::2]:
        is_group = escaped.isascii() and escaped.isdigit() and int(escaped) <= groups
        if escaped != "\\" and not is_group:
            raise errors.InvalidArgument(f"Invalid rewrite: {rewrite[:200]!r}")

    def replacement(match: re.Match[str]) -> str:
        texts = [parts[0]]
        for escaped, text in zip(parts[1::2], parts[2::2], strict=True):
            texts.append(escaped if escaped == "\\" else match.group(int(escaped)) or "")
            texts.append(text)
        return "".join(texts)

    return replacement


# --------------------------------------------------------------------------- numbers


@kernel("AsString")
def as_string(node: KernelNode, value: Array) -> Array:
    dtype = value.dtype
    flags, width = _text(node.attr("fill")), node.attr("width")
    if flags not in ("", " ", "+", "-", "0", "#"):
        raise errors.InvalidArgument(f"Fill argument not supported: {flags!r}")
    field = f"%{flags}{'' if width < 0 else width}"
    if dtype.hasobject:
        return value
    if dtype == np.bool_:
        return _formatted(value, lambda item: "true" if item else "false")
    if dtype.kind in "iu":
        return _formatted(value.astype(object), lambda item: f"{field}d" % int(item))
    precision = node.attr("precision")
    field += "" if precision < 0 else f".{precision}"
    kind = "g" if node.attr("shortest") else "e" if node.attr("scientific") else "f"
    if dtype.kind == "c":
        return _formatted(
            value, lambda item: f"({field}{kind},{field}{kind})" % (item.real, item.imag)
        )
    return _formatted(value.astype(np.float64), lambda item: f"{field}{kind}" % item)


def _formatted(value: Array, function: Callable[[Any], str]) -> Array:
    result = np.empty(value.shape, object)
    result.reshape(-1)[:] = [function(item).encode() for item in value.reshape(-1).tolist()]
    return result


_WHOLE_NUMBER = re.compile(rb"\s*([+-]?\d+)\s*")
_NUMBER = re.compile(
    rb"\s*([+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan))\s*", re.IGNORECASE
)


@kernel("StringToNumber")
def to_number(node: KernelNode, value: Array) -> Array:
    dtype = dtypes.to_numpy(node.attr("out_type"))

    def convert(item: bytes) -> Any:
        match = (_WHOLE_NUMBER if dtype.kind in "iu" else _NUMBER).fullmatch(item)
        if match is not None:
            if dtype.kind not in "iu":
                return float(match.group(1))
            number = int(match.group(1)) if len(match.group(1)) < 25 else 2**64
            if np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
                return number
        raise errors.InvalidArgument(
            f"StringToNumberOp could not correctly convert string: {_text(item[:200])}"
        )

    with np.errstate(over="ignore"):
        return _each(convert, value, dtype)


@kernel("DecodeRaw")
def decode_raw(node: KernelNode, value: Array) -> Array:
    dtype = dtypes.to_numpy(node.attr("out_type"))
    if dtype.hasobject:
        raise errors.InvalidArgument("DecodeRaw gives numbers, not strings")
    flat = value.reshape(-1).tolist()
    sizes = set(map(len, flat)) or {0}
    if len(sizes) > 1:
        raise errors.InvalidArgument(
            f"DecodeRaw requires input strings to all be the same size, but found {sorted(sizes)}"
        )
    size = sizes.pop()
    if size % dtype.itemsize:
        raise errors.InvalidArgument(
            f"Input to DecodeRaw has length {size} that is not a multiple of {dtype.itemsize}, the "
            f"size of {dtype.name}"
        )
    shape = (*value.shape, size // dtype.itemsize)
    check_size(shape, dtype)
    data = b"".join(flat)
    if dtype == np.bool_:
        return (np.frombuffer(data, np.uint8) != 0).reshape(shape)
    array = np.frombuffer(data, dtype)
    if not node.attr("little_endian") and dtype.itemsize > 1:
        width = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        array = array.view(f"u{width}").byteswap().view(dtype)
    return array.reshape(shape).copy()
