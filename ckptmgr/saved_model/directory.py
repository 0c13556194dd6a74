"""The directory of a SavedModel, and the message that describes the model.

    saved_model.pb               the SavedModel message; it wins over
    saved_model.pbtxt            the same as text
    variables/variables.*        a checkpoint
    assets/<filename>            files that the graph reads
    assets.extra/                files that it does not

What these files say is not to be trusted: the message is bounded and parsed whole or refused, and
the name of an asset cannot lead out of the directory.

Source: tensorflow/python/saved_model/loader_impl.py.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from typing import cast

from google.protobuf import descriptor_pool, text_format
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from ckptmgr import arguments, errors
from ckptmgr._proto.meta_graph_pb2 import AssetFileDef, MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph.message_files import read_message_bytes
from ckptmgr.saved_model import constants
from ckptmgr.storage.posix import PosixStorage
from ckptmgr.storage.protocol import Storage

# The package of TensorFlow's messages as a file has it, and as ours are registered.
_PACKAGE = "tensorflow."
_OUR_PACKAGE = "ckptmgr.tensorflow."


def contains_saved_model(
    directory: str | os.PathLike[str], *, storage: Storage | None = None
) -> bool:
    """Whether the directory has a file that `read_saved_model` would read."""
    return _model_file(storage or PosixStorage(), arguments.path_text(directory)) is not None


def read_saved_model(
    directory: str | os.PathLike[str], *, storage: Storage | None = None
) -> SavedModel:
    """The SavedModel message of a directory. Nothing of it is run.

    Raises:
        SavedModelNotFound: There is none.
        MalformedGraph: It does not parse.
    """
    storage = storage or PosixStorage()
    folder = arguments.path_text(directory)
    path = _model_file(storage, folder)
    if path is None:
        raise errors.SavedModelNotFound(_why_not_found(storage, folder))
    data = read_message_bytes(storage, path)
    try:
        return decode_text(data) if path.endswith(".pbtxt") else decode_binary(data)
    except errors.MalformedGraph as error:
        raise error.located(path=path) from None


def decode_binary(data: bytes) -> SavedModel:
    """The message in the content of a `saved_model.pb`.

    Raises:
        MalformedGraph: It is none.
    """
    try:
        return SavedModel.FromString(data)
    except DecodeError as error:
        raise errors.MalformedGraph(f"cannot parse as a binary SavedModel: {error}") from None


def decode_text(data: bytes) -> SavedModel:
    """The message in the content of a `saved_model.pbtxt`.

    Raises:
        MalformedGraph: It is none.
    """
    model = SavedModel()
    try:
        # All that is asked of the pool is to find messages by name.
        pool = cast(descriptor_pool.DescriptorPool, _AnyTypes())
        text_format.Merge(data.decode(), model, descriptor_pool=pool)
        _rename_any_types(model)
        # The binary parser limits how deep messages nest, the one for text only by Python's stack.
        return SavedModel.FromString(model.SerializeToString(deterministic=True))
    except (text_format.ParseError, ValueError, DecodeError) as error:  # also of numbers
        raise errors.MalformedGraph(f"cannot parse as a text SavedModel: {error!s:.200}") from None
    except RecursionError:
        raise errors.MalformedGraph(
            "cannot parse as a text SavedModel: messages nest too deep"
        ) from None


# --------------------------------------------------------------------------- MetaGraphs


def meta_graph_with_tags(saved_model: SavedModel, tags: Iterable[str]) -> MetaGraphDef | None:
    """The first MetaGraph with exactly these tags, in any order; None if there is none."""
    wanted = set(tags)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    return None


def find_meta_graph(saved_model: SavedModel, tags: Iterable[str]) -> MetaGraphDef:
    """The first MetaGraph with exactly these tags, in any order.

    Raises:
        TagsNotFound: In TensorFlow's words, with the tags that there are.
    """
    wanted = list(tags)
    found = meta_graph_with_tags(saved_model, wanted)
    if found is not None:
        return found
    # As Python writes a set; its own order would change from one process to the next.
    sets = [sorted(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs]
    available = ", ".join("{" + ", ".join(map(repr, tags)) + "}" for tags in sets)
    raise errors.TagsNotFound(
        f"MetaGraphDef associated with tags {', '.join(map(repr, wanted))} could not be found in "
        f"SavedModel, with available tags '[{available}]'. To inspect available tag-sets in the "
        f"SavedModel, please use the SavedModel CLI: `ckptmgr saved-model show`."
    )


# --------------------------------------------------------------------------- the other files


def variables_prefix(directory: str) -> str:
    """The prefix of the checkpoint with a SavedModel's variables."""
    return os.path.join(directory, constants.VARIABLES_DIRECTORY, constants.VARIABLES_FILENAME)


