"""Writing a bundle: first everything under temporary names, then one rename that makes it exist.

`stage` writes and syncs the data shards and the index where nobody looks. `StagedBundle.publish`
renames them into place, the index last. Until that last rename the old checkpoint of that prefix,
if there is one, is whole: new shards take a shard count that the standing index does not use, and
TensorFlow accepts an index whose header counts shards that no entry refers to.

Never rewrite or hard-link an index in place: TensorFlow's own merge opens it for writing and
truncates it, and would do so to every link.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckptmgr import naming
from ckptmgr.bundle import layout
from ckptmgr.bundle.layout import BundleLayout, NamedTensor, ShardLayout
from ckptmgr.formats import table_writer
from ckptmgr.formats.bundle_entry import (
    HEADER_KEY,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
)
from ckptmgr.formats.crc32c import crc32c, mask
from ckptmgr.formats.dtypes import DataType
from ckptmgr.storage.protocol import Storage, WritableFile

# Large enough that a system call costs nothing beside its bytes, small enough that a chunk is
# still in the processor's cache between its checksum and its write.
_CHUNK_BYTES = 4 << 20


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
    entries: list[tuple[bytes, BundleEntry]]
    num_data_files: int
    #: The shard count that the staged index speaks of.
    num_shards: int
    size_bytes: int = 0
    #: What there is to remove should the save not succeed.
    temporaries: list[str] = field(default_factory=list)

    def publish(self) -> None:
        """Make the bundle exist, replacing one of the same prefix atomically.

        Must be called with the directory's lock held.
        """
        superseded = _standing_shards(self.storage, self.prefix)
        if self.num_shards in superseded.values():
            # Another writer published this prefix since we staged; take a count that is free.
            self.storage.unlink(self._index_temporary())
            self.temporaries.remove(self._index_temporary())
            self.num_shards = _free_shard_count(self.num_data_files, superseded)
            self._write_index()
        directory = naming.directory_of(self.prefix)
        for shard_id in range(self.num_data_files):
            final = naming.data_shard(self.prefix, shard_id, self.num_shards)
            self.temporaries.append(final)
            self.storage.rename(self._data_temporary(shard_id), final)
        if self.options.durable:
            # The file system may keep the index's name and lose the data's: data first.
            self.storage.sync_dir(directory)
        self.storage.rename(self._index_temporary(), naming.index_file(self.prefix))
        self.temporaries.clear()
        if self.options.durable:
            # The checkpoint must outlive a power cut before anything names it or replaces it.
            self.storage.sync_dir(directory)
        for filename in superseded:
            self.storage.unlink(naming.in_directory_of(self.prefix, filename))

    def discard(self) -> None:
        """Remove what was staged; what the storage refuses stays for the next writer's sweep."""
        remove_quietly(self.storage, self.temporaries)
        self.temporaries.clear()

    def _data_temporary(self, shard_id: int) -> str:
        # The shard's final name is not known before publish; the prefix and the id are.
        return naming.temporary(
            naming.data_shard(self.prefix, shard_id, self.num_data_files), self.options.token
        )

    def _index_temporary(self) -> str:
        return naming.temporary(naming.index_file(self.prefix), self.options.token)

    def _write_index(self) -> None:
        header = BundleHeader(num_shards=self.num_shards)
        encoded = [(key, encode_entry(entry)) for key, entry in self.entries]
        table = table_writer.encode_table([(HEADER_KEY, encode_header(header)), *encoded])
        path = self._index_temporary()
        self.temporaries.append(path)
        write_file(self.storage, path, [table], durable=self.options.durable)
        self.size_bytes += len(table)

    def _write_shards(self, plan: BundleLayout) -> None:
        for shard_id, shard in enumerate(plan.shards):
            path = self._data_temporary(shard_id)
            self.temporaries.append(path)
            self.entries += _write_shard(self.storage, path, shard, durable=self.options.durable)
        self.entries += plan.partitioned
        self.entries.sort(key=lambda item: item[0])


def stage(
    storage: Storage,
    prefix: str,
    shards: Sequence[Iterable[NamedTensor]],
    options: WriteOptions,
) -> StagedBundle:
    """Write a bundle under temporary names, ready to be published.

    Args:
        shards: The tensors of each data shard; an empty shard is legal.
    """
    plan = layout.plan_bundle(shards, alignment_bytes=options.alignment_bytes)
    num_data_files = len(plan.shards)
    num_shards = _free_shard_count(num_data_files, _standing_shards(storage, prefix))
    staged = StagedBundle(
        storage, prefix, options, [], num_data_files, num_shards, size_bytes=plan.data_bytes
    )
    try:
        staged._write_shards(plan)
        staged._write_index()
    except BaseException:
        staged.discard()
        raise
    return staged


def write_file(storage: Storage, path: str, buffers: list[bytes], *, durable: bool) -> None:
    """Create a whole new file from `buffers`."""
    file = storage.create(path)
    try:
        file.write(buffers, 0)
        if durable:
            file.sync()  # a rename of unsynced content may survive the content
    finally:
        file.close()


def remove_quietly(storage: Storage, paths: Iterable[str]) -> None:
    """Unlink what is there; for clearing up after an error that is on its way to the caller."""
    for path in paths:
        try:
            storage.unlink(path)
        except OSError:
            continue


def _write_shard(
    storage: Storage, path: str, shard: ShardLayout, *, durable: bool
) -> list[tuple[bytes, BundleEntry]]:
    file = storage.create(path)
    try:
        if shard.size_bytes:
            file.preallocate(shard.size_bytes)
        entries = _write_placements(file, shard)
        if durable:
            file.sync()  # before any name leads here
    finally:
        file.close()
    return entries


def _write_placements(file: WritableFile, shard: ShardLayout) -> list[tuple[bytes, BundleEntry]]:
    """Write a shard's tensors front to back, many small ones or a part of a big one per call."""
    entries = []
    batch: list[bytes | memoryview] = []
    batch_start = position = 0
    for placement in shard.placements:
        gap = placement.entry.offset - position
        if gap:
            batch.append(bytes(gap))
        position = placement.entry.offset
        payload = placement.payload()
        crc = 0
        for start in range(0, len(payload), _CHUNK_BYTES):
            chunk = payload[start : start + _CHUNK_BYTES]
            crc = crc32c(chunk, crc)
            batch.append(chunk)
            position = placement.entry.offset + start + len(chunk)
            if position - batch_start >= _CHUNK_BYTES:
                file.write(batch, batch_start)
                batch, batch_start = [], position
        # The checksum of strings is not that of their bytes; the layout has it already.
        is_string = placement.entry.dtype == DataType.DT_STRING
        checksum = placement.entry.crc32c if is_string else mask(crc)
        entries.append(layout.with_checksum(placement, checksum))
    if batch:
        file.write(batch, batch_start)
    return entries


def _standing_shards(storage: Storage, prefix: str) -> dict[str, int]:
    """The shard files of the checkpoint that stands at `prefix`, with the count they name.

    Shards without an index belong to nothing and may be replaced.
    """
    if storage.stat(naming.index_file(prefix)) is None:
        return {}
    names = storage.list_dir(naming.directory_of(prefix))
    shards = naming.shards_of(naming.base_of(prefix), names)
    return {filename: num_shards for filename, (_, num_shards) in shards.items()}


def _free_shard_count(needed: int, standing: dict[str, int]) -> int:
    taken = set(standing.values())
    return next(count for count in range(needed, needed + len(taken) + 1) if count not in taken)

