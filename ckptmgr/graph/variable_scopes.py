"""`get_variable`: variables by name, made once and shared.

Names of variables come from the variable scopes that are entered, which also carry defaults and
say whether a variable may be made or must be there (`reuse`). Entering one enters a scope of names
of operations, too; that one is made unique, the variables' is not.

Source: tensorflow/python/ops/variable_scope.py.
"""

from __future__ import annotations

import copy
import enum
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ckptmgr.graph.tensor_shape import TensorShape
from ckptmgr.graph.tensor_values import as_array
from ckptmgr.graph.variables import Variable

#: The collection that keeps what `get_variable` made; no string, so that it is not exported.
_STORE = ("__variable_store",)


class Reuse(enum.Enum):
    #: Take a variable that is there, make one that is not.
    AUTO = "AUTO_REUSE"


AUTO_REUSE = Reuse.AUTO


class VariableScope:
    """The names and the defaults of the variables that are asked for within a block."""

    def __init__(
        self, name: str = "", reuse: bool | Reuse | None = False, name_scope: str = ""
    ) -> None:
        self._name = name
        self._reuse = reuse
        self._name_scope = name_scope
        self._dtype: DType = as_dtype("float32")
        self._initializer: Any = None
        self._regularizer: Any = None
        self._partitioner: Partitioner | None = None
        self._use_resource: bool | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The scope of operations that was entered with it first."""
        return self._name_scope

    @property
    def reuse(self) -> bool | Reuse | None:
        return self._reuse

    @property
    def initializer(self) -> Any:
        return self._initializer

    @property
    def regularizer(self) -> Any:
        return self._regularizer

    @property
    def partitioner(self) -> Partitioner | None:
        return self._partitioner

    @property
    def dtype(self) -> DType:
        return self._dtype

    @property
    def use_resource(self) -> bool | None:
        return self._use_resource

    def reuse_variables(self) -> None:
        """From here on, take variables that are there and make none."""
        self._reuse = True

    def set_initializer(self, initializer: Any) -> None:
        self._initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        self._regularizer = regularizer

    def set_partitioner(self, partitioner: Partitioner | None) -> None:
        self._partitioner = partitioner

    def set_dtype(self, dtype: Any) -> None:
        self._dtype = as_dtype(dtype)

    def set_use_resource(self, use_resource: bool | None) -> None:
        self._use_resource = use_resource

    def global_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def trainable_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def get_collection(self, name: Any) -> list[Any]:
        """The values of a collection whose names begin with this scope's."""
        scope = f"{self._name}/" if self._name else ""
        return get_default_graph().get_collection(name, scope)


@dataclass(slots=True)
class _Store:
    """What a graph knows of its scopes and variables."""

    current: VariableScope = field(default_factory=VariableScope)
    variables: dict[str, Variable] = field(default_factory=dict)
    partitioned: dict[str, PartitionedVariable] = field(default_factory=dict)
    #: How often each scope was entered.
    entered: dict[str, int] = field(default_factory=dict)

    def open(self, name: str) -> None:
        self.entered[name] = self.entered.get(name, 0) + 1

    def close_below(self, name: str) -> None:
        for inner in self.entered:
            if inner.startswith(f"{name}/"):
                self.entered[inner] = 0

    def unique(self, default_name: str) -> str:
        """`default_name`, with a number behind it if that scope was entered already."""
        outer = f"{self.current.name}/" if self.current.name else ""
        candidate, number = default_name, 0
        while self.entered.get(outer + candidate, 0) > 0:
            number += 1
            candidate = f"{default_name}_{number}"
        return candidate


def _store_of(graph: Graph) -> _Store:
    kept = graph.get_collection_ref(_STORE)
    if not kept:
        kept.append(_Store())
    return kept[0]  # type: ignore[no-any-return]


def variables_by_name(graph: Graph) -> dict[str, Variable]:
    """What `get_variable` made in a graph; the parts of a partitioned variable one by one."""
    return dict(_store_of(graph).variables)


def get_variable_scope() -> VariableScope:
    """The scope in which variables are asked for."""
    return _store_of(get_default_graph()).current


# --------------------------------------------------------------------------- entering


@contextmanager
def variable_scope(  # noqa: PLR0913 - TensorFlow's arguments
    name_or_scope: str | VariableScope | None,
    default_name: str | None = None,
    values: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    *,
    partitioner: Partitioner | None = None,
    reuse: bool | Reuse | None = None,
    dtype: Any = None,
    use_resource: bool | None = None,
    auxiliary_name_scope: bool = True,
) -> Iterator[VariableScope]:
    """Ask for variables within a scope.

    Args:
        name_or_scope: Its name within the current one, or a scope to enter again.
        default_name: Its name where `name_or_scope` is None; made unique, and nothing is reused.
        values: Tensors, for the graph that they are in.
        reuse: True to make no variables, AUTO_REUSE to make those that are missing; None takes it
            from around.
        auxiliary_name_scope: Whether to enter a scope of operations as well.
    """
    graph = next((v.graph for v in values or () if hasattr(v, "graph")), get_default_graph())
    if name_or_scope is None and default_name is None:
        raise errors.GraphTypeError(
            "If default_name is None then name_or_scope is required to be provided"
        )
    if name_or_scope is None and reuse:
        raise errors.GraphError("reuse=True cannot be used without a name_or_scope")
    with graph.as_default():
        store = _store_of(graph)
        operations = _operations_scope(name_or_scope, default_name)
        if name_or_scope is None:
            assert default_name is not None
            name_or_scope = store.unique(default_name)
        if auxiliary_name_scope and operations:
            with graph.name_scope(operations) as name_scope:
                scope = _made(store, name_or_scope, name_scope)
        else:
            current = graph.get_name_scope()
            name_scope = f"{current}/" if current else ""
            scope = _made(store, name_or_scope, name_scope)
        scope._reuse = reuse or scope._reuse or store.current.reuse
        for key, value in (
            ("_initializer", initializer),
            ("_regularizer", regularizer),
            ("_partitioner", partitioner),
            ("_use_resource", use_resource),
            ("_dtype", None if dtype is None else as_dtype(dtype)),
        ):
            if value is not None:
                setattr(scope, key, value)
        with graph.name_scope(name_scope or None), _entered(store, scope):
            yield scope


