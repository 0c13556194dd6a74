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

# The wrapper would cost more than the checksum of a small tensor, so this is the function itself.
# `crc32c(data, value=0)`: `value` is the checksum of what came before `data`.
from crc32c import crc32c

__all__ = ["crc32c", "mask", "unmask"]

# kMaskDelta in both sources.
_MASK_DELTA = 0xA282EAD8
_UINT32 = 0xFFFFFFFF


def mask(crc: int) -> int:
    """The stored form of a checksum: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _UINT32


def unmask(masked: int) -> int:
    """The checksum behind its stored form."""
    rotated = (masked - _MASK_DELTA) & _UINT32
    return (rotated >> 17 | rotated << 15) & _UINT32
