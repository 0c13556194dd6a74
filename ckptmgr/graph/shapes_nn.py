"""Shapes of convolutions, pooling, normalization, and of images that change their size."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import (
    Size,
    at_least_rank,
    known_values,
    of_rank,
    same_size,
    shape_from_values,
    shape_function,
    shape_of,
)
from ckptmgr.graph.tensor_shape import Shape


@shape_function("BiasAdd", "BiasAddV1")
def bias_add(op: Operation) -> Sequence[Shape]:
    shape = at_least_rank(shape_of(op, 0), 2)
    bias = of_rank(shape_of(op, 1), 1)[0]
    if shape is None:
        return [None]
    axis = _channel_axis(op, len(shape)) if op.type == "BiasAdd" else len(shape) - 1
    channels = same_size(shape[axis], bias)
    return [(*shape[:axis], channels, *shape[axis + 1 :])]


@shape_function("BiasAddGrad")
def bias_add_grad(op: Operation) -> Sequence[Shape]:
    shape = at_least_rank(shape_of(op, 0), 2)
    return [(None,) if shape is None else (shape[_channel_axis(op, len(shape))],)]


def _channel_axis(op: Operation, rank: int) -> int:
    return 1 if op.get_attr("data_format").startswith(b"NC") else rank - 1


@shape_function("Conv2D", "DepthwiseConv2dNative", "Conv3D")
def convolution(op: Operation) -> Sequence[Shape]:
    spatial = 3 if op.type == "Conv3D" else 2
    image = of_rank(shape_of(op, 0), spatial + 2)
    kernel = of_rank(shape_of(op, 1), spatial + 2)
    axis = _channel_axis(op, spatial + 2)
    first = 2 if axis == 1 else 1
    channels, per_group = image[axis], kernel[-2]
    if op.type == "DepthwiseConv2dNative":
        same_size(channels, per_group)
        sides = (kernel[-2], kernel[-1])
        given = None if None in sides else (sides[0] or 0) * (sides[1] or 0)
    else:
        given = kernel[-1]
        # A kernel may be for a part of the channels: a grouped convolution.
        if channels is not None and per_group and channels % per_group:
            raise errors.GraphError(
                f"input depth {channels} must be a multiple of the kernel's {per_group}"
            )
    windows = [
        None if size is None else (size - 1) * dilation + 1
        for size, dilation in zip(
            kernel[:spatial], _per_axis(op, "dilations", spatial, first), strict=True
        )
    ]
    sizes = _windowed(op, image[first : first + spatial], windows, first)
    return [_image(image[0], sizes, given, axis)]


@shape_function("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "MaxPoolWithArgmax")
def pooling(op: Operation) -> Sequence[Shape]:
    spatial = 3 if op.type.endswith("3D") else 2
    image = of_rank(shape_of(op, 0), spatial + 2)
    axis = spatial + 1 if op.type == "MaxPoolWithArgmax" else _channel_axis(op, spatial + 2)
    first = 2 if axis == 1 else 1
    windows = list(_per_axis(op, "ksize", spatial, first))
    sizes = _windowed(op, image[first : first + spatial], windows, first)
    channel_window = op.get_attr("ksize")[axis]
    channels = image[axis]
    if channel_window > 1 and channels is not None:
        channels //= channel_window
    return [_image(image[0], sizes, channels, axis)] * len(op.outputs)


def _image(batch: Size, sizes: Sequence[Size], channels: Size, axis: int) -> tuple[Size, ...]:
    return (batch, channels, *sizes) if axis == 1 else (batch, *sizes, channels)


def _per_axis(op: Operation, name: str, spatial: int, first: int) -> tuple[int, ...]:
    """The part of a list attribute that is for height, width, ..."""
    values = op.get_attr(name)
    if len(values) != spatial + 2:
        raise errors.GraphError(f"{name} must have {spatial + 2} values, found {len(values)}")
    chosen = tuple(values[first : first + spatial])
    if any(value < 1 for value in chosen):
        raise errors.GraphError(f"{name} must be at least 1, found {list(chosen)}")
    return chosen


def _windowed(
    op: Operation, sizes: Sequence[Size], windows: Sequence[Size], first: int
) -> list[Size]:
    strides = _per_axis(op, "strides", len(sizes), first)
    paddings = _explicit_paddings(op, len(sizes), first)
    return [
        _windowed_size(size, window, stride, padding)
        for size, window, stride, padding in zip(sizes, windows, strides, paddings, strict=True)
    ]


def _explicit_paddings(op: Operation, spatial: int, first: int) -> list[int | None]:
    """How much is added per axis; None for as much as keeps the size ("SAME")."""
    padding = op.get_attr("padding")
    if padding == b"SAME":
        return [None] * spatial
    if padding == b"VALID":
        return [0] * spatial
    given = op.get_attr("explicit_paddings") if op.has_attr("explicit_paddings") else []
    if padding != b"EXPLICIT" or len(given) != 2 * (spatial + 2):
        raise errors.GraphError(f"padding {padding!r} with {len(given)} explicit values")
    return [given[2 * axis] + given[2 * axis + 1] for axis in range(first, first + spatial)]


def _windowed_size(size: Size, window: Size, stride: int, padding: int | None) -> Size:
    if size is None:
        return None
    if padding is None:
        return -(-size // stride)
    if window is None:
        return None
    room = size + padding - window
    if room < 0:
        raise errors.GraphError(f"Negative dimension size: a window of {window} over {size}")
    return room // stride + 1


@shape_function("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")
def convolution_of_given_size(op: Operation) -> Sequence[Shape]:
    sizes = shape_from_values(op.inputs[0])
    gradient = shape_of(op, 2)
    if sizes is not None and len(sizes) == 2 and gradient is not None and len(gradient) == 4:
        kernel = of_rank(shape_of(op, 1), 4)
        return [(gradient[0], *sizes, kernel[2])]
    return [(None,) * 4 if sizes is None else of_rank(sizes, 4)]


@shape_function("Conv2DBackpropFilter", "DepthwiseConv2dNativeBackpropFilter")
def filter_gradient(op: Operation) -> Sequence[Shape]:
    sizes = shape_from_values(op.inputs[1])
    return [(None,) * 4 if sizes is None else sizes]


@shape_function("MaxPoolGrad", "FusedBatchNormGrad", "FusedBatchNormGradV2")
def of_image(op: Operation) -> Sequence[Shape]:
    if op.type == "MaxPoolGrad":
        return [shape_of(op, 0)]
    image = of_rank(shape_of(op, 1), 4)
    channels = image[_channel_axis(op, 4)]
    return [image, (channels,), (channels,), (0,), (0,)]


@shape_function("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    rank = 4 if shape is None else len(shape)
    image = (None,) * 4 if shape is None and op.type != "FusedBatchNormV3" else shape
    axis = _channel_axis(op, rank)
    channels = None if at_least_rank(image, 4) is None or image is None else image[axis]
    used = 2 if op.get_attr("is_training") else 4
    for index in range(1, min(used, 4) + 1):
        channels = same_size(channels, of_rank(shape_of(op, index), 1)[0])
    if image is not None:
        image = (*image[:axis], channels, *image[axis + 1 :])
    vector: Shape = (channels,)
    rest: list[Shape] = [None] if op.type == "FusedBatchNormV3" else []
    return [image, vector, vector, vector, vector, *rest]


@shape_function("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def resize(op: Operation) -> Sequence[Shape]:
    batch, _, _, channels = of_rank(shape_of(op, 0), 4)
    sizes = known_values(op.inputs[1]) or (None, None)
    if len(sizes) != 2:
        raise errors.GraphError(f"an image has a height and a width, found {sizes}")
    return [(batch, *sizes, channels)]


@shape_function("DecodeJpeg", "DecodePng", "DecodeBmp")
def decoded_image(op: Operation) -> Sequence[Shape]:
    return [(None, None, op.get_attr("channels") or None)]
