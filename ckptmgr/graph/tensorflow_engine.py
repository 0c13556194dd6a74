"""Runs a graph with an installed TensorFlow, in a session of its own.

TensorFlow gets the graph as bytes, and operations that are added later as a graph of their own that
takes tensors of the first. Variables live there.

TensorFlow asks nobody what an operation may touch: what a run needs is judged before it gets to run
it (`run_check`). That alone would not do, for it computes parts of a graph, constant shapes for
example, when it is given the graph, and reads files for that. So operations of refused types are
replaced by ones that only fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import base
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.run_check import RunCheck


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

    def run(self, fetches: Sequence[Tensor | Operation], feeds: Mapping[Tensor, Any]) -> list[Any]:
        """The values of tensors; None for operations.

        Raises:
            OpRefused: Before anything has run.
        """
        handed_on = self._check.check(fetches, feeds)
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
        graph_def.library.function.extend(self._graph.functions.values())
        known: dict[str, Any] = {}
        waits: list[tuple[str, str]] = []
        for op in fresh:
            if not self._may_be_computed(op):
                graph_def.node.append(_stand_in(op))
                continue
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

    def _may_be_computed(self, op: Operation) -> bool:
        """Whether TensorFlow may have an operation before it is known what is to be run.

        What gives references is stateful, and computed in runs only.
        """
        gives_references = any(base(out.data_type) != out.data_type for out in op.outputs)
        return gives_references or self._policy.may_run(op.type)


def _stand_in(op: Operation) -> NodeDef:
    """A node with the outputs of an operation that fails when it is run.

    A PyFunc fails unless Python code has registered its token. It is stateful, so that nothing
    computes it ahead of time.
    """
    node = NodeDef(name=op.name, op="PyFunc")
    node.attr["token"].s = b"refused"
    node.attr["Tin"].list.SetInParent()
    types = node.attr["Tout"].list
    types.SetInParent()
    for output in op.outputs:
        # An operation of an unknown type does not tell what it gives to another one.
        types.type.append(output.data_type or DataType.DT_STRING)  # type: ignore[arg-type]
    return node


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
