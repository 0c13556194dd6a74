"""Variables, those that operations hand around as references and those behind handles.

In both cases the value that goes from operation to operation is the `Variable` of the session; the
executor reads it where a reference meets an operation that wants a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.precision import numeric
from ckptmgr.graph.kernels.registry import KernelNode, kernel, stateful_kernel
from ckptmgr.graph.state import Variable


def shared_name(node: KernelNode) -> str:
    """The name under which a session knows what a node stands for."""
    name: str = node.attr("shared_name").decode("utf-8", "surrogateescape")
    return name or node.name


def container(node: KernelNode) -> str:
    name: str = node.attr("container").decode("utf-8", "surrogateescape")
    return name


@stateful_kernel("Variable", "VariableV2")
def reference_variable(context: KernelContext, node: KernelNode) -> Variable:
    return context.state.reference_variable(
        shared_name(node), node.attr("dtype"), node.attr("shape"), container(node)
    )


@stateful_kernel("VarHandleOp")
def variable_handle(context: KernelContext, node: KernelNode) -> Variable:
    name = shared_name(node)
    if name == _ANONYMOUS:
        return Variable(node.name, node.attr("dtype"), node.attr("shape"))
    return context.state.resource_variable(
        name, node.attr("dtype"), node.attr("shape"), container(node)
    )


#: ResourceHandle::ANONYMOUS_NAME: a variable that no other operation can find.
_ANONYMOUS = "cd2c89b7-88b7-44c8-ad83-06c2a9158347"


@stateful_kernel("TemporaryVariable")
def temporary_variable(context: KernelContext, node: KernelNode) -> Variable:
    """A variable of one run."""
    name = node.attr("var_name").decode("utf-8", "surrogateescape") or node.name
    key = ("temporary variable", name)
    if key in context.run.resources:
        raise errors.InvalidArgument(f"there is a temporary variable {name!r} already")
    variable = Variable(name, node.attr("dtype"), node.attr("shape"))
    context.run.resources[key] = variable
    return variable


@stateful_kernel("DestroyTemporaryVariable")
def destroy_temporary_variable(
    context: KernelContext, node: KernelNode, variable: Variable
) -> Array:
    context.run.resources.pop(("temporary variable", variable.name), None)
    return variable.read()


@kernel("IsVariableInitialized", "VarIsInitializedOp")
def is_initialized(node: KernelNode, variable: Variable) -> Array:
    return np.array(variable.is_initialized)


@kernel("ReadVariableOp")
def read_variable(node: KernelNode, variable: Variable) -> Array:
    value = variable_of(variable).read()
    wanted = node.attr("dtype")
    if variable.dtype != wanted:
        raise errors.InvalidArgument(
            f"Trying to read variable {variable.name} with wrong dtype. Expected "
            f"{dtypes.name(wanted)} got {dtypes.name(variable.dtype)}"
        )
    return value


@kernel("VariableShape")
def variable_shape(node: KernelNode, variable: Variable) -> Array:
    value = variable_of(variable).read()
    return np.array(value.shape, dtypes.to_numpy(node.attr("out_type")))


@kernel("DisableCopyOnRead")
def disable_copy_on_read(node: KernelNode, variable: Variable) -> tuple[()]:
    """Nothing here copies a value that is read."""
    return ()


@stateful_kernel("DestroyResourceOp")
def destroy(context: KernelContext, node: KernelNode, resource: Any) -> tuple[()]:
    is_known = context.state.forget(resource)
    if not is_known and not node.attr("ignore_lookup_error"):
        raise errors.InvalidArgument("the resource does not exist")
    if isinstance(resource, Variable):
        resource.forget()
    return ()


def variable_of(resource: Any) -> Variable:
    """What a handle leads to, which must be a variable."""
    if not isinstance(resource, Variable):
        raise errors.InvalidArgument(
            f"the handle must be one of a variable, found {type(resource).__name__}"
        )
    return resource


# --------------------------------------------------------------------------- assignments


@kernel("Assign")
def assign(node: KernelNode, variable: Variable, value: Array) -> Variable:
    expected = variable_of(variable).shape
    if not node.attr("validate_shape"):
        expected = None
    elif variable.is_initialized:
        # Once it was not validated, it may be another than the operation says.
        expected = variable.read().shape
    variable.assign(value, expected=expected)
    return variable


@kernel("AssignAdd")
def assign_add(node: KernelNode, variable: Variable, value: Array) -> Variable:
    return _combine(np.add, node, variable, value)


@kernel("AssignSub")
def assign_subtract(node: KernelNode, variable: Variable, value: Array) -> Variable:
    return _combine(np.subtract, node, variable, value)


@kernel("AssignVariableOp")
def assign_resource(node: KernelNode, variable: Variable, value: Array) -> tuple[()]:
    """Unlike TensorFlow's, it refuses a shape that is not the variable's."""
    _check_dtype(variable_of(variable), value)
    variable.assign(value, expected=variable.shape)
    return ()


@kernel("AssignAddVariableOp")
def assign_add_resource(node: KernelNode, variable: Variable, value: Array) -> tuple[()]:
    _combine(np.add, node, variable, value)
    return ()


@kernel("AssignSubVariableOp")
def assign_subtract_resource(node: KernelNode, variable: Variable, value: Array) -> tuple[()]:
    _combine(np.subtract, node, variable, value)
    return ()


@kernel("CountUpTo", "ResourceCountUpTo")
def count_up(node: KernelNode, variable: Variable) -> Array:
    """The value before it was counted up."""
    limit = node.attr("limit")
    with variable_of(variable).lock:
        value = variable.read()
        if value.ndim:
            raise errors.InvalidArgument("a counter must be a scalar")
        if value >= limit:
            raise errors.LimitReached(f"Reached limit of {limit}", node=node.name, op_type=node.op)
        variable.assign(value + np.ones((), value.dtype))
    return value


def _check_dtype(variable: Variable, value: Array) -> None:
    if dtypes.to_numpy(variable.dtype) != value.dtype:
        raise errors.InvalidArgument(
            f"Trying to assign variable with wrong dtype. Expected {dtypes.name(variable.dtype)} "
            f"got {value.dtype}"
        )


def _combine(operation: Any, node: KernelNode, variable: Variable, value: Array) -> Variable:
    with variable_of(variable).lock:
        current = variable.read()
        if current.shape != value.shape:
            raise errors.InvalidArgument(
                f"the variable and the value must have the same shape, got {list(current.shape)} "
                f"and {list(value.shape)}"
            )
        variable.assign(compute(operation, node, current, value))
    return variable


def compute(operation: Any, node: KernelNode, *inputs: Array) -> Array:
    """The result of an operation, as a new array of the dtype of its first input."""
    result = numeric(lambda _, *values: operation(*values))(node, *inputs)
    return np.asarray(result).astype(inputs[0].dtype, copy=False)
