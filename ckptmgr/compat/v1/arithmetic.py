"""Arithmetic that does more than name an operation: division, casts, ranges, matrices.

Source: tensorflow/python/ops/math_ops.py, clip_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.arrays import one_of
from ckptmgr.compat.v1.conversion import (
    apply,
    convert_to_tensor,
    graph_of,
    tensor,
)
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.operation import Tensor

# Whole numbers of 8 and 16 bits are divided as float32, larger ones as float64.
_TRUEDIV = {
    "uint8": "float32",
    "int8": "float32",
    "uint16": "float32",
    "int16": "float32",
    "uint32": "float64",
    "int32": "float64",
    "uint64": "float64",
    "int64": "float64",
}
# Of several types, a range is of the last of these.
_RANGE_TYPES = ("int32", "int64", "float16", "bfloat16", "float32", "float64")


def _pair(x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> tuple[Tensor, Tensor]:
    """Two tensors of one type, which is that of the first where the second can be of it."""
    first = convert_to_tensor(x, name=names[0])
    second = convert_to_tensor(y, name=names[1], dtype_hint=first.dtype.base_dtype)
    return first, second


def add(x: Any, y: Any, name: str | None = None) -> Tensor:
    with graph_of([x, y]).name_scope(name or "Add") as scope:
        first, second = _pair(x, y)
        is_text = first.dtype.base_dtype.name == "string"
        return tensor("Add" if is_text else "AddV2", [first, second], None, scope)


def add_n(inputs: Sequence[Any], name: str | None = None) -> Tensor:
    if not inputs:
        raise errors.GraphError("add_n needs at least one tensor")
    parts = [convert_to_tensor(item) for item in inputs]
    if len(parts) == 1:
        return tensor("Identity", parts, None, name) if name else parts[0]
    return tensor("AddN", [parts], None, name)


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Divide; whole numbers give fractions."""
    return _true_division("RealDiv", "truediv", x, y, name)


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Divide, with 0 for a division by 0."""
    return _true_division("DivNoNan", "div_no_nan", x, y, name)


def _true_division(op_type: str, default: str, x: Any, y: Any, name: str | None) -> Tensor:
    with graph_of([x, y]).name_scope(name or default) as scope:
        first, second = _pair(x, y)
        if first.dtype.base_dtype != second.dtype.base_dtype:
            raise errors.GraphTypeError(
                f"x and y must have the same dtype, got {first.dtype!r} != {second.dtype!r}"
            )
        wanted = _TRUEDIV.get(first.dtype.base_dtype.name)
        if wanted is not None:
            first, second = cast(first, wanted), cast(second, wanted)
        return tensor(op_type, [first, second], None, scope)


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """Divide as Python 2 did: whole numbers give whole numbers."""
    with graph_of([x, y]).name_scope(name or "div") as scope:
        first, second = _pair(x, y)
        kind = first.dtype.base_dtype
        is_exact = kind.is_floating or kind.is_complex
        return tensor("RealDiv" if is_exact else "FloorDiv", [first, second], None, scope)


def divide(x: Any, y: Any, name: str | None = None) -> Tensor:
    return truediv(x, y, name)


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    return tensor("FloorDiv", [x, y], None, name or "floordiv")


def pow(x: Any, y: Any, name: str | None = None) -> Tensor:
    return tensor("Pow", [x, y], None, name)


def logical_xor(x: Any, y: Any, name: str = "LogicalXor") -> Tensor:
    either = tensor("LogicalOr", [x, y])
    not_both = tensor("LogicalNot", [tensor("LogicalAnd", [x, y])])
    return tensor("LogicalAnd", [either, not_both], None, name)


def abs(x: Any, name: str | None = None) -> Tensor:
    with graph_of([x]).name_scope(name or "Abs") as scope:
        found = convert_to_tensor(x, name="x")
        if found.dtype.is_complex:
            return tensor("ComplexAbs", [found], {"Tout": found.dtype.real_dtype}, scope)
        return tensor("Abs", [found], None, scope)


def sign(x: Any, name: str | None = None) -> Tensor:
    return tensor("Sign", [convert_to_tensor(x)], None, name)


def round(x: Any, name: str | None = None) -> Tensor:
    found = convert_to_tensor(x, name="x")
    return found if found.dtype.is_integer else tensor("Round", [found], None, name)


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    with graph_of([x]).name_scope(name or "Sigmoid") as scope:
        return tensor("Sigmoid", [convert_to_tensor(x, name="x")], None, scope)


def log_sigmoid(x: Any, name: str | None = None) -> Tensor:
    with graph_of([x]).name_scope(name or "LogSigmoid") as scope:
        negative = tensor("Neg", [convert_to_tensor(x, name="x")])
        return tensor("Neg", [tensor("Softplus", [negative])], None, scope)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Tensor:
    factor = convert_to_tensor(scalar, x.dtype.base_dtype, name="scalar")
    return tensor("Mul", [factor, x], None, name)


# --------------------------------------------------------------------------- types


def cast(x: Any, dtype: Any, name: str | None = None) -> Tensor:
    wanted = as_dtype(dtype).base_dtype
    if isinstance(x, Tensor) and x.dtype == wanted:
        return x
    with graph_of([x]).name_scope(name or "Cast") as scope:
        found = convert_to_tensor(x, name="x")
        if found.dtype.base_dtype == wanted:
            return found
        return tensor("Cast", [found], {"DstT": wanted}, scope)


def caster(dtype: DataType, default: str) -> Callable[..., Tensor]:
    """TensorFlow's older functions for one type each: to_float and its like."""

    def function(x: Any, name: str = default) -> Tensor:
        return cast(x, dtype, name)

    return function


