"""Saving and restoring tensors: what a Saver's operations do.

Nothing is written in place: a checkpoint is complete on disk before it exists, and durable before
the operation has run, unless the session was told otherwise. In a directory that other writers of
this package use, it is published under the directory's lock.

TensorFlow saves in shards under temporary names, `<prefix>_temp/part-00000-of-00002` or
`<prefix>_temp_<token>/part-...`, and merges them in the same run. Here such shards are only noted,
and written once, where they will stay. Those that nothing has merged when the run ends are written
under the names that they were given.

Source: tensorflow/core/kernels/save_restore_v2_ops.cc, tensorflow/core/kernels/save_op.cc,
tensorflow/core/kernels/save_restore_tensor.cc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle import v1_writer, writer
from ckptmgr.bundle.arrays import Array
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor, Partition
from ckptmgr.bundle.reader import BundleReader
from ckptmgr.formats import dtypes
from ckptmgr.formats.tensor_slice import parse_slice_spec, resolve_slice
from ckptmgr.graph.kernels.arguments import integer
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, kernel, stateful_kernel
from ckptmgr.lifecycle.run_directory import RunDirectory

_TO_BE_MERGED = re.compile(
    r".+(_temp(_[0-9a-f]{32})?/part|\.part)(-\d{5}-of-\d{5})?", re.ASCII | re.DOTALL
)


# --------------------------------------------------------------------------- V2


@stateful_kernel("SaveV2")
def save(
    context: KernelContext,
    node: KernelNode,
    prefix: Array,
    tensor_names: Array,
    shape_and_slices: Array,
    *tensors: Array,
) -> tuple[()]:
    path = _path(context, node, prefix, "prefix", writes=True)
    named = _named_tensors(tensor_names, shape_and_slices, tensors)
    if _TO_BE_MERGED.fullmatch(path):
        if not context.run.unmerged:
            context.run.at_end.append(lambda: _write_unmerged(context))
        context.run.unmerged[path] = named
    else:
        _write_bundle(context, path, [named])
    return ()


@stateful_kernel("MergeV2Checkpoints")
def merge(
    context: KernelContext, node: KernelNode, checkpoint_prefixes: Array, destination: Array
) -> tuple[()]:
    """Directories of checkpoints that are merged from the disk stay, though without their files."""
    path = _path(context, node, destination, "destination_prefix", writes=True)
    sources = _texts(checkpoint_prefixes)
    shards: list[list[NamedTensor]] = []
    on_disk: list[str] = []
    for source in sources:
        if source in context.run.unmerged:
            shards.append(context.run.unmerged[source])
            continue
        context.check_path(node, source, writes=bool(node.attr("delete_old_dirs")))
        if node.attr("allow_missing_files") and not _exists(context, source):
            continue
        on_disk.append(source)
        shards.append(_stored_tensors(context, source))
    # An index that counts a shard without a file could not be read by TensorFlow.
    filled = [shard for shard in shards if shard] or [[]]
    _write_bundle(context, path, filled)
    for source in sources:
        context.run.unmerged.pop(source, None)
    if node.attr("delete_old_dirs"):
        for source in on_disk:
            if source != path:
                _remove_bundle(context, source)
    return ()


@stateful_kernel("RestoreV2")
def restore(
    context: KernelContext,
    node: KernelNode,
    prefix: Array,
    tensor_names: Array,
    shape_and_slices: Array,
) -> tuple[Array, ...]:
    path = _path(context, node, prefix, "prefix", writes=False)
    names, specs = _texts(tensor_names), _texts(shape_and_slices)
    _check_counts(len(node.attr("dtypes")), names, specs)
    with _open(context, path) as reader:
        for name, dtype in zip(names, node.attr("dtypes"), strict=True):
            _check_dtype(reader, name, dtype)
        whole = [name for name, spec in zip(names, specs, strict=True) if not spec]
        values = reader.get_tensors(whole)
        return tuple(
            _as_array(_slice(reader, name, spec) if spec else values[name])
            for name, spec in zip(names, specs, strict=True)
        )


@kernel("ShardedFilename")
def sharded_filename(node: KernelNode, basename: Array, shard: Array, num_shards: Array) -> Array:
    number, count = integer(shard, "shard"), integer(num_shards, "num_shards")
    return _text(basename.item() + f"-{number:05d}-of-{count:05d}".encode())


@kernel("ShardedFilespec")
def sharded_filespec(node: KernelNode, basename: Array, num_shards: Array) -> Array:
    return _text(basename.item() + f"-?????-of-{integer(num_shards, 'num_shards'):05d}".encode())


# --------------------------------------------------------------------------- V1


@stateful_kernel("Save")
def save_v1(
    context: KernelContext, node: KernelNode, filename: Array, tensor_names: Array, *data: Array
) -> tuple[()]:
    path = _path(context, node, filename, "filename", writes=True)
    whole = np.full(len(data), b"", object)
    _write_v1(context, path, _named_tensors(tensor_names, whole, data))
    return ()


@stateful_kernel("SaveSlices")
def save_slices_v1(
    context: KernelContext,
    node: KernelNode,
    filename: Array,
    tensor_names: Array,
    shapes_and_slices: Array,
    *data: Array,
) -> tuple[()]:
    path = _path(context, node, filename, "filename", writes=True)
    _write_v1(context, path, _named_tensors(tensor_names, shapes_and_slices, data))
    return ()


@stateful_kernel("Restore")
def restore_v1(
    context: KernelContext, node: KernelNode, file_pattern: Array, tensor_name: Array
) -> Array:
    return _restored(context, node, file_pattern, tensor_name, "")


@stateful_kernel("RestoreSlice")
def restore_slice_v1(
    context: KernelContext,
    node: KernelNode,
    file_pattern: Array,
    tensor_name: Array,
    shape_and_slice: Array,
) -> Array:
    spec = shape_and_slice.item().decode("utf-8", "replace")
    return _restored(context, node, file_pattern, tensor_name, spec)


def _restored(
    context: KernelContext, node: KernelNode, file_pattern: Array, tensor_name: Array, spec: str
) -> Array:
    path = _path(context, node, file_pattern, "file_pattern", writes=False)
    name = _scalar(tensor_name, "tensor_name")
    with _open(context, path) as reader:
        _check_dtype(reader, name, node.attr("dt"))
        return _as_array(_slice(reader, name, spec) if spec else reader.get_tensor(name))


# --------------------------------------------------------------------------- arguments


def _path(
    context: KernelContext, node: KernelNode, value: Array, what: str, *, writes: bool
) -> str:
    path = arguments.path_text(_scalar(value, what))
    context.check_path(node, path, writes=writes)
    return path


def _scalar(value: Array, what: str) -> str:
    if value.size != 1:
        raise errors.InvalidArgument(f"{what} must be a scalar, got shape {list(value.shape)}")
    return _texts(value)[0]


def _texts(value: Array) -> list[str]:
    return [item.decode("utf-8", "surrogateescape") for item in value.reshape(-1).tolist()]


def _text(value: bytes) -> Array:
    return np.array(value, object)


def _as_array(value: Any) -> Array:
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _check_counts(count: int, names: Sequence[str], specs: Sequence[str]) -> None:
    if not len(names) == len(specs) == count:
        raise errors.InvalidArgument(
            f"there must be as many names as slices and tensors, got {len(names)} names, "
            f"{len(specs)} slices and {count} tensors"
        )


def _named_tensors(
    tensor_names: Array, shape_and_slices: Array, tensors: Sequence[Array]
) -> list[NamedTensor]:
    names, specs = _texts(tensor_names), _texts(shape_and_slices)
    _check_counts(len(tensors), names, specs)
    return [
        NamedTensor(name, tensor, _partition(name, tensor, spec))
        for name, tensor, spec in zip(names, tensors, specs, strict=True)
    ]


def _partition(name: str, tensor: Array, spec: str) -> Partition | None:
    parsed = parse_slice_spec(spec)
    if parsed is None:
        return None
    full_shape, part = parsed
    region = resolve_slice(part, full_shape)
    if region.lengths != tensor.shape:
        raise errors.InvalidArgument(
            f"Slice in shape_and_slice specification {spec!r} does not match the shape of the "
            f"tensor to save: {name!r}, {list(tensor.shape)}"
        )
    return Partition(full_shape, region.starts)


# --------------------------------------------------------------------------- reading


def _open(context: KernelContext, path: str) -> CheckpointReader:
    try:
        return CheckpointReader(path, storage=context.storage)
    except errors.CheckpointNotFound as error:
        raise errors.CheckpointNotFound(
            f"Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
            f"{path}: {error}"
        ) from None


def _check_dtype(reader: CheckpointReader, name: str, wanted: int) -> None:
    found = reader.entry(name).dtype
    if found != wanted:
        raise errors.DtypeMismatch(
            f"tensor_name = {name}; expected dtype {dtypes.name(wanted)} does not equal original "
            f"dtype {dtypes.name(found)}"
        )


def _slice(reader: CheckpointReader, name: str, spec: str) -> Any:
    parsed = parse_slice_spec(spec)
    assert parsed is not None
    full_shape, part = parsed
    stored = reader.entry(name).shape
    if stored != full_shape:
        raise errors.ShapeMismatch(
            f"tensor_name = {name}; shape in shape_and_slice spec {list(full_shape)} does not "
            f"match the shape stored in checkpoint: {list(stored)}"
        )
    return reader.get_slice(name, part)


def _exists(context: KernelContext, prefix: str) -> bool:
    return context.storage.stat(naming.index_file(prefix)) is not None


def _stored_tensors(context: KernelContext, prefix: str) -> list[NamedTensor]:
    """Everything in a bundle, its slices as they are stored."""
    named = []
    with BundleReader(context.storage, prefix) as reader:
        for name, entry in reader.entries().items():
            if not entry.slices:
                named.append(NamedTensor(name, reader.read(name)))
                continue
            for part in entry.slices:
                region = resolve_slice(part, entry.shape)
                partition = Partition(entry.shape, region.starts)
                named.append(NamedTensor(name, reader.read_slice(name, part), partition))
    return named


# --------------------------------------------------------------------------- writing


def _write_unmerged(context: KernelContext) -> None:
    for path, tensors in context.run.unmerged.items():
        _write_bundle(context, path, [tensors])


def _write_bundle(context: KernelContext, prefix: str, shards: list[list[NamedTensor]]) -> None:
    naming.validate_prefix(prefix)
    with _saving(context, prefix) as (directory, options):
        staged = writer.stage(context.storage, prefix, shards, options)
        _publish(staged, directory, prefix)


def _write_v1(context: KernelContext, path: str, tensors: list[NamedTensor]) -> None:
    naming.validate_prefix(path)
    with _saving(context, path) as (directory, options):
        staged = v1_writer.stage_v1(context.storage, path, [tensors], options)
        _publish(staged, directory, path)


@contextmanager
def _saving(
    context: KernelContext, prefix: str
) -> Iterator[tuple[RunDirectory | None, writer.WriteOptions]]:
    """The directory, where others of this package write to it, and how to write there.

    As in TensorFlow, the directory is made if only its last part is missing.
    """
    path = naming.directory_of(prefix)
    storage = context.storage
    if storage.stat(path) is None and storage.stat(naming.directory_of(path)) is not None:
        storage.make_dirs(path)
        if context.state.durable:
            storage.sync_dir(naming.directory_of(path))
    if storage.stat(naming.internal_directory(path)) is None:
        yield None, writer.WriteOptions(naming.new_token(), context.state.durable)
        return
    directory = context.state.writers.directory(path)
    with directory.saving():
        if not directory.is_registered:
            with directory.locked():
                directory.register_writer()
        yield directory, writer.WriteOptions(directory.token, context.state.durable)


def _publish(
    staged: writer.StagedBundle | v1_writer.StagedV1, directory: RunDirectory | None, prefix: str
) -> None:
    try:
        if directory is None:
            staged.publish()
            return
        with directory.locked():
            if directory.storage.stat(naming.index_file(prefix)) is not None:
                directory.replaced.add(naming.base_of(prefix))
            staged.publish()
    except BaseException:
        staged.discard()
        raise


def _remove_bundle(context: KernelContext, prefix: str) -> None:
    directory = naming.directory_of(prefix)
    names = naming.shards_of(naming.base_of(prefix), context.storage.list_dir(directory))
    files = [naming.index_file(prefix), *(naming.in_directory_of(prefix, name) for name in names)]
    for path in files:
        with suppress(errors.StorageError):
            context.storage.unlink(path)
