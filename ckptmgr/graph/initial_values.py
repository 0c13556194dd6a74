"""Initial values that depend on other variables.

Those need not have been initialized when they are read, as all initializers run at once. So an
initial value is built again on top of "the value, or the initial value where there is none" of
each variable of references that it takes.

Source: tensorflow/python/ops/variables.py (_try_guard_against_uninitialized_dependencies).
"""

from __future__ import annotations

from typing import Any

from ckptmgr._proto.control_flow_pb2 import CondContextDef
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.stored_messages import StoredMessage

_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
#: What tells or chooses already whether a variable is initialized, or reads a resource.
_SAFE = frozenset({"IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp", "If"})


def value_or_initial_value(variable: Tensor, initial_value: Tensor) -> Tensor:
    """The value of a variable, or its initial value while it has none.

    A switch may be given a reference to a variable without a value, which nothing else may.
    """
    graph = variable.graph
    is_resource = variable.op.type == "VarHandleOp"
    test = "VarIsInitializedOp" if is_resource else "IsVariableInitialized"
    is_initialized = create_op(graph, test, [variable]).outputs[0]
    with graph.name_scope("cond"):
        chosen = create_op(graph, "Switch", [is_initialized, is_initialized]).outputs
        pivots = [
            create_op(graph, "Identity", [chosen[branch]], name=name).outputs[0]
            for branch, name in ((1, "switch_t"), (0, "switch_f"))
        ]
        predicate = create_op(graph, "Identity", [is_initialized], name="pred_id").outputs[0]
        handed_on, value = _read_where(variable, predicate)
        with graph.colocate_with(initial_value.op, ignore_existing=True):
            switched = create_op(graph, "Switch", [initial_value, predicate]).outputs
        _note_branch(pivots[0], predicate, variable, handed_on, value, is_true=True)
        _note_branch(pivots[1], predicate, initial_value, switched[0], [switched[1]], is_true=False)
        return create_op(graph, "Merge", [[switched[0], value[0]]]).outputs[0]


def _read_where(variable: Tensor, predicate: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Read a variable where that is chosen.

    Returns:
        What hands the variable on in that case, and what comes of it, the value first.
    """
    graph = variable.graph
    if variable.op.type != "VarHandleOp":
        read = create_op(graph, "Identity", [variable], name="read")
        read._update_input(0, _switched(read, variable, "RefSwitch", predicate))
        return read.inputs[0], read.outputs
    attrs = {"dtype": variable.op.get_attr("dtype")}
    with graph.name_scope("Read"):
        read = create_op(graph, "ReadVariableOp", [variable], attrs)
    read._update_input(0, _switched(read, variable, "Switch", predicate))
    value = create_op(graph, "Identity", read.outputs).outputs[0]
    return read.inputs[0], [value, read.outputs[0]]


def _switched(taker: Operation, tensor: Tensor, op_type: str, predicate: Tensor) -> Tensor:
    """What an operation is to take instead of a tensor; named after the operation."""
    graph = tensor.graph
    with (
        graph.name_scope(f"{taker.name}/"),
        graph.colocate_with(tensor.op, ignore_existing=True),
    ):
        handed_on = create_op(graph, op_type, [tensor, predicate], name="Switch").outputs[1]
    # Whoever reads it learns the shape from the handle.
    handed_on._handle_shape = tensor._handle_shape
    return handed_on


def _note_branch(
    pivot: Tensor,
    predicate: Tensor,
    outside: Tensor,
    inside: Tensor,
    values: list[Tensor],
    *,
    is_true: bool,
) -> None:
    """Note for TensorFlow, which builds on branches, what belongs to one."""
    graph = pivot.graph
    context = CondContextDef(
        context_name=graph.unique_name("cond_text"),
        pred_name=predicate.name,
        pivot_name=pivot.name,
        branch=int(is_true),
    )
    inner = [pivot, predicate, outside, inside, *values]
    context.values_def.values.extend(sorted(tensor.name for tensor in inner))
    context.values_def.external_values[outside.name] = inside.name
    context.values_def.external_values[predicate.name] = predicate.name
    graph.add_to_collection(GraphKeys.COND_CONTEXT, StoredMessage(context, None))


def guarded_against_uninitialized(scope: str, initial_value: Tensor) -> Tensor:
    """`initial_value`, or a copy that reads initial values of variables without a value.

    Args:
        scope: Of the variable whose initial value it is.
    """
    order = _in_order(initial_value.op)
    if order is None:
        return initial_value
    rebuilt: dict[Operation, Operation] = {}
    for op in order:
        rebuilt[op] = _rebuild(scope, op, rebuilt)
    return rebuilt[initial_value.op].outputs[initial_value.value_index]


def _in_order(last: Operation) -> list[Operation] | None:
    """All that an operation takes, inputs first; None if there is a cycle."""
    order: list[Operation] = []
    is_open: dict[Operation, bool] = {}
    stack: list[tuple[Operation, bool]] = [(last, False)]
    while stack:
        op, is_done = stack.pop()
        if is_done:
            is_open[op] = False
            order.append(op)
        elif op in is_open:
            if is_open[op]:
                return None
        else:
            is_open[op] = True
            stack.append((op, True))
            if op.type not in _SAFE:
                sources = [tensor.op for tensor in op.inputs]
                stack.extend((source, False) for source in reversed(sources))
    return order


def _rebuild(scope: str, op: Operation, rebuilt: dict[Operation, Operation]) -> Operation:
    if op.type in _SAFE:
        return op
    if op.type in _VARIABLES:
        variable = _variable_of(op)
        return op if variable is None else variable.initialized_value().op
    inputs = [rebuilt[tensor.op].outputs[tensor.value_index] for tensor in op.inputs]
    if inputs == op.inputs or op.op_def is None:
        return op
    graph = op.graph
    attrs = {name: op.attr_value(name) for name in op._node.attr if name != "_class"}
    op_type = "Switch" if op.type == "RefSwitch" else op.type
    name = f"{op.name}_{scope}".replace(":", "_")
    return create_op(graph, op_type, _grouped(op, inputs), attrs, name)


def _grouped(op: Operation, inputs: list[Tensor]) -> list[Any]:
    """The inputs by argument, lists as lists."""
    assert op.op_def is not None
    grouped: list[Any] = []
    position = 0
    for argument in op.op_def.input_arg:
        if argument.number_attr:
            count = int(op.get_attr(argument.number_attr))
        elif argument.type_list_attr:
            count = len(op.get_attr(argument.type_list_attr))
        else:
            grouped.append(inputs[position])
            position += 1
            continue
        grouped.append(inputs[position : position + count])
        position += count
    return grouped


def _variable_of(op: Operation) -> Any:
    """The variable of the graph's collections that an operation is."""
    for key in (GraphKeys.GLOBAL_VARIABLES, GraphKeys.LOCAL_VARIABLES):
        for variable in op.graph.get_collection(key):
            if getattr(variable, "op", None) is op and variable.initial_value is not None:
                return variable
    return None
