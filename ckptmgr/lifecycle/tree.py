"""A nested state taken apart into named leaves.

The name of a leaf is its path joined by `/`: `{"layer1": {"w": w}}` is saved as `layer1/w`, and so
is the flat `{"layer1/w": w}` that TensorFlow's users write. What the names cannot tell is the
skeleton (`skeletons.py`).

Source for the reserved names: tensorflow/python/trackable/base.py.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.formats.dtypes import NUMERIC_NUMBERS
from ckptmgr.lifecycle import foreign, leaves
from ckptmgr.lifecycle.metadata import METADATA_NAME
from ckptmgr.lifecycle.skeletons import DEPTH_LIMIT, Skeleton, json_versions, name_of

RESERVED_NAMES = frozenset({METADATA_NAME, "_CHECKPOINTABLE_OBJECT_GRAPH"})

Array = np.ndarray[Any, Any]
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


def key_text(key: Any) -> str:
    """The part that a key of a container has in the names of the leaves below it.

    What an enum makes of `str()` is neither what its members equal nor the same in each Python.
    """
    if isinstance(key, str):
        return str.__str__(key)
    return str(int(key) if isinstance(key, int) else key)


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
    if len(path) > DEPTH_LIMIT:
        raise errors.UnsupportedLeaf(
            f"the state is nested deeper than {DEPTH_LIMIT} levels, at {name_of(path[:6])!r}...: "
            f"does it contain itself?"
        )
    if isinstance(node, np.ndarray) or foreign.is_only_a_leaf(node):
        return _flatten_leaf(node, path, parts)
    if is_stateful(node):
        return {"object": _flatten(node.state_dict(), path, parts)}
    if is_random_generator(node):
        return {"random": _flatten(random_state(node), path, parts)}
    if isinstance(node, Mapping):
        skeleton = _flatten_mapping(node, path, parts)
        versions = getattr(node, "_metadata", None)
        if isinstance(node, OrderedDict) and isinstance(versions, Mapping):
            return {"versioned": [json_versions(versions), skeleton]}
        # What its owner counts on: a key that is missing is zero, and there are `elements()`.
        return {"counter": skeleton} if isinstance(node, Counter) else skeleton
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
            known = _json_key(key, path)
            children[known] = _flatten(child, (*path, str(known)), parts)
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
    kind, array = parts.encode(value, name)
    if array is None:
        validate_name(name)  # of arrays, all are validated at once
        return kind
    if name in parts.arrays:
        raise _duplicate(name)
    parts.arrays[name] = array
    if foreign.is_foreign(kind) and not foreign.array_can_change(value, kind):
        parts.immutable.add(id(array))
    return kind


def _duplicate(name: str) -> errors.DuplicateName:
    return errors.DuplicateName(f"two leaves of the state have the name {name!r}")


def _json_key(key: Any, path: tuple[str, ...]) -> str | int:
    if isinstance(key, str):
        if not key.isascii():
            validate_name("/".join((*path, key)))  # also where no leaf below it has the name
        return key if type(key) is str else key_text(key)
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return int(key)
    raise errors.UnsupportedLeaf(
        f"a dict key must be a str or an int, found {key!r} in {name_of(path)!r}"
    )
