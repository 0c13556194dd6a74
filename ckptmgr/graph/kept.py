"""What was made for a key, kept for the next who asks: the last so many."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")

#: A program that makes new operations for each run would otherwise keep something for all of them.
KEPT = 256


class Kept(Generic[_Value]):
    """Values by key. Several threads may ask at a time."""

    def __init__(self) -> None:
        # Without a lock, which could be neither copied nor pickled with a loaded model.
        self._values: dict[Hashable, _Value] = {}

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of a key; made, perhaps by several threads at once, where there is none."""
        found = self._values.get(key)
        if found is not None:
            return found
        found = self._values.setdefault(key, make())
        # A list at once: another thread may add and drop meanwhile.
        for old in list(self._values)[:-KEPT]:
            self._values.pop(old, None)
        return found

    def clear(self) -> None:
        self._values.clear()
