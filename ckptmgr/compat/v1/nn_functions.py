"""The functions of `tf.nn` that do more than name an operation.

Source: tensorflow/python/ops/nn_ops.py, nn_impl.py, embedding_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1 import random
from ckptmgr.compat.v1.arithmetic import add, cast, matmul
from ckptmgr.compat.v1.arrays import (
    concat,
    constant,
    gather,
    one_of,
    shape,
    squeeze,
    stack,
    transpose,
    where,
    where_v2,
    zeros_like,
)
from ckptmgr.compat.v1.conversion import apply, convert_to_tensor, graph_of, tensor
from ckptmgr.compat.v1.op_table import results
from ckptmgr.compat.v1.reductions import reduce_mean, reduce_sum
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.partitioned_variables import PartitionedVariable
from ckptmgr.graph.variables import ResourceVariable

# --------------------------------------------------------------------------- activations


def unary(op_type: str, default: str | None = None) -> Callable[..., Tensor]:
    """An activation whose input is converted within a scope of its own."""

    def function(features: Any, name: str | None = None) -> Tensor:
        with graph_of([features]).name_scope(name or default or op_type) as scope:
            return tensor(op_type, [convert_to_tensor(features, name="features")], None, scope)

    return function


relu6 = unary("Relu6")


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Tensor:
    with graph_of([features]).name_scope(name or "LeakyRelu") as scope:
        found = convert_to_tensor(features, name="features")
        if found.dtype.is_integer:
            found = cast(found, "float32")
        return tensor("LeakyRelu", [found], {"alpha": float(alpha)}, scope)


def swish(features: Any, beta: float = 1.0) -> Tensor:
    """Multiply features by sigmoid(beta * features)."""
    found = convert_to_tensor(features, name="features")
    scaled = found if beta == 1.0 else tensor("Mul", [found, beta])
    return tensor("Mul", [found, tensor("Sigmoid", [scaled])])


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Tensor:
    """Relu of the input and of its negative, joined."""
    with graph_of([features]).name_scope(name or "CRelu") as scope:
        found = convert_to_tensor(features, name="features")
        return tensor("Relu", [concat([found, tensor("Neg", [found])], axis, name=scope)])


def over_last_axis(op_type: str) -> Callable[..., Tensor]:
    """A softmax, of which the operation knows only the last axis."""

    def function(
        logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
    ) -> Tensor:
        found = convert_to_tensor(logits)
        along = one_of("axis", axis, "dim", dim)
        count = found.shape.rank
        if along is None or along == -1 or (count is not None and along == count - 1):
            return tensor(op_type, [found], None, name)
        if count is None or not -count <= along < count:
            raise errors.GraphError(f"axis must be one of the input's, found {along}")
        axes = list(range(count))
        axes[along], axes[-1] = axes[-1], axes[along]
        return transpose(tensor(op_type, [transpose(found, axes)]), axes, name or "transpose")

    return function


softmax = over_last_axis("Softmax")
log_softmax = over_last_axis("LogSoftmax")


# --------------------------------------------------------------------------- linear


def bias_add(
    value: Any, bias: Any, data_format: str | None = None, name: str | None = None
) -> Tensor:
    with graph_of([value, bias]).name_scope(name or "BiasAdd") as scope:
        found = convert_to_tensor(value, name="input")
        added = convert_to_tensor(bias, found.dtype, name="bias")
        layout = None
        if data_format is not None:
            layout = "NCHW" if data_format.startswith("NC") else "NHWC"
        return tensor("BiasAdd", [found, added], {"data_format": layout}, scope)


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    with graph_of([x, weights, biases]).name_scope(name or "xw_plus_b") as scope:
        found = convert_to_tensor(x, name="x")
        factor = convert_to_tensor(weights, name="weights")
        added = convert_to_tensor(biases, name="biases")
        return bias_add(matmul(found, factor), added, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    with graph_of([x, weights, biases]).name_scope(name or "relu_layer") as scope:
        found = convert_to_tensor(x, name="x")
        factor = convert_to_tensor(weights, name="weights")
        added = convert_to_tensor(biases, name="biases")
        return tensor("Relu", [bias_add(matmul(found, factor), added)], None, scope)


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: float | None = None,
) -> Tensor:
    """Rows of one table, or of one that was divided into parts with "div"."""
    parts = list(params) if isinstance(params, list | tuple) else [params]
    is_divided = len(parts) > 1 or isinstance(params, PartitionedVariable)
    if max_norm is not None or (is_divided and partition_strategy != "div"):
        raise errors.GraphError(
            "embedding_lookup takes no max_norm here, and parts only with partition_strategy='div'"
        )
    if len(parts) > 1:
        parts = [concat(parts, 0)]
    graph = graph_of([*parts, ids])
    with graph.name_scope(name or "embedding_lookup") as scope:
        table = parts[0]
        if not isinstance(table, ResourceVariable):
            table = convert_to_tensor(table, name="params_0")
        rows = convert_to_tensor(ids, name="ids")
        with graph.colocate_with(table):
            found = gather(table, rows, name=scope)
        return tensor("Identity", [found])


# --------------------------------------------------------------------------- normalisation


def moments(
    x: Any,
    axes: Sequence[int],
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean and the variance."""
    keeps = one_of("keepdims", keepdims, "keep_dims", keep_dims)
    with graph_of([x]).name_scope(name or "moments"):
        found = convert_to_tensor(x)
        mean = reduce_mean(found, axes, keepdims=True, name="mean")
        centre = tensor("StopGradient", [mean])
        squares = tensor("SquaredDifference", [found, centre])
        variance = reduce_mean(squares, axes, keepdims=True, name="variance")
        if keeps:
            return mean, variance
        return squeeze(mean, list(axes)), squeeze(variance, list(axes))


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    offset: Any,
    scale: Any,
    variance_epsilon: float,
    name: str | None = None,
) -> Tensor:
    with graph_of([x, mean, variance]).name_scope(name or "batchnorm"):
        found = convert_to_tensor(x)
        spread = convert_to_tensor(variance)
        factor: Any = tensor("Rsqrt", [tensor("AddV2", [spread, variance_epsilon], None, "add")])
        if scale is not None:
            factor = factor * scale
        scaled = found * cast(factor, found.dtype)  # type: ignore[operator]
        shift = -mean * factor if offset is None else offset - mean * factor
        return scaled + cast(shift, found.dtype)  # type: ignore[no-any-return]


