"""Windows that slide over a tensor: where they lie, and how the tensor is padded for them.

Convolutions and pooling describe them by one number per dimension, in the order of the op's
`data_format`. Everything here and above it sees tensors with channels last.

SAME pads so that there are ceil(size / stride) windows, the odd one after; VALID does not pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size
from ckptmgr.graph.kernels.registry import KernelNode


@dataclass(frozen=True, slots=True)
class Sliding:
    """How windows lie along one dimension."""

    window: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int

    @property
    def extent(self) -> int:
        """From the window's first element to its last."""
        return (self.window - 1) * self.dilation + 1


def is_channels_first(node: KernelNode) -> bool:
    return bool(node.attr("data_format").startswith(b"NC"))


def channels_last(node: KernelNode, value: Array) -> Array:
    return np.moveaxis(value, 1, -1) if is_channels_first(node) else value


def as_stored(node: KernelNode, value: Array) -> Array:
    """Undo `channels_last`."""
    return np.moveaxis(value, -1, 1) if is_channels_first(node) else value


def per_dimension(node: KernelNode, values: Sequence[int], what: str, rank: int) -> list[int]:
    """One positive number for each dimension, channels last."""
    found = positive(values, what, rank)
    return [found[0], *found[2:], found[1]] if is_channels_first(node) else found


def positive(values: Sequence[int], what: str, rank: int) -> list[int]:
    found = list(values)
    if len(found) != rank or min(found) < 1:
        raise errors.InvalidArgument(f"{what} must be {rank} positive numbers, got {found}")
    return found


def explicit_paddings(node: KernelNode, rank: int) -> list[tuple[int, int]] | None:
    """What is put before and after each dimension, channels last, where the node says it."""
    if node.attr("padding") != b"EXPLICIT":
        return None
    found = node.attr("explicit_paddings")
    if len(found) != 2 * rank or min(found) < 0:
        raise errors.InvalidArgument(
            f"explicit_paddings must be {2 * rank} numbers of at least 0, got {found}"
        )
    pairs = list(zip(found[::2], found[1::2], strict=True))
    return [pairs[0], *pairs[2:], pairs[1]] if is_channels_first(node) else pairs


def slide(
    node: KernelNode,
    sizes: Sequence[int],
    windows: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[Sliding]:
    """How windows lie along each dimension, by the node's `padding`."""
    rank = len(sizes)
    explicit = explicit_paddings(node, rank)
    is_same = node.attr("padding") == b"SAME"
    result = []
    for axis, (size, window, stride, dilation) in enumerate(
        zip(sizes, windows, strides, dilations, strict=True)
    ):
        extent = (window - 1) * dilation + 1
        if is_same:
            count = -(-size // stride)
            total = max((count - 1) * stride + extent - size, 0)
            before, after = total // 2, total - total // 2
        else:
            before, after = (0, 0) if explicit is None else explicit[axis]
            span = size + before + after - extent
            count = span // stride + 1
            if span < 0 or window < 1:
                raise errors.InvalidArgument(
                    f"a window of {extent} does not fit dimension {axis} of size {size}, padded "
                    f"by {before} and {after}"
                )
        result.append(Sliding(window, stride, dilation, before, after, count))
    return result


def padded(value: Array, pairs: Sequence[tuple[int, int]], filler: Any) -> Array:
    """With `filler` before and after each dimension; negative numbers cut off."""
    value = value[
        tuple(
            slice(max(-before, 0), size - max(-after, 0))
            for size, (before, after) in zip(value.shape, pairs, strict=True)
        )
    ]
    growth = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(before or after for before, after in growth):
        return value
    check_size(
        [size + sum(pair) for size, pair in zip(value.shape, growth, strict=True)], value.dtype
    )
    return np.pad(value, growth, constant_values=filler)


def view(value: Array, slidings: Sequence[Sliding], axes: Sequence[int]) -> Array:
    """The windows of a padded tensor, without a copy: their contents come last.

    No dimension may be shorter than a window.
    """
    extents = [sliding.extent for sliding in slidings]
    windows = np.lib.stride_tricks.sliding_window_view(value, extents, tuple(axes))
    selection = [slice(None)] * windows.ndim
    for position, (sliding, axis) in enumerate(zip(slidings, axes, strict=True)):
        selection[axis] = slice(None, None, sliding.stride)
        selection[value.ndim + position] = slice(None, None, sliding.dilation)
    return windows[tuple(selection)]
