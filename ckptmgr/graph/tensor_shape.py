"""Shapes that may be known in part: of a rank, of a rank and some sizes, or not at all.

Inside, a partial shape is a tuple of int or None, or None where not even the rank is known
(`Shape`); users see `TensorShape`, whose dimensions have a `value` as in TensorFlow 1.

Source: tensorflow/python/framework/tensor_shape.py.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, overload

from ckptmgr import errors
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.formats.tensor_shape import MAX_RANK

Shape: TypeAlias = tuple[int | None, ...] | None

# Sizes in a file are signed 64-bit integers.
_MAX_SIZE = 2**63 - 1


def encode_partial_shape(shape: Shape) -> TensorShapeProto:
    """The message for a shape; -1 for a size that is not known."""
    if shape is None:
        return TensorShapeProto(unknown_rank=True)
    return TensorShapeProto(
        dim=[TensorShapeProto.Dim(size=-1 if size is None else size) for size in shape]
    )


def decode_partial_shape(message: TensorShapeProto) -> Shape:
    """The shape in a message.

    Raises:
        InvalidGraph: A size below -1, or too many dimensions.
    """
    if message.unknown_rank:
        return None
    if len(message.dim) > MAX_RANK:
        raise errors.InvalidGraph(
            f"a shape has {len(message.dim)} dimensions; at most {MAX_RANK} are allowed"
        )
    sizes = tuple(dim.size for dim in message.dim)
    if any(size < -1 for size in sizes):
        raise errors.InvalidGraph(f"a shape has a negative size: {sizes}")
    return tuple(None if size == -1 else size for size in sizes)


def merge(first: Shape, second: Shape) -> Shape:
    """What is known when both are true.

    Raises:
        GraphError: They contradict each other.
    """
    if first is None or second is None:
        return second if first is None else first
    if not are_compatible(first, second):
        raise errors.GraphError(f"Shapes {as_text(first)} and {as_text(second)} are not compatible")
    return tuple(b if a is None else a for a, b in zip(first, second, strict=True))


def are_compatible(first: Shape, second: Shape) -> bool:
    """Whether one tensor could have both."""
    if first is None or second is None:
        return True
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def as_text(shape: Shape) -> str:
    """As TensorFlow prints it: "(2, ?)", or "<unknown>"."""
    if shape is None:
        return "<unknown>"
    if len(shape) == 1:
        return f"({'?' if shape[0] is None else shape[0]},)"
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


class Dimension:
    """One size of a shape; `value` is None where it is not known."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = _size(value)

    def _other(self, other: Any) -> int | None:
        return Dimension(other).value

    def is_compatible_with(self, other: Any) -> bool:
        mine, theirs = self.value, self._other(other)
        return mine is None or theirs is None or mine == theirs

    def __int__(self) -> int:
        return self.__index__()

    def __index__(self) -> int:
        if self.value is None:
            raise errors.GraphTypeError("the size of this dimension is not known")
        return self.value

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Dimension | int | None):
            return NotImplemented
        theirs = self._other(other)
        # As in TensorFlow, what is not known is neither equal nor unequal.
        return None if self.value is None or theirs is None else self.value == theirs

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is None or equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash(self.value)

    def _computed(self, other: Any, compute: Any) -> Dimension:
        theirs = self._other(other)
        return Dimension(
            None if self.value is None or theirs is None else compute(self.value, theirs)
        )

    def __add__(self, other: Any) -> Dimension:
        return self._computed(other, operator.add)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Dimension:
        return self._computed(other, operator.mul)

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> Dimension:
        return self._computed(other, operator.sub)

    def __floordiv__(self, other: Any) -> Dimension:
        return self._computed(other, operator.floordiv)

    def __mod__(self, other: Any) -> Dimension:
        return self._computed(other, operator.mod)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"

    def __str__(self) -> str:
        return "?" if self.value is None else str(self.value)


