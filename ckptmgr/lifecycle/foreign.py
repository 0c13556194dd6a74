"""Leaves that belong to a framework: which adapter knows them, and what it can do.

A leaf is known by the module of its type, so that nobody who does without a framework imports it:
the adapter is imported when the first such leaf is met, and then the framework was long before. A
leaf that is read back becomes the framework's again only where the framework is in use already.

The *kind* of such a leaf begins with the name of its framework, `torch` or `jax`; what its array
cannot tell stands behind a colon (`torch:generator:cpu`, `jax:key:threefry2x32`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np

from ckptmgr import errors

Array = np.ndarray[Any, Any]

# Where a type is defined, to the framework that it is of.
_FRAMEWORKS = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}


class Adapter(Protocol):
    """The verbs. What cannot be an array raises TypeError, which says the way out."""

    def kind_of(self, value: Any) -> str | None:
        """The kind of a leaf, None for a value of the framework that is none."""

    def outline(self, value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """The shape and dtype of its array, without making one."""

    def to_array(self, value: Any) -> Array:
        """Its array: its own memory, where NumPy can see that."""

    def array_can_change(self, value: Any) -> bool:
        """Whether somebody who changes the value changes the array that was made of it."""

    def from_array(self, array: Array, kind: str) -> Any:
        """The inverse; it may keep the array's memory."""

    def is_immutable(self, value: Any) -> bool:
        """Whether `fill` makes a new value."""

    def fill(self, target: Any, array: Array) -> Any:
        """The target with another value: itself, unless it is immutable.

        An array from `memory_of` has the value already.
        """

    def memory_of(self, value: Any) -> Array | None:
        """Its own memory as an array to be filled; None if NumPy cannot reach it."""

    def parts_of(self, value: Any) -> dict[str, Any] | None:
        """The leaves that an object with a state would only copy its state to, one by one.

        None if its `load_state_dict` may do anything else.
        """


def adapter_of(value: Any) -> Adapter | None:
    """The adapter that knows a value, None for what is no framework's leaf."""
    found = adapter_and_kind(value)
    return None if found is None else found[0]


def adapter_and_kind(value: Any) -> tuple[Adapter, str] | None:
    """`adapter_of`, and the kind of the leaf."""
    # mypy asks whether the instances can be hashed.
    framework = _framework_of(type(value))  # type: ignore[arg-type]
    if framework is None:
        return None
    adapter = _adapter(framework)
    kind = adapter.kind_of(value)
    return None if kind is None else (adapter, kind)


def is_only_a_leaf(value: Any) -> bool:
    """Whether it is of a framework's type whose instances are no containers, and have no state."""
    return _makes_only_leaves(type(value))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1024)
def _makes_only_leaves(kind: type) -> bool:
    is_container = issubclass(kind, Mapping | list | tuple) or dataclasses.is_dataclass(kind)
    return not is_container and _framework_of(kind) is not None and not hasattr(kind, "state_dict")


def parts_of(value: Any) -> dict[str, Any] | None:
    """`Adapter.parts_of` for an object that speaks PyTorch's protocol; None if it is nobody's."""
    framework = _framework_of(type(value))  # type: ignore[arg-type]
    return None if framework is None else _adapter(framework).parts_of(value)


def is_foreign(kind: str) -> bool:
    """Whether a kind is that of a framework's leaf."""
    return kind.partition(":")[0] in _FRAMEWORKS.values()


def array_can_change(value: Any, kind: str) -> bool:
    """`Adapter.array_can_change` of a value of a framework's kind."""
    return _adapter(kind.partition(":")[0]).array_can_change(value)


def is_plain(kind: str) -> bool:
    """Whether its array tells all about a leaf."""
    return ":" not in kind


def contradict(kind: str, other: str) -> bool:
    """Whether both say what their arrays cannot tell, and not the same."""
    return kind != other and all(is_foreign(k) and not is_plain(k) for k in (kind, other))


def decode(kind: str, array: Array) -> Any:
    """A framework's value, or the array itself in a process that does not use the framework.

    Raises:
        MalformedMetadata: The array is not what its kind says.
    """
    framework = kind.partition(":")[0]
    if framework not in sys.modules:
        return array
    refusals: tuple[type[Exception], ...] = (TypeError, ValueError)
    if not is_plain(kind):
        refusals += (RuntimeError,)  # of plain arrays it tells of the device, such as a full one
    try:
        return _adapter(framework).from_array(array, kind)
    except refusals as error:
        raise errors.MalformedMetadata(
            f"a leaf is not what its kind says ({error})",
            expected=kind,
            found=f"{array.dtype.name} of shape {array.shape}",
        ) from None


@functools.lru_cache(maxsize=1024)
def _framework_of(kind: type) -> str | None:
    for base in kind.__mro__:  # somebody's subclass of a tensor is defined in their module
        framework = _FRAMEWORKS.get(base.__module__.partition(".")[0])
        if framework is not None:
            return framework
    return None


@functools.cache
def _adapter(framework: str) -> Adapter:
    return cast(Adapter, importlib.import_module(f"ckptmgr.adapters.{framework}"))
