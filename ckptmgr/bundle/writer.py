"""Writing a bundle: first everything under temporary names, then one rename that makes it exist.

`stage` writes and syncs the data shards and the index where nobody looks. `StagedBundle.publish`
renames them into place, the index last. Until that last rename the old checkpoint of that prefix,
if there is one, is whole: new shards take a shard count that the standing index does not use, and
TensorFlow accepts an index whose header counts shards that no entry refers to.

Never rewrite or hard-link an index in place: TensorFlow's own merge opens it for writing and
truncates it, and would do so to every link.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field

from ckptmgr import errors, naming
from ckptmgr.bundle import layout, write_engine
from ckptmgr.bundle.layout import BundleLayout, NamedTensor, ShardLayout
from ckptmgr.formats import table_writer
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
)
from ckptmgr.storage.protocol import Storage, WritableFile


@dataclass(frozen=True, slots=True)
class WriteOptions:
    #: Names this writer in its temporary files.
    token: str
    #: Whether to return only when everything is on stable storage.
    durable: bool = True
    #: 1 packs as TensorFlow does.
    alignment_bytes: int = layout.DEFAULT_ALIGNMENT_BYTES


@dataclass(slots=True)
class StagedBundle:
    """A bundle that is complete on disk but does not exist yet."""

    storage: Storage
    prefix: str
    options: WriteOptions
    num_data_files: int
    #: The shard count that the staged index speaks of.
    num_shards: int
    data_bytes: int
    index_bytes: int = 0
    #: All of the index but the header, by key.
    _entries: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: What there is to remove should the save not succeed.
    _temporaries: list[str] = field(default_factory=list)
    _renamed: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return self.data_bytes + self.index_bytes

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
            self.num_shards = _free_shard_count(self.num_data_files, taken)
            self._write_index()
        for shard_id in range(self.num_data_files):
            final = naming.data_shard(self.prefix, shard_id, self.num_shards)
            self._renamed.append(final)
            self.storage.rename(self._data_temporary(shard_id), final)
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

    def _data_temporary(self, shard_id: int) -> str:
        # The shard's final name is not known before publish; the prefix and the id are.
        return naming.temporary(
            naming.data_shard(self.prefix, shard_id, self.num_data_files), self.options.token
        )

    def _index_temporary(self) -> str:
        return naming.temporary(naming.index_file(self.prefix), self.options.token)

    def _write(self, plan: BundleLayout) -> None:
        """Write and sync everything; the shards are synced while the index is written."""
        with ExitStack() as open_files:
            files = []
            for shard_id, shard in enumerate(plan.shards):
                path = self._data_temporary(shard_id)
                self._temporaries.append(path)
                file = self.storage.create(path)
                open_files.callback(file.close)
                files.append(file)
                self._entries += _write_shard(file, shard, shard_id, durable=self.options.durable)
            self._entries += [(key, encode_entry(entry)) for key, entry in plan.partitioned]
            self._entries.sort()
            # Before any name leads to them. At the same time as the index, because the file system
            # then makes one commit of both.
            syncing = _InBackground(files) if self.options.durable else nullcontext()
            with syncing:
                self._write_index()

    def _write_index(self) -> None:
        header = BundleHeader(num_shards=self.num_shards)
        table = table_writer.encode_table([(HEADER_KEY, encode_header(header)), *self._entries])
        path = self._index_temporary()
        self._temporaries.append(path)
        write_file(self.storage, path, table, durable=self.options.durable)
        self.index_bytes = len(table)


def stage(
    storage: Storage,
    prefix: str,
    shards: Sequence[Iterable[NamedTensor]],
    options: WriteOptions,
) -> StagedBundle:
    """Write a bundle under temporary names, ready to be published.

    Args:
        shards: The tensors of each data shard; an empty shard is legal.
    Raises:
        InvalidName, DuplicateName, UnsupportedDtype, InvalidArgument: Before anything is written.
    """
    plan = layout.plan_bundle(shards, alignment_bytes=options.alignment_bytes)
    return stage_plan(storage, prefix, plan, options)


def stage_plan(
    storage: Storage, prefix: str, plan: BundleLayout, options: WriteOptions
) -> StagedBundle:
    """`stage` for tensors that are laid out already."""
    taken = set(_standing_shards(storage, prefix).values())
    staged = StagedBundle(
        storage,
        prefix,
        options,
        num_data_files=len(plan.shards),
        num_shards=_free_shard_count(len(plan.shards), taken),
        data_bytes=plan.data_bytes,
    )
    try:
        staged._write(plan)  # noqa: SLF001 -- its constructor, in effect
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

    def __init__(self, files: Sequence[WritableFile]) -> None:
        self._files = files
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._sync, name="ckptmgr-sync")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join()
        if self._failure is not None and exc_info[1] is None:
            raise self._failure

    def _sync(self) -> None:
        try:
            for file in self._files:
                file.sync()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._failure = error


def _write_shard(
    file: WritableFile, shard: ShardLayout, shard_id: int, *, durable: bool
) -> list[tuple[bytes, bytes]]:
    """Fill a shard's file; returns the key and encoded entry of each tensor."""
    if shard.size_bytes:
        file.preallocate(shard.size_bytes)
    checksums = write_engine.write_shard(file, shard, durable=durable)
    return [
        (
            placed.key,
            encode_entry(
                BundleEntry(
                    placed.dtype, placed.shape, shard_id, placed.offset, placed.size_bytes, crc
                )
            ),
        )
        for placed, crc in zip(shard.placements, checksums, strict=True)
    ]


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
