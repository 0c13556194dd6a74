"""Mistakes that a commit could make, each of which the enumeration must find.

Some stand between the operation and the disk and leave out or put off single calls (`Layer`), the
others replace one function of the package for as long as they are switched on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ckptmgr import errors, naming
from ckptmgr.bundle import writer
from ckptmgr.lifecycle import deletion, directories, leftovers, run_directory
from ckptmgr.lifecycle.background import SaveHandle
from ckptmgr.lifecycle.ledger import Ledger
from ckptmgr.lifecycle.marks import Marks
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import FaultInjectingStorage, Storage
from tests.durability.broken_layers import (
    Deferring,
    InPlace,
    Skipping,
    SkippingDirectory,
    Swallowing,
)
from tests.durability.enumeration import Layer
from tests.durability.processes import DIRECTORY

STATE = f"{DIRECTORY}/checkpoint"
INTERNAL = naming.internal_directory(DIRECTORY)


# --------------------------------------------------------------------------- functions replaced


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    original = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _nothing(*args: object, **kwargs: object) -> None:
    """Leave it out."""


def _silently(original: Callable[..., None]) -> Callable[..., None]:
    def call(*args: object) -> None:
        with suppress(errors.StorageError):
            original(*args)

    return call


def _without_marks(kind: str) -> AbstractContextManager[None]:
    original = Marks.add

    def add(marks: Marks, base: str) -> None:
        if not marks.path.endswith(kind):
            original(marks, base)

    return _replaced(Marks, "add", add)


def _delete_first(original: Callable[..., None]) -> Callable[..., None]:
    def write(ledger: Ledger, decision: Any, latest: str, *, durable: bool) -> None:
        ledger._finish_deletions(decision, set(), durable=durable)
        original(ledger, decision, latest, durable=durable)

    return write


def _remove_shards_first(
    storage: Storage, prefix: str, shards: Iterable[str], *, durable: bool
) -> bool:
    for path in (*shards, naming.index_file(prefix)):
        with suppress(errors.FileMissing):
            storage.unlink(path)
    storage.sync_dir(naming.directory_of(prefix))
    return True


def _shards_of_all_counts(
    storage: Storage, directory: str, base: str, names: list[str]
) -> list[str]:
    return list(naming.shards_of(base, names))


def _join_without_raising(syncing: Any, *exc_info: object) -> None:
    syncing._sync() if syncing._worker.call_off() else syncing._worker.wait()


def _sweep_without_sync(original: Callable[[RunDirectory], None]) -> Callable[[RunDirectory], None]:
    def sweep(directory: RunDirectory) -> None:
        storage = directory.storage
        directory.storage = _NoDirectorySync(storage)
        try:
            original(directory)
        finally:
            directory.storage = storage

    return sweep


def _with_the_token_kept() -> AbstractContextManager[None]:
    return _replaced(RunDirectory, "saving", lambda _: nullcontext())


@contextmanager
def _with_its_temporaries_left() -> Iterator[None]:
    with _with_the_token_kept(), _replaced(writer.StagedBundle, "discard", _nothing):
        yield


class _NoDirectorySync(FaultInjectingStorage):
    def sync_dir(self, path: str) -> None:
        """Promise it."""


# --------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class BrokenOrder:
    """One mistake, and how it must show."""

    name: str
    scenario: str
    #: "kills", "power_cuts", "faults", "lasting_faults", "kills_in_recovery" or
    #: "power_cuts_in_recovery".
    found_by: str
    layer: Layer | None = None
    switch: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    #: In a recovery: how far the process that it recovers from came, at the least.
    begin: int = 0


def _without_directory_sync(after: Callable[[str, str], bool]) -> Layer:
    return partial(SkippingDirectory, after=after)


BROKEN_ORDERS = [
    BrokenOrder(
        "a shard is not synced", "a new step", "power_cuts", partial(Skipping, of=".data-")
    ),
    BrokenOrder(
        "a linked shard is not synced after a writer that does not sync",
        "deduplicating",
        "power_cuts",
        partial(Skipping, of=".data-"),
    ),
    BrokenOrder(
        "the index is not synced", "a new step", "power_cuts", partial(Skipping, of=".index")
    ),
    BrokenOrder(
        "the state is not synced", "a new step", "power_cuts", partial(Skipping, of="/checkpoint")
    ),
    BrokenOrder(
        "a V1 checkpoint is not synced", "Saver, V1", "power_cuts", partial(Skipping, of="-4.tmp-")
    ),
    BrokenOrder(
        "no directory sync between the shards' names and the index's",
        "a new step",
        "power_cuts",
        _without_directory_sync(lambda _, target: ".data-" in target),
    ),
    BrokenOrder(
        "no directory sync between the V1 shards' names",
        "Saver, V1 sharded",
        "power_cuts",
        _without_directory_sync(lambda _, target: target.endswith("-00001-of-00002")),
    ),
    BrokenOrder(
        "no directory sync between the index's name and the state",
        "a new step",
        "power_cuts",
        _without_directory_sync(lambda _, target: target.endswith(".index")),
    ),
    BrokenOrder(
        "no directory sync between the index's name and the removal of the shards before",
        "over the newest",
        "power_cuts",
        _without_directory_sync(lambda _, target: target.endswith(".index")),
    ),
    BrokenOrder(
        "no directory sync behind the state's name",
        "preserving",
        "power_cuts",
        _without_directory_sync(lambda _, target: target == STATE),
    ),
    BrokenOrder(
        "no directory sync behind the state's name, before deletions",
        "many deletions",
        "power_cuts",
        _without_directory_sync(lambda _, target: target == STATE),
    ),
    BrokenOrder(
        "no directory sync behind update_checkpoint_state",
        "update_checkpoint_state",
        "power_cuts",
        _without_directory_sync(lambda _, target: target == STATE),
    ),
    BrokenOrder(
        "no directory sync between the end of an index and its shards'",
        "a new step",
        "power_cuts",
        _without_directory_sync(lambda source, _: source.endswith(".index")),
    ),
    BrokenOrder(
        "a new directory's name is not synced",
        "the first save",
        "power_cuts",
        _without_directory_sync(lambda _, target: target == DIRECTORY),
    ),
    BrokenOrder(
        "the directory of a process that was killed is taken for synced",
        "the first save",
        "power_cuts_in_recovery",
        switch=partial(_replaced, run_directory, "make_durable", directories.make_directory),
    ),
    BrokenOrder(
        "the index gets its name before the shards",
        "a new step",
        "kills",
        partial(
            Deferring, deferred=lambda path: ".data-" in path, until=lambda p: p.endswith(".index")
        ),
    ),
    BrokenOrder(
        "the state is written before the index has its name",
        "a new step",
        "kills",
        partial(Deferring, deferred=lambda path: path.endswith(".index"), until=STATE.__eq__),
    ),
    BrokenOrder(
        "the index is written in place",
        "over the newest",
        "kills",
        partial(InPlace, suffix=".index"),
    ),
    BrokenOrder(
        "the state is written in place",
        "a new step",
        "kills",
        partial(InPlace, suffix="/checkpoint"),
    ),
    BrokenOrder(
        "shards take the names of those that they replace",
        "over the newest",
        "kills",
        switch=partial(_replaced, writer, "_free_shard_count", lambda needed, taken: needed),
    ),
    BrokenOrder(
        "deleting comes before the state",
        "a new step",
        "kills",
        switch=lambda: _replaced(Ledger, "_write", _delete_first(Ledger._write)),
    ),
    BrokenOrder(
        "shards are deleted before their index",
        "a new step",
        "kills",
        switch=partial(_replaced, deletion, "_remove_bundle", _remove_shards_first),
    ),
    BrokenOrder(
        "what was given up is not marked",
        "many deletions",
        "kills",
        switch=partial(_without_marks, "deleting"),
    ),
    BrokenOrder(
        "what is about to exist is not marked",
        "a new step",
        "kills",
        switch=partial(_without_marks, "publishing"),
    ),
    BrokenOrder(
        "what the dead have left is not removed",
        "a new step",
        "kills",
        switch=partial(_replaced, RunDirectory, "_sweep", _nothing),
    ),
    BrokenOrder(
        "replaced shards are not removed",
        "over a preserved one",
        "kills",
        switch=partial(_replaced, leftovers, "_superseded", lambda *_: []),
    ),
    BrokenOrder(
        "replaced shards are taken for those that replaced them",
        "over the newest",
        "kills",
        switch=partial(_replaced, leftovers, "_uncounted", _shards_of_all_counts),
    ),
    BrokenOrder(
        "what the dead have left is removed before it is stable",
        "over the newest",
        "power_cuts_in_recovery",
        switch=lambda: _replaced(RunDirectory, "_sweep", _sweep_without_sync(RunDirectory._sweep)),
        begin=14,
    ),
    BrokenOrder(
        "a hold is ignored",
        "a new step, the oldest held",
        "kills",
        switch=partial(_replaced, RunDirectory, "held_bases", lambda _: set()),
    ),
    BrokenOrder(
        "a pin is ignored",
        "pin",
        "kills",
        switch=partial(_replaced, Ledger, "_with_pins", lambda _, records: list(records)),
    ),
    BrokenOrder(
        "a pin is not synced",
        "pin",
        "power_cuts",
        switch=partial(_replaced, Marks, "_sync", _nothing),
    ),
    BrokenOrder("a sync that failed is passed over", "a new step", "faults", Swallowing),
    BrokenOrder(
        "the error of a thread that syncs is swallowed",
        "a new step",
        "faults",
        switch=lambda: _replaced(writer._InBackground, "__exit__", _join_without_raising),
    ),
    BrokenOrder(
        "the error of an asynchronous save is not raised",
        "asynchronous",
        "faults",
        switch=lambda: _replaced(SaveHandle, "wait", _silently(SaveHandle.wait)),
    ),
    BrokenOrder(
        "temporaries of a failed save stay",
        "a new step",
        "faults",
        switch=_with_its_temporaries_left,
    ),
    BrokenOrder(
        "temporaries that could not be removed stand in the way",
        "a new step",
        "lasting_faults",
        switch=_with_the_token_kept,
    ),
]
