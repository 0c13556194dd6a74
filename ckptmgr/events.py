"""Frozen records of what happened, for those who listen: `CheckpointManager(on_event=...)`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the checkpoint at `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class SaveStarted(Event):
    step: int


@dataclass(frozen=True, slots=True)
class SaveStaged(Event):
    """An asynchronous save has its copy: the state may change again."""

    step: int
    size_bytes: int
    duration_secs: float


@dataclass(frozen=True, slots=True)
class SaveWritten(Event):
    """All bytes are on disk under temporary names; synced if that was asked for."""

    step: int
    size_bytes: int
    duration_secs: float


@dataclass(frozen=True, slots=True)
class SaveCommitted(Event):
    """The checkpoint exists and the state file names it; durable if that was asked for."""

    step: int
    size_bytes: int
    duration_secs: float


@dataclass(frozen=True, slots=True)
class SaveFailed(Event):
    step: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class Preempted(Event):
    """A signal asks for a save; `prefix` is the checkpoint that answers it."""

    step: int
    signal_number: int
    #: From the signal until `save` took notice.
    delay_secs: float


@dataclass(frozen=True, slots=True)
class CheckpointRestored(Event):
    step: int
    size_bytes: int
    duration_secs: float


@dataclass(frozen=True, slots=True)
class CheckpointSkipped(Event):
    """A restore passed over this checkpoint because it is damaged."""

    error: Exception


@dataclass(frozen=True, slots=True)
class CheckpointDeleted(Event):
    """Retention gave this checkpoint up and its files are gone."""


@dataclass(frozen=True, slots=True)
class DeletionDeferred(Event):
    """Retention gave this checkpoint up, but it is held or was pinned since.

    The next save tries again, so it goes when nobody holds it and it is not pinned any more.
    """


@dataclass(frozen=True, slots=True)
class StateRebuilt(Event):
    """The checkpoint state (at `prefix`) could not be used and was rebuilt from the files."""

    reason: str


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Part of a save or a restore is done; comes every few megabytes, from any thread."""

    doing: str  # "save" or "restore"
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class RestoreFailed(Event):
    """A restore of this checkpoint raised, and no older one is tried in its place."""

    error: BaseException
