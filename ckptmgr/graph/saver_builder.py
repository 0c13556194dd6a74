"""The operations of a Saver in its graph, as TensorFlow makes them.

    save/filename, save/Const        the prefix, fed when it saves and restores
    save/SaveV2                      takes names, slices and tensors
    save/control_dependency          the prefix, once that has run
    save/RestoreV2                   reads all tensors
    save/Assign, save/AssignVariableOp ...
    save/restore_all                 when all of these have run

A sharded one has a SaveV2 per device, which writes a bundle of its own, and MergeV2Checkpoints,
which makes one of them.

Source: tensorflow/python/training/saver.py (BaseSaverBuilder).
"""

# ruff: noqa: ARG002 - what subclasses may use

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph import saveables as kinds
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.devices import DeviceSpec
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.grouping import group, with_dependencies
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.partitioned_variables import PartitionedVariable

_PerDevice = Sequence[tuple[str, list[kinds.SaveableObject]]]


class BaseSaverBuilder:
    """Adds save and restore operations; a subclass may make others.

    Each tensor is read by an operation of its own; `BulkSaverBuilder` reads all with one.
    """

    SaveSpec = kinds.SaveSpec
    SaveableObject = kinds.SaveableObject
    VariableSaveable = kinds.ReferenceVariableSaveable
    ResourceVariableSaveable = kinds.ResourceVariableSaveable

    def __init__(self, write_version: int = SaverDef.V2) -> None:
        if write_version not in (SaverDef.V1, SaverDef.V2):
            raise errors.InvalidArgument(
                f"write_version must be SaverDef.V1 or SaverDef.V2, found {write_version!r}"
            )
        self._write_version = write_version

    # ----------------------------------------------------------------- what may be overridden

    def save_op(
        self, filename_tensor: Tensor, saveables: Sequence[kinds.SaveableObject]
    ) -> Operation:
        """Add what writes these to one bundle, or V1 file."""
        specs = [spec for saveable in saveables for spec in saveable.specs]
        tensors = [spec.tensor for spec in specs]
        graph = filename_tensor.graph
        is_v2 = self._write_version == SaverDef.V2
        with graph.name_scope("SaveV2" if is_v2 else "save") as scope:
            slices_name = "shape_and_slices" if is_v2 else "shapes_and_slices"
            names = _texts(graph, [spec.name for spec in specs], "tensor_names")
            slices = _texts(graph, [spec.slice_spec for spec in specs], slices_name)
            op_type = "SaveV2" if is_v2 else "SaveSlices"
            return create_op(graph, op_type, [filename_tensor, names, slices, tensors], name=scope)

    def restore_op(
        self, filename_tensor: Tensor, saveable: kinds.SaveableObject, preferred_shard: int
    ) -> list[Tensor]:
        """Add what reads the tensors of one saveable."""
        return [tensor for spec in saveable.specs for tensor in _restore(filename_tensor, [spec])]

    def bulk_restore(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[kinds.SaveableObject],
        preferred_shard: int,
        restore_sequentially: bool,
    ) -> list[Tensor]:
        """Add what reads the tensors of several saveables."""
        graph = filename_tensor.graph
        tensors: list[Tensor] = []
        for saveable in saveables:
            with graph.device(_on_cpu(saveable.device) if saveable.device else None):
                tensors.extend(self.restore_op(filename_tensor, saveable, preferred_shard))
        return tensors

    def sharded_filename(self, filename_tensor: Tensor, shard: int, num_shards: Tensor) -> Tensor:
        """Add what gives the name of a shard."""
        graph = filename_tensor.graph
        with graph.name_scope("ShardedFilename") as scope:
            number = constant(graph, shard, dtype="int32", name="shard")
            inputs = [filename_tensor, number, num_shards]
            return create_op(graph, "ShardedFilename", inputs, name=scope).outputs[0]

    # ----------------------------------------------------------------- building

    def build(  # noqa: PLR0913 - TensorFlow's arguments
        self,
        names_to_saveables: Any,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        filename: str | None = "model",
    ) -> SaverDef:
        """Add the operations to the default graph; returns the message that names them.

        Args:
            names_to_saveables: Variables and saveables by name, or a list of them.
            filename: The prefix where none is fed.
        """
        graph = get_default_graph()
        saveables = kinds.saveables_of(names_to_saveables)
        with graph.name_scope(name or "save"):
            prefix = _fed(graph, filename or "model")
            if sharded:
                per_device = _by_device(saveables)
                saved = self._add_sharded_save(prefix, per_device)
                restored = self._add_sharded_restore(
                    prefix, per_device, restore_sequentially, reshape
                )
            else:
                saved = self._add_save(prefix, saveables)
                restored = self._add_restore(prefix, saveables, restore_sequentially, reshape)
        _make_partitioned_whole(graph)
        return SaverDef(
            filename_tensor_name=prefix.name,
            save_tensor_name=saved.name,
            restore_op_name=restored.name,
            max_to_keep=max_to_keep or 0,
            sharded=sharded,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            version=self._write_version,  # type: ignore[arg-type]
        )

    def _add_save(self, prefix: Tensor, saveables: Sequence[kinds.SaveableObject]) -> Tensor:
        saved = self.save_op(prefix, saveables)
        return with_dependencies(prefix.graph, [saved], prefix)

    def _add_sharded_save(self, prefix: Tensor, per_device: _PerDevice) -> Tensor:
        graph = prefix.graph
        is_v2 = self._write_version == SaverDef.V2
        shards_prefix = _temporary_prefix(graph, prefix) if is_v2 else prefix
        num_shards = constant(graph, len(per_device), dtype="int32", name="num_shards")
        filenames, saved = [], []
        for shard, (device, saveables) in enumerate(per_device):
            with graph.device(_on_cpu(device) if is_v2 else device):
                filenames.append(self.sharded_filename(shards_prefix, shard, num_shards))
                saved.append(self._add_save(filenames[-1], saveables))
        with graph.control_dependencies([tensor.op for tensor in saved]):
            if not is_v2:
                inputs = [prefix, num_shards]
                return create_op(graph, "ShardedFilespec", inputs).outputs[0]
            # Beside the last of them.
            with graph.device(_on_cpu(per_device[-1][0])):
                merged = _merge(graph, filenames, prefix)
                with graph.control_dependencies([merged]):
                    return create_op(graph, "Identity", [prefix]).outputs[0]

    def _add_restore(
        self,
        prefix: Tensor,
        saveables: Sequence[kinds.SaveableObject],
        restore_sequentially: bool,
        reshape: bool,
        preferred_shard: int = -1,
        name: str = "restore_all",
    ) -> Operation:
        tensors = self.bulk_restore(prefix, saveables, preferred_shard, restore_sequentially)
        remaining = iter(tensors)
        restored = []
        for saveable in saveables:
            shapes = [_shape_of(spec) for spec in saveable.specs] if reshape else None
            values = [next(remaining) for _ in saveable.specs]
            restored.append(saveable.restore(values, shapes))
        return group(prefix.graph, restored, name)

    def _add_sharded_restore(
        self, prefix: Tensor, per_device: _PerDevice, restore_sequentially: bool, reshape: bool
    ) -> Operation:
        restored = []
        for shard, (device, saveables) in enumerate(per_device):
            with prefix.graph.device(device):
                restored.append(
                    self._add_restore(
                        prefix, saveables, restore_sequentially, reshape, shard, "restore_shard"
                    )
                )
        return group(prefix.graph, restored, "restore_all")


