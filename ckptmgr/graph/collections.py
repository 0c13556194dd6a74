"""Collections of a graph as CollectionDef messages.

What is registered for a collection becomes bytes, a serialized message per value; of any other the
first value decides: strings become bytes, numbers numbers, `Any` messages themselves, and the rest
the names of operations ("x") and tensors ("x:0").

Source: tensorflow/python/framework/meta_graph.py (add_collection_def).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import message
from google.protobuf.any_pb2 import Any as AnyMessage

from ckptmgr import errors
from ckptmgr._proto.control_flow_pb2 import CondContextDef, WhileContextDef
from ckptmgr._proto.meta_graph_pb2 import CollectionDef
from ckptmgr._proto.queue_runner_pb2 import QueueRunnerDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr._proto.variable_pb2 import VariableDef
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.scoped_names import into_scope, lies_in_scope, out_of_scope
from ckptmgr.graph.stored_messages import StoredMessage
from ckptmgr.graph.variables import Variable

_log = logging.getLogger(__name__)

#: The collections whose values are variables, and the same ones in each.
VARIABLE_COLLECTIONS = (
    GraphKeys.GLOBAL_VARIABLES,
    GraphKeys.LOCAL_VARIABLES,
    GraphKeys.METRIC_VARIABLES,
    GraphKeys.MODEL_VARIABLES,
    GraphKeys.TRAINABLE_VARIABLES,
    GraphKeys.MOVING_AVERAGE_VARIABLES,
    GraphKeys.CONCATENATED_VARIABLES,
    GraphKeys.TRAINABLE_RESOURCE_VARIABLES,
    GraphKeys.GLOBAL_STEP,
    GraphKeys.EVAL_STEP,
)


@dataclass(frozen=True, slots=True)
class ProtoFunctions:
    """How the values of a collection become messages."""

    proto_type: type[message.Message]
    #: value.to_proto(export_scope=...), None for one that is not in the scope.
    to_proto: Callable[..., Any]
    #: (message, import_scope=...) -> value.
    from_proto: Callable[..., Any]


_registered: dict[str, ProtoFunctions] = {}


def register_proto_function(
    collection_name: str,
    proto_type: type[message.Message],
    to_proto: Callable[..., Any],
    from_proto: Callable[..., Any],
) -> None:
    """Say how the values of a collection become messages, and messages values."""
    _registered[collection_name] = ProtoFunctions(proto_type, to_proto, from_proto)


def proto_functions(collection_name: str) -> ProtoFunctions | None:
    return _registered.get(collection_name)


# --------------------------------------------------------------------------- values -> messages


def encode_collection(
    key: str, values: list[Any], export_scope: str | None = None
) -> CollectionDef | None:
    """The message for a collection; None where it cannot be stored, which is logged."""
    stored = CollectionDef()
    try:
        _encode(stored, key, values, export_scope)
    except (TypeError, ValueError, AttributeError) as error:
        # As in TensorFlow: collections hold whatever anybody puts there.
        _log.warning("collection %r is not exported: %s", key, error)
        return None
    return stored


def _encode(stored: CollectionDef, key: str, values: list[Any], export_scope: str | None) -> None:
    functions = _registered.get(key)
    if functions is not None:
        stored.bytes_list.SetInParent()
        for value in values:
            proto = functions.to_proto(value, export_scope=export_scope)
            if proto is not None:
                stored.bytes_list.value.append(proto.SerializeToString(deterministic=True))
        return
    first = values[0]
    if isinstance(first, str | bytes):
        stored.bytes_list.value.extend(_as_bytes(value) for value in values)
    elif isinstance(first, bool | int | np.integer):
        stored.int64_list.value.extend(int(value) for value in values)
    elif isinstance(first, float):
        stored.float_list.value.extend(values)
    elif _is_any(first):
        stored.any_list.SetInParent()
        for value in values:
            stored.any_list.value.add().MergeFromString(value.SerializeToString())
    else:
        stored.node_list.SetInParent()
        for value in values:
            if lies_in_scope(value.name, export_scope):
                stored.node_list.value.append(out_of_scope(value.name, export_scope))


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _is_any(value: Any) -> bool:
    """Whether it is an `Any` message, of whichever pool."""
    return (
        isinstance(value, message.Message) and value.DESCRIPTOR.full_name == "google.protobuf.Any"
    )


# --------------------------------------------------------------------------- messages -> values


def decode_collection(
    graph: Graph,
    key: str,
    stored: CollectionDef,
    *,
    import_scope: str = "",
    known: dict[bytes, Any],
    trainable: bool | None = None,
) -> None:
    """Add the values of a message to a collection of a graph, which must be the default one.

    Args:
        known: The variables that were made for other collections, by their messages.
        trainable: What variables are whose writer did not say.
    Raises:
        InvalidGraph: A value is no message, or names what the graph does not have.
    """
    kind = stored.WhichOneof("kind")
    if kind is None:
        _log.error("Cannot identify data type for collection %s. Skipping.", key)
        return
    functions = _registered.get(key)
    values = getattr(stored, kind).value
    try:
        if functions is not None and kind == "bytes_list":
            for data in values:
                value = known.get(data) if key in VARIABLE_COLLECTIONS else None
                if value is None:
                    value = _decode_value(functions, data, import_scope, trainable)
                    if key in VARIABLE_COLLECTIONS:
                        known[data] = value
                graph.add_to_collection(key, value)
        elif kind == "node_list":
            for name in values:
                element = graph.as_graph_element(into_scope(name, import_scope))
                graph.add_to_collection(key, element)
        else:
            for value in values:
                graph.add_to_collection(key, _plain(value, import_scope))
    except errors.GraphError as error:
        raise errors.InvalidGraph(f"collection {key!r}: {error}") from None


def _decode_value(
    functions: ProtoFunctions, data: bytes, import_scope: str, trainable: bool | None
) -> Any:
    proto = functions.proto_type()
    try:
        proto.ParseFromString(data)
    except message.DecodeError:
        raise errors.InvalidGraph(
            f"a value is no {functions.proto_type.DESCRIPTOR.name} message"
        ) from None
    if trainable is not None and isinstance(proto, VariableDef):
        proto.trainable = trainable
    return functions.from_proto(proto, import_scope=import_scope)


def _plain(value: Any, import_scope: str) -> Any:
    if isinstance(value, bytes) and import_scope:
        try:
            # Text, as TensorFlow: a name that was moved into a scope.
            return into_scope(value.decode(), import_scope)
        except UnicodeDecodeError:
            return value
    if isinstance(value, message.Message):
        kept = AnyMessage()
        kept.ParseFromString(value.SerializeToString())
        return kept
    return value


# --------------------------------------------------------------------------- what is registered


def _export_variable(variable: Any, export_scope: str | None = None) -> VariableDef | None:
    if not isinstance(variable, Variable):
        raise TypeError(f"{variable!r:.80} is no variable")
    return variable.to_proto(export_scope)


for _key in VARIABLE_COLLECTIONS:
    register_proto_function(_key, VariableDef, _export_variable, Variable.from_proto)
for _key, _type in (
    (GraphKeys.QUEUE_RUNNERS, QueueRunnerDef),
    (GraphKeys.COND_CONTEXT, CondContextDef),
    (GraphKeys.WHILE_CONTEXT, WhileContextDef),
):
    register_proto_function(_key, _type, StoredMessage.to_proto, StoredMessage.from_proto)


def _saver_to_proto(saver: Any, export_scope: str | None = None) -> SaverDef | None:
    return saver.to_proto(export_scope)  # type: ignore[no-any-return]


def _saver_from_proto(proto: SaverDef, import_scope: str | None = None) -> Any:
    from ckptmgr.graph.saver import Saver

    return Saver.from_proto(proto, import_scope)


register_proto_function(GraphKeys.SAVERS, SaverDef, _saver_to_proto, _saver_from_proto)
