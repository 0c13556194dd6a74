"""What can be said about the outputs of an operation before it runs: shapes, and a few values.

Each type of operation may have a function, registered here, that gives the shapes of its outputs
from those of its inputs; without one nothing is known. Sizes and axes are often computed in the
graph, so the values of small tensors of whole numbers are followed, too, as far as they are known.
Both are found once, when an operation is made, from what its inputs have.

Source: tensorflow/core/framework/common_shape_fns.cc, tensorflow/core/framework/shape_inference.h.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ckptmgr import errors
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_shape import MAX_RANK
from ckptmgr.graph.dtypes import base
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import Shape, as_text

#: One size: None where it is not known.
Size: TypeAlias = int | None
Values: TypeAlias = Sequence[Size] | None
ShapeFunction = Callable[[Operation], Sequence[Shape]]
ValueFunction = Callable[[Operation], Values]

#: More values than this are no shape, and are not followed.
MAX_VALUES = 256

_MAX_SIZE = 2**63 - 1
_WHOLE_NUMBERS = (DataType.DT_INT32, DataType.DT_INT64)
_functions: dict[str, ShapeFunction] = {}
_value_functions: dict[str, ValueFunction] = {}
_FAMILIES = (
    "shape_values",
    "shapes_arrays",
    "shapes_elementwise",
    "shapes_math",
    "shapes_nn",
    "shapes_slices",
    "shapes_state",
)


def shape_function(*op_types: str) -> Callable[[ShapeFunction], ShapeFunction]:
    """Register what gives the shapes of the outputs of operations of these types."""

    def register(function: ShapeFunction) -> ShapeFunction:
        for op_type in op_types:
            _functions[op_type] = function
        return function

    return register


def value_function(*op_types: str) -> Callable[[ValueFunction], ValueFunction]:
    """Register what gives the known values of the first output of operations of these types."""

    def register(function: ValueFunction) -> ValueFunction:
        for op_type in op_types:
            _value_functions[op_type] = function
        return function

    return register


def infer_shapes(op: Operation) -> None:
    """Set what is known of an operation's outputs.

    Raises:
        GraphError: The shapes of its inputs do not fit it.
    """
    _load_families()
    function = _functions.get(op.type)
    if function is None:
        return
    try:
        shapes = function(op)
    except errors.GraphError as error:
        found = ", ".join(as_text(tensor.partial_shape) for tensor in op.inputs)
        raise errors.GraphError(
            f"{error} for {op.name!r} ({op.type}) with inputs {found}"
        ) from None
    for tensor, shape in zip(op.outputs, shapes, strict=False):
        _check(shape)
        tensor._shape = shape
    values_known = _value_functions.get(op.type)
    if values_known is not None and base(op.outputs[0].data_type) in _WHOLE_NUMBERS:
        _note_values(op.outputs[0], values_known(op))


@functools.cache
def _load_families() -> None:
    for family in _FAMILIES:
        importlib.import_module(f"ckptmgr.graph.{family}")


def _note_values(tensor: Tensor, values: Values) -> None:
    if values is not None and len(values) <= MAX_VALUES:
        tensor._known_values = tuple(
            value if value is not None and abs(value) <= _MAX_SIZE else None for value in values
        )


def _check(shape: Shape) -> None:
    if shape is None:
        return
    if len(shape) > MAX_RANK:
        raise errors.GraphError(f"a tensor has at most {MAX_RANK} dimensions, found {len(shape)}")
    for size in shape:
        if size is not None and not 0 <= size <= _MAX_SIZE:
            raise errors.GraphError(f"a dimension cannot have the size {size}")


# --------------------------------------------------------------------------- for the functions


def shape_of(op: Operation, index: int) -> Shape:
    return op.inputs[index].partial_shape


def of_rank(shape: Shape, rank: int) -> tuple[Size, ...]:
    """The sizes of a shape that must be of a rank."""
    if shape is None:
        return (None,) * rank
    if len(shape) != rank:
        raise errors.GraphError(f"Shape must be rank {rank} but is rank {len(shape)}")
    return shape


def at_least_rank(shape: Shape, rank: int) -> Shape:
    if shape is not None and len(shape) < rank:
        raise errors.GraphError(f"Shape must be at least rank {rank} but is rank {len(shape)}")
    return shape


def same_size(first: Size, second: Size) -> Size:
    """What is known of a size that is both."""
    if first is None or second is None:
        return second if first is None else first
    if first != second:
        raise errors.GraphError(f"Dimensions must be equal, but are {first} and {second}")
    return first


def product(sizes: Sequence[Size]) -> Size:
    """0 if one is 0, and unknown if any other is."""
    result = 1
    for size in sizes:
        if size is None:
            return 0 if 0 in sizes else None
        result *= size
    return result


def broadcast(first: Shape, second: Shape) -> Shape:
    """The shape of what two tensors give element by element."""
    if first is None or second is None:
        return None
    rank = max(len(first), len(second))
    pairs = zip(
        (1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second, strict=True
    )
    return tuple(_broadcast_size(a, b) for a, b in pairs)


def _broadcast_size(first: Size, second: Size) -> Size:
    if first == 1:
        return second
    if second == 1:
        return first
    if first is None or second is None:
        # The known one is not 1: the other is 1 or the same.
        return second if first is None else first
    return same_size(first, second)


def values_of(tensor: Tensor) -> tuple[Size, ...] | None:
    """What is known of the whole numbers in a tensor, flattened; None if not even how many."""
    return tensor._known_values


def value_of(tensor: Tensor) -> Size:
    """The single whole number in a tensor, where it is known."""
    values = tensor._known_values
    return values[0] if values is not None and len(values) == 1 else None


def known_values(tensor: Tensor) -> tuple[int, ...] | None:
    """All whole numbers in a tensor; None unless every one is known."""
    values = tensor._known_values
    if values is None or None in values:
        return None
    return tuple(value for value in values if value is not None)


def shape_from_values(tensor: Tensor) -> Shape:
    """The shape that a tensor of sizes describes; -1 is a size that is not known."""
    values = tensor._known_values
    if values is None:
        shape = tensor.partial_shape
        if shape is None or len(shape) != 1 or shape[0] is None or shape[0] > MAX_RANK:
            return None
        return (None,) * shape[0]
    return tuple(None if value in (None, -1) else value for value in values)


def axis_in(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise errors.GraphError(f"axis {axis} is out of bounds for rank {rank}")
    return axis % rank


def length_of_first(*vectors: Tensor) -> int | None:
    """The length of the first of several vectors that tells it, which is that of a shape."""
    for tensor in vectors:
        shape = tensor.partial_shape
        if shape is not None and len(shape) == 1 and shape[0] is not None and shape[0] <= MAX_RANK:
            return shape[0]
    return None