class BulkSaverBuilder(BaseSaverBuilder):
    """Reads all tensors of a shard with one operation, as TensorFlow's Saver does."""

    def bulk_restore(
        self,
        filename_tensor: Tensor,
        saveables: Sequence[kinds.SaveableObject],
        preferred_shard: int,
        restore_sequentially: bool,
    ) -> list[Tensor]:
        with filename_tensor.graph.device("cpu:0"):
            return _restore(filename_tensor, [s for item in saveables for s in item.specs])


# --------------------------------------------------------------------------- operations


def _fed(graph: Graph, filename: str) -> Tensor:
    """The prefix: fed to "Const", which old readers know, or else the default."""
    with graph.name_scope("filename") as scope:
        default = constant(graph, filename, name="input")
        named = _with_default(graph, default, scope)
    return _with_default(graph, named, "Const")


def _with_default(graph: Graph, default: Tensor, name: str) -> Tensor:
    return create_op(graph, "PlaceholderWithDefault", [default], {"shape": ()}, name).outputs[0]


def _texts(graph: Graph, values: Sequence[str], name: str) -> Tensor:
    return constant(graph, list(values), dtype="string", shape=(len(values),), name=name)


def _restore(prefix: Tensor, specs: Sequence[kinds.SaveSpec]) -> list[Tensor]:
    graph = prefix.graph
    with graph.name_scope("RestoreV2") as scope:
        names = _texts(graph, [spec.name for spec in specs], "tensor_names")
        slices = _texts(graph, [spec.slice_spec for spec in specs], "shape_and_slices")
        attrs = {"dtypes": [spec.dtype for spec in specs]}
        return create_op(graph, "RestoreV2", [prefix, names, slices], attrs, scope).outputs


