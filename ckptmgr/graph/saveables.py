"""What a graph's Saver saves: objects that name tensors to be written and can be restored.

Each `SaveableObject` has one or more `SaveSpec`: a tensor, the name under which it is saved and, of
a part of a partitioned variable, which part it is. Its `restore` adds what gives it the tensors
that were read. A user's own class makes anything else savable; it is put into the collection
`saveable_objects` or the Saver's list.

Source: tensorflow/python/training/saving/saveable_object.py, saveable_object_util.py.
"""

# ruff: noqa: ARG002 - what subclasses take

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.conversion import as_tensor
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.partitioned_variables import PartitionedVariable
from ckptmgr.graph.tensor_shape import TensorShape
from ckptmgr.graph.variables import REF_TYPES, ResourceVariable, Variable


class SaveSpec:
    """One tensor of a saveable.

    Args:
        tensor: It, or a function that adds what gives it when it is to be saved.
        slice_spec: Which part it is of the tensor `name`; empty for all of it.
        dtype: The tensor's; needed of a function.
        device: Where it is; the tensor's where it is None.
    """

    def __init__(
        self,
        tensor: Tensor | Variable | Callable[[], Tensor],
        slice_spec: str,
        name: str,
        dtype: Any = None,
        device: str | None = None,
    ) -> None:
        self._tensor = tensor
        self.slice_spec = slice_spec
        self.name = name
        if isinstance(tensor, Tensor | Variable):
            self.dtype: DType = tensor.dtype.base_dtype
            self.device = tensor.device if device is None else device
        elif dtype is None or device is None:
            raise errors.GraphError(
                f"the function for {name!r} must come with the dtype and device of its tensor"
            )
        else:
            self.dtype, self.device = as_dtype(dtype).base_dtype, device

    @property
    def tensor(self) -> Tensor:
        """What is written; a function adds its operations each time."""
        made = self._tensor
        return made() if not isinstance(made, Tensor | Variable) else as_tensor(made)


class SaveableObject:
    """Something with tensors to be saved under names."""

    def __init__(self, op: Any, specs: Sequence[SaveSpec], name: str) -> None:
        self.op = op
        self.specs = list(specs)
        self.name = name

    @property
    def device(self) -> str:
        return self.specs[0].device

    def restore(
        self, restored_tensors: Sequence[Tensor], restored_shapes: Sequence[Any] | None
    ) -> Operation:
        """Add what gives the object these values; to be defined by each kind.

        Args:
            restored_tensors: One for each of `specs`.
            restored_shapes: The shapes that they are to have, where they may have others.
        """
        raise errors.GraphError(f"{type(self).__name__} cannot be restored")


class ReferenceVariableSaveable(SaveableObject):
    """A variable of references, or the reference itself."""

    def __init__(self, var: Tensor | Variable, slice_spec: str, name: str) -> None:
        super().__init__(var, [SaveSpec(var, slice_spec, name)], name)

    def restore(
        self, restored_tensors: Sequence[Tensor], restored_shapes: Sequence[Any] | None
    ) -> Operation:
        reference = as_tensor(self.op, as_ref=True)
        value = _reshaped(restored_tensors[0], restored_shapes)
        checks = restored_shapes is None and reference.shape.is_fully_defined()
        attrs = {"validate_shape": checks, "use_locking": True}
        return create_op(reference.graph, "Assign", [reference, value], attrs)


class ResourceVariableSaveable(SaveableObject):
    """A resource variable, or a tensor that reads one."""

    def __init__(self, var: Tensor | ResourceVariable, slice_spec: str, name: str) -> None:
        if isinstance(var, Tensor):
            self._handle = var.op.inputs[0]
            spec = SaveSpec(var, slice_spec, name)
        else:
            self._handle = var.handle
            spec = SaveSpec(
                lambda: _read_on_cpu(var), slice_spec, name, dtype=var.dtype, device=var.device
            )
        self._shape = TensorShape(self._handle.op.get_attr("shape"))
        super().__init__(var, [spec], name)

    def restore(
        self, restored_tensors: Sequence[Tensor], restored_shapes: Sequence[Any] | None
    ) -> Operation:
        graph = self._handle.graph
        value = _reshaped(restored_tensors[0], restored_shapes)
        with graph.device(self.device):
            value = create_op(graph, "Identity", [value]).outputs[0]
            if not self._shape.is_compatible_with(value.shape):
                raise errors.GraphError(
                    f"Received incompatible tensor with shape {value.shape} when attempting to "
                    f"restore variable with shape {self._shape} and name {self.name}."
                )
            return create_op(graph, "AssignVariableOp", [self._handle, value])


def _read_on_cpu(variable: ResourceVariable) -> Tensor:
    graph = variable.graph
    with graph.device(variable.device):
        value = variable.read_value_no_copy()
        with graph.device("/device:CPU:0"):
            return create_op(graph, "Identity", [value]).outputs[0]


