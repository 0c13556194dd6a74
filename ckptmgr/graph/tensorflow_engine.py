"""Runs a graph with an installed TensorFlow, in a session of its own.

TensorFlow gets the graph as bytes, and operations that are added later as a graph of their own that
takes tensors of the first. Variables live there.

TensorFlow asks nobody what an operation may touch: what a run needs is judged before it gets to run
it (`run_check`). That alone would not do, for it computes parts of a graph, constant shapes for
example, when it is given the graph, and reads files for that: see `stand_ins`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.run_check import RunCheck
from ckptmgr.graph.stand_ins import library_of, node_of


class TensorFlowEngine:
    """Runs one graph.

    Raises:
        MissingExtra: TensorFlow is not installed.
    """

    def __init__(self, graph: Graph, policy: Policy) -> None:
        try:
            import tensorflow.compat.v1 as tf
        except ImportError as error:
            raise errors.MissingExtra(
                "engine='tensorflow' needs TensorFlow: pip install ckptmgr[tensorflow]"
            ) from error
        self._tf = tf
        self._graph = graph
        self._policy = policy
        self._check = RunCheck(graph, policy)
        self._theirs = tf.Graph()
        self._session = tf.Session(graph=self._theirs)
        self._handed_over = 0
        # Of several threads that run at once, one hands over what is new.
        self._handing_over = threading.Lock()

    def run(
        self,
        fetches: Sequence[Tensor | Operation],
        feeds: Mapping[Tensor, Any],
        named: frozenset[str],
    ) -> list[Any]:
        """The values of tensors; None for operations.

        Args:
            named: The strings among what is fed that are the caller's own: paths that may be
                touched.
        Raises:
            OpRefused: Before anything has run.
            KernelNotFound, InvalidGraph: TensorFlow does not take the graph.
        """
        handed_on = self._check.check(fetches, feeds, named)
        with self._handing_over:
            self._hand_over()
        names = [fetch.name for fetch in fetches]
        fed = {tensor.name: value for tensor, value in feeds.items()}
        # TensorFlow shall read what was judged, whatever else the graph assigns in between.
        fed.update((each.read.name, feeds[each.value]) for each in handed_on)
        also_run = [each.assign.name for each in handed_on]
        try:
            values = self._session.run([*names, *also_run], fed)[: len(names)]
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
        graph_def.library.CopyFrom(
            library_of(self._graph.functions.values(), self._policy, self._their_op_defs())
        )
        known: dict[str, Any] = {}
        waits: list[tuple[str, str]] = []
        for op in fresh:
            node = node_of(op, self._policy)
            if node.input:  # What stands in for an operation takes nothing.
                for tensor in op.inputs:
                    if tensor.op.name not in new:
                        known[tensor.name] = self._theirs.get_tensor_by_name(tensor.name)
                # An import can map tensors, but not operations to wait for.
                earlier = [other.name for other in op.control_inputs if other.name not in new]
                waits.extend((op.name, name) for name in earlier)
                for name in earlier:
                    node.input.remove(f"^{name}")
            graph_def.node.append(node)
        message = self._tf.GraphDef.FromString(graph_def.SerializeToString())
        try:
            with self._theirs.as_default():
                self._tf.import_graph_def(message, input_map=known, name="")
        except self._tf.errors.NotFoundError as error:
            raise errors.KernelNotFound(f"TensorFlow does not take the graph: {error}") from error
        except (self._tf.errors.OpError, TypeError, ValueError) as error:
            raise errors.InvalidGraph(f"TensorFlow does not take the graph: {error}") from error
        operation = self._theirs.get_operation_by_name
        for name, other in waits:
            operation(name)._add_control_input(operation(other))
        self._handed_over += len(fresh)

    def _their_op_defs(self) -> dict[str, OpDef]:
        """The types of the operations in functions that TensorFlow knows."""
        from tensorflow.python.framework import op_def_registry

        used = {node.op for f in self._graph.functions.values() for node in f.node_def}
        found = {op_type: op_def_registry.get(op_type) for op_type in used}
        return {
            op_type: OpDef.FromString(op_def.SerializeToString())
            for op_type, op_def in found.items()
            if op_def is not None
        }


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
    kind = kinds.get(type(error).__name__, errors.KernelFailed)
    return kind(
        text, node=op.name if op is not None else "", op_type=op.type if op is not None else ""
    )
