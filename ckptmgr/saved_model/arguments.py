"""What functions of a TensorFlow 2 model are called with, and what they give: nested values.

A function was traced once per combination of dtypes, shapes and plain values; each trace takes and
gives a flat list of tensors. Arguments nest as lists, tuples and dicts do, dicts in the order of
their keys, and all that is not a tensor must equal what the function was traced with.

Source: tensorflow/python/saved_model/function_deserialization.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.saved_object_graph_pb2 import FunctionSpec
from ckptmgr.formats import dtypes
from ckptmgr.graph.tensor_shape import Shape, are_compatible, as_text
from ckptmgr.graph.tensor_values import Array, as_array
from ckptmgr.saved_model import structured_values
from ckptmgr.saved_model.signatures import SparseTensor
from ckptmgr.saved_model.structured_values import (
    TensorSpec,
    TensorValue,
    TypeSpec,
    decode_structured_value,
)


class RaggedTensor(NamedTuple):
    """A tensor with rows of different lengths.

    `row_splits` are the limits of the rows, the outermost dimension's first.
    """

    flat_values: Any
    row_splits: tuple[Any, ...]


# --------------------------------------------------------------------------- one tensor


def to_array(value: Any, dtype: int, shape: Shape, what: str) -> Array:
    """A value as an array of one dtype and a shape that fits.

    Whole numbers become floats and other sizes of number, where that is one kind of conversion;
    nothing becomes a whole number that was none.

    Raises:
        SignatureError: It cannot be meant; says what was wanted and what was found.
    """
    wanted = f"{dtypes.name(dtype)} of shape {as_text(shape)}"
    try:
        held = dtypes.to_numpy(dtype)
        given = value if isinstance(value, np.ndarray | np.generic) else None
        array = as_array(value)[0] if given is not None else as_array(value, dtype)[0]
    except (errors.GraphError, errors.UnsupportedDtype) as error:
        raise errors.SignatureError(f"{what} must be {wanted}: {error}") from None
    if array.dtype != held and not np.can_cast(array.dtype, held, "same_kind"):
        raise errors.SignatureError(f"{what} must be {wanted}, found {array.dtype}")
    if not are_compatible(shape, array.shape):
        raise errors.SignatureError(f"{what} must be {wanted}, found shape {array.shape}")
    # A copy: what goes into a model may stay there, in a variable, and is never changed again.
    with np.errstate(over="ignore"):  # Too large a float is infinite.
        converted = array.astype(held)
    if held.kind in "iu" and not np.array_equal(converted, array):
        raise errors.SignatureError(f"{what} must be {wanted}, found numbers that do not fit")
    return converted


def _is_exactly(value: Any, spec: TensorSpec) -> bool:
    """Whether an array needs no conversion."""
    if not isinstance(value, np.ndarray | np.generic):
        return False
    try:
        array, dtype = as_array(value)
    except (errors.GraphError, errors.UnsupportedDtype):
        return False
    return dtype == spec.dtype.dtype and are_compatible(spec.shape.dimensions, array.shape)


# --------------------------------------------------------------------------- nested values


def flatten(spec: Any, value: Any, what: str, *, convert: bool = True) -> Iterator[Array]:
    """The tensors in an argument, which is nested as its spec is.

    Args:
        convert: Take Python values, and arrays of another size of number, for tensors.
    Raises:
        SignatureError: The argument is not what the spec says.
    """
    if isinstance(spec, TensorSpec):
        if not convert and not _is_exactly(value, spec):
            raise errors.SignatureError(f"{what} is no array of the dtype and shape wanted")
        yield to_array(value, spec.dtype.dtype, spec.shape.dimensions, what)
    elif isinstance(spec, TypeSpec):
        yield from _flatten_composite(spec, value, what)
    elif isinstance(spec, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(spec):
            raise errors.SignatureError(f"{what} must be {len(spec)} values, found {value!r:.80}")
        for index, (inner, item) in enumerate(zip(spec, value, strict=True)):
            yield from flatten(inner, item, f"{what}[{index}]", convert=convert)
    elif isinstance(spec, dict | structured_values.NamedTuple):
        yield from _flatten_fields(spec, value, what, convert=convert)
    elif isinstance(spec, TensorValue):
        raise errors.SignatureError(f"{what} is a tensor that the function keeps to itself")
    elif not _is_same(spec, value):
        raise errors.SignatureError(f"{what} must be {spec!r}, found {value!r:.80}")


def _flatten_fields(spec: Any, value: Any, what: str, *, convert: bool) -> Iterator[Array]:
    if isinstance(spec, dict):
        fields, given = dict(sorted(spec.items())), value
    else:
        fields = spec.fields
        given = value._asdict() if hasattr(value, "_asdict") else value
    if not isinstance(given, Mapping) or given.keys() != fields.keys():
        names = ", ".join(map(repr, fields))
        raise errors.SignatureError(f"{what} must have the keys {names}, found {value!r:.80}")
    for name, inner in fields.items():
        yield from flatten(inner, given[name], f"{what}[{name!r}]", convert=convert)


def _is_same(spec: Any, value: Any) -> bool:
    if isinstance(spec, structured_values.DtypeValue):
        return str(spec) == str(value)
    if isinstance(value, np.ndarray) or value is None or spec is None:
        return value is spec
    return bool(spec == value)


def _flatten_composite(spec: TypeSpec, value: Any, what: str) -> Iterator[Array]:
    kind, count = _composite(spec)
    if kind is SparseTensor and isinstance(value, tuple) and len(value) == count:
        yield from (np.array(part) for part in value)
    elif kind is RaggedTensor and isinstance(value, RaggedTensor):
        if len(value.row_splits) != count - 1:
            raise errors.SignatureError(
                f"{what} must have {count - 1} ragged dimensions, found {len(value.row_splits)}"
            )
        yield np.array(value.flat_values)
        yield from (np.array(splits) for splits in reversed(value.row_splits))
    else:
        raise errors.SignatureError(f"{what} must be a {kind.__name__}, found {value!r:.80}")


def pack(spec: Any, tensors: Iterator[Any]) -> Any:
    """What a function gives, nested as its spec is, from the tensors that its trace gave.

    Raises:
        SignatureError: The trace gave fewer.
    """
    if isinstance(spec, TensorSpec):
        return _next(tensors)
    if isinstance(spec, TypeSpec):
        kind, count = _composite(spec)
        parts = [_next(tensors) for _ in range(count)]
        if kind is SparseTensor:
            return SparseTensor(*parts)
        return RaggedTensor(parts[0], tuple(reversed(parts[1:])))
    if isinstance(spec, list | tuple):
        return type(spec)([pack(inner, tensors) for inner in spec])
    if isinstance(spec, dict):
        return {name: pack(spec[name], tensors) for name in sorted(spec)}
    if isinstance(spec, structured_values.NamedTuple):
        # The class is not here to be made one of; its fields are.
        return {name: pack(inner, tensors) for name, inner in spec.fields.items()}
    return spec


def _next(tensors: Iterator[Any]) -> Any:
    try:
        return next(tensors)
    except StopIteration:
        raise errors.SignatureError("a function gave fewer tensors than its result has") from None


def _composite(spec: TypeSpec) -> tuple[type[SparseTensor] | type[RaggedTensor], int]:
    """What stands for such a tensor here, and how many tensors it is made of."""
    if spec.name == "SparseTensorSpec":
        return SparseTensor, len(SparseTensor._fields)
    match spec.state:
        case (_, _, int(rank), *_) if spec.name == "RaggedTensorSpec" and 0 <= rank < _MAX_RANK:
            return RaggedTensor, rank + 1
    raise errors.SignatureError(f"a value of the kind {spec.name} cannot be passed or returned")


_MAX_RANK = 255


# --------------------------------------------------------------------------- the call


@dataclass(frozen=True, slots=True)
class CallSpec:
    """The parameters of a function, as Python has them, without `self`."""

    names: tuple[str, ...]
    varargs: str | None
    varkw: str | None
    defaults: Mapping[str, Any]
    keyword_only: tuple[str, ...]

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], function: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in order, defaults filled in, and those that only have a name.

        Raises:
            SignatureError: One is missing, or there is no place for one.
        """
        given = dict(kwargs)
        positional = list(args[: len(self.names)])
        extra = list(args[len(self.names) :])
        if extra and self.varargs is None:
            raise errors.SignatureError(
                f"{function} takes {len(self.names)} positional arguments, found {len(args)}"
            )
        positional += [self._take(name, given, function) for name in self.names[len(positional) :]]
        named = {name: self._take(name, given, function) for name in self.keyword_only}
        if given and self.varkw is None:
            near = errors.near_misses(next(iter(given)), (*self.names, *self.keyword_only))
            raise errors.SignatureError(
                f"{function} has no argument {', '.join(map(repr, given))}.{near}"
            )
        return (*positional, *extra), {**named, **given}

    def _take(self, name: str, given: dict[str, Any], function: str) -> Any:
        if name in given:
            return given.pop(name)
        if name not in self.defaults:
            raise errors.SignatureError(f"{function} needs the argument {name!r}")
        return self.defaults[name]


def decode_call_spec(spec: FunctionSpec) -> CallSpec:
    """The parameters of a function.

    Raises:
        MalformedGraph: The message does not say them.
    """
    decoded = decode_structured_value(spec.fullargspec)
    fields = getattr(decoded, "fields", {})
    names, keyword_only = (_names(fields.get(key)) for key in ("args", "kwonlyargs"))
    defaults = fields.get("defaults") or ()
    named_defaults = fields.get("kwonlydefaults") or {}
    are_sound = isinstance(defaults, list | tuple) and isinstance(named_defaults, dict)
    if not are_sound or len(defaults) > len(names):
        raise errors.MalformedGraph("a function's parameters and their defaults do not match")
    by_name = dict(zip(reversed(names), reversed(defaults), strict=False))
    if spec.is_method or names[:1] == ("self",):
        names = names[1:]
    return CallSpec(
        names,
        fields.get("varargs"),
        fields.get("varkw"),
        {**by_name, **named_defaults},
        keyword_only,
    )


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise errors.MalformedGraph("the names of a function's parameters are no list of text")
    return tuple(value)
