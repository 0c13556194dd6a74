"""Convolutions: each window of the input, as a row, times the filters, as a matrix.

All of them are one function, `convolve`. A depthwise convolution has a group per channel, and a
transposed one convolves its input, spread out by the strides, with mirrored filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels import windows
from ckptmgr.graph.kernels.arguments import check_size, require_rank, sizes
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.windows import Sliding

# The windows of as many images as fit are copied at once: a row holds each element of the input
# many times over.
_CHUNK_BYTES = 1 << 26


@kernel("Conv2D")
@numeric
def conv_2d(node: KernelNode, images: Array, filters: Array) -> Array:
    return _convolution(node, images, filters, spatial_rank=2)


@kernel("Conv3D")
@numeric
def conv_3d(node: KernelNode, volumes: Array, filters: Array) -> Array:
    return _convolution(node, volumes, filters, spatial_rank=3)


@kernel("DepthwiseConv2dNative")
@numeric
def depthwise_conv_2d(node: KernelNode, images: Array, filters: Array) -> Array:
    require_rank(filters, 4, "filter")
    height, width, channels, multiplier = filters.shape
    if images.ndim == 4 and windows.channels_last(node, images).shape[-1] != channels:
        raise errors.InvalidArgument(
            f"input of shape {list(images.shape)} must have the filter's {channels} channels"
        )
    grouped = filters.reshape(height, width, 1, channels * multiplier)
    return _convolution(node, images, grouped, spatial_rank=2)


@kernel("Conv2DBackpropInput")
@numeric
def transposed_conv_2d(
    node: KernelNode, input_sizes: Array, filters: Array, gradient: Array
) -> Array:
    return _transposed(node, input_sizes, filters, gradient, 2)


@kernel("Conv3DBackpropInputV2")
@numeric
def transposed_conv_3d(
    node: KernelNode, input_sizes: Array, filters: Array, gradient: Array
) -> Array:
    return _transposed(node, input_sizes, filters, gradient, 3)


def convolve(value: Array, filters: Array, slidings: Sequence[Sliding]) -> Array:
    """Convolve a padded tensor, channels last, in as many groups as its channels make."""
    *window, group_depth, output_depth = filters.shape
    batch, depth = value.shape[0], value.shape[-1]
    groups = _group_count(depth, group_depth, output_depth)
    counts = [sliding.count for sliding in slidings]
    check_size([batch, *counts, output_depth], value.dtype)
    result = np.zeros((batch, *counts, output_depth), value.dtype)
    if not result.size or not filters.size:
        return result
    grouped = value.reshape(*value.shape[:-1], groups, group_depth)
    # Batch, counts, group, depth of the group, window.
    views = windows.view(grouped, slidings, range(1, 1 + len(slidings)))
    positions, row = math.prod(counts), math.prod(window) * group_depth
    # Group, row, output.
    matrix = np.moveaxis(filters, -2, 0).reshape(row, groups, -1).transpose(1, 0, 2)
    image_bytes = positions * row * groups * value.dtype.itemsize
    check_size([positions, row, groups], value.dtype)
    step = max(1, _CHUNK_BYTES // image_bytes)
    for start in range(0, batch, step):
        chunk = np.moveaxis(views[start : start + step], 1 + len(counts), 0)
        rows = chunk.reshape(groups, -1, row)
        product = np.matmul(rows, matrix)
        result[start : start + step] = product.transpose(1, 0, 2).reshape(-1, *counts, output_depth)
    return result


def _convolution(node: KernelNode, images: Array, filters: Array, spatial_rank: int) -> Array:
    rank = spatial_rank + 2
    require_rank(images, rank, "input")
    require_rank(filters, rank, "filter")
    value = windows.channels_last(node, images)
    slidings = _slidings(node, value.shape, filters)
    pairs = [(0, 0), *((sliding.before, sliding.after) for sliding in slidings), (0, 0)]
    padded = windows.padded(value, pairs, value.dtype.type(0))
    return windows.as_stored(node, convolve(padded, filters, slidings))


def _slidings(node: KernelNode, shape: Sequence[int], filters: Array) -> list[Sliding]:
    """How the filters slide over the spatial dimensions of a tensor with channels last."""
    rank = filters.ndim
    strides = windows.per_dimension(node, node.attr("strides"), "strides", rank)
    dilations = windows.per_dimension(node, node.attr("dilations"), "dilations", rank)
    for what, values in (("strides", strides), ("dilations", dilations)):
        if values[0] != 1 or values[-1] != 1:
            raise errors.InvalidArgument(
                f"{what} of the batch and of the channels must be 1, got {values[0]} and "
                f"{values[-1]}"
            )
    window = [1, *filters.shape[:-2], 1]
    return windows.slide(node, shape, window, strides, dilations)[1:-1]


def _transposed(
    node: KernelNode, input_sizes: Array, filters: Array, gradient: Array, spatial_rank: int
) -> Array:
    rank = spatial_rank + 2
    require_rank(filters, rank, "filter")
    require_rank(gradient, rank, "out_backprop")
    *window, group_depth, output_depth = filters.shape
    value = windows.channels_last(node, gradient)
    shape = _input_shape(node, sizes(input_sizes, "input_sizes"), value, filters)
    slidings = _slidings(node, shape, filters)
    wanted = [shape[0], *(sliding.count for sliding in slidings), output_depth]
    if list(value.shape) != wanted:
        raise errors.InvalidArgument(
            f"out_backprop must have shape {wanted} (channels last), got {list(value.shape)}"
        )
    check_size(shape, value.dtype)
    groups = _group_count(shape[-1], group_depth, output_depth)
    mirrored = np.flip(filters, tuple(range(spatial_rank))).reshape(
        *window, group_depth, groups, output_depth // groups
    )
    mirrored = np.swapaxes(mirrored, -1, -3).reshape(*window, output_depth // groups, shape[-1])
    spread = _spread(value, slidings)
    pairs, unit = [(0, 0)], []
    for sliding, size, spread_size in zip(slidings, shape[1:-1], spread.shape[1:-1], strict=True):
        before = sliding.extent - 1 - sliding.before
        pairs.append((before, size + sliding.extent - 1 - before - spread_size))
        unit.append(Sliding(sliding.window, 1, sliding.dilation, 0, 0, size))
    padded = windows.padded(spread, [*pairs, (0, 0)], value.dtype.type(0))
    return windows.as_stored(node, convolve(padded, mirrored, unit))


def _input_shape(
    node: KernelNode, found: tuple[int, ...], gradient: Array, filters: Array
) -> list[int]:
    """The shape of the result, channels last; the spatial sizes alone may be given."""
    rank = gradient.ndim
    if len(found) == rank - 2:
        return [gradient.shape[0], *found, filters.shape[-2]]
    if len(found) != rank:
        raise errors.InvalidArgument(f"input_sizes must have {rank} elements, got {list(found)}")
    if windows.is_channels_first(node):
        return [found[0], *found[2:], found[1]]
    return list(found)


def _spread(value: Array, slidings: Sequence[Sliding]) -> Array:
    """With the zeros between elements that make up for the strides."""
    if all(sliding.stride == 1 for sliding in slidings):
        return value
    spatial = [
        max((size - 1) * sliding.stride + 1, 0)
        for size, sliding in zip(value.shape[1:-1], slidings, strict=True)
    ]
    shape = (value.shape[0], *spatial, value.shape[-1])
    check_size(shape, value.dtype)
    result = np.zeros(shape, value.dtype)
    steps = tuple(slice(None, None, sliding.stride) for sliding in slidings)
    np.moveaxis(result, 0, -1)[steps] = np.moveaxis(value, 0, -1)
    return result


def _group_count(depth: int, group_depth: int, output_depth: int) -> int:
    groups = depth // group_depth if group_depth and depth % group_depth == 0 else 0
    if not groups or output_depth % groups:
        raise errors.InvalidArgument(
            f"input of {depth} channels does not fit filters of depth {group_depth} that make "
            f"{output_depth} channels"
        )
    return groups
