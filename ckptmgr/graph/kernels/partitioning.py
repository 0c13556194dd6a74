"""Rows dealt out to several tensors, and put together again: lookups in partitioned variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, zero
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("DynamicPartition")
def partition(node: KernelNode, data: Array, partitions: Array) -> tuple[Array, ...]:
    count = node.attr("num_partitions")
    if data.shape[: partitions.ndim] != partitions.shape:
        raise errors.InvalidArgument(
            f"data.shape must start with partitions.shape, got data.shape = {list(data.shape)}, "
            f"partitions.shape = {list(partitions.shape)}"
        )
    numbers = partitions.reshape(-1)
    bad = np.flatnonzero(np.logical_or(np.less(numbers, 0), np.greater_equal(numbers, count)))
    if bad.size:
        raise errors.InvalidArgument(
            f"partitions[{bad[0]}] = {numbers[bad[0]]} is not in [0, {count})"
        )
    rows = data.reshape(len(numbers), *data.shape[partitions.ndim :])
    return tuple(rows[numbers == number] for number in range(count))


@kernel("DynamicStitch", "ParallelDynamicStitch")
def stitch(node: KernelNode, *inputs: Array) -> Array:
    """Of several rows with one index, the last stays. A row that nobody gives is zeros."""
    count = node.attr("N")
    indices, data = inputs[:count], inputs[count:]
    inner = _row_shape(indices, data)
    size = max((int(part.max(initial=-1)) for part in indices), default=-1) + 1
    dtype = data[0].dtype
    check_size((size, *inner), dtype)
    result: Any = np.full((size, *inner), zero(dtype), dtype)
    for part, values in zip(indices, data, strict=True):
        places = part.reshape(-1)
        if places.size and int(places.min()) < 0:
            raise errors.InvalidArgument(f"indices must not be negative, got {places.min()}")
        result[places] = values.reshape(len(places), *inner)
    return result


def _row_shape(indices: Sequence[Array], data: Sequence[Array]) -> tuple[int, ...]:
    shapes = {values.shape[part.ndim :] for part, values in zip(indices, data, strict=True)}
    fits = all(
        values.shape[: part.ndim] == part.shape for part, values in zip(indices, data, strict=True)
    )
    if len(shapes) != 1 or not fits:
        raise errors.InvalidArgument(
            f"each data.shape must be its indices.shape and then what all have in common, got "
            f"{[list(part.shape) for part in indices]} and {[list(part.shape) for part in data]}"
        )
    return shapes.pop()


# --------------------------------------------------------------------------- sparse tensors


@kernel("SparseReshape")
def sparse_reshape(
    node: KernelNode, indices: Array, shape: Array, new_shape: Array
) -> tuple[Array, Array]:
    old = [int(size) for size in shape]
    wanted = [int(size) for size in new_shape]
    total = math.prod(old)
    if wanted.count(-1) == 1:
        known = -math.prod(wanted)
        if known <= 0 or total % known:
            raise errors.InvalidArgument(f"Cannot infer the missing size of {wanted} from {old}")
        wanted[wanted.index(-1)] = total // known
    if min(wanted, default=0) < 0 or math.prod(wanted) != total:
        raise errors.InvalidArgument(
            f"Input to reshape is a tensor with {total} dense values, but the requested shape has "
            f"{math.prod(wanted)}"
        )
    _check_indices(indices, old)
    flat = _flat(indices, old)
    columns: list[Array] = []
    for size in reversed(wanted):
        flat, column = np.divmod(flat, max(size, 1))
        columns.insert(0, column)
    result = np.stack(columns, axis=1) if columns else np.zeros((len(indices), 0), np.int64)
    return result, np.array(wanted, np.int64)


@kernel("SparseReorder")
def sparse_reorder(
    node: KernelNode, indices: Array, values: Array, shape: Array
) -> tuple[Array, Array]:
    sizes = [int(size) for size in shape]
    _check_indices(indices, sizes)
    order = np.argsort(_flat(indices, sizes), kind="stable")
    return indices[order], values[order]


@kernel("SparseFillEmptyRows")
def sparse_fill_empty_rows(
    node: KernelNode, indices: Array, values: Array, shape: Array, default_value: Array
) -> tuple[Array, ...]:
    sizes = [int(size) for size in shape]
    if not sizes:
        raise errors.InvalidArgument("Dense shape cannot be empty.")
    _check_indices(indices, sizes)
    check_size([sizes[0]], np.dtype(np.int64))
    is_empty = np.ones(sizes[0], np.bool_)
    is_empty[indices[:, 0]] = False
    added = np.zeros((int(is_empty.sum()), len(sizes)), np.int64)
    added[:, 0] = np.flatnonzero(is_empty)
    all_indices = np.concatenate([indices, added])
    all_values = np.concatenate([values, np.full(len(added), default_value.item(), values.dtype)])
    order = np.argsort(all_indices[:, 0], kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return all_indices[order], all_values[order], is_empty, places[: len(indices)]


@kernel("SparseTensorDenseMatMul")
def sparse_matmul(
    node: KernelNode, a_indices: Array, a_values: Array, a_shape: Array, b: Array
) -> Array:
    rows, columns = (int(size) for size in a_shape)
    _check_indices(a_indices, [rows, columns])
    values = a_values
    left, right = a_indices[:, 0], a_indices[:, 1]
    if node.attr("adjoint_a"):
        rows, columns, left, right, values = columns, rows, right, left, np.conj(values)
    dense = np.conj(b.T) if node.attr("adjoint_b") else b
    if dense.ndim != 2 or len(dense) != columns:
        raise errors.InvalidArgument(
            f"Cannot multiply A and B because inner dimension does not match: {columns} vs. "
            f"{list(dense.shape)}"
        )
    check_size((rows, dense.shape[1]), dense.dtype)
    check_size((len(values), dense.shape[1]), dense.dtype)
    result = np.zeros((rows, dense.shape[1]), dense.dtype)
    np.add.at(result, left, values[:, None] * dense[right])
    return result


def _check_indices(indices: Array, sizes: Sequence[int]) -> None:
    if indices.ndim != 2 or indices.shape[1] != len(sizes) or math.prod(sizes) >= 2**63:
        raise errors.InvalidArgument(
            f"indices of shape {list(indices.shape)} do not fit a sparse tensor of shape "
            f"{list(sizes)}"
        )
    bad = np.logical_or(np.less(indices, 0), np.greater_equal(indices, np.array(sizes, np.int64)))
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise errors.InvalidArgument(
            f"indices[{row}] = {indices[row].tolist()} is out of bounds: need 0 <= index < "
            f"{list(sizes)}"
        )


def _flat(indices: Array, sizes: Sequence[int]) -> Array:
    """The place of each element were the tensor dense, in C order."""
    flat = np.zeros(len(indices), np.int64)
    for axis, size in enumerate(sizes):
        flat = flat * size + indices[:, axis]
    return flat
