"""The same elements more than once, or with others around them."""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, sizes, zero
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Tile")
def tile(node: KernelNode, value: Array, multiples: Array) -> Array:
    times = sizes(multiples, "multiples")
    if len(times) != value.ndim:
        raise errors.InvalidArgument(
            f"Expected multiples argument to be a vector of length {value.ndim} but got length "
            f"{len(times)}"
        )
    check_size([size * count for size, count in zip(value.shape, times, strict=True)], value.dtype)
    return np.tile(value, times)


@kernel("BroadcastTo")
def broadcast_to(node: KernelNode, value: Array, shape: Array) -> Array:
    wanted = sizes(shape)
    check_size(wanted, value.dtype)
    try:
        return np.broadcast_to(value, wanted).copy()
    except ValueError as error:
        raise errors.InvalidArgument(
            f"Incompatible shapes: {list(value.shape)} does not broadcast to {list(wanted)}"
        ) from error


@kernel("Pad")
def pad(node: KernelNode, value: Array, paddings: Array) -> Array:
    return _padded(value, paddings, zero(value.dtype))


@kernel("PadV2")
def pad_v2(node: KernelNode, value: Array, paddings: Array, constant: Array) -> Array:
    return _padded(value, paddings, constant)


@kernel("MirrorPad")
def mirror_pad(node: KernelNode, value: Array, paddings: Array) -> Array:
    """REFLECT leaves the border out, SYMMETRIC repeats it."""
    pairs = _pairs(value, paddings)
    is_reflecting = node.attr("mode") == b"REFLECT"
    for axis, (pair, size) in enumerate(zip(pairs, value.shape, strict=True)):
        available = size - is_reflecting
        if max(pair) > max(available, 0):
            raise errors.InvalidArgument(
                f"paddings must be no greater than {max(available, 0)} for dimension {axis} of "
                f"size {size}, got {list(pair)}"
            )
    return np.pad(value, pairs, mode="reflect" if is_reflecting else "symmetric")


def _padded(value: Array, paddings: Array, constant: Array | bytes) -> Array:
    pairs = _pairs(value, paddings)
    shape = [size + sum(pair) for size, pair in zip(value.shape, pairs, strict=True)]
    result = np.empty(shape, value.dtype)
    result[...] = constant
    inside = tuple(
        slice(before, before + size) for size, (before, _) in zip(value.shape, pairs, strict=True)
    )
    result[inside] = value
    return result


def _pairs(value: Array, paddings: Array) -> list[tuple[int, int]]:
    """What is put before and after each dimension."""
    if paddings.shape != (value.ndim, 2):
        raise errors.InvalidArgument(
            f"paddings must be a matrix of {value.ndim} rows and 2 columns, got shape "
            f"{list(paddings.shape)}"
        )
    pairs = [(int(before), int(after)) for before, after in paddings.tolist()]
    if any(min(pair) < 0 for pair in pairs):
        raise errors.InvalidArgument(f"Paddings must be non-negative: {pairs}")
    check_size(
        [size + sum(pair) for size, pair in zip(value.shape, pairs, strict=True)], value.dtype
    )
    return pairs
