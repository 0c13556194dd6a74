"""Sparse tensors, as a list of the places that hold something and what they hold."""

from __future__ import annotations

import itertools

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, sizes
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.scattering import check_indices


@kernel("SparseToDense")
def to_dense(
    node: KernelNode, indices: Array, output_shape: Array, values: Array, default: Array
) -> Array:
    shape = sizes(output_shape, "output_shape")
    check_size(shape, values.dtype)
    # A vector lists the places of a vector.
    rows = indices.reshape(-1, 1) if indices.ndim < 2 else indices
    if indices.ndim > 2 or rows.shape[1] != len(shape):
        raise errors.InvalidArgument(
            f"sparse_indices of shape {list(indices.shape)} do not fit output_shape {list(shape)}"
        )
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(rows)):
        raise errors.InvalidArgument(
            f"sparse_values has incorrect shape {list(values.shape)}, should be [] or [{len(rows)}]"
        )
    if default.ndim:
        raise errors.InvalidArgument("default_value should be a scalar.")
    for axis, size in enumerate(shape):
        check_indices(rows[:, axis], size)
    if node.attr("validate_indices"):
        _check_order(rows)
    dense = np.empty(shape, values.dtype)
    dense[...] = default
    dense[tuple(rows.T)] = values
    return dense


def _check_order(rows: Array) -> None:
    listed = list(map(tuple, rows.tolist()))
    for number, (row, following) in enumerate(itertools.pairwise(listed), 1):
        if row >= following:
            problem = "is repeated" if row == following else "is out of order"
            raise errors.InvalidArgument(f"indices[{number}] = {list(following)} {problem}")
