"""Computes what is asked of a graph, with NumPy.

A plan is made for each combination of fetches and feeds, kept, and followed step by step. A step
calls the kernel of its node; functions have plans of their own, which the kernels of calls,
conditions and loops run through their context.

A loop runs for as long as its condition holds, which may be for ever: that is the graph's decision,
and the user's to interrupt.

Source: tensorflow/core/common_runtime/executor.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.attributes import FunctionName, encode_free_attr
from ckptmgr.graph.bodies import GraphBody, Node, Port
from ckptmgr.graph.function_bodies import FunctionBody
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.kept import Kept
from ckptmgr.graph.kernels import registry
from ckptmgr.graph.kernels.context import KernelContext, RunState
from ckptmgr.graph.kernels.loading import load_all
from ckptmgr.graph.kernels.registry import Kernel, KernelNode, find_kernel
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.planning import (
    DEAD,
    AnyStep,
    LoopStep,
    MergeStep,
    Plan,
    Step,
    SwitchStep,
    make_plan,
)
from ckptmgr.graph.state import SessionState, Variable


class Executor:
    """Runs one graph with the variables of one session. Several threads may run at a time."""

    def __init__(self, graph: Graph, state: SessionState) -> None:
        load_all()
        self._graph = graph
        self._state = state
        self._body = GraphBody(graph)
        self._plans: Kept[Plan] = Kept()
        self._functions: dict[tuple[str, tuple[tuple[str, bytes], ...]], Plan] = {}

    def run(
        self,
        fetches: Sequence[Tensor | Operation],
        feeds: Mapping[Tensor, Any],
        named: frozenset[str],
    ) -> list[Any]:
        """The values of tensors, None for operations, which are run.

        Values must not be changed. References are read.

        Args:
            named: The strings among what is fed that are the caller's own: paths that may be
                touched.
        Raises:
            KernelNotFound, OpRefused, InvalidGraph: Before anything has run, unless it is of a
                function, which is looked at when it is called, or of a path.
            ExecutionFailed, UninitializedVariable: Naming the operation, or the variable.
        """
        plan = self._plan(tuple(fetches), tuple(feeds))
        context = KernelContext(self._state, RunState(named), self._call)
        values = self._follow(plan, list(feeds.values()), context)
        for finish in context.run.at_end:
            finish()
        for number, (fetch, value) in enumerate(zip(fetches, values, strict=True)):
            if isinstance(fetch, Operation):
                continue
            if value is DEAD:
                raise errors.InvalidArgument(
                    f"Retval[{number}] does not have value: tensor {fetch.name!r} is on a branch "
                    f"that was not taken"
                )
            if isinstance(value, Variable) and fetch.data_type != DataType.DT_RESOURCE:
                values[number] = value.read()
        return values

    def call(self, function: str, inputs: Sequence[Any], named: frozenset[str]) -> list[Any]:
        """The outputs of a function of the graph's library, by its name.

        Args:
            inputs: Arrays, and variables and tables for arguments that are resources.
            named: As `run` takes them.
        """
        context = KernelContext(self._state, RunState(named), self._call)
        values = context.call(FunctionName(function), inputs)
        for finish in context.run.at_end:
            finish()
        return values

    def close(self) -> None:
        """Forget all plans."""
        self._plans.clear()
        self._functions.clear()

    # ----------------------------------------------------------------- plans

    def _plan(self, fetches: tuple[Tensor | Operation, ...], feeds: tuple[Tensor, ...]) -> Plan:
        return self._plans.get(
            (fetches, feeds, self._graph.version),
            lambda: make_plan(
                [self._port(fetch) for fetch in fetches],
                [self._tensor_port(feed) for feed in feeds],
                self._find_kernel,
            ),
        )

    def _port(self, fetch: Tensor | Operation) -> Port | Node:
        if isinstance(fetch, Operation):
            return self._body.node(fetch)
        return self._tensor_port(fetch)

    def _tensor_port(self, tensor: Tensor) -> Port:
        return self._body.node(tensor.op), tensor.value_index

    def _find_kernel(self, node: Node) -> Kernel:
        self._state.policy.check_type(node.op, node.name)
        if node.op in self._graph.functions and node.op not in registry._kernels:
            return _CALL
        return find_kernel(node.op, node.name)

    def _function_plan(self, function: FunctionName) -> Plan:
        definition = self._graph.functions.get(function.name)
        if definition is None:
            raise errors.InvalidGraph(
                f"the graph's library has no function {function.name!r}."
                f"{errors.near_misses(function.name, self._graph.functions)}"
            )
        attrs: dict[str, AttrValue] = {
            attr.name: encode_free_attr(function.attrs[attr.name])
            for attr in definition.signature.attr
            if attr.name in function.attrs
        }
        key = (
            function.name,
            tuple(
                (name, value.SerializeToString(deterministic=True))
                for name, value in sorted(attrs.items())
            ),
        )
        plan = self._functions.get(key)
        if plan is None:
            body = FunctionBody(definition, self._graph.functions, attrs)
            plan = make_plan([*body.results, *body.effects], body.arguments, self._find_kernel)
            plan.num_arguments = len(body.arguments)
            plan.num_results = len(body.results)
            # All threads follow the same: it tells apart where random numbers stand.
            plan = self._functions.setdefault(key, plan)
        return plan

    # ----------------------------------------------------------------- running

    def _call(
        self, function: FunctionName, inputs: Sequence[Any], context: KernelContext
    ) -> list[Any]:
        plan = self._function_plan(function)
        if len(inputs) != plan.num_arguments:
            raise errors.InvalidArgument(
                f"function {function.name!r} takes {plan.num_arguments} arguments, "
                f"found {len(inputs)}"
            )
        results = self._follow(plan, inputs, context)[: plan.num_results]
        for number, result in enumerate(results):
            if result is DEAD:
                raise errors.InvalidArgument(
                    f"Retval[{number}] of function {function.name!r} does not have value: it is on "
                    f"a branch that was not taken"
                )
        return results

    def _follow(self, plan: Plan, fed: Sequence[Any], context: KernelContext) -> list[Any]:
        values = list(plan.initial)
        values[: len(fed)] = fed
        self._run(plan.steps, values, context, has_dead=plan.has_dead_values)
        return [None if slot is None else values[slot] for slot in plan.fetched]

    def _run(
        self, steps: Sequence[AnyStep], values: list[Any], context: KernelContext, *, has_dead: bool
    ) -> None:
        for step in steps:
            if not has_dead:
                _compute(step, values, context)  # type: ignore[arg-type]
            elif isinstance(step, LoopStep):
                self._loop(step, values, context)
            else:
                _compute_unless_dead(step, values, context)
            for slot in step.release:
                values[slot] = None

    def _loop(self, loop: LoopStep, values: list[Any], context: KernelContext) -> None:
        for enter in loop.enters:
            _compute_unless_dead(enter, values, context)
        for _, target in loop.back:
            values[target] = DEAD
        results: dict[int, Any] = {}
        while True:
            self._run(loop.body, values, context, has_dead=True)
            for leave in loop.exits:
                value = values[leave.inputs[0]]
                if value is not DEAD:
                    results[leave.first_output] = value
            following = [values[source] for source, _ in loop.back]
            if all(value is DEAD for value in following):
                break
            for enter in loop.enters:
                if enter.first_output not in loop.constants:
                    values[enter.first_output] = DEAD
            for (_, target), value in zip(loop.back, following, strict=True):
                values[target] = value
        for slot in loop.slots:
            values[slot] = None
        for leave in loop.exits:
            values[leave.first_output] = results.get(leave.first_output, DEAD)
            values[leave.done] = None if leave.first_output in results else DEAD


def _compute(step: Step, values: list[Any], context: KernelContext) -> None:
    """Call the kernel of a node and keep what it gives."""
    inputs = [values[slot] for slot in step.inputs]
    try:
        for place in step.read:
            if isinstance(inputs[place], Variable):
                inputs[place] = inputs[place].read()
        kernel = step.kernel
        if kernel is None:
            result = inputs[0]
        elif kernel.is_stateful:
            result = kernel.compute(context, step.node, *inputs)
        else:
            result = kernel.compute(step.node, *inputs)
    except _TELL_ENOUGH:
        raise
    except Exception as error:
        raise _failure(step.node, error) from error
    if type(result) is not tuple:
        values[step.first_output] = _as_value(result)
        if step.num_outputs == 1:
            return
        result = (result,)
    if len(result) != step.num_outputs:
        raise errors.KernelFailed(
            f"its kernel must give {step.num_outputs} outputs, found {len(result)}",
            node=step.node.name,
            op_type=step.node.op,
        )
    for number, value in enumerate(result):
        values[step.first_output + number] = _as_value(value)


def _compute_unless_dead(step: Step, values: list[Any], context: KernelContext) -> None:
    outputs = range(step.first_output, step.first_output + step.num_outputs)
    if isinstance(step, MergeStep):
        for place, slot in enumerate(step.inputs):
            if values[slot] is not DEAD:
                values[step.first_output] = values[slot]
                values[step.first_output + 1] = np.array(place, np.int32)
                values[step.done] = None
                return
        is_dead = True
    else:
        is_dead = any(values[slot] is DEAD for slot in step.inputs) or any(
            values[slot] is DEAD for slot in step.controls
        )
    values[step.done] = DEAD if is_dead else None
    if is_dead:
        for slot in outputs:
            values[slot] = DEAD
    elif isinstance(step, SwitchStep):
        _switch(step, values)
    else:
        _compute(step, values, context)


def _switch(step: Step, values: list[Any]) -> None:
    value, taken = (values[slot] for slot in step.inputs)
    try:
        if 0 in step.read and isinstance(value, Variable):
            value = value.read()
        if np.shape(taken):
            raise errors.InvalidArgument(
                f"The second input must be a scalar, but it has shape {list(np.shape(taken))}"
            )
    except _TELL_ENOUGH:
        raise
    except errors.CheckpointError as error:
        raise _failure(step.node, error) from error
    # Output 0 is the branch for False.
    values[step.first_output + (not taken)] = DEAD
    values[step.first_output + bool(taken)] = value


def _as_value(value: Any) -> Any:
    """What a kernel gave, a number of Python or NumPy as an array of rank 0."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, bytes):
        return np.array(value, object)
    return np.asarray(value) if isinstance(value, np.generic | int | float) else value


