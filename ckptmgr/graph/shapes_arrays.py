"""Shapes of operations that rearrange, cut and join tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr.formats import dtypes
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.shapes import (
    Size,
    at_least_rank,
    axis_in,
    known_values,
    length_of_first,
    of_rank,
    product,
    same_size,
    shape_from_values,
    shape_function,
    shape_of,
    value_of,
    values_of,
)
from ckptmgr.graph.tensor_shape import Shape, decode_partial_shape, merge


@shape_function("Const")
def const(op: Operation) -> Sequence[Shape]:
    message, dtype = op.attr_value("value").tensor, op.get_attr("dtype")
    if message.dtype != dtype:
        raise errors.GraphError(
            f"a constant of dtype {dtypes.name(dtype)} has a value of {dtypes.name(message.dtype)}"
        )
    shape = decode_partial_shape(message.tensor_shape)
    if shape is None or None in shape:
        raise errors.GraphError("the shape of a constant must be known")
    return [shape]


@shape_function("Shape")
def shape_vector(op: Operation) -> Sequence[Shape]:
    return [_vector_of(shape_of(op, 0))]


@shape_function("VariableShape")
def variable_shape(op: Operation) -> Sequence[Shape]:
    return [_vector_of(op.inputs[0]._handle_shape)]


@shape_function("ShapeN")
def shape_vectors(op: Operation) -> Sequence[Shape]:
    return [_vector_of(tensor.partial_shape) for tensor in op.inputs]


def _vector_of(shape: Shape) -> Shape:
    return (None,) if shape is None else (len(shape),)


@shape_function("Reshape")
def reshape(op: Operation) -> Sequence[Shape]:
    given, wanted = shape_of(op, 0), shape_from_values(op.inputs[1])
    if wanted is None or given is None:
        return [wanted]
    total = product(given)
    if None not in wanted:
        if total is not None and total != product(wanted):
            raise errors.GraphError(
                f"Cannot reshape a tensor with {total} elements to shape {list(wanted)} "
                f"({product(wanted)} elements)"
            )
        return [wanted]
    values = values_of(op.inputs[1])
    if values is None or None in values or values.count(-1) != 1:
        return [wanted]
    return [_with_rest(given, wanted)]


def _with_rest(given: tuple[Size, ...], wanted: tuple[Size, ...]) -> Shape:
    """Find the one open size from how many elements there are."""
    others = product([size for size in wanted if size is not None])
    total = product(given)
    if not others or total is None:
        return wanted
    if total % others:
        raise errors.GraphError(
            f"Dimension size must be evenly divisible by {others} but is {total}"
        )
    return tuple(total // others if size is None else size for size in wanted)


@shape_function("Transpose", "ConjugateTranspose")
def transpose(op: Operation) -> Sequence[Shape]:
    shape, order = shape_of(op, 0), values_of(op.inputs[1])
    if order is None:
        length = of_rank(shape_of(op, 1), 1)[0]
        rank = length if shape is None else len(shape)
        return [None if rank is None or rank > 254 else (None,) * rank]
    if shape is None:
        return [(None,) * len(order)]
    if len(shape) != len(order):
        raise errors.GraphError(f"a permutation of {len(order)} axes for rank {len(shape)}")
    return [tuple(None if axis is None else shape[axis_in(axis, len(shape))] for axis in order)]


@shape_function("ExpandDims")
def expand_dims(op: Operation) -> Sequence[Shape]:
    shape, axis = shape_of(op, 0), value_of(op.inputs[1])
    if shape is None or axis is None:
        return [None]
    axis = axis_in(axis, len(shape) + 1)
    return [(*shape[:axis], 1, *shape[axis:])]


@shape_function("Squeeze")
def squeeze(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    if shape is None:
        return [None]
    axes = {axis_in(axis, len(shape)) for axis in op.get_attr("squeeze_dims")}
    if not axes:
        return [None if None in shape else tuple(size for size in shape if size != 1)]
    for axis in axes:
        same_size(shape[axis], 1)
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


@shape_function("Pack")
def pack(op: Operation) -> Sequence[Shape]:
    shape: Shape = None
    for tensor in op.inputs:
        shape = merge(shape, tensor.partial_shape)
    if shape is None:
        return [None]
    axis = axis_in(op.get_attr("axis"), len(shape) + 1)
    return [(*shape[:axis], len(op.inputs), *shape[axis:])]


@shape_function("Unpack")
def unpack(op: Operation) -> Sequence[Shape]:
    shape, count = shape_of(op, 0), len(op.outputs)
    if shape is None:
        return [None] * count
    axis = axis_in(op.get_attr("axis"), len(at_least_rank(shape, 1) or ()))
    same_size(shape[axis], count)
    return [shape[:axis] + shape[axis + 1 :]] * count


@shape_function("Concat")
def concat(op: Operation) -> Sequence[Shape]:
    return [_concat(op.inputs[1:], value_of(op.inputs[0]))]


@shape_function("ConcatV2")
def concat_v2(op: Operation) -> Sequence[Shape]:
    return [_concat(op.inputs[:-1], value_of(op.inputs[-1]))]


def _concat(tensors: list[Tensor], axis: int | None) -> Shape:
    shapes = [tensor.partial_shape for tensor in tensors]
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return None
    rank = len(known[0])
    if any(len(shape) != rank for shape in known):
        raise errors.GraphError("tensors of different rank cannot be joined")
    if axis is None:
        return (None,) * rank
    axis = axis_in(axis, rank)
    result: tuple[Size, ...] = (None,) * rank
    for shape in known:
        open_axis = (*shape[:axis], None, *shape[axis + 1 :])
        result = merge(result, open_axis) or ()
    sizes = [None if shape is None else shape[axis] for shape in shapes]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    return (*result[:axis], total, *result[axis + 1 :])


@shape_function("Tile")
def tile(op: Operation) -> Sequence[Shape]:
    shape, counts = shape_of(op, 0), values_of(op.inputs[1])
    if counts is None:
        rank = length_of_first(op.inputs[1]) if shape is None else len(shape)
        return [None if rank is None else (None,) * rank]
    if shape is None:
        return [(None,) * len(counts)]
    if len(shape) != len(counts):
        raise errors.GraphError(f"{len(counts)} repetitions for rank {len(shape)}")
    return [tuple(product(pair) for pair in zip(shape, counts, strict=True))]


@shape_function("Pad", "PadV2", "MirrorPad")
def pad(op: Operation) -> Sequence[Shape]:
    """The values of a matrix are not followed: the rank is what can be said."""
    shape = shape_of(op, 0)
    paddings = _constant_pairs(op.inputs[1])
    if shape is None or paddings is None:
        rows = of_rank(shape_of(op, 1), 2)[0]
        rank = rows if shape is None else len(shape)
        return [None if rank is None or rank > 254 else (None,) * rank]
    if len(paddings) != len(shape):
        raise errors.GraphError(f"paddings of {len(paddings)} axes for rank {len(shape)}")
    return [
        tuple(
            None if size is None else size + before + after
            for size, (before, after) in zip(shape, paddings, strict=True)
        )
    ]


def _constant_pairs(tensor: Tensor) -> list[tuple[int, int]] | None:
    """The rows of a constant matrix of two columns."""
    shape = tensor.partial_shape
    if tensor.op.type != "Const" or shape is None or len(shape) != 2 or shape[1] != 2:
        return None
    if shape[0] is None or shape[0] > 254:
        return None
    return [(int(before), int(after)) for before, after in tensor.op.get_attr("value")]


@shape_function("Fill", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "Empty")
@shape_function("TruncatedNormal", "ParameterizedTruncatedNormal", "StatelessTruncatedNormal")
@shape_function("StatelessRandomNormal", "StatelessRandomUniform", "StatelessRandomUniformInt")
@shape_function("StatelessRandomNormalV2", "StatelessRandomUniformV2", "ImmutableConst")
@shape_function("StatelessRandomUniformIntV2", "StatelessTruncatedNormalV2")
def filled(op: Operation) -> Sequence[Shape]:
    if op.type == "ImmutableConst":
        return [op.get_attr("shape")]
    return [shape_from_values(op.inputs[0])]


@shape_function("BroadcastTo", "ScatterNd")
def stated_by_input(op: Operation) -> Sequence[Shape]:
    return [shape_from_values(op.inputs[1 if op.type == "BroadcastTo" else 2])]


@shape_function("OneHot")
def one_hot(op: Operation) -> Sequence[Shape]:
    shape, depth = shape_of(op, 0), value_of(op.inputs[1])
    if shape is None:
        return [None]
    axis = op.get_attr("axis")
    axis = axis_in(axis, len(shape) + 1)
    return [(*shape[:axis], depth, *shape[axis:])]


@shape_function("Range")
def range_(op: Operation) -> Sequence[Shape]:
    numbers = [_scalar(tensor) for tensor in op.inputs]
    start, limit, delta = numbers
    if start is None or limit is None or delta is None:
        return [(None,)]
    if delta == 0:
        raise errors.GraphError("the step of a range must not be 0")
    count = -((start - limit) // delta)
    if not math.isfinite(count):
        raise errors.GraphError(f"a range from {start} to {limit} by {delta} is too long")
    return [(max(0, int(count)),)]


def _scalar(tensor: Tensor) -> float | int | None:
    """The number in a scalar, which may be a fraction where it is a constant."""
    value: float | int | None = value_of(tensor)
    if value is None and tensor.op.type == "Const" and tensor.partial_shape == ():
        constant = tensor.op.get_attr("value")
        value = float(constant) if constant.dtype.kind == "f" else None
    finite = value is not None and abs(value) < 2**63
    return value if finite else None


@shape_function("LinSpace")
def lin_space(op: Operation) -> Sequence[Shape]:
    return [(value_of(op.inputs[2]),)]


@shape_function("Where")
def where(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    return [(None, None if shape is None else len(shape))]


@shape_function("Unique", "UniqueV2", "UniqueWithCounts")
def unique(op: Operation) -> Sequence[Shape]:
    indices = shape_of(op, 0) if op.type != "UniqueV2" else (None,)
    first: Shape = (None,) if op.type != "UniqueV2" else None
    return [first, indices, (None,)]


@shape_function("ListDiff")
def list_diff(_: Operation) -> Sequence[Shape]:
    return [(None,), (None,)]


@shape_function("DepthToSpace", "SpaceToDepth")
def depth_and_space(op: Operation) -> Sequence[Shape]:
    if op.get_attr("data_format") not in (b"NHWC", b""):
        return [None]
    batch, height, width, depth = of_rank(shape_of(op, 0), 4)
    block = op.get_attr("block_size")
    if block < 1:
        raise errors.GraphError(f"a block must have at least one element, found {block}")
    if op.type == "DepthToSpace":
        return [(batch, _times(height, block), _times(width, block), _part(depth, block * block))]
    return [(batch, _part(height, block), _part(width, block), _times(depth, block * block))]


def _times(size: Size, factor: int) -> Size:
    return None if size is None else size * factor


def _part(size: Size, divisor: int) -> Size:
    return None if size is None else size // divisor


@shape_function("MatrixDiag", "Diag", "MatrixDiagPart", "DiagPart")
def diagonal(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    if shape is None:
        return [None]
    if op.type == "Diag":
        return [shape + shape]
    if op.type == "DiagPart":
        return [merge(shape[: len(shape) // 2], shape[len(shape) // 2 :])]
    at_least_rank(shape, 1 if op.type == "MatrixDiag" else 2)
    if op.type == "MatrixDiag":
        return [(*shape, shape[-1])]
    sides = (shape[-2], shape[-1])
    shortest = None if None in sides else min(size or 0 for size in sides)
    return [(*shape[:-2], shortest)]


@shape_function("MatrixDiagV3")
def main_diagonal(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    is_square = [known_values(tensor) for tensor in op.inputs[1:4]] == [(0,), (-1,), (-1,)]
    return [(*shape, shape[-1]) if shape and is_square else None]


@shape_function("BatchToSpaceND", "SpaceToBatchND")
def of_same_rank(op: Operation) -> Sequence[Shape]:
    shape = shape_of(op, 0)
    if shape is None:
        return [None]
    blocks = known_values(op.inputs[1])
    return [
        (None,) * len(shape)
        if blocks is None
        else (None,) * (len(blocks) + 1) + shape[len(blocks) + 1 :]
    ]