def _reshaped(value: Tensor, shapes: Sequence[Any] | None) -> Tensor:
    if shapes is None:
        return value
    graph = value.graph
    with graph.name_scope("Reshape") as scope:
        wanted = shapes[0]
        if not isinstance(wanted, Tensor):
            sizes = np.array(TensorShape(wanted).as_list(), np.int32)
            wanted = constant(graph, sizes, name="shape")
        return create_op(graph, "Reshape", [value, wanted], name=scope).outputs[0]


# --------------------------------------------------------------------------- what a user lists


def saveables_of(var_list: Any) -> list[SaveableObject]:
    """What to save for a list of variables and saveables, or a dict of them by name; by name.

    Raises:
        GraphError, GraphTypeError: Something in it cannot be saved, or two have the same name.
    """
    by_name = var_list if isinstance(var_list, Mapping) else names_of(var_list)
    saveables: list[SaveableObject] = []
    seen: set[Any] = set()
    for name in sorted(by_name, key=_checked_name):
        for saveable in _saveables(by_name[name], name):
            identity = _identity(saveable)
            if identity in seen:
                raise errors.GraphError(
                    f"The same saveable will be restored with two names: {saveable.name}"
                )
            seen.add(identity)
            saveables.append(saveable)
    return saveables


def _identity(saveable: SaveableObject) -> Any:
    """What is the same for a variable and the tensors that are read of it."""
    op = saveable.op
    if not isinstance(saveable, ReferenceVariableSaveable | ResourceVariableSaveable):
        return id(saveable)
    if isinstance(op, Variable):
        return op._variable.op
    return op.op.inputs[0].op if op.op.type == "ReadVariableOp" else op.op


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise errors.GraphTypeError(
            f"names_to_saveables must be a dict mapping string names to trackable operations. "
            f"Name is not a string: {name!r}"
        )
    return name


def names_of(var_list: Iterable[Any]) -> dict[str, Any]:
    """The names under which a list of variables is saved; parts of one tensor under its name.

    Raises:
        GraphError: At least two have the same name.
    """
    if isinstance(var_list, str) or not isinstance(var_list, Iterable):
        raise errors.GraphTypeError(
            f"Variables to save should be passed in a dict or a list. Got {var_list!r:.80}"
        )
    by_name: dict[str, Any] = {}
    for item in sorted(_flat(var_list), key=lambda item: str(item.name)):
        info = item._get_save_slice_info() if isinstance(item, Variable) else None
        if info is not None:
            parts = by_name.setdefault(info.full_name, [])
            if not isinstance(parts, list):
                raise errors.GraphError(
                    f"Mixing slices and non-slices with the same name: {info.full_name}"
                )
            parts.append(item)
            continue
        name = _name_of(item)
        if name in by_name:
            raise errors.GraphError(f"At least two variables have the same name: {name}")
        by_name[name] = item
    return by_name


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list | tuple):
            yield from _flat(item)
        elif hasattr(item, "name"):
            yield item
        else:
            raise errors.GraphTypeError(f"Variable to save is not a Variable: {item!r:.80}")


def _name_of(item: Any) -> str:
    if isinstance(item, SaveableObject | PartitionedVariable):
        return item.name
    if isinstance(item, Variable):
        return item._variable.op.name
    if isinstance(item, Tensor):
        return item.op.inputs[0].op.name if item.op.type == "ReadVariableOp" else item.op.name
    raise errors.GraphTypeError(f"Variable to save is not a Variable: {item!r:.80}")


def _saveables(item: Any, name: str) -> Iterator[SaveableObject]:
    if isinstance(item, SaveableObject):
        yield item
    elif isinstance(item, list | tuple | PartitionedVariable):
        yield from _parts(list(item), name)
    elif isinstance(item, ResourceVariable):
        # The read that stands beside it, if it is one: a save adds none of its own.
        beside = item._as_graph_element()
        is_read = beside.op.type == "ReadVariableOp"
        yield ResourceVariableSaveable(beside if is_read else item, "", name)
    else:
        yield _of_tensor(item, name)


def _parts(parts: Sequence[Any], name: str) -> Iterator[SaveableObject]:
    full_name: str | None = None
    for part in parts:
        if isinstance(part, SaveableObject):
            yield part
            continue
        info = part._get_save_slice_info() if isinstance(part, Variable) else None
        if info is None:
            raise errors.GraphError(f"Slices must all be slices of Variables: {part!r:.80}")
        if full_name not in (None, info.full_name):
            raise errors.GraphError(
                f"Slices must all be from the same tensor: {full_name} != {info.full_name}"
            )
        full_name = info.full_name
        if isinstance(part, ResourceVariable):
            yield ResourceVariableSaveable(part, info.spec, name)
        else:
            yield ReferenceVariableSaveable(part, info.spec, name)


def _of_tensor(item: Any, name: str) -> SaveableObject:
    if isinstance(item, Tensor | Variable):
        tensor = as_tensor(item, as_ref=True)
        if tensor.op.type in REF_TYPES:
            return ReferenceVariableSaveable(tensor, "", name)
        if tensor.op.type == "ReadVariableOp":
            return ResourceVariableSaveable(tensor, "", name)
    raise errors.GraphTypeError(
        f"names_to_saveables must be a dict mapping string names to Tensors/Variables. Not a "
        f"variable: {item!r:.80}"
    )
