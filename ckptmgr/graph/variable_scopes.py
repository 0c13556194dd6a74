"""Variable scopes: what the variables that are asked for within a block are called and default to.

Names of variables come from the scopes that are entered, which also carry defaults and say whether
a variable may be made or must be there (`reuse`). Entering one enters a scope of names of
operations, too; that one is made unique, the variables' is not. A graph keeps its scopes in a
`Store`, together with the variables that `named_variables` made in them.

Source: tensorflow/python/ops/variable_scope.py.
"""

from __future__ import annotations

import copy
import enum
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ckptmgr import errors
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.partitioned_variables import PartitionedVariable, Partitioner
from ckptmgr.graph.variables import Variable

#: Given the function that gives variables, and its arguments, gives what is taken for one.
Getter = Callable[..., Any]

#: The collection that keeps what `get_variable` made; no string, so that it is not exported.
_COLLECTION = ("__variable_store",)


class Reuse(enum.Enum):
    #: Take a variable that is there, make one that is not.
    AUTO_REUSE = 1


AUTO_REUSE = Reuse.AUTO_REUSE


class VariableScope:
    """The names and the defaults of the variables that are asked for within a block."""

    def __init__(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        reuse: bool | Reuse | None,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Partitioner | None = None,
        custom_getter: Getter | None = None,
        name_scope: str = "",
        dtype: Any = "float32",
        use_resource: bool | None = None,
        constraint: Any = None,
    ) -> None:
        self._reuse = reuse
        self._name = name
        self._initializer = initializer
        self._regularizer = regularizer
        self._caching_device = caching_device
        self._partitioner = partitioner
        self._custom_getter = custom_getter
        self._name_scope = name_scope
        self._dtype: DType = as_dtype(dtype)
        self._use_resource = use_resource
        self._constraint = constraint

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
    def caching_device(self) -> Any:
        return self._caching_device

    @property
    def custom_getter(self) -> Getter | None:
        """What is asked for variables, those of the scopes around among it."""
        return self._custom_getter

    @property
    def constraint(self) -> Any:
        return self._constraint

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

    def set_caching_device(self, caching_device: Any) -> None:
        self._caching_device = caching_device

    def set_custom_getter(self, custom_getter: Getter | None) -> None:
        self._custom_getter = custom_getter

    def set_dtype(self, dtype: Any) -> None:
        self._dtype = as_dtype(dtype)

    def set_use_resource(self, use_resource: bool | None) -> None:
        self._use_resource = use_resource

    def global_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def trainable_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def local_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def get_collection(self, name: Any) -> list[Any]:
        """The values of a collection whose names begin with this scope's."""
        scope = f"{self._name}/" if self._name else ""
        return get_default_graph().get_collection(name, scope)


@dataclass(slots=True)
class Store:
    """What a graph knows of its scopes and variables."""

    current: VariableScope = field(default_factory=lambda: VariableScope(reuse=False))
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


def store_of(graph: Graph) -> Store:
    """The one that a graph keeps, empty at first."""
    kept = graph.get_collection_ref(_COLLECTION)
    if not kept:
        kept.append(Store())
    return kept[0]  # type: ignore[no-any-return]


def variables_by_name(graph: Graph) -> dict[str, Variable]:
    """What `get_variable` made in a graph; the parts of a partitioned variable one by one."""
    return dict(store_of(graph).variables)


def get_variable_scope() -> VariableScope:
    """The scope in which variables are asked for."""
    return store_of(get_default_graph()).current


# --------------------------------------------------------------------------- entering


@contextmanager
def variable_scope(  # noqa: PLR0913 - TensorFlow's arguments
    name_or_scope: str | VariableScope | None,
    default_name: str | None = None,
    values: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    caching_device: Any = None,
    partitioner: Partitioner | None = None,
    custom_getter: Getter | None = None,
    reuse: bool | Reuse | None = None,
    dtype: Any = None,
    use_resource: bool | None = None,
    constraint: Any = None,
    auxiliary_name_scope: bool = True,
) -> Iterator[VariableScope]:
    """Ask for variables within a scope.

    Args:
        name_or_scope: Its name within the current one, or a scope to enter again.
        default_name: Its name where `name_or_scope` is None; made unique, and nothing is reused.
        values: Tensors, for the graph that they are in.
        custom_getter: Asked for each variable, with the function that gives it and its arguments;
            that function asks the getters of the scopes around first.
        reuse: True to make no variables, AUTO_REUSE to make those that are missing; None takes it
            from around.
        constraint: Of the variables of this scope, not of those within.
        auxiliary_name_scope: Whether to enter a scope of operations as well.
    """
    graph = next((v.graph for v in values or () if hasattr(v, "graph")), get_default_graph())
    if name_or_scope is None and default_name is None:
        raise errors.GraphTypeError(
            "If default_name is None then name_or_scope is required to be provided"
        )
    if not (reuse is None or isinstance(reuse, bool | Reuse)):
        raise errors.GraphError(f"reuse must be True, False, None or AUTO_REUSE, found {reuse!r}")
    if name_or_scope is None and reuse:
        raise errors.GraphError("reuse=True cannot be used without a name_or_scope")
    with graph.as_default():
        store = store_of(graph)
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
        scope._reuse = reuse or scope._reuse
        scope._constraint = constraint
        for key, value in (
            ("_caching_device", caching_device),
            ("_custom_getter", _composed(custom_getter, scope._custom_getter)),
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


def _made(store: Store, name_or_scope: str | VariableScope, name_scope: str) -> VariableScope:
    if isinstance(name_or_scope, VariableScope):
        # Again the scope that it was when it was first entered.
        return copy.copy(name_or_scope)
    scope = copy.copy(store.current)
    outer = store.current.name
    scope._name = f"{outer}/{name_or_scope}" if outer else name_or_scope
    scope._name_scope = name_scope
    return scope


def _composed(inner: Getter | None, outer: Getter | None) -> Getter | None:
    """A getter that asks `inner`, for which `outer` stands before what gives variables."""
    if inner is None or outer is None:
        return inner

    def getter(getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return inner(functools.partial(outer, getter), *args, **kwargs)

    return getter


@contextmanager
def _entered(store: Store, scope: VariableScope) -> Iterator[None]:
    outer, store.current = store.current, scope
    store.open(scope.name)
    try:
        yield
    finally:
        store.close_below(scope.name)
        store.current = outer
