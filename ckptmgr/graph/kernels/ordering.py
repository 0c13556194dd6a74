"""Order and equality among the elements of a tensor: largest, distinct, counted, searched."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import (
    axis_within,
    check_size,
    dtype_attr,
    integer,
    require_rank,
)
from ckptmgr.graph.kernels.precision import numeric, widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("ArgMax")
def arg_max(node: KernelNode, value: Array, dimension: Array) -> Array:
    return _arg(np.argmax, node, value, dimension)


@kernel("ArgMin")
def arg_min(node: KernelNode, value: Array, dimension: Array) -> Array:
    return _arg(np.argmin, node, value, dimension)


@kernel("TopK")
@numeric
def top_k(node: KernelNode, value: Array) -> tuple[Array, Array]:
    return _top_k(value, node.attr("k"))


@kernel("TopKV2")
def top_k_v2(node: KernelNode, value: Array, k: Array) -> tuple[Array, Array]:
    values, indices = _top_k(value, integer(k, "k"))
    return values, indices.astype(dtype_attr(node, "index_type"))


@kernel("InTopK")
@numeric
def in_top_k(node: KernelNode, predictions: Array, targets: Array) -> Array:
    return _in_top_k(predictions, targets, node.attr("k"))


@kernel("InTopKV2")
@numeric
def in_top_k_v2(node: KernelNode, predictions: Array, targets: Array, k: Array) -> Array:
    return _in_top_k(predictions, targets, integer(k, "k"))


@kernel("Unique")
def unique(node: KernelNode, value: Array) -> tuple[Array, Array]:
    """Distinct elements in the order of their first place, and which of them each element is."""
    distinct, index, _ = _unique(value)
    return distinct, index.astype(dtype_attr(node, "out_idx"))


@kernel("UniqueWithCounts")
def unique_with_counts(node: KernelNode, value: Array) -> tuple[Array, Array, Array]:
    distinct, index, counts = _unique(value)
    index_dtype = dtype_attr(node, "out_idx")
    return distinct, index.astype(index_dtype), counts.astype(index_dtype)


@kernel("ListDiff")
def list_difference(node: KernelNode, value: Array, excluded: Array) -> tuple[Array, Array]:
    """The elements that are not excluded, and where they were."""
    require_rank(value, 1, "x")
    require_rank(excluded, 1, "y")
    unwanted = set(excluded.tolist())
    kept = [place for place, element in enumerate(value.tolist()) if element not in unwanted]
    index = np.array(kept, dtype_attr(node, "out_idx"))
    return value[index], index


@kernel("Bincount")
def bin_count(node: KernelNode, value: Array, size: Array, weights: Array) -> Array:
    if np.less(value, 0).any():
        raise errors.InvalidArgument("Input arr must be non-negative!")
    return _counted(value.reshape(-1), size, weights.reshape(-1))


@kernel("DenseBincount")
def dense_bin_count(node: KernelNode, value: Array, size: Array, weights: Array) -> Array:
    """Of a vector, or of each row of a matrix."""
    if np.less(value, 0).any():
        raise errors.InvalidArgument("Input arr must be non-negative!")
    is_binary = node.attr("binary_output")
    if value.ndim < 2:
        return _counted(value.reshape(-1), size, weights.reshape(-1), is_binary=is_binary)
    require_rank(value, 2, "input")
    check_size([len(value), max(integer(size, "size"), 0)], weights.dtype)
    rows = [
        _counted(row, size, weights[number] if weights.size else weights, is_binary=is_binary)
        for number, row in enumerate(value)
    ]
    empty = np.zeros((0, integer(size, "size")), weights.dtype)
    return np.stack(rows) if rows else empty


@kernel("LowerBound")
@numeric
def lower_bound(node: KernelNode, sorted_rows: Array, values: Array) -> Array:
    return _searched(node, sorted_rows, values, "left")


@kernel("UpperBound")
@numeric
def upper_bound(node: KernelNode, sorted_rows: Array, values: Array) -> Array:
    return _searched(node, sorted_rows, values, "right")


@kernel("Bucketize")
@numeric
def bucketize(node: KernelNode, value: Array) -> Array:
    boundaries = np.array(node.attr("boundaries"), np.float32)
    return np.searchsorted(boundaries, value, "right").astype(np.int32)


def _arg(function: Any, node: KernelNode, value: Array, dimension: Array) -> Array:
    axis = axis_within(integer(dimension, "dimension"), value.ndim, "dimension")
    if value.shape[axis] == 0:
        raise errors.InvalidArgument(f"Reduction axis {axis} is empty in shape {list(value.shape)}")
    return np.asarray(function(widened(value), axis=axis)).astype(dtype_attr(node, "output_type"))


def _top_k(value: Array, k: int) -> tuple[Array, Array]:
    """Largest first; of equals, the first one first."""
    if value.ndim < 1 or not 0 <= k <= value.shape[-1]:
        raise errors.InvalidArgument(
            f"input must have at least k columns, {k}, got shape {list(value.shape)}"
        )
    wide = widened(value)
    # A stable sort of the reverse, reversed: where equals keep their order, and nothing is negated.
    ascending = np.argsort(wide[..., ::-1], axis=-1, kind="stable")
    order = value.shape[-1] - 1 - ascending[..., ::-1][..., :k]
    return np.take_along_axis(value, order, axis=-1), order.astype(np.int32)


def _in_top_k(predictions: Array, targets: Array, k: int) -> Array:
    require_rank(predictions, 2, "predictions")
    if targets.shape != predictions.shape[:1]:
        raise errors.InvalidArgument(
            f"targets must have one element per row of {list(predictions.shape)}, got shape "
            f"{list(targets.shape)}"
        )
    classes = predictions.shape[1]
    is_class = np.logical_and(np.greater_equal(targets, 0), np.less(targets, classes))
    if not classes:
        return np.zeros(targets.shape, np.bool_)
    chosen = np.take_along_axis(predictions, np.where(is_class, targets, 0)[:, None], axis=1)
    better = np.sum(np.greater(predictions, chosen), axis=1)
    # A row that is not all finite has no order.
    is_ordered = np.isfinite(predictions).all(axis=1)
    return np.logical_and(np.logical_and(is_class, is_ordered), np.less(better, k))


def _unique(value: Array) -> tuple[Array, Array, Array]:
    require_rank(value, 1, "x")
    if value.dtype.hasobject or value.dtype.kind == "V":
        # Bytes, and dtypes that NumPy cannot sort.
        places: dict[Any, int] = {}
        index = np.array(
            [places.setdefault(element, len(places)) for element in value.tolist()], np.int64
        )
        distinct = np.empty(len(places), value.dtype)
        distinct[:] = list(places)
        return distinct, index, np.bincount(index, minlength=len(places))
    found, first, index, counts = np.unique(
        value, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.argsort(order)
    return found[order], rank[index.reshape(-1)], counts[order]


def _counted(value: Array, size: Array, weights: Array, *, is_binary: bool = False) -> Array:
    """How often each number below `size` occurs, or the sum of its weights."""
    bins = integer(size, "size")
    if bins < 0:
        raise errors.InvalidArgument(f"size must be non-negative, got {bins}")
    check_size([bins], weights.dtype)
    if weights.size and weights.shape != value.shape:
        raise errors.InvalidArgument(
            f"weights must be empty or have the shape of the values, {list(value.shape)}, got "
            f"{list(weights.shape)}"
        )
    is_counted = np.less(value, bins)
    result = np.zeros(bins, weights.dtype)
    if is_binary:
        result[value[is_counted]] = 1
    else:
        added = weights[is_counted] if weights.size else weights.dtype.type(1)
        np.add.at(result, value[is_counted], added)
    return result


def _searched(node: KernelNode, sorted_rows: Array, values: Array, side: Any) -> Array:
    require_rank(sorted_rows, 2, "sorted_inputs")
    require_rank(values, 2, "values")
    if len(sorted_rows) != len(values):
        raise errors.InvalidArgument(
            f"sorted_inputs and values must have the same number of rows, got "
            f"{list(sorted_rows.shape)} and {list(values.shape)}"
        )
    result = np.empty(values.shape, dtype_attr(node, "out_type"))
    for row, (ordered, wanted) in enumerate(zip(sorted_rows, values, strict=True)):
        result[row] = np.searchsorted(ordered, wanted, side)
    return result
