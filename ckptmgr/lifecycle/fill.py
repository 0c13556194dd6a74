"""Putting a checkpoint's values into a target, all or nothing.

First `plan` compares every leaf of the target with what the checkpoint holds: names, shapes,
dtypes. Only when nothing is wrong are values read and applied; until then the target has not been
touched. Then every value is decoded, then the objects that load their own state do so (theirs is
code that may refuse), and only then is the rest filled.

Arrays and PyTorch's tensors are filled in place, so that whoever else refers to them sees the
restored values; a leaf that cannot change (a number, a read-only array or JAX's, an array whose
strings are too short) is replaced in the dict, list or object around it, and a tuple around it is
rebuilt.

An object with `load_state_dict()` takes back the whole structure that its `state_dict()` had when
it was saved: an optimizer that has not stepped yet does not know its own leaves.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle import arrays
from ckptmgr.lifecycle import foreign, leaves, tree

Path = tuple[str, ...]

_LEFT_OUT = object()

#: Target name to checkpoint name; None leaves that target as it is.
Rename = Callable[[str], str | None]


class StoredTensor(NamedTuple):
    shape: tuple[int, ...]
    #: `object` for strings.
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds, without its values."""

    prefix: str
    tensors: Mapping[str, StoredTensor]
    #: The recorded skeleton; None for a checkpoint that the manager did not write.
    skeleton: tree.Skeleton | None = None

    def recorded(self, path: Path) -> tree.Skeleton | None:
        """The part of the skeleton at `path`, None where nothing was recorded."""
        return self._parts.get(path)

    @cached_property
    def _parts(self) -> Mapping[Path, tree.Skeleton]:
        return {} if self.skeleton is None else tree.parts(self.skeleton)


@dataclass(slots=True)
class RestorePlan:
    """A target and the tensors that will fill it."""

    target: Any
    #: Leaf of the target to tensor of the checkpoint.
    sources: dict[str, str] = field(default_factory=dict)
    #: The structure to hand to each object that loads its own state.
    own_skeletons: dict[Path, tree.Skeleton] = field(default_factory=dict)
    #: Leaf to its kind, of the objects that load their own state, as they are now.
    own_kinds: dict[str, str] = field(default_factory=dict)

    def in_place(self, stored: Stored) -> dict[str, np.ndarray]:
        """Tensor of the checkpoint to the array of the target that it can be read straight into."""
        uses = Counter(self.sources.values())
        targets = list(_target_leaves(self.target, ()))
        appearances = Counter(id(leaf) for _, leaf in targets)
        found: dict[str, np.ndarray] = {}
        for path, leaf in targets:
            source = self.sources.get(tree.name_of(path))
            # An array that stands twice, or is a part of another, would be filled twice at once.
            if source is None or uses[source] > 1 or appearances[id(leaf)] > 1:
                continue
            if type(leaf) is np.ndarray and leaf.base is None and leaf.flags.writeable:
                tensor = stored.tensors[source]
                same = leaf.shape == tensor.shape and leaf.dtype == tensor.dtype
                if same and arrays.can_fill(leaf):
                    found[source] = leaf
        return found

    def apply(self, values: Mapping[str, np.ndarray]) -> Any:
        """Fill the target; returns it, or its replacement if it is immutable.

        Args:
            values: Tensor of the checkpoint to its value, for each of `sources`; an array of the
                target itself is left to be filled by the caller.
        """
        by_target = _by_target(self.sources, values)
        targets = list(_target_leaves(self.target, ()))
        decoded = {path: self._decode(path, leaf, by_target) for path, leaf in targets}
        for path, leaf in targets:
            if _loads_itself(leaf) and decoded[path] is not _LEFT_OUT:
                _load(leaf, decoded[path])
        return _fill(self.target, (), decoded)

    def _decode(self, path: Path, leaf: Any, values: Mapping[str, np.ndarray]) -> Any:
        """What a leaf is to become, or its state; `_LEFT_OUT` if the caller's names say so."""
        if path in self.own_skeletons:
            skeleton = self.own_skeletons[path]
            if any(name not in values for name in tree.leaf_names(skeleton, path)):
                return _LEFT_OUT  # a part of it is left out, and it loads whole or not at all
            return tree.unflatten(skeleton, values, path, self.own_kinds)
        if _children(leaf) is not None:
            return _LEFT_OUT  # its children stand for it
        value = values.get(tree.name_of(path))
        return _LEFT_OUT if value is None else _decode_like(leaf, value, tree.name_of(path))


