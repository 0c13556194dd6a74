"""What the executor sees of a graph and of a function's body: nodes, and which takes what.

Both look the same from here. The nodes of a graph are made when something needs them; the nodes of
a function are read from its FunctionDef once for each set of attributes that it is called with.
In a function, an input "x:out:1" names the second tensor of the output `out` of the node x, and
"x" an argument.

Source: tensorflow/core/framework/function.proto, tensorflow/core/framework/function.cc.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.attributes import decode_attr
from ckptmgr.graph.construction import argument_types
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation

#: The type of the nodes that stand for the arguments of a function.
ARGUMENT = "_Arg"


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
                operation.get_attr(name) if operation.has_attr(name) else _default(self, name)
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
            found = OperationNode(self, operation, self._place(operation))
            self._nodes[operation] = found
        return found

    def _place(self, operation: Operation) -> int:
        if operation not in self._order:
            known = len(self._order)
            fresh = itertools.islice(self.graph._operations.values(), known, None)
            self._order.update((op, number) for number, op in enumerate(fresh, start=known))
        return self._order[operation]


def _default(node: Node, name: str) -> Any:
    definition = op_defs.attributes(node.op).get(name)
    if definition is None or not definition.HasField("default_value"):
        raise errors.GraphError(
            f"{node.op} operation {node.name!r} has no attribute {name!r}"
            f"{errors.near_misses(name, node.attrs)}"
        )
    return decode_attr(definition.default_value)


# --------------------------------------------------------------------------- functions


class FunctionNode:
    """A node of a function's body, or one of its arguments."""

    __slots__ = ("_body", "_inputs", "_node", "_values", "op_def", "order")

    is_own = False

    def __init__(self, body: FunctionBody, node: NodeDef, op_def: OpDef | None, order: int) -> None:
        self._body = body
        self._node = node
        self._values: dict[str, Any] = {}
        self._inputs: tuple[list[Port], list[Node]] | None = None
        self.op_def = op_def
        self.order = order

    @property
    def name(self) -> str:
        return self._node.name

    @property
    def op(self) -> str:
        return self._node.op

    @property
    def inputs(self) -> list[Port]:
        return self._links()[0]

    @property
    def controls(self) -> list[Node]:
        return self._links()[1]

    @property
    def num_outputs(self) -> int:
        return self._body.num_outputs(self)

    @property
    def attrs(self) -> Mapping[str, AttrValue]:
        return self._node.attr

    def attr(self, name: str) -> Any:
        if name not in self._values:
            attrs = self._node.attr
            self._values[name] = decode_attr(attrs[name]) if name in attrs else _default(self, name)
        return self._values[name]

    def _links(self) -> tuple[list[Port], list[Node]]:
        if self._inputs is None:
            ports: list[Port] = []
            controls: list[Node] = []
            for text in self._node.input:
                if text.startswith("^"):
                    controls.append(self._body.find(text[1:], self.name))
                else:
                    ports.extend(self._body.ports(text, self.name))
            self._body.check_inputs(self, ports)
            self._inputs = ports, controls
        return self._inputs


