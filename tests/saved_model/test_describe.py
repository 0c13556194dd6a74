from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, TensorInfo
from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr.saved_model.describe import (
    Arguments,
    TensorDescription,
    describe_functions,
    describe_signatures,
    tensor_names,
    used_ops,
)
from ckptmgr.saved_model.directory import read_saved_model
from tests.saved_model.models import add_function, add_signature, add_trace, meta_graph, node


def test_signatures_are_sorted() -> None:
    graph = meta_graph("serve")
    for key in ("b", "a", "c"):
        add_signature(graph, key, inputs="y x", outputs="z")
    graph.signature_def["a"].inputs["x"].tensor_shape.dim.add(size=-1)

    found = describe_signatures(graph)

    assert list(found) == ["a", "b", "c"]
    assert found["a"].inputs == {
        "x": TensorDescription("DT_FLOAT", (-1,), "x:0"),
        "y": TensorDescription("DT_FLOAT", (), "y:0"),
    }
    assert list(found["a"].inputs) == ["x", "y"]


def test_tensors_of_several() -> None:
    info = TensorInfo()
    assert list(tensor_names(info)) == []
    info.coo_sparse.values_tensor_name = "v:0"
    info.coo_sparse.indices_tensor_name = "i:0"
    info.coo_sparse.dense_shape_tensor_name = "s:0"
    assert list(tensor_names(info)) == ["v:0", "i:0", "s:0"]

    composite = TensorInfo()
    composite.composite_tensor.components.add(name="a:0")
    composite.composite_tensor.components.append(info)
    assert list(tensor_names(composite)) == ["a:0", "v:0", "i:0", "s:0"]


# --------------------------------------------------------------------------- operations


def with_functions() -> MetaGraphDef:
    graph = meta_graph("serve")
    graph.graph_def.node.extend(
        [
            node("a", "Add"),
            node("c", "PartitionedCall", calls="f"),
            node("direct", "h"),
            node("if", "If", calls=["branch"]),
        ]
    )
    add_function(graph, "f", node("m", "Mul"), node("c", "StatefulPartitionedCall", calls="g"))
    add_function(graph, "g", node("s", "Sub"), node("again", "PartitionedCall", calls="f"))
    add_function(graph, "h", node("d", "Div"))
    add_function(graph, "branch", node("e", "Exp"))
    add_function(graph, "uncalled", node("n", "Neg"))
    return graph


def test_used_ops() -> None:
    graph = with_functions()
    assert used_ops(graph.graph_def) == [
        "Add",
        "Div",
        "If",
        "Mul",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "Sub",
    ]


def test_used_ops_are_those_of_tensorflow(tf: Any, golden: Path) -> None:
    from tensorflow.core.framework import graph_pb2
    from tensorflow.python.framework import meta_graph as theirs

    graphs = [with_functions()]
    for folder in ("saved_model_tf1/export", "saved_model_tf2/module", "keras_legacy/saved_model"):
        graphs += read_saved_model(golden / folder).meta_graphs
    for graph in graphs:
        data = graph.graph_def.SerializeToString()
        expected = theirs.ops_used_by_graph_def(graph_pb2.GraphDef.FromString(data))
        assert used_ops(graph.graph_def) == sorted(expected)


def test_looking_changes_nothing(golden: Path) -> None:
    """Reading a missing key of a map of messages would add it."""
    model = read_saved_model(golden / "saved_model_tf2" / "module")
    model.meta_graphs[0].graph_def.node.append(node("c", "PartitionedCall", calls=()))
    before = model.SerializeToString(deterministic=True)

    used_ops(model.meta_graphs[0].graph_def)
    describe_functions(model.meta_graphs[0])
    describe_signatures(model.meta_graphs[0])

    assert model.SerializeToString(deterministic=True) == before


# --------------------------------------------------------------------------- functions


def text(value: str) -> StructuredValue:
    return StructuredValue(string_value=value)


def test_functions() -> None:
    graph = meta_graph("serve")
    add_trace(graph, "second", "__inference_second_1", text("only"))
    add_trace(graph, "first", "__inference_first_2")
    graph.object_graph_def.nodes[0].children.add(local_name="variable", node_id=0)

    found = describe_functions(graph)

    assert [function.name for function in found] == ["first", "second"]
    assert found[0].options == (Arguments((), {}),)
    assert found[1].options == (Arguments(("only",), {}),)


def test_the_order_of_options() -> None:
    """TensorFlow loads functions that call none first, the last of them first."""
    graph = meta_graph("serve")
    for name in ("a", "b", "c", "d"):
        add_trace(graph, "f", f"__inference_f_{name}", text(name))
    add_function(graph, "__inference_f_a", node("c", "PartitionedCall", calls="__inference_f_c"))
    add_function(graph, "__inference_f_b")
    add_function(graph, "__inference_f_c")
    add_function(graph, "__inference_f_d", node("c", "Switch", calls=["__inference_f_b"]))
    # Without a counter at the end, the names themselves come first.
    assert [option.positional[0] for option in describe_functions(graph)[0].options] == [*"abcd"]

    for number, function in enumerate(graph.graph_def.library.function):
        name = function.signature.name
        renamed = f"__inference_f_{number}"
        function.signature.name = renamed
        saved = graph.object_graph_def.concrete_functions
        saved[renamed].CopyFrom(saved[name])
        graph.object_graph_def.nodes[1].function.concrete_functions[number] = renamed
        for other in graph.graph_def.library.function:
            for called in other.node_def:
                for value in called.attr.values():
                    for call in [value.func, *value.list.func]:
                        if call.name == name:
                            call.name = renamed
    assert [option.positional[0] for option in describe_functions(graph)[0].options] == [*"cabd"]


def test_functions_that_call_each_other() -> None:
    graph = meta_graph("serve")
    for name, other in (("1", "2"), ("2", "1")):
        add_trace(graph, "f", f"__inference_f_{name}", text(name))
        call = node("c", "PartitionedCall", calls=f"__inference_f_{other}")
        add_function(graph, f"__inference_f_{name}", call)
    assert [option.positional[0] for option in describe_functions(graph)[0].options] == ["1", "2"]


@pytest.mark.parametrize("node_id", [-1, 7])
def test_objects_that_are_not_there(node_id: int) -> None:
    graph = meta_graph("serve")
    assert describe_functions(graph) == []
    graph.object_graph_def.nodes.add().children.add(local_name="f", node_id=node_id)
    assert describe_functions(graph) == []


def test_a_bare_function_without_signature() -> None:
    graph = meta_graph("serve")
    add_trace(graph, "f", "__inference_f_1")
    bare = graph.object_graph_def.nodes[1].bare_concrete_function
    bare.concrete_function_name = "__inference_elsewhere_1"
    bare.argument_keywords.extend(["x", "y"])
    assert describe_functions(graph)[0].options == (Arguments(("x", "y"), {}),)
