"""What happens between a decision to save and a committed checkpoint.

    plan    lay the tensors out; whatever cannot be saved raises here, before anything is written
    copy    asynchronous saves only: into the staging buffer, after which the state may change
    stage   write and sync the bundle under temporary names
    commit  under the directory's lock: publish the bundle, name it in the state, delete

A synchronous save does all of it in the caller's thread. An asynchronous one returns after the
copy, or before it if the copy, too, is made in the background.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from ckptmgr import errors, events, naming
from ckptmgr.bundle import layout, writer
from ckptmgr.bundle.layout import BundleLayout
from ckptmgr.bundle.staging import StagingBuffer
from ckptmgr.bundle.write_engine import WriteObserver
from ckptmgr.lifecycle import retention_file
from ckptmgr.lifecycle.background import SaveHandle
from ckptmgr.lifecycle.ledger import Ledger, Listener
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.subject import Snapshot
from ckptmgr.retention import CheckpointRecord, Policy


@dataclass(frozen=True, slots=True)
class SaveStats:
    """Figures over all saves of one manager."""

    saves: int = 0
    failures: int = 0
    #: Asynchronous saves that were left out because one was in flight (`when_busy="skip"`).
    skipped: int = 0
    written_bytes: int = 0
    #: Not written, because the checkpoint before holds them (`deduplicate`).
    linked_bytes: int = 0
    #: Of the last save: until `save` returned, until the state could change, until the commit.
    stall_secs: float = 0.0
    staged_secs: float = 0.0
    save_secs: float = 0.0
    #: Whether the last save wrote past the system's cache; False for small saves, with
    #: durability="none", and on file systems that do not offer it.
    bypassed_cache: bool = False


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    durable: bool = True
    asynchronous: bool = False
    #: Whether the copy of an asynchronous save is made in the background as well.
    copy_in_background: bool = False
    when_busy: str = "wait"
    #: Whether tensors that the latest checkpoint holds bit for bit stay in its files.
    deduplicate: bool = False

    def __post_init__(self) -> None:
        if self.when_busy not in {"wait", "skip"}:
            raise errors.InvalidArgument(
                f"when_busy must be 'wait' or 'skip', found {self.when_busy!r}"
            )
        if self.copy_in_background and not self.asynchronous:
            raise errors.InvalidArgument("copy_in_background needs asynchronous=True")


@dataclass(slots=True)
class _Save:
    """One save on its way."""

    record: CheckpointRecord
    #: What to write; of the copy, once there is one.
    plan: BundleLayout
    snapshot: Snapshot
    handle: SaveHandle
    began_secs: float


class _Observer(WriteObserver):
    """Turns what the write engine tells into events and figures; ends a save that was given up."""

    def __init__(self, handle: SaveHandle, total_bytes: int, listener: Listener) -> None:
        self.bypassed_cache = False
        self._handle = handle
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._listener = listener
        self._telling = threading.Lock()

    def wrote(self, size_bytes: int) -> None:
        with self._telling:  # so that the figures come in order
            self._done_bytes += size_bytes
            done = self._done_bytes
            self._listener(events.Progress(str(self._handle), "save", done, self._total_bytes))
        self._handle.refuse_given_up()

    def bypasses_cache(self) -> None:
        self.bypassed_cache = True


@dataclass(slots=True)
class SavePipeline:
    directory: RunDirectory
    ledger: Ledger
    policy: Policy
    options: PipelineOptions
    listener: Listener
    stats: SaveStats = field(default_factory=SaveStats)
    _buffer: StagingBuffer = field(default_factory=StagingBuffer)
    _in_flight: SaveHandle | None = None
    _turns: threading.Lock = field(default_factory=threading.Lock)
    _turn_of: int | None = None
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_busy(self) -> bool:
        in_flight = self._in_flight
        return in_flight is not None and in_flight.is_running

    @property
    def is_within(self) -> bool:
        """Whether we are called, by a listener or a signal handler, from within a save."""
        in_flight = self._in_flight
        return self._turn_of == threading.get_ident() or (
            in_flight is not None and in_flight.is_within
        )

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let one thread after the other decide and save.

        Raises:
            SaveInProgress: It would wait for itself.
        """
        if self.is_within:
            raise errors.SaveInProgress(
                f"a save into {self.directory.path} cannot begin within another one of the same "
                "manager, such as in its listener or in a signal handler"
            )
        with self._turns:
            self._turn_of = threading.get_ident()
            try:
                yield
            finally:
                self._turn_of = None

    def wait(self) -> None:
        """Return when no save is in flight; raises what one raised that nobody has heard of."""
        in_flight = self._in_flight
        if in_flight is not None:
            in_flight.raise_unheard()

    def settle(self, timeout_secs: float | None) -> bool:
        """Wait so long, and say whether no save is in flight; one that is then is given up."""
        in_flight = self._in_flight
        if in_flight is None:
            return True
        try:
            return in_flight.ends_within(timeout_secs)
        except BaseException:
            if not self.options.asynchronous:
                in_flight.give_up()  # it has no copy of the state, which may change now
            raise

    def wait_staged(self) -> None:
        """Return when the state may be changed."""
        in_flight = self._in_flight
        if in_flight is not None:
            in_flight.wait_staged()

    def skips(self) -> bool:
        """Whether a save now is to be left out, because one is in flight."""
        skip = self.options.when_busy == "skip" and self.is_busy
        if skip:
            with self._counting:
                self.stats = replace(self.stats, skipped=self.stats.skipped + 1)
        return skip

    def save(
        self, snapshot: Snapshot, record: CheckpointRecord, *, bounded: bool = False
    ) -> SaveHandle:
        """Save a snapshot, or begin to.

        Args:
            bounded: Return before the save is over, so that the caller can wait as long as it
                likes (`settle`); until then the state must not change.
        Raises:
            InvalidArgument: It cannot be saved; nothing was written.
        """
        began_secs = time.perf_counter()
        plan = layout.plan_bundle(snapshot.shards)
        self.wait()
        save = _Save(record, plan, snapshot, SaveHandle(record.prefix), began_secs)
        self._in_flight = save.handle
        try:
            self.listener(events.SaveStarted(record.prefix, record.step))
            if self.options.asynchronous or bounded:
                # For what it imports: once the main thread has ended, Python 3.10 lets a thread
                # import that no more.
                self.directory.storage.lock(naming.lock_file(self.directory.path))
            if not self.options.asynchronous and bounded:
                save.handle.start(partial(self._write, save))
            elif not self.options.asynchronous:
                save.handle.run(partial(self._write, save))
            elif self.options.copy_in_background:
                save.handle.start(partial(self._copy_and_write, save))
            else:
                self._copy(save)
                save.handle.start(partial(self._write, save))
        except BaseException:
            if save.handle.call_off():
                self._in_flight = None
            else:
                save.handle.give_up()  # the caller may change the state, and hears of no handle
            raise
        finally:
            with self._counting:
                self.stats = replace(self.stats, stall_secs=time.perf_counter() - began_secs)
        return save.handle

    def _copy_and_write(self, save: _Save) -> None:
        self._copy(save)
        self._write(save)

    def _copy(self, save: _Save) -> None:
        """Take a copy, after which the state may change."""
        began_secs = time.perf_counter()
        with self._telling_failure(save.record):
            save.plan = self._buffer.copy(save.plan, save.snapshot.is_immutable)
        secs = time.perf_counter() - began_secs
        with self._counting:
            self.stats = replace(self.stats, staged_secs=secs)
        save.handle.staged()
        record = save.record
        self.listener(events.SaveStaged(record.prefix, record.step, save.plan.data_bytes, secs))

    def _write(self, save: _Save) -> None:
        record = save.record
        observer = _Observer(save.handle, save.plan.data_bytes, self.listener)
        with self._telling_failure(record), self.directory.saving():
            staged = self._stage_and_commit(save, observer)
        secs = time.perf_counter() - save.began_secs
        with self._counting:
            self.stats = replace(
                self.stats,
                saves=self.stats.saves + 1,
                written_bytes=self.stats.written_bytes + staged.written_bytes + staged.index_bytes,
                linked_bytes=self.stats.linked_bytes + staged.linked_bytes,
                save_secs=secs,
                bypassed_cache=observer.bypassed_cache,
            )
        self.listener(events.SaveCommitted(record.prefix, record.step, staged.size_bytes, secs))

    @contextmanager
    def _telling_failure(self, record: CheckpointRecord) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with self._counting:
                self.stats = replace(self.stats, failures=self.stats.failures + 1)
            self.listener(events.SaveFailed(record.prefix, record.step, error))
            raise

    def _stage_and_commit(self, save: _Save, observer: _Observer) -> writer.StagedBundle:
        began_secs, record = time.perf_counter(), save.record
        if not self.directory.is_registered:
            self._prepare()
        options = writer.WriteOptions(self.directory.token, self.options.durable, observer=observer)
        previous = self.ledger.refresh().latest if self.options.deduplicate else None
        try:
            staged = writer.stage_plan(
                self.directory.storage, record.prefix, save.plan, options, previous=previous
            )
        except errors.FileMissing:
            self.directory.refuse_removed()  # says it better than the file that could not be made
            raise
        secs = time.perf_counter() - began_secs
        try:
            self.listener(events.SaveWritten(record.prefix, record.step, staged.size_bytes, secs))
            with self.directory.locked():
                save.handle.refuse_given_up()
                self.directory.remove_leftovers()
                self.ledger.prepare_save(record.prefix)
                staged.publish()
                self.ledger.record_save(record, durable=self.options.durable)
        except BaseException:
            staged.discard()
            raise
        return staged

    def _prepare(self) -> None:
        """Before the first save: the directory, our place among its writers, no end in sight."""
        self.directory.create()
        with self.directory.locked():
            self.directory.register_writer()
            self.directory.unmark_finished()
            retention_file.write(self.directory, self.policy)
