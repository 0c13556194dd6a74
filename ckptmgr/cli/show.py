"""`ckptmgr show PREFIX_OR_DIR`: what one checkpoint holds. No value of a tensor is read."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ckptmgr import errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.cli import hints, wording
from ckptmgr.cli.command import Command
from ckptmgr.cli.table import Column, render
from ckptmgr.formats import dtypes
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import SavedTensor
from ckptmgr.formats.tensor_slice import TensorSlice
from ckptmgr.lifecycle import listing
from ckptmgr.lifecycle.listing import ListedCheckpoint
from ckptmgr.lifecycle.metadata import METADATA_NAME
from ckptmgr.storage import PosixStorage, Storage

# What has a shape but no parameters in it.
_NOT_NUMBERS = (DataType.DT_STRING, DataType.DT_VARIANT)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="PREFIX_OR_DIR",
        help="a checkpoint, such as run/model.ckpt-100, or a directory, for its latest",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    storage = PosixStorage()
    shown = describe(storage, _prefix_of(storage, arguments.target))
    if arguments.json:
        out.write(wording.json_text(as_json(shown)))
    else:
        width = shutil.get_terminal_size().columns
        out.write(render_checkpoint(shown, now_secs=time.time(), width=width))
    return 0


COMMAND = Command("show", "show what a checkpoint holds", _add_arguments, _run)


def _prefix_of(storage: Storage, target: str) -> str:
    info = storage.stat(target) if target else None
    if info is None or (not info.is_dir and naming.base_of(target) != naming.STATE_FILENAME):
        return target  # the reader says what is wrong with it
    if not info.is_dir:
        directory = naming.directory_of(target)
        raise errors.InvalidArgument(
            f"{target} is the checkpoint state of its directory; try 'ckptmgr show {directory}'"
        )
    prefix = listing.newest_prefix(target, storage=storage)
    if prefix is not None:
        return prefix
    if listing.list_checkpoints(target, storage=storage):
        raise errors.CheckpointNotFound(
            f"the checkpoint state of {target} names a checkpoint that is not there; "
            f"'ckptmgr ls {target}' lists those that are"
        )
    raise errors.CheckpointNotFound(hints.no_checkpoints(storage, target))


# --------------------------------------------------------------------------- what there is


@dataclass(frozen=True, slots=True)
class ShownTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    #: Which parts are stored, as in a slice spec ("0,4:-"); none if it is stored whole.
    slices: tuple[str, ...]
    #: Of a tensor that a V2 checkpoint stores whole.
    shard_id: int | None
    num_parameters: int


@dataclass(frozen=True, slots=True)
class ShownCheckpoint:
    checkpoint: ListedCheckpoint
    tensors: Sequence[ShownTensor]

    @property
    def num_parameters(self) -> int:
        return sum(tensor.num_parameters for tensor in self.tensors)

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)


def describe(storage: Storage, prefix: str) -> ShownCheckpoint:
    """Everything about a checkpoint but its values.

    Raises:
        CheckpointNotFound: There is none; says what was probably meant.
        CorruptCheckpoint: Its index cannot be read.
    """
    with CheckpointReader(prefix, storage=storage) as reader:
        names = sorted(reader.get_variable_to_shape_map())
        tensors = [_tensor(reader, name) for name in names if name != METADATA_NAME]
    checkpoint = listing.look_at(prefix, storage=storage)
    if checkpoint is None:
        raise errors.CheckpointNotFound(f"{prefix} was deleted just now")
    return ShownCheckpoint(checkpoint, tensors)


def _tensor(reader: CheckpointReader, name: str) -> ShownTensor:
    entry = reader.entry(name)
    is_whole = entry.slices in ((), (TensorSlice.full(len(entry.shape)),))
    return ShownTensor(
        name,
        dtypes.name(entry.dtype),
        entry.shape,
        _size_bytes(reader, entry, name),
        () if is_whole else tuple(map(str, entry.slices)),
        entry.shard_id if isinstance(entry, BundleEntry) and not entry.slices else None,
        0 if entry.dtype in _NOT_NUMBERS else math.prod(entry.shape),
    )


def _size_bytes(reader: CheckpointReader, entry: BundleEntry | SavedTensor, name: str) -> int:
    if isinstance(entry, SavedTensor) and entry.dtype not in _NOT_NUMBERS:
        try:
            # To ask how many bytes a V1 file has of it would be to read them.
            return math.prod(entry.shape) * dtypes.item_size_bytes(entry.dtype)
        except errors.UnsupportedDtype:
            pass
    return reader.num_bytes(name)


# --------------------------------------------------------------------------- for programs


def as_json(shown: ShownCheckpoint) -> dict[str, Any]:
    checkpoint = shown.checkpoint
    return {
        "prefix": checkpoint.prefix,
        "step": checkpoint.step,
        **wording.json_time(checkpoint.saved_at_secs),
        "size_bytes": checkpoint.size_bytes,
        "metrics": wording.json_metrics(checkpoint.metrics),
        "metadata": checkpoint.metadata,
        "damaged": checkpoint.damaged,
        "tensors": [_tensor_as_json(tensor) for tensor in shown.tensors],
        "totals": {
            "tensors": len(shown.tensors),
            "parameters": shown.num_parameters,
            "size_bytes": shown.tensor_bytes,
        },
    }


def _tensor_as_json(tensor: ShownTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "size_bytes": tensor.size_bytes,
        "slices": list(tensor.slices),
        "shard": tensor.shard_id,
    }


# --------------------------------------------------------------------------- for people


def render_checkpoint(shown: ShownCheckpoint, *, now_secs: float, width: int) -> str:
    lines = [wording.printable(shown.checkpoint.prefix), *_facts(shown.checkpoint, now_secs), ""]
    if shown.tensors:
        lines += [*render(_columns(shown.tensors), width), ""]
    lines.append(
        f"{wording.count(len(shown.tensors), 'tensor')}, "
        f"{wording.count(shown.num_parameters, 'parameter')}, {wording.size(shown.tensor_bytes)}"
    )
    return "".join(f"{line}\n" for line in lines)


def _facts(checkpoint: ListedCheckpoint, now_secs: float) -> list[str]:
    age = wording.age(now_secs - checkpoint.saved_at_secs)
    age = age if age.startswith("in ") else f"{age} ago"
    facts = [
        ("step", "unknown" if checkpoint.step is None else str(checkpoint.step)),
        ("saved", f"{wording.local_time(checkpoint.saved_at_secs)} ({age})"),
        ("size", wording.size(checkpoint.size_bytes)),
    ]
    metrics = sorted(checkpoint.metrics.items())
    facts += [("metrics", f"{name} {wording.number(value)}") for name, value in metrics]
    metadata = checkpoint.metadata.items()
    facts += [("metadata", f"{name}: {_compact_json(value)}") for name, value in metadata]
    if checkpoint.damaged:
        facts.append(("DAMAGED", checkpoint.damaged))
    labels = [label for label, _ in facts]
    return [
        # A label that stands above as well is not said again.
        f"  {'' if label in labels[:row] else label:<10}{wording.printable(text)}"
        for row, (label, text) in enumerate(facts)
    ]


def _compact_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _columns(tensors: Sequence[ShownTensor]) -> list[Column]:
    stored = [_stored(tensor) for tensor in tensors]
    columns = [
        Column("DTYPE", [tensor.dtype for tensor in tensors]),
        Column("SHAPE", [str(list(tensor.shape)) for tensor in tensors]),
        Column("BYTES", [f"{tensor.size_bytes:,}" for tensor in tensors], right=True),
    ]
    if any(tensor.slices or tensor.shard_id for tensor in tensors):
        columns.append(Column("STORED IN", stored))
    # Last, because names may be long.
    return [*columns, Column("NAME", [wording.printable(tensor.name) for tensor in tensors])]


def _stored(tensor: ShownTensor) -> str:
    if tensor.slices:
        return wording.count(len(tensor.slices), "slice")
    return "" if tensor.shard_id is None else f"shard {tensor.shard_id}"
