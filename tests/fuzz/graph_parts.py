"""What there is in a MetaGraph to be changed: nodes, functions, names.

Names that nobody has lead nowhere: most are of something that is there, so that a parser follows
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef

#: Types that something is special about.
TYPES = (
    *("Const", "Identity", "NoOp", "Placeholder", "PlaceholderWithDefault", "Shape", "Reshape"),
    *("VarHandleOp", "VariableV2", "Assign", "AssignVariableOp", "ReadVariableOp"),
    *("ResourceGather", "RestoreV2", "SaveV2", "RestoreSlice", "Restore", "SaveSlices"),
    *("Switch", "RefSwitch", "Merge", "Enter", "RefEnter", "Exit", "NextIteration", "LoopCond"),
    *("PartitionedCall", "StatefulPartitionedCall", "If", "Case", "While", "SymbolicGradient"),
    *("HashTableV2", "InitializeTableFromTextFileV2", "LookupTableFindV2", "Pack", "ConcatV2"),
    *("StridedSlice", "Split", "SplitV", "Conv2D", "MatMul", "Einsum", "Range", "Fill", "Size"),
    *("ReadFile", "WriteFile", "PyFunc", "MergeV2Checkpoints", "TensorArrayV3", "no such type"),
)
DTYPES = (*range(-1, 34), *range(101, 134), 2**31 - 1)
#: How deep messages nest in each other, of which a parser takes about 100.
NESTED = (3, 30, 90, 400)


def bodies(meta_graph: MetaGraphDef) -> Iterator[Any]:
    yield meta_graph.graph_def.node
    yield from (function.node_def for function in meta_graph.graph_def.library.function)


def body_of(meta_graph: MetaGraphDef, random: Random) -> Any:
    """The nodes of the graph, or of a function."""
    found = [body for body in bodies(meta_graph) if body]
    return random.choice([meta_graph.graph_def.node, *found])


def node_of(meta_graph: MetaGraphDef, random: Random) -> NodeDef:
    body = body_of(meta_graph, random)
    node: NodeDef = random.choice(body) if body else body.add(name="node", op="NoOp")
    return node


def functions_of(meta_graph: MetaGraphDef) -> list[FunctionDef]:
    return list(meta_graph.graph_def.library.function)


def function_name(meta_graph: MetaGraphDef, random: Random) -> str:
    names = [function.signature.name for function in functions_of(meta_graph)]
    return random.choice([*names, "no_such_function"] if random.random() < 0.1 else names or [""])


def tensor_name(body: Any, random: Random) -> str:
    """An input that some node has, or that a node could have."""
    node = random.choice(body) if body else NodeDef(name="x")
    given = [text for other in body for text in other.input]
    if given and random.random() < 0.3:
        return str(random.choice(given))
    index = random.choice((0, 0, 1, 99, 10**9, -1))
    suffixes = ("", "", "", f":{index}", ":0", f":output:{index}", ":", ":²", ":0:0:0")
    prefix = "^" if random.random() < 0.15 else ""
    return prefix + node.name + random.choice(suffixes)


def graph_name(meta_graph: MetaGraphDef, random: Random) -> str:
    """A tensor or an operation of the graph, by its name."""
    nodes = meta_graph.graph_def.node
    name = random.choice(nodes).name if nodes else "x"
    return name + random.choice(("", ":0", ":0", ":1", ":99", ":x"))