def complex(real: Any, imag: Any, name: str | None = None) -> Tensor:
    parts = [convert_to_tensor(real, name="real"), convert_to_tensor(imag, name="imag")]
    is_double = parts[0].dtype.base_dtype.name == "float64"
    result = DataType.DT_COMPLEX128 if is_double else DataType.DT_COMPLEX64
    return tensor("Complex", parts, {"Tout": result}, name)


def part_of_complex(op_type: str) -> Callable[..., Tensor]:
    """The functions that give the real or imaginary part of a number, or its angle."""

    def function(input: Any, name: str | None = None) -> Tensor:
        with graph_of([input]).name_scope(name or op_type) as scope:
            found = convert_to_tensor(input, name="input")
            return tensor(op_type, [found], {"Tout": found.dtype.real_dtype}, scope)

    return function


# --------------------------------------------------------------------------- sequences


def range(
    start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range"
) -> Tensor:
    """Numbers from `start` to before `limit`; from 0 where only one is given."""
    first, last = (0, start) if limit is None else (start, limit)
    with graph_of([first, last, delta]).name_scope(name) as scope:
        parts = [
            value if isinstance(value, Tensor) else convert_to_tensor(value, dtype, argument)
            for value, argument in ((first, "start"), (last, "limit"), (delta, "delta"))
        ]
        wanted = as_dtype(dtype) if dtype is not None else _widest(parts)
        return tensor("Range", [cast(part, wanted) for part in parts], None, scope)


def _widest(parts: Sequence[Tensor]) -> DType:
    names = [part.dtype.base_dtype.name for part in parts]
    unknown = [name for name in names if name not in _RANGE_TYPES]
    if unknown:
        raise errors.GraphTypeError(f"range takes numbers, found a tensor of {unknown[0]}")
    return as_dtype(max(names, key=_RANGE_TYPES.index))


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """`num` numbers, evenly spaced from `start` to `stop`."""
    return tensor("LinSpace", [start, stop, num], None, name)


def cumulative(op_type: str) -> Callable[..., Tensor]:
    """The functions that give sums and products so far."""

    def function(
        x: Any,
        axis: Any = 0,
        exclusive: bool = False,
        reverse: bool = False,
        name: str | None = None,
    ) -> Tensor:
        with graph_of([x]).name_scope(name or op_type) as scope:
            attrs = {"exclusive": exclusive, "reverse": reverse}
            return tensor(op_type, [convert_to_tensor(x, name="x"), axis], attrs, scope)

    return function


