"""Putting a checkpoint's values into a target, all or nothing.

First `plan` compares every leaf of the target with what the checkpoint holds: names, shapes,
dtypes. Only when nothing is wrong are values read and applied; until then the target has not been
touched. Then every value is decoded, then the objects that load their own state do so (theirs is
code that may refuse), and only then is the rest filled (`targets`), large arrays last (`in_place`).

An object with `load_state_dict()` takes back the whole structure that its `state_dict()` had when
it was saved: an optimizer that has not stepped yet does not know its own leaves. A PyTorch module
that would only copy tensor by tensor is not asked to: its tensors are filled like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.lifecycle import foreign, leaves, skeletons, targets, tree
from ckptmgr.lifecycle.targets import Path

#: Target name to checkpoint name; None leaves that target as it is.
Rename = Callable[[str], str | None]
Names = Mapping[str, str | None] | Rename | None


class StoredTensor(NamedTuple):
    shape: tuple[int, ...]
    #: `object` for strings.
    dtype: np.dtype[Any]

    @property
    def size_bytes(self) -> int:
        """Of its numbers."""
        return 0 if self.dtype.hasobject else math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds, without its values."""

    prefix: str
    tensors: Mapping[str, StoredTensor]
    #: The recorded skeleton; None for a checkpoint that the manager did not write.
    skeleton: skeletons.Skeleton | None = None

    def recorded(self, path: Path) -> skeletons.Skeleton | None:
        """The part of the skeleton at `path`, None where nothing was recorded."""
        return self._parts.get(path)

    @cached_property
    def _parts(self) -> Mapping[Path, skeletons.Skeleton]:
        return {} if self.skeleton is None else skeletons.parts(self.skeleton)


@dataclass(slots=True)
class RestorePlan:
    """A target and the tensors that will fill it."""

    target: Any
    #: Leaf of the target to tensor of the checkpoint.
    sources: dict[str, str] = field(default_factory=dict)
    #: The structure to hand to each object that loads its own state.
    own_skeletons: dict[Path, skeletons.Skeleton] = field(default_factory=dict)
    #: Leaf to its kind, of the objects that load their own state, as they are now.
    own_kinds: dict[str, str] = field(default_factory=dict)
    #: The tensors of modules that are filled like any other tensor, with their names.
    parts: list[tuple[str, Any]] = field(default_factory=list)

    def apply(self, values: Mapping[str, np.ndarray], later: Container[str] = ()) -> Any:
        """Fill the target; returns it, or its replacement if it is immutable.

        Args:
            values: Tensor of the checkpoint to its value, for each of `sources`.
            later: Leaves that the caller fills afterwards: arrays and tensors that can be changed.
        Raises:
            StateRefused: By an object; nothing else has changed but the objects it names.
        """
        now = {name: source for name, source in self.sources.items() if name not in later}
        by_target = _by_target(now, values)
        nodes = list(targets.leaves_of(self.target, ()))
        decoded = {path: self._decode(path, leaf, by_target) for path, leaf in nodes}
        loaded: list[str] = []
        for path, leaf in nodes:
            if targets.loads_itself(leaf) and decoded[path] is not targets.LEFT_OUT:
                _load(path, leaf, decoded[path], loaded)
        return targets.filled(self.target, (), decoded)

    def _decode(self, path: Path, leaf: Any, values: Mapping[str, np.ndarray]) -> Any:
        """What a leaf is to become, or its state; `LEFT_OUT` if the caller's names say so."""
        if path in self.own_skeletons:
            skeleton = self.own_skeletons[path]
            if any(name not in values for name in skeletons.leaf_names(skeleton, path)):
                # A part of it is left out, and it loads whole or not at all.
                return targets.LEFT_OUT
            return skeletons.unflatten(skeleton, values, path, self.own_kinds)
        if targets.children_of(leaf) is not None:
            return targets.LEFT_OUT  # its children stand for it
        name = skeletons.name_of(path)
        value = values.get(name)
        return targets.LEFT_OUT if value is None else targets.decode_like(leaf, value, name)


