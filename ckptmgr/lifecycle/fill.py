"""Putting a checkpoint's values into a target, all or nothing.

First `plan` compares every leaf of the target with what the checkpoint holds: names, shapes,
dtypes. Only when nothing is wrong are values read and applied; until then the target has not been
touched. Arrays are filled in place, so that whoever else refers to them sees the restored values; a
leaf that cannot change (a number, a read-only or a foreign array) is replaced in the dict, list or
object around it, and a tuple around it is rebuilt.

An object with `load_state_dict()` takes back the whole structure that its `state_dict()` had when
it was saved: an optimizer that has not stepped yet does not know its own leaves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.lifecycle import leaves, tree

Path = tuple[str, ...]

#: Target name to checkpoint name; None leaves that target as it is.
Rename = Callable[[str], str | None]


class StoredTensor(NamedTuple):
    shape: tuple[int, ...]
    #: `object` for strings.
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint holds, without its values."""

    prefix: str
    tensors: Mapping[str, StoredTensor]
    #: The recorded skeleton; None for a checkpoint that the manager did not write.
    skeleton: tree.Skeleton | None = None


@dataclass(slots=True)
class RestorePlan:
    """A target and the tensors that will fill it."""

    target: Any
    #: Leaf of the target to tensor of the checkpoint.
    sources: dict[str, str] = field(default_factory=dict)
    #: The structure to hand to each object that loads its own state.
    own_skeletons: dict[Path, tree.Skeleton] = field(default_factory=dict)

    def apply(self, values: Mapping[str, np.ndarray]) -> Any:
        """Fill the target; returns it, or its replacement if it is immutable.

        Args:
            values: Tensor of the checkpoint to its value, for each of `sources`.
        """
        by_target = {name: values[source] for name, source in self.sources.items()}
        return _Filler(self, by_target).fill(self.target, ())


def as_rename(names: Mapping[str, str | None] | Rename | None) -> Rename:
    """The function meant by a mapping (names it lacks stand for themselves), or by None."""
    if names is None:
        return lambda name: name
    if isinstance(names, Mapping):
        mapping = names
        return lambda name: mapping.get(name, name)
    return names


def plan(target: Any, stored: Stored, rename: Rename) -> RestorePlan:
    """Compare `target` with a checkpoint, leaf by leaf.

    Raises:
        TensorNotFound, ShapeMismatch, DtypeMismatch: Naming the tensor, what was wanted and what
            was found. The target is unchanged.
    """
    found = RestorePlan(target)
    for path, leaf in _target_leaves(target, ()):
        if _loads_itself(leaf) or leaf is None:
            _plan_own_state(found, path, leaf, stored, rename)
        else:
            name = tree.name_of(path)
            source = _source(name, stored, rename)
            if source is not None:
                recorded = path if source == name else tuple(source.split("/"))
                _check_leaf(source, leaf, stored, recorded)
                found.sources[name] = source
    return found


def _plan_own_state(
    found: RestorePlan, path: Path, leaf: Any, stored: Stored, rename: Rename
) -> None:
    own = None if leaf is None else _flatten_at(path, leaf)
    skeleton = None if stored.skeleton is None else tree.subtree(stored.skeleton, path)
    if skeleton is None:
        if own is None:
            return  # None in the target and nothing recorded for it: it stays None
        skeleton = own.skeleton
    found.own_skeletons[path] = skeleton
    for name in tree.leaf_names(skeleton, path):
        source = _source(name, stored, rename)
        if source is not None:
            if own is not None and name in own.arrays:
                _check_leaf(source, own.arrays[name], stored, path)
            found.sources[name] = source


def _flatten_at(path: Path, leaf: Any) -> tree.FlatState:
    """`tree.flatten` of an object that stands at `path`, under the names it has there."""
    nested = leaf
    for key in reversed(path):
        nested = {key: nested}
    flat = tree.flatten(nested)
    return tree.FlatState(flat.arrays, tree.subtree(flat.skeleton, path))


def _source(name: str, stored: Stored, rename: Rename) -> str | None:
    source = rename(name)
    if source is None or source in stored.tensors:
        return source
    role = "" if source == name else f" (to restore {name!r})"
    raise errors.TensorNotFound(
        f"tensor {source!r}{role} not found in checkpoint {stored.prefix}."
        f"{errors.near_misses(source, stored.tensors)}"
    )


def _check_leaf(source: str, leaf: Any, stored: Stored, recorded_at: Path) -> None:
    tensor = stored.tensors[source]
    wanted_shape = tuple(getattr(leaf, "shape", ()))
    if tensor.shape != wanted_shape:
        raise errors.ShapeMismatch(
            f"tensor {source!r}: wanted shape {wanted_shape}, found {tensor.shape} "
            f"in checkpoint {stored.prefix}"
        )
    wanted, accepted = _wanted_dtype(source, leaf, tensor.dtype)
    if not accepted and not (isinstance(leaf, int) and _is_big_int(stored, recorded_at)):
        raise errors.DtypeMismatch(
            f"tensor {source!r}: wanted {wanted}, found dtype {_dtype_name(tensor.dtype)} "
            f"in checkpoint {stored.prefix}"
        )


