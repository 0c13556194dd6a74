"""Functions on variables: changing them, and listing and initializing those of a graph.

Source: tensorflow/python/ops/state_ops.py, variables.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ckptmgr.compat.v1.arrays import boolean_mask, constant, stack
from ckptmgr.compat.v1.conversion import apply, convert_to_tensor, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.grouping import group
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.variables import (
    REF_TYPES,
    ChangedVariable,
    ResourceVariable,
    global_variables,
    local_variables,
)


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Any:
    """Give a variable another value; gives that value."""
    if isinstance(ref, ResourceVariable):
        return ref.assign(value, name=name)
    attrs = {"validate_shape": validate_shape, "use_locking": use_locking}
    return tensor("Assign", [ref, value], attrs, name)


def changing(op_type: str, method: str) -> Callable[..., Any]:
    """The functions that change a variable by a value."""

    def function(
        ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
    ) -> Any:
        if isinstance(ref, ResourceVariable):
            return getattr(ref, method)(value, name=name)
        return tensor(op_type, [ref, value], {"use_locking": use_locking}, name)

    return function


def scattering(op_type: str, resource_type: str) -> Callable[..., Any]:
    """The functions that change some rows of a variable."""

    def function(
        ref: Any,
        indices: Any,
        updates: Any,
        use_locking: bool | None = None,
        name: str | None = None,
    ) -> Any:
        if not isinstance(ref, ResourceVariable):
            attrs = {"use_locking": use_locking}
            return tensor(op_type, [ref, indices, updates], attrs, name)
        rows = convert_to_tensor(updates, ref.dtype)
        return ChangedVariable(ref, apply(resource_type, [ref.handle, indices, rows], None, name))

    return function


def tables_initializer(name: str = "init_all_tables") -> Operation:
    """What fills the lookup tables of the default graph."""
    graph = get_default_graph()
    return group(graph, graph.get_collection(GraphKeys.TABLE_INITIALIZERS), name)


def report_uninitialized_variables(
    var_list: Iterable[Any] | None = None, name: str = "report_uninitialized_variables"
) -> Tensor:
    """The names of the variables that have no value yet."""
    graph = get_default_graph()
    variables = [*global_variables(), *local_variables()] if var_list is None else list(var_list)
    if var_list is None and not variables:
        # A graph without collections still has the operations of its variables.
        variables = [op.outputs[0] for op in graph.get_operations() if op.type in REF_TYPES]
    with graph.name_scope(name):
        are_initialized = [is_variable_initialized(variable) for variable in variables]
        return names_of_missing([variable.op.name for variable in variables], are_initialized)


def names_of_missing(names: Sequence[str], are_there: Sequence[Tensor]) -> Tensor:
    """Of these names, those of which the tensor says False."""
    with get_default_graph().device("/cpu:0"):
        if not names:
            return constant([], DataType.DT_STRING)
        are_missing = tensor("LogicalNot", [stack(are_there)])
        return boolean_mask(constant(list(names)), are_missing)


def model_variables(scope: str | None = None) -> list[Any]:
    """The variables that a model uses to infer."""
    return get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES, scope)


def get_local_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = False,
    collections: Iterable[Any] | None = None,
    **options: Any,
) -> Any:
    """`get_variable` for one that is neither trained nor saved.

    Args:
        collections: Where it is listed besides the local variables.
        options: The other arguments of `get_variable`.
    """
    keys = [*(collections or ()), GraphKeys.LOCAL_VARIABLES]
    return get_variable(name, shape, dtype, initializer, regularizer, False, keys, **options)


def is_variable_initialized(ref: Any, name: str | None = None) -> Tensor:
    if isinstance(ref, Tensor):
        return tensor("IsVariableInitialized", [ref], None, name)
    return ref.is_initialized(name)  # type: ignore[no-any-return]
