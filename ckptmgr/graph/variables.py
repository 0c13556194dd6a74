"""Variables of a graph: the operations around one, and the object that stands for them.

There are two kinds. Of the older one (`RefVariable`) the operation gives a reference:

    v               VariableV2
    v/Assign        Assign(v, initial value)         the initializer
    v/read          Identity(v)

Of the newer one (`ResourceVariable`) it gives a handle, by which other operations reach the value:

    v               VarHandleOp{shared_name: "v"}
    v/IsInitialized/VarIsInitializedOp, v/Assign (AssignVariableOp), v/Read/ReadVariableOp

An initial value that a function makes is made within `v/Initializer/` and placed with the variable.

Source: tensorflow/python/ops/variables.py, ref_variable.py, resource_variable_ops.py.
"""

# ruff: noqa: ARG002 - what all variables take

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.variable_pb2 import VariableDef
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.grouping import group
from ckptmgr.graph.initial_values import guarded_against_uninitialized
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import TensorShape, are_compatible
from ckptmgr.graph.variable_base import Variable
from ckptmgr.graph.variable_kinds import (
    disable_resource_variables,
    enable_resource_variables,
    resource_variables_enabled,
)

#: The types of operations that are variables of references.
REF_TYPES = frozenset({"Variable", "VariableV2", "AutoReloadVariable"})


class RefVariable(Variable):
    """A variable whose operation gives a reference to its value."""

    def _build(
        self,
        graph: Graph,
        scope: str,
        initial_value: Any,
        dtype: Any,
        shape: Any,
        validate_shape: bool,
    ) -> None:
        def make_variable(initial: Tensor) -> None:
            sizes = shape
            if sizes is None:
                sizes = initial.shape if validate_shape else TensorShape(None)
            attrs = {"shape": sizes, "dtype": initial.dtype.base_dtype}
            self._variable = create_op(graph, "VariableV2", (), attrs, scope).outputs[0]

        if callable(initial_value):
            with _placed_with(graph, scope[:-1]):
                initial = _called(graph, initial_value, dtype)
                make_variable(initial)
        else:
            initial = as_tensor(initial_value, dtype, "initial_value")
            make_variable(initial)
        self._initial_value = initial
        if validate_shape and not initial.shape.is_fully_defined():
            raise errors.GraphError(f"initial_value must have a shape specified: {initial}")
        guarded = guarded_against_uninitialized(scope, initial)
        attrs = {"validate_shape": validate_shape, "use_locking": True}
        self._initializer = create_op(graph, "Assign", [self._variable, guarded], attrs, "Assign")
        device = self._caching_device
        beside = graph.colocate_with(self._variable.op) if device is None else graph.device(device)
        with beside:
            self._snapshot = create_op(graph, "Identity", [self._variable], name="read").outputs[0]

    def set_shape(self, shape: Any) -> None:
        self._variable.set_shape(shape)
        self._snapshot.set_shape(shape)