def asset_files(meta_graph: MetaGraphDef) -> list[AssetFileDef]:
    """Which tensors of a MetaGraph are to hold the paths of which assets.

    Raises:
        MalformedGraph: The collection that lists them does not parse.
    """
    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    if constants.ASSETS_KEY not in meta_graph.collection_def:
        return []
    listed = meta_graph.collection_def[constants.ASSETS_KEY].any_list.value
    try:
        return [AssetFileDef.FromString(item.value) for item in listed]
    except DecodeError as error:
        raise errors.MalformedGraph(
            f"collection {constants.ASSETS_KEY} holds no assets: {error}"
        ) from None


def asset_path(directory: str, filename: str) -> str:
    """The path of an asset by the name that a MetaGraph has for it.

    Raises:
        MalformedGraph: It would lie outside of the directory's assets.
    """
    parts = filename.split("/")
    if not filename or "\0" in filename or not {"", ".", ".."}.isdisjoint(parts):
        raise errors.MalformedGraph(
            "the name of an asset leads out of the model's folder",
            path=directory,
            expected=f"a file in {constants.ASSETS_DIRECTORY}/",
            found=repr(filename),
        )
    return os.path.join(directory, constants.ASSETS_DIRECTORY, *parts)


# --------------------------------------------------------------------------- below


def _model_file(storage: Storage, directory: str) -> str | None:
    for name in (constants.SAVED_MODEL_FILENAME_PB, constants.SAVED_MODEL_FILENAME_PBTXT):
        path = os.path.join(directory, name)
        if storage.stat(path) is not None:
            return path
    return None


def _why_not_found(storage: Storage, directory: str) -> str:
    problem = (
        f"SavedModel file does not exist at: {directory}/"
        f"{{{constants.SAVED_MODEL_FILENAME_PBTXT}|{constants.SAVED_MODEL_FILENAME_PB}}}"
    )
    if storage.stat(os.path.join(directory, constants.SAVED_MODEL_FILENAME_CPB)) is not None:
        return f"{problem}; {constants.SAVED_MODEL_FILENAME_CPB}, a model in chunks, is not read"
    return problem


class _AnyTypes:
    """Finds the message that an `Any` names, as TensorFlow 1 wrote them out in text."""

    def FindMessageTypeByName(self, full_name: str) -> Descriptor:  # noqa: N802 - protobuf's name
        pool = descriptor_pool.Default()
        return pool.FindMessageTypeByName(f"{_OUR_PACKAGE}{full_name.removeprefix(_PACKAGE)}")


def _rename_any_types(model: SavedModel) -> None:
    """Give what was packed while parsing text the name that TensorFlow knows it by."""
    for meta_graph in model.meta_graphs:
        packed: list[Any] = [meta_graph.meta_info_def.any_info]
        for collection in meta_graph.collection_def.values():
            packed += collection.any_list.value
        for item in packed:
            prefix, name = posixpath.split(item.type_url)
            if name.startswith(_OUR_PACKAGE):
                item.type_url = f"{prefix}/{_PACKAGE}{name.removeprefix(_OUR_PACKAGE)}"
