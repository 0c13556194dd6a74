"""What a caller of `Session.run` asks for and brings along, as tensors and arrays.

Fetches may be nested: lists, tuples, named tuples, dicts, classes of attrs and dataclasses; what is
returned has the same structure. A leaf is a tensor, an operation, the name of one, or an object
that stands for one. Types of a user's own, such as a sparse tensor of three, are registered.

Source: tensorflow/python/client/session.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import base
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.state import released
from ckptmgr.graph.tensor_shape import are_compatible

#: Makes the result of the values of all leaves, from a place in their list on.
_Rebuild = Callable[[Sequence[Any]], Any]


class _Conversion(NamedTuple):
    #: Gives the parts of an object, and what makes one result of their values.
    fetch: Callable[[Any], tuple[Sequence[Any], Callable[[Sequence[Any]], Any]]]
    #: Gives the parts of an object, each with the part of a value that is fed to it.
    feed: Callable[[Any, Any], Iterable[tuple[Any, Any]]] | None


_conversions: dict[type, _Conversion] = {}


def register_session_run_conversion_functions(
    tensor_type: type,
    fetch_function: Callable[[Any], tuple[Sequence[Any], Callable[[Sequence[Any]], Any]]],
    feed_function: Callable[[Any, Any], Iterable[tuple[Any, Any]]] | None = None,
) -> None:
    """Let objects of a type be fetched and fed.

    Args:
        fetch_function: Gives the tensors of an object, and a function that makes the result of
            their values.
        feed_function: Gives pairs of the tensors of an object and what is fed to each.
    """
    if tensor_type in _conversions:
        raise errors.InvalidArgument(f"{tensor_type} has already been registered so ignore it.")
    _conversions[tensor_type] = _Conversion(fetch_function, feed_function)


def _conversion(value: object) -> _Conversion | None:
    return next((_conversions[kind] for kind in type(value).__mro__ if kind in _conversions), None)


# --------------------------------------------------------------------------- fetches


class Fetches:
    """The structure of what is fetched.

    Raises:
        GraphError: A leaf is nothing of the graph; also a TypeError where no leaf can be of its
            type.
    """

    def __init__(self, graph: Graph, fetches: Any) -> None:
        self._graph = graph
        #: What is to be computed, each once.
        self.elements: list[Tensor | Operation] = []
        self._numbers: dict[Tensor | Operation, int] = {}
        self._rebuild = self._add(fetches)

    def result(self, values: Sequence[Any]) -> Any:
        """The structure with the values of `elements` in their places."""
        return self._rebuild([_as_result(value) for value in values])

    def _add(self, fetch: Any) -> _Rebuild:
        if fetch is None:
            raise errors.GraphTypeError(
                f'Argument `fetch` = {fetch} has invalid type "{type(fetch).__name__}". '
                f"Cannot be None"
            )
        if isinstance(fetch, list | tuple):
            parts = [self._add(part) for part in fetch]
            kind = type(fetch)
            if hasattr(kind, "_fields"):
                return lambda values: kind(*(part(values) for part in parts))
            if kind in (list, tuple):
                return lambda values: kind(part(values) for part in parts)
            return lambda values: [part(values) for part in parts]
        if isinstance(fetch, Mapping):
            named = {key: self._add(part) for key, part in fetch.items()}
            return lambda values: _mapping_like(
                fetch, {key: part(values) for key, part in named.items()}
            )
        if dataclasses.is_dataclass(fetch) and not isinstance(fetch, type):
            return self._add_fields(fetch, [field.name for field in dataclasses.fields(fetch)])
        if hasattr(type(fetch), "__attrs_attrs__"):
            return self._add_fields(fetch, [field.name for field in type(fetch).__attrs_attrs__])
        conversion = _conversion(fetch)
        if conversion is not None:
            inner, contract = conversion.fetch(fetch)
            parts = [self._add(part) for part in inner]
            return lambda values: contract([part(values) for part in parts])
        return self._add_leaf(fetch)

    def _add_fields(self, fetch: Any, names: Sequence[str]) -> _Rebuild:
        parts = {name: self._add(getattr(fetch, name)) for name in names}
        return lambda values: type(fetch)(**{name: part(values) for name, part in parts.items()})

    def _add_leaf(self, fetch: Any) -> _Rebuild:
        try:
            element = self._graph.as_graph_element(fetch)
        except errors.GraphTypeError as error:
            raise errors.GraphTypeError(
                f'Argument `fetch` = {fetch} has invalid type "{type(fetch).__name__}" must be a '
                f"string or Tensor. ({error})"
            ) from None
        except errors.GraphError as error:
            raise errors.GraphError(
                f"Argument `fetch` = {fetch} cannot be interpreted as a Tensor. ({error})"
            ) from None
        if not self._graph.is_fetchable(element):
            name = element.op.name if isinstance(element, Tensor) else element.name
            raise errors.GraphError(f"Operation {name!r} has been marked as not fetchable.")
        number = self._numbers.setdefault(element, len(self.elements))
        if number == len(self.elements):
            self.elements.append(element)
        return lambda values: values[number]


def _mapping_like(model: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """As TensorFlow: a mapping of the same type, where that can be made of pairs."""
    kind: Any = type(model)
    if kind is dict:
        return values
    if hasattr(model, "default_factory"):
        return kind(model.default_factory, values)
    return kind(values)


def _as_result(value: Any) -> Any:
    """A value as the user gets it: his own, and a scalar where it has no dimensions."""
    if not isinstance(value, np.ndarray):
        return value
    return released(value) if value.ndim else value[()]


# --------------------------------------------------------------------------- feeds


def fed_values(graph: Graph, feed_dict: Mapping[Any, Any] | None) -> dict[Tensor, Any]:
    """What is fed, by tensor: arrays of its dtype that the caller does not hold.

    Raises:
        GraphError: A key is no tensor that can be fed, or a value does not have its shape; also a
            TypeError where it does not have its type.
    """
    if feed_dict is None:
        return {}
    if not isinstance(feed_dict, Mapping):
        raise errors.GraphTypeError(
            f"feed_dict must be a dict of tensors and values, found {type(feed_dict).__name__}"
        )
    fed: dict[Tensor, Any] = {}
    for key, value in feed_dict.items():
        for tensor, part in _pairs(graph, key, value):
            fed[tensor] = fed_value(tensor, part, key)
    return fed


def fed_value(tensor: Tensor, value: Any, key: Any) -> Any:
    """One value as the tensor's."""
    if isinstance(value, Tensor) or hasattr(value, "_as_graph_element"):
        raise errors.GraphTypeError(
            f"The value of a feed cannot be a tf.Tensor object. Acceptable feed values include "
            f"Python scalars, strings, lists, numpy ndarrays, or TensorHandles. For reference, the "
            f"tensor object was {value} which was passed to the feed with key {key}."
        )
    if not tensor.graph.is_feedable(tensor):
        raise errors.GraphError(f"Tensor {tensor.name} may not be fed.")
    number = base(tensor.data_type)
    if number in (DataType.DT_RESOURCE, DataType.DT_VARIANT, DataType.DT_INVALID):
        return value
    array = _as_array(tensor, value, number)
    if not are_compatible(tensor.partial_shape, array.shape):
        raise errors.GraphError(
            f"Cannot feed value of shape {array.shape} for Tensor {tensor.name}, which has shape "
            f"{tensor.get_shape()}"
        )
    return array


