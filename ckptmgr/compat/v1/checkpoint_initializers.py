"""`init_from_checkpoint`: variables that begin with what a checkpoint holds.

Only what initializes them is replaced: a program that restores its own checkpoint afterwards, or
runs no initializer, is not affected.

Source: tensorflow/python/training/checkpoint_utils.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.conversion import apply
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.tensor_shape import TensorShape, as_text
from ckptmgr.graph.variable_base import Variable
from ckptmgr.graph.variable_scopes import variables_by_name
from ckptmgr.graph.variables import ResourceVariable
from ckptmgr.lifecycle.reading import load_checkpoint


def init_from_checkpoint(
    ckpt_dir_or_file: str | os.PathLike[str],
    assignment_map: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> None:
    """Let variables begin with the tensors of a checkpoint.

    Args:
        assignment_map: Name of a tensor to a variable, the parts of one, or its name; or
            "scope/" to "other_scope/" for all that `get_variable` made in that scope. "/" is all.
    Raises:
        TensorNotFound, ShapeMismatch: Naming the tensor.
        GraphError: There is no such variable, or a scope is given without "/".
    """
    pairs = assignment_map.items() if isinstance(assignment_map, Mapping) else assignment_map
    with load_checkpoint(ckpt_dir_or_file) as reader:
        shapes = reader.get_variable_to_shape_map()
        prefix = reader.prefix
    for tensor_name, target in sorted(pairs, key=lambda pair: pair[0]):
        for name, parts in _targets(tensor_name, target):
            if name not in shapes:
                raise errors.TensorNotFound(
                    f"Tensor {name} is not found in {prefix} checkpoint."
                    f"{errors.near_misses(name, shapes)}"
                )
            for part in parts:
                _initialize(part, prefix, name, shapes[name])


def _targets(tensor_name: str, target: Any) -> Iterator[tuple[str, list[Any]]]:
    """Each tensor with the variable, or the parts of one, that it goes to."""
    known = variables_by_name(get_default_graph())
    parts = _parts(target, known)
    if parts:
        yield tensor_name, parts
        return
    if not (tensor_name.endswith("/") and target.endswith("/")):
        raise errors.GraphError(
            f"there is no variable {target!r}, and a scope is assigned as 'scope/': "
            f"'other_scope/', found {tensor_name!r}: {target!r}.{errors.near_misses(target, known)}"
        )
    outer, inner = ("" if scope == "/" else scope for scope in (tensor_name, target))
    names = {name.partition("/part_")[0] for name in known if name.startswith(inner)}
    for name in sorted(names):
        yield outer + name.removeprefix(inner), _parts(name, known)


def _parts(target: Any, known: Mapping[str, Any]) -> list[Any]:
    if isinstance(target, Variable):
        return [target]
    if not isinstance(target, str):
        return list(target)
    if target in known:
        return [known[target]]
    parts: list[Any] = []
    while f"{target}/part_{len(parts)}" in known:
        parts.append(known[f"{target}/part_{len(parts)}"])
    return parts


def _initialize(variable: Any, prefix: str, tensor_name: str, shape: Any) -> None:
    part = variable._get_save_slice_info()
    wanted = TensorShape(variable.shape if part is None else part.full_shape)
    if not wanted.is_compatible_with(shape):
        raise errors.ShapeMismatch(
            f"Shape of variable {variable.name} ({wanted}) doesn't match with shape of tensor "
            f"{tensor_name} ({as_text(tuple(shape))}) from checkpoint reader."
        )
    graph = variable.graph
    dtype = variable.dtype.base_dtype
    spec = "" if part is None else part.spec
    with graph.as_default(), graph.device(variable.device), graph.device("/cpu:0"):
        inputs = [prefix, [tensor_name], [spec]]
        restored = apply("RestoreV2", inputs, {"dtypes": [dtype]}, "checkpoint_initializer")
        value = restored.outputs[0]
        value.set_shape(variable.shape)
        if isinstance(variable, ResourceVariable):
            value = apply("Identity", [value]).outputs[0]
            assigned = apply("AssignVariableOp", [variable.handle, value])
        else:
            assigned = apply("Assign", [variable, value])
    variable._initializer = assigned
    variable._initial_value = restored.outputs[0]
