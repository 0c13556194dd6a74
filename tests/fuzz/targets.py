"""What is fuzzed: one target per parser, each through what a user calls.

    bundle       V2: sorted table, header, entries, slices, numbers, strings, variants
    v1           V1: sorted table, SavedTensorSlices, one file and several shards
    state        the `checkpoint` file
    manager      the manager's JSON, and what stands in `.ckptmgr/`
    meta_graph   a `.meta` file: graph, functions, collections, Saver (`models`)
    saved_model  the directory of a SavedModel: message, variables, an asset (`models`)

A target takes any bytes. It raises `Finding`, or whatever a parser should not have let out.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from google.protobuf import text_format

from ckptmgr import errors, naming
from ckptmgr._proto.checkpoint_state_pb2 import CheckpointState as CheckpointStateProto
from ckptmgr.bundle import table_file
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.formats.table import FOOTER_BYTES
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.lifecycle import catalog, listing, state
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.storage import MemoryStorage
from tests.fuzz.checkpoints import mutate_bundle, mutate_v1
from tests.fuzz.graphs import mutate_meta_graph, mutate_saved_model
from tests.fuzz.guard import Finding, documented
from tests.fuzz.models import check_meta_graph, check_saved_model
from tests.fuzz.mutation import mutate_bytes, mutate_json, mutate_message
from tests.fuzz.packing import pack, unpack

BUNDLE_FILES = (
    "m.index",
    *("m.data-00000-of-00001", "m.data-00000-of-00002", "m.data-00001-of-00002"),
    *("m.data-00000-of-00003", "m.data-00002-of-00003"),
)
V1_PATTERN = "s-?????-of-00002"
V1_FILES = ("m", "s-00000-of-00002", "s-00001-of-00002")


@dataclass(frozen=True, slots=True)
class Target:
    check: Callable[[bytes], None]
    mutate: Callable[[bytes, Random], bytes]


# --------------------------------------------------------------------------- readers


def check_bundle(data: bytes) -> None:
    storage = _storage_of(zip(BUNDLE_FILES, _contents(data, len(BUNDLE_FILES)), strict=True))
    with _table_threshold(data):
        _read_everything(storage, "m")
    documented(lambda: listing.look_at("m", storage=storage))


def check_v1(data: bytes) -> None:
    storage = _storage_of(zip(V1_FILES, _contents(data, len(V1_FILES)), strict=True))
    with _table_threshold(data):
        _read_everything(storage, "m")
        _read_everything(storage, V1_PATTERN)
    documented(lambda: listing.look_at("m", storage=storage))


def _read_everything(storage: MemoryStorage, prefix: str) -> None:
    """Everything that a reader can be asked; the ways to one value must agree."""
    reader = documented(
        lambda: CheckpointReader(prefix, storage=storage), errors.CheckpointNotFound
    )
    if reader is None:
        return
    with reader, CheckpointReader(prefix, mmap=True, storage=storage) as mapping:
        documented(reader.debug_string)
        documented(reader.verify)
        documented(lambda: catalog.read_metadata(reader))
        shapes = documented(mapping.get_variable_to_shape_map) or {}
        documented(mapping.get_variable_to_dtype_map)
        together = documented(reader.get_tensors)
        for name, shape in list(shapes.items())[:100]:
            if documented(lambda: reader.entry(name)) != mapping.entry(name):  # noqa: B023
                raise Finding(f"two ways to look up {name!r} disagree")
            documented(lambda: reader.num_bytes(name))  # noqa: B023
            value = documented(lambda: reader.get_tensor(name))  # noqa: B023
            mapped = documented(lambda: mapping.get_tensor(name))  # noqa: B023
            _require_same(name, value, mapped)
            if together is not None:
                _require_same(name, value, together[name])
            part = _first_half(shape)
            if part is not None:
                half = documented(lambda: reader.get_slice(name, part))  # noqa: B023
                if value is not None and half is not None:
                    index = tuple(slice(0, extent.length) for extent in part.extents)
                    _require_same(name, value[index], half)
                documented(lambda: reader.get_slice(name, part, verify=False))  # noqa: B023


def _first_half(shape: list[int]) -> TensorSlice | None:
    if not shape or not all(shape):
        return None
    return TensorSlice((Extent(0, (shape[0] + 1) // 2), *(Extent(0, size) for size in shape[1:])))


def _require_same(name: str, one: Any, other: Any) -> None:
    """Two values of a tensor, each None if it could not be read."""
    if (one is None) != (other is None):
        raise Finding(f"{name!r} can be read in one way and not in the other")
    if one is None:
        return
    arrays = [
        np.asarray(value, object if isinstance(value, bytes) else None) for value in (one, other)
    ]
    kinds = [(array.dtype, array.shape) for array in arrays]
    contents = [array.tolist() if array.dtype.hasobject else array.tobytes() for array in arrays]
    if kinds[0] != kinds[1] or contents[0] != contents[1]:
        raise Finding(f"{name!r} has two values")


# --------------------------------------------------------------------------- a directory

_OUTSIDE = {
    "/etc/x": b"no checkpoint",
    "/etc/x.index": b"no checkpoint",
    "/run2/model.ckpt-9": b"a file that is called as a V1 checkpoint",
    "/model.ckpt-1.meta": b"",
}


_MARKS = {"pins", "deleting", "publishing", "holds", "writers"}
# Characters, of at most four bytes each.
_LONGEST_MARK = 60


def check_state(data: bytes) -> None:
    _check_directory({**_sound_run(), "/run/checkpoint": data})


def check_manager(data: bytes) -> None:
    """Numbers 0: metadata, 1: note of the policy, 2: names of marks, 3: state file."""
    files = unpack(data)
    run = _sound_run(files.get(0))
    run["/run/.ckptmgr/retention.json"] = files.get(1, b"[]")
    for line in files.get(2, b"").split(b"\n")[:20]:
        kind, _, name = line.decode("utf-8", "surrogateescape").partition(":")
        if kind in _MARKS and name not in {"", ".", ".."} and not {"/", "\0"} & set(name):
            run[f"/run/.ckptmgr/{kind}/{name[:_LONGEST_MARK]}"] = b""
    if 3 in files:
        run["/run/checkpoint"] = files[3]
    _check_directory(run)


def _check_directory(run: dict[str, bytes]) -> None:
    storage = _storage_of((*run.items(), *_OUTSIDE.items()))
    documented(lambda: state.get_checkpoint_state("/run", storage=storage))
    documented(lambda: state.latest_checkpoint("/run", storage=storage))
    documented(lambda: listing.newest_prefix("/run", storage=storage))
    documented(lambda: listing.list_checkpoints("/run", storage=storage))
    target = {"w": np.zeros(3, np.float32)}
    with CheckpointManager(
        target, "/run", max_to_keep=1, storage=storage, durability="none"
    ) as manager:
        refusals = (errors.CheckpointNotFound, errors.InvalidArgument)
        documented(manager.restore, *refusals)
        saved = manager.save(9)  # whatever stands there, training can go on
        if saved is None or manager.latest_checkpoint != "/run/model.ckpt-9":
            raise Finding(f"after a save the latest is {manager.latest_checkpoint}")
    with CheckpointManager(None, "/run", storage=storage) as manager:
        documented(lambda: manager.restore(1), *refusals)
        restored = manager.restore()
        if restored is None or restored.step != 9:
            raise Finding(f"after a save the restored is {restored}")
    if {path: _read(storage, path) for path in _OUTSIDE} != _OUTSIDE:
        raise Finding("a file outside the directory was changed")


def _sound_run(metadata: bytes | None = None) -> dict[str, bytes]:
    """The files of a directory of two checkpoints; the first one's metadata are as given."""
    if not _RUN:
        _RUN.update(_make_run())
    if metadata is None:
        return _RUN
    storage = MemoryStorage()
    storage.make_dirs("/run")
    text = np.array(metadata, object)
    _save_plainly(storage, {"w": np.zeros(3, np.float32), "_CKPTMGR_METADATA": text})
    made = {path: _read(storage, path) for path in _files_in(storage, "/run")}
    return {**_RUN, **made, "/run/checkpoint": _RUN["/run/checkpoint"]}


