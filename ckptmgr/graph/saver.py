"""The Saver of a graph: TensorFlow 1's `tf.train.Saver`.

Its operations stand in the graph, as TensorFlow makes them, for whoever imports it. A save fetches
the tensors from the session and writes them as any Saver here does: tensors and `.meta` staged,
synced and published, then the state, then what falls out of the window is deleted. Where a builder
of the user's made other operations for saving, these are run instead.

Source: tensorflow/python/training/saver.py.
"""

# ruff: noqa: ARG002 - TensorFlow's arguments

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ckptmgr import arguments, errors, naming
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.bundle import writer
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.graph import meta_graph as meta_graphs
from ckptmgr.graph import saver_operations
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.saver_builder import BaseSaverBuilder, BulkSaverBuilder
from ckptmgr.graph.scoped_names import into_scope, lies_in_scope, out_of_scope
from ckptmgr.lifecycle import saver as files
from ckptmgr.lifecycle import state
from ckptmgr.storage import Storage

_log = logging.getLogger(__name__)

_NAMES = ("filename_tensor_name", "save_tensor_name", "restore_op_name")


class Saver:
    """Saves and restores the variables of a graph.

    Args:
        var_list: Variables and saveables, or a dict of them by the names to save them under; all
            global variables and the collection `saveable_objects` where it is None.
        reshape: Restore tensors of another shape with the same number of elements.
        sharded: Write one shard per device.
        max_to_keep: How many checkpoints to keep; None or 0 keeps every one.
        keep_checkpoint_every_n_hours: Of those that are given up, keep one per such period.
        name: The scope of its operations.
        saver_def: The operations of an earlier Saver, which are in the graph already.
        builder: Makes the operations.
        defer_build: Leave that to `build`.
        allow_empty: Accept that there are no variables; then nothing is saved.
        pad_step_number: `model.ckpt-00000100` instead of `model.ckpt-100`.
        save_relative_paths: Let the state name checkpoints relative to its directory.
        filename: The default of the prefix in the graph.
        durability: "fsync" returns when everything is on stable storage; "none" leaves that to the
            system, as TensorFlow does.
    """

    def __init__(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: SaverDef | None = None,
        builder: BaseSaverBuilder | None = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = SaverDef.V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
        *,
        durability: str = "fsync",
        storage: Storage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if defer_build and var_list:
            raise errors.GraphError(
                "If `var_list` is provided then build cannot be deferred. Either set "
                "defer_build=False or var_list=None."
            )
        self._var_list = var_list
        self._build_options: dict[str, Any] = {
            "reshape": reshape,
            "sharded": sharded,
            "max_to_keep": max_to_keep,
            "keep_checkpoint_every_n_hours": keep_checkpoint_every_n_hours,
            "name": name,
            "restore_sequentially": restore_sequentially,
            "filename": filename,
        }
        self._builder = builder
        self._allow_empty = allow_empty
        self._write_version = write_version
        self._file_options: dict[str, Any] = {
            "pad_step_number": pad_step_number,
            "save_relative_paths": save_relative_paths,
            "durability": durability,
            "storage": storage,
            "clock": clock,
        }
        self._storage = storage
        self._is_empty = False
        self._files: files.Saver | None = None
        self._history: tuple[tuple[str, float], ...] = ()
        self.saver_def: SaverDef | None = None
        if saver_def is not None:
            self.saver_def = _moved(saver_def, lambda text: into_scope(text, name))
            _check_saver_def(self.saver_def)
            self._open_files()
        elif not defer_build:
            self.build()

    def build(self) -> None:
        """Add the operations to the default graph, if that was deferred."""
        if self._files is not None:
            return
        var_list = self._var_list
        if var_list is None:
            var_list = all_saveable_objects()
        if not var_list:
            if not self._allow_empty:
                raise errors.GraphError("No variables to save")
            self._is_empty = True
        else:
            builder = self._builder or BulkSaverBuilder(self._write_version)
            self.saver_def = builder.build(var_list, **self._build_options)
        self._open_files()

    def _open_files(self) -> None:
        defined = self.saver_def
        max_to_keep: Any = self._build_options["max_to_keep"]
        hours: Any = self._build_options["keep_checkpoint_every_n_hours"]
        version: int = self._write_version
        if defined is not None:
            max_to_keep, hours = defined.max_to_keep, defined.keep_checkpoint_every_n_hours
            version = defined.version
        is_v2 = version == SaverDef.V2
        self._files = files.Saver(
            {},
            allow_empty=True,
            max_to_keep=max_to_keep,
            keep_checkpoint_every_n_hours=hours,
            write_version=files.WriteVersion.V2 if is_v2 else files.WriteVersion.V1,
            **self._file_options,
        )

    def _built(self, doing: str) -> files.Saver:
        if self._files is None:
            raise _NotBuilt(f"`build()` should be called before {doing} if defer_build==True")
        return self._files

    # ----------------------------------------------------------------- saving

    def save(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        sess: Any,
        save_path: str | os.PathLike[str],
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Write a checkpoint of a session's variables; returns its prefix.

        Args:
            global_step: Appended to the prefix: a number, or a tensor, a variable or the name of
                one in the graph.
            latest_filename: Instead of `checkpoint`.
            write_meta_graph: Whether to write the graph beside it.
            save_debug_info: For TensorFlow, which then writes where its operations were made.
        Returns:
            The prefix, of V1 shards TensorFlow's pattern for them; None if the Saver is empty.
        """
        writes_to = self._built("save")
        if not isinstance(getattr(sess, "graph", None), Graph):
            raise errors.GraphTypeError(
                f"a Saver saves a session's variables, found {type(sess).__name__} for it"
            )
        meta_graph = None
        if write_meta_graph:

            def meta_graph() -> files.MetaGraphFile:
                with sess.graph.as_default():
                    message = self.export_meta_graph(strip_default_attrs=strip_default_attrs)
                return files.MetaGraphFile(
                    meta_graphs.encode_meta_graph(message), meta_graph_suffix
                )

        return writes_to.save_staged(
            None if self._is_empty else lambda prefix, options: self._stage(sess, prefix, options),
            arguments.path_text(save_path),
            _step_number(sess, global_step),
            latest_filename,
            write_state=write_state,
            meta_graph=meta_graph,
        )

    def write(self, sess: Any, prefix: str) -> None:
        """Write the variables into a directory that nobody else saves into, and nothing beside.

        There is no state, no `.meta` and no history, and the directory is not locked.
        """
        durable = files.is_durable(self._file_options["durability"])
        self._built("save")
        if not self._is_empty:
            options = writer.WriteOptions(naming.new_token(), durable)
            staged, _ = self._stage(sess, prefix, options)
            staged.publish()

    def _stage(
        self, sess: Any, prefix: str, options: writer.WriteOptions
    ) -> tuple[files.Staged, str]:
        assert self.saver_def is not None
        graph: Graph = sess.graph
        save_tensor = graph.get_tensor_by_name(self.saver_def.save_tensor_name)
        feeds = {graph.get_tensor_by_name(self.saver_def.filename_tensor_name): prefix}
        writes = saver_operations.find_writes(save_tensor)
        if writes is None:
            saved = sess.run(save_tensor, feeds)
            return _WrittenByGraph(), np.asarray(saved, dtype=object).item().decode()
        shards = saver_operations.fetch_shards(sess, writes, feeds)
        return self._built("save").stage(prefix, shards, options)

    # ----------------------------------------------------------------- restoring

    def restore(self, sess: Any, save_path: str | os.PathLike[str]) -> None:
        """Give a session's variables what a checkpoint holds.

        Names, dtypes and shapes are compared first: when this raises for one of them, no variable
        has changed.

        Raises:
            CheckpointNotFound: There is no checkpoint at `save_path`.
            TensorNotFound, DtypeMismatch, ShapeMismatch: Naming the tensors.
        """
        if self._is_empty:
            return
        self._built("restore")
        assert self.saver_def is not None
        if save_path is None:
            raise errors.InvalidArgument("Can't load save_path when it is None.")
        prefix = arguments.path_text(save_path)
        if not state.checkpoint_exists(prefix, storage=self._storage):
            raise errors.CheckpointNotFound(
                f"The passed save_path is not a valid checkpoint: {prefix}"
            )
        graph: Graph = sess.graph
        restore_op = graph.get_operation_by_name(self.saver_def.restore_op_name)
        reads = saver_operations.find_reads(restore_op)
        feeds: dict[Tensor, Any] = {
            graph.get_tensor_by_name(self.saver_def.filename_tensor_name): prefix
        }
        with CheckpointReader(prefix, storage=self._storage) as reader:
            renamed = saver_operations.names_in_checkpoint(reads, reader)
            saver_operations.check_reads(renamed, reader)
            if renamed != reads:
                _log.warning(
                    "restoring the object-based checkpoint %s by the names of its variables", prefix
                )
                feeds |= saver_operations.read_all(renamed, reader)
        sess.run(restore_op, feeds)

    # ----------------------------------------------------------------- history

    @property
    def last_checkpoints(self) -> list[str]:
        """Prefixes of the checkpoints that are kept, oldest first."""
        return self._built("last_checkpoints").last_checkpoints

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Take over checkpoints, oldest first, which are never deleted."""
        _check_is_list(last_checkpoints)
        # As in TensorFlow: whoever says no time is taken to be later than every period.
        self.set_last_checkpoints_with_time([(path, np.inf) for path in last_checkpoints])

    def set_last_checkpoints_with_time(self, last_checkpoints: Sequence[tuple[str, float]]) -> None:
        """Take over checkpoints, oldest first, each with the time when it was saved."""
        _check_is_list(last_checkpoints)
        self._built("set_last_checkpoints").set_last_checkpoints_with_time(last_checkpoints)

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Take over the checkpoints of an earlier Saver, oldest first; missing ones are not."""
        self._built("recover_last_checkpoints").recover_last_checkpoints(checkpoint_paths)

    # ----------------------------------------------------------------- messages

    def as_saver_def(self) -> SaverDef | None:
        """The message that names its operations."""
        return self.saver_def

    def to_proto(self, export_scope: str | None = None) -> SaverDef | None:
        """That message; None where an operation is not in `export_scope`, which names lose."""
        defined = self.saver_def
        if defined is None:
            return None
        if not all(lies_in_scope(getattr(defined, name), export_scope) for name in _NAMES):
            return None
        return _moved(defined, lambda text: out_of_scope(text, export_scope))

    @staticmethod
    def from_proto(saver_def: SaverDef, import_scope: str | None = None) -> Saver:
        """The Saver of operations that are in the graph already."""
        return Saver(saver_def=saver_def, name=import_scope)

    def export_meta_graph(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        filename: str | os.PathLike[str] | None = None,
        collection_list: Iterable[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> MetaGraphDef:
        """The default graph as a message and a file, with this Saver's operations named in it."""
        return meta_graphs.export_scoped_meta_graph(
            filename=filename,
            saver_def=self.saver_def,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
            save_debug_info=save_debug_info,
        )[0]


class _NotBuilt(errors.GraphError, RuntimeError):
    """A Saver whose operations are not there yet."""


class _NotAList(errors.GraphTypeError, AssertionError):
    """Something else where TensorFlow asserts that it is a list."""


def _check_is_list(last_checkpoints: Any) -> None:
    if not isinstance(last_checkpoints, list):
        raise _NotAList(f"last_checkpoints must be a list, found {last_checkpoints!r:.80}")


class _WrittenByGraph:
    """A checkpoint that operations of the graph have written, wherever they wrote it."""

    def publish(self) -> None:
        """It exists already."""

    def discard(self) -> None:
        """It is not ours to remove."""


def _step_number(sess: Any, global_step: Any) -> int | None:
    if global_step is None or isinstance(global_step, int | np.integer):
        return None if global_step is None else int(global_step)
    return int(sess.run(global_step))


def _moved(saver_def: SaverDef, move: Callable[[str], str]) -> SaverDef:
    moved = SaverDef()
    moved.CopyFrom(saver_def)
    for name in _NAMES:
        setattr(moved, name, move(getattr(saver_def, name)))
    return moved


def _check_saver_def(saver_def: SaverDef) -> None:
    missing = [name for name in _NAMES if not getattr(saver_def, name)]
    if missing:
        raise errors.InvalidGraph(f"a SaverDef must name its operations; {missing[0]} is empty")


def all_saveable_objects(scope: str | None = None) -> list[Any]:
    """What a Saver saves where nothing is said: the global variables and `saveable_objects`."""
    graph = get_default_graph()
    return graph.get_collection(GraphKeys.GLOBAL_VARIABLES, scope) + graph.get_collection(
        GraphKeys.SAVEABLE_OBJECTS, scope
    )
