"""Variables' names in checkpoints that TensorFlow 2 wrote, which stores them under other keys.

A tensor of such a checkpoint describes the objects that were saved: for each variable the name that
it had, and the key of its value, as `model/dense/kernel/.ATTRIBUTES/VARIABLE_VALUE`.

Source: tensorflow/core/protobuf/trackable_object_graph.proto,
tensorflow/python/training/saver.py (object_graph_key_mapping).
"""

from __future__ import annotations

from google.protobuf import message

from ckptmgr import errors
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptmgr.bundle.checkpoint_reader import CheckpointReader

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def keys_by_name(reader: CheckpointReader) -> dict[str, str] | None:
    """The key under which each variable's value is stored; None where names are the keys.

    Raises:
        MalformedMetadata: The description does not parse.
    """
    if not reader.has_tensor(_OBJECT_GRAPH):
        return None
    value = reader.get_tensor(_OBJECT_GRAPH)
    objects = TrackableObjectGraph()
    try:
        objects.ParseFromString(value)
    except (message.DecodeError, TypeError):
        raise errors.MalformedMetadata(
            f"tensor {_OBJECT_GRAPH!r} holds no description of objects", path=reader.prefix
        ) from None
    return {
        attribute.full_name: attribute.checkpoint_key
        for node in objects.nodes
        for attribute in node.attributes
        if attribute.full_name and attribute.checkpoint_key
    }
