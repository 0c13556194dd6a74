"""A nested state as named leaves, and back.

The name of a leaf is its path joined by `/`: `{"layer1": {"w": w}}` is saved as `layer1/w`, and so
is the flat `{"layer1/w": w}` that TensorFlow's users write. What the names cannot tell (a list from
a tuple, an int key from a str key, a Python float from an array) is the *skeleton*: plain JSON,
kept beside the tensors, so that a state can be rebuilt without a target.

    leaf        its kind, a string (`leaves.py`)
    container   {"dict": {key: child, ...}}  {"list": [child, ...]}  {"tuple": [child, ...]}
                {"items": [[key, child], ...]}      a dict of which some keys are ints
                {"fields": {name: child, ...}}      a dataclass or a namedtuple
                {"object": child}                   what its state_dict() returned
                {"versioned": [versions, child]}    a state_dict() of PyTorch's with its `_metadata`
                {"random": child}                   the state of a NumPy random generator

Source for the reserved names: tensorflow/python/trackable/base.py.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.formats.dtypes import NUMERIC_NUMBERS
from ckptmgr.lifecycle import foreign, leaves
from ckptmgr.lifecycle.metadata import METADATA_NAME

RESERVED_NAMES = frozenset({METADATA_NAME, "_CHECKPOINTABLE_OBJECT_GRAPH"})

#: The name of a state that is a single leaf.
ROOT_NAME = "state"

# A state nested deeper than this is a cycle; Python's own limit on recursion is 1000 frames.
_DEPTH_LIMIT = 200

_WRAPPERS = frozenset({"object", "random", "versioned"})
_NAMED = frozenset({"dict", "fields"})
_KEYED = _NAMED | {"items"}

Array = np.ndarray[Any, Any]
Skeleton = Any  # JSON: str, or a dict with one entry
Encode = Callable[[Any, str], tuple[str, "Array | None"]]


@dataclass(frozen=True, slots=True)
class FlatState:
    """A state taken apart."""

    #: Name to array, in the order of the state.
    arrays: dict[str, Array]
    skeleton: Skeleton
    #: The ids of the arrays that do not change when the state does.
    immutable: frozenset[int] = frozenset()


def flatten(state: Any, encode: Encode = leaves.encode_leaf) -> FlatState:
    """Take a state apart.

    Args:
        encode: How leaves become arrays.
    Raises:
        UnsupportedLeaf: A leaf that cannot be saved; names it.
        DuplicateName: Two leaves with the same name.
        InvalidName: A name that TensorFlow could not read back.
    """
    parts = _Parts(encode)
    skeleton = _flatten(state, (), parts)
    _validate_names(parts.arrays)
    return FlatState(parts.arrays, skeleton, frozenset(parts.immutable))


def unflatten(
    skeleton: Skeleton,
    values: Mapping[str, Array],
    path: tuple[str, ...] = (),
    kinds: Mapping[str, str] | None = None,
) -> Any:
    """Rebuild the state below `path`; a dataclass or namedtuple comes back as a dict.

    Args:
        kinds: By name of a leaf: whose array to make, NumPy's or which framework's, where that is
            not what was saved.
    Raises:
        TensorNotFound: A leaf of the skeleton is not among the values.
        MalformedMetadata: The skeleton is not one that `flatten` returns.
    """
    return _unflatten(skeleton, path, values, kinds or {})


def leaf_names(skeleton: Skeleton, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of the tensors that a skeleton standing at `path` needs, in order."""
    yield from leaf_kinds(skeleton, path)


def leaf_kinds(skeleton: Skeleton, path: tuple[str, ...] = ()) -> dict[str, str]:
    """The kinds of those tensors by name, in order."""
    return {name_of(at): kind for at, kind in _walk(skeleton, path) if kind != leaves.NONE}


def parts(skeleton: Skeleton) -> dict[tuple[str, ...], Skeleton]:
    """Every part of a skeleton by its path; an object's state stands at the object's own path."""
    found: dict[tuple[str, ...], Skeleton] = {}
    _collect_parts(skeleton, (), found, 0)
    return found


def kind_of(skeleton: Skeleton) -> str:
    """`dict`, `list`, `tuple`, `fields`, `object`, `random`, or the kind of a leaf."""
    if isinstance(skeleton, str):
        return skeleton
    kind, content = _container(skeleton, (), 0)
    if kind == "versioned":
        return kind_of(content)
    return "dict" if kind == "items" else kind


def length_of(skeleton: Skeleton | None) -> int | None:
    """The number of entries of a list or tuple, None of anything else."""
    if skeleton is None or kind_of(skeleton) not in {"list", "tuple"}:
        return None
    return len(_container(skeleton, (), 0)[1])


def name_of(path: Sequence[str]) -> str:
    return "/".join(path) if path else ROOT_NAME


