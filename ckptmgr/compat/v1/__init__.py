"""TensorFlow 1's names over this package's own.

Example:
    >>> import ckptmgr.compat.v1 as tf
    >>> w = tf.get_variable("w", [2, 2], initializer=tf.zeros_initializer())
    >>> saver = tf.train.Saver()
    >>> with tf.Session() as sess:
    ...     sess.run(tf.global_variables_initializer())
    ...     saver.save(sess, "run/model.ckpt", global_step=100)

Programs that build a graph, run it, and save, restore, freeze or serve it need no change but this
import. There are no gradients, and so no optimizers, and no input pipelines. The graphs are those
that TensorFlow would build: each side reads and runs what the other wrote.
"""

from __future__ import annotations

from typing import Any

from ckptmgr._proto.attr_value_pb2 import AttrValue, NameAttrList
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.compat.v1 import (
    app,
    errors,
    flags,
    gfile,
    graph_util,
    layers,
    logging,
    lookup,
    losses,
    namespaces,
    operators,
    saved_model,
    train,
)
from ckptmgr.compat.v1.arrays import constant, placeholder, placeholder_with_default
from ckptmgr.compat.v1.conversion import convert_to_tensor
from ckptmgr.compat.v1.options import (
    ConfigProto,
    GPUOptions,
    GraphOptions,
    RunMetadata,
    RunOptions,
)
from ckptmgr.compat.v1.scopes import (
    add_to_collection,
    add_to_collections,
    colocate_with,
    container,
    control_dependencies,
    device,
    get_collection,
    get_collection_ref,
    group,
    name_scope,
)
from ckptmgr.compat.v1.scopes import tuple_of as tuple
from ckptmgr.compat.v1.state_functions import (
    get_local_variable,
    is_variable_initialized,
    model_variables,
    report_uninitialized_variables,
    tables_initializer,
)
from ckptmgr.formats.dtypes import DataType as _DataType
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph, reset_default_graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.partitioned_variables import (
    fixed_size_partitioner,
    min_max_variable_partitioner,
    variable_axis_size_partitioner,
)
from ckptmgr.graph.replicas import VariableAggregation, VariableSynchronization
from ckptmgr.graph.session import InteractiveSession, Session, get_default_session
from ckptmgr.graph.tensor_shape import Dimension, TensorShape
from ckptmgr.graph.variable_base import Variable
from ckptmgr.graph.variable_kinds import (
    disable_resource_variables,
    enable_resource_variables,
    resource_variables_enabled,
)
from ckptmgr.graph.variable_scopes import (
    AUTO_REUSE,
    VariableScope,
    get_variable_scope,
    variable_scope,
)
from ckptmgr.graph.variables import (
    global_variables,
    global_variables_initializer,
    local_variables,
    local_variables_initializer,
    moving_average_variables,
    trainable_variables,
    variables_initializer,
)

__all__ = [
    "AUTO_REUSE",
    "AttrValue",
    "ConfigProto",
    "DType",
    "Dimension",
    "GPUOptions",
    "Graph",
    "GraphDef",
    "GraphKeys",
    "GraphOptions",
    "InteractiveSession",
    "MetaGraphDef",
    "NameAttrList",
    "NodeDef",
    "OpError",
    "Operation",
    "RunMetadata",
    "RunOptions",
    "Session",
    "SignatureDef",
    "Tensor",
    "TensorInfo",
    "TensorShape",
    "Variable",
    "VariableAggregation",
    "VariableScope",
    "VariableSynchronization",
    "VariableV1",
    "add_to_collection",
    "add_to_collections",
    "all_variables",
    "app",
    "as_dtype",
    "colocate_with",
    "constant",
    "container",
    "control_dependencies",
    "convert_to_tensor",
    "device",
    "disable_control_flow_v2",
    "disable_eager_execution",
    "disable_resource_variables",
    "disable_tensor_equality",
    "disable_v2_behavior",
    "disable_v2_tensorshape",
    "double",
    "enable_resource_variables",
    "errors",
    "executing_eagerly",
    "fixed_size_partitioner",
    "flags",
    "get_collection",
    "get_collection_ref",
    "get_default_graph",
    "get_default_session",
    "get_local_variable",
    "get_variable",
    "get_variable_scope",
    "gfile",
    "global_variables",
    "global_variables_initializer",
    "graph_util",
    "group",
    "half",
    "import_graph_def",
    "initialize_all_tables",
    "initialize_all_variables",
    "initialize_local_variables",
    "initialize_variables",
    "is_variable_initialized",
    "layers",
    "local_variables",
    "local_variables_initializer",
    "logging",
    "lookup",
    "losses",
    "min_max_variable_partitioner",
    "model_variables",
    "moving_average_variables",
    "name_scope",
    "newaxis",
    "placeholder",
    "placeholder_with_default",
    "report_uninitialized_variables",
    "reset_default_graph",
    "resource_variables_enabled",
    "saved_model",
    "tables_initializer",
    "train",
    "trainable_variables",
    "tuple",
    "variable_axis_size_partitioner",
    "variable_scope",
    "variables_initializer",
]

# tf.float32, tf.string, tf.float32_ref and the others.
for _number in _DataType:
    if _number != _DataType.DT_INVALID:
        globals()[as_dtype(_number).name] = as_dtype(_number)
double, half = as_dtype(_DataType.DT_DOUBLE), as_dtype(_DataType.DT_HALF)

newaxis = None
# Older names of the same.
all_variables = global_variables
initialize_all_variables = global_variables_initializer
initialize_local_variables = local_variables_initializer
initialize_variables = variables_initializer
initialize_all_tables = tables_initializer
VariableV1 = Variable
OpError = errors.OpError

globals().update(namespaces.namespaces())
operators.attach(Variable)


def disable_v2_behavior() -> None:
    """Do nothing: there is no other behaviour."""


disable_eager_execution = disable_v2_behavior
disable_v2_tensorshape = disable_v2_behavior
disable_tensor_equality = disable_v2_behavior
disable_control_flow_v2 = disable_v2_behavior


def executing_eagerly() -> bool:
    """Never."""
    return False


def __getattr__(name: str) -> Any:
    raise AttributeError(namespaces.missing(f"{__name__}.{name}"))
