"""Rows and elements of tensors by index, read and written.

An index outside the tensor is refused, as TensorFlow's CPU kernels do (its GPU kernels read zeros),
unless the attribute `bad_indices_policy` says to ignore it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import axis_within, check_size, integer, sizes, zero
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Gather")
def gather(node: KernelNode, params: Array, indices: Array) -> Array:
    return gathered(params, indices, 0)


@kernel("GatherV2")
def gather_v2(node: KernelNode, params: Array, indices: Array, axis: Array) -> Array:
    along = axis_within(integer(axis, "axis"), params.ndim)
    batch_dims = node.attr("batch_dims")
    batch = batch_dims + indices.ndim if batch_dims < 0 else batch_dims
    if not 0 <= batch <= along or params.shape[:batch] != indices.shape[:batch]:
        raise errors.InvalidArgument(
            f"batch_dims ({batch}) must be at most axis ({along}), and the first dimensions agree, "
            f"got params of shape {list(params.shape)} and indices of {list(indices.shape)}"
        )
    return gathered(params, indices, along, batch)


@kernel("GatherNd")
def gather_nd(node: KernelNode, params: Array, indices: Array) -> Array:
    depth = _index_depth(params.shape, indices)
    rows = indices.reshape(math.prod(indices.shape[:-1]), depth)
    kept = _valid(node, rows, params.shape)
    shape = indices.shape[:-1] + params.shape[depth:]
    check_size(shape, params.dtype)
    result = np.full((len(rows), *params.shape[depth:]), zero(params.dtype), params.dtype)
    result[kept] = params[tuple(rows[kept].T)]
    return result.reshape(shape)


@kernel("ScatterNd")
@numeric
def scatter_nd(node: KernelNode, indices: Array, updates: Array, shape: Array) -> Array:
    """New zeros, to which the updates are added."""
    wanted = sizes(shape)
    check_size(wanted, updates.dtype)
    result = np.full(wanted, zero(updates.dtype), updates.dtype)
    index, values = _scattered(node, wanted, indices, updates)
    np.add.at(result[np.newaxis], index, values)
    return result


@kernel("TensorScatterUpdate")
@numeric
def scatter_update(node: KernelNode, tensor: Array, indices: Array, updates: Array) -> Array:
    index, values = _scattered(node, tensor.shape, indices, updates)
    result = tensor.copy()
    result[np.newaxis][index] = values
    return result


@kernel("TensorScatterAdd", "ScatterNdNonAliasingAdd")
@numeric
def scatter_add(node: KernelNode, tensor: Array, indices: Array, updates: Array) -> Array:
    return _combined(np.add, node, tensor, indices, updates)


@kernel("TensorScatterSub")
@numeric
def scatter_subtract(node: KernelNode, tensor: Array, indices: Array, updates: Array) -> Array:
    return _combined(np.subtract, node, tensor, indices, updates)


@kernel("TensorScatterMax")
@numeric
def scatter_maximum(node: KernelNode, tensor: Array, indices: Array, updates: Array) -> Array:
    return _combined(np.maximum, node, tensor, indices, updates)


@kernel("TensorScatterMin")
@numeric
def scatter_minimum(node: KernelNode, tensor: Array, indices: Array, updates: Array) -> Array:
    return _combined(np.minimum, node, tensor, indices, updates)


def gathered(params: Array, indices: Array, axis: int, batch: int = 0) -> Array:
    """Slices of `params` along an axis; the first `batch` dimensions go through in step."""
    if params.ndim == 0:
        raise errors.InvalidArgument("params must be at least 1 dimensional, got a scalar")
    size = params.shape[axis]
    bad = np.logical_or(np.less(indices, 0), np.greater_equal(indices, size))
    if bad.any():
        place = [int(position[0]) for position in np.nonzero(bad)]
        found = indices[tuple(place)]
        raise errors.InvalidArgument(f"indices{place} = {found} is not in [0, {size})")
    shape = params.shape[:axis] + indices.shape[batch:] + params.shape[axis + 1 :]
    check_size(shape, params.dtype)
    if not batch:
        return np.take(params, indices.reshape(-1), axis).reshape(shape)
    count = math.prod(params.shape[:batch])
    outer, inner = math.prod(params.shape[batch:axis]), math.prod(params.shape[axis + 1 :])
    table = params.reshape(count, outer, size, inner)
    picks = indices.reshape(count, 1, math.prod(indices.shape[batch:]))
    picked = table[np.arange(count)[:, None, None], np.arange(outer)[:, None], picks]
    return picked.reshape(shape)


def _index_depth(shape: tuple[int, ...], indices: Array) -> int:
    depth = indices.shape[-1] if indices.ndim else 0
    if indices.ndim < 1 or depth > len(shape):
        raise errors.InvalidArgument(
            f"the last dimension of indices, of shape {list(indices.shape)}, must be at most the "
            f"rank of the tensor, of shape {list(shape)}"
        )
    return depth


def _valid(node: KernelNode, rows: Array, shape: tuple[int, ...]) -> Array:
    """Which rows of indices lie in the tensor; others are refused unless the node ignores them."""
    limits = np.array(shape[: rows.shape[1]], np.int64)
    kept = np.logical_and(np.greater_equal(rows, 0), np.less(rows, limits)).all(axis=1)
    if not kept.all() and node.attr("bad_indices_policy") != b"IGNORE":
        number = int(np.flatnonzero(~kept)[0])
        raise errors.InvalidArgument(
            f"indices[{number}] = {rows[number].tolist()} does not index into shape {list(shape)}"
        )
    return np.asarray(kept)


def _scattered(
    node: KernelNode, shape: tuple[int, ...], indices: Array, updates: Array
) -> tuple[tuple[Any, ...], Array]:
    """What to index `tensor[np.newaxis]` with, and the value for each index.

    The dimension in front is for indices without numbers, which mean the whole tensor.
    """
    depth = _index_depth(shape, indices)
    wanted = indices.shape[:-1] + shape[depth:]
    if updates.shape != wanted:
        raise errors.InvalidArgument(
            f"updates must have shape {list(wanted)} for indices of shape {list(indices.shape)} "
            f"into shape {list(shape)}, got {list(updates.shape)}"
        )
    rows = indices.reshape(math.prod(indices.shape[:-1]), depth)
    kept = _valid(node, rows, shape)
    values = updates.reshape(len(rows), *shape[depth:])[kept]
    return (np.zeros(len(values), np.int64), *rows[kept].T), values


def _combined(
    operation: Any, node: KernelNode, tensor: Array, indices: Array, updates: Array
) -> Array:
    index, values = _scattered(node, tensor.shape, indices, updates)
    result = tensor.copy()
    operation.at(result[np.newaxis], index, values)
    return result
