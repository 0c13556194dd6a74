"""One crafted file per kind of damage that has an error of its own.

Each function gets the directory of a small sound run, makes one file hostile with every checksum
right (unless it is the checksum's turn), and returns what a user would call next.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.formats.dtypes import DataType
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.metadata import METADATA_NAME, CheckpointMetadata, encode_metadata
from ckptmgr.lifecycle.reading import load_checkpoint
from ckptmgr.lifecycle.state import get_checkpoint_state
from ckptmgr.storage import PosixStorage
from tests.fuzz import tables
from tests.fuzz.checkpoints import encode_lying_strings

Call = Callable[[], object]

PREFIX = "model.ckpt-1"
INDEX = f"{PREFIX}.index"
DATA = f"{PREFIX}.data-00000-of-00001"


def make_run(directory: Path) -> None:
    """A checkpoint of a number tensor `w` and a string tensor `s`, and the state that names it."""
    strings = np.empty(2, object)
    strings[:] = [b"one", b"three"]
    _write(directory, {"s": strings, "w": np.arange(4, dtype=np.float32)})
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "{PREFIX}"\n')


def _write(directory: Path, arrays: dict[str, Any]) -> None:
    tensors = [NamedTensor(name, array) for name, array in arrays.items()]
    options = WriteOptions("0" * 32, durable=False, alignment_bytes=1)
    stage(PosixStorage(), str(directory / PREFIX), [tensors], options).publish()


def _read(directory: Path, name: str = "w") -> Call:
    def call() -> object:
        with CheckpointReader(directory / PREFIX) as reader:
            return reader.get_tensor(name)

    return call


def _change_entry(directory: Path, name: str, change: Callable[[BundleEntryProto], None]) -> None:
    entries = _entries(directory)
    entry = BundleEntryProto.FromString(entries[name.encode()])
    change(entry)
    entries[name.encode()] = entry.SerializeToString()
    (directory / INDEX).write_bytes(tables.put_together(sorted(entries.items())))


def _entries(directory: Path) -> dict[bytes, bytes]:
    entries = tables.take_apart((directory / INDEX).read_bytes())
    assert entries is not None
    return dict(entries)


# --------------------------------------------------------------------------- one per error


def checksum(directory: Path) -> Call:
    data = bytearray((directory / DATA).read_bytes())
    data[-1] ^= 1
    (directory / DATA).write_bytes(data)
    return _read(directory)


def cut_off(directory: Path) -> Call:
    os.truncate(directory / DATA, (directory / DATA).stat().st_size - 1)
    return _read(directory)


def no_table(directory: Path) -> Call:
    (directory / INDEX).write_bytes(b"x" * 64)
    return _read(directory)


def keys_out_of_order(directory: Path) -> Call:
    entries = list(_entries(directory).items())
    (directory / INDEX).write_bytes(tables.put_together([entries[0], entries[2], entries[1]]))
    return _read(directory)


def size_of_another_shape(directory: Path) -> Call:
    _change_entry(directory, "w", lambda entry: setattr(entry, "size", 12))
    return _read(directory)


def lengths_that_do_not_add_up(directory: Path) -> Call:
    stored = encode_lying_strings([3, 4], b"onethree")
    (directory / DATA).write_bytes(stored)

    def change(entry: BundleEntryProto) -> None:
        entry.offset, entry.size = 0, len(stored)

    _change_entry(directory, "s", change)
    return _read(directory, "s")


def slices_that_overlap(directory: Path) -> Call:
    def change(entry: BundleEntryProto) -> None:
        entry.slices.add().extent.add(start=0, length=3)
        entry.slices.add().extent.add(start=2, length=2)

    _change_entry(directory, "w", change)
    return _read(directory)


def state_of_nothing(directory: Path) -> Call:
    (directory / "checkpoint").write_text('model_checkpoint_path: ""\n')
    return lambda: get_checkpoint_state(directory)


def metadata_of_nothing(directory: Path) -> Call:
    _write(directory, {METADATA_NAME: np.array(b'{"step": []}', object)})
    return lambda: CheckpointManager(None, directory).restore()


def no_shard(directory: Path) -> Call:
    (directory / DATA).unlink()
    return _read(directory)


def later_version(directory: Path) -> Call:
    entries = _entries(directory)
    header = BundleHeaderProto.FromString(entries[b""])
    header.version.min_consumer = 2
    entries[b""] = header.SerializeToString()
    (directory / INDEX).write_bytes(tables.put_together(sorted(entries.items())))
    return _read(directory)


def dtype_that_is_no_array(directory: Path) -> Call:
    _change_entry(directory, "w", lambda entry: setattr(entry, "dtype", DataType.DT_RESOURCE))
    return _read(directory)


def state_that_names_another(directory: Path) -> Call:
    (directory / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"\n')
    return lambda: load_checkpoint(directory)


def structure_with_a_leaf_too_many(directory: Path) -> Call:
    skeleton = {"dict": {"w": "array", "gone": "array"}}
    metadata = encode_metadata(CheckpointMetadata(1, 0.0, skeleton=skeleton))
    arrays = {METADATA_NAME: np.array(metadata, object), "w": np.zeros(2)}
    _write(directory, arrays)
    return lambda: CheckpointManager(None, directory).restore()


def compressed_block(directory: Path) -> Call:
    """To be read where the decompressor is not installed."""
    entries = sorted(_entries(directory).items())
    (directory / INDEX).write_bytes(tables.put_together(entries, compress=True))
    return _read(directory)


#: Error, what makes it, and what its message says: file, tensor, expected, found.
CRAFTED: dict[type[Exception], tuple[Callable[[Path], Call], tuple[str, ...]]] = {
    errors.ChecksumMismatch: (checksum, (DATA, "tensor 'w'", "expected 0x", "found 0x")),
    errors.TruncatedFile: (
        cut_off,
        (DATA, "tensor 'w'", "expected at least 30 bytes, found 29 bytes"),
    ),
    errors.NotATable: (
        no_table,
        (INDEX, "expected 0xdb4775248b80fb57, found 0x7878787878787878"),
    ),
    errors.MalformedTable: (
        keys_out_of_order,
        (INDEX, "strictly ascending", "expected a key above b'w', found b's'"),
    ),
    errors.MalformedEntry: (
        size_of_another_shape,
        (INDEX, "tensor 'w'", "expected size 16, found stored size 12"),
    ),
    errors.MalformedTensor: (
        lengths_that_do_not_add_up,
        (DATA, "tensor 's'", "expected 13 bytes, found 14 bytes"),
    ),
    errors.MalformedSlices: (
        slices_that_overlap,
        (INDEX, "tensor 'w'", "expected each element in one slice, found 0,3 and 2,2"),
    ),
    errors.MalformedState: (
        state_of_nothing,
        ("/checkpoint", "expected a model_checkpoint_path, found None"),
    ),
    errors.MalformedMetadata: (
        metadata_of_nothing,
        (INDEX, f"tensor '{METADATA_NAME}'", "found {'step': []}"),
    ),
    errors.MissingShard: (no_shard, (DATA, "tensor 'w'", "missing")),
    errors.UnsupportedVersion: (later_version, (INDEX, "expected at most 1, found 2")),
    errors.UnsupportedDtype: (dtype_that_is_no_array, ("tensor 'w'", "dtype resource")),
    errors.CheckpointNotFound: (state_that_names_another, ("Couldn't find",)),
    errors.TensorNotFound: (structure_with_a_leaf_too_many, ("Key gone not found", PREFIX)),
    errors.MissingExtra: (compressed_block, ("snappy", "pip install ckptmgr[snappy]")),
}

#: What no content of a file can make happen, and what does.
NOT_FROM_A_FILE: dict[str, str] = {
    "CorruptCheckpoint": "the root of a family",
    "StorageError": "the root of a family: the system refused a call",
    "InvalidStep": "what the caller gave",
    "InvalidName": "what the caller gave",
    "DuplicateName": "what the caller gave",
    "InvalidMetric": "what the caller gave",
    "UnsupportedLeaf": "what the caller gave",
    "StructureMismatch": "what the caller gave, compared with a sound checkpoint",
    "ShapeMismatch": "what the caller gave, compared with a sound checkpoint",
    "DtypeMismatch": "what the caller gave, compared with a sound checkpoint",
    "StateRefused": "what the caller gave",
    "ManagerClosed": "the order of calls",
    "SaveInProgress": "the order of calls",
    "GraceExceeded": "time",
    "LockTimeout": "another process",
    "DirectoryInUse": "another process",
    "FileMissing": "the system: no such file",
    "FileExists": "the system: the name is taken",
    "PermissionDenied": "the system: permissions",
    "CannotVerify": "the system: permissions, or an extra that is not installed",
    "NotADirectory": "the system: a file stands where a directory is needed",
}
