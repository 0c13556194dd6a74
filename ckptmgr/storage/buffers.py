"""Any buffer as a flat range of bytes."""

from __future__ import annotations

from ckptmgr.storage.protocol import Buffer


def as_bytes(buffer: Buffer) -> memoryview:
    """The memory of `buffer`, one element per byte, not copied."""
    view = memoryview(buffer)
    # An array without elements has nothing to cast, and memoryview refuses to.
    return view.cast("B") if view.nbytes else memoryview(bytearray())