def validate_name(name: str) -> None:
    """Raise InvalidName for a tensor name that TensorFlow could not read back."""
    if not isinstance(name, str):
        raise errors.InvalidName(f"a tensor name must be a str, found {name!r}")
    if not name:
        raise errors.InvalidName("a tensor name must not be empty: the header has the empty key")
    if name in RESERVED_NAMES:
        raise errors.InvalidName(f"the tensor name {name!r} is reserved")
    if name.startswith("\0"):
        raise errors.InvalidName(
            f"the tensor name {name!r} begins with NUL, as only the keys of slices may"
        )
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.InvalidName(f"the tensor name {name!r} is not valid Unicode") from None


def is_random_generator(value: object) -> bool:
    # NumPy imports this module when it is first used, and no generator exists before that.
    if "numpy.random" not in sys.modules:
        return False
    return isinstance(value, np.random.Generator | np.random.RandomState | np.random.BitGenerator)


def is_stateful(value: object) -> bool:
    """Whether it speaks PyTorch's protocol; a class that has both methods is not an instance."""
    return (
        not isinstance(value, type)
        and callable(getattr(value, "state_dict", None))
        and callable(getattr(value, "load_state_dict", None))
    )


def fields_of(value: Any) -> list[str] | None:
    """The names of a dataclass instance's or a namedtuple's fields, None for anything else.

    Fields that JAX is told are no data (an optimizer's functions) are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value) if _is_data(field)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(value._fields)
    return None


def _is_data(field: dataclasses.Field[Any]) -> bool:
    # Flax says pytree_node=False, Equinox and jax.tree_util.register_dataclass say static=True.
    return field.metadata.get("pytree_node", True) and not field.metadata.get("static", False)


def random_state(generator: Any) -> Any:
    """The state of a NumPy random generator, as nested dicts of numbers and arrays."""
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    return generator.state


def set_random_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.state = state


# --------------------------------------------------------------------------- flatten


@dataclass(slots=True)
class _Parts:
    """What was found so far of a state."""

    encode: Encode
    arrays: dict[str, Array] = field(default_factory=dict)
    immutable: set[int] = field(default_factory=set)


def _flatten(node: Any, path: tuple[str, ...], parts: _Parts) -> Skeleton:
    if len(path) > _DEPTH_LIMIT:
        raise errors.UnsupportedLeaf(
            f"the state is nested deeper than {_DEPTH_LIMIT} levels, at {name_of(path[:6])!r}...: "
            f"does it contain itself?"
        )
    if isinstance(node, np.ndarray):
        return _flatten_leaf(node, path, parts)
    if is_stateful(node):
        return {"object": _flatten(node.state_dict(), path, parts)}
    if is_random_generator(node):
        return {"random": _flatten(random_state(node), path, parts)}
    if isinstance(node, Mapping):
        skeleton = _flatten_mapping(node, path, parts)
        versions = getattr(node, "_metadata", None)
        if isinstance(node, OrderedDict) and isinstance(versions, Mapping):
            return {"versioned": [_json_versions(versions), skeleton]}
        return skeleton
    if (names := fields_of(node)) is not None:
        return {"fields": {n: _flatten(getattr(node, n), (*path, n), parts) for n in names}}
    if isinstance(node, list | tuple):
        kind = "list" if isinstance(node, list) else "tuple"
        return {kind: [_flatten(c, (*path, str(i)), parts) for i, c in enumerate(node)]}
    return _flatten_leaf(node, path, parts)


def _flatten_mapping(node: Mapping[Any, Any], path: tuple[str, ...], parts: _Parts) -> Skeleton:
    children: dict[str | int, Skeleton] = {}
    arrays, base = parts.arrays, "".join(f"{key}/" for key in path)
    # This loop runs once per tensor of a state that is a flat dict, tens of thousands of times.
    for key, child in node.items():
        if type(child) is np.ndarray and type(key) is str and child.dtype.num in NUMERIC_NUMBERS:
            name = base + key
            if name in arrays:
                raise _duplicate(name)
            arrays[name] = child
            children[key] = leaves.ARRAY
        else:
            children[_json_key(key, path)] = _flatten(child, (*path, str(key)), parts)
    if all(issubclass(kind, str) for kind in set(map(type, children))):
        return {"dict": children}
    return {"items": [[key, child] for key, child in children.items()]}


def _validate_names(names: Collection[str]) -> None:
    """`validate_name` of each; of many in a row, only those that need a closer look."""
    try:
        "".join(names).encode("utf-8")
    except UnicodeEncodeError:
        suspects = set(names)
    else:
        suspects = {name for name in RESERVED_NAMES if name in names}
        suspects |= {name for name in names if name < "\1"}  # is empty, or begins with NUL
    for name in sorted(suspects):
        validate_name(name)


def _flatten_leaf(value: Any, path: tuple[str, ...], parts: _Parts) -> str:
    name = name_of(path)
    validate_name(name)
    kind, array = parts.encode(value, name)
    if array is not None:
        if name in parts.arrays:
            raise _duplicate(name)
        parts.arrays[name] = array
        adapter = foreign.adapter_of(value) if foreign.is_foreign(kind) else None
        if adapter is not None and not adapter.array_can_change(value):
            parts.immutable.add(id(array))
    return kind


def _duplicate(name: str) -> errors.DuplicateName:
    return errors.DuplicateName(f"two leaves of the state have the name {name!r}")


def _json_versions(versions: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """By module; what JSON has no scalar for is left out."""
    return {
        str(module): {
            str(key): value for key, value in its.items() if isinstance(value, int | str | None)
        }
        for module, its in versions.items()
        if isinstance(its, Mapping)
    }


def _json_key(key: Any, path: tuple[str, ...]) -> str | int:
    if isinstance(key, str):
        if not key.isascii():
            validate_name("/".join((*path, key)))  # also where no leaf below it has the name
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return int(key)
    raise errors.UnsupportedLeaf(
        f"a dict key must be a str or an int, found {key!r} in {name_of(path)!r}"
    )


# --------------------------------------------------------------------------- unflatten


def _unflatten(
    skeleton: Skeleton,
    path: tuple[str, ...],
    values: Mapping[str, Array],
    kinds: Mapping[str, str],
    depth: int = 0,
) -> Any:
    if isinstance(skeleton, str):
        if skeleton == leaves.NONE:
            return None
        name = name_of(path)
        if name not in values:
            raise errors.TensorNotFound(f"the checkpoint has no tensor {name!r}")
        wanted = kinds.get(name, skeleton)
        is_array = leaves.is_array(skeleton) and leaves.is_array(wanted)
        return leaves.decode_leaf(wanted if is_array else skeleton, values[name])
    kind, content = _container(skeleton, path, depth)
    if kind in _WRAPPERS:
        state = _unflatten(content, path, values, kinds, depth + 1)
        return _with_versions(state, skeleton[kind][0]) if kind == "versioned" else state
    items = [
        (key, _unflatten(child, (*path, str(key)), values, kinds, depth + 1))
        for key, child in _items(kind, content)
    ]
    if kind in _KEYED:
        return dict(items)
    children = [child for _, child in items]
    return children if kind == "list" else tuple(children)


def _walk(
    skeleton: Skeleton, path: tuple[str, ...], depth: int = 0
) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(skeleton, str):
        yield path, skeleton
        return
    kind, content = _container(skeleton, path, depth)
    if kind in _WRAPPERS:
        yield from _walk(content, path, depth + 1)
        return
    for key, child in _items(kind, content):
        yield from _walk(child, (*path, str(key)), depth + 1)


def _collect_parts(
    skeleton: Skeleton, path: tuple[str, ...], found: dict[tuple[str, ...], Skeleton], depth: int
) -> None:
    found.setdefault(path, skeleton)
    if isinstance(skeleton, str):
        return
    kind, content = _container(skeleton, path, depth)
    if kind in _WRAPPERS:
        _collect_parts(content, path, found, depth + 1)
        return
    for key, child in _items(kind, content):
        _collect_parts(child, (*path, str(key)), found, depth + 1)


def _items(kind: str, content: Any) -> Iterable[tuple[Any, Skeleton]]:
    if kind in _NAMED:
        return content.items()  # type: ignore[no-any-return]
    return map(tuple, content) if kind == "items" else enumerate(content)


def _container(skeleton: Skeleton, path: tuple[str, ...], depth: int) -> tuple[str, Any]:
    """The kind and content of a container, once it is sure to be one that `flatten` makes."""
    if isinstance(skeleton, dict) and len(skeleton) == 1 and depth <= _DEPTH_LIMIT:
        ((kind, content),) = skeleton.items()
        named = kind in _NAMED and isinstance(content, dict)
        listed = kind in {"items", "list", "tuple"} and isinstance(content, list)
        if kind == "items" and listed:
            listed = all(map(_is_pair, content))
        if kind == "versioned" and _is_versioned(content):
            return kind, content[1]
        if kind in {"object", "random"} or named or listed:
            return kind, content
    raise errors.MalformedMetadata(
        f"the recorded structure is not one, at {name_of(path)!r}", found=_brief(skeleton)
    )


def _brief(skeleton: Skeleton) -> str:
    return (
        f"{type(skeleton).__name__} with {len(skeleton)} entries"
        if (isinstance(skeleton, dict | list))
        else f"{skeleton!r:.60}"
    )


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str | int)


def _is_versioned(item: Any) -> bool:
    is_pair = isinstance(item, list) and len(item) == 2 and all(isinstance(i, dict) for i in item)
    return is_pair and len(item[1]) == 1 and kind_of(item[1]) == "dict"


def _with_versions(state: Mapping[Any, Any], versions: Mapping[str, Any]) -> OrderedDict[Any, Any]:
    versioned = OrderedDict(state)
    versioned._metadata = _json_versions(versions)  # type: ignore[attr-defined]  # noqa: SLF001
    return versioned
