"""The graph: operations by name, in the order in which they were made, and what surrounds them.

Names, control dependencies and placement each have a module of their own; this one holds them
together and answers questions. Building a graph is not safe from several threads at once.

Source: tensorflow/python/framework/ops.py (class Graph).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef, GradientDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.control_dependencies import ControlDependencies
from ckptmgr.graph.names import Names
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.placement import Placement


class Graph:
    """A dataflow graph: operations, their tensors, collections and a library of functions."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._names = Names()
        self._controls = ControlDependencies()
        self._placement = Placement()
        self._container = ""
        self._unfeedable: set[Tensor] = set()
        self._unfetchable: set[Operation] = set()
        #: What was not built by the program itself; the policy of sessions trusts it less.
        self._imported: set[Operation] = set()
        self._finalized = False
        #: The library: what an operation of that type, or an attribute with that name, calls.
        self.functions: dict[str, FunctionDef] = {}
        self.function_gradients: list[GradientDef] = []
        self.graph_def_versions = VersionDef(producer=op_defs.GRAPH_DEF_VERSION)
        #: The seed of random operations that have none of their own.
        self.seed: int | None = None

    # ----------------------------------------------------------------- operations

    def create_op(
        self,
        op_type: str,
        inputs: Iterable[Any],
        attrs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Operation:
        """Add an operation; see `construction.create_op`."""
        from ckptmgr.graph.construction import create_op

        return create_op(self, op_type, list(inputs), attrs or {}, name)

    def _add(self, op: Operation) -> None:
        self._operations[op.name] = op
        self._names.mark(op.name)

    def _place(self, op: Operation) -> None:
        self._controls.note(op)
        self._placement.place(op)
        if self._container and op.op_def is not None and op.op_def.is_stateful:
            op_attrs = op_defs.attributes(op.type)
            if "container" in op_attrs and not op.attr_value("container").s:
                value = op.attr_value("container")
                value.s = self._container.encode()
                op._set_attr("container", value)

    def get_operations(self) -> list[Operation]:
        """All operations, in the order in which they were made."""
        return list(self._operations.values())

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation of that name.

        Raises:
            NodeNotFound: There is none.
        """
        if not isinstance(name, str):
            raise errors.GraphTypeError(
                f"Operation names are strings (or similar), not {type(name).__name__}."
            )
        return self.as_graph_element(name, allow_tensor=False)  # type: ignore[return-value]

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor of that name, as "x:0".

        Raises:
            NodeNotFound: There is none.
            GraphError: That is no name of a tensor.
        """
        if not isinstance(name, str):
            raise errors.GraphTypeError(
                f"Tensor names are strings (or similar), not {type(name).__name__}."
            )
        return self.as_graph_element(name, allow_operation=False)  # type: ignore[return-value]

    def as_graph_element(
        self,
        obj: Any,
        allow_tensor: bool = True,
        allow_operation: bool = True,
    ) -> Tensor | Operation:
        """The tensor or operation of this graph that `obj` is, names, or stands for.

        Raises:
            NodeNotFound: The graph has none of that name.
            GraphError: It is of another graph, or a name of the other kind.
            GraphTypeError: It is nothing of a graph.
        """
        kinds = " or ".join(
            kind
            for kind, allowed in (("Tensor", allow_tensor), ("Operation", allow_operation))
            if allowed
        )
        convert = getattr(obj, "_as_graph_element", None)
        if convert is not None:
            obj = convert()
        if isinstance(obj, bytes):
            obj = obj.decode("utf-8", "surrogateescape")
        if isinstance(obj, str):
            return self._by_name(obj, allow_tensor=allow_tensor, allow_operation=allow_operation)
        if (allow_tensor and isinstance(obj, Tensor)) or (
            allow_operation and isinstance(obj, Operation)
        ):
            if obj.graph is not self:
                raise errors.GraphError(
                    f"{type(obj).__name__} {obj!r} is not an element of this graph."
                )
            return obj
        raise errors.GraphTypeError(f"Can not convert a {type(obj).__name__} into a {kinds}.")

    def _by_name(
        self, name: str, *, allow_tensor: bool, allow_operation: bool
    ) -> Tensor | Operation:
        if ":" in name:
            if not allow_tensor:
                raise errors.GraphError(
                    f"Name {name!r} appears to refer to a Tensor, not an Operation."
                )
            return self._tensor_by_name(name)
        op = self._operations.get(name)
        if not allow_operation:
            if op is not None:
                raise errors.GraphError(
                    f"The name {name!r} refers to an Operation, not a Tensor. Tensor names must "
                    f'be of the form "<op_name>:<output_index>".'
                )
            raise errors.GraphError(
                f"The name {name!r} looks like an (invalid) Operation name, not a Tensor. Tensor "
                f'names must be of the form "<op_name>:<output_index>".'
            )
        if op is None:
            raise errors.NodeNotFound(
                f"The name {name!r} refers to an Operation not in the graph."
                f"{errors.near_misses(name, self._operations)}"
            )
        return op

    def _tensor_by_name(self, name: str) -> Tensor:
        op_name, _, index = name.rpartition(":")
        if ":" in op_name or not (index.isascii() and index.isdigit() and len(index) < 10):
            raise errors.GraphError(
                f"The name {name!r} looks a like a Tensor name, but is not a valid one. Tensor "
                f'names must be of the form "<op_name>:<output_index>".'
            )
        op = self._operations.get(op_name)
        if op is None:
            raise errors.NodeNotFound(
                f"The name {name!r} refers to a Tensor which does not exist. The operation, "
                f"{op_name!r}, does not exist in the graph."
                f"{errors.near_misses(op_name, self._operations)}"
            )
        if int(index) >= len(op.outputs):
            raise errors.NodeNotFound(
                f"The name {name!r} refers to a Tensor which does not exist. The operation, "
                f"{op_name!r}, exists but only has {len(op.outputs)} outputs."
            )
        return op.outputs[int(index)]

    def op_def_for_type(self, op_type: str) -> OpDef | None:
        """What a type of operation takes and gives; None where that is not known."""
        function = self.functions.get(op_type)
        return op_defs.find(op_type) if function is None else function.signature

    @property
    def version(self) -> int:
        """How many operations were made, which changes with each."""
        return len(self._operations)

    @property
    def versions(self) -> VersionDef:
        return self.graph_def_versions

    def as_graph_def(self, *, add_shapes: bool = False) -> GraphDef:
        """The message for the whole graph; with `add_shapes` each node says its outputs'."""
        from ckptmgr.graph.graph_def import export_graph_def

        return export_graph_def(self, add_shapes=add_shapes)

    # ----------------------------------------------------------------- blocks

    def name_scope(self, name: str | None) -> AbstractContextManager[str]:
        """Begin the names of new operations with a scope; gives the scope with its "/"."""
        return self._names.enter(name)

    def get_name_scope(self) -> str:
        """The scope that is entered, without "/" at its end."""
        return self._names.scope

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """A name that no operation has, from the current scope and `name`."""
        return self._names.unique(name, mark_as_used=mark_as_used)

    def control_dependencies(self, control_inputs: Any) -> AbstractContextManager[None]:
        """Let new operations wait for these operations and tensors; None forgets outer ones."""
        if control_inputs is None:
            return self._controls.enter(None)
        return self._controls.enter([self._as_operation(item) for item in control_inputs])

    def _as_operation(self, item: Any) -> Operation:
        # Whoever waits for a variable with a handle, or for its change, does not read it.
        has_handle = isinstance(getattr(item, "handle", None), Tensor)
        element = self.as_graph_element(item.op if has_handle else item)
        return element.op if isinstance(element, Tensor) else element

    def device(self, device_name_or_function: Any) -> AbstractContextManager[None]:
        """Place new operations on a device, where inner blocks and the operation leave it open."""
        return self._placement.device(device_name_or_function)

    def colocate_with(
        self,
        op: Any,
        ignore_existing: bool = False,
    ) -> AbstractContextManager[None]:
        """Place new operations where another one is; a variable is where its handle is."""
        handle = getattr(op, "handle", None)
        named = handle if isinstance(handle, Tensor) else op
        target = None if named is None else self._as_operation(named)
        return self._placement.colocate_with(target, ignore_existing=ignore_existing)

    @contextmanager
    def container(self, container_name: str) -> Iterator[str]:
        """Keep the state of new operations in a container of a session."""
        outer, self._container = self._container, container_name
        try:
            yield container_name
        finally:
            self._container = outer

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Make this the default graph of the thread."""
        _defaults.stack.append(self)
        try:
            yield self
        finally:
            if _defaults.stack[-1] is not self:
                raise errors.GraphError(
                    "Nesting violated for the default graph: reset within a block"
                )
            _defaults.stack.pop()

    # ----------------------------------------------------------------- collections

    def add_to_collection(self, name: Any, value: Any) -> None:
        self.check_not_finalized()
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Add a value to one collection or to several."""
        several = [names] if isinstance(names, str) else dict.fromkeys(names)
        for name in several:
            self.add_to_collection(name, value)

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """The values of a collection, a copy; of those with names, where their beginnings match.

        Args:
            scope: A regular expression.
        """
        values = self._collections.get(name, [])
        if scope is None:
            return list(values)
        matches = re.compile(scope).match
        return [item for item in values if hasattr(item, "name") and matches(item.name)]

    def get_collection_ref(self, name: Any) -> list[Any]:
        """The collection itself: whoever changes it changes the graph's."""
        return self._collections.setdefault(name, [])

    def get_all_collection_keys(self) -> list[str]:
        return [name for name in self._collections if isinstance(name, str)]

    @property
    def collections(self) -> list[Any]:
        return list(self._collections)

    def clear_collection(self, name: Any) -> None:
        self.check_not_finalized()
        self._collections.pop(name, None)

    # ----------------------------------------------------------------- what may be done with it

    @property
    def finalized(self) -> bool:
        return self._finalized

    def finalize(self) -> None:
        """Allow no more changes."""
        self._finalized = True

    def _unsafe_unfinalize(self) -> None:
        """Allow changes again, as before a session that finalized it; under TensorFlow's name."""
        self._finalized = False

    def check_not_finalized(self) -> None:
        if self._finalized:
            raise errors.GraphFinalized("Graph is finalized and cannot be modified.")

    def prevent_feeding(self, tensor: Tensor) -> None:
        self._unfeedable.add(tensor)

    def is_feedable(self, tensor: Tensor) -> bool:
        return tensor not in self._unfeedable

    def prevent_fetching(self, op: Operation) -> None:
        self._unfetchable.add(op)

    def is_fetchable(self, tensor_or_op: Tensor | Operation) -> bool:
        op = tensor_or_op.op if isinstance(tensor_or_op, Tensor) else tensor_or_op
        return op not in self._unfetchable


# --------------------------------------------------------------------------- the default graph


class _Defaults(threading.local):
    def __init__(self) -> None:
        self.stack: list[Graph] = []
        self.root: Graph | None = None


_defaults = _Defaults()


def get_default_graph() -> Graph:
    """The innermost graph that is the thread's default, or else the thread's own."""
    if _defaults.stack:
        return _defaults.stack[-1]
    if _defaults.root is None:
        _defaults.root = Graph()
    return _defaults.root


def reset_default_graph() -> None:
    """Begin a new default graph; not within `as_default`."""
    if _defaults.stack:
        raise errors.GraphError(
            "reset_default_graph() cannot be called within a graph's as_default() block"
        )
    _defaults.root = None