class FunctionBody:
    """The nodes of a function that is called with certain attributes.

    Args:
        library: All functions, any of which may be called in the body.
        attrs: The values of the function's own attributes.
    Raises:
        InvalidGraph: The function is no sound one.
    """

    def __init__(
        self,
        function: FunctionDef,
        library: Mapping[str, FunctionDef],
        attrs: Mapping[str, AttrValue],
    ) -> None:
        signature = function.signature
        self.name = signature.name
        self._library = library
        self._attrs = {
            definition.name: attrs.get(definition.name, definition.default_value)
            for definition in signature.attr
        }
        self._nodes: dict[str, FunctionNode] = {}
        #: The ports of each output of a node, by name.
        self._outputs: dict[str, dict[str, range]] = {}
        #: The arguments, one node for each tensor, by name.
        self._arguments: dict[str, list[Port]] = {}
        self.arguments: list[Port] = []
        self._add_arguments(signature)
        for node in function.node_def:
            self._add(node)
        self.results = self._results(function)
        #: What must run, beside what the results need.
        self.effects = [self.find(name, self.name) for name in function.control_ret.values()]
        if not function.control_ret:
            self.effects = [
                node for node in self._nodes.values() if node.op_def and node.op_def.is_stateful
            ]

    def find(self, name: str, taker: str) -> FunctionNode:
        """The node of that name."""
        node = self._nodes.get(name)
        if node is None:
            raise errors.InvalidGraph(
                f"{taker!r} in function {self.name!r} names {name!r:.200}, which is no node of it"
            )
        return node

    def ports(self, text: str, taker: str) -> list[Port]:
        """What an input of a node means: one tensor, or all of a list."""
        name, *rest = text.split(":")
        if name in self._arguments:
            ports = self._arguments[name]
            index = rest[-1:] if len(rest) < 2 else None
        else:
            node = self.find(name, taker)
            outputs = self._outputs_of(node)
            if not rest or rest[0] not in outputs:
                raise self._no_tensor(text, taker)
            ports = [(node, number) for number in outputs[rest[0]]]
            index = rest[1:] if len(rest) < 3 else None
        if index is None:
            raise self._no_tensor(text, taker)
        if not index:
            return ports
        if not (index[0].isascii() and index[0].isdigit() and int(index[0][:10]) < len(ports)):
            raise self._no_tensor(text, taker)
        return [ports[int(index[0])]]

    def check_inputs(self, node: FunctionNode, ports: list[Port]) -> None:
        """Raise unless a node has as many inputs as its type takes."""
        if node.op_def is None:
            return
        message = _complete(node._node, node.op_def)
        wanted = sum(len(argument_types(part, message)) for part in node.op_def.input_arg)
        if len(ports) != wanted:
            raise errors.InvalidGraph(
                f"node {node.name!r} ({node.op}) in function {self.name!r} takes {wanted} inputs, "
                f"found {len(ports)}"
            )

    def num_outputs(self, node: FunctionNode) -> int:
        if node.op == ARGUMENT:
            return 1
        return sum(map(len, self._outputs_of(node).values()))

    def _no_tensor(self, text: str, taker: str) -> errors.InvalidGraph:
        return errors.InvalidGraph(
            f"{taker!r} in function {self.name!r} takes {text!r:.200}, which names no tensor"
        )

    def _add_arguments(self, signature: OpDef) -> None:
        message = NodeDef(name=self.name)
        for name, value in self._attrs.items():
            message.attr[name].CopyFrom(value)
        for argument in signature.input_arg:
            ports: list[Port] = []
            for number, dtype in enumerate(argument_types(argument, message)):
                # As TensorFlow names them; a list of n arguments is n of them.
                is_list = argument.number_attr or argument.type_list_attr
                name = f"{argument.name}_{number}" if is_list else argument.name
                made = NodeDef(name=name, op=ARGUMENT)
                made.attr["T"].type = int(dtype)  # type: ignore[assignment]
                node = FunctionNode(self, made, None, len(self.arguments))
                ports.append((node, 0))
                if not is_list:
                    # A node may wait for an argument, which is always there.
                    self._nodes[name] = node
            self._arguments[argument.name] = ports
            self.arguments.extend(ports)

    def _add(self, message: NodeDef) -> None:
        if message.name in self._nodes:
            raise errors.InvalidGraph(
                f"function {self.name!r} has two nodes called {message.name!r}"
            )
        called = self._library.get(message.op)
        op_def = called.signature if called is not None else op_defs.find(message.op)
        complete = self._substituted(message)
        order = len(self.arguments) + len(self._nodes)
        self._nodes[message.name] = FunctionNode(self, complete, op_def, order)

    def _substituted(self, message: NodeDef) -> NodeDef:
        """The node with the function's attributes in the places that stand for them."""
        places = [
            name
            for name, value in message.attr.items()
            if value.WhichOneof("value") == "placeholder"
        ]
        inner = [name for name, value in message.attr.items() if value.HasField("func")]
        if not places and not inner:
            return message
        complete = NodeDef()
        complete.CopyFrom(message)
        for name in places:
            self._substitute(complete.attr[name])
        for name in inner:
            for value in complete.attr[name].func.attr.values():
                if value.WhichOneof("value") == "placeholder":
                    self._substitute(value)
        return complete

    def _substitute(self, value: AttrValue) -> None:
        known = self._attrs.get(value.placeholder)
        if known is None:
            raise errors.InvalidGraph(
                f"function {self.name!r} has no attribute {value.placeholder!r:.200}"
            )
        value.CopyFrom(known)

    def _outputs_of(self, node: FunctionNode) -> dict[str, range]:
        if node.name not in self._outputs:
            if node.op_def is None:
                raise errors.KernelNotFound(
                    f"operation {node.op!r} of node {node.name!r} in function {self.name!r} is of "
                    f"a type that is not known"
                )
            message = node._node
            ranges: dict[str, range] = {}
            start = 0
            for argument in node.op_def.output_arg:
                count = len(argument_types(argument, _complete(message, node.op_def)))
                ranges[argument.name] = range(start, start + count)
                start += count
            self._outputs[node.name] = ranges
        return self._outputs[node.name]

    def _results(self, function: FunctionDef) -> list[Port]:
        results: list[Port] = []
        for argument in function.signature.output_arg:
            if argument.name not in function.ret:
                raise errors.InvalidGraph(
                    f"function {self.name!r} does not say what its output {argument.name!r} is"
                )
            results.extend(self.ports(function.ret[argument.name], self.name))
        return results


def _complete(message: NodeDef, op_def: OpDef) -> NodeDef:
    """The node with the defaults of its type."""
    missing = [
        definition
        for definition in op_def.attr
        if definition.name not in message.attr and definition.HasField("default_value")
    ]
    if not missing:
        return message
    complete = NodeDef()
    complete.CopyFrom(message)
    for definition in missing:
        complete.attr[definition.name].CopyFrom(definition.default_value)
    return complete
