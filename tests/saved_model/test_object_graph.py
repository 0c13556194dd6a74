from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors, load_checkpoint
from ckptmgr._proto.saved_object_graph_pb2 import SavedObjectGraph
from ckptmgr._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptmgr.saved_model.directory import read_saved_model, variables_prefix
from ckptmgr.saved_model.object_graph import (
    OBJECT_GRAPH_KEY,
    VARIABLE_VALUE,
    ObjectGraph,
    checkpoint_keys,
    decode_checkpoint_graph,
)

MODELS = ("saved_model_tf2/module", "saved_model_tf2/keras_export", "keras_legacy/saved_model")


def saved(*edges: tuple[int, str, int], nodes: int = 5) -> SavedObjectGraph:
    graph = SavedObjectGraph()
    for _ in range(nodes):
        graph.nodes.add()
    for number, name, child in edges:
        graph.nodes[number].children.add(local_name=name, node_id=child)
    return graph


def stored(*edges: tuple[int, str, int], nodes: int = 5) -> TrackableObjectGraph:
    graph = TrackableObjectGraph()
    for number in range(nodes):
        node = graph.nodes.add()
        node.attributes.add(name=VARIABLE_VALUE, checkpoint_key=f"value {number}")
    for number, name, child in edges:
        graph.nodes[number].children.add(local_name=name, node_id=child)
    return graph


def keys(objects: SavedObjectGraph, checkpoint: TrackableObjectGraph) -> dict[int, str]:
    found = checkpoint_keys(ObjectGraph(objects), checkpoint)
    return {number: values[VARIABLE_VALUE] for number, values in found.items()}


@pytest.mark.parametrize("folder", MODELS)
def test_every_variable_has_a_value(golden: Path, folder: str) -> None:
    directory = str(golden / folder)
    objects = ObjectGraph(read_saved_model(directory).meta_graphs[0].object_graph_def)
    reader = load_checkpoint(variables_prefix(directory))
    found = checkpoint_keys(objects, decode_checkpoint_graph(reader.get_tensor(OBJECT_GRAPH_KEY)))

    variables = list(objects.of_kind("variable"))
    assert variables
    for number in variables:
        entry = reader.entry(found[number][VARIABLE_VALUE])
        variable = objects[number].variable
        assert entry.dtype == variable.dtype
        assert list(entry.shape) == [dim.size for dim in variable.shape.dim]


def test_objects_are_matched_by_the_names_that_lead_to_them() -> None:
    objects = saved((0, "a", 1), (0, "b", 2), (1, "c", 3), (3, "root", 0), (0, "only", 4))
    checkpoint = stored((0, "b", 1), (0, "a", 4), (4, "c", 2), (2, "root", 0), (0, "other", 3))

    assert keys(objects, checkpoint) == {0: "value 0", 1: "value 4", 2: "value 1", 3: "value 2"}
    assert keys(objects, TrackableObjectGraph()) == {}


def test_slots_are_matched_by_variable_and_name() -> None:
    objects = saved((0, "v", 1), (0, "optimizer", 2), (4, "inner", 3))
    checkpoint = stored((0, "v", 2), (0, "optimizer", 1), (3, "inner", 4))
    for graph, optimizer, variable, slot in ((objects, 2, 1, 4), (checkpoint, 1, 2, 3)):
        graph.nodes[optimizer].slot_variables.add(
            original_variable_node_id=variable, slot_name="m", slot_variable_node_id=slot
        )
    objects.nodes[2].slot_variables.add(slot_name="v", slot_variable_node_id=3)

    found = keys(objects, checkpoint)
    assert found[4] == "value 3"
    assert found[3] == "value 4"  # what only a slot leads to


def test_paths() -> None:
    objects = ObjectGraph(saved((0, "a", 1), (1, "b", 2), (2, "up", 0), (0, "direct", 2)))
    assert [objects.path(n) for n in range(3)] == ["root", "root.a", "root.direct"]
    assert objects.path(4) == "object 4"
    assert len(objects) == 5


def test_the_path_of_an_object_of_a_deep_model() -> None:
    message = SavedObjectGraph()
    for number in range(20_000):
        message.nodes.add().children.add(local_name="a", node_id=number + 1)
    message.nodes.add()
    objects = ObjectGraph(message)
    tracemalloc.start()
    path = objects.path(20_000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path == "root" + ".a" * 20_000
    assert peak_bytes < 100 * message.ByteSize()


def test_objects_that_are_not_there() -> None:
    slots = saved()
    slots.nodes[0].slot_variables.add(slot_variable_node_id=9)
    bound = saved()
    bound.concrete_functions["f"].bound_inputs.append(-1)
    dependency = saved()
    dependency.nodes[1].dependencies.add(node_id=5, local_name="d")
    for graph in (saved((0, "a", 5)), saved((2, "a", -1)), slots, bound, dependency):
        with pytest.raises(errors.MalformedGraph, match="no such object: expected a number below"):
            ObjectGraph(graph)
    with pytest.raises(errors.MalformedGraph, match="has no root"):
        ObjectGraph(SavedObjectGraph())


@pytest.mark.parametrize("data", [b"\xff", stored((0, "a", 5)).SerializeToString()])
def test_a_graph_of_a_checkpoint_that_is_none(data: bytes) -> None:
    with pytest.raises(errors.MalformedGraph, match="of the checkpoint|the checkpoint's graph"):
        decode_checkpoint_graph(data)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes(first: bytes, second: bytes) -> None:
    try:
        checkpoint = decode_checkpoint_graph(first)
        objects = ObjectGraph(SavedObjectGraph.FromString(second))
    except (errors.MalformedGraph, ValueError):
        return
    except Exception as error:  # noqa: BLE001 - protobuf's own, for the second
        assert type(error).__name__ == "DecodeError"  # noqa: PT017
        return
    checkpoint_keys(objects, checkpoint)
