"""Calls of functions of the graph's library."""

from __future__ import annotations

from typing import Any

from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, stateful_kernel


@stateful_kernel("PartitionedCall", "StatefulPartitionedCall")
def call(context: KernelContext, node: KernelNode, *inputs: Any) -> tuple[Any, ...]:
    return tuple(context.call(node.attr("f"), inputs))
