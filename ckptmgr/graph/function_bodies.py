"""The bodies of functions, as nodes for the executor.

A body is read from its FunctionDef once for each set of attributes that the function is called
with. In it, an input "x:out:1" names the second tensor of the output `out` of the node x, and "x"
an argument.

Source: tensorflow/core/framework/function.proto, tensorflow/core/framework/function.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.attributes import decode_attr
from ckptmgr.graph.bodies import Node, Port, default_attr
from ckptmgr.graph.construction import OutputBudget, argument_types

#: The type of the nodes that stand for the arguments of a function.
ARGUMENT = "_Arg"


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
            self._values[name] = (
                decode_attr(attrs[name]) if name in attrs else default_attr(self, name)
            )
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
        self._budget = OutputBudget(function.node_def)
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
        message = complete(node._node, node.op_def)
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
            types = argument_types(argument, message)
            self._budget.take(argument.name, len(types))
            for number, dtype in enumerate(types):
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
                count = len(argument_types(argument, complete(message, node.op_def)))
                ranges[argument.name] = range(start, start + count)
                start += count
            self._budget.take(node.name, start)
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


def complete(message: NodeDef, op_def: OpDef) -> NodeDef:
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
