"""Runs a graph with an installed TensorFlow, in a session of its own.

TensorFlow gets the graph as bytes, and operations that are added later as a graph of their own that
takes tensors of the first. Variables live there.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor


class TensorFlowEngine:
    """Runs one graph.

    Raises:
        MissingExtra: TensorFlow is not installed.
    """

    def __init__(self, graph: Graph) -> None:
        try:
            import tensorflow.compat.v1 as tf
        except ImportError as error:
            raise errors.MissingExtra(
                "engine='tensorflow' needs TensorFlow: pip install ckptmgr[tensorflow]"
            ) from error
        self._tf = tf
        self._graph = graph
        self._theirs = tf.Graph()
        self._session = tf.Session(graph=self._theirs)
        self._handed_over = 0

    def run(self, fetches: Sequence[Tensor | Operation], feeds: Mapping[Tensor, Any]) -> list[Any]:
        """The values of tensors; None for operations."""
        self._hand_over()
        names = [fetch.name for fetch in fetches]
        fed = {tensor.name: value for tensor, value in feeds.items()}
        try:
            values = self._session.run(names, fed)
        except self._tf.errors.OpError as error:
            raise _failure(error) from error
        return [
            value if value is None or isinstance(value, np.ndarray) else _scalar(value)
            for value in values
        ]

    def close(self) -> None:
        """Give up TensorFlow's session."""
        self._session.close()

    def _hand_over(self) -> None:
        """Let TensorFlow know of the operations that are new."""
        if self._graph.version == self._handed_over:
            return
        fresh = list(itertools.islice(self._graph.get_operations(), self._handed_over, None))
        new = {op.name for op in fresh}
        graph_def = GraphDef(versions=self._graph.graph_def_versions)
        graph_def.library.function.extend(self._graph.functions.values())
        known: dict[str, Any] = {}
        waits: list[tuple[str, str]] = []
        for op in fresh:
            for tensor in op.inputs:
                if tensor.op.name not in new:
                    known[tensor.name] = self._theirs.get_tensor_by_name(tensor.name)
            # An import can map tensors, but not operations to wait for.
            earlier = [other.name for other in op.control_inputs if other.name not in new]
            waits.extend((op.name, name) for name in earlier)
            node = op.node_def
            for name in earlier:
                node.input.remove(f"^{name}")
            graph_def.node.append(node)
        message = self._tf.GraphDef.FromString(graph_def.SerializeToString())
        with self._theirs.as_default():
            self._tf.import_graph_def(message, input_map=known, name="")
        operation = self._theirs.get_operation_by_name
        for name, other in waits:
            operation(name)._add_control_input(operation(other))
        self._handed_over = self._graph.version


def _scalar(value: Any) -> Any:
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _failure(error: Any) -> errors.CheckpointError:
    """TensorFlow's error as one of ours."""
    text = error.message or str(error)
    if "uninitialized value" in text or "is uninitialized" in text:
        return errors.UninitializedVariable(text)
    op = getattr(error, "op", None)
    kinds = {
        "InvalidArgumentError": errors.InvalidOperand,
        "NotFoundError": errors.OperandNotFound,
        "DataLossError": errors.OperandDamaged,
        "OutOfRangeError": errors.LimitReached,
    }
    kind = kinds.get(type(error).__name__, errors.ExecutionFailed)
    return kind(
        text, node=op.name if op is not None else "", op_type=op.type if op is not None else ""
    )
