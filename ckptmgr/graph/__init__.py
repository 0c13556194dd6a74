"""Graphs as TensorFlow 1 knows them: built, imported, exported, and computed with NumPy.

A `Graph` holds operations; each is of a type that `op_defs` describes and was made by
`construction.create_op` or `graph_def.import_graph_def`. What goes in and out of files is
TensorFlow's own: real TensorFlow imports what is exported here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptmgr.graph.construction import create_op
    from ckptmgr.graph.dtypes import DType, as_dtype
    from ckptmgr.graph.freezing import (
        convert_variables_to_constants,
        extract_sub_graph,
        freeze_checkpoint,
        remove_training_nodes,
    )
    from ckptmgr.graph.graph import Graph, get_default_graph, reset_default_graph
    from ckptmgr.graph.graph_def import import_graph_def, read_graph_def, write_graph
    from ckptmgr.graph.kernels.registry import kernel, stateful_kernel
    from ckptmgr.graph.keys import GraphKeys
    from ckptmgr.graph.moving_average import ExponentialMovingAverage
    from ckptmgr.graph.named_variables import get_variable
    from ckptmgr.graph.operation import Operation, Tensor
    from ckptmgr.graph.saveables import SaveableObject
    from ckptmgr.graph.saver import Saver
    from ckptmgr.graph.saver_builder import BaseSaverBuilder
    from ckptmgr.graph.saver_meta_graphs import export_meta_graph, import_meta_graph
    from ckptmgr.graph.session import InteractiveSession, Session, get_default_session
    from ckptmgr.graph.tensor_shape import TensorShape
    from ckptmgr.graph.variable_scopes import variable_scope
    from ckptmgr.graph.variables import (
        Variable,
        global_variables,
        global_variables_initializer,
        trainable_variables,
    )

__all__ = [
    "BaseSaverBuilder",
    "DType",
    "ExponentialMovingAverage",
    "Graph",
    "GraphKeys",
    "InteractiveSession",
    "Operation",
    "SaveableObject",
    "Saver",
    "Session",
    "Tensor",
    "TensorShape",
    "Variable",
    "as_dtype",
    "convert_variables_to_constants",
    "create_op",
    "export_meta_graph",
    "extract_sub_graph",
    "freeze_checkpoint",
    "get_default_graph",
    "get_default_session",
    "get_variable",
    "global_variables",
    "global_variables_initializer",
    "import_graph_def",
    "import_meta_graph",
    "kernel",
    "read_graph_def",
    "remove_training_nodes",
    "reset_default_graph",
    "stateful_kernel",
    "trainable_variables",
    "variable_scope",
    "write_graph",
]

_HOMES = {
    "ckptmgr.graph.variables": (
        "Variable",
        "global_variables",
        "global_variables_initializer",
        "trainable_variables",
    ),
    "ckptmgr.graph.named_variables": ("get_variable",),
    "ckptmgr.graph.variable_scopes": ("variable_scope",),
    "ckptmgr.graph.saveables": ("SaveableObject",),
    "ckptmgr.graph.saver": ("Saver",),
    "ckptmgr.graph.saver_builder": ("BaseSaverBuilder",),
    "ckptmgr.graph.saver_meta_graphs": ("export_meta_graph", "import_meta_graph"),
    "ckptmgr.graph.moving_average": ("ExponentialMovingAverage",),
    "ckptmgr.graph.freezing": (
        "convert_variables_to_constants",
        "extract_sub_graph",
        "freeze_checkpoint",
        "remove_training_nodes",
    ),
    "ckptmgr.graph.construction": ("create_op",),
    "ckptmgr.graph.dtypes": ("DType", "as_dtype"),
    "ckptmgr.graph.graph": ("Graph", "get_default_graph", "reset_default_graph"),
    "ckptmgr.graph.graph_def": ("import_graph_def", "read_graph_def", "write_graph"),
    "ckptmgr.graph.kernels.registry": ("kernel", "stateful_kernel"),
    "ckptmgr.graph.keys": ("GraphKeys",),
    "ckptmgr.graph.operation": ("Operation", "Tensor"),
    "ckptmgr.graph.session": ("InteractiveSession", "Session", "get_default_session"),
    "ckptmgr.graph.tensor_shape": ("TensorShape",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ckptmgr.graph' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
