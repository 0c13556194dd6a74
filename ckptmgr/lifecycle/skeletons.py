"""What the names of leaves cannot tell of a state, as plain JSON beside the tensors.

A list from a tuple, an int key from a str key, a Python float from an array: so that a state can be
rebuilt without a target.

    leaf        its kind, a string (`leaves.py`)
    container   {"dict": {key: child, ...}}  {"list": [child, ...]}  {"tuple": [child, ...]}
                {"items": [[key, child], ...]}      a dict of which some keys are ints
                {"fields": {name: child, ...}}      a dataclass or a namedtuple
                {"object": child}                   what its state_dict() returned
                {"versioned": [versions, child]}    a state_dict() of PyTorch's with its `_metadata`
                {"counter": child}                  a dict that is a collections.Counter
                {"random": child}                   the state of a NumPy random generator
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.lifecycle import leaves

#: The name of a state that is a single leaf.
ROOT_NAME = "state"

#: A state nested deeper than this is a cycle; Python's own limit on recursion is 1000 frames.
DEPTH_LIMIT = 200

_WRAPPERS = frozenset({"counter", "object", "random", "versioned"})
_NAMED = frozenset({"dict", "fields"})
_KEYED = _NAMED | {"items"}

Array = np.ndarray[Any, Any]
Skeleton = Any  # JSON: str, or a dict with one entry


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
        MalformedMetadata: The skeleton is not one that `tree.flatten` returns.
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
    kind, _ = _container(skeleton, (), 0)
    return "dict" if kind in {"items", "versioned", "counter"} else kind


def length_of(skeleton: Skeleton | None) -> int | None:
    """The number of entries of a list or tuple, None of anything else."""
    if skeleton is None or kind_of(skeleton) not in {"list", "tuple"}:
        return None
    return len(_container(skeleton, (), 0)[1])


def name_of(path: Sequence[str]) -> str:
    return "/".join(path) if path else ROOT_NAME


def json_versions(versions: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """The `_metadata` of a state_dict by module; what JSON has no scalar for is left out."""
    return {
        str(module): {
            str(key): value for key, value in its.items() if isinstance(value, int | str | None)
        }
        for module, its in versions.items()
        if isinstance(its, Mapping)
    }


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
        if kind == "counter":
            return Counter(state)
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
    """The kind and content of a container, once it is sure to be one that `tree.flatten` makes."""
    if isinstance(skeleton, dict) and len(skeleton) == 1 and depth <= DEPTH_LIMIT:
        ((kind, content),) = skeleton.items()
        named = kind in _NAMED and isinstance(content, dict)
        listed = kind in {"items", "list", "tuple"} and isinstance(content, list)
        if kind == "items" and listed:
            listed = all(map(_is_pair, content))
        if kind == "versioned" and _is_versioned(content):
            return kind, content[1]
        if kind == "counter" and _is_dict(content):
            return kind, content
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
    is_pair = isinstance(item, list) and len(item) == 2 and isinstance(item[0], dict)
    return is_pair and _is_dict(item[1])


def _is_dict(skeleton: Skeleton) -> bool:
    return isinstance(skeleton, dict) and list(skeleton) in (["dict"], ["items"])


def _with_versions(state: Mapping[Any, Any], versions: Mapping[str, Any]) -> OrderedDict[Any, Any]:
    versioned = OrderedDict(state)
    versioned._metadata = json_versions(versions)  # type: ignore[attr-defined]  # noqa: SLF001
    return versioned
