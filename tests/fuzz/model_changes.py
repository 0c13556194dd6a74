"""Changes of what stands around a graph: collections, Saver, signatures, objects, assets."""

from __future__ import annotations

from random import Random

from google.protobuf.message import DecodeError, Message

from ckptmgr._proto.control_flow_pb2 import CondContextDef, WhileContextDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, TensorInfo
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr._proto.variable_pb2 import VariableDef
from tests.fuzz.graph_parts import DTYPES, NESTED, TYPES, bodies, function_name, graph_name
from tests.fuzz.mutation import mutate_bytes, mutate_message, mutate_text

_IN_COLLECTIONS: dict[str, type[Message]] = {
    "savers": SaverDef,
    "cond_context": CondContextDef,
    "while_context": WhileContextDef,
}


def change_collection(meta_graph: MetaGraphDef, random: Random) -> None:
    collections = meta_graph.collection_def
    if not collections:
        collections["names"].node_list.value.append(graph_name(meta_graph, random))
        return
    key = random.choice(sorted(collections))
    stored = collections[key]
    kind = stored.WhichOneof("kind")
    match random.randrange(5):
        case 0:
            collections[random.choice((*_IN_COLLECTIONS, "variables", "x"))].CopyFrom(stored)
        case 1 if kind == "node_list":
            stored.node_list.value.append(graph_name(meta_graph, random))
        case 2 | 3 if kind == "bytes_list" and stored.bytes_list.value:
            values = stored.bytes_list.value
            place = random.randrange(len(values))
            values[place] = _changed_value(
                _IN_COLLECTIONS.get(key, VariableDef), values[place], meta_graph, random
            )
        case _:
            mutate_message(stored, random)


def _changed_value(
    kind: type[Message], data: bytes, meta_graph: MetaGraphDef, random: Random
) -> bytes:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return mutate_bytes(data, random)
    names = [field.name for field, value in message.ListFields() if isinstance(value, str)]
    if names and random.random() < 0.6:
        setattr(message, random.choice(names), graph_name(meta_graph, random))
    else:
        mutate_message(message, random)
    return message.SerializeToString(deterministic=True)


def change_saver(meta_graph: MetaGraphDef, random: Random) -> None:
    saver = meta_graph.saver_def
    if random.random() < 0.3:
        mutate_message(saver, random)
    else:
        field = random.choice(("filename_tensor_name", "save_tensor_name", "restore_op_name"))
        setattr(saver, field, graph_name(meta_graph, random))


def change_signature(meta_graph: MetaGraphDef, random: Random) -> None:
    signatures = meta_graph.signature_def
    keys = sorted(signatures)
    new = ("serving_default", "__saved_model_init_op", "__saved_model_train_op")
    key = random.choice(keys or new) if random.random() < 0.8 else random.choice(new)
    signature = signatures[key]
    if random.random() < 0.2:
        mutate_message(signature, random)
        return
    infos = random.choice((signature.inputs, signature.outputs))
    name = random.choice(sorted(infos) or [key])
    _change_info(infos[name if random.random() < 0.8 else key], meta_graph, random)


def _change_info(info: TensorInfo, meta_graph: MetaGraphDef, random: Random) -> None:
    match random.randrange(5):
        case 0:
            info.name = graph_name(meta_graph, random)
        case 1:
            info.coo_sparse.values_tensor_name = graph_name(meta_graph, random)
            info.coo_sparse.indices_tensor_name = graph_name(meta_graph, random)
            info.coo_sparse.dense_shape_tensor_name = graph_name(meta_graph, random)
        case 2:
            info.dtype = random.choice(DTYPES)
        case 3:
            for number in range(random.choice(NESTED)):
                info.name = f"x{number}"
                info = info.composite_tensor.components.add()
        case _:
            mutate_message(info, random)


def change_objects(meta_graph: MetaGraphDef, random: Random) -> None:
    """Let objects be other objects' children, functions' captures, tables; or be of other kinds."""
    nodes = meta_graph.object_graph_def.nodes
    if not nodes:
        nodes.add().user_object.identifier = "x"
    node = random.choice(nodes)
    number = random.choice((-1, 0, len(nodes) - 1, len(nodes), 2**31 - 1, *range(len(nodes))))
    match random.randrange(8):
        case 0:
            names = ("_initialize", "_create_resource", "x", "signatures", "__call__", "")
            node.children.add(local_name=random.choice(names), node_id=number)
        case 1 if node.children:
            random.choice(node.children).node_id = number
        case 2:
            node.CopyFrom(random.choice(nodes))
        case 3 if node.WhichOneof("kind") == "function":
            name = function_name(meta_graph, random)
            node.function.concrete_functions.append(name)
            meta_graph.object_graph_def.concrete_functions[name].bound_inputs.append(number)
        case 4:
            _change_trace(meta_graph, number, random)
        case 5 if node.WhichOneof("kind") == "asset":
            node.asset.asset_file_def_index = number
        case 6:
            functions = node.saveable_objects[random.choice((".TENSORS", "x"))]
            functions.save_function, functions.restore_function = number, number
        case _:
            mutate_message(node, random)


def _change_trace(meta_graph: MetaGraphDef, number: int, random: Random) -> None:
    traces = meta_graph.object_graph_def.concrete_functions
    if not traces:
        return
    trace = traces[random.choice(sorted(traces))]
    match random.randrange(4):
        case 0:
            trace.bound_inputs.append(number)
        case 1 if trace.bound_inputs:
            trace.bound_inputs[random.randrange(len(trace.bound_inputs))] = number
        case 2:
            value = trace.canonicalized_input_signature
            for _ in range(random.choice(NESTED)):
                value = value.tuple_value.values.add()
            value.none_value.SetInParent()
        case _:
            mutate_message(trace, random)


def change_asset(meta_graph: MetaGraphDef, random: Random) -> None:
    names = ("../outside.txt", "/etc/passwd", "..", "", "vocab.txt", "a/../../outside.txt", ".")
    if meta_graph.asset_file_def and random.random() < 0.7:
        asset = random.choice(meta_graph.asset_file_def)
    else:
        asset = meta_graph.asset_file_def.add()
        asset.tensor_info.name = graph_name(meta_graph, random)
    if random.random() < 0.3:
        mutate_message(asset, random)
    else:
        asset.filename = random.choice((*names, mutate_text(asset.filename, random)))


_PATHS = (b"../outside.txt", b"/etc/passwd", b"variables/variables", b"", b"assets/vocab.txt")


def change_path(meta_graph: MetaGraphDef, random: Random) -> None:
    """Let a constant that is text be a path."""
    texts = [
        value.tensor.string_val
        for body in bodies(meta_graph)
        for node in body
        for _, value in sorted(node.attr.items())
        if value.tensor.string_val
    ]
    if texts:
        values = random.choice(texts)
        values[random.randrange(len(values))] = random.choice(_PATHS)


def change_op_list(meta_graph: MetaGraphDef, random: Random) -> None:
    ops = meta_graph.meta_info_def.stripped_op_list
    if not ops.op:
        ops.op.add(name=random.choice(TYPES))
    op = random.choice(ops.op)
    if random.random() < 0.5:
        mutate_message(op, random)
    else:
        added = op.attr.add(name=random.choice(("x", "T", "dtype")), type="type")
        added.default_value.type = random.choice(DTYPES)
