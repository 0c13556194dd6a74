"""Reductions, which all take the same arguments, under TensorFlow's names for them.

Source: tensorflow/python/ops/math_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmgr.compat.v1.arithmetic import add, cast, range
from ckptmgr.compat.v1.arrays import constant, one_of, rank, zeros
from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.operation import Tensor


def reduction(op_type: str) -> Callable[..., Tensor]:
    """The function that reduces with one type of operation."""

    def function(
        input_tensor: Any,
        axis: Any = None,
        keepdims: bool | None = None,
        name: str | None = None,
        reduction_indices: Any = None,
        keep_dims: bool | None = None,
    ) -> Tensor:
        along = one_of("axis", axis, "reduction_indices", reduction_indices)
        keeps = bool(one_of("keepdims", keepdims, "keep_dims", keep_dims))
        axes = _all_axes(input_tensor) if along is None else along
        reduced = tensor(op_type, [input_tensor, axes], {"keep_dims": keeps}, name)
        if along is None and not keeps:
            reduced.set_shape(())
        return reduced

    function.__doc__ = f"Reduce dimensions, all of them by default, with {op_type}."
    return function


def _all_axes(of: Any) -> Tensor:
    count = of.shape.rank if isinstance(of, Tensor) else len(getattr(of, "shape", None) or ())
    if count:
        return constant(np.arange(count, dtype=np.int32))
    return range(0, rank(of))


reduce_sum = reduction("Sum")
reduce_mean = reduction("Mean")
reduce_prod = reduction("Prod")
reduce_min = reduction("Min")
reduce_max = reduction("Max")
reduce_all = reduction("All")
reduce_any = reduction("Any")
reduce_euclidean_norm = reduction("EuclideanNorm")


def reduce_logsumexp(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
) -> Tensor:
    """The logarithm of the sum of the exponentials, without overflow."""
    with graph_of([input_tensor]).name_scope(name or "ReduceLogSumExp") as scope:
        largest = reduce_max(input_tensor, axis, keepdims=True)
        is_finite = tensor("IsFinite", [largest])
        shift = tensor("StopGradient", [tensor("SelectV2", [is_finite, largest, 0])])
        exponentials = tensor("Exp", [tensor("Sub", [input_tensor, shift])])
        result = tensor("Log", [reduce_sum(exponentials, axis, keepdims)])
        if not keepdims:
            shift = tensor("Reshape", [shift, tensor("Shape", [result])])
        return add(result, shift, scope)


def count_nonzero(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    dtype: Any = DataType.DT_INT64,
    name: str | None = None,
) -> Tensor:
    with graph_of([input_tensor]).name_scope(name or "count_nonzero"):
        found = convert_to_tensor(input_tensor, name="input")
        if not found.dtype.is_bool:
            found = tensor("NotEqual", [found, zeros([], found.dtype)])
        return cast(reduce_sum(cast(found, DataType.DT_INT64), axis, keepdims), dtype)
