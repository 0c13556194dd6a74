"""Shapes of products of matrices, of reductions and of searches."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr import errors
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import (
    Size,
    at_least_rank,
    axis_in,
    broadcast,
    known_values,
    of_rank,
    same_size,
    shape_function,
    shape_of,
    value_of,
)
from ckptmgr.graph.tensor_shape import Shape, merge


@shape_function("MatMul", "SparseMatMul")
def mat_mul(op: Operation) -> Sequence[Shape]:
    first = of_rank(shape_of(op, 0), 2)
    second = of_rank(shape_of(op, 1), 2)
    if op.get_attr("transpose_a"):
        first = first[::-1]
    if op.get_attr("transpose_b"):
        second = second[::-1]
    same_size(first[1], second[0])
    return [(first[0], second[1])]


@shape_function("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_mat_mul(op: Operation) -> Sequence[Shape]:
    first, second = at_least_rank(shape_of(op, 0), 2), at_least_rank(shape_of(op, 1), 2)
    if first is None or second is None:
        return [None]
    if op.type == "BatchMatMul":
        outer = merge(first[:-2], second[:-2])
    else:
        outer = broadcast(first[:-2], second[:-2])
    rows, inner = first[-2:][::-1] if op.get_attr("adj_x") else first[-2:]
    other, columns = second[-2:][::-1] if op.get_attr("adj_y") else second[-2:]
    same_size(inner, other)
    return [None if outer is None else (*outer, rows, columns)]


@shape_function("Einsum")
def einsum(op: Operation) -> Sequence[Shape]:
    try:
        equation = op.get_attr("equation").decode("ascii").replace(" ", "")
    except UnicodeDecodeError:
        raise errors.GraphError("an equation is made of letters") from None
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    if not arrow or "." in equation or len(terms) != len(op.inputs):
        return [None]
    sizes: dict[str, Size] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        for label, size in zip(term, of_rank(tensor.partial_shape, len(term)), strict=True):
            sizes[label] = same_size(sizes.get(label), size)
    return [tuple(sizes.get(label) for label in result)]


@shape_function("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")
def reduction(op: Operation) -> Sequence[Shape]:
    return [_reduced(op, keeps=op.get_attr("keep_dims"))]


@shape_function("ReduceJoin")
def reduce_join(op: Operation) -> Sequence[Shape]:
    return [_reduced(op, keeps=op.get_attr("keep_dims"))]


def _reduced(op: Operation, *, keeps: bool) -> Shape:
    shape, axes = shape_of(op, 0), known_values(op.inputs[1])
    if axes is None:
        if shape is None or not keeps:
            return None
        return (None,) * len(shape)
    if shape is None:
        return None
    reduced = {axis_in(axis, len(shape)) for axis in axes}
    if keeps:
        return tuple(1 if axis in reduced else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in reduced)


@shape_function("ArgMax", "ArgMin")
def arg_max(op: Operation) -> Sequence[Shape]:
    shape, axis = shape_of(op, 0), value_of(op.inputs[1])
    if shape is None or len(shape) == 0:
        return [shape]
    if axis is None:
        return [(None,) * (len(shape) - 1)]
    axis = axis_in(axis, len(shape))
    return [shape[:axis] + shape[axis + 1 :]]


@shape_function("TopK", "TopKV2")
def top_k(op: Operation) -> Sequence[Shape]:
    shape = at_least_rank(shape_of(op, 0), 1)
    count: Size = op.get_attr("k") if op.type == "TopK" else value_of(op.inputs[1])
    if shape is None:
        return [None, None]
    return [(*shape[:-1], count)] * 2


@shape_function("InTopK", "InTopKV2")
def in_top_k(op: Operation) -> Sequence[Shape]:
    rows = same_size(of_rank(shape_of(op, 0), 2)[0], of_rank(shape_of(op, 1), 1)[0])
    return [(rows,)]


@shape_function("L2Loss", "Rank", "Size", "Timestamp", "IsVariableInitialized", "VarHandleOp")
@shape_function("VarIsInitializedOp", "HashTableV2", "MutableHashTableV2", "LookupTableSizeV2")
@shape_function("MutableHashTableOfTensorsV2", "MutableDenseHashTableV2", "AnonymousHashTable")
@shape_function("ShardedFilename", "ShardedFilespec", "ScalarSummary", "HistogramSummary")
@shape_function("ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary", "MergeSummary")
@shape_function("TensorSummaryV2", "IteratorV2", "ReadFile", "FIFOQueueV2", "RandomShuffleQueueV2")
@shape_function("QueueSizeV2", "QueueIsClosedV2", "PaddingFIFOQueueV2", "StringFormat")
@shape_function("TextLineReaderV2", "TFRecordReaderV2", "WholeFileReaderV2", "IdentityReaderV2")
def one_value(op: Operation) -> Sequence[Shape]:
    if op.type == "VarHandleOp":
        op.outputs[0]._handle_shape = op.get_attr("shape")
    return [()] * len(op.outputs)


@shape_function("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd")
@shape_function("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")
def segments(op: Operation) -> Sequence[Shape]:
    shape = at_least_rank(shape_of(op, 0), 1)
    return [None if shape is None else (None, *shape[1:])]


@shape_function("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin")
def unsorted_segments(op: Operation) -> Sequence[Shape]:
    shape, ids, count = shape_of(op, 0), shape_of(op, 1), value_of(op.inputs[2])
    if shape is None or ids is None:
        return [None]
    return [(count, *shape[len(ids) :])]


@shape_function("Multinomial", "StatelessMultinomial")
def multinomial(op: Operation) -> Sequence[Shape]:
    return [(of_rank(shape_of(op, 0), 2)[0], value_of(op.inputs[1]))]


@shape_function("BroadcastGradientArgs")
def two_vectors(_: Operation) -> Sequence[Shape]:
    return [(None,), (None,)]
