"""CRC-32C (Castagnoli), and the masking under which checkpoints store it.

The polynomial is 0x1EDC6F41 (reflected: 0x82F63B78), initial value and final xor 0xFFFFFFFF. The
work is done by the `crc32c` package, which uses the processor's instruction and drops the GIL on
big buffers. It takes bytes, bytearray or any C-contiguous memoryview; a NumPy array goes in through
`array.data`.

A file never stores a checksum as it is but masked, because the CRC of data that itself contains
CRCs is a poor check.
Source: tensorflow/core/lib/hash/crc32c.h; leveldb/util/crc32c.h.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

# The wrapper would cost more than the checksum of a small tensor, so this is the function itself.
# `crc32c(data, value=0)`: `value` is the checksum of what came before `data`.
from crc32c import crc32c

__all__ = ["combine", "crc32c", "mask", "mask_all", "unmask"]

# kMaskDelta in both sources.
_MASK_DELTA = 0xA282EAD8
_UINT32 = 0xFFFFFFFF
_POLYNOMIAL_REFLECTED = 0x82F63B78


def mask(crc: int) -> int:
    """The stored form of a checksum: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _UINT32


def mask_all(crcs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`mask` of each in an array of uint32."""
    rotated: np.ndarray[Any, Any] = crcs >> np.uint32(15) | crcs << np.uint32(17)
    rotated += np.uint32(_MASK_DELTA)
    return rotated


def unmask(masked: int) -> int:
    """The checksum behind its stored form."""
    rotated = (masked - _MASK_DELTA) & _UINT32
    return (rotated >> 17 | rotated << 15) & _UINT32


def combine(first: int, second: int, second_length_bytes: int) -> int:
    """The checksum of two runs of bytes, one behind the other, from the checksum of each.

    Lets several threads take the checksum of one tensor, each of another part.
    Source: the appending of zeros to a CRC as a linear map, as in zlib's crc32_combine.
    """
    bit = 0
    while second_length_bytes:
        if second_length_bytes & 1:
            first = _apply(_append_zeros(bit), first)
        second_length_bytes >>= 1
        bit += 1
    return first ^ second


_Operator = tuple[int, ...]  # 32 columns over GF(2): what becomes of each bit of a checksum


@lru_cache
def _append_zeros(power: int) -> _Operator:
    """What appending 2**power zero bytes does to a checksum."""
    if power == 0:
        one_bit = (_POLYNOMIAL_REFLECTED, *(1 << bit for bit in range(31)))
        return _squared(_squared(_squared(one_bit)))
    return _squared(_append_zeros(power - 1))


def _squared(operator: _Operator) -> _Operator:
    return tuple(_apply(operator, column) for column in operator)


def _apply(operator: _Operator, crc: int) -> int:
    result = 0
    for column in operator:
        if crc & 1:
            result ^= column
        crc >>= 1
    return result