def _wanted_dtype(source: str, leaf: Any, found: np.dtype[Any]) -> tuple[str, bool]:
    """What a leaf can take, in words, and whether `found` is that.

    A Python number takes every dtype that loses nothing of its meaning; an array only its own.
    """
    if isinstance(leaf, bool | int | float | complex) and not isinstance(leaf, np.generic):
        kind = "bool" if isinstance(leaf, bool) else type(leaf).__name__
        refused = {"bool": "iufcO", "int": "bfcO", "float": "bcO", "complex": "bO"}[kind]
        return f"a number for a Python {kind}", found.kind not in refused
    _, array = leaves.encode_leaf(leaf, source)
    assert array is not None
    wanted = array.dtype.newbyteorder("=")
    return f"dtype {_dtype_name(wanted)}", wanted == found


def _is_big_int(stored: Stored, path: Path) -> bool:
    """Whether an int was saved there that is stored as text."""
    return stored.skeleton is not None and tree.subtree(stored.skeleton, path) == leaves.BIG_INT


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.hasobject else dtype.name


# --------------------------------------------------------------------------- walking the target


def _target_leaves(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    children = _children(node)
    if children is None:
        yield path, node
    else:
        for key, child in children:
            yield from _target_leaves(child, (*path, str(key)))


def _loads_itself(node: Any) -> bool:
    return tree.is_stateful(node) or tree.is_random_generator(node)


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """The keys and children of a container, None for a leaf."""
    if isinstance(node, np.ndarray) or _loads_itself(node):
        return None
    if isinstance(node, Mapping):
        return list(node.items())
    if (names := tree.fields_of(node)) is not None:
        return [(name, getattr(node, name)) for name in names]
    if isinstance(node, list | tuple):
        return list(enumerate(node))
    return None


@dataclass(slots=True)
class _Filler:
    plan: RestorePlan
    values: Mapping[str, np.ndarray]

    def fill(self, node: Any, path: Path) -> Any:
        children = _children(node)
        if children is None:
            return self.fill_leaf(node, path)
        replaced = {}
        for key, child in children:
            new = self.fill(child, (*path, str(key)))
            if new is not child:
                replaced[key] = new
        return _with_replaced(node, replaced) if replaced else node

    def fill_leaf(self, leaf: Any, path: Path) -> Any:
        if path in self.plan.own_skeletons:
            return self.load_own_state(leaf, path)
        value = self.values.get(tree.name_of(path))
        if value is None:  # the caller's names left this one out
            return leaf
        if isinstance(leaf, np.ndarray):
            return _fill_array(leaf, value)
        if isinstance(leaf, np.generic):
            return value[()]
        kind, _ = leaves.encode_leaf(leaf, tree.name_of(path))
        if kind in {"int", "bigint", "float", "complex"}:
            return type(leaf)(leaves.decode_number(value))
        return leaves.decode_leaf(kind, value)

    def load_own_state(self, leaf: Any, path: Path) -> Any:
        skeleton = self.plan.own_skeletons[path]
        if any(name not in self.values for name in tree.leaf_names(skeleton, path)):
            return leaf  # the caller's names left out a part of it, and it loads whole or not
        state = tree.unflatten(skeleton, self.values, path)
        if leaf is None:
            return state
        if tree.is_random_generator(leaf):
            tree.set_random_state(leaf, state)
        else:
            leaf.load_state_dict(state)
        return leaf


def _fill_array(target: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if target.dtype.kind in "UTO" and leaves.encode_leaf(target, "")[0] == leaves.TEXT_ARRAY:
        value = leaves.decode_leaf(leaves.TEXT_ARRAY, value)
    if not target.flags.writeable:
        return value.astype(target.dtype, copy=False)
    np.copyto(target, value, casting="unsafe")
    return target


def _with_replaced(node: Any, replaced: dict[Any, Any]) -> Any:
    """`node` with some children replaced, in place where it can be."""
    if isinstance(node, MutableMapping | list):
        for key, child in replaced.items():
            node[key] = child
        return node
    if isinstance(node, Mapping):
        return type(node)({**node, **replaced})  # type: ignore[call-arg]
    if not isinstance(node, tuple):
        return _dataclass_with_replaced(node, replaced)
    if hasattr(node, "_replace"):
        return node._replace(**replaced)
    return tuple(replaced.get(index, child) for index, child in enumerate(node))


def _dataclass_with_replaced(node: Any, replaced: dict[str, Any]) -> Any:
    if node.__dataclass_params__.frozen:
        return dataclasses.replace(node, **replaced)
    for name, child in replaced.items():
        setattr(node, name, child)
    return node
