"""Operations that do nothing but wait for others, named and placed as TensorFlow does.

Source: tensorflow/python/ops/control_flow_ops.py (group, with_dependencies).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ckptmgr.graph.construction import create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor


def group(graph: Graph, waited_for: Iterable[Any], name: str) -> Operation:
    """An operation that has run when all of these have; one more per device, where there are many.

    Args:
        waited_for: Operations, tensors, and what stands for either.
    """
    operations = [graph._as_operation(item) for item in waited_for]
    with graph.name_scope(name) as scope:
        by_device: dict[str, list[Operation]] = {}
        for operation in operations:
            by_device.setdefault(operation.device, []).append(operation)
        if len(by_device) <= 1:
            device = next(iter(by_device), "")
            return _no_op(graph, operations, scope, device)
        per_device = [
            _no_op(graph, by_device[device], None, device) for device in sorted(by_device)
        ]
        return _no_op(graph, per_device, scope, "")


def with_dependencies(graph: Graph, waited_for: Sequence[Operation], tensor: Tensor) -> Tensor:
    """`tensor`, once these have run."""
    with (
        graph.name_scope("control_dependency") as scope,
        graph.colocate_with(tensor.op),
        graph.control_dependencies(waited_for),
    ):
        return create_op(graph, "Identity", [tensor], name=scope).outputs[0]


def _no_op(
    graph: Graph, waited_for: Sequence[Operation], name: str | None, device: str
) -> Operation:
    with graph.control_dependencies(waited_for), graph.device(device):
        return create_op(graph, "NoOp", name=name)
