"""Which stored tensor each variable gets, where a function restores them, as in TensorFlow 2.

StatefulPartitionedCall_4(saver_filename, handles...)   calls
  function(filename, arguments...)                      perhaps by way of others
    RestoreV2(filename, names, slices)
    AssignVariableOp(argument, Identity(RestoreV2:tensors:i))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.formats.dtypes import DataType

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# What TensorFlow writes calls one function by way of another; functions that call each other many
# times over could be followed for ever.
_MAX_CALLS = 1000
# More than any model has. A function that assigns very often is called very often in a few bytes.
_MAX_STORED = 2**18


class StoredVariable(NamedTuple):
    #: Of the operation that gives the handle.
    variable: str
    key: str
    slice_spec: str


def stored_variables(graph_def: GraphDef, restore_op_name: str) -> list[StoredVariable]:
    """What a restore operation that calls a function gives the graph's variables.

    Raises:
        InvalidGraph: The function calls others, or assigns, without end.
    """
    functions = {function.signature.name: function for function in graph_def.library.function}
    calls = [
        (node, [text.partition(":")[0] for text in _taken(node)])
        for node in graph_def.node
        if node.name == restore_op_name and node.op in _CALLS
    ][:1]
    stored: list[StoredVariable] = []
    # By function: one that is called a thousand times is read once.
    assigned: dict[str, list[StoredVariable]] = {}
    for node, handles in calls:  # which grow meanwhile
        called = node.attr["f"].func.name
        function = functions.get(called)
        if function is None:
            continue
        if called not in assigned:
            assigned[called] = list(_assigned(function))
        names = (argument.name for argument in function.signature.input_arg)
        handle_of = dict(zip(names, handles, strict=False))
        if len(stored) + len(assigned[called]) > _MAX_STORED:
            raise errors.InvalidGraph(
                f"the function that restores assigns more than {_MAX_STORED} variables"
            )
        stored += [
            each._replace(variable=handle_of[each.variable])
            for each in assigned[called]
            if each.variable in handle_of
        ]
        for inner in function.node_def:
            if inner.op in _CALLS:
                calls.append((inner, [handle_of.get(text, "") for text in _taken(inner)]))
                if len(calls) > _MAX_CALLS:
                    raise errors.InvalidGraph(
                        f"the function that restores calls more than {_MAX_CALLS} others"
                    )
    return stored


def _taken(node: NodeDef) -> list[str]:
    return [text for text in node.input if not text.startswith("^")]


def _assigned(function: FunctionDef) -> Iterator[StoredVariable]:
    """What a function assigns; the variable is what it is within the function."""
    nodes = {node.name: node for node in function.node_def}
    for node in function.node_def:
        taken = _taken(node)
        if node.op == "AssignVariableOp" and len(taken) > 1:
            read = _read_by(taken[1], nodes)
            if read is not None:
                yield StoredVariable(taken[0], *read)


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
    if not (index.isascii() and index.isdigit()):
        return None
    key, slice_spec = (_text(nodes, text, int(index[:10])) for text in node.input[1:3])
    return None if key is None or slice_spec is None else (key, slice_spec)


def _text(nodes: Mapping[str, NodeDef], source: str, number: int) -> str | None:
    """One of the texts in a constant vector; None if it holds no such one."""
    node = nodes.get(source.partition(":")[0])
    if node is None or node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    sizes = [dim.size for dim in tensor.tensor_shape.dim[:2]]
    if int(tensor.dtype) != DataType.DT_STRING or len(sizes) != 1 or number >= sizes[0]:
        return None
    # The last stands for all that follow, perhaps 2**50 of them: an array would be too much.
    texts = tensor.string_val
    return texts[min(number, len(texts) - 1)].decode("utf-8", "replace") if texts else ""
