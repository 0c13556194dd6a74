"""Moving averages of variables, each kept in a variable beside the one it follows.

The average of `v` is `v/ExponentialMovingAverage`; each run of the operation that `apply` gives
does average -= (1 - decay) * (average - value).

Source: tensorflow/python/training/moving_averages.py, slot_creator.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.grouping import group
from ckptmgr.graph.initializers import Zeros
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.variable_scopes import get_variable_scope, variable_scope
from ckptmgr.graph.variables import (
    RefVariable,
    ResourceVariable,
    Variable,
    global_variables,
    moving_average_variables,
    trainable_variables,
)

_AVERAGED = ("bfloat16", "float16", "float32", "float64")
_HANDLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})


class ExponentialMovingAverage:
    """Keeps exponential moving averages of variables and tensors.

    Args:
        decay: Near 1: how much of the average stays at each update.
        num_updates: How many updates there were; then the decay is at most
            (1 + num_updates) / (10 + num_updates), so that it moves faster at the start.
        zero_debias: Of tensors, whose average begins at zero, correct the bias towards it.
        name: What the names of averages end in.
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Any, Variable] = {}
        self._debiased: set[Any] = set()

    @property
    def name(self) -> str:
        return self._name

    def apply(self, var_list: Sequence[Any] | None = None) -> Operation:
        """Add averages of variables or tensors; returns what updates them.

        Args:
            var_list: The trainable variables where it is None.
        """
        followed = trainable_variables() if var_list is None else list(var_list)
        for item in followed:
            if item.dtype.base_dtype.name not in _AVERAGED:
                raise errors.GraphTypeError(
                    f"The variables must be half, float, or double: {item.name}"
                )
            if item not in self._averages:
                self._averages[item] = self._add_average(item)
        graph = followed[0].graph if followed else get_default_graph()
        with graph.as_default(), graph.name_scope(self._name) as scope:
            decay = self._current_decay(graph)
            updates = [
                _update(self._averages[item], item, decay, debias=item in self._debiased)
                for item in followed
            ]
            return group(graph, updates, scope)

    def _add_average(self, item: Any) -> Variable:
        graph: Graph = item.graph
        with graph.as_default(), graph.control_dependencies(None):
            if isinstance(item, Variable):
                with graph.device(item.device):
                    initial = item.initialized_value()
                average = _add_slot(item, self._name, initial)
                graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, item)
                return average
            if self._zero_debias:
                self._debiased.add(item)
            return _add_slot(item, self._name, None)

    def _current_decay(self, graph: Graph) -> Tensor:
        decay = as_tensor(self._decay, "float32", "decay", graph=graph)
        if self._num_updates is None:
            return decay
        updates = _cast(graph, self._num_updates, "float32", "num_updates")
        rate = _binary(
            "RealDiv",
            _binary("AddV2", 1.0, updates, "add"),
            _binary("AddV2", 10.0, updates, "add"),
            "truediv",
        )
        return _binary("Minimum", decay, rate, "Minimum")

    def average(self, var: Any) -> Variable | None:
        """The variable that holds the average; None if none is kept."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """The name of that variable, also before `apply` was called."""
        average = self._averages.get(var)
        if average is not None:
            return average.op.name
        name = f"{var.op.name}/{self._name}"
        return str(var.graph.unique_name(name, mark_as_used=False))

    def variables_to_restore(
        self, moving_avg_variables: Sequence[Variable] | None = None
    ) -> dict[str, Variable]:
        """Names and variables for a Saver that restores averages in place of the values.

        Args:
            moving_avg_variables: Those of which there are averages; the trainable ones, and those
                that `apply` was given, where it is None.
        """
        if moving_avg_variables is None:
            moving_avg_variables = [*trainable_variables(), *moving_average_variables()]
        averaged = dict.fromkeys(moving_avg_variables)
        by_name = {self.average_name(variable): variable for variable in averaged}
        names = {variable.name for variable in averaged}
        for variable in global_variables():
            if variable.name not in names:
                by_name.setdefault(variable.op.name, variable)
        return by_name


# --------------------------------------------------------------------------- the variable


def _add_slot(item: Any, name: str, initial: Tensor | None) -> Variable:
    """A variable that follows another variable, or a tensor, named after it."""
    graph: Graph = item.graph
    kinds = {"RefVariable": False, "ResourceVariable": True}
    use_resource = None
    if isinstance(item, RefVariable | ResourceVariable):
        use_resource = kinds["ResourceVariable" if item.is_resource else "RefVariable"]
    with variable_scope(None, f"{item.op.name}/{name}"):
        get_variable_scope().set_partitioner(None)
        colocates = isinstance(item, Variable) or item.op.type in _HANDLES
        placed = graph.colocate_with(item.op) if colocates else graph.control_dependencies([])
        with placed:
            if initial is not None:
                slot = get_variable(
                    "",
                    initializer=initial,
                    trainable=False,
                    use_resource=use_resource,
                    validate_shape=initial.shape.is_fully_defined(),
                )
            else:
                slot = get_variable("", item.shape, item.dtype.base_dtype, Zeros(), trainable=False)
    info = item._get_save_slice_info() if isinstance(item, Variable) else None
    if info is not None:
        own_name = slot.op.name.removeprefix(f"{item.op.name}/")
        slot._set_save_slice_info(
            Variable.SaveSliceInfo(
                f"{info.full_name}/{own_name}", info.full_shape, info.var_offset, info.var_shape
            )
        )
    return slot  # type: ignore[no-any-return]


# --------------------------------------------------------------------------- the update


def _update(average: Variable, item: Any, decay: Tensor, *, debias: bool) -> Operation:
    graph = average.graph
    with graph.name_scope("AssignMovingAvg") as scope:
        rest = _binary("Sub", 1.0, decay, "sub")
        if rest.dtype != average.dtype.base_dtype:
            rest = _cast(graph, rest, average.dtype.base_dtype, "Cast")
        if debias:
            return _debiased_update(average, item, rest, scope)
        change = _binary("Mul", _binary("Sub", average, item, "sub"), rest, "mul")
        name = None if isinstance(average, ResourceVariable) else scope
        return _operation(average.assign_sub(change, name=name))


def _debiased_update(average: Variable, item: Any, rest: Tensor, scope: str) -> Operation:
    """Keep the biased average beside, and divide it by the weight that was given out so far."""
    with variable_scope(average.op.name):
        dtype = average.dtype.base_dtype
        options: dict[str, Any] = {"initializer": Zeros(), "trainable": False}
        biased = get_variable(_free_name("biased"), average.shape, dtype, **options)
        local_step = get_variable(_free_name("local_step"), (), dtype, **options)
        change = _binary("Mul", _binary("Sub", biased, item, "sub"), rest, "mul")
        updated = as_tensor(biased.assign_sub(change))
        steps = as_tensor(local_step.assign_add(1.0))
        kept = _binary("Pow", _binary("Sub", 1.0, rest, "sub"), steps, "Pow")
        weight = _binary("Sub", 1.0, kept, "sub")
        debiased = _binary("RealDiv", updated, weight, "truediv")
        name = None if isinstance(average, ResourceVariable) else scope
        return _operation(average.assign(debiased, name=name))


def _free_name(name: str) -> str:
    scope = get_variable_scope()
    taken = {variable.op.name for variable in scope.global_variables()}
    candidate, number = name, 0
    while f"{scope.name}/{candidate}" in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _operation(changed: Any) -> Operation:
    return changed.op  # type: ignore[no-any-return]


def _binary(op_type: str, first: Any, second: Any, name: str) -> Tensor:
    """An operation on two values of one dtype; a number takes the other's."""
    if isinstance(first, Variable):
        first = as_tensor(first)
    graph = first.graph if isinstance(first, Tensor) else second.graph
    with graph.name_scope(name) as scope:
        dtype = (first if isinstance(first, Tensor) else second).dtype.base_dtype
        left = as_tensor(first, dtype, "x", graph=graph)
        right = as_tensor(second, dtype, "y", graph=graph)
        return create_op(graph, op_type, [left, right], name=scope).outputs[0]


def _cast(graph: Graph, value: Any, dtype: Any, name: str) -> Tensor:
    with graph.name_scope(name) as scope:
        tensor = as_tensor(value, name="x", graph=graph)
        attrs = {"DstT": as_dtype(dtype)}
        return create_op(graph, "Cast", [tensor], attrs, scope).outputs[0]
