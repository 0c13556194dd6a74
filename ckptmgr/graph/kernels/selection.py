"""Elements by a condition."""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import require_same_shape
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Where")
@numeric
def where(node: KernelNode, condition: Array) -> Array:
    """The indices of the elements that are not zero, a row each."""
    return np.argwhere(condition).astype(np.int64)


@kernel("Select")
def select(node: KernelNode, condition: Array, chosen: Array, other: Array) -> Array:
    """By element; or by row where the condition is a vector, or all where it is a scalar."""
    require_same_shape(chosen, other, "the two branches")
    if condition.ndim == 0:
        return chosen if condition else other
    if condition.shape == chosen.shape:
        mask = condition
    elif condition.ndim == 1 and condition.shape == chosen.shape[:1]:
        mask = condition.reshape((-1,) + (1,) * (chosen.ndim - 1))
    else:
        raise errors.InvalidArgument(
            f"the condition must be a scalar, or have the shape {list(chosen.shape)} of the "
            f"branches or one element per row of them, got shape {list(condition.shape)}"
        )
    return np.where(mask, chosen, other)


@kernel("SelectV2")
def select_v2(node: KernelNode, condition: Array, chosen: Array, other: Array) -> Array:
    try:
        return np.where(condition, chosen, other)
    except ValueError as error:
        raise errors.InvalidArgument(
            f"condition {list(condition.shape)}, then {list(chosen.shape)} and else "
            f"{list(other.shape)} must be broadcastable"
        ) from error
