"""Building a SavedModel from the graph of a session, as TensorFlow 1's builder does.

`saved_model.pb` makes the directory a model, and is written last, under a temporary name: a crash
before leaves a directory that no loader takes for one. Variables and assets are synced by then.

Source: tensorflow/python/saved_model/builder_impl.py, simple_save.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool, text_format

from ckptmgr import arguments, errors, naming
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, SignatureDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.session import Session
from ckptmgr.saved_model import assets, constants
from ckptmgr.saved_model.directory import variables_prefix
from ckptmgr.saved_model.signatures import predict_signature_def, validate_signature_def_map
from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.posix import PosixStorage
from ckptmgr.storage.protocol import Storage


class SavedModelBuilder:
    """Builds one SavedModel: MetaGraphs with their tags, over one set of variables and assets.

    `add_meta_graph_and_variables` comes first and once, `add_meta_graph` any number of times, and
    then `save`. What stands in `assets.extra` is the user's: it is neither written nor read.

    Args:
        export_dir: A directory that does not exist, or is empty.
    Raises:
        InvalidExport: It holds something.
    """

    def __init__(
        self, export_dir: str | os.PathLike[str], *, storage: Storage | None = None
    ) -> None:
        self._storage = storage or PosixStorage()
        self._directory = arguments.path_text(export_dir)
        self._model = SavedModel(saved_model_schema_version=constants.SAVED_MODEL_SCHEMA_VERSION)
        self._has_variables = False
        self._copied: set[str] = set()
        if self._storage.stat(self._directory) is None:
            self._made = self._storage.make_dirs(self._directory)
        elif self._storage.list_dir(self._directory):
            raise errors.InvalidExport(
                f"Export directory {self._directory} already exists, and isn't empty. Please "
                f"choose a different export directory, or delete all the contents of the "
                f"specified directory."
            )
        else:
            self._made = []

    def add_meta_graph_and_variables(  # noqa: PLR0913, PLR0917 - TensorFlow's signature
        self,
        sess: Session,
        tags: Iterable[str],
        signature_def_map: Mapping[str, SignatureDef] | None = None,
        assets_collection: Sequence[Tensor] | None = None,
        legacy_init_op: Operation | None = None,
        clear_devices: bool = False,  # noqa: FBT001, FBT002 - TensorFlow's signature
        main_op: Operation | None = None,
        strip_default_attrs: bool = False,  # noqa: FBT001, FBT002 - TensorFlow's signature
        saver: Saver | None = None,
    ) -> None:
        """Add the graph of a session, and write its variables and assets.

        Args:
            tags: What the MetaGraph is for; a loader names all of them.
            assets_collection: Constants with the paths of files to copy.
            legacy_init_op: Another name for `main_op`.
            clear_devices: Leave out on which devices operations are.
            main_op: Run by a loader, once the variables are restored.
            strip_default_attrs: Leave out attributes that have their default.
            saver: Writes the variables, and is exported with the graph; by default one for all.
        Raises:
            InvalidExport: Variables were added already.
            SignatureError: A signature that no loader could follow.
        """
        if self._has_variables:
            raise errors.InvalidExport(
                "Graph state including variables and assets has already been saved. Please invoke "
                "`add_meta_graph()` instead."
            )
        signatures, tag_list = _checked(signature_def_map, tags)
        with sess.graph.as_default() as graph:
            self._add_assets(graph, assets_collection)
            _add_main_op(graph, legacy_init_op if main_op is None else main_op)
            self._storage.make_dirs(self._variables_directory)
            saver = saver or _default_saver()
            prefix = variables_prefix(self._directory)
            saver.write(sess, prefix)
            exported = saver.export_meta_graph(
                clear_devices=clear_devices, strip_default_attrs=strip_default_attrs
            )
        self._add(exported, tag_list, signatures)
        self._has_variables = True

    def add_meta_graph(  # noqa: PLR0913, PLR0917 - TensorFlow's signature
        self,
        tags: Iterable[str],
        signature_def_map: Mapping[str, SignatureDef] | None = None,
        assets_collection: Sequence[Tensor] | None = None,
        legacy_init_op: Operation | None = None,
        clear_devices: bool = False,  # noqa: FBT001, FBT002 - TensorFlow's signature
        main_op: Operation | None = None,
        strip_default_attrs: bool = False,  # noqa: FBT001, FBT002 - TensorFlow's signature
        saver: Saver | None = None,
    ) -> None:
        """Add the default graph, which uses the variables and assets that were written before.

        An asset of a name that was copied before is that one, whatever file the constant names.

        Raises:
            InvalidExport: No variables were added before.
            SignatureError: A signature that no loader could follow.
        """
        if not self._has_variables:
            raise errors.InvalidExport(
                "Graph state including variables and assets has not been saved yet. Please invoke "
                "`add_meta_graph_and_variables()` first."
            )
        signatures, tag_list = _checked(signature_def_map, tags)
        graph = get_default_graph()
        self._add_assets(graph, assets_collection)
        _add_main_op(graph, legacy_init_op if main_op is None else main_op)
        exported = (saver or _default_saver()).export_meta_graph(
            clear_devices=clear_devices, strip_default_attrs=strip_default_attrs
        )
        self._add(exported, tag_list, signatures)

    def save(self, as_text: bool = False) -> str:  # noqa: FBT001, FBT002 - TensorFlow's signature
        """Write what makes the directory a model, in one step, and return its path.

        Args:
            as_text: Write `saved_model.pbtxt`, which people can read, and which a loader passes
                over where there is a `saved_model.pb`.
        """
        storage = self._storage
        self._made += storage.make_dirs(self._directory)
        if storage.stat(self._variables_directory) is not None:
            # Before the model is there: the name of its file may become stable before theirs do.
            for name in storage.list_dir(self._variables_directory):
                storage.sync_file(os.path.join(self._variables_directory, name))
            storage.sync_dir(self._variables_directory)
        storage.sync_dir(self._directory)
        name = (
            constants.SAVED_MODEL_FILENAME_PBTXT if as_text else constants.SAVED_MODEL_FILENAME_PB
        )
        path = os.path.join(self._directory, name)
        temporary = naming.temporary(path, naming.new_token())
        replace_file(storage, path, self._content(as_text), temporary=temporary, durable=True)
        for directory in self._made:
            # The directory's own name, and those of its parents that were made for it.
            storage.sync_dir(os.path.dirname(directory) or ".")
        return path

    @property
    def _variables_directory(self) -> str:
        return os.path.dirname(variables_prefix(self._directory))

    def _content(self, as_text: bool) -> bytes:  # noqa: FBT001 - as `save`
        if not as_text:
            return self._model.SerializeToString(deterministic=True)
        # A pool that knows no message: what an Any holds stays as it is, as TensorFlow writes it.
        pool = descriptor_pool.DescriptorPool()
        return text_format.MessageToString(self._model, descriptor_pool=pool).encode()

    def _add_assets(self, graph: Graph, collection: Sequence[Tensor] | None) -> None:
        listed, sources = assets.name_assets(self._storage, collection or ())
        new = {name: path for name, path in sources.items() if name not in self._copied}
        if new:
            directory = os.path.join(self._directory, constants.ASSETS_DIRECTORY)
            assets.copy_assets(self._storage, new, directory)
            self._copied.update(new)
        for asset in listed:
            graph.add_to_collection(constants.ASSETS_KEY, assets.packed(asset))

    def _add(
        self, exported: MetaGraphDef, tags: Iterable[str], signatures: Mapping[str, SignatureDef]
    ) -> None:
        added = self._model.meta_graphs.add()
        added.CopyFrom(exported)
        added.meta_info_def.tags.extend(tags)
        for key, signature in signatures.items():
            added.signature_def[key].CopyFrom(signature)


def simple_save(
    session: Session,
    export_dir: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    legacy_init_op: Operation | None = None,
) -> None:
    """Write a model to be served: one MetaGraph with the tag "serve" and one signature.

    Args:
        inputs: The tensors that are fed, by the names that callers use.
        outputs: The tensors that are fetched.
        legacy_init_op: Run by a loader, once the variables are restored.
    """
    signatures = {
        constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: predict_signature_def(inputs, outputs)
    }
    builder = SavedModelBuilder(export_dir)
    builder.add_meta_graph_and_variables(
        session,
        [constants.SERVING],
        signatures,
        session.graph.get_collection(GraphKeys.ASSET_FILEPATHS),
        main_op=legacy_init_op,
        clear_devices=True,
    )
    builder.save()


# --------------------------------------------------------------------------- below


def _checked(
    signature_def_map: Mapping[str, SignatureDef] | None, tags: Iterable[str]
) -> tuple[Mapping[str, SignatureDef], list[str]]:
    signatures = signature_def_map or {}
    validate_signature_def_map(signatures)
    if isinstance(tags, str):
        # Its letters would each become a tag.
        raise errors.InvalidArgument(f"tags must be a list of strings, found {tags!r}")
    return signatures, list(tags)


def _default_saver() -> Saver:
    return Saver(sharded=True, allow_empty=True)


def _add_main_op(graph: Graph, main_op: Operation | None) -> None:
    if main_op is None:
        return
    if not isinstance(main_op, Operation):
        raise errors.GraphTypeError(
            f"Expected {main_op} to be an Operation but got type {type(main_op)} instead."
        )
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if graph.get_collection(key):
            raise errors.GraphError(
                f"Graph already contains one or more main ops under the collection {key}."
            )
    graph.add_to_collection(constants.MAIN_OP_KEY, main_op)
