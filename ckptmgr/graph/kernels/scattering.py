"""Rows and elements of variables, read and updated by index.

An update makes a new array: others may hold the old one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.gathering import gather_nd, gathered
from ckptmgr.graph.kernels.precision import widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.variables import variable_of
from ckptmgr.graph.state import Variable


@kernel("ResourceGather")
def gather(node: KernelNode, variable: Variable, indices: Array) -> Array:
    batch_dims = node.attr("batch_dims")
    return gathered(variable_of(variable).read(), indices, batch_dims, batch_dims)


@kernel("ResourceGatherNd")
def gather_elements(node: KernelNode, variable: Variable, indices: Array) -> Array:
    return gather_nd(node, variable_of(variable).read(), indices)


def _replace(target: Array, index: Any, updates: Array) -> None:
    target[index] = updates


@kernel("ScatterUpdate", "ResourceScatterUpdate")
def update(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(_replace, node, variable, indices, updates)


@kernel("ScatterAdd", "ResourceScatterAdd")
def add(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(np.add.at, node, variable, indices, updates)


@kernel("ScatterSub", "ResourceScatterSub")
def subtract(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(np.subtract.at, node, variable, indices, updates)


@kernel("ScatterMul", "ResourceScatterMul")
def multiply(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(np.multiply.at, node, variable, indices, updates)


@kernel("ScatterDiv", "ResourceScatterDiv")
def divide(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    kind = variable_of(variable).read().dtype.kind
    operation = np.floor_divide if kind in "iu" else np.divide
    return _scatter(operation.at, node, variable, indices, updates)


@kernel("ScatterMax", "ResourceScatterMax")
def maximum(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(np.maximum.at, node, variable, indices, updates)


@kernel("ScatterMin", "ResourceScatterMin")
def minimum(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter(np.minimum.at, node, variable, indices, updates)


@kernel("ScatterNdUpdate", "ResourceScatterNdUpdate")
def update_elements(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter_elements(_replace, node, variable, indices, updates)


@kernel("ScatterNdAdd", "ResourceScatterNdAdd")
def add_elements(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter_elements(np.add.at, node, variable, indices, updates)


@kernel("ScatterNdSub", "ResourceScatterNdSub")
def subtract_elements(node: KernelNode, variable: Variable, indices: Array, updates: Array) -> Any:
    return _scatter_elements(np.subtract.at, node, variable, indices, updates)


def _scatter(
    operation: Any, node: KernelNode, variable: Variable, indices: Array, updates: Array
) -> Any:
    current = variable_of(variable).read()
    if not current.ndim:
        raise errors.InvalidArgument("the variable must be at least 1-D, got a scalar")
    wanted = indices.shape + current.shape[1:]
    if updates.ndim and updates.shape != wanted:
        raise errors.InvalidArgument(
            f"updates must have shape {list(wanted)}, or be a scalar, got {list(updates.shape)}"
        )
    flat = indices.reshape(-1)
    check_indices(flat, current.shape[0])
    values = np.broadcast_to(updates, wanted).reshape(len(flat), *current.shape[1:])
    return _changed(operation, node, variable, flat, values)


def _scatter_elements(
    operation: Any, node: KernelNode, variable: Variable, indices: Array, updates: Array
) -> Any:
    current = variable_of(variable).read()
    depth = indices.shape[-1] if indices.ndim else 0
    if not indices.ndim or depth > current.ndim:
        raise errors.InvalidArgument(
            f"the last dimension of indices, of shape {list(indices.shape)}, must be at most the "
            f"rank of the variable, of shape {list(current.shape)}"
        )
    wanted = indices.shape[:-1] + current.shape[depth:]
    if updates.shape != wanted:
        raise errors.InvalidArgument(
            f"updates must have shape {list(wanted)}, got {list(updates.shape)}"
        )
    rows = indices.reshape(math.prod(indices.shape[:-1]), depth)
    for axis in range(depth):
        check_indices(rows[:, axis], current.shape[axis])
    values = updates.reshape(len(rows), *current.shape[depth:])
    return _changed(operation, node, variable, tuple(rows.T), values)


def _changed(
    operation: Any, node: KernelNode, variable: Variable, index: Any, updates: Array
) -> Any:
    with variable.lock:
        current = variable.read()
        target = np.array(widened(current))
        with np.errstate(all="ignore"):
            operation(target, index, widened(updates))
        variable.assign(target.astype(current.dtype, copy=False))
    # A reference is handed on; a handle is not.
    return () if node.op.startswith("Resource") else variable


def check_indices(indices: Array, size: int) -> None:
    """Raise unless all indices are of rows that there are."""
    bad = np.logical_or(np.less(indices, 0), np.greater_equal(indices, size))
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        raise errors.InvalidArgument(f"indices[{place}] = {indices[place]} is not in [0, {size})")