class TensorShape:
    """A shape as users see it: a sequence of `Dimension`.

    Args:
        dims: Sizes, None for one that is not known; a single size; another shape; a message; or
            None for an unknown rank.
    """

    __slots__ = ("_sizes",)

    def __init__(self, dims: Any) -> None:
        self._sizes: Shape
        if dims is None:
            self._sizes = None
        elif isinstance(dims, TensorShape):
            self._sizes = dims._sizes
        elif isinstance(dims, TensorShapeProto):
            self._sizes = decode_partial_shape(dims)
        elif isinstance(dims, Iterable) and not isinstance(dims, str | bytes):
            self._sizes = tuple(_size(size) for size in dims)
        else:
            self._sizes = (_size(dims),)

    @property
    def rank(self) -> int | None:
        return None if self._sizes is None else len(self._sizes)

    ndims = rank

    @property
    def dims(self) -> list[Dimension] | None:
        return None if self._sizes is None else [Dimension(size) for size in self._sizes]

    def as_tuple(self) -> Shape:
        return self._sizes

    def as_list(self) -> list[int | None]:
        """The sizes; raises GraphError where the rank is not known."""
        return list(self._known())

    def as_proto(self) -> TensorShapeProto:
        return encode_partial_shape(self._sizes)

    def num_elements(self) -> int | None:
        if self._sizes is None:
            return None
        product = 1
        for size in self._sizes:
            if size is None:
                return None
            product *= size
        return product

    def is_fully_defined(self) -> bool:
        return self._sizes is not None and None not in self._sizes

    def assert_is_fully_defined(self) -> None:
        if not self.is_fully_defined():
            raise errors.GraphError(f"Shape {self} is not fully defined")

    def is_compatible_with(self, other: Any) -> bool:
        return are_compatible(self._sizes, TensorShape(other)._sizes)

    def assert_is_compatible_with(self, other: Any) -> None:
        merge(self._sizes, TensorShape(other)._sizes)

    def merge_with(self, other: Any) -> TensorShape:
        return TensorShape(merge(self._sizes, TensorShape(other)._sizes))

    def with_rank(self, rank: int) -> TensorShape:
        """This shape, which must be of that rank."""
        return self.merge_with((None,) * rank)

    def assert_has_rank(self, rank: int) -> None:
        self.with_rank(rank)

    def with_rank_at_least(self, rank: int) -> TensorShape:
        if self._sizes is not None and len(self._sizes) < rank:
            raise errors.GraphError(f"Shape {self} must have rank at least {rank}")
        return self

    def concatenate(self, other: Any) -> TensorShape:
        theirs = TensorShape(other)._sizes
        if self._sizes is None or theirs is None:
            return TensorShape(None)
        return TensorShape(self._sizes + theirs)

    def _known(self) -> tuple[int | None, ...]:
        if self._sizes is None:
            raise errors.GraphError("a shape of unknown rank has no list of sizes")
        return self._sizes

    def __len__(self) -> int:
        return len(self._known())

    def __bool__(self) -> bool:
        return self._sizes is not None

    def __iter__(self) -> Iterator[Dimension]:
        return iter([Dimension(size) for size in self._known()])

    @overload
    def __getitem__(self, key: int) -> Dimension: ...
    @overload
    def __getitem__(self, key: slice) -> TensorShape: ...
    def __getitem__(self, key: int | slice) -> Dimension | TensorShape:
        if isinstance(key, slice):
            return TensorShape(None if self._sizes is None else self._sizes[key])
        return Dimension(None if self._sizes is None else self._sizes[key])

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return TensorShape(other).concatenate(self)

    def __eq__(self, other: object) -> bool:
        try:
            return self._sizes == TensorShape(other)._sizes
        except errors.GraphError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self._sizes)

    def __repr__(self) -> str:
        if self._sizes is None:
            return "TensorShape(None)"
        return f"TensorShape({[Dimension(size) for size in self._sizes]})"

    def __str__(self) -> str:
        return as_text(self._sizes)


def _size(value: Any) -> int | None:
    if value is None or isinstance(value, Dimension):
        return value if value is None else value.value
    try:
        size = operator.index(value)
    except TypeError:
        raise errors.GraphTypeError(
            f"a size is a whole number or None, found {value!r:.80}"
        ) from None
    if not 0 <= size <= _MAX_SIZE:
        raise errors.GraphError(f"a size must be at least 0, found {size}")
    return size
