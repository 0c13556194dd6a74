"""Assets: files that a graph reads, and that travel with the model.

The graph holds each path as a constant. A model has the files under their bare names, and lists
which constant is to be fed the path of which one when the model is loaded. Two files of one name
share it if they hold the same; otherwise the later one is called `name_1`, and so on.

Source: tensorflow/python/saved_model/builder_impl.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress

from google.protobuf.any_pb2 import Any

from ckptmgr import errors, naming
from ckptmgr._proto.meta_graph_pb2 import AssetFileDef, TensorInfo
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.operation import Tensor
from ckptmgr.storage.protocol import ReadableFile, Storage

# How much of a file is compared and copied at a time.
_CHUNK_BYTES = 4 * 2**20
# The message that a collection of assets holds is wrapped in an Any, under TensorFlow's name.
_ASSET_TYPE_URL = "type.googleapis.com/tensorflow.AssetFileDef"


def name_assets(
    storage: Storage, tensors: Iterable[Tensor]
) -> tuple[list[AssetFileDef], dict[str, str]]:
    """What a model says of its assets, and which file is copied under which name.

    Args:
        tensors: Scalar string constants, each the path of a file.
    Raises:
        GraphTypeError: A tensor is none.
        FileMissing: A file is not there.
    """
    listed: list[AssetFileDef] = []
    sources: dict[str, str] = {}
    for tensor in tensors:
        path = asset_path_of(tensor)
        name = _name_of(storage, path, sources)
        sources[name] = path
        listed.append(AssetFileDef(filename=name, tensor_info=TensorInfo(name=tensor.name)))
    return listed, sources


def packed(asset: AssetFileDef) -> Any:
    """An asset as the collection of a graph holds it."""
    return Any(type_url=_ASSET_TYPE_URL, value=asset.SerializeToString(deterministic=True))


def asset_path_of(tensor: Tensor) -> str:
    """The path that a constant holds.

    Raises:
        GraphTypeError: It is not a string constant of one element.
        GraphError: The path is empty, or names no file.
    """
    if not isinstance(tensor, Tensor):
        raise errors.GraphTypeError(f"Asset path tensor {tensor!r:.200} must be a Tensor.")
    if tensor.op.type != "Const":
        raise errors.GraphTypeError(
            f"Asset path tensor {tensor} must be of type constant. Has type {tensor.op.type} "
            f"instead."
        )
    if tensor.data_type != DataType.DT_STRING:
        raise errors.GraphTypeError(
            f"Asset path tensor {tensor} must be of dtype string. Has type {tensor.dtype} instead."
        )
    value = tensor.op.get_attr("value")
    if value.size != 1:
        raise errors.GraphTypeError(f"Asset path tensor {tensor} must be a scalar.")
    path = os.fsdecode(value.reshape(-1)[0])
    if not os.path.basename(path):
        raise errors.GraphError(f"Asset filepath tensor {tensor} is invalid: {path!r} is no file")
    return path


def copy_assets(storage: Storage, sources: Mapping[str, str], directory: str) -> None:
    """Copy files into a directory under the names that `sources` has them by, durably."""
    storage.make_dirs(directory)
    for name, source in sources.items():
        target = os.path.join(directory, name)
        if os.path.abspath(source) != os.path.abspath(target):
            _copy(storage, source, target)
    storage.sync_dir(directory)


def _name_of(storage: Storage, path: str, sources: Mapping[str, str]) -> str:
    base = os.path.basename(path)
    if base not in sources or sources[base] == path or _are_same(storage, path, sources[base]):
        return base
    number = 1
    while f"{base}_{number}" in sources:
        number += 1
    return f"{base}_{number}"


def _are_same(storage: Storage, first: str, second: str) -> bool:
    with closing(storage.open(first)) as one, closing(storage.open(second)) as other:
        return one.size_bytes == other.size_bytes and all(
            one.read(offset, _CHUNK_BYTES) == other.read(offset, _CHUNK_BYTES)
            for offset in range(0, one.size_bytes, _CHUNK_BYTES)
        )


def _copy(storage: Storage, source: str, target: str) -> None:
    temporary = naming.temporary(target, naming.new_token())
    with closing(storage.open(source)) as read:
        written = storage.create(temporary)
        try:
            for offset in range(0, read.size_bytes, _CHUNK_BYTES):
                written.write([_chunk(read, offset)], offset)
            # Before the rename: the name may become stable before the content does.
            written.sync()
            written.close()
            storage.rename(temporary, target)
        except BaseException:
            with suppress(errors.StorageError):
                written.close()
            with suppress(errors.StorageError):
                storage.unlink(temporary)
            raise


def _chunk(file: ReadableFile, offset: int) -> bytes:
    wanted = min(_CHUNK_BYTES, file.size_bytes - offset)
    chunk = file.read(offset, wanted)
    if len(chunk) != wanted:
        raise errors.InvalidExport(f"{file.path} was cut short while it was copied")
    return chunk