def _load(path: Path, leaf: Any, state: Any, loaded: list[str]) -> None:
    """Let an object load its state, and note that it has."""
    name = skeletons.name_of(path)
    try:
        targets.load(leaf, state)
    except Exception as error:
        before = f"; loaded before it: {', '.join(loaded)}" if loaded else ""
        raise errors.StateRefused(
            f"{name!r} ({type(leaf).__name__}) did not take its state: {type(error).__name__}: "
            f"{error}{before}; nothing else has changed"
        ) from error
    loaded.append(repr(name))


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


@dataclass(slots=True)
class _Mapped:
    """A mapping as a function: names it lacks stand for themselves."""

    sources: dict[str, str | None]
    asked: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> str | None:
        self.asked.add(name)
        return self.sources.get(name, name)


def _as_rename(names: Names) -> Rename:
    if names is None:
        return lambda name: name
    if isinstance(names, Mapping):
        return _Mapped({name: _as_source(source) for name, source in names.items()})
    if not callable(names):
        raise errors.InvalidArgument(
            f"names must be a dict of leaf to tensor name, or a function, found "
            f"{type(names).__name__}"
        )
    function = names
    return lambda name: _as_source(function(name))


def _as_source(name: object) -> str | None:
    if name is None or isinstance(name, str):
        return name
    raise errors.InvalidArgument(
        f"names must give the name of a tensor, a str, or None, found {name!r:.60}"
    )


def plan(target: Any, stored: Stored, names: Names = None) -> RestorePlan:
    """Compare `target` with a checkpoint, leaf by leaf.

    Args:
        names: Leaf of the target to tensor of the checkpoint, where that is called otherwise, or to
            None, to leave the leaf as it is.
    Raises:
        TensorNotFound, ShapeMismatch, DtypeMismatch: Naming the tensor, what was wanted and what
            was found. The target is unchanged.
        InvalidArgument: `names` is no such thing, gives what is no name, or has what is no leaf.
    """
    rename = _as_rename(names)
    found = RestorePlan(target)
    for path, leaf in targets.leaves_of(target, ()):
        if isinstance(leaf, list | tuple) and leaf:
            _check_length(path, leaf, stored, rename)
        elif targets.loads_itself(leaf) or leaf is None or targets.children_of(leaf) is not None:
            _plan_own_state(found, path, leaf, stored, rename)
        else:
            name = skeletons.name_of(path)
            source = _source(name, stored, rename)
            if source is not None:
                recorded = path if source == name else tuple(source.split("/"))
                _check_leaf(source, leaf, stored, recorded)
                found.sources[name] = source
    if isinstance(rename, _Mapped):
        _check_mentioned(rename, found)
    return found


def _check_mentioned(rename: _Mapped, found: RestorePlan) -> None:
    # A leaf that is mistyped would be restored, or not, as if it had not been mentioned.
    known = rename.asked | found.own_kinds.keys()
    for name in rename.sources:
        if name not in known:
            raise errors.InvalidArgument(
                f"names mentions {name!r}, which is no leaf of the target."
                f"{errors.near_misses(str(name), known)}"
            )


def _plan_own_state(
    found: RestorePlan, path: Path, leaf: Any, stored: Stored, rename: Rename
) -> None:
    # What is empty, or None, takes whatever was recorded: a list of losses begins empty.
    own = _flatten_at(path, leaf) if targets.loads_itself(leaf) else None
    skeleton = stored.recorded(path)
    if own is not None and _plan_parts(found, path, leaf, stored, rename):
        return
    if own is None and tree.fields_of(leaf) is not None:
        return  # a class without fields
    if skeleton is None:
        if own is None:
            return  # None in the target and nothing recorded for it: it stays None
        skeleton = own.skeleton
    if leaf is not None and own is None:
        _check_kind(path, leaf, skeleton, stored)
    found.own_skeletons[path] = skeleton
    own_kinds = {} if own is None else skeletons.leaf_kinds(own.skeleton, path)
    found.own_kinds |= own_kinds
    for name, kind in skeletons.leaf_kinds(skeleton, path).items():
        source = _source(name, stored, rename)
        if source is not None:
            if own is not None and _is_comparable(kind, own_kinds.get(name)):
                _check_kinds(source, own_kinds[name], kind, stored)
                _check_leaf(source, own.arrays[name], stored, path)
            found.sources[name] = source


