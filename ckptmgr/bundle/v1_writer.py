"""Writing a V1 checkpoint: one sorted table per shard, which holds names and values alike.

As for a bundle, everything is written and synced under temporary names first. But there is no
index whose rename could replace all shards at once, and a reader takes whatever shards have the
right names. So shard 0 is the last to come, and of a checkpoint that is replaced the first to go:
while it is there, the others are of the same save. A crash in between leaves a checkpoint that is
visibly incomplete, never one that mixes two saves. A single file is replaced atomically.

Source: docs/formats/v1-checkpoint.md; tensorflow/core/util/tensor_slice_writer.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckptmgr import errors, naming
from ckptmgr.bundle import arrays, layout
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, is_gone, remove_quietly, write_file
from ckptmgr.formats import dtypes, saved_tensor_slices, table_writer
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import SavedTensor
from ckptmgr.storage.protocol import Storage

# A tensor as one file lists it, with an array for each of its slices.
_Listed = tuple[SavedTensor, list[Array]]


@dataclass(slots=True)
class StagedV1:
    """A V1 checkpoint that is complete on disk but does not exist yet."""

    storage: Storage
    options: WriteOptions
    #: What a reader opens: the prefix, or TensorFlow's pattern for several shards.
    path: str
    #: The files that it will be.
    _finals: list[str]
    size_bytes: int = 0
    #: What there is to remove should the save not succeed.
    _temporaries: list[str] = field(default_factory=list)
    _renamed: list[str] = field(default_factory=list)
    _is_publishing: bool = False

    def publish(self) -> None:
        """Make the checkpoint exist, replacing one of the same name.

        Must be called with the directory's lock held.
        """
        first, *others = self._finals
        self._is_publishing = True
        if others:
            self._retire(first)
            for final in others:
                self._renamed.append(final)
                self.storage.rename(self._temporary(final), final)
            # Shard 0 vouches for the others: they must reach the disk before it does.
            self._sync_directory()
        self.storage.rename(self._temporary(first), first)
        self._temporaries.clear()
        self._renamed.clear()
        # The checkpoint must outlive a power cut before anything names it.
        self._sync_directory()

    def discard(self) -> None:
        """Remove what was staged; what the storage refuses stays for the next writer's sweep.

        Does nothing once the checkpoint exists, even if `publish` was interrupted in that moment.
        """
        first = self._temporary(self._finals[0])
        if not (self._is_publishing and is_gone(self.storage, first)):
            remove_quietly(self.storage, [*self._temporaries, *self._renamed])
        self._temporaries.clear()
        self._renamed.clear()

    def _retire(self, first: str) -> None:
        """End the checkpoint that stands under these names, before its shards are replaced."""
        if self.storage.stat(first) is not None:
            self.storage.unlink(first)
            # Were this removal to reach the disk after a new shard's name, a power cut would
            # leave an old shard 0 beside new ones.
            self._sync_directory()

    def _sync_directory(self) -> None:
        if self.options.durable:
            self.storage.sync_dir(naming.directory_of(self._finals[0]))

    def _temporary(self, final: str) -> str:
        return naming.temporary(final, self.options.token)

    def _write(self, final: str, listed: list[_Listed]) -> None:
        table = table_writer.encode_table(saved_tensor_slices.encode_entries(listed))
        path = self._temporary(final)
        self._temporaries.append(path)
        write_file(self.storage, path, table, durable=self.options.durable)
        self.size_bytes += len(table)


def stage_v1(
    storage: Storage,
    prefix: str,
    shards: Sequence[Iterable[NamedTensor]],
    options: WriteOptions,
) -> StagedV1:
    """Write a V1 checkpoint under temporary names, ready to be published.

    Args:
        shards: The tensors of each file; one file is called `prefix`, several `prefix-00000-of-...`
        options: There is no alignment in this format.
    Raises:
        InvalidName, DuplicateName, UnsupportedDtype, InvalidArgument: Naming the tensor.
    """
    plan = _plan(shards)
    path, finals = prefix, [prefix]
    if len(plan) > 1:
        path = naming.v1_shard_pattern(prefix, len(plan))
        finals = [naming.v1_shard(prefix, shard_id, len(plan)) for shard_id in range(len(plan))]
    staged = StagedV1(storage, options, path, finals)
    try:
        for final, listed in zip(finals, plan, strict=True):
            staged._write(final, listed)  # noqa: SLF001 -- its constructor, in effect
    except BaseException:
        staged.discard()
        raise
    return staged


def _plan(shards: Sequence[Iterable[NamedTensor]]) -> list[list[_Listed]]:
    """What each file lists, in the order of the names.

    Raises:
        InvalidName, DuplicateName, UnsupportedDtype, InvalidArgument: Naming the tensor.
    """
    if not shards:
        raise errors.InvalidArgument("a checkpoint has at least one shard, found none")
    by_name: list[dict[str, list[NamedTensor]]] = []
    everywhere: dict[str, list[NamedTensor]] = {}
    for tensors in shards:
        in_this_shard: dict[str, list[NamedTensor]] = {}
        for tensor in layout.in_order(tensors):
            in_this_shard.setdefault(tensor.name, []).append(tensor)
            everywhere.setdefault(tensor.name, []).append(tensor)
        by_name.append(in_this_shard)
    for name, tensors in everywhere.items():
        _check(name, tensors)
    return [
        [_list_tensor(name, tensors) for name, tensors in in_this_shard.items()]
        for in_this_shard in by_name
    ]


def _check(name: str, tensors: list[NamedTensor]) -> None:
    """Raise unless these, of all shards, are one tensor that the format can hold."""
    layout.encode_name(name)
    dtype = layout.dtype_of(tensors[0])
    if dtype not in dtypes.V1_WRITABLE:
        raise errors.UnsupportedDtype(
            f"tensor {name!r}: a V1 checkpoint cannot hold dtype {dtypes.name(dtype)}; "
            f"the V2 format can"
        )
    if len(tensors) > 1 and not all(tensor.partition for tensor in tensors):
        raise errors.DuplicateName(f"two tensors have the name {name!r}")
    layout.describe_partition(name, tensors)


def _list_tensor(name: str, tensors: list[NamedTensor]) -> _Listed:
    dtype, shape, stored = layout.describe_partition(name, tensors)
    return SavedTensor(name, dtype, shape, stored), [_held(tensor) for tensor in tensors]


def _held(tensor: NamedTensor) -> Array:
    """The array as the format's encoder takes it: native, or of bytes."""
    if layout.dtype_of(tensor) is DataType.DT_STRING:
        return arrays.string_array(tensor.array.shape, layout.encode_text(tensor))
    return arrays.native_array(tensor.array)
