"""What a restore does last: it reads large arrays and tensors into the memory that they have.

By then every byte of them has been verified, the objects that load their own state have done so,
and nothing but the disk can fail. What NumPy sees as one piece of memory is read into straight from
the file, its checksum taken once more. Anything else that can be changed (a tensor on an
accelerator, one with strides) is read with a few others at a time and copied. So no restore takes
the size of the state twice.

Names that share their memory, such as tied weights, are no reason for a copy: the last one counts,
as it would if they were filled in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ckptmgr.bundle import arrays
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle import foreign, skeletons, targets
from ckptmgr.lifecycle.fill import RestorePlan, Stored, StoredTensor

# Small tensors are read once and copied, which is faster than to verify them before, unless they
# are so many that the copies would count.
_SMALL_BYTES = 16 << 10
_SMALL_TOTAL_BYTES = 64 << 20

# What is in memory at a time of tensors that are copied.
_GROUP_BYTES = 64 << 20


class Leaf(NamedTuple):
    """An array or a tensor that can be changed."""

    name: str
    source: str
    size_bytes: int
    value: Any


@dataclass
class LastPart:
    """The leaves that are filled last."""

    #: Their names in the target.
    names: set[str] = field(default_factory=set)
    #: Their tensors in the checkpoint, and how many bytes these have.
    sources: dict[str, int] = field(default_factory=dict)
    #: Tensor of the checkpoint to the memory that it is read into.
    memory: dict[str, Array] = field(default_factory=dict)
    _direct: list[Leaf] = field(default_factory=list)
    _copied: list[Leaf] = field(default_factory=list)

    def add(self, leaf: Leaf, memory: Array | None) -> None:
        self._note(leaf)
        if memory is None or leaf.source in self.memory:
            self._copied.append(leaf)
        else:
            self.memory[leaf.source] = memory
            self._direct.append(leaf)

    def leave(self, leaf: Leaf) -> None:
        """Take a leaf whose memory another one overwrites: it is verified, and not read."""
        self._note(leaf)

    def verify(self, reader: CheckpointReader) -> None:
        """Raise CorruptCheckpoint if what is to be read is damaged."""
        if self.sources:
            reader.verify(self.sources)

    def read(self, reader: CheckpointReader) -> None:
        """Fill the leaves.

        Raises:
            CorruptCheckpoint, StorageError: The file has changed since it was verified; some leaves
                have been filled.
        """
        if self.memory:
            reader.get_tensors(list(self.memory), self.memory)
        for leaf in self._direct:
            targets.fill_leaf(leaf.value, self.memory[leaf.source])
        for group in _groups(self._copied):
            _copy(reader, group)

    @property
    def read_bytes(self) -> int:
        """How many bytes `verify` and `read` read."""
        read_again = [leaf.size_bytes for leaf in (*self._direct, *self._copied)]
        return sum(self.sources.values()) + sum(read_again)

    def _note(self, leaf: Leaf) -> None:
        self.names.add(leaf.name)
        self.sources[leaf.source] = leaf.size_bytes


def choose(plan: RestorePlan, stored: Stored) -> LastPart:
    """The leaves of a target to fill last."""
    found = list(_changeable(plan, stored))
    small_bytes = sum(leaf.size_bytes for leaf in found if leaf.size_bytes <= _SMALL_BYTES)
    with_small = small_bytes > _SMALL_TOTAL_BYTES
    found = [leaf for leaf in found if with_small or leaf.size_bytes > _SMALL_BYTES]
    # A module's own load_state_dict is not called, so this is where all of its tensors are filled.
    found += [_leaf(plan, name, value, stored) for name, value in plan.parts]
    last = LastPart()
    places = [_memory_of(leaf) for leaf in found]
    overwritten, torn = _shared(places)
    for number, (leaf, memory) in enumerate(zip(found, places, strict=True)):
        if number in overwritten:
            last.leave(leaf)
        else:
            last.add(leaf, None if number in torn else memory)
    return last


def _changeable(plan: RestorePlan, stored: Stored) -> Iterator[Leaf]:
    for path, value in targets.leaves_of(plan.target, ()):
        name = skeletons.name_of(path)
        if name in plan.sources and path not in plan.own_skeletons:
            leaf = _leaf(plan, name, value, stored)
            if _can_change(value, stored.tensors[leaf.source]):
                yield leaf


def _leaf(plan: RestorePlan, name: str, value: Any, stored: Stored) -> Leaf:
    source = plan.sources[name]
    return Leaf(name, source, stored.tensors[source].size_bytes, value)


def _can_change(value: Any, tensor: StoredTensor) -> bool:
    if isinstance(value, np.ndarray):
        # Others are replaced, as strings that are too short for what is stored. And strings are
        # stored as bytes: those that are text must be decoded.
        is_numbers = value.flags.writeable and not value.dtype.hasobject
        return is_numbers and value.dtype.newbyteorder("=") == tensor.dtype
    found = foreign.adapter_and_kind(value)
    if found is None:
        return False
    adapter, kind = found
    return not adapter.is_immutable(value) and foreign.is_plain(kind)


def _memory_of(leaf: Leaf) -> Array | None:
    """The memory of a leaf, if a tensor can be read straight into it."""
    value = leaf.value
    if isinstance(value, np.ndarray):
        memory: Array | None = value if type(value) is np.ndarray else None
    else:
        adapter = foreign.adapter_of(value)
        memory = None if adapter is None else adapter.memory_of(value)
    return memory if memory is not None and arrays.can_fill(memory) else None


def _shared(places: list[Array | None]) -> tuple[set[int], set[int]]:
    """Those whose memory a later one has as well, and those that share a part of it with another.

    Threads that read into the same memory would take each other's bytes for damage.
    """
    overwritten: set[int] = set()
    by_extent: dict[tuple[int, int], int] = {}
    for number, memory in enumerate(places):
        if memory is not None and memory.nbytes:
            start = memory.ctypes.data
            extent = start, start + memory.nbytes
            if extent in by_extent:
                overwritten.add(by_extent[extent])
            by_extent[extent] = number
    torn: set[int] = set()
    widest, widest_end = -1, 0
    for (start, end), number in sorted(by_extent.items()):
        if start < widest_end:
            torn |= {widest, number}
        if end > widest_end:
            widest, widest_end = number, end
    return overwritten, torn


def _copy(reader: CheckpointReader, leaves: list[Leaf]) -> None:
    values = reader.get_tensors(dict.fromkeys(leaf.source for leaf in leaves))
    for leaf in leaves:
        targets.fill_leaf(leaf.value, np.asarray(values[leaf.source]))


def _groups(leaves: Iterable[Leaf]) -> Iterator[list[Leaf]]:
    """Cut leaves into groups of some size, of one at least."""
    group: list[Leaf] = []
    size_bytes = 0
    for leaf in leaves:
        if group and size_bytes + leaf.size_bytes > _GROUP_BYTES:
            yield group
            group, size_bytes = [], 0
        group.append(leaf)
        size_bytes += leaf.size_bytes
    if group:
        yield group
