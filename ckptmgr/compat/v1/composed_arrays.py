"""Functions on arrays that are made of several operations: parts, grids, masks and norms.

Source: tensorflow/python/ops/array_ops.py, linalg_ops.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1 import arithmetic, reductions
from ckptmgr.compat.v1.arrays import (
    constant,
    expand_dims,
    one_of,
    ones,
    ones_like,
    size,
    squeeze,
    stack,
)
from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.operation import Tensor


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: None = None,
    name: str | None = None,
) -> Tensor:
    """What `input_[begin:end:strides]` gives, dimension by dimension; a bit of a mask for each.

    Args:
        var: Nothing: a part of a variable is changed by `scatter_update`.
    """
    if var is not None:
        raise errors.GraphError("strided_slice with `var` is not offered; use tf.scatter_update")
    masks = {
        "begin_mask": begin_mask,
        "end_mask": end_mask,
        "ellipsis_mask": ellipsis_mask,
        "new_axis_mask": new_axis_mask,
        "shrink_axis_mask": shrink_axis_mask,
    }
    steps = ones_like(begin) if strides is None else strides
    return tensor("StridedSlice", [input_, begin, end, steps], masks, name)


def meshgrid(*args: Any, indexing: str = "xy", name: str = "meshgrid") -> list[Tensor]:
    """The coordinates of the points of a grid, whose axes have these."""
    if indexing not in {"xy", "ij"}:
        raise errors.GraphError(
            f"Argument `indexing` parameter must be either 'xy' or 'ij', got {indexing!r}"
        )
    count = len(args)
    with graph_of(args).name_scope(name):
        if not count:
            return []

        def along(axis: int) -> list[int]:
            return [-1 if other == axis else 1 for other in range(count)]

        placed = [
            tensor("Reshape", [stack(axis), along(number)]) for number, axis in enumerate(args)
        ]
        sizes = [size(axis) for axis in args]
        dtype = convert_to_tensor(args[0]).dtype.base_dtype
        if indexing == "xy" and count > 1:
            for number in (0, 1):
                placed[number] = tensor("Reshape", [placed[number], along(1 - number)])
            sizes[:2] = sizes[1], sizes[0]
        full = ones(sizes, dtype)
        return [tensor("Mul", [axis, full], None, "mul") for axis in placed]


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: Any = DataType.DT_BOOL, name: str | None = None
) -> Tensor:
    """For each length a row that is true so many times; rows are as long as `maxlen`."""
    with graph_of([lengths, maxlen]).name_scope(name or "SequenceMask"):
        counts = convert_to_tensor(lengths)
        if maxlen is None:
            longest = reductions.reduce_max(counts)
            longest = tensor("Maximum", [constant(0, longest.dtype), longest])
        else:
            longest = convert_to_tensor(maxlen)
        if longest.shape.rank not in {None, 0}:
            raise errors.GraphError(
                f"Argument `maxlen` must be scalar for sequence_mask, received `maxlen` = "
                f"{maxlen!r:.80} with shape '{longest.shape}' instead"
            )
        kind = longest.dtype.base_dtype
        places = tensor("Range", [constant(0, kind), longest, constant(1, kind)])
        column = tensor("Cast", [expand_dims(counts, -1)], {"DstT": kind})
        mask = tensor("Less", [places, column])
        if dtype is None or as_dtype(dtype).base_dtype.is_bool:
            return mask
        return tensor("Cast", [mask], {"DstT": as_dtype(dtype)})


def norm(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    keep_dims: bool | None = None,
) -> Tensor:
    """The norm of vectors along an axis, of matrices along two, or of all elements."""
    keeps = one_of("keepdims", keepdims, "keep_dims", keep_dims)
    axes = _axes(axis)
    is_matrix = axes is not None and len(axes) == 2
    _check_order(ord, is_matrix=is_matrix)
    with graph_of([tensor]).name_scope(name or "norm"):
        found = convert_to_tensor(tensor)
        result = _norm(found, ord, axes)
        return result if keeps else squeeze(result, None if axes is None else list(axes))


def _axes(axis: Any) -> tuple[int, ...] | None:
    if axis is None:
        return None
    axes = tuple(axis) if isinstance(axis, list | tuple) and len(axis) == 2 else (axis,)
    if not all(isinstance(number, int) for number in axes) or len(set(axes)) != len(axes):
        raise errors.GraphError(
            f"'axis' must be None, an integer, or a tuple of 2 unique integers, got {axis}"
        )
    return axes


def _check_order(order: Any, *, is_matrix: bool) -> None:
    if is_matrix:
        if order in {"euclidean", "fro", 1, np.inf}:
            return
        if order == 2:
            raise errors.GraphError("the 2-norm of matrices is not offered")
    elif order == "euclidean" or (np.isreal(order) and not isinstance(order, str) and order > 0):
        return
    kind = "matrix" if is_matrix else "vector"
    raise errors.GraphError(f"'ord' must be a supported {kind} norm, got {order}")


def _norm(found: Tensor, order: Any, axes: tuple[int, ...] | None) -> Tensor:
    every = None if axes is None else list(axes)
    if order in {"fro", "euclidean", 2}:
        with found.graph.name_scope("Conj") as scope:
            conjugate = tensor("Conj", [found], None, scope) if found.dtype.is_complex else found
        product = tensor("Mul", [found, conjugate], None, "mul")
        return tensor("Sqrt", [reductions.reduce_sum(product, every, keepdims=True)])
    result = arithmetic.abs(found)
    first = None if axes is None else axes[0]
    last = axes[1] if axes is not None and len(axes) == 2 else None
    if order == 1:
        result = reductions.reduce_sum(result, first, keepdims=True)
        return result if last is None else reductions.reduce_max(result, last, keepdims=True)
    if order == np.inf:
        if last is not None:
            result = reductions.reduce_sum(result, last, keepdims=True)
        return reductions.reduce_max(result, first, keepdims=True)
    total = reductions.reduce_sum(arithmetic.pow(result, order), every, keepdims=True)
    return arithmetic.pow(total, 1.0 / order)