def _by_target(
    sources: Mapping[str, str], values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    used: set[str] = set()
    found = {}
    for name, source in sources.items():
        # An object may keep what it is given, and does not expect to share it.
        found[name] = values[source].copy() if source in used else values[source]
        used.add(source)
    return found


def as_rename(names: Mapping[str, str | None] | Rename | None) -> Rename:
    """The function meant by a mapping (names it lacks stand for themselves), or by None."""
    if names is None:
        return lambda name: name
    if isinstance(names, Mapping):
        mapping = names
        return lambda name: mapping.get(name, name)
    if not callable(names):
        raise errors.InvalidArgument(
            f"names must be a dict of leaf to tensor name, or a function, found "
            f"{type(names).__name__}"
        )
    return names


def plan(target: Any, stored: Stored, rename: Rename) -> RestorePlan:
    """Compare `target` with a checkpoint, leaf by leaf.

    Raises:
        TensorNotFound, ShapeMismatch, DtypeMismatch: Naming the tensor, what was wanted and what
            was found. The target is unchanged.
    """
    found = RestorePlan(target)
    for path, leaf in _target_leaves(target, ()):
        if isinstance(leaf, list | tuple) and leaf:
            _check_length(path, leaf, stored, rename)
        elif _loads_itself(leaf) or leaf is None or _children(leaf) is not None:
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
    # What is empty, or None, takes whatever was recorded: a list of losses begins empty.
    own = _flatten_at(path, leaf) if _loads_itself(leaf) else None
    skeleton = stored.recorded(path)
    if own is None and tree.fields_of(leaf) is not None:
        return  # a class without fields
    if skeleton is None:
        if own is None:
            return  # None in the target and nothing recorded for it: it stays None
        skeleton = own.skeleton
    if leaf is not None and own is None:
        _check_kind(path, leaf, skeleton, stored)
    found.own_skeletons[path] = skeleton
    own_kinds = {} if own is None else tree.leaf_kinds(own.skeleton, path)
    found.own_kinds |= own_kinds
    for name, kind in tree.leaf_kinds(skeleton, path).items():
        source = _source(name, stored, rename)
        if source is not None:
            if own is not None and _is_comparable(kind, own_kinds.get(name)):
                _check_kinds(source, own_kinds[name], kind, stored)
                _check_leaf(source, own.arrays[name], stored, path)
            found.sources[name] = source


def _is_comparable(recorded: str, own: str | None) -> bool:
    """Whether a leaf has to be what it was; the numbers and texts of an object are its affair."""
    return own is not None and (
        recorded == own or (leaves.is_array(recorded) and leaves.is_array(own))
    )


def _flatten_at(path: Path, leaf: Any) -> tree.FlatState:
    """`tree.flatten` of an object that stands at `path`, under the names it has there."""
    nested = leaf
    for key in reversed(path):
        nested = {key: nested}
    flat = tree.flatten(nested, leaves.outline_leaf)
    return tree.FlatState(flat.arrays, tree.parts(flat.skeleton)[path])


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
    kind, outline = leaves.outline_leaf(leaf, source)
    assert outline is not None
    if tensor.shape != outline.shape:
        raise errors.ShapeMismatch(
            f"tensor {source!r}: wanted shape {outline.shape}, found {tensor.shape} "
            f"in checkpoint {stored.prefix}"
        )
    recorded = stored.recorded(recorded_at)
    wanted, accepted = _wanted_dtype(leaf, outline.dtype, tensor.dtype)
    is_int = isinstance(leaf, int) and not isinstance(leaf, bool)
    if not accepted and not (is_int and recorded == leaves.BIG_INT):
        raise errors.DtypeMismatch(
            f"tensor {source!r}: wanted {wanted}, found dtype {_dtype_name(tensor.dtype)} "
            f"in checkpoint {stored.prefix}"
        )
    if isinstance(recorded, str):
        _check_kinds(source, kind, recorded, stored)


def _check_kinds(source: str, wanted: str, found: str, stored: Stored) -> None:
    if foreign.contradict(wanted, found):
        raise errors.DtypeMismatch(
            f"tensor {source!r}: wanted a {wanted}, found a {found} in checkpoint {stored.prefix}"
        )


def _wanted_dtype(leaf: Any, own: np.dtype[Any], found: np.dtype[Any]) -> tuple[str, bool]:
    """What a leaf can take, in words, and whether `found` is that.

    A Python number takes every dtype that loses nothing of its meaning; an array only its own.
    """
    if isinstance(leaf, bool | int | float | complex) and not isinstance(leaf, np.generic):
        kind = "bool" if isinstance(leaf, bool) else type(leaf).__name__
        # V: bfloat16 and the like, which may have fractions.
        refused = {"bool": "iufcOV", "int": "bfcOV", "float": "bcO", "complex": "bO"}[kind]
        return f"a number for a Python {kind}", found.kind not in refused
    wanted = own.newbyteorder("=")
    return f"dtype {_dtype_name(wanted)}", wanted == found


def _check_length(path: Path, node: Sequence[Any], stored: Stored, rename: Rename) -> None:
    """Raise StructureMismatch if more was recorded than a list or tuple has room for."""
    skeleton = stored.recorded(path)
    found = tree.length_of(skeleton)
    first = tree.name_of((*path, "0"))
    if found is not None and found > len(node) and rename(first) == first:
        raise errors.StructureMismatch(
            f"{type(node).__name__} {tree.name_of(path)!r}: wanted {len(node)} entries, found "
            f"{found} in checkpoint {stored.prefix}; an empty list takes them all"
        )


def _check_kind(path: Path, node: Any, skeleton: tree.Skeleton, stored: Stored) -> None:
    wanted = "dict" if isinstance(node, Mapping) else type(node).__name__
    found = tree.kind_of(skeleton)
    if isinstance(node, Mapping | list | tuple) and wanted != found:
        raise errors.StructureMismatch(
            f"{tree.name_of(path)!r}: wanted a {wanted}, found a {found} "
            f"in checkpoint {stored.prefix}"
        )


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.hasobject else dtype.name


# --------------------------------------------------------------------------- walking the target


def _target_leaves(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    children = _children(node)
    if not children or isinstance(node, list | tuple):
        yield path, node
    if children:
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


def _fill(node: Any, path: Path, decoded: Mapping[Path, Any]) -> Any:
    """Put the decoded values where they belong; returns the node or its replacement."""
    children = _children(node)
    if not children:
        return _fill_leaf(node, decoded[path])
    replaced = {}
    for key, child in children:
        new = _fill(child, (*path, str(key)), decoded)
        if new is not child:
            replaced[key] = new
    return _with_replaced(node, replaced) if replaced else node


def _fill_leaf(leaf: Any, value: Any) -> Any:
    if value is _LEFT_OUT or _loads_itself(leaf):
        return leaf
    if isinstance(leaf, np.ndarray):
        return _fill_array(leaf, value)
    if isinstance(leaf, MutableMapping):
        leaf.update(value)
        return leaf
    if isinstance(leaf, list):
        leaf[:] = value
        return leaf
    adapter = foreign.adapter_of(leaf)
    if adapter is None or adapter.is_immutable(leaf):
        return value
    return adapter.fill(leaf, value)


def _fill_array(target: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if value is target:
        return target
    if target.dtype.kind in "SU":
        value = value.astype(target.dtype.kind)  # as wide as its longest string
        if value.dtype.itemsize > target.dtype.itemsize:
            return value  # the target would cut it short
    if not target.flags.writeable:
        return value.astype(target.dtype, copy=False)
    np.copyto(target, value, casting="unsafe")
    return target


def _decode_like(leaf: Any, value: np.ndarray[Any, Any], name: str) -> Any:
    """A tensor as a value of the leaf's kind; as an array, where one can be filled with it."""
    if (adapter := foreign.adapter_of(leaf)) is not None:
        return adapter.fill(leaf, value) if adapter.is_immutable(leaf) else value
    kind, _ = leaves.encode_leaf(leaf, name)
    if isinstance(leaf, np.ndarray):
        return leaves.decode_leaf(kind, value) if kind == leaves.TEXT_ARRAY else value
    if kind in {"int", leaves.BIG_INT, "float", "complex"}:
        return type(leaf)(leaves.decode_number(value))
    return leaves.decode_leaf(kind, value)


def _load(leaf: Any, state: Any) -> None:
    if tree.is_random_generator(leaf):
        tree.set_random_state(leaf, state)
    else:
        leaf.load_state_dict(state)


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
        # dataclasses.replace() refuses fields that are not arguments of __init__.
        node = copy.copy(node)
        for name, child in replaced.items():
            object.__setattr__(node, name, child)
        return node
    for name, child in replaced.items():
        setattr(node, name, child)
    return node
