"""Convolutions and pooling: the functions of `tf.nn` that work on images.

Sizes may be given as one number, as one per direction, or as one per dimension of the input.

Source: tensorflow/python/ops/nn_ops.py, nn_impl.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1.arrays import one_of, shape
from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of, tensor
from ckptmgr.graph.operation import Tensor


def _sizes(value: Any, layout: str) -> list[int]:
    """One size per dimension, where a single one, or one per direction, may be given."""
    given: list[Any] = [value] if np.isscalar(value) else list(value)
    if len(given) == 4:
        return [int(size) for size in given]
    inner = given * 2 if len(given) == 1 else given
    if len(inner) != 2:
        raise errors.GraphError(f"1, 2 or 4 sizes are taken here, found {value!r}")
    return [1, 1, *inner] if layout.startswith("NC") else [1, *inner, 1]


def _padding(padding: Any) -> dict[str, Any]:
    if isinstance(padding, str):
        return {"padding": padding, "explicit_paddings": []}
    return {"padding": "EXPLICIT", "explicit_paddings": [int(n) for pair in padding for n in pair]}


def conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = None,
    padding: Any = None,
    use_cudnn_on_gpu: bool = True,
    data_format: str | None = "NHWC",
    dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    layout = data_format or "NHWC"
    attrs = {
        "strides": _sizes(1 if strides is None else strides, layout),
        "use_cudnn_on_gpu": use_cudnn_on_gpu,
        "data_format": layout,
        "dilations": _sizes(1 if dilations is None else dilations, layout),
        **_padding(padding),
    }
    return tensor("Conv2D", [input, one_of("filters", filters, "filter", filter)], attrs, name)


def conv2d_transpose(
    value: Any = None,
    filter: Any = None,
    output_shape: Any = None,
    strides: Any = None,
    padding: Any = "SAME",
    data_format: str | None = "NHWC",
    name: str | None = None,
    input: Any = None,
    filters: Any = None,
    dilations: Any = None,
) -> Tensor:
    given = one_of("input", input, "value", value)
    weights = one_of("filters", filters, "filter", filter)
    layout = data_format or "NHWC"
    attrs = {
        "strides": _sizes(strides, layout),
        "data_format": layout,
        "dilations": _sizes(1 if dilations is None else dilations, layout),
        **_padding(padding),
    }
    with graph_of([given, weights]).name_scope(name or "conv2d_transpose") as scope:
        return tensor("Conv2DBackpropInput", [output_shape, weights, given], attrs, scope)


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: str | None = None,
    data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:
    layout = data_format or "NHWC"
    rates = one_of("dilations", dilations, "rate", rate)
    with graph_of([input, filter]).name_scope(name or "depthwise") as scope:
        found = convert_to_tensor(input, name="tensor_in")
        weights = convert_to_tensor(filter, name="filter_in")
        # TensorFlow makes these two, and needs them for some rates.
        shape(weights)
        convert_to_tensor([1, 1] if rates is None else rates, "int32", name="dilation_rate")
        attrs = {
            "strides": _sizes(strides, layout),
            "data_format": layout,
            "dilations": _sizes(1 if rates is None else rates, layout),
            **_padding(padding),
        }
        return tensor("DepthwiseConv2dNative", [found, weights], attrs, scope)


def pool(op_type: str) -> Callable[..., Tensor]:
    """The function for one kind of pooling."""

    def function(
        value: Any = None,
        ksize: Any = None,
        strides: Any = None,
        padding: Any = "VALID",
        data_format: str | None = "NHWC",
        name: str | None = None,
        input: Any = None,
    ) -> Tensor:
        given = one_of("input", input, "value", value)
        layout = data_format or "NHWC"
        padded = _padding(padding) if op_type == "MaxPool" else {"padding": padding}
        attrs = {
            "ksize": _sizes(ksize, layout),
            "strides": _sizes(strides, layout),
            "data_format": layout,
            **padded,
        }
        with graph_of([given]).name_scope(name or op_type) as scope:
            return tensor(op_type, [given], attrs, scope)

    return function


max_pool = pool("MaxPool")
avg_pool = pool("AvgPool")