def _operations_scope(name_or_scope: str | VariableScope | None, default_name: str | None) -> str:
    if name_or_scope is None:
        return default_name or ""
    if isinstance(name_or_scope, str):
        return name_or_scope
    if isinstance(name_or_scope, VariableScope):
        return name_or_scope.name.rpartition("/")[2]
    raise errors.GraphTypeError(
        f"name_or_scope must be a string or VariableScope, found {name_or_scope!r:.80}"
    )


def _made(store: _Store, name_or_scope: str | VariableScope, name_scope: str) -> VariableScope:
    if isinstance(name_or_scope, VariableScope):
        # Again the scope that it was when it was first entered.
        return copy.copy(name_or_scope)
    scope = copy.copy(store.current)
    outer = store.current.name
    scope._name = f"{outer}/{name_or_scope}" if outer else name_or_scope
    scope._name_scope = name_scope
    return scope


@contextmanager
def _entered(store: _Store, scope: VariableScope) -> Iterator[None]:
    outer, store.current = store.current, scope
    store.open(scope.name)
    try:
        yield
    finally:
        store.close_below(scope.name)
        store.current = outer


# --------------------------------------------------------------------------- asking for a variable


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
    *,
    partitioner: Partitioner | None = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
) -> Any:
    """The variable of that name in the current scope, made if there is none and `reuse` allows it.

    Args:
        initializer: A function of shape and dtype, or a value, which tells the shape; the scope's,
            or else Glorot's for floats and zeros for the rest.
        partitioner: Divides it into parts; then a `PartitionedVariable` is returned.
    Raises:
        GraphError: There is one and none is to be reused, or the other way around; or the one that
            there is has another shape or dtype.
    """
    graph = get_default_graph()
    store = _store_of(graph)
    scope = store.current
    is_value = initializer is not None and not callable(initializer)
    if is_value and dtype is None:
        dtype = _dtype_of(initializer)
    wish = _Wish(
        f"{scope.name}/{name}" if scope.name else name,
        None if shape is None else TensorShape(shape),
        as_dtype(scope.dtype if dtype is None else dtype).base_dtype,
        scope.initializer if initializer is None else initializer,
        scope.regularizer if regularizer is None else regularizer,
        scope.reuse,
        {
            "trainable": trainable,
            "collections": collections,
            "validate_shape": validate_shape,
            "use_resource": scope.use_resource if use_resource is None else use_resource,
        },
    )
    divide = partitioner or scope.partitioner
    with graph.name_scope(None):
        if divide is None:
            return _single(store, wish)
        return _partitioned(store, wish, divide)


def _dtype_of(value: Any) -> DType:
    """The type that a tensor of a value would have."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return as_dtype(dtype)
    return as_dtype(as_array(value)[1])


def _single(store: _Store, wish: _Wish) -> Variable:
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
    if not wish.reuse:
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


def _dtype(wish: _Wish) -> DType | None:
    return wish.dtype if wish.initializer is None or callable(wish.initializer) else None


def _initial_value(wish: _Wish) -> Any:
    """A value, or a function that makes one."""
    initializer = wish.initializer
    if initializer is not None and not callable(initializer):
        if wish.shape is not None:
            raise errors.GraphError("If initializer is a constant, do not specify shape.")
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


def _partitioned(store: _Store, wish: _Wish, divide: Partitioner) -> PartitionedVariable | Variable:
    shape = wish.shape
    if shape is None and wish.initializer is not None and not callable(wish.initializer):
        shape = as_tensor(wish.initializer, wish.dtype, "initial_value").shape
    if shape is None or not shape.is_fully_defined():
        raise errors.GraphError(
            f"Shape of a new partitioned variable ({wish.name}) must be fully defined, but instead "
            f"was {shape}."
        )
    if shape.rank == 0:
        return _single(store, wish)
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
    store: _Store,
    wish: _Wish,
    whole: tuple[int, ...],
    index: int,
    offset: list[int],
    sizes: list[int],
) -> Variable:
    name = f"{wish.name}/part_{index}"
    initializer, shape = wish.initializer, TensorShape(sizes)
    info = PartitionInfo(whole, tuple(offset))
    if initializer is not None and not callable(initializer):
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
