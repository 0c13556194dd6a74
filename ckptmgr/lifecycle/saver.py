"""One checkpoint at a prefix: names to arrays and back, with TensorFlow's Saver's behaviour.

A Saver writes what its `var_list` names, keeps the directory's `checkpoint` file, and deletes what
falls out of its window, in TensorFlow's order and with TensorFlow's files: it adds no tensor of its
own. Its history lives as long as it does, as in TensorFlow; `recover_last_checkpoints` or a
`CheckpointManager` carry it over a restart.

Source: tensorflow/python/training/saver.py.
"""

from __future__ import annotations

import enum
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle import v1_writer, writer
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import DEFAULT_ALIGNMENT_BYTES, NamedTensor
from ckptmgr.lifecycle import deletion, state, variables
from ckptmgr.lifecycle.registrations import WriterRegistrations
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.lifecycle.saver_history import SaverHistory
from ckptmgr.lifecycle.steps import as_step
from ckptmgr.storage import PosixStorage, Storage

_log = logging.getLogger(__name__)


class WriteVersion(enum.IntEnum):
    """`SaverDef.CheckpointFormatVersion`."""

    V1 = 1
    V2 = 2


class Staged(Protocol):
    """A checkpoint that is complete on disk but does not exist yet."""

    def publish(self) -> None: ...

    def discard(self) -> None: ...


#: Stages a checkpoint at a prefix, and says what a reader will open.
Stage = Callable[[str, writer.WriteOptions], tuple[Staged, str]]


@dataclass(frozen=True, slots=True)
class MetaGraphFile:
    """The graph that is to stand beside a checkpoint."""

    data: bytes
    suffix: str = "meta"


