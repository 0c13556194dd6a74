"""The same numbers, or the same bits, in another dtype."""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import dtype_attr
from ckptmgr.graph.kernels.precision import widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Cast")
def cast_to(node: KernelNode, value: Array) -> Array:
    """Without rounding to the nearest where the node truncates."""
    target = dtype_attr(node, "DstT")
    if value.dtype.hasobject != target.hasobject:
        raise errors.InvalidArgument(f"Cast {value.dtype} to {target} is not supported")
    if node.attr("Truncate"):
        value = _truncated(value, target)
    with np.errstate(all="ignore"):
        if target == np.bool_:
            return np.not_equal(widened(value), 0)
        if value.dtype.kind == "c" and target.kind != "c":
            value = value.real
        return value.astype(target)


@kernel("Bitcast")
def bitcast(node: KernelNode, value: Array) -> Array:
    """To a narrower dtype, each element becomes a row; to a wider one, each row an element."""
    target = dtype_attr(node, "type")
    old, new = value.dtype.itemsize, target.itemsize
    if old == new:
        return np.ascontiguousarray(value).reshape(value.shape).view(target)
    if old > new:
        rows = np.ascontiguousarray(value).reshape(*value.shape, 1)
        return rows.view(target)
    if value.ndim == 0 or value.shape[-1] != new // old:
        raise errors.InvalidArgument(
            f"Cannot bitcast from {value.dtype} to {target}: the last dimension must be "
            f"{new // old}, got shape {list(value.shape)}"
        )
    return np.ascontiguousarray(value).view(target)[..., 0]


def _truncated(value: Array, target: np.dtype[np.generic]) -> Array:
    """With the digits cleared that the target has no room for."""
    digits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    if value.dtype.name not in digits or target.name not in digits:
        return value
    surplus = digits[value.dtype.name] - digits[target.name]
    if surplus <= 0:
        return value
    bits = np.dtype(f"u{value.dtype.itemsize}")
    mask = bits.type(~((1 << surplus) - 1) & ((1 << bits.itemsize * 8) - 1))
    cleared = np.bitwise_and(np.ascontiguousarray(value).reshape(value.shape).view(bits), mask)
    return cleared.view(value.dtype)