def _pairs(graph: Graph, key: Any, value: Any) -> Iterable[tuple[Tensor, Any]]:
    conversion = _conversion(key)
    pairs = [(key, value)]
    if conversion is not None and conversion.feed is not None:
        pairs = list(conversion.feed(key, value))
    elif isinstance(key, tuple) and isinstance(value, list | tuple) and len(key) == len(value):
        pairs = list(zip(key, value, strict=True))
    for part, fed in pairs:
        try:
            tensor = graph.as_graph_element(part, allow_operation=False)
        except errors.GraphTypeError as error:
            raise errors.GraphTypeError(
                f"Cannot interpret feed_dict key as Tensor: {error}"
            ) from None
        except errors.GraphError as error:
            raise errors.GraphTypeError(
                f"Cannot interpret feed_dict key as Tensor: {error}"
            ) from None
        assert isinstance(tensor, Tensor)
        yield tensor, fed


def _as_array(tensor: Tensor, value: Any, number: DataType) -> Array:
    held = dtypes.to_numpy(number)
    if held.hasobject:
        return _strings(tensor, value)
    if isinstance(value, int) and held.kind in "iub":
        lowest, highest = (0, 1) if held.kind == "b" else _limits(held)
        if not lowest <= value <= highest:
            raise errors.GraphTypeError(
                f"Type of feed value {value} with type {type(value)} is not compatible with Tensor "
                f"type {held.type}. Try explicitly setting the type of the feed tensor to a larger "
                f"type (e.g. int64)."
            )
    try:
        # A copy: the user may change his array while the value lives on in a variable.
        return np.array(value, held, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        kind = errors.GraphTypeError if isinstance(error, TypeError) else errors.GraphError
        raise kind(f"cannot feed Tensor {tensor.name}, of type {held}: {error}") from None


def _limits(held: np.dtype[Any]) -> tuple[int, int]:
    bounds = np.iinfo(held)
    return int(bounds.min), int(bounds.max)


def _strings(tensor: Tensor, value: Any) -> Array:
    array = np.array(value, object)
    flat = array.reshape(-1)
    for index, item in enumerate(flat.tolist()):
        if isinstance(item, str):
            flat[index] = item.encode("utf-8", "surrogateescape")
        elif not isinstance(item, bytes):
            raise errors.GraphTypeError(
                f"cannot feed Tensor {tensor.name}, of type string: found {item!r:.80} of type "
                f"{type(item).__name__}"
            )
    return array
