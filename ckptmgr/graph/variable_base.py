"""What both kinds of variables have in common; `variables` says what they are.

Source: tensorflow/python/ops/variables.py.
"""

# ruff: noqa: ARG002 - what subclasses take

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from ckptmgr import errors
from ckptmgr._proto.variable_pb2 import VariableDef
from ckptmgr.graph import save_slices
from ckptmgr.graph.construction import create_op
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.dtypes import DType
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.initial_values import value_or_initial_value
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.replicas import (
    VariableAggregation,
    VariableSynchronization,
    checked_replication,
)
from ckptmgr.graph.scoped_names import into_scope, lies_in_scope, out_of_scope
from ckptmgr.graph.tensor_shape import TensorShape
from ckptmgr.graph.variable_kinds import is_resource_in_scope


class Variable:
    """A tensor of the graph whose value a session keeps.

    Args:
        initial_value: A value, a tensor, or a function without arguments that makes one.
        collections: Where it is listed besides the trainable ones; the global variables by default.
        validate_shape: Whether its shape must be known, and stay.
        caching_device: Where its value is kept for those who read it; the variable's device where
            it is None.
        name: Made unique in the scope; "Variable" where it is left out.
        variable_def: The message of a variable of the graph, which this then is; no initial value
            is taken with it.
        dtype: The initial value's where it is None.
        expected_shape: Not used, as in TensorFlow.
        import_scope: What the names in `variable_def` lack.
        constraint: Of an optimizer, and kept for it: what a changed value is to become.
        use_resource: Which of the two kinds it is; the variable scope's, or the default of
            `enable_resource_variables`, where it is None.
        shape: The initial value's where it is None.
    """

    SaveSliceInfo: ClassVar[type[save_slices.SaveSliceInfo]] = save_slices.SaveSliceInfo

    #: The two kinds, by whether they are resources.
    _kinds: ClassVar[dict[bool, type[Variable]]] = {}
    is_resource: ClassVar[bool] = False

    def __new__(
        cls,
        *_: Any,
        variable_def: VariableDef | None = None,
        use_resource: bool | None = None,
        **__: Any,
    ) -> Variable:
        if cls is not Variable:
            return object.__new__(cls)
        if use_resource is None:
            use_resource = (
                is_resource_in_scope() if variable_def is None else variable_def.is_resource
            )
        return object.__new__(cls._kinds[bool(use_resource)])

    def __init__(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Iterable[Any] | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: VariableDef | None = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Any = None,
        use_resource: bool | None = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        if variable_def is not None:
            if initial_value is not None:
                raise errors.GraphError("variable_def and initial_value are mutually exclusive.")
            self._take(variable_def, import_scope)
            return
        if initial_value is None:
            raise errors.GraphError("initial_value must be specified.")
        if collections is not None and not isinstance(collections, list | tuple | set):
            raise errors.GraphError(
                f"collections argument to Variable constructor must be a list, tuple, or set. "
                f"Got {collections!r}"
            )
        if constraint is not None and not callable(constraint):
            raise errors.GraphError("The `constraint` argument must be a callable.")
        graph = _graph_of(initial_value)
        self._synchronization, self._aggregation, self._trainable = checked_replication(
            synchronization, aggregation, trainable, name
        )
        self._constraint = constraint
        self._caching_device = caching_device
        self._save_slice_info: save_slices.SaveSliceInfo | None = None
        # A block that waits for something is about what is computed, not about where it is kept.
        with (
            graph.as_default(),
            graph.control_dependencies(None),
            graph.name_scope(name or "Variable") as scope,
        ):
            self._initial_value: Tensor | None = None
            self._build(graph, scope, initial_value, dtype, shape, validate_shape)
        keys = [GraphKeys.GLOBAL_VARIABLES] if collections is None else list(collections)
        if self._trainable and GraphKeys.TRAINABLE_VARIABLES not in keys:
            keys.append(GraphKeys.TRAINABLE_VARIABLES)
        graph.add_to_collections(keys, self)

    #: What makes it: the reference, or the handle.
    _variable: Tensor
    _initializer: Operation
    #: What reads it where nothing else is said.
    _snapshot: Tensor

    def _build(
        self,
        graph: Graph,
        scope: str,
        initial_value: Any,
        dtype: Any,
        shape: Any,
        validate_shape: bool,
    ) -> None:
        """Add the operations."""
        raise TypeError("a variable is a RefVariable or a ResourceVariable")

    # ----------------------------------------------------------------- what it is

    @property
    def name(self) -> str:
        return self._variable.name

    @property
    def op(self) -> Operation:
        return self._variable.op

    @property
    def graph(self) -> Graph:
        return self._variable.graph

    @property
    def device(self) -> str:
        return self._variable.device

    @property
    def dtype(self) -> DType:
        return self._variable.dtype

    @property
    def shape(self) -> TensorShape:
        return self._variable.shape

    def get_shape(self) -> TensorShape:
        return self.shape

    @property
    def trainable(self) -> bool:
        return self._trainable

    @property
    def constraint(self) -> Any:
        """What an optimizer is to make of a changed value; None where nothing was given."""
        return self._constraint

    @property
    def synchronization(self) -> VariableSynchronization:
        return self._synchronization

    @property
    def aggregation(self) -> VariableAggregation:
        return self._aggregation

    @property
    def initializer(self) -> Operation:
        """What gives it its initial value when it is run."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor | None:
        """The initial value; None where the file from which it is did not tell."""
        return self._initial_value

    def _set_save_slice_info(self, save_slice_info: save_slices.SaveSliceInfo | None) -> None:
        self._save_slice_info = save_slice_info

    def _get_save_slice_info(self) -> save_slices.SaveSliceInfo | None:
        return self._save_slice_info

    # ----------------------------------------------------------------- its value

    def value(self) -> Tensor:
        """The value, as operations take it that are given the variable."""
        return self._snapshot

    def read_value(self) -> Tensor:
        """The value when this tensor is computed, rather than at any time before."""
        return create_op(self.graph, "Identity", [self._variable], name="read").outputs[0]

    def initialized_value(self) -> Tensor:
        """The value, or the initial value while the variable has none."""
        if self._initial_value is None:
            raise errors.GraphError(f"the initial value of {self.name!r} is not known")
        return value_or_initial_value(self._variable, self._initial_value)

    def is_initialized(self, name: str | None = None) -> Tensor:
        """Whether it has a value."""
        return create_op(self.graph, "IsVariableInitialized", [self._variable], name=name).outputs[
            0
        ]

    def _as_tensor(
        self, dtype: Any = None, name: str | None = None, as_ref: bool = False
    ) -> Tensor:
        return self._variable if as_ref else self.value()

    def _as_graph_element(self) -> Tensor:
        return self._variable

    def eval(self, session: Any = None) -> Any:
        """Its value in a session, the default one where it is None."""
        from ckptmgr.graph.session import evaluate

        return evaluate(self._as_graph_element(), session=session)

    def load(self, value: Any, session: Any = None) -> None:
        """Give it a value in a session, adding nothing to the graph."""
        from ckptmgr.graph.session import run_operation

        run_operation(self._initializer, {self._initializer.inputs[1]: value}, session)

    # ----------------------------------------------------------------- changing it

    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """What gives it another value when it is run.

        Args:
            read_value: Give the new value rather than the operation.
        """
        return self._change("Assign", value, use_locking, name, read_value)

    def assign_add(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        return self._change("AssignAdd", delta, use_locking, name, read_value)

    def assign_sub(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        return self._change("AssignSub", delta, use_locking, name, read_value)

    def _change(
        self, op_type: str, value: Any, use_locking: bool, name: str | None, read_value: bool
    ) -> Any:
        with self.graph.as_default(), self.graph.name_scope(name or op_type) as scope:
            taken = as_tensor(value, self.dtype.base_dtype, "value")
            attrs = {"use_locking": use_locking}
            changed = create_op(self.graph, op_type, [self._variable, taken], attrs, scope)
        return changed.outputs[0] if read_value else changed

    # ----------------------------------------------------------------- messages

    def to_proto(self, export_scope: str | None = None) -> VariableDef | None:
        """Its message; None where it is not in `export_scope`, which names lose."""
        if not lies_in_scope(self.name, export_scope):
            return None
        message = VariableDef(
            variable_name=out_of_scope(self.name, export_scope),
            initializer_name=out_of_scope(self._initializer.name, export_scope),
            snapshot_name=out_of_scope(self._snapshot_to_export().name, export_scope),
            is_resource=self.is_resource,
            trainable=bool(self._trainable),
            synchronization=self._synchronization.value,  # type: ignore[arg-type]
            aggregation=self._aggregation.value,  # type: ignore[arg-type]
        )
        if self._initial_value is not None:
            message.initial_value_name = out_of_scope(self._initial_value.name, export_scope)
        if self._save_slice_info is not None:
            message.save_slice_info_def.CopyFrom(self._save_slice_info.to_proto(export_scope))
        return message

    @staticmethod
    def from_proto(variable_def: VariableDef, import_scope: str | None = None) -> Variable:
        """The variable of the default graph that a message describes.

        Raises:
            NodeNotFound: The graph has no such variable.
        """
        return Variable(variable_def=variable_def, import_scope=import_scope)

    def _take(self, variable_def: VariableDef, import_scope: str | None) -> None:
        """Be the variable that a message describes."""
        graph = get_default_graph()

        def tensor(name: str) -> Tensor:
            return graph.get_tensor_by_name(into_scope(name, import_scope))

        if self.is_resource and not variable_def.is_resource:
            raise errors.GraphError(
                f"Trying to restore a variable of references as a resource variable: "
                f"{variable_def.variable_name!r}"
            )
        self._variable = tensor(variable_def.variable_name)
        self._initializer = graph.get_operation_by_name(
            into_scope(variable_def.initializer_name, import_scope)
        )
        self._synchronization, self._aggregation, self._trainable = checked_replication(
            variable_def.synchronization,
            variable_def.aggregation,
            variable_def.trainable,
            variable_def.variable_name,
        )
        self._constraint = self._caching_device = None
        initial = variable_def.initial_value_name
        self._initial_value = tensor(initial) if initial else None
        snapshot = variable_def.snapshot_name or self._legacy_snapshot_name(variable_def)
        self._take_snapshot(tensor(snapshot))
        self._save_slice_info = (
            save_slices.SaveSliceInfo.from_proto(variable_def.save_slice_info_def, import_scope)
            if variable_def.HasField("save_slice_info_def")
            else None
        )

    def _snapshot_to_export(self) -> Tensor:
        """What its message names as its value."""
        return self._snapshot

    def _take_snapshot(self, snapshot: Tensor) -> None:
        """Read it by what its message names as its value."""
        self._snapshot = snapshot

    @staticmethod
    def _legacy_snapshot_name(variable_def: VariableDef) -> str:
        return variable_def.variable_name.removesuffix(":0") + "/read:0"

    def __repr__(self) -> str:
        return f"<tf.Variable {self.name!r} shape={self.shape} dtype={self.dtype.name}>"

    def __iter__(self) -> Iterator[Any]:
        raise errors.GraphTypeError("'Variable' object is not iterable.")

    # NumPy's operators leave an expression with a variable to the variable.
    __array_priority__ = 100


def _graph_of(initial_value: Any) -> Graph:
    graph = getattr(initial_value, "graph", None)
    return graph if isinstance(graph, Graph) else get_default_graph()
