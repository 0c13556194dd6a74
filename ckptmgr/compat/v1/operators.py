"""What +, -, [] and the other operators do with tensors and variables.

An operator is a function of the graph with a name of its own: `a + b` makes an operation "add".

Source: tensorflow/python/ops/tensor_math_operator_overrides.py, tensor_getitem_override.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.compat.v1 import arithmetic
from ckptmgr.compat.v1.arrays import boolean_mask, constant, stack
from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.session import evaluate, run_operation
from ckptmgr.graph.tensor_shape import Dimension

_Function = Callable[..., Tensor]


def _named(op_type: str) -> _Function:
    def function(x: Any, y: Any, name: str) -> Tensor:
        return tensor(op_type, [x, y], None, name)

    return function


def _logical(logical_type: str, bitwise_type: str) -> _Function:
    def function(x: Any, y: Any, name: str) -> Tensor:
        is_bool = (x if isinstance(x, Tensor) else y).dtype.is_bool
        return tensor(logical_type if is_bool else bitwise_type, [x, y], None, name)

    return function


def _exclusive_or(x: Any, y: Any, name: str) -> Tensor:
    if (x if isinstance(x, Tensor) else y).dtype.is_bool:
        return arithmetic.logical_xor(x, y, name)
    return tensor("BitwiseXor", [x, y], None, name)


#: Operators of two operands: the name is the operation's, too.
_BINARY: dict[str, _Function] = {
    "add": arithmetic.add,
    "sub": _named("Sub"),
    "mul": _named("Mul"),
    "truediv": arithmetic.truediv,
    "floordiv": _named("FloorDiv"),
    "mod": _named("FloorMod"),
    "pow": _named("Pow"),
    "matmul": arithmetic.matmul,
    "and": _logical("LogicalAnd", "BitwiseAnd"),
    "or": _logical("LogicalOr", "BitwiseOr"),
    "xor": _exclusive_or,
}
_COMPARISONS = {"lt": "Less", "le": "LessEqual", "gt": "Greater", "ge": "GreaterEqual"}


def _binary(name: str, function: _Function) -> tuple[_Function, _Function]:
    def forward(x: Tensor, y: Any) -> Tensor:
        with x.graph.name_scope(name) as scope:
            return function(x, y, name=scope)

    def backward(y: Tensor, x: Any) -> Tensor:
        with y.graph.name_scope(name) as scope:
            return function(convert_to_tensor(x, y.dtype.base_dtype, "x"), y, name=scope)

    return forward, backward


def _comparison(op_type: str) -> _Function:
    def function(x: Tensor, y: Any) -> Tensor:
        return tensor(op_type, [x, y])

    return function


def _negative(x: Tensor) -> Tensor:
    return tensor("Neg", [x])


def _inverted(x: Tensor) -> Tensor:
    return tensor("LogicalNot" if x.dtype.is_bool else "Invert", [x])


def operators() -> dict[str, _Function]:
    """Every operator by the name of its method."""
    methods: dict[str, _Function] = {
        "__neg__": _negative,
        "__abs__": arithmetic.abs,
        "__invert__": _inverted,
        "__getitem__": slice_of,
    }
    for name, function in _BINARY.items():
        methods[f"__{name}__"], methods[f"__r{name}__"] = _binary(name, function)
    for name, op_type in _COMPARISONS.items():
        methods[f"__{name}__"] = _comparison(op_type)
    return methods


def attach(variable_type: type) -> None:
    """Give tensors their operators, and variables those of the tensor that they hold."""
    Tensor.eval = evaluate  # type: ignore[attr-defined]
    Operation.run = run_operation  # type: ignore[attr-defined]
    for name, method in operators().items():
        setattr(Tensor, name, method)
        setattr(variable_type, name, _on_value(method))


def _on_value(method: _Function) -> _Function:
    def function(variable: Any, *operands: Any) -> Tensor:
        return method(variable.value(), *operands)

    return function


# --------------------------------------------------------------------------- indices


class _Spec:
    """The bounds that an index gives, dimension by dimension, and what the masks say of them."""

    def __init__(self) -> None:
        self.bounds: list[tuple[Any, Any, Any]] = []
        self.masks = dict.fromkeys(("begin", "end", "ellipsis", "new_axis", "shrink_axis"), 0)

    def mark(self, mask: str) -> None:
        self.masks[mask] |= 1 << len(self.bounds)

    def add(self, item: Any) -> None:
        if isinstance(item, slice):
            self._add_slice(item)
        elif item is Ellipsis or item is None:
            self.mark("ellipsis" if item is Ellipsis else "new_axis")
            self.bounds.append((0, 0, 1))
        else:
            self.mark("shrink_axis")
            index = _index(item)
            self.bounds.append((index, index + 1, 1))

    def _add_slice(self, item: slice) -> None:
        for mask, bound in (("begin", item.start), ("end", item.stop)):
            if _is_open(bound):
                self.mark(mask)
        given = (item.start, item.stop, item.step)
        bounds = [None if _is_open(bound) else _index(bound) for bound in given]
        types = {bound.data_type for bound in bounds if isinstance(bound, Tensor)}
        for place, default in enumerate((0, 0, 1)):
            if bounds[place] is None:
                # Beside a tensor the others are constants of its type.
                bounds[place] = constant(default, max(types)) if types else default
        self.bounds.append((bounds[0], bounds[1], bounds[2]))


def _is_open(bound: Any) -> bool:
    return bound is None or (isinstance(bound, Dimension) and bound.value is None)


def _index(item: Any) -> Any:
    if isinstance(item, Dimension):
        return item.value
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return int(item)
    if hasattr(item, "_as_graph_element"):
        item = item.value()
    if isinstance(item, Tensor) and item.dtype.is_integer:
        return item
    raise errors.GraphTypeError(
        f"Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar "
        f"tf.int32/tf.int64 tensors are valid indices, got {item!r:.80}"
    )


def slice_of(x: Tensor, key: Any) -> Tensor:
    """A part of a tensor: numbers, slices, `...` and `None` (a new dimension), or a mask."""
    if isinstance(key, bool) or getattr(key, "dtype", None) == np.bool_:
        return boolean_mask(x, key)
    spec = _Spec()
    for item in key if isinstance(key, list | tuple) else [key]:
        spec.add(item)
    with graph_of([x]).name_scope("strided_slice") as scope:
        masks = {f"{mask}_mask": bits for mask, bits in spec.masks.items()}
        if spec.bounds:
            parts = _alike([stack(list(bounds)) for bounds in zip(*spec.bounds, strict=True)])
        else:
            parts = [convert_to_tensor([], DataType.DT_INT32)] * 3
        return tensor("StridedSlice", [x, *parts], masks, scope)


def _alike(bounds: list[Tensor]) -> list[Tensor]:
    types = {bound.data_type for bound in bounds}
    if len(types) == 1:
        return bounds
    return [arithmetic.cast(bound, DataType.DT_INT64) for bound in bounds]
