"""Shapes of parts of tensors: split, sliced and gathered."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import (
    Size,
    at_least_rank,
    axis_in,
    length_of_first,
    shape_function,
    shape_of,
    value_of,
    values_of,
)
from ckptmgr.graph.tensor_shape import Shape


@shape_function("Split")
def split(op: Operation) -> Sequence[Shape]:
    axis, shape, count = value_of(op.inputs[0]), shape_of(op, 1), len(op.outputs)
    if shape is None:
        return [None] * count
    if axis is None:
        return [(None,) * len(shape)] * count
    axis = axis_in(axis, len(shape))
    whole = shape[axis]
    if whole is not None and count and whole % count:
        raise errors.GraphError(
            f"Dimension size must be evenly divisible by {count} but is {whole}"
        )
    part = None if whole is None or not count else whole // count
    return [(*shape[:axis], part, *shape[axis + 1 :])] * count


@shape_function("SplitV")
def split_v(op: Operation) -> Sequence[Shape]:
    shape, sizes, axis = shape_of(op, 0), values_of(op.inputs[1]), value_of(op.inputs[2])
    count = len(op.outputs)
    if shape is None:
        return [None] * count
    if axis is None or sizes is None or len(sizes) != count:
        return [(None,) * len(shape)] * count
    axis = axis_in(axis, len(shape))
    whole = shape[axis]
    known = [size for size in sizes if size is not None and size >= 0]
    rest = whole - sum(known) if whole is not None and len(known) == count - 1 else None
    return [
        (*shape[:axis], rest if size in (None, -1) else size, *shape[axis + 1 :]) for size in sizes
    ]


@shape_function("Slice")
def slice_(op: Operation) -> Sequence[Shape]:
    shape, begin, sizes = shape_of(op, 0), values_of(op.inputs[1]), values_of(op.inputs[2])
    if sizes is None:
        rank = len(begin) if begin is not None else length_of_first(op.inputs[2], op.inputs[1])
        if rank is None and shape is not None:
            rank = len(shape)
        return [None if rank is None else (None,) * rank]
    if shape is None:
        shape = (None,) * len(sizes)
    starts = (None,) * len(sizes) if begin is None else begin
    if not len(shape) == len(sizes) == len(starts):
        raise errors.GraphError(f"a slice of {len(sizes)} dimensions of rank {len(shape)}")
    return [
        tuple(
            _sliced(whole, start, count)
            for whole, start, count in zip(shape, starts, sizes, strict=True)
        )
    ]


def _sliced(whole: Size, start: Size, count: Size) -> Size:
    if count is None:
        return None
    if count >= 0:
        return count
    return None if whole is None or start is None else whole - start


@shape_function("Gather", "ResourceGather")
def gather(op: Operation) -> Sequence[Shape]:
    is_resource = op.type == "ResourceGather"
    params = op.inputs[0]._handle_shape if is_resource else shape_of(op, 0)
    indices = shape_of(op, 1)
    if params is None or indices is None:
        return [None]
    at_least_rank(params, 1)
    return [indices + params[1:]]


@shape_function("GatherV2")
def gather_v2(op: Operation) -> Sequence[Shape]:
    params, indices, axis = shape_of(op, 0), shape_of(op, 1), value_of(op.inputs[2])
    if params is None or indices is None:
        return [None]
    shared = op.get_attr("batch_dims")
    if axis is None:
        rank = len(params) - 1 + len(indices) - (shared % (len(indices) or 1))
        return [(None,) * max(rank, 0)]
    axis = axis_in(axis, len(params))
    shared = axis_in(shared, len(indices)) if shared else 0
    return [params[:axis] + indices[shared:] + params[axis + 1 :]]


@shape_function("GatherNd", "ResourceGatherNd")
def gather_nd(op: Operation) -> Sequence[Shape]:
    is_resource = op.type == "ResourceGatherNd"
    params = op.inputs[0]._handle_shape if is_resource else shape_of(op, 0)
    indices = at_least_rank(shape_of(op, 1), 1)
    if params is None or indices is None or indices[-1] is None:
        return [None]
    if indices[-1] > len(params):
        raise errors.GraphError(f"indices of {indices[-1]} axes for rank {len(params)}")
    return [indices[:-1] + params[indices[-1] :]]


@shape_function("StridedSlice")
def strided_slice(op: Operation) -> Sequence[Shape]:
    begin, end, strides = (values_of(tensor) for tensor in op.inputs[1:])
    count = length_of_first(*op.inputs[1:])
    shape = shape_of(op, 0)
    if shape is None or count is None or strides is None:
        return [None]
    begins = begin or (None,) * count
    ends = end or (None,) * count
    if not len(begins) == len(ends) == len(strides):
        raise errors.GraphError("begin, end and strides must be equally long")
    return [_strided(op, shape, list(zip(begins, ends, strides, strict=True)))]


def _strided(
    op: Operation, shape: tuple[Size, ...], parts: list[tuple[Size, Size, Size]]
) -> tuple[Size, ...]:
    ellipsis, new_axis, shrink, begin_mask, end_mask = (
        op.get_attr(name)
        for name in (
            "ellipsis_mask",
            "new_axis_mask",
            "shrink_axis_mask",
            "begin_mask",
            "end_mask",
        )
    )
    consuming = sum(1 for at in range(len(parts)) if not (ellipsis | new_axis) >> at & 1)
    result: list[Size] = []
    axis = 0
    for at, (begin, end, stride) in enumerate(parts):
        if ellipsis >> at & 1:
            kept = max(0, len(shape) - consuming)
            result.extend(shape[axis : axis + kept])
            axis += kept
            continue
        if new_axis >> at & 1:
            result.append(1)
            continue
        if axis >= len(shape):
            raise errors.GraphError(f"too many indices for rank {len(shape)}")
        whole = shape[axis]
        axis += 1
        if shrink >> at & 1:
            _check_index(begin, whole)
        else:
            masks = (bool(begin_mask >> at & 1), bool(end_mask >> at & 1))
            result.append(_strided_size(whole, (begin, end, stride), masks))
    return (*result, *shape[axis:])


def _check_index(index: Size, whole: Size) -> None:
    if index is not None and whole is not None and not -whole <= index < whole:
        raise errors.GraphError(f"index {index} is out of bounds for a dimension of {whole}")


def _strided_size(whole: Size, part: tuple[Size, Size, Size], masks: tuple[bool, bool]) -> Size:
    begin, end, stride = part
    if stride == 0:
        raise errors.GraphError("a stride must not be 0")
    if stride is None:
        return None
    is_open = (begin is None and not masks[0]) or (end is None and not masks[1])
    if whole is None or is_open:
        return _size_without_whole(begin, end, stride, masks)
    bounds = slice(None if masks[0] else begin, None if masks[1] else end, stride)
    return len(range(*bounds.indices(whole)))


def _size_without_whole(begin: Size, end: Size, stride: int, masks: tuple[bool, bool]) -> Size:
    """Nothing is known of a part of an unknown whole, but that none is none."""
    if begin is None or end is None or any(masks):
        return None
    is_empty = (begin >= 0) == (end >= 0) and (end - begin) * stride <= 0
    return 0 if is_empty else None
