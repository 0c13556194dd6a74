"""What a manager saves and restores: a tree, an object with a state_dict, a Saver's variables.

A subject turns a state into named tensors and a skeleton, and puts a checkpoint's values back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ckptmgr import errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor, ShardTensors
from ckptmgr.lifecycle import fill, in_place, skeletons, tree, variables
from ckptmgr.lifecycle.fill import Names
from ckptmgr.lifecycle.metadata import CheckpointMetadata
from ckptmgr.lifecycle.restore_progress import RestoreProgress
from ckptmgr.lifecycle.saver import Saver


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state as it goes to disk."""

    #: The tensors of each shard.
    shards: Sequence[ShardTensors]
    skeleton: skeletons.Skeleton | None
    #: The ids of the arrays that cannot change.
    immutable: frozenset[int] = frozenset()

    def beside(self, tensor: NamedTensor) -> Snapshot:
        """The same with one more tensor in the first shard."""
        first, *rest = self.shards
        if isinstance(first, Mapping):
            first = {**first, tensor.name: tensor.array}
        else:
            first = [*first, tensor]
        return replace(self, shards=[first, *rest])

    def is_immutable(self, array: np.ndarray[Any, Any]) -> bool:
        """Whether nobody can change an array, so that it need not be copied."""
        return id(array) in self.immutable


class Subject(Protocol):
    def snapshot(self) -> Snapshot: ...

    def restore(
        self,
        reader: CheckpointReader,
        metadata: CheckpointMetadata | None,
        names: Names,
        progress: RestoreProgress,
    ) -> Any:
        """The restored state: the target itself wherever it can be changed in place."""


@dataclass(frozen=True, slots=True)
class TreeSubject:
    """Nested dicts, lists and tuples of arrays and numbers, and objects with a state_dict."""

    state: Any

    def snapshot(self) -> Snapshot:
        flat = tree.flatten(self.state)
        return Snapshot([flat.arrays], flat.skeleton, flat.immutable)

    def restore(
        self,
        reader: CheckpointReader,
        metadata: CheckpointMetadata | None,
        names: Names,
        progress: RestoreProgress,
    ) -> Any:
        stored = variables.stored_tensors(reader, metadata.skeleton if metadata else None)
        plan = fill.plan(self.state, stored, names)
        last = in_place.choose(plan, stored)
        first = {source for name, source in plan.sources.items() if name not in last.names}
        first_bytes = sum(stored.tensors[source].size_bytes for source in first)
        progress.expect(
            first_bytes + sum(last.sources.values()), read_bytes=first_bytes + last.read_bytes
        )
        values = variables.read_arrays(reader, first)
        # Decides whether the target may be touched; takes a fraction of the time of reading.
        last.verify(reader)
        restored = plan.apply(values, last.names)
        last.read(reader)
        return restored


@dataclass(frozen=True, slots=True)
class SaverSubject:
    """The variables of a Saver."""

    saver: Saver

    def snapshot(self) -> Snapshot:
        return Snapshot(self.saver.named_tensors() or [[]], None)  # the manager adds a tensor

    def restore(
        self,
        reader: CheckpointReader,
        metadata: CheckpointMetadata | None,  # noqa: ARG002 - a Saver records no structure
        names: Names,
        progress: RestoreProgress,  # noqa: ARG002 - all of the checkpoint, as it expects
    ) -> Any:
        if names is not None:
            raise errors.InvalidArgument(
                "names= does not go with a Saver, whose var_list says which tensor goes where"
            )
        return self.saver.restore_from(reader)


@dataclass(frozen=True, slots=True)
class NoSubject:
    """No target: the state is rebuilt as it was recorded."""

    def snapshot(self) -> Snapshot:
        raise errors.InvalidArgument(
            "nothing to save: give the state to the manager, CheckpointManager(state, directory), "
            "or to each save, manager.save(step, state)"
        )

    def restore(
        self,
        reader: CheckpointReader,
        metadata: CheckpointMetadata | None,
        names: Names,
        progress: RestoreProgress,  # noqa: ARG002 - all of the checkpoint, as it expects
    ) -> Any:
        if names is not None:
            raise errors.InvalidArgument("names= needs a state to restore into")
        if metadata is None or metadata.skeleton is None:
            return variables.read_arrays(reader, variables.stored_tensors(reader).tensors)
        try:
            values = variables.read_arrays(reader, skeletons.leaf_names(metadata.skeleton))
            return skeletons.unflatten(metadata.skeleton, values)
        except errors.CorruptCheckpoint as error:
            raise error.located(path=naming.index_file(reader.prefix)) from None


def subject_of(state: Any) -> Subject:
    if state is None:
        return NoSubject()
    if isinstance(state, Saver):
        return SaverSubject(state)
    return TreeSubject(state)
