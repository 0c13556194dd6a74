"""Operations that hand on what they get. The result is the input itself, not a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.precision import widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Identity", "Snapshot", "StopGradient", "PreventGradient", "DeepCopy", "GuaranteeConst")
def identity(node: KernelNode, value: Any) -> Any:
    return value


@kernel("PlaceholderWithDefault")
def placeholder_with_default(node: KernelNode, default: Any) -> Any:
    """What nobody fed."""
    return default


@kernel("IdentityN")
def identity_n(node: KernelNode, *values: Any) -> tuple[Any, ...]:
    return values


@kernel("NoOp")
def no_op(node: KernelNode) -> tuple[()]:
    return ()


@kernel("CheckNumerics", "CheckNumericsV2")
def check_numerics(node: KernelNode, value: Array) -> Array:
    wide = widened(value)
    found = [
        name
        for name, holds in (("Inf", np.isinf(wide).any()), ("NaN", np.isnan(wide).any()))
        if holds
    ]
    if found:
        message = node.attr("message").decode("utf-8", "replace")
        raise errors.InvalidArgument(f"{message} : Tensor had {' and '.join(found)} values")
    return value


@kernel("EnsureShape")
def ensure_shape(node: KernelNode, value: Array) -> Array:
    wanted = node.attr("shape")
    if wanted is None:
        return value
    fits = len(wanted) == value.ndim and all(
        size is None or size == found for size, found in zip(wanted, value.shape, strict=True)
    )
    if not fits:
        raise errors.InvalidArgument(
            f"Shape of tensor {list(value.shape)} is not compatible with expected shape "
            f"{list(wanted)}"
        )
    return value