def index_of(op_type: str) -> Callable[..., Tensor]:
    """The functions that give the index of the largest or the smallest element."""

    def function(
        input: Any,
        axis: Any = None,
        name: str | None = None,
        dimension: Any = None,
        output_type: Any = DataType.DT_INT64,
    ) -> Tensor:
        along = one_of("axis", axis, "dimension", dimension)
        attrs = {"output_type": output_type}
        return tensor(op_type, [input, 0 if along is None else along], attrs, name)

    return function


# --------------------------------------------------------------------------- matrices


def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:
    """The product of two matrices, or of two batches of them."""
    if (transpose_a and adjoint_a) or (transpose_b and adjoint_b):
        raise errors.GraphError("Only one of `transpose_x` and `adjoint_x` can be True.")
    with graph_of([a, b]).name_scope(name or "MatMul") as scope:
        first, second = _pair(a, b, ("a", "b"))
        is_batch = any(part.shape.rank is None or len(part.shape) > 2 for part in (first, second))
        # A batch is transposed as an adjoint, and two matrices the other way around.
        if is_batch:
            first, second = _conjugate(first, transpose_a), _conjugate(second, transpose_b)
            attrs = {"adj_x": transpose_a or adjoint_a, "adj_y": transpose_b or adjoint_b}
            return tensor("BatchMatMulV2", [first, second], attrs, scope)
        first, second = _conjugate(first, adjoint_a), _conjugate(second, adjoint_b)
        attrs = {"transpose_a": transpose_a or adjoint_a, "transpose_b": transpose_b or adjoint_b}
        return tensor("MatMul", [first, second], attrs, scope)


def _conjugate(of: Tensor, is_wanted: bool) -> Tensor:
    return tensor("Conj", [of]) if is_wanted and of.dtype.is_complex else of


def matvec(a: Any, b: Any, transpose_a: bool = False, name: str | None = None) -> Tensor:
    with graph_of([a, b]).name_scope(name or "MatVec"):
        product = matmul(a, tensor("ExpandDims", [b, -1]), transpose_a=transpose_a)
        return tensor("Squeeze", [product], {"squeeze_dims": [-1]})


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Tensor:
    """A sum of products, as the equation says: "ij,jk->ik"."""
    plain = equation.replace(" ", "")
    if "->" not in plain:
        letters = plain.replace(",", "").replace(".", "")
        once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        plain = f"{plain}->{'...' if '...' in plain else ''}{''.join(once)}"
    with graph_of(inputs).name_scope(name or "einsum"):
        parts = [convert_to_tensor(item) for item in inputs]
        return tensor("Einsum", [parts], {"equation": plain})


def tensordot(a: Any, b: Any, axes: int, name: str | None = None) -> Tensor:
    """Sum products over the last `axes` dimensions of `a` and the first of `b`."""
    with graph_of([a, b]).name_scope(name or "Tensordot"):
        first, second = _pair(a, b, ("a", "b"))
        letters = "abcdefghijklmnopqrstuvwxyz"
        left = letters[: len(first.shape)]
        right = left[len(left) - axes :] + letters[len(left) :][: len(second.shape) - axes]
        result = left[: len(left) - axes] + right[axes:]
        return tensor("Einsum", [[first, second]], {"equation": f"{left},{right}->{result}"})


# --------------------------------------------------------------------------- limits


def clip_by_value(
    t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None
) -> Tensor:
    with graph_of([t, clip_value_min, clip_value_max]).name_scope(name or "clip_by_value") as scope:
        values = convert_to_tensor(t, name="t")
        below = tensor("Minimum", [values, clip_value_max])
        return tensor("Maximum", [below, clip_value_min], None, scope)


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The part of the elements that are 0."""
    with graph_of([value]).name_scope(name or "zero_fraction"):
        found = convert_to_tensor(value, name="value")
        are_zero = cast(tensor("Equal", [found, cast(0, found.dtype.base_dtype)]), "float32")
        flat = tensor("Reshape", [are_zero, [-1]])
        return apply("Mean", [flat, [0]], None, "fraction").outputs[0]
