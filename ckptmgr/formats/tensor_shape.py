"""The shape of a stored tensor, as TensorShapeProto spells it and bounded as TensorFlow bounds it.

Source: tensorflow/core/framework/tensor_shape.proto, tensorflow/core/framework/tensor_shape.cc.
"""

from __future__ import annotations

from collections.abc import Iterable

from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.errors import MalformedEntry

# TensorShape::MaxDimensions().
MAX_RANK = 254
# With 16 bytes per element, the widest dtype, the size in bytes still fits a signed 64-bit integer.
# Sizes of 0 count as 1: NumPy, too, refuses an empty array whose other dimensions overflow.
MAX_ELEMENTS = 2**58


def encode_shape(shape: Iterable[int]) -> TensorShapeProto:
    """The message for a fully known shape."""
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])


def decode_shape(message: TensorShapeProto) -> tuple[int, ...]:
    """The shape in a message that describes a stored tensor.

    Raises:
        MalformedEntry: No stored tensor can have it.
    """
    if message.unknown_rank:
        raise MalformedEntry("a stored tensor has no shape", expected="a known rank", found="none")
    shape = tuple(dim.size for dim in message.dim)
    if len(shape) > MAX_RANK:
        raise MalformedEntry(
            "a shape has too many dimensions", expected=f"at most {MAX_RANK}", found=len(shape)
        )
    elements = 1
    for size in shape:
        if size < 0:
            raise MalformedEntry("a shape has a negative size", expected="at least 0", found=size)
        elements *= size or 1
        if elements > MAX_ELEMENTS:
            raise MalformedEntry(
                "a shape has too many elements", expected=f"at most {MAX_ELEMENTS}", found=shape
            )
    return shape
