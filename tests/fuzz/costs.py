"""Whether running a graph is cheap: graphs are programs, which a parser is not to blame for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saved_object_graph_pb2 import SavedObjectGraph
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr.saved_model import constants

#: What gives no more than it gets, and what the policy refuses in a graph that was imported.
_CHEAP = frozenset(
    (
        *("Const", "Identity", "NoOp", "Pack", "Placeholder", "PlaceholderWithDefault", "_Arg"),
        *("Variable", "VariableV2", "Assign", "IsVariableInitialized", "DisableCopyOnRead"),
        *("VarHandleOp", "AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp"),
        *("Restore", "RestoreSlice", "RestoreV2", "Save", "SaveSlices", "SaveV2"),
        *("MergeV2Checkpoints", "Select", "ShardedFilename", "StaticRegexFullMatch", "StringJoin"),
        *("HashTable", "HashTableV2", "InitializeTableFromTextFile", "LookupTableFindV2"),
        *("InitializeTableFromTextFileV2", "LookupTableImportV2", "LookupTableFind"),
        *("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc"),
        *("PartitionedCall", "StatefulPartitionedCall"),
    )
)
_MOST_ELEMENTS = 1024
_MOST_STEPS = 2000


def is_cheap(nodes: Iterable[NodeDef], functions: Mapping[str, FunctionDef]) -> bool:
    """Whether nodes can be run, each once, and all that they call."""
    steps: dict[str, int] = {}

    def cost(bodies: Iterable[NodeDef]) -> int:
        """The steps of all that is called; what calls itself counts once: that soon fails."""
        total = 0
        for node in bodies:
            total += 1
            if not (node.op in _CHEAP or node.op in functions) or _is_large(node):
                return _MOST_STEPS + 1
            for name in _called(node):
                if name in functions:
                    if name not in steps:
                        steps[name] = 0
                        steps[name] = cost(functions[name].node_def)
                    total += steps[name]
        return total

    return cost(nodes) <= _MOST_STEPS


def functions_of(graph_def: GraphDef) -> dict[str, FunctionDef]:
    return {function.signature.name: function for function in graph_def.library.function}


def needed(graph_def: GraphDef, names: Iterable[str]) -> list[NodeDef]:
    """The nodes that some nodes wait for, themselves included."""
    nodes = {node.name: node for node in graph_def.node}
    found: dict[str, NodeDef] = {}
    pending = [name.removeprefix("^").partition(":")[0] for name in names]
    while pending:
        name = pending.pop()
        if name in nodes and name not in found:
            found[name] = nodes[name]
            pending += [text.removeprefix("^").partition(":")[0] for text in nodes[name].input]
    return list(found.values())


def loads_cheaply(meta_graph: MetaGraphDef) -> bool:
    """Whether a loader runs nothing that could take long: restoring, and what sets a model up."""
    graph = meta_graph.graph_def
    functions = functions_of(graph)
    if meta_graph.object_graph_def.nodes:
        names = _traces_of_resources(meta_graph.object_graph_def)
        return all(is_cheap(functions[name].node_def, functions) for name in names & set(functions))
    taken = [meta_graph.saver_def.restore_op_name]
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            taken += meta_graph.collection_def[key].node_list.value
    if constants.INIT_OP_SIGNATURE_KEY in meta_graph.signature_def:
        outputs = meta_graph.signature_def[constants.INIT_OP_SIGNATURE_KEY].outputs
        taken += [info.name for info in outputs.values()]
    return is_cheap(needed(graph, taken), functions)


def _traces_of_resources(objects: SavedObjectGraph) -> set[str]:
    """What could make a table, fill it or restore it."""
    numbers = {
        number
        for node in objects.nodes
        if node.WhichOneof("kind") == "resource"
        for number in (
            *(child.node_id for child in node.children),
            *(stored.save_function for stored in node.saveable_objects.values()),
            *(stored.restore_function for stored in node.saveable_objects.values()),
        )
    }
    functions = [objects.nodes[n] for n in numbers if 0 <= n < len(objects.nodes)]
    return {
        name
        for node in functions
        for name in (
            *node.function.concrete_functions,
            node.bare_concrete_function.concrete_function_name,
        )
    }


def expands(graph_def: GraphDef) -> bool:
    """Whether a constant is several values, the last of which is repeated many times."""
    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    tensors = [value.tensor for body in bodies for node in body for value in node.attr.values()]
    return any(_elements(tensor) > _MOST_ELEMENTS and _has_several(tensor) for tensor in tensors)


def _elements(tensor: TensorProto) -> int:
    return abs(math.prod(dim.size for dim in tensor.tensor_shape.dim))


def _has_several(tensor: TensorProto) -> bool:
    fields = tensor.ListFields()
    return any(field.name.endswith("_val") and len(values) > 1 for field, values in fields)


def _called(node: NodeDef) -> list[str]:
    return [node.op, *(value.func.name for value in node.attr.values() if value.HasField("func"))]


def _is_large(node: NodeDef) -> bool:
    return "value" in node.attr and _elements(node.attr["value"].tensor) > _MOST_ELEMENTS
