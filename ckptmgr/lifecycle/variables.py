"""The variables of a `Saver`: what `var_list` may be, and how it maps to stored tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.lifecycle import fill, leaves, skeletons, tree
from ckptmgr.lifecycle.metadata import METADATA_NAME

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PartitionedVariable:
    """A tensor of which this process holds parts: saved as TensorFlow's slices.

    Args:
        full_shape: Of the whole tensor.
        parts: Where each part begins in it, and the part.
    """

    full_shape: tuple[int, ...]
    parts: Sequence[tuple[tuple[int, ...], Array]]

    def tensors(self, name: str) -> list[NamedTensor]:
        return [
            NamedTensor(name, array, Partition(tuple(self.full_shape), tuple(starts)))
            for starts, array in self.parts
        ]

    def stand_in(self) -> Array:
        """An array of the full shape and the right dtype, without its memory."""
        return np.broadcast_to(np.zeros((), self.parts[0][1].dtype), self.full_shape)


def by_name(var_list: Mapping[str, Any] | Iterable[Any]) -> dict[str, Any]:
    """The variables by name.

    Raises:
        InvalidName, DuplicateName, InvalidArgument: Naming the variable.
    """
    if isinstance(var_list, Mapping):
        pairs = list(var_list.items())
    elif isinstance(var_list, str | bytes) or not isinstance(var_list, Iterable):
        raise errors.InvalidArgument(
            f"var_list must be a dict of names to arrays or a list of named variables, "
            f"found {type(var_list).__name__}"
        )
    else:
        pairs = [(_name_of(variable), variable) for variable in var_list]
    found: dict[str, Any] = {}
    for name, variable in pairs:
        tree.validate_name(name)
        if name in found:
            raise errors.DuplicateName(f"At least two variables have the same name: {name}")
        if isinstance(variable, PartitionedVariable) and not variable.parts:
            raise errors.InvalidArgument(
                f"variable {name!r} has no part here; leave it out of var_list"
            )
        found[name] = variable
    return found


def shards(variables: Mapping[str, Any], *, by_device: bool) -> list[list[NamedTensor]]:
    """The tensors of each shard: one for all, or one per device, in the order of their names."""
    groups: dict[str, list[NamedTensor]] = {}
    for name, variable in variables.items():
        device = str(getattr(variable, "device", "")) if by_device else ""
        groups.setdefault(device, []).extend(_tensors(name, variable))
    return [groups[device] for device in sorted(groups)]


def _tensors(name: str, variable: Any) -> list[NamedTensor]:
    if isinstance(variable, PartitionedVariable):
        return variable.tensors(name)
    _, array = leaves.encode_leaf(variable, name)
    if array is None:
        raise errors.UnsupportedLeaf(f"variable {name!r} cannot be saved: it is None")
    return [NamedTensor(name, array)]


def stored_tensors(reader: CheckpointReader, skeleton: skeletons.Skeleton = None) -> fill.Stored:
    """What a checkpoint holds, for comparison with a target; the manager's own tensor left out."""
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    tensors = {
        name: fill.StoredTensor(tuple(shape), dtypes[name])
        for name, shape in shapes.items()
        if name != METADATA_NAME
    }
    return fill.Stored(reader.prefix, tensors, skeleton)


def read_arrays(reader: CheckpointReader, names: Iterable[str]) -> dict[str, Array]:
    """The values of tensors as arrays, those of rank 0 too."""
    found = reader.get_tensors(dict.fromkeys(names))
    return {
        name: np.asarray(value, object if isinstance(value, bytes) else None)
        for name, value in found.items()
    }


def restore(
    variables: Mapping[str, Any], reader: CheckpointReader, *, reshape: bool
) -> dict[str, Any]:
    """Fill the variables from a checkpoint, or change none of them and raise."""
    stored = stored_tensors(reader)
    target = {
        name: variable.stand_in() if isinstance(variable, PartitionedVariable) else variable
        for name, variable in variables.items()
    }
    if reshape:
        stored = _reshaped_like(target, stored)
    fill.plan(target, stored)
    whole = [n for n, v in variables.items() if not isinstance(v, PartitionedVariable)]
    values: dict[str, Any] = {**read_arrays(reader, whole)}
    for name, variable in variables.items():
        if isinstance(variable, PartitionedVariable):
            values[name] = _read_parts(reader, name, variable)
    return {
        name: _assign(name, variable, values[name], stored) for name, variable in variables.items()
    }


def _reshaped_like(target: Mapping[str, Any], stored: fill.Stored) -> fill.Stored:
    """`stored`, with the target's shape wherever only the shape differs."""
    tensors = dict(stored.tensors)
    for name, variable in target.items():
        wanted = tuple(getattr(variable, "shape", ()))
        found = tensors.get(name)
        if found is not None and math.prod(wanted) == math.prod(found.shape):
            tensors[name] = found._replace(shape=wanted)
    return fill.Stored(stored.prefix, tensors)


def _read_parts(reader: CheckpointReader, name: str, variable: PartitionedVariable) -> list[Array]:
    return [reader.get_slice(name, _slice(starts, array)) for starts, array in variable.parts]


def _slice(starts: tuple[int, ...], array: Array) -> TensorSlice:
    return TensorSlice(tuple(map(Extent, starts, array.shape)))


def _assign(name: str, variable: Any, value: Any, stored: fill.Stored) -> Any:
    if isinstance(variable, PartitionedVariable):
        for (_, array), part in zip(variable.parts, value, strict=True):
            np.copyto(array, part)
        return variable
    value = value.reshape(stored.tensors[name].shape)
    if callable(assign := getattr(variable, "assign", None)):
        assign(value)
        return variable
    plan = fill.RestorePlan(variable, {skeletons.ROOT_NAME: name})
    return plan.apply({name: value})


def _name_of(variable: Any) -> str:
    name = getattr(variable, "name", None)
    if not isinstance(name, str):
        raise errors.InvalidArgument(
            f"an element of var_list has no name, found {type(variable).__name__}; "
            f"use a dict of names to arrays"
        )
    return name.removesuffix(":0")
