"""Batch normalization and local response normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels import windows
from ckptmgr.graph.kernels.precision import numeric, widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.kernels.windows import Sliding


@kernel("FusedBatchNorm", "FusedBatchNormV2")
def fused_batch_norm(
    node: KernelNode, value: Array, scale: Array, offset: Array, mean: Array, variance: Array
) -> tuple[Array, ...]:
    return _fused_batch_norm(node, value, (scale, offset, mean, variance))


@kernel("FusedBatchNormV3")
def fused_batch_norm_v3(
    node: KernelNode, value: Array, scale: Array, offset: Array, mean: Array, variance: Array
) -> tuple[Array, ...]:
    """As before, with a reserved output that only GPUs use."""
    outputs = _fused_batch_norm(node, value, (scale, offset, mean, variance))
    return (*outputs, np.zeros((), scale.dtype))


@kernel("BatchNormWithGlobalNormalization")
@numeric
def batch_norm_with_global_normalization(
    node: KernelNode, value: Array, mean: Array, variance: Array, offset: Array, scale: Array
) -> Array:
    factor = 1 / np.sqrt(variance + value.dtype.type(node.attr("variance_epsilon")))
    if node.attr("scale_after_normalization"):
        factor = factor * scale
    return np.add((value - mean) * factor, offset)


@kernel("LRN")
@numeric
def local_response_normalization(node: KernelNode, value: Array) -> Array:
    """Each element over a power of the squares around it in its pixel."""
    radius = node.attr("depth_radius")
    if value.ndim != 4 or radius < 0:
        raise errors.InvalidArgument(
            f"input must have 4 dimensions and depth_radius be at least 0, got shape "
            f"{list(value.shape)} and {radius}"
        )
    if not value.size:
        return value
    depth = value.shape[-1]
    reach = min(radius, depth)
    squares = windows.padded(value * value, [(0, 0)] * 3 + [(reach, reach)], value.dtype.type(0))
    around = windows.view(squares, [Sliding(2 * reach + 1, 1, 1, reach, reach, depth)], [3])
    alpha, bias = value.dtype.type(node.attr("alpha")), value.dtype.type(node.attr("bias"))
    scale = bias + alpha * np.sum(around, axis=-1)
    return np.multiply(value, np.power(scale, -value.dtype.type(node.attr("beta"))))


def _fused_batch_norm(
    node: KernelNode, stored: Array, parameters: Sequence[Array]
) -> tuple[Array, ...]:
    """The normalized tensor; mean and variance to go on with, and those that were used."""
    scale, offset, mean, variance = parameters
    value = windows.channels_last(node, widened(stored))
    _require_channels(value, scale, offset)
    if not node.attr("is_training"):
        _require_channels(value, mean, variance)
        used_mean, used_variance = mean, variance
        running_mean, running_variance = mean, variance
    else:
        axes = tuple(range(value.ndim - 1))
        count = math.prod(value.shape[:-1])
        with np.errstate(all="ignore"):
            total = np.sum(value, axis=axes)
            used_mean = total / total.dtype.type(max(count, 1))
            deviation = value - used_mean
            used_variance = np.sum(deviation * deviation, axis=axes) / total.dtype.type(
                max(count, 1)
            )
        unbiased = used_variance * used_variance.dtype.type(count / max(count - 1, 1))
        running_mean = _moved(node, mean, used_mean)
        running_variance = _moved(node, variance, unbiased)
    epsilon = scale.dtype.type(node.attr("epsilon"))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(used_variance + epsilon)
        result = ((value - used_mean) * factor + offset).astype(stored.dtype)
    normalized = windows.as_stored(node, result)
    return normalized, running_mean, running_variance, used_mean, used_variance


def _moved(node: KernelNode, old: Array, new: Array) -> Array:
    """The running value after a batch."""
    factor = new.dtype.type(node.attr("exponential_avg_factor"))
    if factor == 1:
        return new
    return np.add((1 - factor) * old, factor * new)


def _require_channels(value: Array, *parameters: Array) -> None:
    depth = value.shape[-1] if value.ndim else 0
    for parameter in parameters:
        if value.ndim not in (4, 5) or parameter.shape != (depth,):
            raise errors.InvalidArgument(
                f"scale, offset, mean and variance must have one element for each channel of "
                f"the input, of shape {list(value.shape)} (channels last), got shape "
                f"{list(parameter.shape)}"
            )
