"""`get_variable`: variables by name, made once and shared.

The current variable scope gives the first part of the name and the defaults, and decides whether
one is made or taken. Custom getters are asked before, and may give something else. A partitioner
divides a variable into parts, each a variable by its own name.

Source: tensorflow/python/ops/variable_scope.py.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ckptmgr import errors
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.initializers import GlorotUniform, PartitionInfo, Zeros
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.partitioned_variables import PartitionedVariable, Partitioner, slices
from ckptmgr.graph.replicas import (
    VariableAggregation,
    VariableSynchronization,
    checked_replication,
)
from ckptmgr.graph.tensor_shape import TensorShape
from ckptmgr.graph.variable_kinds import resource_variables_enabled
from ckptmgr.graph.variable_scopes import Getter, Reuse, Store, store_of
from ckptmgr.graph.variables import Variable


@dataclass(slots=True)
class _Wish:
    """What `get_variable` was asked for."""

    name: str
    shape: TensorShape | None
    dtype: DType
    initializer: Any
    regularizer: Any
    reuse: bool | Reuse | None
    options: dict[str, Any]
    partition_info: PartitionInfo | None = None


def get_variable(  # noqa: PLR0913 - TensorFlow's arguments
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Partitioner | None = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Getter | None = None,
    constraint: Any = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
) -> Any:
    """The variable of that name in the current scope, made if there is none and `reuse` allows it.

    Args:
        initializer: A function of shape and dtype, or a value, which tells the shape; the scope's,
            or else Glorot's for floats and zeros for the rest.
        caching_device, constraint, synchronization, aggregation: See `Variable`.
        partitioner: Divides it into parts; then a `PartitionedVariable` is returned.
        custom_getter: Asked instead of the scope's, with the function that gives variables, as
            `getter`, and its arguments; what it gives is returned.
    Raises:
        GraphError: There is one and none is to be reused, or the other way around; or the one that
            there is has another shape or dtype.
    """
    graph = get_default_graph()
    store = store_of(graph)
    scope = store.current
    with graph.name_scope(None):
        if dtype is not None and _is_value(initializer):
            _check_dtype(initializer, dtype)
        full_name = f"{scope.name}/{name}" if scope.name else name
        synchronization, aggregation, trainable = checked_replication(
            synchronization, aggregation, trainable, full_name
        )
        asked = {
            "name": full_name,
            "shape": shape,
            "dtype": _base_dtype(scope.dtype if dtype is None else dtype),
            "initializer": scope.initializer if initializer is None else initializer,
            "regularizer": scope.regularizer if regularizer is None else regularizer,
            "reuse": scope.reuse,
            "trainable": trainable,
            "collections": collections,
            "caching_device": scope.caching_device if caching_device is None else caching_device,
            "partitioner": scope.partitioner if partitioner is None else partitioner,
            "validate_shape": validate_shape,
            "use_resource": scope.use_resource if use_resource is None else use_resource,
            "constraint": scope.constraint if constraint is None else constraint,
            "synchronization": synchronization,
            "aggregation": aggregation,
        }
        getter = scope.custom_getter if custom_getter is None else custom_getter
        if getter is None:
            return _get(store, **asked)
        return _asked(getter, functools.partial(_get, store), asked)


def _check_dtype(value: Any, dtype: Any) -> None:
    # As in TensorFlow, this adds a constant to the graph.
    found = as_tensor(value).dtype.base_dtype
    if found != dtype:
        raise errors.GraphError(
            f"Initializer type {found.name!r} and explicit dtype {as_dtype(dtype).name!r} don't "
            f"match."
        )


def _base_dtype(dtype: Any) -> Any:
    return dtype.base_dtype if isinstance(dtype, DType) else dtype


def _asked(getter: Getter, get: Callable[..., Any], asked: dict[str, Any]) -> Any:
    """What a getter gives."""
    if not callable(getter):
        raise errors.GraphError(f"Passed a custom_getter which is not callable: {getter}")
    parameters = inspect.signature(getter).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    # The one argument that is younger than getters are.
    if not takes_any and all(
        parameter.name != "constraint" or parameter.kind is parameter.KEYWORD_ONLY
        for parameter in parameters
    ):
        asked = {name: value for name, value in asked.items() if name != "constraint"}
    return getter(getter=get, **asked)


def _get(  # noqa: PLR0913 - what getters are asked for, which call it as they like
    store: Store,
    name: str,
    shape: Any = None,
    dtype: Any = "float32",
    initializer: Any = None,
    regularizer: Any = None,
    reuse: bool | Reuse | None = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Partitioner | None = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    constraint: Any = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
) -> PartitionedVariable | Variable:
    """The variable of that full name; made if there is none, unless `reuse` is True."""
    wish = _Wish(
        name,
        None if shape is None else TensorShape(shape),
        as_dtype(dtype).base_dtype,
        initializer,
        regularizer,
        reuse,
        {
            "trainable": trainable,
            "collections": collections,
            "caching_device": caching_device,
            "validate_shape": validate_shape,
            "use_resource": resource_variables_enabled() if use_resource is None else use_resource,
            "constraint": constraint,
            "synchronization": synchronization,
            "aggregation": aggregation,
        },
    )
    if partitioner is None:
        return _undivided(store, wish)
    if not callable(partitioner):
        raise errors.GraphError(f"Partitioner must be callable, but received: {partitioner}")
    with get_default_graph().name_scope(None):
        return _partitioned(store, wish, partitioner)


def _undivided(store: Store, wish: _Wish) -> PartitionedVariable | Variable:
    """What is meant where no partitioner is given."""
    divided = store.partitioned.get(wish.name)
    if divided is None:
        return _single(store, wish)
    if wish.reuse is not True:
        raise errors.GraphError(
            f"No partitioner was provided, but a partitioned version of the variable was found: "
            f"{wish.name}. Perhaps a variable of the same name was already created with "
            f"partitioning?"
        )
    # Whoever takes what is there need not say again how it is divided.
    _check_reuse(divided, wish, "reuse partitioned variable")
    return divided


def _single(store: Store, wish: _Wish) -> Variable:
    if wish.shape is not None and _is_value(wish.initializer):
        raise errors.GraphError("If initializer is a constant, do not specify shape.")
    found = store.variables.get(wish.name)
    if found is not None:
        _check_reuse(found, wish, "share variable")
        return found
    if wish.reuse is True:
        raise errors.GraphError(
            f"Variable {wish.name} does not exist, or was not created with tf.get_variable(). "
            f"Did you mean to set reuse=tf.AUTO_REUSE in VarScope?"
        )
    variable = Variable(_initial_value(wish), name=wish.name, dtype=_dtype(wish), **wish.options)
    store.variables[wish.name] = variable
    if wish.regularizer is not None:
        graph = variable.graph
        with graph.colocate_with(variable), graph.name_scope(f"{wish.name}/Regularizer/"):
            loss = wish.regularizer(variable)
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable


def _check_reuse(found: Any, wish: _Wish, what: str) -> None:
    if wish.reuse is False:
        raise errors.GraphError(
            f"Variable {wish.name} already exists, disallowed. Did you mean to set reuse=True or "
            f"reuse=tf.AUTO_REUSE in VarScope?"
        )
    if wish.shape is not None and not wish.shape.is_compatible_with(found.shape):
        raise errors.GraphError(
            f"Trying to {what} {wish.name}, but specified shape {wish.shape} and found shape "
            f"{found.shape}."
        )
    if wish.dtype != found.dtype.base_dtype:
        raise errors.GraphError(
            f"Trying to {what} {wish.name}, but specified dtype {wish.dtype.name} and found dtype "
            f"{found.dtype.base_dtype.name}."
        )


def _is_value(initializer: Any) -> bool:
    return initializer is not None and not callable(initializer)


def _dtype(wish: _Wish) -> DType | None:
    return None if _is_value(wish.initializer) else wish.dtype


def _initial_value(wish: _Wish) -> Any:
    """A value, or a function that makes one."""
    initializer = wish.initializer
    if _is_value(initializer):
        return initializer
    if initializer is None:
        if wish.shape is None:
            raise errors.GraphError(
                f"Variable {wish.name} did not get an initializer, so its `shape` argument must "
                f"be specified."
            )
        initializer = _default_initializer(wish)
    if inspect.isclass(initializer):
        initializer = initializer()
    if wish.shape is None:
        return initializer
    if not wish.shape.is_fully_defined():
        raise errors.GraphError(
            f"Shape of a new variable ({wish.name}) must be fully defined, but instead was "
            f"{wish.shape}."
        )
    return _bound(initializer, wish.shape.as_list(), wish)


def _bound(initializer: Callable[..., Any], shape: list[Any], wish: _Wish) -> Callable[[], Any]:
    def make() -> Any:
        if _takes_partition_info(initializer):
            return initializer(shape, dtype=wish.dtype, partition_info=wish.partition_info)
        return initializer(shape, dtype=wish.dtype)

    return make


def _takes_partition_info(initializer: Callable[..., Any]) -> bool:
    try:
        return "partition_info" in inspect.signature(initializer).parameters
    except ValueError:  # a function of C without a signature
        return False


def _default_initializer(wish: _Wish) -> Any:
    if wish.dtype.is_floating:
        return GlorotUniform()
    if wish.dtype.is_integer or wish.dtype.is_bool or wish.dtype == "string":
        return Zeros()
    raise errors.GraphError(
        f"An initializer for variable {wish.name} of {wish.dtype!r} is required"
    )


# --------------------------------------------------------------------------- partitioned ones


def _partitioned(store: Store, wish: _Wish, divide: Partitioner) -> PartitionedVariable | Variable:
    shape = wish.shape
    if _is_value(wish.initializer) and (shape is None or isinstance(wish.initializer, Tensor)):
        value = as_tensor(wish.initializer, name="initial_value")
        shape = value.shape if shape is None else shape
        wish = replace(wish, dtype=value.dtype.base_dtype)
    if shape is None or not shape.is_fully_defined():
        raise errors.GraphError(
            f"Shape of a new partitioned variable ({wish.name}) must be fully defined, but instead "
            f"was {shape}."
        )
    if shape.rank == 0:
        return _single(store, wish)
    if wish.name in store.variables:
        raise errors.GraphError(
            f"A partitioner was provided, but an unpartitioned version of the variable was found: "
            f"{wish.name}. Perhaps a variable of the same name was already created without "
            f"partitioning?"
        )
    partitions = list(divide(shape=shape, dtype=wish.dtype))
    found = store.partitioned.get(wish.name)
    if found is not None:
        _check_reuse(found, wish, "reuse partitioned variable")
        if found._get_partitions() != partitions:
            raise errors.GraphError(
                f"Trying to reuse partitioned variable {wish.name}, but specified partitions "
                f"{partitions} and found partitions {found._get_partitions()}."
            )
        return found
    whole = tuple(int(size) for size in shape)
    parts = [
        _part(store, wish, whole, index, offset, sizes)
        for index, (offset, sizes) in enumerate(slices(whole, partitions))
    ]
    made = PartitionedVariable(wish.name, whole, wish.dtype, parts, partitions)
    store.partitioned[wish.name] = made
    return made


def _part(
    store: Store,
    wish: _Wish,
    whole: tuple[int, ...],
    index: int,
    offset: list[int],
    sizes: list[int],
) -> Variable:
    name = f"{wish.name}/part_{index}"
    initializer, shape = wish.initializer, TensorShape(sizes)
    info = PartitionInfo(whole, tuple(offset))
    if _is_value(initializer):
        graph = get_default_graph()
        with graph.name_scope(f"{name}/PartitionedInitializer"):
            initializer = _share(graph, as_tensor(initializer, wish.dtype), offset, sizes)
        of_part = _Wish(
            name, None, wish.dtype, initializer, wish.regularizer, wish.reuse, wish.options
        )
    else:
        of_part = _Wish(
            name, shape, wish.dtype, initializer, wish.regularizer, wish.reuse, wish.options, info
        )
    part = _single(store, of_part)
    part._set_save_slice_info(Variable.SaveSliceInfo(wish.name, whole, offset, sizes))
    return part


def _share(graph: Graph, value: Tensor, offset: list[int], sizes: list[int]) -> Tensor:
    with graph.name_scope("Slice") as scope:
        begin = constant(graph, offset, dtype="int32", name="begin")
        size = constant(graph, sizes, dtype="int32", name="size")
        return create_op(graph, "Slice", [value, begin, size], name=scope).outputs[0]
