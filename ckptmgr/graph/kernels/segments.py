"""Sums and extremes of the rows that share a number.

Sorted segments have one id per row, in order; unsorted ones ids of any shape and a number of
segments. The sparse ones first pick the rows by index: they are what embedding lookups sum with.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, dtype_attr, integer, require_rank
from ckptmgr.graph.kernels.gathering import gathered
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.reductions import highest, lowest
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("SegmentSum")
@numeric
def segment_sum(node: KernelNode, data: Array, ids: Array) -> Array:
    return _sorted(np.add, data, ids)


@kernel("SegmentProd")
@numeric
def segment_product(node: KernelNode, data: Array, ids: Array) -> Array:
    return _sorted(np.multiply, data, ids, empty=1)


@kernel("SegmentMax")
@numeric
def segment_maximum(node: KernelNode, data: Array, ids: Array) -> Array:
    return _sorted(np.maximum, data, ids)


@kernel("SegmentMin")
@numeric
def segment_minimum(node: KernelNode, data: Array, ids: Array) -> Array:
    return _sorted(np.minimum, data, ids)


@kernel("SegmentMean")
@numeric
def segment_mean(node: KernelNode, data: Array, ids: Array) -> Array:
    return _over_counts(_sorted(np.add, data, ids), ids, 1.0)


@kernel("UnsortedSegmentSum")
@numeric
def unsorted_segment_sum(node: KernelNode, data: Array, ids: Array, count: Array) -> Array:
    return _unsorted(np.add, data, ids, count, data.dtype.type(0))


@kernel("UnsortedSegmentProd")
@numeric
def unsorted_segment_product(node: KernelNode, data: Array, ids: Array, count: Array) -> Array:
    return _unsorted(np.multiply, data, ids, count, data.dtype.type(1))


@kernel("UnsortedSegmentMax")
@numeric
def unsorted_segment_maximum(node: KernelNode, data: Array, ids: Array, count: Array) -> Array:
    return _unsorted(np.maximum, data, ids, count, _farthest(node, lowest(data.dtype)))


@kernel("UnsortedSegmentMin")
@numeric
def unsorted_segment_minimum(node: KernelNode, data: Array, ids: Array, count: Array) -> Array:
    return _unsorted(np.minimum, data, ids, count, _farthest(node, highest(data.dtype)))


@kernel("SparseSegmentSum", "SparseSegmentSumWithNumSegments")
@numeric
def sparse_segment_sum(
    node: KernelNode, data: Array, indices: Array, ids: Array, *count: Array
) -> Array:
    return _sorted(np.add, gathered(data, indices, 0), ids, count)


@kernel("SparseSegmentMean", "SparseSegmentMeanWithNumSegments")
@numeric
def sparse_segment_mean(
    node: KernelNode, data: Array, indices: Array, ids: Array, *count: Array
) -> Array:
    return _over_counts(_sorted(np.add, gathered(data, indices, 0), ids, count), ids, 1.0)


@kernel("SparseSegmentSqrtN", "SparseSegmentSqrtNWithNumSegments")
@numeric
def sparse_segment_sqrt_n(
    node: KernelNode, data: Array, indices: Array, ids: Array, *count: Array
) -> Array:
    return _over_counts(_sorted(np.add, gathered(data, indices, 0), ids, count), ids, 0.5)


def _sorted(
    operation: Any, data: Array, ids: Array, count: tuple[Array, ...] = (), *, empty: int = 0
) -> Array:
    """Of rows with ids in order; the last id says how many segments there are, unless given."""
    require_rank(ids, 1, "segment_ids")
    if data.ndim < 1 or len(data) != ids.size:
        raise errors.InvalidArgument(
            f"segment_ids should be the same size as dimension 0 of input, got {ids.size} ids and "
            f"shape {list(data.shape)}"
        )
    if ids.size and (np.less(np.diff(ids), 0).any() or ids[0] < 0):
        raise errors.InvalidArgument("segment ids are not increasing from at least 0")
    needed = int(ids[-1]) + 1 if ids.size else 0
    segments = integer(count[0], "num_segments") if count else needed
    if segments < needed:
        raise errors.InvalidArgument(f"segment ids must be < num_segments, {segments}")
    shape = (segments, *data.shape[1:])
    check_size(shape, data.dtype)
    result = np.full(shape, data.dtype.type(empty), data.dtype)
    if ids.size:
        starts = np.flatnonzero(np.concatenate([[True], np.greater(np.diff(ids), 0)]))
        result[ids[starts]] = operation.reduceat(data, starts, axis=0, dtype=data.dtype)
    return result


def _unsorted(operation: Any, data: Array, ids: Array, count: Array, neutral: Any) -> Array:
    """Rows with a negative id are dropped."""
    segments = integer(count, "num_segments")
    if segments < 0:
        raise errors.InvalidArgument(f"Input num_segments == {segments} must not be negative.")
    if data.shape[: ids.ndim] != ids.shape:
        raise errors.InvalidArgument(
            f"data.shape = {list(data.shape)} does not start with segment_ids.shape = "
            f"{list(ids.shape)}"
        )
    if np.greater_equal(ids, segments).any():
        raise errors.InvalidArgument(f"segment_ids must be below num_segments, {segments}")
    row_shape = data.shape[ids.ndim :]
    check_size((segments, *row_shape), data.dtype)
    flat = ids.reshape(-1)
    rows = data.reshape(math.prod(ids.shape), *row_shape)
    result = np.full((segments, *row_shape), neutral, data.dtype)
    kept = np.greater_equal(flat, 0)
    operation.at(result, flat[kept], rows[kept])
    return result


def _over_counts(sums: Array, ids: Array, power: float) -> Array:
    counts = np.bincount(ids, minlength=len(sums)) if ids.size else np.zeros(len(sums), np.int64)
    divisors = (np.maximum(counts, 1) ** power).astype(sums.dtype)
    return np.divide(sums, divisors.reshape((-1,) + (1,) * (sums.ndim - 1)))


def _farthest(node: KernelNode, extreme: Any) -> Any:
    """TensorFlow fills segments without rows with the most extreme finite number."""
    if extreme.dtype.kind in "iu":
        return extreme
    largest = float(ml_dtypes.finfo(dtype_attr(node, "T")).max)
    return extreme.dtype.type(math.copysign(largest, extreme))
