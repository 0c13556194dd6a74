"""What neural networks apply after a product: biases, activations, softmax and its losses."""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import require_rank
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel

# The constants of self-normalizing networks (Klambauer et al., 2017).
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


@kernel("BiasAdd")
@numeric
def bias_add(node: KernelNode, value: Array, bias: Array) -> Array:
    is_channels_first = node.attr("data_format") == b"NCHW"
    return _with_bias(value, bias, 1 if is_channels_first else value.ndim - 1)


@kernel("BiasAddV1")
@numeric
def bias_add_v1(node: KernelNode, value: Array, bias: Array) -> Array:
    return _with_bias(value, bias, value.ndim - 1)


@kernel("Relu")
@numeric
def relu(node: KernelNode, x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0))


@kernel("Relu6")
@numeric
def relu_6(node: KernelNode, x: Array) -> Array:
    return np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6))


@kernel("LeakyRelu")
@numeric
def leaky_relu(node: KernelNode, x: Array) -> Array:
    return np.where(np.greater(x, 0), x, x * x.dtype.type(node.attr("alpha")))


@kernel("Elu")
@numeric
def elu(node: KernelNode, x: Array) -> Array:
    return np.where(np.less(x, 0), np.expm1(x), x)


@kernel("Selu")
@numeric
def selu(node: KernelNode, x: Array) -> Array:
    scale, alpha = x.dtype.type(_SELU_SCALE), x.dtype.type(_SELU_ALPHA)
    return np.multiply(np.where(np.less(x, 0), np.expm1(x) * alpha, x), scale)


@kernel("Softplus")
@numeric
def softplus(node: KernelNode, x: Array) -> Array:
    return np.logaddexp(x, x.dtype.type(0))


@kernel("Softsign")
@numeric
def softsign(node: KernelNode, x: Array) -> Array:
    return np.divide(x, np.abs(x) + x.dtype.type(1))


@kernel("Sigmoid")
@numeric
def sigmoid(node: KernelNode, x: Array) -> Array:
    one = x.dtype.type(1)
    return np.divide(one, one + np.exp(-x))


@kernel("Softmax")
@numeric
def softmax(node: KernelNode, logits: Array) -> Array:
    exponentials = np.exp(_shifted(logits))
    return np.divide(exponentials, np.sum(exponentials, axis=-1, keepdims=True))


@kernel("LogSoftmax")
@numeric
def log_softmax(node: KernelNode, logits: Array) -> Array:
    return _log_softmax(logits)


@kernel("SoftmaxCrossEntropyWithLogits")
@numeric
def softmax_cross_entropy(node: KernelNode, logits: Array, labels: Array) -> tuple[Array, Array]:
    """The loss of each row, and its gradient."""
    logits, labels = np.broadcast_arrays(logits, labels)
    require_rank(logits, 2, "logits")
    log_probabilities = _log_softmax(logits)
    # A label of 0 takes nothing, even from an infinite logarithm.
    terms = np.where(np.equal(labels, 0), labels, labels * log_probabilities)
    loss = -np.sum(terms, axis=-1)
    return loss, np.subtract(np.exp(log_probabilities), labels)


@kernel("SparseSoftmaxCrossEntropyWithLogits")
@numeric
def sparse_softmax_cross_entropy(
    node: KernelNode, logits: Array, labels: Array
) -> tuple[Array, Array]:
    """As above, with the number of the right class as label."""
    require_rank(logits, 2, "logits")
    if labels.shape != logits.shape[:1]:
        raise errors.InvalidArgument(
            f"labels must have shape {list(logits.shape[:1])}, got {list(labels.shape)}"
        )
    class_count = logits.shape[1]
    if np.logical_or(np.less(labels, 0), np.greater_equal(labels, class_count)).any():
        raise errors.InvalidArgument(
            f"Received a label value outside the valid range of [0, {class_count})"
        )
    rows = np.arange(len(labels))
    log_probabilities = _log_softmax(logits)
    gradient = np.exp(log_probabilities)
    gradient[rows, labels] -= logits.dtype.type(1)
    return -log_probabilities[rows, labels], gradient


def _with_bias(value: Array, bias: Array, axis: int) -> Array:
    require_rank(bias, 1, "bias")
    if value.ndim < 2 or value.shape[axis] != bias.size:
        raise errors.InvalidArgument(
            f"bias of {bias.size} elements does not fit dimension {axis} of shape "
            f"{list(value.shape)}"
        )
    return np.add(value, bias.reshape((-1,) + (1,) * (value.ndim - 1 - axis)))


def _shifted(logits: Array) -> Array:
    """Less each row's maximum, which changes no probability and overflows nowhere."""
    if logits.ndim == 0:
        raise errors.InvalidArgument("logits must have at least 1 dimension, got a scalar")
    return logits if logits.size == 0 else logits - np.max(logits, axis=-1, keepdims=True)


def _log_softmax(logits: Array) -> Array:
    shifted = _shifted(logits)
    return np.subtract(shifted, np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))
