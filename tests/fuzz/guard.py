"""What every input must keep to: documented errors only, time and memory in proportion."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ckptmgr import errors

#: Memory that Python and NumPy may take at a time, as a multiple of the input's size.
MEMORY_MULTIPLE = 128
#: What the target itself and one small checkpoint take, whatever the input.
MEMORY_BASE_BYTES = 6 << 20
#: Processor time of one input. They are at most some hundred KB long.
LIMIT_SECS = 10.0


class Finding(AssertionError):
    """Something that an input must not be able to do."""


def documented(call: Callable[[], Any], *also: type[Exception]) -> Any:
    """What the call returns, None if it raises what files may make a reader raise, or `also`."""
    try:
        return call()
    except errors.CorruptCheckpoint as error:
        if error.path is None:
            raise Finding(f"an error that names no file: {error!r}") from error
        str(error)
    except errors.UnsupportedDtype as error:
        str(error)
    except also as error:
        str(error)
    return None


@dataclass(slots=True)
class Guard:
    """Runs inputs; counts them and what they took."""

    check: Callable[[bytes], None]
    #: Whether memory is measured, which takes about as long as everything else.
    every: int = 1
    inputs: int = 0
    most_secs: float = 0.0
    most_bytes: int = 0

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        measured = self.inputs % self.every == 0
        if measured:
            gc.collect(0)
            tracemalloc.start()
        began_secs = time.thread_time()
        try:
            self.check(data)
        finally:
            secs = time.thread_time() - began_secs
            peak_bytes = 0
            if measured:
                peak_bytes = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        self.most_secs = max(self.most_secs, secs)
        self.most_bytes = max(self.most_bytes, peak_bytes)
        if secs > LIMIT_SECS:
            raise Finding(f"an input of {len(data)} bytes took {secs:.1f} s")
        if peak_bytes > MEMORY_BASE_BYTES + MEMORY_MULTIPLE * len(data):
            raise Finding(f"an input of {len(data)} bytes took {peak_bytes} bytes of memory")
