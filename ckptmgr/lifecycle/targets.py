"""Walking a target and putting values into it: nested containers, leaves, and objects with a state.

Arrays, PyTorch's tensors and variables (whatever has `assign`, as those of TensorFlow and Keras)
are filled in place, so that whoever else refers to them sees the restored values; a leaf that
cannot change (a number, a read-only array or JAX's, an array whose strings are too short) is
replaced in the dict, list or object around it, and a tuple around it is rebuilt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.lifecycle import foreign, leaves, tree

Path = tuple[str, ...]

#: Instead of a value: the leaf stays as it is.
LEFT_OUT = object()


def leaves_of(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The leaves below a node that stands at `path`; lists and tuples come before their own."""
    children = children_of(node)
    if not children or isinstance(node, list | tuple):
        yield path, node
    for key, child in children or ():
        at = (*path, key if type(key) is str else tree.key_text(key))
        if type(child) is np.ndarray:  # as most are; a state may have very many
            yield at, child
        else:
            yield from leaves_of(child, at)


def loads_itself(node: Any) -> bool:
    """Whether it is given its state instead of being filled."""
    if isinstance(node, np.ndarray):
        return False
    return tree.is_stateful(node) or tree.is_random_generator(node)


def children_of(node: Any) -> list[tuple[Any, Any]] | None:
    """The keys and children of a container, None for a leaf."""
    if isinstance(node, np.ndarray) or foreign.is_only_a_leaf(node) or loads_itself(node):
        return None
    if isinstance(node, Mapping):
        return list(node.items())
    if (names := tree.fields_of(node)) is not None:
        return [(name, getattr(node, name)) for name in names]
    if isinstance(node, list | tuple):
        return list(enumerate(node))
    return None


def filled(node: Any, path: Path, decoded: Mapping[Path, Any]) -> Any:
    """Put the decoded values where they belong; returns the node or its replacement."""
    children = children_of(node)
    if not children:
        return fill_leaf(node, decoded[path])
    replaced = {}
    for key, child in children:
        at = (*path, key if type(key) is str else tree.key_text(key))
        is_leaf = type(child) is np.ndarray
        new = fill_leaf(child, decoded[at]) if is_leaf else filled(child, at, decoded)
        if new is not child:
            replaced[key] = new
    return _with_replaced(node, replaced) if replaced else node


def fill_leaf(leaf: Any, value: Any) -> Any:
    """Give a leaf its value; returns the leaf, or what takes its place."""
    if value is LEFT_OUT:
        return leaf
    if isinstance(leaf, np.ndarray):
        return _fill_array(leaf, value)
    if loads_itself(leaf):
        return leaf
    if isinstance(leaf, MutableMapping):
        leaf.update(value)
        return leaf
    if isinstance(leaf, list):
        leaf[:] = value
        return leaf
    adapter = foreign.adapter_of(leaf)
    if adapter is not None and not adapter.is_immutable(leaf):
        return adapter.fill(leaf, value)
    if adapter is None and callable(assign := getattr(leaf, "assign", None)):
        assign(value)  # put beside it, the value would never reach the model that it is a part of
        return leaf
    return value


def _fill_array(target: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if value is target:
        return target
    if target.dtype.kind in "SU":
        if value.dtype.hasobject:
            value = leaves.packed(value, target.dtype.kind)
        if value.dtype.hasobject or value.dtype.itemsize > target.dtype.itemsize:
            return value  # the target would cut it short
    if not target.flags.writeable:
        return value.astype(target.dtype, copy=False)
    np.copyto(target, value, casting="unsafe")
    return target


def decode_like(leaf: Any, value: np.ndarray[Any, Any], name: str) -> Any:
    """A tensor as a value of the leaf's kind; as an array, where one can be filled with it."""
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc":
        return value
    if (adapter := foreign.adapter_of(leaf)) is not None:
        return adapter.fill(leaf, value) if adapter.is_immutable(leaf) else value
    kind, _ = leaves.encode_leaf(leaf, name)
    if isinstance(leaf, np.ndarray):
        return leaves.decode_leaf(kind, value) if kind == leaves.TEXT_ARRAY else value
    if kind in {"int", leaves.BIG_INT, "float", "complex"}:
        return _number_like(leaf, leaves.decode_number(value), name)
    return leaves.decode_leaf(kind, value)


def _number_like(leaf: Any, number: Any, name: str) -> Any:
    """A number as one of the leaf's type, such as an IntEnum."""
    kind = type(leaf)
    try:
        return kind(number)
    except (TypeError, ValueError) as error:
        raise errors.StateRefused(
            f"{name!r} ({kind.__name__}) did not take its value {number!r:.60}: {error}"
        ) from error


def load(leaf: Any, state: Any) -> None:
    """Give an object its state."""
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
