"""Freezing: a graph in which variables have become constants, and the parts of it that are needed.

Kept is what the outputs need by inputs, control inputs and colocation, in the order of the graph.
What reads a variable becomes an Identity or gathers from a constant; what hands one on hands on a
tensor; a function that is given one is cloned (`freezing_nodes`).

Source: tensorflow/python/framework/graph_util_impl.py, convert_to_constants.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import saver_operations
from ckptmgr.graph.freezing_nodes import Freezing
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.node_order import parse_input
from ckptmgr.graph.object_names import keys_by_name
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.restore_functions import stored_variables
from ckptmgr.graph.tensor_values import as_array, encode_tensor

_VARIABLES = frozenset({"Variable", "VariableV2", "AutoReloadVariable", "VarHandleOp"})
_REMOVED = frozenset({"CheckNumerics"})
_SPLICED = frozenset({"Identity", "StopGradient"})


def convert_variables_to_constants(
    sess: Any,
    input_graph_def: GraphDef,
    output_node_names: Sequence[str],
    variable_names_whitelist: Iterable[str] | None = None,
    variable_names_blacklist: Iterable[str] | None = None,
) -> GraphDef:
    """The part of a graph that its outputs need, with constants in place of variables.

    Args:
        sess: A session whose variables have the values; or these by the names of the variables.
        variable_names_whitelist: Freeze these only.
        variable_names_blacklist: Leave these as they are.
    Raises:
        NodeNotFound: The graph has no such output.
        TensorNotFound: A variable has no value.
        DtypeMismatch, UnsupportedDtype: Its value is of another dtype, or no array can hold it.
        InvalidGraph: Something else than reading is done with a variable that is to be frozen.
    """
    needed = extract_sub_graph(input_graph_def, output_node_names)
    frozen = [
        node
        for node in needed.node
        if node.op in _VARIABLES
        and (variable_names_whitelist is None or node.name in variable_names_whitelist)
        and (variable_names_blacklist is None or node.name not in variable_names_blacklist)
    ]
    values = sess if isinstance(sess, Mapping) else _values_of_session(sess, frozen)
    return Freezing(needed, {node.name: _constant(node, values) for node in frozen}).result()


def _constant(node: NodeDef, values: Mapping[str, Any]) -> NodeDef:
    if node.name not in values:
        raise errors.TensorNotFound(
            f"there is no value for variable {node.name!r}.{errors.near_misses(node.name, values)}"
        )
    held = dtypes.to_numpy(node.attr["dtype"].type)
    dtype = DataType(node.attr["dtype"].type)
    value = values[node.name]
    is_array = isinstance(value, np.ndarray | np.generic)
    array, _ = as_array(value) if is_array else as_array(value, dtype)
    if array.dtype != held:
        raise errors.DtypeMismatch(
            f"variable {node.name!r} is {dtypes.name(dtype)}, its value {array.dtype}"
        )
    constant = NodeDef(name=node.name, op="Const", device=node.device)
    constant.attr["dtype"].type = int(dtype)  # type: ignore[assignment]
    constant.attr["value"].tensor.CopyFrom(encode_tensor(array, dtype))
    return constant


def _values_of_session(sess: Any, variables: Sequence[NodeDef]) -> dict[str, Any]:
    graph: Graph = sess.graph
    reads = [_reading(graph, graph.get_operation_by_name(node.name)) for node in variables]
    fetched = sess.run(reads) if reads else []
    return {node.name: value for node, value in zip(variables, fetched, strict=True)}


def _reading(graph: Graph, variable: Operation) -> Any:
    """The tensor that gives the value of a variable."""
    output = variable.outputs[0]
    if variable.type != "VarHandleOp":
        return output
    beside = f"{variable.name}/Read/ReadVariableOp"
    if beside in graph._operations:
        return graph._operations[beside].outputs[0]
    reads = (op for op in output.consumers() if op.type == "ReadVariableOp")
    read = next((op for op in reads if not op.control_inputs), None)
    if read is None:
        attrs = {"dtype": variable.get_attr("dtype")}
        with graph.control_dependencies(None):
            read = graph.create_op("ReadVariableOp", [output], attrs, f"{variable.name}/Read/")
    return read.outputs[0]


# --------------------------------------------------------------------------- without a session


def freeze_checkpoint(
    graph_def: GraphDef,
    checkpoint: str,
    output_node_names: Sequence[str],
    *,
    saver_def: SaverDef | None = None,
    variable_names_whitelist: Iterable[str] | None = None,
    variable_names_blacklist: Iterable[str] | None = None,
) -> GraphDef:
    """`convert_variables_to_constants` with the values of a checkpoint.

    Args:
        saver_def: Names the operations of the graph that restore it, which say under which names
            its variables are stored; under their own where it is None.
    """
    with CheckpointReader(checkpoint) as reader:
        restored = {} if saver_def is None else _restored(graph_def, saver_def, reader)
        return convert_variables_to_constants(
            _Stored(reader, restored),
            graph_def,
            output_node_names,
            variable_names_whitelist,
            variable_names_blacklist,
        )


class _Stored(Mapping[str, Any]):
    """The values of variables in a checkpoint, read when they are asked for.

    Args:
        restored: Those that are known already.
    """

    def __init__(self, reader: CheckpointReader, restored: Mapping[str, Any]) -> None:
        self._reader = reader
        self._restored = restored
        names = reader.get_variable_to_shape_map()
        self._keys = {name: name for name in names} | (keys_by_name(reader) or {})

    def __getitem__(self, name: str) -> Any:
        if name in self._restored:
            return self._restored[name]
        return self._reader.get_tensor(self._keys[name])

    def __contains__(self, name: object) -> bool:
        return name in self._restored or name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter({**self._restored, **self._keys})

    def __len__(self) -> int:
        return len({**self._restored, **self._keys})


def _restored(graph_def: GraphDef, saver_def: SaverDef, reader: CheckpointReader) -> dict[str, Any]:
    """What the restore operations of a graph would give its variables."""
    by_function = stored_variables(graph_def, saver_def.restore_op_name)
    if by_function:
        return {
            found.variable: saver_operations.read_stored(reader, found.key, found.slice_spec)
            for found in by_function
            if reader.has_tensor(found.key)
        }
    graph = Graph()
    import_graph_def(graph_def, name="", graph=graph)
    restore_op = graph.get_operation_by_name(saver_def.restore_op_name)
    stored = reader.get_variable_to_shape_map()
    return {
        variable.name: saver_operations.read_stored(reader, read.name, read.slice_spec)
        for read in saver_operations.find_reads(restore_op)
        if read.name in stored
        for variable in saver_operations.restored_variables(read)
    }


# --------------------------------------------------------------------------- parts of a graph


def extract_sub_graph(graph_def: GraphDef, dest_nodes: Sequence[str]) -> GraphDef:
    """The nodes that some nodes need, in the order of the graph.

    Raises:
        DestinationNotFound: The graph has no node of one of these names.
    """
    if not isinstance(graph_def, GraphDef):
        raise errors.GraphTypeError(
            f"graph_def must be a GraphDef, found {type(graph_def).__name__}"
        )
    if isinstance(dest_nodes, str):
        raise errors.GraphTypeError("dest_nodes must be an iterable of strings")
    sources = {node.name: _sources(node) for node in graph_def.node}
    for name in dest_nodes:
        if name not in sources:
            raise errors.DestinationNotFound(
                f"{name} is not in graph.{errors.near_misses(name, sources)}"
            )
    needed: set[str] = set()
    pending = list(dest_nodes)
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(source for source in sources[name] if source in sources)
    part = GraphDef(
        node=[node for node in graph_def.node if node.name in needed], versions=graph_def.versions
    )
    part.library.CopyFrom(graph_def.library)
    return part


def _sources(node: NodeDef) -> list[str]:
    """The names of the nodes that a node takes, waits for, or is placed with."""
    names = [parse_input(text, node.name).name for text in node.input]
    if "_class" in node.attr:
        names.extend(
            group[len(b"loc:@") :].decode("utf-8", "replace")
            for group in node.attr["_class"].list.s
            if group.startswith(b"loc:@")
        )
    return names


def must_not_be_spliced(nodes: Iterable[NodeDef]) -> set[str]:
    """The names of nodes that wait for others, are waited for, or that others are placed with."""
    kept: set[str] = set()
    for node in nodes:
        waits = [text[1:] for text in node.input if text.startswith("^")]
        kept.update(waits)
        if waits:
            kept.add(node.name)
        if "_class" in node.attr:
            kept.update(
                group.removeprefix(b"loc:@").decode("utf-8", "replace")
                for group in node.attr["_class"].list.s
            )
    return kept


def remove_training_nodes(
    input_graph: GraphDef, protected_nodes: Sequence[str] | None = None
) -> GraphDef:
    """A graph without the nodes that only check or hand on: CheckNumerics, Identity, StopGradient.

    Args:
        protected_nodes: Names of nodes that stay, such as the outputs.
    """
    protected = set(protected_nodes or ())
    removed = {
        node.name for node in input_graph.node if node.op in _REMOVED and node.name not in protected
    }
    left = GraphDef(versions=input_graph.versions, library=input_graph.library)
    for node in input_graph.node:
        if node.name not in removed:
            kept = left.node.add()
            kept.CopyFrom(node)
            # As TensorFlow, which takes such a node for a check beside the tensor.
            kept.input[:] = [text for text in node.input if _name(text) not in removed]
    fixed = protected | must_not_be_spliced(left.node)
    spliced = {
        node.name: node.input[0]
        for node in left.node
        if node.op in _SPLICED and node.name not in fixed and node.input
    }
    result = GraphDef(versions=input_graph.versions)
    if input_graph.HasField("library"):
        result.library.CopyFrom(input_graph.library)
    known: dict[str, str] = {}
    for node in left.node:
        if node.name not in spliced:
            kept = result.node.add()
            kept.CopyFrom(node)
            kept.input[:] = [_behind(text, spliced, known) for text in node.input]
    return result


def _name(text: str) -> str:
    return text.removeprefix("^")


def _behind(text: str, spliced: Mapping[str, str], known: dict[str, str]) -> str:
    """The input that stands behind the nodes that are left out.

    Args:
        known: What was found for others, so that no chain of nodes is followed twice.
    """
    seen: set[str] = set()
    while (name := _name(text)) in spliced:
        if name in seen:
            raise errors.InvalidGraph(f"nodes {sorted(seen)[:5]} hand a tensor on in a circle")
        seen.add(name)
        text = known.get(name, spliced[name])
    known.update(dict.fromkeys(seen, text))
    return text
