"""Making operations of the nodes of a GraphDef.

Everything is made and checked beside the graph first, and added to it last: a message that is
wrong anywhere changes nothing. Nothing here goes deeper with the message, and what is made is in
proportion to its size.

Source: tensorflow/core/common_runtime/graph_constructor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef, GradientDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef, OpList
from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import op_defs
from ckptmgr.graph.attributes import check_allowed, is_of_kind
from ckptmgr.graph.construction import OutputBudget, can_feed, input_types, output_types
from ckptmgr.graph.devices import DeviceSpec
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.node_order import Source, in_order, parse_input
from ckptmgr.graph.operation import Operation, Tensor, check_operation_name
from ckptmgr.graph.shapes import infer_shapes
from ckptmgr.graph.tensor_shape import decode_partial_shape, merge

_OUTPUT_SHAPES = "_output_shapes"
_COLOCATION = b"loc:@"


class Import:
    """One import of one message.

    Args:
        scope: What new names begin with, "/" included; empty for the message's own names.
    """

    def __init__(
        self, graph: Graph, graph_def: GraphDef, scope: str, input_map: Mapping[str, Any]
    ) -> None:
        self._graph = graph
        self._graph_def = graph_def
        self._scope = scope
        self._nodes = _by_name(graph_def)
        self._mapped = self._resolve_input_map(input_map)
        self._functions = self._check_functions()
        self._names = {name: self._new_name(name) for name in self._nodes}
        self._made: dict[str, Operation] = {}
        self._budget = OutputBudget(graph_def.node)

    def run(self, return_elements: Sequence[str] | None) -> list[Tensor | Operation] | None:
        """Add everything to the graph, and give what is asked for."""
        for element in return_elements or ():
            if not isinstance(element, str):
                raise errors.GraphTypeError(
                    f"return_elements must be a list of strings, found {element!r}"
                )
        sources = {
            name: [parse_input(text, name) for text in node.input]
            for name, node in self._nodes.items()
        }
        for name in in_order(self._nodes, sources, self._mapped):
            self._made[name] = self._make(self._nodes[name])
        unknown = [op for op in self._made.values() if op.op_def is None]
        if unknown:
            self._add_outputs(sources, return_elements or ())
        try:
            for name, op in self._made.items():
                self._connect(op, sources[name])
            for op in self._made.values():
                self._set_shapes(op)
            returned = self._find(return_elements)
        except errors.GraphError:
            self._disconnect()
            raise
        self._commit()
        return returned

    # ----------------------------------------------------------------- before anything is made

    def _resolve_input_map(self, input_map: Mapping[str, Any]) -> dict[Source, Any]:
        if not isinstance(input_map, Mapping):
            raise errors.GraphTypeError(
                f"input_map must be a dict of names and tensors, found {type(input_map).__name__}"
            )
        mapped: dict[Source, Any] = {}
        missing = []
        for key, value in input_map.items():
            if not isinstance(key, str):
                raise errors.GraphTypeError(f"a key of input_map must be a string, found {key!r}")
            source = parse_input(key)
            if source.name not in self._nodes:
                missing.append(key)
            element = self._graph.as_graph_element(value)
            if source.output is None:
                mapped[source] = element.op if isinstance(element, Tensor) else element
            elif isinstance(element, Tensor):
                mapped[source] = element
            else:
                raise errors.GraphTypeError(f"input_map[{key!r}] must be a tensor, found {value!r}")
        if missing:
            raise errors.NodeNotFound(
                f"Attempted to map inputs that were not found in graph_def: {missing}"
            )
        return mapped

    def _check_functions(self) -> dict[str, FunctionDef]:
        functions: dict[str, FunctionDef] = {}
        for function in self._graph_def.library.function:
            name = function.signature.name
            if op_defs.find(name) is not None:
                raise errors.InvalidGraph(
                    f"cannot add function {name!r}: a type of operation has that name"
                )
            known = functions.get(name) or self._graph.functions.get(name)
            if known is not None and known != function:
                raise errors.InvalidGraph(
                    f"cannot add function {name!r}: a different one of that name is there already"
                )
            functions[name] = function
        return functions

    # ----------------------------------------------------------------- making

    def _make(self, node: NodeDef) -> Operation:
        op_def = self._op_def(node.op)
        copy = NodeDef()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.name = self._names[node.name]
        if "_class" in copy.attr:
            groups = copy.attr["_class"].list.s
            groups[:] = [self._renamed_group(group) for group in groups]
        try:
            copy.device = DeviceSpec.from_string(node.device).to_string()
        except errors.GraphError as error:
            raise errors.InvalidGraph(f"Node {node.name!r}: {error}") from None
        if op_def is None:
            return Operation(self._graph, copy, None, ())
        self._fill_defaults(node, copy, op_def)
        types = output_types(op_def, copy)
        self._budget.take(node.name, len(types))
        return Operation(self._graph, copy, op_def, types)

    def _fill_defaults(self, node: NodeDef, copy: NodeDef, op_def: OpDef) -> None:
        for definition in op_def.attr:
            if definition.name in copy.attr:
                _check_kind(node, definition)
            elif definition.HasField("default_value"):
                copy.attr[definition.name].CopyFrom(definition.default_value)
            else:
                raise errors.InvalidGraph(
                    f"Node {node.name!r} ({node.op}) must have the attribute "
                    f"{definition.name!r}, found none"
                )

    def _renamed_group(self, group: bytes) -> bytes:
        name = group.removeprefix(_COLOCATION).decode("utf-8", "replace")
        if not group.startswith(_COLOCATION) or name not in self._names:
            return group
        return _COLOCATION + self._names[name].encode()

    def _op_def(self, op_type: str) -> OpDef | None:
        function = self._functions.get(op_type)
        return self._graph.op_def_for_type(op_type) if function is None else function.signature

    def _new_name(self, name: str) -> str:
        if self._scope:
            # The scope is new, or the user's to fill: within it the names are those of the message.
            name = self._scope + name
        taken = self._graph._operations
        candidate, number = name, 0
        while candidate in taken or (number and candidate.removeprefix(self._scope) in self._nodes):
            number += 1
            candidate = f"{name}_{number}"
        return candidate

    def _add_outputs(
        self, sources: Mapping[str, list[Source]], return_elements: Sequence[str]
    ) -> None:
        """Give operations of unknown types the outputs that somebody takes or that they state."""
        counts: dict[str, int] = {}
        taken = [source for several in sources.values() for source in several]
        taken += [parse_input(name) for name in return_elements if ":" in name]
        for source in taken:
            if source.output is not None and source not in self._mapped:
                counts[source.name] = max(counts.get(source.name, 0), source.output + 1)
        for name, op in self._made.items():
            if op.op_def is not None:
                continue
            attrs = self._nodes[name].attr
            stated = len(attrs[_OUTPUT_SHAPES].list.shape) if _OUTPUT_SHAPES in attrs else 0
            count = max(stated, counts.get(name, 0))
            self._budget.take(name, count)
            op._outputs = [Tensor(op, index, DataType.DT_INVALID) for index in range(count)]

    def _connect(self, op: Operation, sources: list[Source]) -> None:
        inputs: list[Tensor] = []
        controls: dict[Operation, None] = {}
        for source in sources:
            if source.output is None:
                given = self._mapped.get(source)
                controls[self._made[source.name] if given is None else given] = None
            elif controls:
                raise errors.InvalidGraph(
                    f"node {op.name!r} has a control input in front of an input"
                )
            else:
                inputs.append(self._tensor(source, op.name))
        _check_inputs(op, inputs)
        op._connect(inputs, list(controls))

    def _tensor(self, source: Source, taker: str) -> Tensor:
        if source in self._mapped:
            mapped: Tensor = self._mapped[source]
            return mapped
        outputs = self._made[source.name].outputs
        assert source.output is not None
        if source.output >= len(outputs):
            raise errors.InvalidGraph(
                f"Node {taker!r}: Connecting to invalid output {source.output} of source node "
                f"{source.name} which has {len(outputs)} outputs."
            )
        return outputs[source.output]

    def _set_shapes(self, op: Operation) -> None:
        try:
            infer_shapes(op)
        except errors.GraphError as error:
            # A graph whose shapes contradict each other can still be looked at, and fails when it
            # runs; a constant that is none says nothing to anybody.
            if op.type == "Const":
                raise errors.InvalidGraph(str(error)) from None
        if not op.has_attr(_OUTPUT_SHAPES):
            return
        stated = op.attr_value(_OUTPUT_SHAPES).list.shape
        for tensor, message in zip(op.outputs, stated, strict=False):
            shape = decode_partial_shape(message)
            try:
                tensor._shape = merge(tensor._shape, shape)
            except errors.GraphError:
                # What follows from the operation itself is worth more than what a writer noted.
                continue
        # It says what the tensors now know; an export writes it anew.
        if op.op_def is not None:
            del op._node.attr[_OUTPUT_SHAPES]

    # ----------------------------------------------------------------- adding

    def _commit(self) -> None:
        graph = self._graph
        is_first = graph.version == 0
        for name, function in self._functions.items():
            graph.functions.setdefault(name, FunctionDef()).CopyFrom(function)
        for gradient in self._graph_def.library.gradient:
            if gradient not in graph.function_gradients:
                graph.function_gradients.append(
                    GradientDef.FromString(gradient.SerializeToString())
                )
        self._merge_versions(is_first=is_first)
        for op in self._made.values():
            graph._add(op)
        graph._imported.update(self._made.values())
        self._place()

    def _merge_versions(self, *, is_first: bool) -> None:
        mine, theirs = self._graph.graph_def_versions, self._graph_def.versions
        if is_first:
            mine.CopyFrom(theirs)
            return
        merged = VersionDef(
            producer=min(mine.producer, theirs.producer),
            min_consumer=max(mine.min_consumer, theirs.min_consumer),
            bad_consumers=sorted({*mine.bad_consumers, *theirs.bad_consumers}),
        )
        mine.CopyFrom(merged)

    def _place(self) -> None:
        """Apply the devices around the import; what is colocated goes where the other one is."""
        colocated = []
        for op in self._made.values():
            names = op.colocated_with()
            if names:
                colocated.append((op, names))
                op._clear_device()
            else:
                self._graph._placement.apply_devices(op)
        for op, names in colocated:
            others = (self._graph._operations.get(name) for name in names)
            device = next((other.device for other in others if other and other.device), "")
            if device:
                op._set_device(device)

    def _disconnect(self) -> None:
        """Let nothing that stays know of what is given up."""
        made = set(self._made.values())
        for element in self._mapped.values():
            if isinstance(element, Tensor):
                element._consumers = [op for op in element._consumers if op not in made]

    def _find(self, return_elements: Sequence[str] | None) -> list[Tensor | Operation] | None:
        if return_elements is None:
            return None
        found: list[Tensor | Operation] = []
        for name in return_elements:
            source = parse_input(name)
            op = self._made.get(source.name)
            if op is None:
                raise errors.NodeNotFound(
                    f"Requested return node {source.name!r} not found in graph def."
                    f"{errors.near_misses(source.name, self._made)}"
                )
            if ":" not in name:
                found.append(op)
            else:
                found.append(self._tensor(source, "return_elements"))
        return found


def _by_name(graph_def: GraphDef) -> dict[str, NodeDef]:
    nodes: dict[str, NodeDef] = {}
    for node in graph_def.node:
        if node.name in nodes:
            raise errors.InvalidGraph(f"Node {node.name!r} is not unique")
        try:
            check_operation_name(node.name)
        except errors.GraphError as error:
            raise errors.InvalidGraph(str(error)) from None
        nodes[node.name] = node
    return nodes


def _check_kind(node: NodeDef, definition: OpDef.AttrDef) -> None:
    value = node.attr[definition.name]
    if not is_of_kind(value, definition.type):
        raise errors.InvalidGraph(
            f"attribute {definition.name!r} of node {node.name!r} ({node.op}) must be of kind "
            f"{definition.type}, found {value.WhichOneof('value')}"
        )
    problem = check_allowed(value, definition)
    if problem:
        raise errors.InvalidGraph(
            f"attribute {definition.name!r} of node {node.name!r} ({node.op}): {problem}"
        )


def _check_inputs(op: Operation, inputs: list[Tensor]) -> None:
    """Compare the inputs with what the type takes; one of unknown type learns it from this."""
    if op.op_def is None:
        return
    wanted = input_types(op.op_def, op._node)
    if len(wanted) != len(inputs):
        raise errors.InvalidGraph(
            f"Node {op.name!r} ({op.type}) takes {len(wanted)} inputs, found {len(inputs)}"
        )
    for tensor, dtype in zip(inputs, wanted, strict=True):
        if tensor.op.op_def is None and tensor.data_type == DataType.DT_INVALID:
            tensor._data_type = dtype
        if not can_feed(tensor.data_type, dtype):
            raise errors.InvalidGraph(
                f"Node {op.name!r}: input {tensor.name!r} is {dtypes.name(tensor.data_type)}, "
                f"must be {dtypes.name(dtype)}"
            )


def strip_unknown_defaults(graph_def: GraphDef, producer: OpList) -> None:
    """Remove attributes that are not known here and have the default that the producer gave."""
    produced = {op_def.name: op_def for op_def in producer.op}
    for node in graph_def.node:
        if node.op not in produced or op_defs.find(node.op) is None:
            continue
        known = op_defs.attributes(node.op)
        for definition in produced[node.op].attr:
            is_unused = (
                definition.name in node.attr
                and definition.name not in known
                and definition.HasField("default_value")
                and node.attr[definition.name] == definition.default_value
            )
            if is_unused:
                del node.attr[definition.name]