_RUN: dict[str, bytes] = {}


def _make_run() -> dict[str, bytes]:
    storage = MemoryStorage()
    weights = {"w": np.ones(3, np.float32)}
    with CheckpointManager(weights, "/run", storage=storage, durability="none") as manager:
        manager.save(1)
        manager.save(2)
    return {path: _read(storage, path) for path in _files_in(storage, "/run")}


def _save_plainly(storage: MemoryStorage, arrays: dict[str, Any]) -> None:
    """As a Saver would, but with any names."""
    tensors = [NamedTensor(name, array) for name, array in arrays.items()]
    options = WriteOptions("0" * 32, durable=False, alignment_bytes=1)
    stage(storage, "/run/model.ckpt-1", [tensors], options).publish()


def _files_in(storage: MemoryStorage, directory: str) -> list[str]:
    names = storage.list_dir(directory)
    return [f"{directory}/{name}" for name in names if name != naming.INTERNAL_DIRECTORY]


# --------------------------------------------------------------------------- changes


def mutate_state(data: bytes, random: Random) -> bytes:
    message = CheckpointStateProto()
    if random.random() < 0.5:
        return mutate_bytes(data, random)
    try:
        text_format.Merge(data, message)
    except Exception:  # noqa: BLE001 - it does not parse any more
        return mutate_bytes(data, random)
    mutate_message(message, random)
    text: str = text_format.MessageToString(message, as_utf8=random.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def mutate_manager(data: bytes, random: Random) -> bytes:
    files = unpack(data)
    number = random.randrange(4)
    content = files.get(number, b"")
    if number < 2:
        change = mutate_json if random.random() < 0.8 else mutate_bytes
    else:
        change = mutate_state if number == 3 else mutate_bytes
    files[number] = change(content, random)
    return pack(files)


TARGETS = {
    "bundle": Target(check_bundle, mutate_bundle),
    "v1": Target(check_v1, mutate_v1),
    "state": Target(check_state, mutate_state),
    "manager": Target(check_manager, mutate_manager),
    "meta_graph": Target(check_meta_graph, mutate_meta_graph),
    "saved_model": Target(check_saved_model, mutate_saved_model),
}


# --------------------------------------------------------------------------- what all share


def _contents(data: bytes, count: int) -> Iterator[bytes | None]:
    files = unpack(data)
    return (files.get(number) for number in range(count))


def _storage_of(files: Any) -> MemoryStorage:
    storage = MemoryStorage()
    for path, content in files:
        if content is not None:
            storage.make_dirs(naming.directory_of(path))
            file = storage.create(path)
            file.write([content], 0)
            file.close()
    return storage


def _read(storage: MemoryStorage, path: str) -> bytes:
    file = storage.open(path)
    return file.read(0, file.size_bytes)


@contextmanager
def _table_threshold(data: bytes) -> Iterator[None]:
    """Of two inputs one is read as a table too large to be read at once."""
    usual = table_file._WHOLE_FILE_BYTES
    if zlib.crc32(data) & 1:
        table_file._WHOLE_FILE_BYTES = FOOTER_BYTES
    try:
        yield
    finally:
        table_file._WHOLE_FILE_BYTES = usual


def silence() -> None:
    """Damaged files are logged, which would be most of the time here."""
    logging.getLogger("ckptmgr").setLevel(logging.CRITICAL)
