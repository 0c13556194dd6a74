"""The variable that counts steps, and a copy of it for those who watch it.

Source: tensorflow/python/training/training_util.py.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1 import arithmetic
from ckptmgr.compat.v1.conversion import is_symbolic
from ckptmgr.compat.v1.logging import get_logger
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.initializers import Zeros
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.named_variables import get_variable
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.replicas import VariableAggregation
from ckptmgr.graph.variable_base import Variable

_log = get_logger()

# The collection in which TensorFlow finds the copy again, in an imported graph too.
_READ_KEY = "global_step_read_op_cache"


def create_global_step(graph: Graph | None = None) -> Any:
    """Make the variable that counts steps.

    Raises:
        GraphError: There is one.
    """
    target = graph or get_default_graph()
    if get_global_step(target) is not None:
        raise errors.GraphError('"global_step" already exists.')
    with target.as_default(), target.name_scope(None):
        return get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype="int64",
            initializer=Zeros(),
            trainable=False,
            aggregation=VariableAggregation.ONLY_FIRST_REPLICA,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_global_step(graph: Graph | None = None) -> Any:
    """The variable that counts steps; None if there is none, or several.

    Raises:
        GraphTypeError: What is called so cannot count them.
    """
    target = graph or get_default_graph()
    collected = target.get_collection(GraphKeys.GLOBAL_STEP)
    if len(collected) > 1:
        _log.error(
            "%d tensors are collected as global steps; none of them is taken", len(collected)
        )
        return None
    if collected:
        found = collected[0]
    else:
        try:
            found = target.get_tensor_by_name("global_step:0")
        except errors.NodeNotFound:
            return None
    assert_global_step(found)
    return found


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    target = graph or get_default_graph()
    found = get_global_step(target)
    return create_global_step(target) if found is None else found


def assert_global_step(global_step_tensor: Any) -> None:
    """Raise GraphTypeError for what is no whole number of a graph."""
    if not is_symbolic(global_step_tensor):
        raise errors.GraphTypeError(
            f'Existing "global_step" must be a Variable or Tensor: {global_step_tensor}.'
        )
    if not global_step_tensor.dtype.base_dtype.is_integer:
        raise errors.GraphTypeError(
            f'Existing "global_step" does not have integer type: {global_step_tensor.dtype}'
        )
    shape = global_step_tensor.shape
    if shape.rank != 0 and shape.is_fully_defined():
        raise errors.GraphTypeError(f'Existing "global_step" is not scalar: {shape}')


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The number of steps in a session."""
    return int(sess.run(global_step_tensor))


def global_step_read() -> Tensor | None:
    """The step of the default graph as it is in a run; None if there is none.

    Before the variable has a value it is the initial one. Made once in a graph.
    """
    graph = get_default_graph()
    found = graph.get_collection(_READ_KEY)
    if len(found) > 1:
        raise errors.NotExactlyOne(f"the collection {_READ_KEY} has {len(found)} items, not one")
    if found:
        return found[0]  # type: ignore[no-any-return]
    step = get_global_step(graph)
    if step is None:
        return None
    with graph.name_scope(None), graph.name_scope(f"{step.op.name}/"):
        value = step.initialized_value() if isinstance(step, Variable) else step
        with graph.name_scope("add") as scope:
            # A sum is a tensor of its own, which a later change of the variable leaves alone.
            read = arithmetic.add(value, 0, scope)
    graph.add_to_collection(_READ_KEY, read)
    return read


def needed_global_step_read(needed_by: str) -> Tensor:
    """`global_step_read` for those who cannot do without."""
    read = global_step_read()
    if read is None:
        raise errors.NotExactlyOne(f"Global step should be created to use {needed_by}.")
    return read
