"""Lists of tensors, which loops of TensorFlow 2 collect their results in. A list is never changed.

Source: tensorflow/core/kernels/list_kernels.cc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.arguments import check_size, integer, integers, zero
from ckptmgr.graph.kernels.registry import KernelNode, kernel
from ckptmgr.graph.tensor_shape import Shape, are_compatible

#: No loop has so many iterations; a number in a graph decides.
_MAX_LENGTH = 2**26


@dataclass(frozen=True, slots=True)
class TensorList:
    dtype: int
    #: What all elements have in common.
    shape: Shape
    #: None where nothing was set yet.
    items: tuple[Any, ...]


@kernel("EmptyTensorList")
def empty_list(node: KernelNode, element_shape: Array, max_num_elements: Array) -> TensorList:
    return TensorList(node.attr("element_dtype"), _shape(element_shape), ())


@kernel("TensorListReserve")
def reserve(node: KernelNode, element_shape: Array, num_elements: Array) -> TensorList:
    count = integer(num_elements, "num_elements")
    return TensorList(node.attr("element_dtype"), _shape(element_shape), (None,) * _length(count))


@kernel("TensorListFromTensor")
def from_tensor(node: KernelNode, tensor: Array, element_shape: Array) -> TensorList:
    if not tensor.ndim:
        raise errors.InvalidArgument("Tensor must be at least a vector, but saw shape: []")
    return TensorList(node.attr("element_dtype"), _shape(element_shape), tuple(tensor))


@kernel("TensorListPushBack")
def push(node: KernelNode, input_handle: TensorList, tensor: Any) -> TensorList:
    found = _list(input_handle)
    return TensorList(found.dtype, found.shape, (*found.items, tensor))


@kernel("TensorListPopBack")
def pop(node: KernelNode, input_handle: TensorList, element_shape: Array) -> tuple[Any, Any]:
    found = _list(input_handle)
    if not found.items:
        raise errors.InvalidArgument("Trying to pop from an empty list.")
    shape = _shape(element_shape)
    rest = TensorList(found.dtype, found.shape, found.items[:-1])
    return rest, _item(found, len(found.items) - 1, shape)


@kernel("TensorListLength")
def length(node: KernelNode, input_handle: TensorList) -> Array:
    return np.array(len(_list(input_handle).items), np.int32)


@kernel("TensorListElementShape")
def element_shape_of(node: KernelNode, input_handle: TensorList) -> Array:
    shape = _list(input_handle).shape
    dtype = dtypes.to_numpy(node.attr("shape_type"))
    if shape is None:
        return np.array(-1, dtype)
    return np.array([-1 if size is None else size for size in shape], dtype)


@kernel("TensorListResize")
def resize(node: KernelNode, input_handle: TensorList, size: Array) -> TensorList:
    found, count = _list(input_handle), _length(integer(size, "size"))
    items = found.items[:count] + (None,) * (count - len(found.items))
    return TensorList(found.dtype, found.shape, items)


@kernel("TensorListGetItem")
def get_item(node: KernelNode, input_handle: TensorList, index: Array, element_shape: Array) -> Any:
    found, place = _list(input_handle), integer(index, "index")
    _check_index(found, place)
    return _item(found, place, _shape(element_shape))


@kernel("TensorListSetItem")
def set_item(node: KernelNode, input_handle: TensorList, index: Array, item: Any) -> TensorList:
    found, place = _list(input_handle), integer(index, "index")
    has_resized = place >= len(found.items) and node.attr("resize_if_index_out_of_bounds")
    items = found.items
    if has_resized:
        items += (None,) * (_length(place + 1) - len(items))
    else:
        _check_index(found, place)
    if isinstance(item, np.ndarray) and not are_compatible(found.shape, item.shape):
        raise errors.InvalidArgument(
            f"Tried to set a tensor with incompatible shape at a list index. Item element shape: "
            f"{list(item.shape)} list shape: {found.shape}"
        )
    return TensorList(found.dtype, found.shape, (*items[:place], item, *items[place + 1 :]))


@kernel("TensorListStack")
def stack(node: KernelNode, input_handle: TensorList, element_shape: Array) -> Array:
    found = _list(input_handle)
    wanted = node.attr("num_elements")
    if wanted not in (-1, len(found.items)):
        raise errors.InvalidArgument(
            f"Operation expected a list with {wanted} elements but got a list with "
            f"{len(found.items)} elements."
        )
    return _stacked(found, range(len(found.items)), _shape(element_shape))


@kernel("TensorListGather")
def gather(
    node: KernelNode, input_handle: TensorList, indices: Array, element_shape: Array
) -> Array:
    found = _list(input_handle)
    places = integers(indices, "indices")
    for place in places:
        _check_index(found, place)
    return _stacked(found, places, _shape(element_shape))


@kernel("TensorListScatter", "TensorListScatterV2")
def scatter(
    node: KernelNode, tensor: Array, indices: Array, element_shape: Array, *num_elements: Array
) -> TensorList:
    places = integers(indices, "indices")
    wanted = integer(num_elements[0], "num_elements") if num_elements else -1
    count = _length(max([place + 1 for place in places] + [wanted, 0]))
    if any(place < 0 for place in places) or len(places) > len(tensor):
        raise errors.InvalidArgument(f"Indices must be natural and have a row each, got {places}")
    items: list[Any] = [None] * count
    for place, row in zip(places, tensor, strict=False):
        items[place] = row
    return TensorList(node.attr("element_dtype"), _shape(element_shape), tuple(items))


@kernel("TensorListConcat", "TensorListConcatV2")
def concat(node: KernelNode, input_handle: TensorList, *parameters: Array) -> tuple[Array, Array]:
    found = _list(input_handle)
    dtype = dtypes.to_numpy(found.dtype)
    parts = [_item(found, place, None) for place in range(len(found.items))]
    sizes = np.array([len(part) for part in parts], np.int64)
    if not parts:
        shape = _shape(parameters[0]) if parameters else node.attr("element_shape")
        known = [0 if size is None else size for size in shape or (0,)]
        return np.zeros((0, *known[1:]), dtype), sizes
    return np.concatenate(parts), sizes


def _stacked(found: TensorList, places: Sequence[int], shape: Shape) -> Array:
    dtype = dtypes.to_numpy(found.dtype)
    rows = [_item(found, place, shape) for place in places]
    if not rows:
        known = shape if shape is not None else found.shape
        if known is None or None in known:
            raise errors.InvalidArgument(
                f"Tried to stack elements of an empty list with non-fully-defined element_shape: "
                f"{known}"
            )
        return np.zeros((0, *(size or 0 for size in known)), dtype)
    if any(row.shape != rows[0].shape for row in rows):
        raise errors.InvalidArgument("Tried to stack tensors with unequal shapes.")
    check_size((len(rows), *rows[0].shape), dtype)
    result = np.empty((len(rows), *rows[0].shape), dtype)
    for place, row in enumerate(rows):
        result[place] = row
    return result


def _item(found: TensorList, place: int, shape: Shape) -> Any:
    """An element; zeros where none was set, as far as the shape tells how many."""
    item = found.items[place]
    if item is not None:
        if isinstance(item, np.ndarray) and not are_compatible(shape, item.shape):
            raise errors.InvalidArgument(
                f"Incompatible shapes during merge: {shape} vs. {item.shape}"
            )
        if isinstance(item, bytes):  # a row of a vector of strings is no array by itself
            return np.array(item, object)
        return np.asarray(item) if isinstance(item, np.generic) else item
    known = next(
        (
            candidate
            for candidate in (shape, found.shape, *_shapes_of(found))
            if candidate is not None and None not in candidate
        ),
        None,
    )
    if known is None:
        raise errors.InvalidArgument(
            f"Trying to read an uninitialized tensor but element_shape is not fully defined: "
            f"{shape}"
        )
    dtype = dtypes.to_numpy(found.dtype)
    sizes = [size or 0 for size in known]
    check_size(sizes, dtype)
    return np.full(sizes, zero(dtype), dtype)


def _shapes_of(found: TensorList) -> Sequence[Shape]:
    """The shape that all elements that were set have, if it is one."""
    shapes = {item.shape for item in found.items if isinstance(item, np.ndarray)}
    return list(shapes) if len(shapes) == 1 else []


def _list(value: Any) -> TensorList:
    if not isinstance(value, TensorList):
        raise errors.InvalidArgument(f"Input handle is not a list. Saw: '{type(value).__name__}'")
    return value


def _check_index(found: TensorList, place: int) -> None:
    if not 0 <= place < len(found.items):
        raise errors.InvalidArgument(
            f"Trying to access element {place} in a list with {len(found.items)} elements."
        )


def _length(count: int) -> int:
    if not 0 <= count <= _MAX_LENGTH:
        raise errors.InvalidArgument(
            f"a list has between 0 and {_MAX_LENGTH} elements, got {count}"
        )
    return count


def _shape(value: Array) -> Shape:
    """A shape that an input holds: -1 alone for an unknown rank, or for a size."""
    if not value.ndim:
        if value[()] == -1:
            return None
        raise errors.InvalidArgument(f"a shape must be a vector or -1, got {value}")
    sizes = integers(value, "element_shape")
    if any(size < -1 for size in sizes) or math.prod(map(abs, sizes)) > 2**62:
        raise errors.InvalidArgument(f"element_shape must hold sizes, got {sizes}")
    return tuple(None if size == -1 else size for size in sizes)
