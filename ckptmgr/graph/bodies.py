"""What the executor sees of a graph and of a function's body: nodes, and which takes what.

Both look the same from here. The nodes of a graph are made when something needs them; those of a
function are the business of `function_bodies`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.attributes import decode_attr
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation


class Node(Protocol):
    """A node, also as a kernel sees it. Equal only to itself."""

    @property
    def name(self) -> str: ...

    @property
    def op(self) -> str:
        """Its type."""

    @property
    def op_def(self) -> OpDef | None: ...

    @property
    def order(self) -> int:
        """Its place in the graph: of two that could run, the earlier goes first."""

    @property
    def is_own(self) -> bool:
        """Whether the program made it, and did not import it."""

    @property
    def inputs(self) -> list[Port]: ...

    @property
    def controls(self) -> list[Node]:
        """What must have run before."""

    @property
    def num_outputs(self) -> int: ...

    @property
    def attrs(self) -> Mapping[str, AttrValue]: ...

    def attr(self, name: str) -> Any: ...


#: An output of a node.
Port = tuple[Node, int]


def takes_references(
    op_def: OpDef | None, attrs: Mapping[str, AttrValue], num_inputs: int
) -> list[bool]:
    """For each input of a node, lists flattened, whether it takes a reference as it is."""
    if op_def is None:
        return []
    if not any(argument.is_ref for argument in op_def.input_arg):
        return []
    flags: list[bool] = []
    for argument in op_def.input_arg:
        count = 1
        if argument.number_attr:
            count = attrs[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(attrs[argument.type_list_attr].list.type)
        flags.extend([argument.is_ref] * min(max(count, 0), num_inputs))
    return flags


# --------------------------------------------------------------------------- the nodes of a graph


class OperationNode:
    """An operation of a graph."""

    __slots__ = ("_body", "_operation", "attr_values", "order")

    def __init__(self, body: GraphBody, operation: Operation, order: int) -> None:
        self._body = body
        self._operation = operation
        self.order = order
        #: Those that were asked for.
        self.attr_values: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self._operation.name

    @property
    def op(self) -> str:
        return self._operation.type

    @property
    def op_def(self) -> OpDef | None:
        return self._operation.op_def

    @property
    def is_own(self) -> bool:
        return self._operation not in self._operation.graph._imported

    @property
    def inputs(self) -> list[Port]:
        node = self._body.node
        return [(node(tensor.op), tensor.value_index) for tensor in self._operation.inputs]

    @property
    def controls(self) -> list[Node]:
        return [self._body.node(op) for op in self._operation.control_inputs]

    @property
    def num_outputs(self) -> int:
        return len(self._operation.outputs)

    @property
    def attrs(self) -> Mapping[str, AttrValue]:
        return self._operation._node.attr

    def attr(self, name: str) -> Any:
        if name not in self.attr_values:
            operation = self._operation
            self.attr_values[name] = (
                operation.get_attr(name) if operation.has_attr(name) else default_attr(self, name)
            )
        return self.attr_values[name]


class GraphBody:
    """The nodes of a graph, each made once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._nodes: dict[Operation, OperationNode] = {}
        self._order: dict[Operation, int] = {}

    def node(self, operation: Operation) -> OperationNode:
        found = self._nodes.get(operation)
        if found is None:
            made = OperationNode(self, operation, self._place(operation))
            # Of several threads that ask for it at once, all get the same: with two of them in one
            # plan, the operation would run twice.
            found = self._nodes.setdefault(operation, made)
        return found

    def _place(self, operation: Operation) -> int:
        if operation not in self._order:
            known = len(self._order)
            # A list at once: another thread may add operations.
            fresh = list(self.graph._operations.values())[known:]
            self._order.update((op, number) for number, op in enumerate(fresh, start=known))
        return self._order[operation]


def default_attr(node: Node, name: str) -> Any:
    """The value that an attribute has where a node does not say."""
    definition = op_defs.attributes(node.op).get(name)
    if definition is None or not definition.HasField("default_value"):
        raise errors.GraphError(
            f"{node.op} operation {node.name!r} has no attribute {name!r}."
            f"{errors.near_misses(name, node.attrs)}"
        )
    return decode_attr(definition.default_value)
