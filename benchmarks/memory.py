"""How much memory a piece of work took at its peak, as Linux counts it."""

from __future__ import annotations

import ctypes
import gc

# proc(5): writing 5 sets the peak back to what is resident now.
_RESET_PEAK = "5"


class PeakMemory:
    """Counts from its construction; `extra_bytes` is None where the system does not tell."""

    def __init__(self) -> None:
        gc.collect()  # what the work before left must not hide what this one takes
        try:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write(_RESET_PEAK)
            self._before_bytes: int | None = _status_bytes("VmRSS")
        except OSError:
            self._before_bytes = None

    def extra_bytes(self) -> int | None:
        if self._before_bytes is None:
            return None
        return max(0, _status_bytes("VmHWM") - self._before_bytes)


def release_memory() -> None:
    """Give back to the system what is free, also where the C library would keep it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _status_bytes(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