def _plan_parts(found: RestorePlan, path: Path, leaf: Any, stored: Stored, rename: Rename) -> bool:
    """Plan to fill the tensors of a module one by one; False if it has to load its state itself."""
    tensors = foreign.parts_of(leaf)
    if tensors is None:
        return False
    parts = {skeletons.name_of((*path, key)): tensor for key, tensor in tensors.items()}
    skeleton = stored.recorded(path)
    if skeleton is not None and skeletons.leaf_kinds(skeleton, path).keys() != parts.keys():
        return False  # what is missing, or too much, is for the module to judge
    sources = {name: rename(name) for name in parts}
    if None in sources.values():
        return False
    for name, tensor in parts.items():
        source = _source(name, stored, rename)
        assert source is not None
        _check_leaf(source, tensor, stored, path)
        found.sources[name] = source
        found.parts.append((name, tensor))
    return True


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
    return tree.FlatState(flat.arrays, skeletons.parts(flat.skeleton)[path])


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
    # Most leaves by far, of which a state may have very many.
    is_numbers = type(leaf) is np.ndarray and leaf.dtype.kind in "biufc"
    if is_numbers and leaf.shape == tensor.shape and leaf.dtype == tensor.dtype:
        return
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


# The kinds of dtypes that a Python number, or a number of a subclass, does not take. A bool is an
# int, too, and so comes first. V: bfloat16 and the like, which may have fractions.
_REFUSED_BY_NUMBERS = {bool: "iufcOV", int: "bfcOV", float: "bcO", complex: "bO"}


def _wanted_dtype(leaf: Any, own: np.dtype[Any], found: np.dtype[Any]) -> tuple[str, bool]:
    """What a leaf can take, in words, and whether `found` is that.

    A Python number takes every dtype that loses nothing of its meaning; an array only its own.
    """
    if not isinstance(leaf, np.generic):
        for kind, refused in _REFUSED_BY_NUMBERS.items():
            if isinstance(leaf, kind):
                return f"a number for a Python {kind.__name__}", found.kind not in refused
    wanted = own.newbyteorder("=")
    return f"dtype {_dtype_name(wanted)}", wanted == found


def _check_length(path: Path, node: Sequence[Any], stored: Stored, rename: Rename) -> None:
    """Raise StructureMismatch if more was recorded than a list or tuple has room for."""
    skeleton = stored.recorded(path)
    found = skeletons.length_of(skeleton)
    first = skeletons.name_of((*path, "0"))
    if found is not None and found > len(node) and rename(first) == first:
        raise errors.StructureMismatch(
            f"{type(node).__name__} {skeletons.name_of(path)!r}: wanted {len(node)} entries, found "
            f"{found} in checkpoint {stored.prefix}; an empty list takes them all"
        )


def _check_kind(path: Path, node: Any, skeleton: skeletons.Skeleton, stored: Stored) -> None:
    wanted = "dict" if isinstance(node, Mapping) else type(node).__name__
    found = skeletons.kind_of(skeleton)
    if isinstance(node, Mapping | list | tuple) and wanted != found:
        raise errors.StructureMismatch(
            f"{skeletons.name_of(path)!r}: wanted a {wanted}, found a {found} "
            f"in checkpoint {stored.prefix}"
        )


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.hasobject else dtype.name
