"""Functions on arrays that do more than name an operation: shapes, slices, joining, choosing.

Source: tensorflow/python/ops/array_ops.py, array_ops_stack.py.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1.conversion import (
    apply,
    convert_to_tensor,
    graph_of,
    is_symbolic,
    tensor,
)
from ckptmgr.compat.v1.op_table import results
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import construction
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.tensor_shape import Dimension, TensorShape
from ckptmgr.graph.variables import ResourceVariable

# What has fewer elements than this is made as a constant, which is larger in a file but needs
# no computing; the number is TensorFlow's.
_SMALL = 1000


def constant(
    value: Any,
    dtype: Any = None,
    shape: Any = None,
    name: str = "Const",
    verify_shape: bool = False,
) -> Tensor:
    """A constant; where `shape` has more elements than `value`, its last fills what is left."""
    sizes = None if shape is None else _sizes(shape)
    if verify_shape and sizes is not None and np.shape(value) != tuple(sizes):
        raise errors.GraphTypeError(
            f"Expected Tensor's shape: {tuple(sizes)}, got {np.shape(value)}."
        )
    if isinstance(value, TensorShape):
        value = value.as_list()
    return construction.constant(get_default_graph(), value, dtype, sizes, name)


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor whose value is fed when the graph is run."""
    attrs = {"dtype": as_dtype(dtype).base_dtype, "shape": TensorShape(shape).as_tuple()}
    return tensor("Placeholder", (), attrs, name)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that may be fed, and is `input` otherwise."""
    attrs = {"shape": TensorShape(shape).as_tuple()}
    return tensor("PlaceholderWithDefault", [input], attrs, name)


# --------------------------------------------------------------------------- shapes


def shape(input: Any, name: str | None = None, out_type: Any = None) -> Tensor:
    """The shape of a tensor; a constant where all of it is known already."""
    dtype = as_dtype(out_type or DataType.DT_INT32)
    with graph_of([input]).name_scope(name or "Shape") as scope:
        found = convert_to_tensor(input)
        if found.shape.is_fully_defined():
            return constant(found.shape.as_list(), dtype, name=scope)
        return tensor("Shape", [found], {"out_type": dtype}, scope)


def size(input: Any, name: str | None = None, out_type: Any = None) -> Tensor:
    """How many elements a tensor has."""
    dtype = as_dtype(out_type or DataType.DT_INT32)
    with graph_of([input]).name_scope(name or "Size") as scope:
        found = convert_to_tensor(input)
        if found.shape.is_fully_defined():
            return constant(found.shape.num_elements(), dtype, name=scope)
        return tensor("Size", [found], {"out_type": dtype}, scope)


def rank(input: Any, name: str | None = None) -> Tensor:
    """How many dimensions a tensor has."""
    with graph_of([input]).name_scope(name or "Rank") as scope:
        found = convert_to_tensor(input)
        if found.shape.rank is not None:
            return constant(found.shape.rank, DataType.DT_INT32, name=scope)
        return tensor("Rank", [found], None, scope)


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    return tensor("ExpandDims", [input, one_of("axis", axis, "dim", dim)], None, name)


def squeeze(
    input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None
) -> Tensor:
    axes = squeeze_dims if axis is None else axis
    dims = [] if axes is None else [axes] if np.isscalar(axes) else list(axes)
    return tensor("Squeeze", [input], {"squeeze_dims": dims}, name)


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    with graph_of([a, perm]).name_scope(name or "transpose") as scope:
        found = convert_to_tensor(a, name="a")
        is_conjugated = conjugate and found.dtype.is_complex
        if perm is None:
            perm = _reversed_axes(found)
        return tensor(
            "ConjugateTranspose" if is_conjugated else "Transpose", [found, perm], None, scope
        )


def _reversed_axes(of: Tensor) -> Any:
    if of.shape.rank is None:
        last = tensor("Sub", [tensor("Rank", [of]), 1], None, "sub")
        return tensor("Range", [last, -1, -1])
    return np.arange(of.shape.rank - 1, -1, -1, dtype=np.int32)


def matrix_transpose(a: Any, name: str = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """Swap the last two dimensions."""
    with graph_of([a]).name_scope(name) as scope:
        found = convert_to_tensor(a, name="a")
        axes = list(range(len(found.shape)))
        axes[-2:] = axes[:-3:-1]
        return transpose(found, axes, scope, conjugate)


# --------------------------------------------------------------------------- filled with one value


def zeros(shape: Any, dtype: Any = DataType.DT_FLOAT, name: str | None = None) -> Tensor:
    number = as_dtype(dtype).base_dtype
    empty: Any = {"bool": False, "string": ""}.get(number.name, 0)
    return _filled(shape, number, empty, name or "zeros")


def ones(shape: Any, dtype: Any = DataType.DT_FLOAT, name: str | None = None) -> Tensor:
    number = as_dtype(dtype).base_dtype
    return _filled(shape, number, True if number.is_bool else 1, name or "ones")


def _filled(shape: Any, dtype: Any, value: Any, name: str) -> Tensor:
    with graph_of([shape]).name_scope(name) as scope:
        if not is_symbolic(shape):
            sizes = _sizes(shape, required=False)
            if sizes is not None and np.prod(sizes) < _SMALL:
                return constant(value, dtype, sizes, scope)
            # Sizes that are tensors are packed, and named as packed values are.
            title = None if sizes is None else "shape_as_tensor"
            dims = convert_to_tensor(shape, DataType.DT_INT32, name=title)
        else:
            dims = convert_to_tensor(shape)
        if not dims.partial_shape:
            dims = tensor("Reshape", [dims, [-1]])
        return tensor("Fill", [dims, constant(value, dtype)], None, scope)


def zeros_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    with graph_of([tensor]).name_scope(name or "zeros_like") as scope:
        found = convert_to_tensor(tensor, name="tensor")
        wanted = found.dtype if dtype is None else as_dtype(dtype)
        if optimize and found.shape.is_fully_defined():
            return zeros(found.shape, wanted, scope)
        if wanted != found.dtype.base_dtype:
            return zeros(shape(found), wanted, scope)
        return apply("ZerosLike", [found], None, scope).outputs[0]


def ones_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    with graph_of([tensor]).name_scope(name or "ones_like") as scope:
        found = convert_to_tensor(tensor, name="tensor")
        with graph_of([found]).name_scope("Shape") as shape_scope:
            if optimize and found.shape.is_fully_defined():
                sizes = convert_to_tensor(found.shape)
            else:
                sizes = apply("Shape", [found], None, shape_scope).outputs[0]
        made = ones(sizes, found.dtype if dtype is None else dtype, scope)
        made.set_shape(found.shape)
        return made


def eye(
    num_rows: int,
    num_columns: int | None = None,
    batch_shape: Any = None,
    dtype: Any = DataType.DT_FLOAT,
    name: str | None = None,
) -> Tensor:
    """The identity matrix, once per element of `batch_shape`."""
    columns = num_rows if num_columns is None else num_columns
    batch = [] if batch_shape is None else _sizes(batch_shape) or []
    with get_default_graph().name_scope(name or "eye"):
        diagonal = ones([*batch, min(num_rows, columns)], dtype)
        if num_rows == columns:
            return tensor("MatrixDiagV3", [diagonal, 0, -1, -1, 0], None, "diag")
        matrix = zeros([*batch, num_rows, columns], dtype)
        return tensor("MatrixSetDiagV3", [matrix, diagonal, 0], None, "set_diag")


# --------------------------------------------------------------------------- joining and splitting


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """Join tensors of one shape along a new dimension."""
    if axis == 0:
        try:
            return convert_to_tensor(values, name=name)
        except errors.GraphError:
            pass  # Values of different kinds: the operation converts them to one, or says why not.
    return tensor("Pack", [list(values)], {"axis": axis}, name)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Any]:
    found = convert_to_tensor(value)
    count = num
    if count is None:
        sizes = found.partial_shape
        if sizes is None or sizes[axis] is None:
            raise errors.GraphError(f"Cannot infer argument `num` from shape {found.shape}")
        count = sizes[axis]
    return list(apply("Unpack", [found], {"num": count, "axis": axis}, name).outputs)


def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    parts = list(values) if isinstance(values, list | tuple) else [values]
    if len(parts) == 1:
        with graph_of(parts).name_scope(name):
            convert_to_tensor(axis, DataType.DT_INT32, name="concat_dim")
            return tensor("Identity", parts, None, name)
    return tensor("ConcatV2", [parts, axis], None, name)


def split(
    value: Any,
    num_or_size_splits: Any,
    axis: Any = 0,
    num: int | None = None,
    name: str = "split",
) -> list[Tensor]:
    """Cut a tensor into so many equal parts, or into parts of these sizes."""
    if isinstance(num_or_size_splits, int | np.integer | Dimension):
        count = operator.index(num_or_size_splits)
        return list(apply("Split", [axis, value], {"num_split": count}, name).outputs)
    sizes = convert_to_tensor(num_or_size_splits)
    if num is None and sizes.partial_shape:
        num = sizes.partial_shape[0]
    if num is None:
        raise errors.GraphError(f"Cannot infer argument `num` from shape {sizes.shape}")
    return list(apply("SplitV", [value, sizes, axis], {"num_split": num}, name).outputs)


def pad(
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    name: str | None = None,
    constant_values: Any = 0,
) -> Tensor:
    kind = mode.upper()
    if kind in {"REFLECT", "SYMMETRIC"}:
        return apply("MirrorPad", [tensor, paddings], {"mode": kind}, name).outputs[0]
    if kind != "CONSTANT":
        raise errors.GraphError(f"mode must be CONSTANT, REFLECT or SYMMETRIC, found {mode!r}")
    if not is_symbolic(constant_values) and np.ndim(constant_values) == 0 and not constant_values:
        return apply("Pad", [tensor, paddings], None, name).outputs[0]
    return apply("PadV2", [tensor, paddings, constant_values], None, name).outputs[0]


# --------------------------------------------------------------------------- choosing


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """Where `condition` is true; or, with `x` and `y`, elements of either."""
    return _where("Select", condition, x, y, name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """As `where`, with shapes that are broadcast."""
    return _where("SelectV2", condition, x, y, name)


def _where(op_type: str, condition: Any, x: Any, y: Any, name: str | None) -> Tensor:
    if (x is None) != (y is None):
        raise errors.GraphError("x and y must both be non-None or both be None.")
    if x is not None:
        return tensor(op_type, [condition, x, y], None, name)
    with graph_of([condition]).name_scope(name or "Where") as scope:
        found = convert_to_tensor(condition, name="condition", preferred_dtype=DataType.DT_BOOL)
        return tensor("Where", [found], None, scope)


def gather(
    params: Any,
    indices: Any,
    validate_indices: bool | None = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    at = batch_dims if axis is None else axis
    is_first = not is_symbolic(at) and at == 0
    if is_first and isinstance(params, ResourceVariable):
        return params.sparse_read(indices, name)
    return tensor("GatherV2", [params, indices, at], {"batch_dims": batch_dims}, name)


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise errors.GraphError("gather_nd with batch_dims is not offered; use gather")
    if isinstance(params, ResourceVariable):
        return params.gather_nd(indices, name)
    return tensor("GatherNd", [params, indices], None, name)


def one_hot(
    indices: Any,
    depth: Any,
    on_value: Any = None,
    off_value: Any = None,
    axis: int | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> Tensor:
    with graph_of([indices, depth, on_value, off_value]).name_scope(name or "one_hot") as scope:
        on = None if on_value is None else convert_to_tensor(on_value, dtype_hint=dtype)
        off = None if off_value is None else convert_to_tensor(off_value, dtype_hint=dtype)
        given = on if on is not None else off
        wanted = dtype or (DataType.DT_FLOAT if given is None else given.dtype)
        on = convert_to_tensor(1, wanted, "on_value") if on is None else on
        off = convert_to_tensor(0, wanted, "off_value") if off is None else off
        return tensor("OneHot", [indices, depth, on, off], {"axis": axis}, scope)


def boolean_mask(tensor: Any, mask: Any, name: str = "boolean_mask", axis: int = 0) -> Tensor:
    """The elements of `tensor` where `mask` is true, which covers dimensions from `axis` on."""
    with graph_of([tensor, mask]).name_scope(name):
        found = convert_to_tensor(tensor, name="tensor")
        masked = convert_to_tensor(mask, name="mask")
        count = masked.shape.rank
        if not count:
            raise errors.GraphError("boolean_mask needs a mask of known rank above 0")
        end = axis + count
        found.shape[axis:end].assert_is_compatible_with(masked.shape)
        size = apply("Prod", [_part_of_shape(found, axis, end), [0]]).outputs[0]
        before, after = _part_of_shape(found, None, axis), _part_of_shape(found, end, None)
        flat = apply("Reshape", [found, concat([before, [size], after], 0)]).outputs[0]
        is_chosen = apply("Reshape", [masked, [-1]]).outputs[0]
        return gather(flat, squeeze(where_v2(is_chosen), axis=[1]), axis=axis)


def _part_of_shape(of: Tensor, begin: int | None, end: int | None) -> Tensor:
    return shape(of)[begin:end]  # type: ignore[index,no-any-return]


def setdiff1d(x: Any, y: Any, index_dtype: Any = None, name: str | None = None) -> Any:
    return results(apply("ListDiff", [x, y], {"out_idx": index_dtype}, name))


# --------------------------------------------------------------------------- arguments


def one_of(new_name: str, new: Any, old_name: str, old: Any) -> Any:
    """An argument that TensorFlow renamed and takes under either name."""
    if new is None:
        return old
    if old is not None:
        raise errors.GraphError(f"Cannot specify both {old_name!r} and {new_name!r}.")
    return new


def _sizes(shape: Any, *, required: bool = True) -> list[int] | None:
    """Sizes as a list; None where one is a tensor or not known, unless that is required."""
    values: Sequence[Any]
    try:
        values = TensorShape(shape).as_list()
    except errors.GraphError:
        values = [None]
    if None in values:
        if required:
            raise errors.GraphError(f"a shape must be known here, found {shape!r:.80}")
        return None
    return list(values)
