"""Sizes and axes that are computed in the graph: what is known of their values.

Only tensors of rank 0 and 1 count; every function here gives the elements in order, None for one
that is not known, or None where not even their number is.

Source: tensorflow/core/common_runtime/shape_refiner.cc (ConstantPartialShape),
tensorflow/core/common_runtime/eval_const_tensor.cc.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import (
    MAX_VALUES,
    Size,
    Values,
    known_values,
    shape_of,
    value_function,
    value_of,
    values_of,
)
from ckptmgr.graph.tensor_values import decode_tensor


@value_function("Const")
def const(op: Operation) -> Values:
    shape = op.outputs[0].partial_shape
    if shape is None or len(shape) > 1 or math.prod(size or 0 for size in shape) > MAX_VALUES:
        return None
    values: list[Size] = decode_tensor(op.attr_value("value").tensor).reshape(-1).tolist()
    return values


@value_function("Shape")
def shape(op: Operation) -> Values:
    return shape_of(op, 0)


@value_function("VariableShape")
def variable_shape(op: Operation) -> Values:
    return op.inputs[0]._handle_shape


@value_function("Rank")
def rank(op: Operation) -> Values:
    sizes = shape_of(op, 0)
    return None if sizes is None else [len(sizes)]


@value_function("Size")
def size(op: Operation) -> Values:
    sizes = shape_of(op, 0)
    if sizes is None or None in sizes:
        return None
    return [math.prod(size or 0 for size in sizes)]


@value_function(
    "Identity", "StopGradient", "Cast", "EnsureShape", "Squeeze", "ExpandDims", "Reshape"
)
def passed_on(op: Operation) -> Values:
    shape = op.outputs[0].partial_shape
    # More dimensions and they are no shape any more.
    return values_of(op.inputs[0]) if shape is not None and len(shape) <= 1 else None


@value_function("Pack")
def pack(op: Operation) -> Values:
    if any(tensor.partial_shape != () for tensor in op.inputs):
        return None
    return [value_of(tensor) for tensor in op.inputs]


@value_function("ConcatV2")
def concat_v2(op: Operation) -> Values:
    return _joined([values_of(tensor) for tensor in op.inputs[:-1]])


@value_function("Concat")
def concat(op: Operation) -> Values:
    return _joined([values_of(tensor) for tensor in op.inputs[1:]])


def _joined(parts: list[tuple[Size, ...] | None]) -> Values:
    joined: list[Size] = []
    for part in parts:
        if part is None or len(joined) + len(part) > MAX_VALUES:
            return None
        joined.extend(part)
    return joined


@value_function("StridedSlice")
def strided_slice(op: Operation) -> Values:
    values = values_of(op.inputs[0])
    masks = ("ellipsis_mask", "new_axis_mask")
    if values is None or shape_of(op, 0) == () or any(op.get_attr(mask) for mask in masks):
        return None
    begin, end, stride = (value_of(tensor) for tensor in op.inputs[1:])
    if begin is None or stride is None or stride == 0:
        return None
    if op.get_attr("shrink_axis_mask") & 1:
        return [values[begin]] if -len(values) <= begin < len(values) else None
    first = None if op.get_attr("begin_mask") & 1 else begin
    if op.get_attr("end_mask") & 1:
        return values[first::stride]
    return None if end is None else values[first:end:stride]


@value_function("Slice")
def slice_(op: Operation) -> Values:
    values = values_of(op.inputs[0])
    begin, count = value_of(op.inputs[1]), value_of(op.inputs[2])
    if values is None or begin is None or count is None or begin < 0:
        return None
    return values[begin:] if count == -1 else values[begin : begin + count]


@value_function("Gather", "GatherV2")
def gather(op: Operation) -> Values:
    values, indices = values_of(op.inputs[0]), values_of(op.inputs[1])
    if values is None or indices is None:
        return None
    return [
        values[index] if index is not None and 0 <= index < len(values) else None
        for index in indices
    ]


@value_function("Range")
def range_(op: Operation) -> Values:
    shape = op.outputs[0].partial_shape
    start, delta = value_of(op.inputs[0]), value_of(op.inputs[2])
    count = shape[0] if shape else None
    if start is None or delta is None or count is None or count > MAX_VALUES:
        return None
    return [start + delta * position for position in range(count)]


@value_function("Fill")
def fill(op: Operation) -> Values:
    shape = op.outputs[0].partial_shape
    if not shape or len(shape) > 1 or shape[0] is None or shape[0] > MAX_VALUES:
        return None
    return [value_of(op.inputs[1])] * shape[0]


@value_function("Prod", "Sum", "Max", "Min")
def reduced(op: Operation) -> Values:
    values, axes = known_values(op.inputs[0]), known_values(op.inputs[1])
    if not values or axes not in ((0,), (-1,)) or shape_of(op, 0) == ():
        return None
    compute: dict[str, Callable[..., int]] = {"Prod": math.prod, "Sum": sum, "Max": max, "Min": min}
    return [compute[op.type](values)]


_PAIRS: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "AddV2": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "FloorDiv": operator.floordiv,
    "FloorMod": operator.mod,
    "Maximum": max,
    "Minimum": min,
}


@value_function(*_PAIRS)
def computed_in_pairs(op: Operation) -> Values:
    first, second = values_of(op.inputs[0]), values_of(op.inputs[1])
    if first is None or second is None:
        return None
    length = max(len(first), len(second))
    first = first * length if len(first) == 1 else first
    second = second * length if len(second) == 1 else second
    if len(first) != len(second):
        return None
    return [_computed(_PAIRS[op.type], a, b) for a, b in zip(first, second, strict=True)]


def _computed(compute: Callable[[int, int], int], first: Size, second: Size) -> Size:
    if first is None or second is None or (second == 0 and compute in _DIVIDING):
        return None
    return compute(first, second)


_DIVIDING = (operator.floordiv, operator.mod)