class Saver:
    """Saves and restores named arrays.

    Args:
        var_list: Name to array (or to a `PartitionedVariable`), or objects with a `name`.
            Arrays are filled in place when restoring.
        reshape: Restore tensors of another shape with the same number of elements.
        sharded: Write one shard per distinct `device` of the arrays.
        max_to_keep: The window; None or 0 keeps every checkpoint.
        keep_checkpoint_every_n_hours: Of those that leave the window, keep one per such period.
        allow_empty: Accept an empty `var_list`; `save` then writes nothing and returns None.
        write_version: V2, or V1 for readers older than TensorFlow 0.12.
        pad_step_number: `model.ckpt-00000100` instead of `model.ckpt-100`.
        save_relative_paths: Name checkpoints in the state relative to its directory, so that the
            directory can be moved.
        durability: "fsync" returns when everything is on stable storage; "none" leaves that to
            the system, as TensorFlow does.
        alignment_bytes: Where tensors start in a shard; 1 packs them as TensorFlow does.
    """

    def __init__(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        var_list: Mapping[str, Any] | Iterable[Any],
        *,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        allow_empty: bool = False,
        write_version: int = WriteVersion.V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        durability: str = "fsync",
        alignment_bytes: int = DEFAULT_ALIGNMENT_BYTES,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._variables = variables.by_name(var_list)
        if not self._variables and not allow_empty:
            raise errors.InvalidArgument("No variables to save: var_list is empty")
        self._reshape = reshape
        self._sharded = sharded
        self._write_version = _as_write_version(write_version)
        self._pad_step_number = pad_step_number
        self._save_relative_paths = save_relative_paths
        self._durable = is_durable(durability)
        self._alignment_bytes = arguments.whole_number("alignment_bytes", alignment_bytes)
        self._storage = storage or PosixStorage()
        self._clock = clock
        self._registrations = WriterRegistrations(self._storage)
        #: What a state file or a user has it take over is deleted here only, not anywhere.
        self._saved_in: set[str] = set()
        if max_to_keep is not None:
            none = " or None (0 and None keep all)"
            max_to_keep = arguments.whole_number("max_to_keep", max_to_keep, least=0, also=none)
        name = "keep_checkpoint_every_n_hours"
        hours = arguments.real_number(name, keep_checkpoint_every_n_hours, zero=True)
        keep_every_secs = hours * 3600.0
        self._history = SaverHistory(max_to_keep, keep_every_secs, clock() + keep_every_secs)

    # ----------------------------------------------------------------------- what it holds

    @property
    def variables(self) -> Mapping[str, Any]:
        """Name to array, as given."""
        return self._variables

    def named_tensors(self) -> list[list[NamedTensor]]:
        """The tensors to write, one list per shard."""
        return variables.shards(self._variables, by_device=self._sharded)

    # ----------------------------------------------------------------------- saving

    def save(
        self,
        save_path: str,
        global_step: int | None = None,
        latest_filename: str | None = None,
        *,
        write_state: bool = True,
    ) -> str | None:
        """Write a checkpoint; returns its prefix (V1 shards: TensorFlow's pattern for them).

        Args:
            save_path: `run/model.ckpt`; the step is appended to it. One missing directory is made.
            latest_filename: Instead of `checkpoint`.
        """
        return self.save_staged(
            self._stage if self._variables else None,
            save_path,
            global_step,
            latest_filename,
            write_state=write_state,
        )

    def save_staged(
        self,
        stage: Stage | None,
        save_path: str,
        global_step: int | None = None,
        latest_filename: str | None = None,
        *,
        write_state: bool = True,
        meta_graph: Callable[[], MetaGraphFile] | None = None,
    ) -> str | None:
        """`save` of what somebody else stages.

        Args:
            stage: Called once paths and steps are found sound; None if there is nothing to write.
            meta_graph: What to write beside it; called after that, too.
        """
        path = arguments.path_text(save_path)
        step = None if global_step is None else as_step(global_step)
        self._validate_paths(path, step, latest_filename)
        if stage is None and meta_graph is None:
            return None
        prefix = naming.checkpoint_prefix(path, step, pad_step_number=self._pad_step_number)
        directory = self._registrations.directory(naming.directory_of(prefix))
        if write_state:
            state_file = naming.state_file(directory.path, latest_filename)
            state.refuse_directory(self._storage, state_file)
        with directory.saving():
            if not directory.is_registered:
                self._make_one_level(directory, path)
                with directory.locked():
                    directory.register_writer()
            self._saved_in.add(os.path.realpath(directory.path))
            file = None if meta_graph is None else meta_graph()
            options = writer.WriteOptions(directory.token, self._durable, self._alignment_bytes)
            graph = None if file is None else _StagedMetaGraph(self._storage, prefix, file, options)
            try:
                if stage is None:
                    if graph is not None:
                        graph.publish(durable=self._durable)
                    return None
                staged, saved = stage(prefix, options)
                state_name = (latest_filename or naming.STATE_FILENAME) if write_state else None
                self._publish(directory, saved, staged, graph, state_name)
            finally:
                if graph is not None:
                    graph.discard()
        if write_state:
            for victim in self._history.take_victims():
                self._delete(victim, "meta" if file is None else file.suffix)
        return saved

    def _stage(self, prefix: str, options: writer.WriteOptions) -> tuple[Staged, str]:
        return self.stage(prefix, self.named_tensors(), options)

    def stage(
        self, prefix: str, shards: list[list[NamedTensor]], options: writer.WriteOptions
    ) -> tuple[Staged, str]:
        """Write tensors in the Saver's format, ready to be published."""
        if self._write_version == WriteVersion.V2:
            return writer.stage(self._storage, prefix, shards, options), prefix
        staged = v1_writer.stage_v1(self._storage, prefix, shards, options)
        return staged, staged.path

    def _publish(
        self,
        directory: RunDirectory,
        saved: str,
        staged: Staged,
        graph: _StagedMetaGraph | None,
        state_name: str | None,
    ) -> None:
        try:
            with directory.locked():
                directory.remove_leftovers()
                if self._storage.stat(naming.index_file(saved)) is not None:
                    directory.replaced.add(naming.base_of(saved))
                if graph is not None:
                    # Before the index, whose publication makes both stable.
                    graph.publish(durable=False)
                staged.publish()
                if state_name is not None:
                    self._record(directory, saved, state_name)
        except BaseException:
            staged.discard()
            raise

    def _record(self, directory: RunDirectory, prefix: str, latest_filename: str | None) -> None:
        self._history.record(prefix, self._clock())
        new_state = state.build_state(
            directory.path,
            prefix,
            self.last_checkpoints,
            relative=self._save_relative_paths,
        )
        state.write_state(directory, new_state, latest_filename, durable=self._durable)

    def _delete(self, victim: str, meta_graph_suffix: str) -> None:
        if os.path.realpath(naming.directory_of(victim)) not in self._saved_in:
            _log.warning("%s stays: this Saver has saved nothing into its directory", victim)
            return
        # Its directory need not be that of the save, and its own lock guards its holds.
        directory = self._registrations.directory(naming.directory_of(victim))
        try:
            directory.require()
            with directory.locked():
                if naming.base_of(victim) in directory.held_bases():
                    self._history.put_back(victim)
                else:
                    self._remove(directory, victim, meta_graph_suffix)
        except errors.StorageError as error:
            # The new checkpoint is saved; TensorFlow, too, goes on when an old one stays.
            _log.warning("could not delete old checkpoint %s: %s", victim, error)

    def _remove(self, directory: RunDirectory, victim: str, suffix: str) -> None:
        base = naming.base_of(victim)
        is_v2 = self._storage.stat(naming.index_file(victim)) is not None
        # Only of a directory that we registered in do we know what was saved over in it.
        if is_v2 and directory.is_registered and base not in directory.replaced:
            deletion.remove_tracked(
                self._storage,
                victim,
                replaced=False,
                durable=self._durable,
                meta_graph_suffix=suffix,
            )
        else:
            deletion.remove_files(
                self._storage, victim, meta_graph_suffix=suffix, durable=self._durable
            )
        directory.replaced.discard(base)

    def _validate_paths(self, path: str, step: int | None, latest_filename: str | None) -> None:
        naming.validate_prefix(path)
        if latest_filename is not None:
            naming.validate_filename(latest_filename, "latest_filename")
        state_name = latest_filename or naming.STATE_FILENAME
        if step is None and naming.base_of(path) == state_name:
            raise errors.InvalidName(
                f"'latest_filename' collides with 'save_path': '{state_name}' and '{path}'"
            )

    def _make_one_level(self, directory: RunDirectory, save_path: str) -> None:
        parent = self._storage.stat(naming.directory_of(directory.path))
        if self._storage.stat(directory.path) is None and (parent is None or not parent.is_dir):
            raise errors.InvalidArgument(
                f"Parent directory of {save_path} doesn't exist, can't save."
            )
        directory.create()

    # ----------------------------------------------------------------------- restoring

    def restore(self, save_path: str) -> dict[str, Any]:
        """Fill the variables from a checkpoint; returns them by name.

        Names, shapes and dtypes are compared first: when this raises for one of them, no variable
        has changed.

        Raises:
            CheckpointNotFound: There is no checkpoint at `save_path`.
            TensorNotFound, ShapeMismatch, DtypeMismatch: Naming the tensor.
        """
        if save_path is None:
            raise errors.InvalidArgument("Can't load save_path when it is None.")
        with CheckpointReader(save_path, storage=self._storage) as reader:
            return self.restore_from(reader)

    def restore_from(self, reader: CheckpointReader) -> dict[str, Any]:
        """`restore` from a checkpoint that is open already."""
        return variables.restore(self._variables, reader, reshape=self._reshape)

    # ----------------------------------------------------------------------- history

    @property
    def last_checkpoints(self) -> list[str]:
        """Prefixes in the window, oldest first."""
        return [prefix for prefix, _ in self._history.last]

    def set_last_checkpoints_with_time(self, entries: Sequence[tuple[str, float]]) -> None:
        """Replace the window: (prefix, time saved), oldest first."""
        self._history.replace_last(entries)

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Take over the checkpoints of an earlier Saver, oldest first; missing ones are not.

        They may come from a state file that somebody else wrote: what is no checkpoint is not taken
        over either, and outside of the directories that this Saver saves into, none is deleted.
        """
        entries = []
        for path in checkpoint_paths:
            mtimes = state.get_checkpoint_mtimes([path], storage=self._storage)
            if mtimes and self._is_checkpoint(path):
                entries.append((path, mtimes[0]))
        self.set_last_checkpoints_with_time(entries)

    def _is_checkpoint(self, path: str) -> bool:
        if self._storage.stat(naming.index_file(path)) or naming.v1_shard_files(path):
            return True
        try:
            CheckpointReader(path, storage=self._storage).close()
        except (errors.CheckpointNotFound, errors.CorruptCheckpoint):
            return False
        return True


class _StagedMetaGraph:
    """The graph beside a checkpoint, written and synced under a temporary name."""

    def __init__(
        self, storage: Storage, prefix: str, file: MetaGraphFile, options: writer.WriteOptions
    ) -> None:
        self._storage = storage
        self._final = naming.meta_graph_file(prefix, file.suffix)
        self._temporary = naming.temporary(self._final, options.token)
        self._is_published = False
        try:
            writer.write_file(storage, self._temporary, file.data, durable=options.durable)
        except BaseException:
            self.discard()
            raise

    def publish(self, *, durable: bool) -> None:
        self._storage.rename(self._temporary, self._final)
        self._is_published = True
        if durable:
            self._storage.sync_dir(naming.directory_of(self._final))

    def discard(self) -> None:
        """Remove it unless it was published; what cannot be removed goes with the next sweep."""
        if not self._is_published:
            with suppress(errors.StorageError):
                self._storage.unlink(self._temporary)


def is_durable(durability: str) -> bool:
    """Whether "fsync", rather than "none", was asked for."""
    if durability not in {"fsync", "none"}:
        raise errors.InvalidArgument(f"durability must be 'fsync' or 'none', found {durability!r}")
    return durability == "fsync"


def _as_write_version(version: int) -> WriteVersion:
    try:
        return WriteVersion(version)
    except ValueError:
        raise errors.InvalidArgument(
            f"write_version must be WriteVersion.V1 or WriteVersion.V2, found {version!r}"
        ) from None
