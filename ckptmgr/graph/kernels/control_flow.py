"""Conditions and loops whose branches and bodies are functions.

Those of TensorFlow 1, made of Switch and Merge, are the executor's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import integer
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, kernel, stateful_kernel


@stateful_kernel("If", "StatelessIf")
def conditional(context: KernelContext, node: KernelNode, cond: Array, *inputs: Any) -> Any:
    branch = node.attr("then_branch" if is_true(cond) else "else_branch")
    return tuple(context.call(branch, inputs))


@stateful_kernel("Case", "StatelessCase")
def case(context: KernelContext, node: KernelNode, branch_index: Array, *inputs: Any) -> Any:
    """An index of no branch means the last one."""
    branches = node.attr("branches")
    index = integer(branch_index, "branch_index")
    chosen = branches[index if 0 <= index < len(branches) else -1]
    return tuple(context.call(chosen, inputs))


@stateful_kernel("While", "StatelessWhile")
def loop(context: KernelContext, node: KernelNode, *inputs: Any) -> Any:
    condition, body = node.attr("cond"), node.attr("body")
    values = list(inputs)
    while is_true(context.call(condition, values)[0]):
        values = context.call(body, values)
    return tuple(values)


@stateful_kernel("For")
def counted_loop(
    context: KernelContext,
    node: KernelNode,
    start: Array,
    limit: Array,
    delta: Array,
    *inputs: Any,
) -> Any:
    step = integer(delta, "delta")
    if step == 0:
        raise errors.InvalidArgument("delta must not be 0")
    body = node.attr("body")
    values = list(inputs)
    for number in range(integer(start, "start"), integer(limit, "limit"), step):
        values = context.call(body, [np.array(number, np.int32), *values])
    return tuple(values)


@kernel("ToBool")
def to_bool(node: KernelNode, value: Array) -> Array:
    return np.array(is_true(value))


def is_true(value: Array) -> bool:
    """As TensorFlow takes a tensor for a condition: empty, zero and "" are false."""
    if value.ndim:
        return bool(value.size)
    return bool(value[()])