def _shape_of(spec: kinds.SaveSpec) -> Any:
    tensor = spec.tensor
    if tensor.shape.is_fully_defined():
        return tensor.shape
    return create_op(tensor.graph, "Shape", [tensor], {"out_type": as_dtype("int32")}).outputs[0]


def _temporary_prefix(graph: Graph, prefix: Tensor) -> Tensor:
    """The prefix of shards before they are merged: in a directory, where there are directories."""
    with graph.device("CPU"):
        pattern = {"pattern": "^s3://.*"}
        is_flat = create_op(graph, "StaticRegexFullMatch", [prefix], pattern).outputs[0]
        flat = constant(graph, ".part")
        inside = constant(graph, os.path.join("_temp", "part"))
        suffix = create_op(graph, "Select", [is_flat, flat, inside]).outputs[0]
        return create_op(graph, "StringJoin", [[prefix, suffix]]).outputs[0]


def _merge(graph: Graph, filenames: list[Tensor], prefix: Tensor) -> Operation:
    with graph.name_scope("MergeV2Checkpoints") as scope:
        packed = create_op(graph, "Pack", [filenames], name="checkpoint_prefixes").outputs[0]
        attrs = {"delete_old_dirs": True}
        return create_op(graph, "MergeV2Checkpoints", [packed, prefix], attrs, scope)


def _on_cpu(device: str) -> str:
    cpu = DeviceSpec(device_type="CPU", device_index=0)
    return DeviceSpec.from_string(device).merged_with(cpu).to_string()


def _by_device(
    saveables: Iterable[kinds.SaveableObject],
) -> list[tuple[str, list[kinds.SaveableObject]]]:
    per_device: dict[str, list[kinds.SaveableObject]] = {}
    for saveable in saveables:
        devices = {DeviceSpec.from_string(spec.device).to_string() for spec in saveable.specs}
        if len(devices) != 1:
            raise errors.GraphError(
                f"All tensors of a saveable object must be on the same device: {saveable.name}"
            )
        per_device.setdefault(devices.pop(), []).append(saveable)
    return sorted(per_device.items())


def _make_partitioned_whole(graph: Graph) -> None:
    """Whoever imports the graph looks a partitioned variable of a collection up by its name."""
    for key in graph.get_all_collection_keys():
        for item in graph.get_collection(key):
            if isinstance(item, PartitionedVariable) and item.name not in graph._operations:
                item._as_graph_element()