class ResourceVariable(Variable):
    """A variable whose operation gives a handle to its value."""

    is_resource = True

    #: A copy of its value on another device, for those who read it.
    _cached: Tensor | None = None

    def _build(
        self,
        graph: Graph,
        scope: str,
        initial_value: Any,
        dtype: Any,
        shape: Any,
        validate_shape: bool,
    ) -> None:
        name = scope[:-1]
        with _placed_with(graph, name):
            if callable(initial_value):
                initial = _called(graph, initial_value, dtype)
            else:
                with graph.name_scope("Initializer"), graph.device(None):
                    initial = as_tensor(initial_value, dtype, "initial_value")
            if validate_shape and not initial.shape.is_fully_defined() and shape is None:
                raise errors.GraphError(f"initial_value must have a shape specified: {initial}")
            attrs = {
                "shape": initial.shape if shape is None else shape,
                "dtype": initial.dtype.base_dtype,
                "shared_name": name,
                "debug_name": scope,
            }
            self._variable = create_op(graph, "VarHandleOp", (), attrs, scope).outputs[0]
        self._initial_value = initial
        handle = self._variable
        with graph.name_scope("IsInitialized"):
            create_op(graph, "VarIsInitializedOp", [handle])
        with (
            graph.name_scope("Assign") as assign_scope,
            graph.colocate_with(None, ignore_existing=True),
            graph.device(handle.device),
        ):
            guarded = guarded_against_uninitialized(scope, initial)
            self._initializer = create_op(
                graph, "AssignVariableOp", [handle, guarded], name=assign_scope
            )
        with graph.name_scope("Read"):
            with graph.device(handle.device):
                self._snapshot = self._read()
            if self._caching_device is not None:
                with self._reading():
                    self._cached = create_op(graph, "Identity", [self._snapshot]).outputs[0]

    def _read(self) -> Tensor:
        attrs = {"dtype": self.dtype}
        return create_op(self.graph, "ReadVariableOp", [self._variable], attrs).outputs[0]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Where its value is read: on the device that it is kept on for that, if there is one."""
        if self._caching_device is None:
            yield
            return
        with (
            self.graph.colocate_with(None, ignore_existing=True),
            self.graph.device(self._caching_device),
        ):
            yield

    def _snapshot_to_export(self) -> Tensor:
        return self._snapshot if self._cached is None else self._cached

    def _take_snapshot(self, snapshot: Tensor) -> None:
        if snapshot.op.type != "ReadVariableOp":
            self._cached = snapshot
        while snapshot.op.type != "ReadVariableOp" and snapshot.op.inputs:
            snapshot = snapshot.op.inputs[0]
        self._snapshot = snapshot

    @property
    def handle(self) -> Tensor:
        return self._variable

    @property
    def dtype(self) -> DType:
        return as_dtype(self._variable.op.get_attr("dtype"))

    @property
    def shape(self) -> TensorShape:
        return TensorShape(self._variable.op.get_attr("shape"))

    def value(self) -> Tensor:
        if self._cached is not None:
            return self._cached
        with self.graph.colocate_with(None, ignore_existing=True):
            return self._read()

    def read_value(self) -> Tensor:
        with self.graph.name_scope("Read"), self._reading():
            value = self._read()
        return create_op(self.graph, "Identity", [value]).outputs[0]

    def read_value_no_copy(self) -> Tensor:
        """`read_value` for a save, which needs no copy that nobody else changes."""
        with self.graph.name_scope("Read"), self._reading():
            create_op(self.graph, "DisableCopyOnRead", [self._variable])
            value = self._read()
        return create_op(self.graph, "Identity", [value]).outputs[0]

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """Some of its rows, without reading the others."""
        return self._gathered("ResourceGather", indices, name or "Gather")

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """Some of its elements or slices, without reading the others."""
        found = self._gathered("ResourceGatherNd", indices, name or "GatherNd")
        return create_op(self.graph, "Identity", [found]).outputs[0]

    def _gathered(self, op_type: str, indices: Any, name: str) -> Tensor:
        with self.graph.as_default(), self.graph.name_scope(name) as scope:
            inputs = [self._variable, as_tensor(indices, name="indices")]
            return create_op(self.graph, op_type, inputs, {"dtype": self.dtype}, scope).outputs[0]

    def is_initialized(self, name: str | None = None) -> Tensor:
        return create_op(self.graph, "VarIsInitializedOp", [self._variable], name=name).outputs[0]

    def _as_tensor(
        self, dtype: Any = None, name: str | None = None, as_ref: bool = False
    ) -> Tensor:
        return self.value()

    def _as_graph_element(self) -> Tensor:
        return self._snapshot

    def _change(
        self, op_type: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> Any:
        # What is kept for those who read it is read before a change by a difference.
        first = [] if op_type == "Assign" or self._cached is None else [self._cached]
        with self.graph.as_default(), self.graph.control_dependencies(first):
            taken = as_tensor(value, self.dtype)
            attrs: dict[str, Any] = {}
            if op_type == "Assign":
                if not are_compatible(self.shape.as_tuple(), taken.partial_shape):
                    raise errors.GraphError(
                        f"Cannot assign value to variable ' {self.name}': Shape mismatch."
                        f"The variable shape {self.shape}, and the assigned value shape "
                        f"{taken.shape} are incompatible."
                    )
                attrs["validate_shape"] = self.shape.is_fully_defined()
            changed = create_op(
                self.graph, f"{op_type}VariableOp", [self._variable, taken], attrs, name
            )
        return ChangedVariable(self, changed) if read_value else changed

    @staticmethod
    def _legacy_snapshot_name(variable_def: VariableDef) -> str:
        return variable_def.variable_name.removesuffix(":0") + "/Read/ReadVariableOp:0"


Variable._kinds.update({False: RefVariable, True: ResourceVariable})


class ChangedVariable(ResourceVariable):
    """A variable as it is once an operation has changed it: reading it runs that operation."""

    def __init__(self, variable: ResourceVariable, changed: Operation) -> None:
        self.__dict__.update(variable.__dict__)
        self._changed = changed
        self._cached = self._caching_device = self._constraint = None
        with self.graph.control_dependencies([changed]):
            self._snapshot = self._read()

    @property
    def name(self) -> str:
        return self._changed.name

    @property
    def op(self) -> Operation:
        """What changes it."""
        return self._changed

    def _change(
        self, op_type: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> Any:
        # Changes of changes happen one after the other.
        with self.graph.control_dependencies([self._changed]):
            return super()._change(op_type, value, use_locking, name, read_value)

    def value(self) -> Tensor:
        with self.graph.control_dependencies([self._changed]):
            return super().value()

    def read_value(self) -> Tensor:
        return self.value()


# --------------------------------------------------------------------------- building


def _called(graph: Graph, make: Callable[[], Any], dtype: Any) -> Tensor:
    with graph.name_scope("Initializer"), graph.device(None):
        return as_tensor(make(), dtype, "initial_value")


@contextmanager
def _placed_with(graph: Graph, name: str) -> Iterator[None]:
    """Place what is made where the operation of that name is, which need not be made yet."""
    before = graph.version
    yield
    groups = [f"loc:@{name}".encode()]
    for _, op in zip(
        range(graph.version - before), reversed(graph._operations.values()), strict=False
    ):
        if not op.has_attr("_class"):
            op._set_colocation_groups(groups)


# --------------------------------------------------------------------------- asking for them


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables that are saved and shared."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """The variables of one process, which are not saved."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """The variables of which moving averages are kept."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


def global_variables_initializer() -> Operation:
    """What gives every global variable its initial value."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """What gives every local variable its initial value."""
    return variables_initializer(local_variables())


def variables_initializer(var_list: list[Any], name: str = "init") -> Operation:
    """What gives these variables their initial values."""
    graph = var_list[0].graph if var_list else get_default_graph()
    return group(graph, [variable.initializer for variable in var_list], name)


__all__ = [
    "REF_TYPES",
    "ChangedVariable",
    "RefVariable",
    "ResourceVariable",
    "Variable",
    "disable_resource_variables",
    "enable_resource_variables",
    "global_variables",
    "global_variables_initializer",
    "local_variables",
    "local_variables_initializer",
    "moving_average_variables",
    "resource_variables_enabled",
    "trainable_variables",
    "variables_initializer",
]