def fed_strings(values: Iterable[Any]) -> frozenset[str]:
    """The scalar strings among what is fed."""
    scalars = (
        value.item()
        for value in values
        if isinstance(value, np.ndarray) and value.dtype.hasobject and not value.ndim
    )
    return frozenset(
        scalar.decode("utf-8", "surrogateescape") for scalar in scalars if isinstance(scalar, bytes)
    )


# --------------------------------------------------------------------------- calls and failures


def _call_by_type(context: KernelContext, node: KernelNode, *inputs: Any) -> tuple[Any, ...]:
    """An operation whose type is a function of the library."""
    attrs = {name: node.attr(name) for name in getattr(node, "attrs", ())}
    return tuple(context.call(FunctionName(node.op, attrs), inputs))


_CALL = Kernel(_call_by_type, is_stateful=True)

#: Errors that name their operation, or what is wrong in the user's own words.
_TELL_ENOUGH = (
    errors.ExecutionFailed,
    errors.KernelNotFound,
    errors.OpRefused,
    errors.UninitializedVariable,
)
#: What NumPy raises where shapes, indices or types do not fit.
_OF_NUMPY = (ValueError, TypeError, IndexError)
_NOT_FOUND = (errors.TensorNotFound, errors.CheckpointNotFound, errors.FileMissing)


def _failure(node: Node, error: Exception) -> errors.ExecutionFailed:
    kind: type[errors.ExecutionFailed] = errors.KernelFailed
    if isinstance(error, _NOT_FOUND):
        kind = errors.OperandNotFound
    elif isinstance(error, errors.InvalidArgument | errors.GraphError):
        kind = errors.InvalidOperand
    elif isinstance(error, errors.CorruptCheckpoint):
        kind = errors.OperandDamaged
    elif isinstance(error, _OF_NUMPY):
        kind = errors.InvalidOperand
    text = str(error) or type(error).__name__
    if not isinstance(error, errors.CheckpointError):
        text = f"{type(error).__name__}: {text}"
    return kind(text, node=node.name, op_type=node.op)
