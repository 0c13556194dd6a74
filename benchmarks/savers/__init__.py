"""One thin file per library, all with the same verbs.

A saver holds the state as the arrays of its library and saves it as its documentation says. Nothing
else is in here: timing, syncing and clearing up are the same for everybody, and elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from benchmarks.workloads import Array


class Saver(Protocol):
    #: Whether a save that is finished is on stable storage; if not, the benchmark syncs behind it.
    is_durable: bool

    def hold(self, tensors: Mapping[str, Array]) -> None:
        """Take this as the state; it may use the memory."""

    def held(self) -> Mapping[str, Any]:
        """The state's arrays, as something that NumPy takes for arrays."""

    def open(self, run: str) -> None:
        """Get ready to save in this directory, which is there and empty."""

    def close(self) -> None:
        """Let go of what `open` and saving have taken."""

    def begin(self, step: int) -> None:
        """Save; returns when the library returns."""

    def finish(self) -> None:
        """Return when a save that goes on in the background is complete."""


@runtime_checkable
class Loads(Protocol):
    def load(self, step: int) -> Mapping[str, Any]:
        """Read a checkpoint into new arrays, all bytes of it."""


@runtime_checkable
class LoadsInPlace(Protocol):
    def load_in_place(self, step: int) -> None:
        """Read a checkpoint into the state's own memory."""


@runtime_checkable
class Restores(Protocol):
    def restore(self, step: int) -> None:
        """The same through a manager, which looks for the checkpoint and compares it first."""


@runtime_checkable
class Updates(Protocol):
    def update(self) -> None:
        """Wait until the state may be changed, if `begin` returned before that."""


@runtime_checkable
class Manages(Protocol):
    """Has a manager that keeps the last five and the state file."""

    def open_manager(self, run: str) -> None: ...

    def manager_save(self, step: int) -> None: ...


class InOneStep:
    """A saver whose `begin` does it all, into a directory or file for each step."""

    is_durable = False
    _run: str

    def open(self, run: str) -> None:
        self._run = run

    def close(self) -> None:
        """It keeps nothing."""

    def finish(self) -> None:
        """Nothing goes on in the background."""

    def path(self, step: int) -> str:
        return os.path.join(self._run, f"step-{step}")
