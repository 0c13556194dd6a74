"""`tf.layers`: the layers that need no more than a matrix and a bias.

Source: tensorflow/python/keras/legacy_tf_layers/core.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.arithmetic import matmul
from ckptmgr.compat.v1.conversion import convert_to_tensor, tensor
from ckptmgr.compat.v1.namespaces import missing
from ckptmgr.compat.v1.nn_functions import bias_add
from ckptmgr.graph.initializers import Zeros
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.variable_scopes import variable_scope


def dense(
    inputs: Any,
    units: int,
    activation: Callable[..., Any] | None = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = None,
    kernel_regularizer: Any = None,
    bias_regularizer: Any = None,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Tensor:
    """Inputs @ kernel + bias, of a batch of vectors."""
    found = convert_to_tensor(inputs)
    width = found.shape.as_list()[-1]
    with variable_scope(name, "dense", reuse=reuse):
        kernel = get_variable(
            "kernel",
            [width, units],
            found.dtype,
            kernel_initializer,
            kernel_regularizer,
            trainable=trainable,
        )
        result = matmul(found, kernel)
        if use_bias:
            initializer = Zeros() if bias_initializer is None else bias_initializer
            bias = get_variable(
                "bias", [units], found.dtype, initializer, bias_regularizer, trainable=trainable
            )
            result = bias_add(result, bias)
        return result if activation is None else activation(result)


def flatten(inputs: Any, name: str | None = None) -> Tensor:
    """One vector per element of the batch."""
    found = convert_to_tensor(inputs)
    sizes = found.shape.as_list()[1:]
    if None in sizes:
        raise errors.GraphError(
            f"flatten needs a known shape but for the batch, found {found.shape}"
        )
    with variable_scope(name, "flatten"):
        return tensor("Reshape", [found, [-1, math.prod(size or 0 for size in sizes)]])


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
