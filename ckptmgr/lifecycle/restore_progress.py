"""How far a restore has come, as events.

Large arrays are read twice, to be verified and to be filled. So that a restore ends at the bytes
that it is of, each reading of such an array counts for a half of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ckptmgr import events

# An event for each so many bytes that were read.
_STEP_BYTES = 4 << 20


class RestoreProgress:
    """Turns what the read engine tells into events."""

    def __init__(self, prefix: str, listener: Callable[[events.Event], None]) -> None:
        self._prefix = prefix
        self._listener = listener
        self._total_bytes = 0
        self._to_read_bytes = 0
        self._read_bytes = 0
        self._told_bytes = 0
        self._telling = threading.Lock()

    def expect(self, total_bytes: int, *, read_bytes: int) -> None:
        """Before the first byte: what is to be restored, and what has to be read for that."""
        self._total_bytes = total_bytes
        self._to_read_bytes = read_bytes

    def read(self, size_bytes: int) -> None:
        """So many bytes more were read."""
        with self._telling:  # so that the figures come in order
            # Groups with a damaged tensor are read once more.
            self._read_bytes = min(self._read_bytes + size_bytes, self._to_read_bytes)
            if self._read_bytes == self._told_bytes:
                return
            is_end = self._read_bytes == self._to_read_bytes
            if is_end or self._read_bytes - self._told_bytes >= _STEP_BYTES:
                self._told_bytes = self._read_bytes
                done_bytes = self._total_bytes * self._read_bytes // self._to_read_bytes
                self._listener(
                    events.Progress(self._prefix, "restore", done_bytes, self._total_bytes)
                )
