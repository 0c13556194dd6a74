"""The objects of a TensorFlow 2 model: what there is, and where the checkpoint has its values.

A model is a graph of objects: its root, which has others as attributes, each of one kind:
variable, function, constant, asset, table or the like ("resource"), or nothing but a bundle of
attributes. The checkpoint has a graph of its own, with other numbers for the same objects: both
are walked together, from their roots, by the names of the attributes.

    object  children {name -> object}  kind  what the kind needs
    trace   library function  bound inputs [object]  the arguments it was traced with, its result

Source: tensorflow/core/protobuf/saved_object_graph.proto, trackable_object_graph.proto,
tensorflow/python/saved_model/load.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.message import DecodeError

from ckptmgr import errors
from ckptmgr._proto.saved_object_graph_pb2 import SavedObject, SavedObjectGraph
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph

#: The tensor of a checkpoint that holds its graph of objects.
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
#: What a variable's only value is called there.
VARIABLE_VALUE = "VARIABLE_VALUE"


class ObjectGraph:
    """The objects of one model, by number; 0 is the root.

    Raises:
        MalformedGraph: An object that there is none of is referred to.
    """

    def __init__(self, message: SavedObjectGraph) -> None:
        self._message = message
        if not message.nodes:
            raise errors.MalformedGraph("the model's graph of objects has no root")
        for number, node in enumerate(message.nodes):
            for reference in (*node.children, *node.dependencies):
                self._check(reference.node_id, f"object {number}, {reference.local_name!r}")
            for slot in node.slot_variables:
                self._check(slot.original_variable_node_id, f"object {number}, a slot")
                self._check(slot.slot_variable_node_id, f"object {number}, a slot")
        for name, trace in message.concrete_functions.items():
            for bound in trace.bound_inputs:
                self._check(bound, f"function {name!r}, a bound input")

    def __len__(self) -> int:
        return len(self._message.nodes)

    def __getitem__(self, number: int) -> SavedObject:
        return self._message.nodes[number]

    @property
    def message(self) -> SavedObjectGraph:
        return self._message

    def children(self, number: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self[number].children}

    def of_kind(self, kind: str) -> Iterator[int]:
        """The numbers of the objects of one kind, in their order."""
        return (n for n, node in enumerate(self._message.nodes) if node.WhichOneof("kind") == kind)

    def path(self, wanted: int) -> str:
        """What to call an object: "root.layer.kernel", or its number if the root leads nowhere."""
        # Names of all, each with those in front of it, would take the square of a deep model.
        reached: dict[int, tuple[int, str]] = {0: (0, "root")}
        waiting = deque([0])
        while waiting and wanted not in reached:
            number = waiting.popleft()
            for name, child in self.children(number).items():
                if child not in reached:
                    reached[child] = (number, name)
                    waiting.append(child)
        if wanted not in reached:
            return f"object {wanted}"
        names = [reached[wanted][1]]
        while wanted:
            wanted = reached[wanted][0]
            names.append(reached[wanted][1])
        return ".".join(reversed(names))

    def _check(self, number: int, what: str) -> None:
        if not 0 <= number < len(self._message.nodes):
            raise errors.MalformedGraph(
                f"{what}: there is no such object",
                expected=f"a number below {len(self._message.nodes)}",
                found=number,
            )


def decode_checkpoint_graph(data: bytes) -> TrackableObjectGraph:
    """The graph of objects of a checkpoint.

    Raises:
        MalformedGraph: It is none.
    """
    try:
        graph = TrackableObjectGraph.FromString(data)
    except DecodeError as error:
        raise errors.MalformedGraph(
            f"the checkpoint's graph of objects does not parse: {error}"
        ) from None
    for number, node in enumerate(graph.nodes):
        numbers = [child.node_id for child in node.children]
        for slot in node.slot_variables:
            numbers += [slot.original_variable_node_id, slot.slot_variable_node_id]
        if not all(0 <= other < len(graph.nodes) for other in numbers):
            raise errors.MalformedGraph(
                f"object {number} of the checkpoint refers to an object that there is none of"
            )
    return graph


def checkpoint_keys(
    objects: ObjectGraph, checkpoint: TrackableObjectGraph
) -> dict[int, dict[str, str]]:
    """Which tensors of the checkpoint are the values of which object of the model.

    Returns:
        By the number of an object, the key of each of its values by what the value is called.
    """
    stored = _matched(objects, checkpoint) if checkpoint.nodes else {}
    return {
        number: {item.name: item.checkpoint_key for item in checkpoint.nodes[other].attributes}
        for number, other in stored.items()
    }


def _matched(objects: ObjectGraph, checkpoint: TrackableObjectGraph) -> dict[int, int]:
    """The object of the checkpoint for each of the model's, as far as names lead to both."""
    matched = {0: 0}
    _match_children(objects, checkpoint, matched, [0])
    # Slots after all else: whatever order objects are in, what a slot belongs to is known by now.
    slots = list(_matched_slots(objects, checkpoint, matched))
    matched.update(slots)
    _match_children(objects, checkpoint, matched, [number for number, _ in slots])
    return matched


def _match_children(
    objects: ObjectGraph,
    checkpoint: TrackableObjectGraph,
    matched: dict[int, int],
    begin: Iterable[int],
) -> None:
    waiting = deque(begin)
    while waiting:
        number = waiting.popleft()
        theirs = {c.local_name: c.node_id for c in checkpoint.nodes[matched[number]].children}
        for name, child in objects.children(number).items():
            if name in theirs and child not in matched:
                matched[child] = theirs[name]
                waiting.append(child)


def _matched_slots(
    objects: ObjectGraph, checkpoint: TrackableObjectGraph, matched: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """The variables that an optimizer keeps beside others: by the variable and the slot's name."""
    for number, other in matched.items():
        theirs = {
            (slot.original_variable_node_id, slot.slot_name): slot.slot_variable_node_id
            for slot in checkpoint.nodes[other].slot_variables
        }
        for slot in objects[number].slot_variables:
            key = (matched.get(slot.original_variable_node_id, -1), slot.slot_name)
            if key in theirs and slot.slot_variable_node_id not in matched:
                yield slot.slot_variable_node_id, theirs[key]
