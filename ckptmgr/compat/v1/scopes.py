"""Blocks and collections of the default graph, and operations that only wait.

Source: tensorflow/python/framework/ops.py, tensorflow/python/ops/control_flow_ops.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of
from ckptmgr.graph import grouping
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.operation import Operation, Tensor


@contextmanager
def name_scope(
    name: str | None, default_name: str | None = None, values: Iterable[Any] | None = None
) -> Iterator[str]:
    """Begin the names of new operations with a name, `default_name` where that is None."""
    graph = graph_of(list(values or ()))
    with graph.as_default(), graph.name_scope(default_name if name is None else name) as scope:
        yield scope


def control_dependencies(control_inputs: Any) -> AbstractContextManager[None]:
    return get_default_graph().control_dependencies(control_inputs)


def device(device_name_or_function: Any) -> AbstractContextManager[None]:
    return get_default_graph().device(device_name_or_function)


def colocate_with(op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
    return get_default_graph().colocate_with(op, ignore_existing)


def container(container_name: str) -> AbstractContextManager[str]:
    return get_default_graph().container(container_name)


def add_to_collection(name: Any, value: Any) -> None:
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    return get_default_graph().get_collection_ref(key)


def group(*inputs: Any, name: str | None = None) -> Operation:
    """An operation that has run when all of these have."""
    flat = list(_flattened(inputs))
    return grouping.group(graph_of(flat), flat, name or "group_deps")


def _flattened(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flattened(value)
        else:
            yield value


def tuple_of(
    tensors: Sequence[Any], name: str | None = None, control_inputs: Sequence[Any] | None = None
) -> list[Tensor | None]:
    """The same tensors, each only once all of them are computed."""
    graph = graph_of(tensors)
    with graph.as_default(), graph.name_scope(name or "tuple"):
        found = [None if item is None else convert_to_tensor(item) for item in tensors]
        waited_for = [item.op for item in found if item is not None]
        waited_for += [graph._as_operation(item) for item in control_inputs or ()]
        gate = grouping.group(graph, waited_for, "group_deps")
        return [
            None if item is None else grouping.with_dependencies(graph, [gate], item)
            for item in found
        ]
