"""Blocks of space moved into the batch or into the channels, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels import windows
from ckptmgr.graph.kernels.arguments import integers, require_rank, zero
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("SpaceToBatchND")
def space_to_batch_nd(node: KernelNode, value: Array, block: Array, paddings: Array) -> Array:
    return _space_to_batch(value, integers(block, "block_shape"), paddings)


@kernel("BatchToSpaceND")
def batch_to_space_nd(node: KernelNode, value: Array, block: Array, crops: Array) -> Array:
    return _batch_to_space(value, integers(block, "block_shape"), crops)


@kernel("SpaceToBatch")
def space_to_batch(node: KernelNode, value: Array, paddings: Array) -> Array:
    require_rank(value, 4, "input")
    return _space_to_batch(value, [node.attr("block_size")] * 2, paddings)


@kernel("BatchToSpace")
def batch_to_space(node: KernelNode, value: Array, crops: Array) -> Array:
    require_rank(value, 4, "input")
    return _batch_to_space(value, [node.attr("block_size")] * 2, crops)


@kernel("SpaceToDepth")
def space_to_depth(node: KernelNode, stored: Array) -> Array:
    require_rank(stored, 4, "input")
    size = node.attr("block_size")
    value = windows.channels_last(node, stored)
    batch, height, width, depth = value.shape
    if size < 1 or height % size or width % size:
        raise errors.InvalidArgument(
            f"height {height} and width {width} must be divisible by block_size {size}"
        )
    cut = value.reshape(batch, height // size, size, width // size, size, depth)
    result = cut.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, height // size, width // size, size * size * depth
    )
    return windows.as_stored(node, result)


@kernel("DepthToSpace")
def depth_to_space(node: KernelNode, stored: Array) -> Array:
    require_rank(stored, 4, "input")
    size = node.attr("block_size")
    value = windows.channels_last(node, stored)
    batch, height, width, depth = value.shape
    if size < 1 or depth % (size * size):
        raise errors.InvalidArgument(
            f"{depth} channels must be divisible by the square of block_size {size}"
        )
    cut = value.reshape(batch, height, width, size, size, depth // (size * size))
    result = cut.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, height * size, width * size, depth // (size * size)
    )
    return windows.as_stored(node, result)


def _space_to_batch(value: Array, block: Sequence[int], paddings: Array) -> Array:
    pairs = _pairs(value, block, paddings, "paddings")
    rest = value.ndim - 1 - len(block)
    padded = windows.padded(value, [(0, 0), *pairs, *[(0, 0)] * rest], zero(value.dtype))
    batch, *spatial = padded.shape[: 1 + len(block)]
    if any(size % step for size, step in zip(spatial, block, strict=True)):
        raise errors.InvalidArgument(
            f"padded sizes {spatial} must be divisible by block_shape {list(block)}"
        )
    split: list[int] = []
    for size, step in zip(spatial, block, strict=True):
        split += [size // step, step]
    remaining = padded.shape[1 + len(block) :]
    cut = padded.reshape(batch, *split, *remaining)
    count = len(block)
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2)]
    moved = cut.transpose(*order, *range(2 * count + 1, cut.ndim))
    new_batch = batch * int(np.prod(block, dtype=np.int64))
    return moved.reshape(new_batch, *split[::2], *remaining)


def _batch_to_space(value: Array, block: Sequence[int], crops: Array) -> Array:
    pairs = _pairs(value, block, crops, "crops")
    count = len(block)
    batch, *spatial = value.shape[: 1 + count]
    volume = int(np.prod(block, dtype=np.int64))
    if batch % volume:
        raise errors.InvalidArgument(
            f"batch of {batch} must be divisible by the product of block_shape {list(block)}"
        )
    remaining = value.shape[1 + count :]
    cut = value.reshape(*block, batch // volume, *spatial, *remaining)
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    joined = cut.transpose(*order, *range(2 * count + 1, cut.ndim)).reshape(
        batch // volume,
        *(size * step for size, step in zip(spatial, block, strict=True)),
        *remaining,
    )
    for axis, (before, after) in enumerate(pairs):
        if before + after > joined.shape[1 + axis]:
            raise errors.InvalidArgument(
                f"crops {[before, after]} exceed the size {joined.shape[1 + axis]} of dimension "
                f"{1 + axis}"
            )
    inner = [slice(None)] + [
        slice(before, size - after)
        for size, (before, after) in zip(joined.shape[1:], pairs, strict=False)
    ]
    return joined[tuple(inner)]


def _pairs(value: Array, block: Sequence[int], amounts: Array, what: str) -> list[tuple[int, int]]:
    """What is added or cut before and after each dimension of a block."""
    if value.ndim < 1 + len(block) or min(block, default=1) < 1:
        raise errors.InvalidArgument(
            f"block_shape must be at most {value.ndim - 1} positive numbers, got {list(block)}"
        )
    if amounts.shape != (len(block), 2) or np.less(amounts, 0).any():
        raise errors.InvalidArgument(
            f"{what} must be {len(block)} pairs of numbers of at least 0, got {amounts.tolist()}"
        )
    return [(int(before), int(after)) for before, after in amounts.tolist()]
