"""MetaGraphs and SavedModels changed on purpose: decoded, some things made wrong, encoded.

What is decoded is changed by `graph_changes`, `model_changes` and `mutation.mutate_message`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError, Message

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.formats.sealed_message import seal
from ckptmgr.graph.meta_graph_files import decode_meta_graph
from tests.fuzz import graph_changes, model_changes
from tests.fuzz.checkpoints import mutate_bundle, mutate_object_graph
from tests.fuzz.graph_parts import NESTED, bodies
from tests.fuzz.mutation import mutate_bytes, mutate_message
from tests.fuzz.packing import pack, unpack

#: Of the files of a SavedModel; `models.MODEL_FILES` says where they lie.
BINARY, TEXT, INDEX, SHARD, ASSET = range(5)

_LARGEST_BYTES = 1 << 15


def mutate_meta_graph(data: bytes, random: Random) -> bytes:
    meta_graph = _decoded(data)
    if meta_graph is None or random.random() < 0.04:
        return mutate_bytes(data, random)
    try:
        _change_some(meta_graph, random)
        return _encoded(meta_graph, random)
    except (DecodeError, RecursionError):  # what nests too deep cannot even be copied
        return mutate_bytes(data, random)


def mutate_saved_model(data: bytes, random: Random) -> bytes:
    """Mostly the model; else its checkpoint, its asset, or the bytes of any file."""
    files = unpack(data)
    choice = random.random()
    if choice < 0.04 or not files:
        return mutate_bytes(data, random)
    if choice < 0.12:
        number = random.choice(sorted(files))
        files[number] = mutate_bytes(files[number], random)
    elif choice < 0.2:
        index, shard = files.get(INDEX, b""), files.get(SHARD, b"")
        files[INDEX], files[SHARD] = mutate_object_graph(index, shard, random)
    elif choice < 0.28:
        stored = pack({0: files.get(INDEX, b""), 1: files.get(SHARD, b"")})
        changed = unpack(mutate_bundle(stored, random))
        files[INDEX], files[SHARD] = changed.get(0, b""), changed.get(1, b"")
    else:
        try:
            _change_model(files, random)
        except (DecodeError, RecursionError):
            return mutate_bytes(data, random)
    return pack(files)


def _change_model(files: dict[int, bytes], random: Random) -> None:
    model = SavedModel()
    try:
        if BINARY in files:
            model.ParseFromString(files.pop(BINARY))
        else:
            text_format.Parse(files.pop(TEXT, b""), model)
    except (DecodeError, text_format.ParseError, ValueError):
        model.Clear()
    if random.random() < 0.1 or not model.meta_graphs:
        mutate_message(model, random)
    for meta_graph in model.meta_graphs[:1] or [model.meta_graphs.add()]:
        _change_some(meta_graph, random)
    text = _as_text(model, random, "meta_graphs {%s}") if random.random() < 0.1 else None
    if text is None:
        files[BINARY] = model.SerializeToString(deterministic=True)
    else:
        files[TEXT] = text


def _decoded(data: bytes) -> MetaGraphDef | None:
    try:
        return decode_meta_graph(data)
    except errors.CheckpointError:
        return None


def _encoded(meta_graph: MetaGraphDef, random: Random) -> bytes:
    choice = random.random()
    text = None
    if choice < 0.06:
        text = _as_text(meta_graph, random, "%s")
    elif choice < 0.12:
        text = _as_json(meta_graph, random)
    if text is not None:
        return text
    data = meta_graph.SerializeToString(deterministic=True)
    return seal(data) if choice < 0.6 else data


def _as_text(message: Message, random: Random, around: str) -> bytes | None:
    """The text format, at times with what nests deep; None for what nests too deep already."""
    try:
        text: str = text_format.MessageToString(message)
    except (DecodeError, RecursionError):
        return None
    if random.random() < 0.1:
        times = random.choice(NESTED)
        info = "composite_tensor { components {" * times + "}}" * times
        text += (
            around % f'signature_def {{key: "s" value {{inputs {{key: "x" value {{{info}}}}}}}}}'
        )
    return text.encode("utf-8", "surrogatepass")


def _as_json(meta_graph: MetaGraphDef, random: Random) -> bytes | None:
    if random.random() < 0.1:
        times = random.choice(NESTED)
        info = '{"compositeTensor": {"components": [' * times + "]}}" * times
        return f'{{"signatureDef": {{"s": {{"inputs": {{"x": {info}}}}}}}}}'.encode()
    try:
        text: str = json_format.MessageToJson(meta_graph)
    except (ValueError, TypeError, RecursionError, DecodeError, json_format.Error):
        return None  # an `Any` of a kind that nobody knows, or what nests too deep
    return text.encode()


def _change_some(meta_graph: MetaGraphDef, random: Random) -> None:
    if meta_graph.ByteSize() > _LARGEST_BYTES:
        # As in an input that grows without bound, nothing more would be learned.
        for body in bodies(meta_graph):
            del body[random.randrange(len(body) + 1) :]
    for _ in range(random.choice((1, 1, 2, 4))):
        if random.random() < 0.2:
            mutate_message(meta_graph, random)
        else:
            random.choice(_CHANGES)(meta_graph, random)


_CHANGES: tuple[Callable[[MetaGraphDef, Random], None], ...] = (
    graph_changes.change_input,
    graph_changes.change_input,
    graph_changes.change_type,
    graph_changes.change_type,
    graph_changes.change_attr,
    graph_changes.change_attr,
    graph_changes.change_attr,
    graph_changes.change_tensor,
    graph_changes.change_tensor,
    graph_changes.change_count,
    graph_changes.change_shape,
    graph_changes.change_name,
    graph_changes.change_device,
    graph_changes.add_node,
    graph_changes.remove_node,
    graph_changes.lead_back,
    graph_changes.call,
    graph_changes.call,
    graph_changes.add_function,
    graph_changes.change_function,
    graph_changes.change_function,
    model_changes.change_collection,
    model_changes.change_collection,
    model_changes.change_saver,
    model_changes.change_signature,
    model_changes.change_signature,
    model_changes.change_objects,
    model_changes.change_objects,
    model_changes.change_objects,
    model_changes.change_asset,
    model_changes.change_path,
    model_changes.change_op_list,
)
