"""`tf.losses`: what a model is trained to make small, and all of it in one.

Source: tensorflow/python/ops/losses/losses_impl.py, util.py, weights_broadcast_ops.py.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1 import arithmetic
from ckptmgr.compat.v1.arrays import constant, ones_like, rank, shape, size, where, zeros_like
from ckptmgr.compat.v1.conversion import apply, convert_to_tensor, graph_of, tensor
from ckptmgr.compat.v1.namespaces import missing
from ckptmgr.compat.v1.reductions import reduce_sum
from ckptmgr.compat.v1.scopes import add_to_collection, get_collection, name_scope
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor

__all__ = [
    "Reduction",
    "absolute_difference",
    "add_loss",
    "compute_weighted_loss",
    "get_losses",
    "get_regularization_loss",
    "get_regularization_losses",
    "get_total_loss",
    "mean_squared_error",
]


class Reduction:
    """What is made of the losses of single elements."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        return (cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_BY_NONZERO_WEIGHTS)

    @classmethod
    def validate(cls, key: Any) -> None:
        if key not in cls.all():
            raise errors.GraphError(
                f"Invalid Reduction Key {key}. Key should be one of {cls.all()}."
            )


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """The mean of the squared differences."""
    values = (labels, predictions, weights)
    return _of_pairs(
        "mean_squared_error", "SquaredDifference", values, scope, loss_collection, reduction
    )


def absolute_difference(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """The mean of the absolute differences."""
    values = (labels, predictions, weights)
    return _of_pairs("absolute_difference", "Abs", values, scope, loss_collection, reduction)


def _of_pairs(
    name: str,
    op_type: str,
    values: tuple[Any, Any, Any],
    scope: str | None,
    loss_collection: str | None,
    reduction: str,
) -> Tensor:
    labels, predictions, weights = values
    for argument, value in (("labels", labels), ("predictions", predictions)):
        if value is None:
            raise errors.GraphError(f"Argument `{argument}` must not be None.")
    with name_scope(scope, name, [predictions, labels, weights]) as entered:
        predicted = arithmetic.cast(predictions, DataType.DT_FLOAT)
        wanted = arithmetic.cast(labels, DataType.DT_FLOAT)
        predicted.shape.assert_is_compatible_with(wanted.shape)
        if op_type == "Abs":
            losses = arithmetic.abs(tensor("Sub", [predicted, wanted]))
        else:
            losses = tensor(op_type, [predicted, wanted])
        return compute_weighted_loss(losses, weights, entered, loss_collection, reduction)


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: str | None = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """The losses of single elements, weighted and made one."""
    Reduction.validate(reduction)
    graph = graph_of([losses, weights])
    with name_scope(scope, "weighted_loss", [losses, weights]):
        with graph.control_dependencies([_checked_broadcast(weights, losses)]):
            given = convert_to_tensor(losses)
            found = arithmetic.cast(given, DataType.DT_FLOAT)
            scale = arithmetic.cast(weights, DataType.DT_FLOAT)
            loss = _reduced(found, scale, tensor("Mul", [found, scale]), reduction)
            loss = arithmetic.cast(loss, given.dtype)
        add_loss(loss, loss_collection)
        return loss


def _reduced(losses: Tensor, weights: Tensor, weighted: Tensor, reduction: str) -> Tensor:
    if reduction == Reduction.NONE:
        return weighted
    total = reduce_sum(weighted)
    if reduction == Reduction.SUM:
        return total
    if reduction == Reduction.MEAN:
        count = reduce_sum(tensor("Mul", [ones_like(losses), weights], None, "mul"))
    elif reduction == Reduction.SUM_OVER_BATCH_SIZE:
        with name_scope(None, "num_elements", [losses]) as scope:
            count = arithmetic.cast(size(losses, name=scope), losses.dtype)
    else:
        count = _num_present(losses, weights)
    # The sum of what is one number already is TensorFlow's.
    return arithmetic.div_no_nan(reduce_sum(total), count, name="value")


def _num_present(losses: Tensor, weights: Tensor) -> Tensor:
    """How many elements have a weight that is not zero."""
    with name_scope(None, "num_present", [losses, weights]) as scope:
        is_zero = tensor("Equal", [weights, 0.0])
        present = where(is_zero, zeros_like(weights), ones_like(weights))
        return reduce_sum(_broadcast(present, losses), name=scope)


def _broadcast(weights: Tensor, values: Tensor) -> Tensor:
    with name_scope(None, "broadcast_weights", [weights, values]) as scope:
        sizes = (weights.shape, values.shape)
        if all(item.is_fully_defined() for item in sizes) and sizes[0] == sizes[1]:
            return weights
        with weights.graph.control_dependencies([_checked_broadcast(weights, values)]):
            return tensor("Mul", [weights, ones_like(values)], None, scope)


def _checked_broadcast(weights: Any, values: Any) -> Operation:
    """What stands in the graph for the check that weights fit, which is made here.

    Raises:
        GraphError: They do not, or it cannot be known before the graph runs.
    """
    with name_scope(None, "assert_broadcastable", [weights, values]):
        given = _measured(weights, "weights").shape
        wanted = _measured(values, "values").shape
        if given.rank == 0 and wanted.rank is not None:
            return apply("NoOp", [], None, "static_scalar_check_success")
        if not (given.is_fully_defined() and wanted.is_fully_defined()):
            raise errors.GraphError(
                f"weights that are no single number need shapes that are known here, found "
                f"{given} for values of {wanted}"
            )
        sizes = list(zip(given.as_list(), wanted.as_list(), strict=False))
        if given.rank != wanted.rank or any(one not in (1, other) for one, other in sizes):
            raise errors.GraphError(
                f"weights can not be broadcast to values. weights.shape={given}. "
                f"values.shape={wanted}."
            )
        return apply("NoOp", [], None, "static_dims_check_success")


def _measured(value: Any, name: str) -> Tensor:
    with name_scope(None, name, [value]) as scope:
        found = convert_to_tensor(value, name=scope)
        shape(found, name="shape")
        rank(found, name="rank")
        return found


# --------------------------------------------------------------------------- all losses of a graph


def add_loss(loss: Any, loss_collection: str | None = GraphKeys.LOSSES) -> None:
    if loss_collection:
        add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = GraphKeys.LOSSES) -> list[Any]:
    return get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    return get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(
    scope: str | None = None, name: str = "total_regularization_loss"
) -> Tensor:
    losses = get_regularization_losses(scope)
    return arithmetic.add_n(losses, name=name) if losses else constant(0.0)


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Tensor:
    """The sum of all losses of the default graph."""
    losses = get_losses(scope)
    if add_regularization_losses:
        losses += get_regularization_losses(scope)
    return arithmetic.add_n(losses, name=name)


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
