"""Pooling: the maximum or the mean of each window, one dimension after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels import windows
from ckptmgr.graph.kernels.arguments import check_size, dtype_attr, integers, require_rank
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.reductions import lowest
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.windows import Sliding


@kernel("MaxPool")
@numeric
def max_pool(node: KernelNode, images: Array) -> Array:
    require_rank(images, 4, "input")
    return _max_pool(node, images, node.attr("ksize"), node.attr("strides"))


@kernel("MaxPoolV2")
@numeric
def max_pool_v2(node: KernelNode, images: Array, window: Array, strides: Array) -> Array:
    require_rank(images, 4, "input")
    return _max_pool(node, images, integers(window, "ksize"), integers(strides, "strides"))


@kernel("MaxPool3D")
@numeric
def max_pool_3d(node: KernelNode, volumes: Array) -> Array:
    require_rank(volumes, 5, "input")
    return _max_pool(node, volumes, node.attr("ksize"), node.attr("strides"))


@kernel("AvgPool")
@numeric
def average_pool(node: KernelNode, images: Array) -> Array:
    require_rank(images, 4, "value")
    return _average_pool(node, images)


@kernel("AvgPool3D")
@numeric
def average_pool_3d(node: KernelNode, volumes: Array) -> Array:
    require_rank(volumes, 5, "input")
    return _average_pool(node, volumes)


@kernel("MaxPoolWithArgmax")
@numeric
def max_pool_with_argmax(node: KernelNode, images: Array) -> tuple[Array, Array]:
    """Each maximum, and its index in the flat input (in the flat image, unless the node says)."""
    require_rank(images, 4, "input")
    batch, height, width, depth = images.shape
    window = windows.positive(node.attr("ksize"), "ksize", 4)
    strides = windows.positive(node.attr("strides"), "strides", 4)
    slidings = windows.slide(node, images.shape, window, strides, [1] * 4)
    if any(sliding.window != 1 or sliding.stride != 1 for sliding in (slidings[0], slidings[3])):
        raise errors.InvalidArgument("ksize and strides of the batch and of the channels must be 1")
    rows, columns = slidings[1:3]
    counts = (batch, rows.count, columns.count, depth)
    pairs = [(sliding.before, sliding.after) for sliding in slidings]
    padded = windows.padded(images, pairs, lowest(images.dtype))
    check_size([*counts, rows.window, columns.window], images.dtype)
    views = windows.view(padded, (rows, columns), (1, 2)).reshape(*counts, -1)
    index = np.argmax(views, axis=-1)
    y = _starts(rows)[:, None, None] + index // columns.window
    x = _starts(columns)[:, None] + index % columns.window
    flat = (y * width + x) * depth + np.arange(depth)
    if node.attr("include_batch_in_index"):
        flat += np.arange(batch)[:, None, None, None] * (height * width * depth)
    maxima = np.take_along_axis(views, index[..., None], axis=-1)[..., 0]
    return maxima, flat.astype(dtype_attr(node, "Targmax"))


def _max_pool(
    node: KernelNode, stored: Array, window: Sequence[int], strides: Sequence[int]
) -> Array:
    value = windows.channels_last(node, stored)
    slidings = _slidings(node, value, window, strides)
    return windows.as_stored(node, _reduced(value, slidings, np.max, lowest(value.dtype)))


def _average_pool(node: KernelNode, stored: Array) -> Array:
    """Padding does not count."""
    value = windows.channels_last(node, stored)
    slidings = _slidings(node, value, node.attr("ksize"), node.attr("strides"))
    result = _reduced(value, slidings, np.sum, value.dtype.type(0))
    for axis, sliding in enumerate(slidings):
        if sliding.window > 1:
            starts = _starts(sliding)
            ends = np.minimum(starts + sliding.window, value.shape[axis])
            covered = (ends - np.maximum(starts, 0)).astype(value.dtype)
            result = result / covered.reshape((-1,) + (1,) * (value.ndim - 1 - axis))
    return windows.as_stored(node, result)


def _slidings(
    node: KernelNode, value: Array, window: Sequence[int], strides: Sequence[int]
) -> list[Sliding]:
    rank = value.ndim
    return windows.slide(
        node,
        value.shape,
        windows.per_dimension(node, window, "ksize", rank),
        windows.per_dimension(node, strides, "strides", rank),
        [1] * rank,
    )


def _reduced(
    value: Array, slidings: Sequence[Sliding], reduction: Callable[..., Any], filler: Any
) -> Array:
    for axis, sliding in enumerate(slidings):
        if sliding.window == 1 and sliding.stride == 1:
            continue
        shape = [*value.shape[:axis], sliding.count, *value.shape[axis + 1 :]]
        if 0 in shape:
            value = np.zeros(shape, value.dtype)
            continue
        pairs = [(0, 0)] * value.ndim
        pairs[axis] = (sliding.before, sliding.after)
        padded = windows.padded(value, pairs, filler)
        value = reduction(windows.view(padded, [sliding], [axis]), axis=-1)
    return value


def _starts(sliding: Sliding) -> Array:
    """Where each window begins in the tensor before padding."""
    return np.arange(sliding.count) * sliding.stride - sliding.before
