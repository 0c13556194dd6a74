"""What was made for a key, kept for the next who asks: the last so many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")

#: A program that makes new operations for each run would otherwise keep something for all of them.
KEPT = 256


class Kept(Generic[_Value]):
    """Values by key. Several threads may ask at a time."""

    def __init__(self) -> None:
        self._values: dict[Hashable, _Value] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of a key; made, perhaps by several threads at once, where there is none."""
        found = self._values.get(key)
        if found is not None:
            return found
        made = make()
        with self._lock:
            found = self._values.setdefault(key, made)
            while len(self._values) > KEPT:
                del self._values[next(iter(self._values))]
        return found

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
