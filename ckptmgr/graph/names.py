"""How operations get their names: scopes, and a number behind a name that is taken.

Two names that differ only by case count as the same, so that each can be a file's.

Source: tensorflow/python/framework/ops.py (Graph.unique_name, Graph.name_scope).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ckptmgr import errors

_SCOPE = re.compile(r"[A-Za-z0-9_.\\/>-]*")
_ROOT_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


class Names:
    """The names that a graph has given out, and the scope in which it gives the next one."""

    def __init__(self) -> None:
        self.scope = ""
        #: Lower-case name to the number that was last tried behind it.
        self._tried: dict[str, int] = {}

    def unique(self, name: str, *, mark_as_used: bool = True) -> str:
        """`name` within the current scope, with a number behind it if that is taken."""
        full = f"{self.scope}/{name}" if self.scope else name
        key = full.lower()
        number = self._tried.get(key, 0)
        if mark_as_used:
            self._tried[key] = number + 1
        if number == 0:
            return full
        candidate = key
        while candidate in self._tried:
            candidate = f"{key}_{number}"
            number += 1
        if mark_as_used:
            self._tried[candidate] = 1
        return f"{full}_{number - 1}"

    def mark(self, name: str) -> None:
        """Note that an operation has this full name, whoever gave it."""
        self._tried.setdefault(name.lower(), 1)

    @contextmanager
    def enter(self, name: str | None) -> Iterator[str]:
        """Give names within a scope, and the scope itself, which ends with "/".

        A `name` that ends with "/" enters that very scope again; an empty one leaves all.
        """
        outer = self.scope
        if not name:
            self.scope = ""
        else:
            _check_scope(name, is_root=not outer)
            self.scope = name[:-1] if name.endswith("/") else self.unique(name)
        try:
            yield f"{self.scope}/" if self.scope else ""
        finally:
            self.scope = outer


def _check_scope(name: str, *, is_root: bool) -> None:
    pattern = _ROOT_SCOPE if is_root else _SCOPE
    if not pattern.fullmatch(name):
        kind = "root scope" if is_root else "scope"
        raise errors.GraphError(
            f"{name!r:.200} is not a valid {kind} name; it has to match {pattern.pattern!r}"
        )
