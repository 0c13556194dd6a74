"""A small model of TensorFlow 2: a variable, a table, an asset, and functions that take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr._proto.saved_object_graph_pb2 import SavedConcreteFunction, SavedObjectGraph
from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptmgr._proto.types_pb2 import DT_FLOAT, DT_INT64, DT_RESOURCE, DT_STRING, DataType
from ckptmgr.saved_model.object_graph import OBJECT_GRAPH_KEY

_VARIABLE, _TABLE, _CALL, _ASSET, _CREATE, _INITIALIZE, _RESTORE, _SIGNATURES, _SIGNATURE = range(
    1, 10
)


def model() -> SavedModel:
    made = SavedModel(saved_model_schema_version=1)
    meta_graph = made.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.asset_file_def.add(filename="vocab.txt").tensor_info.name = "asset:0"
    _add_functions(meta_graph)
    _add_objects(meta_graph.object_graph_def)
    signature = meta_graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, name in ((signature.inputs, "x"), (signature.outputs, "out")):
        infos[name].name = f"{name}:0"
        infos[name].dtype = DT_FLOAT
        infos[name].tensor_shape.dim.add(size=-1)
    return made


def tensors() -> dict[str, Any]:
    """What its checkpoint holds."""
    graph = TrackableObjectGraph()
    root, variable, table = (graph.nodes.add() for _ in range(3))
    root.children.add(local_name="v", node_id=1)
    root.children.add(local_name="table", node_id=2)
    variable.attributes.add(name="VARIABLE_VALUE", full_name="v", checkpoint_key="v")
    for name in ("-keys", "-values"):
        table.attributes.add(name=name, checkpoint_key=f"table{name}")
    keys = np.empty(2, object)
    keys[:] = [b"a", b"b"]
    return {
        "table-keys": keys,
        "table-values": np.array([1, 2], np.int64),
        "v": np.ones(2, np.float32),
        OBJECT_GRAPH_KEY: np.array(graph.SerializeToString(deterministic=True), object),
    }


# --------------------------------------------------------------------------- functions


def _add_functions(meta_graph: MetaGraphDef) -> None:
    table = _node("t", "HashTableV2", key_dtype=DT_STRING, value_dtype=DT_INT64)
    table.attr["shared_name"].s = b"table"
    create = _function("create", {}, table)
    create.signature.output_arg.add(name="table", type=DT_RESOURCE)
    create.ret["table"] = "t:table_handle:0"
    create.signature.is_stateful = True
    found = _node("same", "Identity", "path", T=DT_STRING)
    initialize = _function("initialize", {"path": DT_STRING, "table": DT_RESOURCE}, found)
    filled = _node(
        "fill", "LookupTableImportV2", "table", "keys", "values", Tin=DT_STRING, Tout=DT_INT64
    )
    taken = {"keys": DT_STRING, "values": DT_INT64, "table": DT_RESOURCE}
    restore = _function("restore", taken, filled)
    restore.control_ret["fill"] = "fill"
    read = _node("value", "ReadVariableOp", "v", dtype=DT_FLOAT)
    given = _node("y", "Identity", "x", T=DT_FLOAT)
    call = _function("call", {"x": DT_FLOAT, "v": DT_RESOURCE}, read, given)
    call.signature.output_arg.add(name="out", type=DT_FLOAT)
    call.ret["out"] = "y:output:0"
    meta_graph.graph_def.library.function.extend([create, initialize, restore, call])
    meta_graph.graph_def.versions.producer = 2000


def _node(name: str, op: str, *inputs: str, **types: DataType) -> NodeDef:
    node = NodeDef(name=name, op=op, input=inputs)
    for key, dtype in types.items():
        node.attr[key].type = dtype
    return node


def _function(name: str, arguments: Mapping[str, DataType], *nodes: NodeDef) -> FunctionDef:
    function = FunctionDef(node_def=nodes)
    function.signature.name = name
    for argument, dtype in arguments.items():
        function.signature.input_arg.add(name=argument, type=dtype)
    return function


# --------------------------------------------------------------------------- objects


def _add_objects(objects: SavedObjectGraph) -> None:
    nodes = [objects.nodes.add() for _ in range(_SIGNATURE + 1)]
    for owner, name, number in (
        (0, "v", _VARIABLE),
        (0, "table", _TABLE),
        (0, "call", _CALL),
        (0, "asset", _ASSET),
        (0, "signatures", _SIGNATURES),
        (_TABLE, "_create_resource", _CREATE),
        (_TABLE, "_initialize", _INITIALIZE),
        (_SIGNATURES, "serving_default", _SIGNATURE),
    ):
        nodes[owner].children.add(local_name=name, node_id=number)
    for number in (0, _SIGNATURES):
        nodes[number].user_object.identifier = "_generic_user_object"
    nodes[_VARIABLE].variable.dtype = DT_FLOAT
    nodes[_VARIABLE].variable.shape.dim.add(size=2)
    nodes[_TABLE].resource.SetInParent()
    stored = nodes[_TABLE].saveable_objects[".TENSORS"]
    stored.save_function, stored.restore_function = _RESTORE, _RESTORE
    nodes[_ASSET].asset.asset_file_def_index = 0
    for number, name in ((_CREATE, "create"), (_INITIALIZE, "initialize"), (_RESTORE, "restore")):
        nodes[number].function.concrete_functions.append(name)
        _add_parameters(nodes[number].function.function_spec.fullargspec)
    nodes[_SIGNATURE].bare_concrete_function.concrete_function_name = "call"
    nodes[_SIGNATURE].bare_concrete_function.argument_keywords.append("x")
    nodes[_CALL].function.concrete_functions.append("call")
    _add_parameters(nodes[_CALL].function.function_spec.fullargspec, "x")
    for name, bound in (
        ("create", []),
        ("initialize", [_ASSET, _TABLE]),
        ("restore", [_TABLE]),
        ("call", [_VARIABLE]),
    ):
        objects.concrete_functions[name].bound_inputs.extend(bound)
    _add_signature(objects.concrete_functions["call"], _spec("x", DT_FLOAT))
    fields = StructuredValue()
    for name, dtype in (("-keys", DT_STRING), ("-values", DT_INT64)):
        fields.dict_value.fields[name].CopyFrom(_spec(name, dtype))
    _add_signature(objects.concrete_functions["restore"], fields)
    result = objects.concrete_functions["call"].output_signature.dict_value.fields["out"]
    result.CopyFrom(_spec("out", DT_FLOAT))


def _spec(name: str, dtype: DataType) -> StructuredValue:
    spec = StructuredValue()
    spec.tensor_spec_value.name = name
    spec.tensor_spec_value.dtype = dtype
    spec.tensor_spec_value.shape.dim.add(size=-1)
    return spec


def _add_signature(trace: SavedConcreteFunction, argument: StructuredValue) -> None:
    signature = trace.canonicalized_input_signature.tuple_value
    positional, named = signature.values.add(), signature.values.add()
    positional.tuple_value.values.append(argument)
    named.dict_value.SetInParent()


def _add_parameters(spec: StructuredValue, *names: str) -> None:
    spec.named_tuple_value.name = "FullArgSpec"
    values = spec.named_tuple_value.values
    for key in ("args", "varargs", "varkw", "defaults", "kwonlyargs", "kwonlydefaults"):
        value = values.add(key=key).value
        if key == "args":
            for name in names:
                value.list_value.values.add().string_value = name
        else:
            value.none_value.SetInParent()