def fused_batch_norm(
    x: Any,
    scale: Any,
    offset: Any,
    mean: Any = None,
    variance: Any = None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    name: str | None = None,
    exponential_avg_factor: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised input, and the mean and variance that it was normalised with."""
    if not is_training and (mean is None or variance is None):
        raise errors.GraphError("mean and variance are needed when is_training is False")
    inputs = [
        convert_to_tensor(x, name="input"),
        convert_to_tensor(scale, name="scale"),
        convert_to_tensor(offset, name="offset"),
        constant([], "float32") if mean is None else mean,
        constant([], "float32") if variance is None else variance,
    ]
    attrs = {
        "epsilon": epsilon,
        "exponential_avg_factor": exponential_avg_factor,
        "data_format": data_format,
        "is_training": is_training,
    }
    outputs = apply("FusedBatchNormV3", inputs, attrs, name).outputs
    return outputs[0], outputs[1], outputs[2]


def l2_normalize(
    x: Any,
    axis: Any = None,
    epsilon: float = 1e-12,
    name: str | None = None,
    dim: Any = None,
) -> Tensor:
    with graph_of([x]).name_scope(name or "l2_normalize") as scope:
        found = convert_to_tensor(x, name="x")
        squares = tensor("Square", [found])
        total = reduce_sum(squares, one_of("axis", axis, "dim", dim), keepdims=True)
        factor = tensor("Rsqrt", [tensor("Maximum", [total, epsilon])])
        return tensor("Mul", [found, factor], None, scope)


def dropout(
    x: Any,
    keep_prob: float | None = None,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
    rate: float | None = None,
) -> Tensor:
    """Zero a part of the elements at random and scale the others up."""
    given = one_of("rate", rate, "keep_prob", None if keep_prob is None else 1.0 - keep_prob)
    if not isinstance(given, int | float) or not 0 <= given < 1:
        raise errors.GraphError(f"rate must be a number from 0 to below 1, found {given!r:.80}")
    with graph_of([x]).name_scope(name or "dropout"):
        found = convert_to_tensor(x, name="x")
        if given == 0:
            return found
        scale = convert_to_tensor(1 / (1 - given), found.dtype.base_dtype)
        scaled = tensor("Mul", [found, scale])
        sizes = shape(found) if noise_shape is None else noise_shape
        drawn = random.uniform(sizes, dtype=found.dtype.base_dtype, seed=seed)
        is_kept = tensor("GreaterEqual", [drawn, given])
        kept = where_v2(is_kept, scaled, constant(0, found.dtype.base_dtype))
        kept.set_shape(found.shape)
        return kept


# --------------------------------------------------------------------------- losses and ranks


def softmax_cross_entropy_with_logits(
    labels: Any = None,
    logits: Any = None,
    dim: int | None = None,
    name: str | None = None,
    axis: int | None = None,
) -> Tensor:
    """The loss of each row of a batch of matrices."""
    if (one_of("axis", axis, "dim", dim) or -1) != -1:
        raise errors.GraphError("softmax_cross_entropy_with_logits takes the last axis only")
    with graph_of([labels, logits]).name_scope(name or "softmax_cross_entropy_with_logits"):
        found = convert_to_tensor(logits, name="logits")
        wanted = convert_to_tensor(labels, found.dtype.base_dtype, name="labels")
        width = found.shape.as_list()[-1]
        flat = [tensor("Reshape", [part, [-1, width]]) for part in (found, wanted)]
        loss = apply("SoftmaxCrossEntropyWithLogits", flat).outputs[0]
        sizes = found.shape.as_list()[:-1]
        if len(sizes) == 1:
            return loss
        return tensor("Reshape", [loss, stack([-1 if size is None else size for size in sizes])])


def sparse_softmax_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    default = "SparseSoftmaxCrossEntropyWithLogits"
    with graph_of([labels, logits]).name_scope(name or default):
        wanted, found = convert_to_tensor(labels), convert_to_tensor(logits)
        shape(wanted)  # TensorFlow makes one, and needs it for larger ranks.
        if found.shape.rank != 2:
            raise errors.GraphError("logits must be a matrix here, one row per label")
        return apply("SparseSoftmaxCrossEntropyWithLogits", [found, wanted], None, name).outputs[0]


def sigmoid_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    with graph_of([labels, logits]).name_scope(name or "logistic_loss") as scope:
        found = convert_to_tensor(logits, name="logits")
        wanted = convert_to_tensor(labels, name="labels")
        zeros = zeros_like(found)
        is_positive = tensor("GreaterEqual", [found, zeros])
        positive = where(is_positive, found, zeros)
        negative = where(is_positive, tensor("Neg", [found]), found)
        linear = tensor("Sub", [positive, tensor("Mul", [found, wanted], None, "mul")], None, "sub")
        return add(linear, tensor("Log1p", [tensor("Exp", [negative])]), scope)


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> Any:
    """The largest values along the last axis, and their indices."""
    return results(apply("TopKV2", [input, k], {"sorted": sorted}, name))


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    with graph_of([predictions, targets]).name_scope(name or "in_top_k"):
        return tensor("InTopKV2", [predictions, targets, k], None, name)
