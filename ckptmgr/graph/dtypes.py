"""TensorFlow's DType objects: what `tf.float32` is, over the bare numbers of `formats.dtypes`.

There is one object per number, so that `is` works as it does in TensorFlow.

Source: tensorflow/python/framework/dtypes.py.
"""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np

from ckptmgr import errors
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType

_REF_OFFSET = 100
_QUANTIZED = frozenset(
    {
        DataType.DT_QINT8,
        DataType.DT_QUINT8,
        DataType.DT_QINT16,
        DataType.DT_QUINT16,
        DataType.DT_QINT32,
    }
)
_SUB_BYTE_INTEGERS = {
    DataType.DT_INT2: ml_dtypes.int2,
    DataType.DT_UINT2: ml_dtypes.uint2,
    DataType.DT_INT4: ml_dtypes.int4,
    DataType.DT_UINT4: ml_dtypes.uint4,
}
_PYTHON_TYPES: dict[object, DataType] = {
    float: DataType.DT_FLOAT,
    bool: DataType.DT_BOOL,
    object: DataType.DT_STRING,
}
# Which width they mean, TensorFlow does not guess.
_AMBIGUOUS_TYPES = (int, complex, str, bytes)


class DType:
    """The type of a tensor's elements, or of a reference to such a tensor."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = DataType(number)

    @property
    def as_datatype_enum(self) -> DataType:
        return self._number

    @property
    def name(self) -> str:
        return dtypes.name(self._number)

    @property
    def _is_ref_dtype(self) -> bool:
        return self._number > _REF_OFFSET

    @property
    def _as_ref(self) -> DType:
        return self if self._is_ref_dtype else _objects[DataType(self._number + _REF_OFFSET)]

    @property
    def base_dtype(self) -> DType:
        """The type itself where this is a reference to it."""
        return _objects[base(self._number)]

    @property
    def real_dtype(self) -> DType:
        """The type of the real part of a complex number."""
        number = base(self._number)
        if number == DataType.DT_COMPLEX64:
            return _objects[DataType.DT_FLOAT]
        if number == DataType.DT_COMPLEX128:
            return _objects[DataType.DT_DOUBLE]
        return self

    @property
    def as_numpy_dtype(self) -> type[Any]:
        """The NumPy scalar type; raises UnsupportedDtype where no array can hold it."""
        return dtypes.to_numpy(base(self._number)).type

    @property
    def is_numpy_compatible(self) -> bool:
        return base(self._number) not in (DataType.DT_RESOURCE, DataType.DT_VARIANT, 0)

    @property
    def is_bool(self) -> bool:
        return base(self._number) == DataType.DT_BOOL

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number that is not quantized."""
        number = base(self._number)
        if number in _SUB_BYTE_INTEGERS:
            return True
        return self._kind in "iu" and number not in _QUANTIZED

    @property
    def is_unsigned(self) -> bool:
        number = base(self._number)
        is_unsigned = self._kind == "u" or number in (DataType.DT_UINT2, DataType.DT_UINT4)
        return is_unsigned and number not in _QUANTIZED

    @property
    def is_floating(self) -> bool:
        number = base(self._number)
        is_extended = self._kind in "Vf" and number not in _SUB_BYTE_INTEGERS
        return is_extended and self.is_numpy_compatible

    @property
    def is_complex(self) -> bool:
        return self._kind == "c"

    @property
    def is_quantized(self) -> bool:
        return base(self._number) in _QUANTIZED

    @property
    def size(self) -> int:
        """Bytes per element; 0 where elements have no fixed size."""
        if not self.is_numpy_compatible or base(self._number) == DataType.DT_STRING:
            return 0
        return dtypes.item_size_bytes(base(self._number))

    @property
    def min(self) -> Any:
        """The lowest finite value."""
        return self._limit("min")

    @property
    def max(self) -> Any:
        """The highest finite value."""
        return self._limit("max")

    @property
    def _kind(self) -> str:
        if not self.is_numpy_compatible:
            return "O"
        held = dtypes.to_numpy(base(self._number))
        # ml_dtypes' floats are kind "V" or "f", by its version; its integers are "V" or "i", "u".
        return held.kind

    def _limit(self, which: str) -> Any:
        number = base(self._number)
        if self.is_integer:
            held = dtypes.to_numpy(number)
            return getattr(ml_dtypes.iinfo(held), which)
        if self.is_floating:
            return getattr(ml_dtypes.finfo(dtypes.to_numpy(number)), which)
        raise errors.GraphTypeError(f"{self.name} has no {which}imum")

    def is_compatible_with(self, other: object) -> bool:
        """Whether a tensor of the type `other` can be used as one of this type."""
        return self._number in (as_dtype(other)._number, as_dtype(other).base_dtype._number)

    def __int__(self) -> int:
        return int(self._number)

    def __index__(self) -> int:
        return int(self._number)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if other is None:
            return False
        try:
            return self._number == as_dtype(other)._number
        except (errors.GraphError, errors.UnsupportedDtype):
            return False

    def __hash__(self) -> int:
        return hash(self._number)

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (int(self._number),)


_objects = {number: DType(number) for number in DataType}
_by_name = {dtype.name: dtype for dtype in _objects.values()}
_by_name |= {"float": _objects[DataType.DT_FLOAT], "double": _objects[DataType.DT_DOUBLE]}
_by_name |= {"half": _objects[DataType.DT_HALF]}


def base(number: int) -> DataType:
    """The type itself where `number` is that of a reference to it."""
    return DataType(number - _REF_OFFSET if number > _REF_OFFSET else number)


def reference(number: int) -> DataType:
    """The type of references to tensors of a type."""
    return DataType(base(number) + _REF_OFFSET)


def as_dtype(value: object) -> DType:
    """The DType that a DType, a number, a name, or a NumPy or Python type stands for.

    Raises:
        GraphTypeError: There is none.
    """
    if isinstance(value, DType):
        return value
    try:
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return _objects[DataType(int(value))]
        if isinstance(value, str) and value in _by_name:
            return _by_name[value]
        if isinstance(value, type) and value in _PYTHON_TYPES:
            return _objects[_PYTHON_TYPES[value]]
        # By identity: a NumPy dtype is equal to the Python type that it stands for.
        if value is not None and not any(value is unclear for unclear in _AMBIGUOUS_TYPES):
            return _objects[dtypes.from_numpy(np.dtype(cast(Any, value)))]
    except (TypeError, ValueError, errors.UnsupportedDtype):
        pass
    raise errors.GraphTypeError(f"cannot convert {value!r:.80} to a TensorFlow DType")


def data_type(value: object) -> DataType:
    """The number of what `as_dtype` takes."""
    if isinstance(value, DataType):
        return value
    return as_dtype(value).as_datatype_enum
