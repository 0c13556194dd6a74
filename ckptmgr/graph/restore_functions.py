"""Which stored tensor each variable gets, where a function restores them, as in TensorFlow 2.

StatefulPartitionedCall_4(saver_filename, handles...)   calls
  function(filename, arguments...)                      perhaps by way of others
    RestoreV2(filename, names, slices)
    AssignVariableOp(argument, Identity(RestoreV2:tensors:i))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.graph.tensor_values import decode_tensor

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# What TensorFlow writes calls one function by way of another.
_MAX_DEPTH = 10


class StoredVariable(NamedTuple):
    #: Of the operation that gives the handle.
    variable: str
    key: str
    slice_spec: str


def stored_variables(graph_def: GraphDef, restore_op_name: str) -> list[StoredVariable]:
    """What a restore operation that calls a function gives the graph's variables."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    for node in graph_def.node:
        if node.name == restore_op_name and node.op in _CALLS:
            handles = [text.partition(":")[0] for text in node.input if not text.startswith("^")]
            return list(_in_call(node, handles, functions, 0))
    return []


def _in_call(
    node: NodeDef, handles: list[str], functions: Mapping[str, FunctionDef], depth: int
) -> Iterator[StoredVariable]:
    function = functions.get(node.attr["f"].func.name)
    if function is None or depth > _MAX_DEPTH:
        return
    names = (argument.name for argument in function.signature.input_arg)
    handle_of = dict(zip(names, handles, strict=False))
    nodes = {inner.name: inner for inner in function.node_def}
    for inner in function.node_def:
        taken = [text for text in inner.input if not text.startswith("^")]
        if inner.op in _CALLS:
            passed = [handle_of.get(text, "") for text in taken]
            yield from _in_call(inner, passed, functions, depth + 1)
        elif inner.op == "AssignVariableOp" and len(taken) > 1 and taken[0] in handle_of:
            read = _read_by(taken[1], nodes)
            if read is not None:
                yield StoredVariable(handle_of[taken[0]], *read)


def _read_by(text: str, nodes: Mapping[str, NodeDef]) -> tuple[str, str] | None:
    """The name and the slice of the stored tensor that a value is; None if it is none."""
    name, _, port = text.partition(":")
    node = nodes.get(name)
    if node is not None and node.op == "Identity" and node.input:
        name, _, port = node.input[0].partition(":")
        node = nodes.get(name)
    if node is None or node.op != "RestoreV2" or len(node.input) < 3:
        return None
    index = port.partition(":")[2] or "0"
    keys, slices = (_texts(text, nodes) for text in node.input[1:3])
    if not index.isdigit() or int(index) >= min(len(keys), len(slices)):
        return None
    return keys[int(index)], slices[int(index)]


def _texts(text: str, nodes: Mapping[str, NodeDef]) -> list[str]:
    node = nodes.get(text.partition(":")[0])
    if node is None or node.op != "Const":
        return []
    values = decode_tensor(node.attr["value"].tensor).reshape(-1)
    return [value.decode("utf-8", "replace") for value in values if isinstance(value, bytes)]
