"""What a MetaGraph says of itself, without running anything: signatures, operations, functions.

Source: tensorflow/python/tools/saved_model_cli.py, whose answers these are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ckptmgr._proto.function_pb2 import FunctionDef, FunctionDefLibrary
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saved_object_graph_pb2 import SavedObject, SavedObjectGraph
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.saved_model.structured_values import decode_structured_value

# What calls the function that its attribute "f" names.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# How TensorFlow names a function when it is traced, and again when it is loaded.
_TRACED_NAME = re.compile(r"^__inference_(.*)_\d+$")


@dataclass(frozen=True, slots=True)
class TensorDescription:
    #: As in the enum DataType: "DT_FLOAT".
    dtype: str
    #: None for an unknown rank; within, -1 for an unknown size.
    shape: tuple[int, ...] | None
    #: Empty if it is not one tensor.
    name: str
    #: The tensors that it consists of, if it is not one.
    components: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignatureDescription:
    key: str
    inputs: Mapping[str, TensorDescription]
    outputs: Mapping[str, TensorDescription]
    method_name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """What one trace of a function can be called with: values, and specs of tensors."""

    positional: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FunctionDescription:
    name: str
    options: tuple[Arguments, ...]


# --------------------------------------------------------------------------- signatures


def describe_signatures(meta_graph: MetaGraphDef) -> dict[str, SignatureDescription]:
    """Every signature by its key, sorted."""
    signatures = meta_graph.signature_def
    return {key: _signature(key, signatures[key]) for key in sorted(signatures)}


def _signature(key: str, signature: SignatureDef) -> SignatureDescription:
    return SignatureDescription(
        key,
        {name: _tensor(signature.inputs[name]) for name in sorted(signature.inputs)},
        {name: _tensor(signature.outputs[name]) for name in sorted(signature.outputs)},
        signature.method_name,
    )


def _tensor(info: TensorInfo) -> TensorDescription:
    dtype = dtypes.known(info.dtype)
    shape = info.tensor_shape
    return TensorDescription(
        dtype.name if isinstance(dtype, DataType) else str(dtype),
        None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
        info.name,
        tuple(tensor_names(info)) if info.WhichOneof("encoding") != "name" else (),
    )


def tensor_names(info: TensorInfo) -> Iterator[str]:
    """The names of the tensors that an input or output consists of."""
    encoding = info.WhichOneof("encoding")
    if encoding == "name":
        yield info.name
    elif encoding == "coo_sparse":
        sparse = info.coo_sparse
        yield from (
            sparse.values_tensor_name,
            sparse.indices_tensor_name,
            sparse.dense_shape_tensor_name,
        )
    else:
        for component in info.composite_tensor.components:
            yield from tensor_names(component)


# --------------------------------------------------------------------------- operations


def used_ops(graph: GraphDef) -> list[str]:
    """The types of operations in a graph, and in the functions that it calls, sorted.

    As TensorFlow's tools have it: functions that only a branch, a loop or a dataset calls, and
    functions that nothing calls, do not count. `scan` looks into all.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    found: set[str] = set()
    waiting = list(graph.node)
    while waiting:
        node = waiting.pop()
        for op in _ops_of(node) - found:
            found.add(op)
            if op in functions:
                waiting += functions[op].node_def
    return sorted(found - functions.keys())


def _ops_of(node: NodeDef) -> set[str]:
    if node.op in _CALLS and "f" in node.attr:
        return {node.op, node.attr["f"].func.name}
    return {node.op}


# --------------------------------------------------------------------------- functions


def describe_functions(meta_graph: MetaGraphDef) -> list[FunctionDescription]:
    """The functions that are attributes of the model's root object, with their traces."""
    objects = meta_graph.object_graph_def
    if not objects.nodes:
        return []
    order = _load_order(meta_graph.graph_def.library)
    found = []
    for child in sorted(objects.nodes[0].children, key=lambda child: child.local_name):
        if not 0 <= child.node_id < len(objects.nodes):
            continue
        node = objects.nodes[child.node_id]
        kind = node.WhichOneof("kind")
        if kind in ("function", "bare_concrete_function"):
            names = sorted(_traces(node), key=lambda name: _loaded_name(name, order))
            options = tuple(_arguments(objects, name, node) for name in names)
            found.append(FunctionDescription(child.local_name, options))
    return found


def _traces(node: SavedObject) -> list[str]:
    if node.WhichOneof("kind") == "function":
        return list(node.function.concrete_functions)
    return [node.bare_concrete_function.concrete_function_name]


def _arguments(objects: SavedObjectGraph, name: str, node: SavedObject) -> Arguments:
    if name in objects.concrete_functions:
        saved = objects.concrete_functions[name]
        if saved.HasField("canonicalized_input_signature"):
            signature = decode_structured_value(saved.canonicalized_input_signature)
            match signature:
                case (tuple() as positional, dict() as named):
                    return Arguments(positional, named)
    return Arguments(tuple(node.bare_concrete_function.argument_keywords), {})


def _loaded_name(name: str, order: Mapping[str, int]) -> tuple[str, int]:
    """What TensorFlow sorts the traces of a function by: their names once they are loaded.

    Such a name ends in a counter of the process.
    """
    match = _TRACED_NAME.search(name)
    return (match.group(1) if match else name, order.get(name, len(order)))


def _load_order(library: FunctionDefLibrary) -> dict[str, int]:
    """When TensorFlow loads each function: after all that it calls, and otherwise the last first.

    Source: _sort_function_defs of tensorflow/python/saved_model/function_deserialization.py.
    """
    names = {function.signature.name for function in library.function}
    gradients = {
        item.registered_op_type: item.gradient_func for item in library.registered_gradients
    }
    waiting_for: dict[str, int] = {}
    callers: dict[str, list[str]] = defaultdict(list)
    for function in library.function:
        name = function.signature.name
        called = _called_functions(function, names, gradients)
        waiting_for[name] = len(called)
        for other in called:
            callers[other].append(name)
    ready = [name for name, count in waiting_for.items() if not count]
    order: dict[str, int] = {}
    while ready:
        name = ready.pop()
        order[name] = len(order)
        for caller in callers[name]:
            waiting_for[caller] -= 1
            if not waiting_for[caller]:
                ready.append(caller)
    return order


def _called_functions(
    function: FunctionDef, names: set[str], gradients: Mapping[str, str]
) -> set[str]:
    found: set[str] = set()
    for node in function.node_def:
        gradient = None
        if node.op not in _CALLS and "_gradient_op_type" in node.attr:
            op_type = node.attr["_gradient_op_type"].s.decode("utf-8", "replace")
            gradient = gradients.get(op_type)
        if node.op in names:
            found.add(node.op)
        elif gradient:
            found.add(gradient)
        else:
            found.update(function_names(node))
    return found & names


def function_names(node: NodeDef) -> Iterator[str]:
    """The functions that the attributes of a node name."""
    for value in node.attr.values():
        if value.WhichOneof("value") == "func":
            yield value.func.name
        elif value.WhichOneof("value") == "list":
            yield from (function.name for function in value.list.func)
