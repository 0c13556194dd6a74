"""Resizing images, height and width first of each image.

Where a new pixel lies in the old image has three conventions: corners on corners (`align_corners`),
centres on centres (`half_pixel_centers`), or, from TensorFlow's beginnings, neither.
"""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, require_rank, sizes
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("ResizeNearestNeighbor")
@numeric
def resize_nearest_neighbor(node: KernelNode, images: Array, size: Array) -> Array:
    height, width = _new_size(images, size)
    check_size((images.shape[0], height, width, images.shape[3]), images.dtype)
    rows = _nearest(node, images.shape[1], height)
    columns = _nearest(node, images.shape[2], width)
    return images[:, rows][:, :, columns]


@kernel("ResizeBilinear")
def resize_bilinear(node: KernelNode, images: Array, size: Array) -> Array:
    """The result is float32 whatever the images are."""
    height, width = _new_size(images, size)
    check_size((images.shape[0], height, width, images.shape[3]), np.dtype(np.float32))
    top, bottom, down = _neighbours(node, images.shape[1], height)
    left, right, across = _neighbours(node, images.shape[2], width)
    values = images.astype(np.float32)
    down, across = down[:, None, None], across[:, None]
    upper, lower = values[:, top], values[:, bottom]
    upper = upper[:, :, left] + (upper[:, :, right] - upper[:, :, left]) * across
    lower = lower[:, :, left] + (lower[:, :, right] - lower[:, :, left]) * across
    return np.add(upper, (lower - upper) * down)


def _new_size(images: Array, size: Array) -> tuple[int, int]:
    require_rank(images, 4, "images")
    found = sizes(size, "size")
    if len(found) != 2 or 0 in found or 0 in images.shape[1:3]:
        raise errors.InvalidArgument(
            f"size must be two positive numbers, for images that are not empty; got {list(found)} "
            f"and shape {list(images.shape)}"
        )
    return found[0], found[1]


def _positions(node: KernelNode, old: int, new: int) -> Array:
    """Where each new pixel lies among the old ones, in TensorFlow's float32.

    That is its corner; or its centre, with `half_pixel_centers`, counted from the first corner.
    """
    is_aligned = node.attr("align_corners") and new > 1
    scale = np.float32((old - 1) / (new - 1)) if is_aligned else np.float32(old / new)
    pixels = np.arange(new, dtype=np.float32)
    first = np.float32(0.5 if node.attr("half_pixel_centers") else 0)
    return np.multiply(pixels + first, scale)


def _nearest(node: KernelNode, old: int, new: int) -> Array:
    positions = _positions(node, old, new)
    if node.attr("align_corners"):
        # To the nearest corner, and up from halfway.
        positions = positions + np.float32(0.5)
    return np.clip(np.floor(positions).astype(np.int64), 0, old - 1)


def _neighbours(node: KernelNode, old: int, new: int) -> tuple[Array, Array, Array]:
    """The old pixels before and after each new one, and how far it lies between them."""
    positions = _positions(node, old, new)
    if node.attr("half_pixel_centers"):
        positions = positions - np.float32(0.5)
    before = np.floor(positions)
    lower = np.clip(before, 0, old - 1).astype(np.int64)
    upper = np.clip(np.ceil(positions), 0, old - 1).astype(np.int64)
    return lower, upper, positions - before
