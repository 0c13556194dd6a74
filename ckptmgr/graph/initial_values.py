"""Initial values that depend on other variables.

Those need not have been initialized when they are read, as all initializers run at once. So an
initial value is built again on top of "the value, or the initial value where there is none" of
each variable of references that it takes.

Source: tensorflow/python/ops/variables.py (_try_guard_against_uninitialized_dependencies).
"""

from __future__ import annotations

from typing import Any

from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph.attributes import FunctionName, encode_attr
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor

_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
#: What tells or chooses already whether a variable is initialized, or reads a resource.
_SAFE = frozenset({"IsVariableInitialized", "VarIsInitializedOp", "ReadVariableOp", "If"})


def value_or_initial_value(variable: Tensor, initial_value: Tensor) -> Tensor:
    """The value of a variable, or its initial value while it has none."""
    graph = variable.graph
    is_resource = variable.op.type == "VarHandleOp"
    test = "VarIsInitializedOp" if is_resource else "IsVariableInitialized"
    is_initialized = create_op(graph, test, [variable]).outputs[0]
    with graph.name_scope("cond") as scope:
        names = _add_branches(graph, scope, variable, initial_value)
        attrs: dict[str, Any] = {
            "Tout": [initial_value.dtype.base_dtype],
            "then_branch": FunctionName(names[0]),
            "else_branch": FunctionName(names[1]),
            "output_shapes": [initial_value.partial_shape],
            "_lower_using_switch_merge": True,
        }
        op_type = "If" if is_resource else "StatelessIf"
        inputs: list[Any] = [is_initialized, [variable, initial_value]]
        chosen = create_op(graph, op_type, inputs, attrs, scope).outputs[0]
        return create_op(graph, "Identity", [chosen]).outputs[0]


def _add_branches(
    graph: Graph, scope: str, variable: Tensor, initial_value: Tensor
) -> tuple[str, str]:
    """Add the two functions that are chosen between, and give their names."""
    stem = scope.strip("/").replace("/", "_").replace(".", "_").replace("-", "_")
    names = f"{stem}_true_{graph.version}", f"{stem}_false_{graph.version}"
    kind = int(initial_value.dtype.base_dtype)
    taken = int(variable.dtype.base_dtype)
    for name, argument in zip(names, ("variable", "initial"), strict=True):
        source = argument
        function = FunctionDef(
            signature=OpDef(
                name=name,
                input_arg=[
                    OpDef.ArgDef(name="variable", type=taken),  # type: ignore[arg-type]
                    OpDef.ArgDef(name="initial", type=kind),  # type: ignore[arg-type]
                ],
                output_arg=[OpDef.ArgDef(name="output", type=kind)],  # type: ignore[arg-type]
            )
        )
        if argument == "variable" and variable.op.type == "VarHandleOp":
            function.signature.is_stateful = True
            read = function.node_def.add(name="read", op="ReadVariableOp", input=["variable"])
            read.attr["dtype"].CopyFrom(encode_attr(kind, "type"))
            source = "read:value:0"
        node = function.node_def.add(name="value", op="Identity", input=[source])
        node.attr["T"].CopyFrom(encode_attr(kind, "type"))
        function.ret["output"] = "value:output:0"
        graph.functions[name] = function
    return names


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
    attrs = {name: op.attr_value(name) for name in op._node.attr}
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
