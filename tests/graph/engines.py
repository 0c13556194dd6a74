"""The same TF1 program for ckptmgr and for TensorFlow: the names it uses, and graphs to compare."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph import (
    initializers,
    moving_average,
    named_variables,
    partitioned_variables,
    saver,
    saver_meta_graphs,
    variable_scopes,
    variables,
)
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.session import Session

#: What stands for `tensorflow.compat.v1`.
OURS = SimpleNamespace(
    Graph=Graph,
    Session=Session,
    Variable=variables.Variable,
    constant=as_tensor,
    device=lambda name: get_default_graph().device(name),
    name_scope=lambda name: get_default_graph().name_scope(name),
    control_dependencies=lambda items: get_default_graph().control_dependencies(items),
    get_variable=named_variables.get_variable,
    variable_scope=variable_scopes.variable_scope,
    AUTO_REUSE=variable_scopes.AUTO_REUSE,
    global_variables=variables.global_variables,
    trainable_variables=variables.trainable_variables,
    global_variables_initializer=variables.global_variables_initializer,
    fixed_size_partitioner=partitioned_variables.fixed_size_partitioner,
    variable_axis_size_partitioner=partitioned_variables.variable_axis_size_partitioner,
    min_max_variable_partitioner=partitioned_variables.min_max_variable_partitioner,
    zeros_initializer=initializers.Zeros,
    ones_initializer=initializers.Ones,
    constant_initializer=initializers.Constant,
    random_uniform_initializer=initializers.RandomUniform,
    random_normal_initializer=initializers.RandomNormal,
    truncated_normal_initializer=initializers.TruncatedNormal,
    variance_scaling_initializer=initializers.VarianceScaling,
    glorot_uniform_initializer=initializers.GlorotUniform,
    glorot_normal_initializer=initializers.GlorotNormal,
    train=SimpleNamespace(
        Saver=saver.Saver,
        SaverDef=SaverDef,
        ExponentialMovingAverage=moving_average.ExponentialMovingAverage,
        export_meta_graph=saver_meta_graphs.export_meta_graph,
        import_meta_graph=saver_meta_graphs.import_meta_graph,
    ),
)


def described(graph: Any) -> list[tuple[str, str, list[str], str, dict[str, str]]]:
    """The nodes of a graph of either engine: name, type, inputs, device and attributes."""
    graph_def = GraphDef.FromString(graph.as_graph_def().SerializeToString())
    return [
        (node.name, node.op, list(node.input), node.device, _attrs(node)) for node in graph_def.node
    ]


def _attrs(node: Any) -> dict[str, str]:
    shown = {}
    for name, value in node.attr.items():
        if value.WhichOneof("value") == "func":
            continue  # functions are named after how many there were
        if name.startswith("_") and name != "_class":
            continue
        shown[name] = str(value)
    return shown
