"""SavedModels for tests, made field by field."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ckptmgr._proto import types_pb2
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr._proto.struct_pb2 import StructuredValue


def meta_graph(*tags: str) -> MetaGraphDef:
    return MetaGraphDef(meta_info_def=MetaGraphDef.MetaInfoDef(tags=tags))


def write(directory: Path, *meta_graphs: MetaGraphDef) -> str:
    directory.mkdir(exist_ok=True)
    model = SavedModel(saved_model_schema_version=1, meta_graphs=meta_graphs)
    (directory / "saved_model.pb").write_bytes(model.SerializeToString())
    return str(directory)


def link_to_blobs(model: Path, cache: Path) -> Path:
    """The model as hubs lay it out: its files are links into a folder beside it."""
    snapshot = cache / "snapshots" / "rev"
    (cache / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(model.rglob("*"))):
        link = snapshot / path.relative_to(model)
        if path.is_dir():
            link.mkdir(parents=True)
        else:
            blob = cache / "blobs" / str(number)
            blob.write_bytes(path.read_bytes())
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def node(name: str, op: str, *inputs: str, calls: str | Iterable[str] = ()) -> NodeDef:
    """A node; one function that it calls is its attribute `f`, several are its `branches`."""
    made = NodeDef(name=name, op=op, input=inputs)
    if isinstance(calls, str):
        made.attr["f"].func.name = calls
    else:
        for function in calls:
            made.attr["branches"].list.func.add(name=function)
    return made


def add_function(
    graph: MetaGraphDef, name: str, *nodes: NodeDef, arguments: Iterable[str] = ()
) -> FunctionDef:
    function = graph.graph_def.library.function.add(node_def=nodes)
    function.signature.name = name
    for argument in arguments:
        function.signature.input_arg.add(name=argument)
    return function


def add_signature(graph: MetaGraphDef, key: str, *, inputs: str = "", outputs: str = "") -> None:
    """A signature of float tensors called as their keys: `add_signature(g, "k", inputs="x")`."""
    signature = graph.signature_def[key]
    for name in inputs.split():
        signature.inputs[name].name = f"{name}:0"
        signature.inputs[name].dtype = types_pb2.DT_FLOAT
    for name in outputs.split():
        signature.outputs[name].name = f"{name}:0"
        signature.outputs[name].dtype = types_pb2.DT_FLOAT


def add_trace(graph: MetaGraphDef, function: str, name: str, *positional: StructuredValue) -> None:
    """Let the root object have this function, and the function this trace."""
    objects = graph.object_graph_def
    if not objects.nodes:
        objects.nodes.add()
    known = {child.local_name: child.node_id for child in objects.nodes[0].children}
    if function not in known:
        objects.nodes[0].children.add(local_name=function, node_id=len(objects.nodes))
        known[function] = len(objects.nodes)
        objects.nodes.add()
    objects.nodes[known[function]].function.concrete_functions.append(name)
    signature = objects.concrete_functions[name].canonicalized_input_signature
    positional_value, named = (signature.tuple_value.values.add() for _ in range(2))
    positional_value.tuple_value.values.extend(positional)
    positional_value.tuple_value.SetInParent()
    named.dict_value.SetInParent()
