"""`tf.train`: saving and restoring, what a directory holds, and the global step.

Optimizers are not offered: nothing here computes gradients.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr._proto.example_pb2 import Example
from ckptmgr._proto.feature_pb2 import BytesList, Feature, Features, FloatList, Int64List
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.bundle.checkpoint_reader import CheckpointReader as NewCheckpointReader
from ckptmgr.compat.v1.checkpoint_initializers import init_from_checkpoint
from ckptmgr.compat.v1.namespaces import missing
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.graph_def import write_graph
from ckptmgr.graph.initializers import Zeros
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.moving_average import ExponentialMovingAverage
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import export_meta_graph, import_meta_graph
from ckptmgr.lifecycle.reading import list_variables, load_checkpoint, load_variable
from ckptmgr.lifecycle.state import (
    checkpoint_exists,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    remove_checkpoint,
    update_checkpoint_state,
)
from ckptmgr.lifecycle.watch import checkpoints_iterator

__all__ = [
    "BytesList",
    "CheckpointState",
    "Example",
    "ExponentialMovingAverage",
    "Feature",
    "Features",
    "FloatList",
    "Int64List",
    "NewCheckpointReader",
    "Saver",
    "SaverDef",
    "checkpoint_exists",
    "checkpoints_iterator",
    "create_global_step",
    "export_meta_graph",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
    "import_meta_graph",
    "init_from_checkpoint",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "remove_checkpoint",
    "update_checkpoint_state",
    "write_graph",
]

# VariableAggregation.ONLY_FIRST_REPLICA of variable.proto, as TensorFlow marks the global step.
_ONLY_FIRST_REPLICA = 3


def create_global_step(graph: Graph | None = None) -> Any:
    """Make the variable that counts steps.

    Raises:
        GraphError: There is one.
    """
    target = graph or get_default_graph()
    if get_global_step(target) is not None:
        raise errors.GraphError('"global_step" already exists.')
    with target.as_default(), target.name_scope(None):
        step = get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype="int64",
            initializer=Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )
    step._aggregation = _ONLY_FIRST_REPLICA
    return step


def get_global_step(graph: Graph | None = None) -> Any:
    """The variable that counts steps; None if there is none."""
    target = graph or get_default_graph()
    found = target.get_collection(GraphKeys.GLOBAL_STEP)
    if len(found) > 1:
        raise errors.GraphError(f"there are {len(found)} global steps, there must be one")
    if found:
        return found[0]
    try:
        return target.get_tensor_by_name("global_step:0")
    except errors.NodeNotFound:
        return None


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    target = graph or get_default_graph()
    found = get_global_step(target)
    return create_global_step(target) if found is None else found


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The number of steps in a session."""
    return int(sess.run(global_step_tensor))


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
