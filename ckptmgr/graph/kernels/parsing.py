"""tf.Example messages as tensors.

Each message is a dict of features, each a list of floats, whole numbers or strings. A dense feature
has as many values as its shape says, or, where the first dimension is open, is padded to the
longest; a sparse one becomes a sparse matrix with a row per message; a ragged one a list of lists.

Source: tensorflow/core/kernels/example_parsing_ops.cc,
tensorflow/core/util/example_proto_fast_parsing.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from ckptmgr import errors
from ckptmgr._proto.example_pb2 import Example
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.kernels.arguments import check_size
from ckptmgr.graph.kernels.registry import KernelNode, kernel

_FIELDS = {
    DataType.DT_FLOAT: "float_list",
    DataType.DT_INT64: "int64_list",
    DataType.DT_STRING: "bytes_list",
}
#: The names that TensorFlow's messages give to the types.
_NAMES = {DataType.DT_FLOAT: "float", DataType.DT_INT64: "int64", DataType.DT_STRING: "string"}


class _Batch(NamedTuple):
    """Some messages, or one alone."""

    features: list[Any]
    names: list[bytes]
    is_single: bool

    def values(self, row: int, key: str, dtype: DataType) -> Sequence[Any] | None:
        """The values of a feature of a message; None where it has none."""
        features = self.features[row]
        if key not in features:
            return None
        feature = features[key]
        kind = feature.WhichOneof("kind")
        if kind is None:
            return None
        if kind != _FIELDS.get(dtype):
            found = next((_NAMES[t] for t, field in _FIELDS.items() if field == kind), kind)
            raise errors.InvalidArgument(
                f"{self.where(row)}, Key: {key}, Index: {row}.  Data types don't match. "
                f"Expected type: {dtypes.name(dtype)} but got type: {found}"
            )
        values: Sequence[Any] = getattr(feature, kind).value
        return values

    def where(self, row: int) -> str:
        name = self.names[row].decode("utf-8", "replace") if self.names else "<unknown>"
        return f"Name: {name}"


class _Dense(NamedTuple):
    key: str
    dtype: DataType
    shape: tuple[int | None, ...]
    default: Array


@kernel("ParseExample")
def parse_example(node: KernelNode, serialized: Array, names: Array, *rest: Array) -> Any:
    num_sparse, num_dense = node.attr("Nsparse"), node.attr("Ndense")
    if len(rest) != num_sparse + 2 * num_dense:
        raise errors.InvalidArgument(
            f"{num_sparse} sparse and {num_dense} dense features need "
            f"{num_sparse + 2 * num_dense} inputs, got {len(rest)}"
        )
    keys = [_key(value.item()) for value in rest[: num_sparse + num_dense]]
    batch = _decode(serialized, names)
    sparse = _sparse_outputs(batch, keys[:num_sparse], node.attr("sparse_types"))
    defaults = rest[num_sparse + num_dense :]
    return (*sparse, *_dense_outputs(batch, _dense(node, keys[num_sparse:], defaults)))


@kernel("ParseExampleV2")
def parse_example_v2(
    node: KernelNode, serialized: Array, names: Array, *rest: Array
) -> tuple[Array, ...]:
    sparse_keys, dense_keys, ragged_keys, *defaults = rest
    batch = _decode(serialized, names)
    sparse = _sparse_outputs(batch, _keys(sparse_keys), node.attr("sparse_types"))
    dense = _dense_outputs(batch, _dense(node, _keys(dense_keys), defaults))
    ragged = _ragged_outputs(
        batch,
        _keys(ragged_keys),
        node.attr("ragged_value_types"),
        node.attr("ragged_split_types"),
    )
    return (*sparse, *dense, *ragged)


@kernel("ParseSingleExample")
def parse_single_example(
    node: KernelNode, serialized: Array, *dense_defaults: Array
) -> tuple[Array, ...]:
    batch = _decode(serialized, np.empty(0, object))
    sparse_keys = [_key(key) for key in node.attr("sparse_keys")]
    dense_keys = [_key(key) for key in node.attr("dense_keys")]
    sparse = _sparse_outputs(batch, sparse_keys, node.attr("sparse_types"))
    return (*sparse, *_dense_outputs(batch, _dense(node, dense_keys, dense_defaults)))


def _key(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _keys(value: Array) -> list[str]:
    return [_key(key) for key in value.reshape(-1).tolist()]


def _decode(serialized: Array, names: Array) -> _Batch:
    if serialized.ndim > 1:
        raise errors.InvalidArgument(
            f"serialized must be a scalar or a vector, got shape {list(serialized.shape)}"
        )
    if names.size and names.shape != serialized.shape:
        raise errors.InvalidArgument(
            f"names must be empty or have the shape of serialized, {list(serialized.shape)}, got "
            f"{list(names.shape)}"
        )
    features = []
    for row, data in enumerate(serialized.reshape(-1).tolist()):
        try:
            features.append(Example.FromString(data).features.feature)
        except DecodeError:
            raise errors.InvalidArgument(
                f"Could not parse example input, value: {data[:200]!r}, at index {row}"
            ) from None
    return _Batch(features, names.reshape(-1).tolist(), serialized.ndim == 0)


def _dense(node: KernelNode, keys: list[str], defaults: Sequence[Array]) -> list[_Dense]:
    types, shapes = node.attr("Tdense"), node.attr("dense_shapes")
    if not len(keys) == len(defaults) == len(types) == len(shapes):
        raise errors.InvalidArgument(
            f"each dense feature needs a key, a default, a type and a shape, got {len(keys)}, "
            f"{len(defaults)}, {len(types)} and {len(shapes)}"
        )
    dense = []
    for key, default, dtype, shape in zip(keys, defaults, types, shapes, strict=True):
        if shape is None or None in shape[1:] or dtype not in _FIELDS:
            raise errors.InvalidArgument(
                f"dense feature {key!r} must be of a known shape, of which the first size may be "
                f"open, and of float32, int64 or string; got {shape} and {dtypes.name(dtype)}"
            )
        dense.append(_Dense(key, dtype, shape, default))
    return dense


def _dense_outputs(batch: _Batch, dense: list[_Dense]) -> list[Array]:
    return [
        _padded(batch, feature)
        if feature.shape and feature.shape[0] is None
        else _of_one_shape(batch, feature)
        for feature in dense
    ]


def _of_one_shape(batch: _Batch, feature: _Dense) -> Array:
    shape = tuple(size or 0 for size in feature.shape)
    held = dtypes.to_numpy(feature.dtype)
    count = math.prod(shape)
    check_size((len(batch.features), *shape), held)
    result = np.empty((len(batch.features), count), held)
    for row in range(len(batch.features)):
        values = batch.values(row, feature.key, feature.dtype)
        if values is None:
            if feature.default.size != count:
                raise errors.InvalidArgument(
                    f"{batch.where(row)}, Feature: {feature.key} (data type: "
                    f"{_NAMES[feature.dtype]}) is required but could not be found."
                )
            result[row] = feature.default.reshape(-1)
            continue
        if len(values) != count:
            raise errors.InvalidArgument(
                f"{batch.where(row)}, Key: {feature.key}, Index: {row}.  Number of "
                f"{_NAMES[feature.dtype]} values != expected.  values size: {len(values)} but "
                f"output shape: {list(shape)}"
            )
        result[row] = values
    return result.reshape(shape if batch.is_single else (len(batch.features), *shape))


def _padded(batch: _Batch, feature: _Dense) -> Array:
    """As long as the longest, what is missing filled with the default."""
    inner = tuple(size or 0 for size in feature.shape[1:])
    stride = math.prod(inner)
    held = dtypes.to_numpy(feature.dtype)
    rows = []
    for row in range(len(batch.features)):
        values = batch.values(row, feature.key, feature.dtype) or []
        if stride == 0 or len(values) % stride:
            raise errors.InvalidArgument(
                f"{batch.where(row)}, Key: {feature.key}, Index: {row}.  Number of "
                f"{_NAMES[feature.dtype]} values is not a multiple of stride length. Saw "
                f"{len(values)} values but output shape is: {list(feature.shape)}"
            )
        rows.append(values)
    longest = max(map(len, rows), default=0)
    check_size((len(rows), longest), held)
    result = np.empty((len(rows), longest), held)
    if batch.is_single:
        result[0] = rows[0]
        return result.reshape(longest // stride, *inner)
    if feature.default.size != 1:
        raise errors.InvalidArgument(
            f"the default of dense feature {feature.key!r} must be a scalar, got shape "
            f"{list(feature.default.shape)}"
        )
    result[...] = feature.default.reshape(())
    for row, values in enumerate(rows):
        result[row, : len(values)] = values
    return result.reshape(len(rows), longest // stride, *inner)


def _sparse_outputs(batch: _Batch, keys: list[str], types: Sequence[DataType]) -> list[Array]:
    """The indices of all, then the values of all, then the shapes of all."""
    indices, values, shapes = [], [], []
    for key, dtype in _paired(keys, types):
        rows = [batch.values(row, key, dtype) or [] for row in range(len(batch.features))]
        sizes = np.array([len(row) for row in rows], np.int64)
        longest = int(sizes.max(initial=0))
        places = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, np.int64)])
        values.append(_column(rows, dtype))
        if batch.is_single:
            indices.append(places.astype(np.int64)[:, None])
            shapes.append(np.array([longest], np.int64))
        else:
            numbers = np.repeat(np.arange(len(rows)), sizes)
            indices.append(np.stack([numbers, places], axis=1).astype(np.int64))
            shapes.append(np.array([len(rows), longest], np.int64))
    return [*indices, *values, *shapes]


def _ragged_outputs(
    batch: _Batch, keys: list[str], types: Sequence[DataType], split_types: Sequence[DataType]
) -> list[Array]:
    values, splits = [], []
    for (key, dtype), split_type in zip(_paired(keys, types), split_types, strict=True):
        rows = [batch.values(row, key, dtype) or [] for row in range(len(batch.features))]
        values.append(_column(rows, dtype))
        ends = np.cumsum([0, *map(len, rows)])
        # One message alone is a plain list.
        shown = ends[:0] if batch.is_single else ends
        splits.append(shown.astype(dtypes.to_numpy(split_type)))
    return [*values, *splits]


def _paired(keys: list[str], types: Sequence[DataType]) -> list[tuple[str, DataType]]:
    if len(keys) != len(types) or any(dtype not in _FIELDS for dtype in types):
        raise errors.InvalidArgument(
            f"each feature needs a key and one of the types float32, int64 and string, got "
            f"{len(keys)} keys and {[dtypes.name(dtype) for dtype in types]}"
        )
    return list(zip(keys, types, strict=True))


def _column(rows: Sequence[Sequence[Any]], dtype: DataType) -> Array:
    flat = [value for row in rows for value in row]
    column = np.empty(len(flat), dtypes.to_numpy(dtype))
    column[:] = flat
    return column
