"""Which function computes each type of operation.

A kernel is a small function on NumPy arrays, registered under the types that it computes:

    @kernel("Relu")
    def relu(node: KernelNode, features: Array) -> Array:
        return np.maximum(features, 0)

It gets the inputs in the order of the operation, lists flattened, and returns the output, or a
tuple of them. Scalars are arrays of rank 0 and strings object arrays of bytes. A user registers
more in the same way, or replaces one that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ckptmgr import errors


class KernelNode(Protocol):
    """What a kernel may ask of the operation that it computes."""

    @property
    def name(self) -> str: ...

    @property
    def op(self) -> str:
        """Its type."""

    def attr(self, name: str) -> Any:
        """The value of an attribute; the default of its type where the node has none."""


@dataclass(frozen=True, slots=True)
class Kernel:
    compute: Callable[..., Any]
    #: Whether it takes the session's context in front of the node.
    is_stateful: bool


_Function = TypeVar("_Function", bound=Callable[..., Any])

_kernels: dict[str, Kernel] = {}


def kernel(*op_types: str) -> Callable[[_Function], _Function]:
    """Register a function of the node and its inputs, which changes nothing, for types."""
    return _registrar(op_types, is_stateful=False)


def stateful_kernel(*op_types: str) -> Callable[[_Function], _Function]:
    """Register a function of the context, the node and its inputs for types of operations."""
    return _registrar(op_types, is_stateful=True)


def find_kernel(op_type: str, node_name: str) -> Kernel:
    """The kernel of a type.

    Raises:
        KernelNotFound: Naming the type, the node and how to register one.
    """
    found = _kernels.get(op_type)
    if found is None:
        raise errors.KernelNotFound(
            f"no kernel computes operation {op_type!r}, needed for node {node_name!r}; register "
            f"one with @ckptmgr.graph.kernel({op_type!r}), or run the graph with "
            f"Session(engine='tensorflow')"
        )
    return found


def registered_types() -> list[str]:
    """The types that can be computed, sorted."""
    return sorted(_kernels)


def _registrar(op_types: tuple[str, ...], *, is_stateful: bool) -> Callable[[_Function], _Function]:
    def register(function: _Function) -> _Function:
        for op_type in op_types:
            _kernels[op_type] = Kernel(function, is_stateful)
        return function

    return register
