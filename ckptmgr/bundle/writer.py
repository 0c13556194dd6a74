"""Writing a bundle: first everything under temporary names, then one rename that makes it exist.

`stage` writes and syncs the data shards and the index where nobody looks. `StagedBundle.publish`
renames them into place, the index last. Until that last rename the old checkpoint of that prefix,
if there is one, is whole: new shards take a shard count that the standing index does not use, and
TensorFlow accepts an index whose header counts shards that no entry refers to.

Shards that hold what an earlier checkpoint holds already are links to its files (`deduplicate`) and
otherwise treated as the rest.

Never rewrite or hard-link an index in place: TensorFlow's own merge opens it for writing and
truncates it, and would do so to every link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle import deduplicate, layout, write_engine
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.layout import BundleLayout, ShardLayout, ShardTensors
from ckptmgr.formats import table_writer
from ckptmgr.formats.bundle_entries import EntryColumns, encode_entries
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleHeader,
    encode_entry,
    encode_header,
)
from ckptmgr.storage.protocol import Storage, WritableFile
from ckptmgr.threads import Worker


@dataclass(frozen=True, slots=True)
class WriteOptions:
    #: Names this writer in its temporary files.
    token: str
    #: Whether to return only when everything is on stable storage.
    durable: bool = True
    #: 1 packs as TensorFlow does.
    alignment_bytes: int = layout.DEFAULT_ALIGNMENT_BYTES
    #: Told how the data shards are written.
    observer: write_engine.WriteObserver | None = None


@dataclass(slots=True)
class StagedBundle:
    """A bundle that is complete on disk but does not exist yet."""

    storage: Storage
    prefix: str
    options: WriteOptions
    #: The shard count that the staged index speaks of.
    num_shards: int = 0
    #: The shards that were written for this bundle.
    written_bytes: int = 0
    #: The tensors that stand in files of an earlier checkpoint.
    linked_bytes: int = 0
    index_bytes: int = 0
    #: The shards under their temporary names: first those that are links, then those written.
    _data_files: list[str] = field(default_factory=list)
    _num_linked: int = 0
    #: All of the index, by key.
    _entries: dict[bytes, bytes] = field(default_factory=dict)
    #: What there is to remove should the save not succeed.
    _temporaries: list[str] = field(default_factory=list)
    _renamed: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return self.linked_bytes + self.written_bytes + self.index_bytes

    def publish(self) -> None:
        """Make the bundle exist, replacing one of the same prefix atomically.

        Must be called with the directory's lock held.
        """
        directory = naming.directory_of(self.prefix)
        standing = _standing_shards(self.storage, self.prefix)
        taken = set(standing.values())
        if self.num_shards in taken:
            # Another writer published this prefix since we staged; take a count that is free.
            self.storage.unlink(self._index_temporary())
            self.num_shards = _free_shard_count(len(self._data_files), taken)
            self._write_index()
        for shard_id, temporary in enumerate(self._data_files):
            final = naming.data_shard(self.prefix, shard_id, self.num_shards)
            self._renamed.append(final)
            self.storage.rename(temporary, final)
        # Where a publish that was cut off had linked the same file already, rename(2) left both.
        remove_quietly(self.storage, self._data_files[: self._num_linked])
        if self.options.durable:
            # The file system may keep the index's name and lose the data's: data first.
            self.storage.sync_dir(directory)
        self.storage.rename(self._index_temporary(), naming.index_file(self.prefix))
        superseded = {naming.in_directory_of(self.prefix, filename) for filename in standing}
        superseded.difference_update(self._renamed)
        self._temporaries.clear()
        self._renamed.clear()
        if self.options.durable:
            # The checkpoint must outlive a power cut before anything names it, and before the one
            # that it replaces goes.
            self.storage.sync_dir(directory)
        # What the storage refuses to remove, the next save of this prefix tries again.
        remove_quietly(self.storage, sorted(superseded))

    def discard(self) -> None:
        """Remove what was staged; what the storage refuses stays for the next writer's sweep.

        Does nothing once the bundle exists, even if `publish` was interrupted in that moment.
        """
        if not (self._renamed and is_gone(self.storage, self._index_temporary())):
            remove_quietly(self.storage, [*self._temporaries, *self._renamed])
        self._temporaries.clear()
        self._renamed.clear()

    def _data_temporary(self, shard_id: int, num_shards: int) -> str:
        return naming.temporary(
            naming.data_shard(self.prefix, shard_id, num_shards), self.options.token
        )

    def _index_temporary(self) -> str:
        return naming.temporary(naming.index_file(self.prefix), self.options.token)

    def _link(self, plan: BundleLayout, previous: str) -> BundleLayout:
        """Take from an earlier checkpoint what it has of a plan; returns what is left to write."""
        alignment_bytes = self.options.alignment_bytes
        shards = deduplicate.find_shards(self.storage, plan, previous, alignment_bytes)
        # How many shards there will be is not known yet; no shard is one of none.
        targets = [self._data_temporary(number, 0) for number in range(len(shards))]
        self._temporaries += targets
        linked = deduplicate.link_shards(self.storage, plan, shards, targets, alignment_bytes)
        elsewhere = set()
        for shard_id, shard in enumerate(linked):
            self._data_files.append(shard.path)
            self.linked_bytes += shard.used_bytes
            for number, index, entry in shard.matches:
                key = plan.shards[number].keys[index]
                self._entries[key] = encode_entry(entry._replace(shard_id=shard_id))
                elsewhere.add((number, index))
        self._num_linked = len(linked)
        if self.options.observer is not None:
            self.options.observer.wrote(self.linked_bytes)  # as good as written
        return layout.without(plan, elsewhere, alignment_bytes) if linked else plan

    def _write(self, plan: BundleLayout) -> None:
        """Write and sync everything; the shards are synced while the index is written."""
        num_data_files = self._num_linked + len(plan.shards)
        taken = set(_standing_shards(self.storage, self.prefix).values())
        self.num_shards = _free_shard_count(num_data_files, taken)
        self.written_bytes = plan.data_bytes
        # Of links too: whoever wrote the file may have left that to the system.
        syncs: list[Callable[[], None]] = [
            partial(self.storage.sync_file, path) for path in self._data_files
        ]
        with ExitStack() as open_files:
            for shard_id, shard in enumerate(plan.shards, start=self._num_linked):
                # The shard's final name is not known before publish; the prefix and the id are.
                path = self._data_temporary(shard_id, num_data_files)
                self._temporaries.append(path)
                file = self.storage.create(path)
                open_files.callback(file.close)
                self._data_files.append(path)
                syncs.append(file.sync)
                checksums = _write_shard(file, shard, self.options)
                entries = encode_entries(_columns(shard, shard_id, checksums))
                self._entries.update(zip(shard.keys, entries, strict=True))
            self._entries.update((key, encode_entry(entry)) for key, entry in plan.partitioned)
            # Before any name leads to them. At the same time as the index, because the file system
            # then makes one commit of both.
            syncing = _InBackground(syncs) if self.options.durable else nullcontext()
            with syncing:
                self._write_index()

    def _write_index(self) -> None:
        self._entries[HEADER_KEY] = encode_header(BundleHeader(num_shards=self.num_shards))
        keys = sorted(self._entries)
        table = table_writer.encode_table(
            zip(keys, map(self._entries.__getitem__, keys), strict=True)
        )
        path = self._index_temporary()
        self._temporaries.append(path)
        write_file(self.storage, path, table, durable=self.options.durable)
        self.index_bytes = len(table)


def stage(
    storage: Storage,
    prefix: str,
    shards: Sequence[ShardTensors],
    options: WriteOptions,
    *,
    previous: str | None = None,
) -> StagedBundle:
    """Write a bundle under temporary names, ready to be published.

    Args:
        shards: The tensors of each data shard; an empty shard is legal.
        previous: The prefix of a checkpoint, perhaps this one: tensors that it holds bit for bit
            are not written again; their shards come before the others.
    Raises:
        InvalidName, DuplicateName, UnsupportedDtype, InvalidArgument: Before anything is written.
    """
    plan = layout.plan_bundle(shards, alignment_bytes=options.alignment_bytes)
    return stage_plan(storage, prefix, plan, options, previous=previous)


def stage_plan(
    storage: Storage,
    prefix: str,
    plan: BundleLayout,
    options: WriteOptions,
    *,
    previous: str | None = None,
) -> StagedBundle:
    """`stage` for tensors that are laid out already."""
    staged = StagedBundle(storage, prefix, options)
    try:
        left = plan if previous is None else staged._link(plan, previous)  # noqa: SLF001 -- its
        staged._write(left)  # noqa: SLF001 -- constructor, in effect
    except BaseException:
        staged.discard()
        raise
    return staged


def write_file(storage: Storage, path: str, data: bytes, *, durable: bool) -> None:
    """Create a whole new file."""
    file = storage.create(path)
    try:
        file.write([data], 0)
        if durable:
            file.sync()  # a rename of unsynced content may survive the content
    finally:
        file.close()


def remove_quietly(storage: Storage, paths: Iterable[str]) -> None:
    """Unlink what is there, and leave what cannot be."""
    for path in paths:
        try:
            storage.unlink(path)
        except errors.StorageError:
            continue


def is_gone(storage: Storage, path: str) -> bool:
    """Whether a file that we wrote has left its name; also when the storage does not say."""
    try:
        return storage.stat(path) is None
    except errors.StorageError:
        return True


class _InBackground:
    """Syncs files in a thread for the length of a with-statement, and raises what that raised."""

    def __init__(self, syncs: Sequence[Callable[[], None]]) -> None:
        self._syncs = syncs
        self._failure: BaseException | None = None
        self._worker = Worker(self._sync, "ckptmgr-sync")

    def __enter__(self) -> None:
        try:
            self._worker.start()
        except BaseException:
            self._worker.end()  # here and below: the files are about to be closed
            raise

    def __exit__(self, *exc_info: object) -> None:
        if self._worker.call_off():
            self._sync()
        else:
            try:
                self._worker.wait()
            except BaseException:
                self._worker.wait()
                raise
        if self._failure is not None and exc_info[1] is None:
            raise self._failure

    def _sync(self) -> None:
        try:
            for sync in self._syncs:
                sync()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._failure = error


def _write_shard(file: WritableFile, shard: ShardLayout, options: WriteOptions) -> Array:
    """Fill a shard's file; returns the masked checksum of each tensor."""
    if shard.size_bytes:
        file.preallocate(shard.size_bytes)
    return write_engine.write_shard(file, shard, durable=options.durable, observer=options.observer)


def _columns(shard: ShardLayout, shard_id: int, checksums: Array) -> EntryColumns:
    forms = [(int(form.dtype), form.shape) for form in shard.forms]
    shard_ids = np.full(len(shard), shard_id)
    return EntryColumns(
        forms, shard.form_of, shard_ids, shard.offsets, shard.sizes_bytes, checksums
    )


def _standing_shards(storage: Storage, prefix: str) -> dict[str, int]:
    """The shard files of the checkpoint that stands at `prefix`, with the count that each names.

    Shards without an index belong to nothing and may be replaced; the directory, which may be
    large, is listed only where there is an index.
    """
    if storage.stat(naming.index_file(prefix)) is None:
        return {}
    names = storage.list_dir(naming.directory_of(prefix))
    shards = naming.shards_of(naming.base_of(prefix), names)
    return {filename: num_shards for filename, (_, num_shards) in shards.items()}


def _free_shard_count(needed: int, taken: set[int]) -> int:
    return next(count for count in range(needed, needed + len(taken) + 1) if count not in taken)
