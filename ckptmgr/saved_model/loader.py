"""Loading a SavedModel into a session, as TensorFlow 1's loader does.

One MetaGraph is imported, the variables are restored, and the model's init operation is run with
the paths of its assets fed. Nothing else of the model is run, and what runs may read the model's
own assets and no other file.

Source: tensorflow/python/saved_model/loader_impl.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ckptmgr import arguments, errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import import_meta_graph
from ckptmgr.graph.session import Session
from ckptmgr.saved_model import constants
from ckptmgr.saved_model.directory import (
    asset_files,
    asset_path,
    find_meta_graph,
    read_saved_model,
    variables_prefix,
)
from ckptmgr.saved_model.signatures import get_element_from_tensor_info


def load(
    sess: Session,
    tags: Iterable[str],
    export_dir: str | os.PathLike[str],
    import_scope: str | None = None,
    **saver_kwargs: Any,
) -> MetaGraphDef:
    """Load the MetaGraph with exactly these tags into a session, and return its message.

    Args:
        import_scope: What the names of its operations shall begin with.
        saver_kwargs: For `import_meta_graph`: `clear_devices`, `input_map`, `return_elements`.
    Raises:
        SavedModelNotFound: The directory has no model.
        TagsNotFound: With the tags that there are.
        MalformedGraph, InvalidGraph: The model describes no graph, or assets outside of its folder.
        OpRefused: Its init operation would touch files that are not the model's.
    """
    return SavedModelLoader(export_dir).load(sess, tags, import_scope, **saver_kwargs)


class SavedModelLoader:
    """The steps of `load`, one by one."""

    def __init__(self, export_dir: str | os.PathLike[str]) -> None:
        self._directory = arguments.path_text(export_dir)
        self._saved_model = read_saved_model(self._directory)

    @property
    def export_dir(self) -> str:
        return self._directory

    @property
    def variables_path(self) -> str:
        return variables_prefix(self._directory)

    @property
    def saved_model(self) -> SavedModel:
        return self._saved_model

    def get_meta_graph_def_from_tags(self, tags: Iterable[str]) -> MetaGraphDef:
        return find_meta_graph(self._saved_model, tags)

    def load_graph(
        self,
        graph: Graph,
        tags: Iterable[str],
        import_scope: str | None = None,
        **saver_kwargs: Any,
    ) -> Saver | None:
        """Add the MetaGraph to a graph; returns its saver, None if it has no variables."""
        with graph.as_default():
            return import_meta_graph(
                self.get_meta_graph_def_from_tags(tags), import_scope=import_scope, **saver_kwargs
            )

    def restore_variables(self, sess: Session, saver: Saver | None) -> None:
        """Restore the model's variables, if it has any."""
        if saver is not None:
            with sess.graph.as_default():
                saver.restore(sess, self.variables_path)

    def run_init_ops(
        self, sess: Session, tags: Iterable[str], import_scope: str | None = None
    ) -> None:
        """Run what sets the model up, such as the filling of its tables."""
        meta_graph = self.get_meta_graph_def_from_tags(tags)
        with sess.graph.as_default():
            paths = asset_feeds(self._directory, meta_graph, import_scope)
            init_op = find_init_op(sess.graph, meta_graph, import_scope)
            if init_op is not None:
                # It may read its assets, and no more: the model has chosen their names.
                assets = os.path.join(self._directory, constants.ASSETS_DIRECTORY)
                sess.state.policy.open_for_reading(assets)
                sess.run_with_brought([init_op], None, paths)

    def load(
        self,
        sess: Session,
        tags: Iterable[str],
        import_scope: str | None = None,
        **saver_kwargs: Any,
    ) -> MetaGraphDef:
        wanted = list(tags)
        saver = self.load_graph(sess.graph, wanted, import_scope, **saver_kwargs)
        self.restore_variables(sess, saver)
        self.run_init_ops(sess, wanted, import_scope)
        return self.get_meta_graph_def_from_tags(wanted)


# --------------------------------------------------------------------------- what is run and fed


def asset_feeds(
    directory: str, meta_graph: MetaGraphDef, import_scope: str | None = None
) -> dict[str, bytes]:
    """The path of each asset by the name of the tensor that is to hold it.

    Raises:
        MalformedGraph: One lies outside of the model's folder.
    """
    prefix = f"{import_scope.rstrip('/')}/" if import_scope else ""
    return {
        prefix + asset.tensor_info.name: os.fsencode(asset_path(directory, asset.filename))
        for asset in asset_files(meta_graph)
    }


def find_init_op(
    graph: Graph, meta_graph: MetaGraphDef, import_scope: str | None = None
) -> Tensor | Operation | None:
    """What a loader runs once the variables are restored; None if there is nothing.

    Raises:
        GraphError: A collection has another number of them than one.
        NodeNotFound: The graph does not have it.
    """
    if constants.INIT_OP_SIGNATURE_KEY in meta_graph.signature_def:
        return _from_signature(graph, meta_graph, constants.INIT_OP_SIGNATURE_KEY, import_scope)
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        found = _from_collection(graph, meta_graph, key, import_scope)
        if found is not None:
            return found
    return None


def find_train_op(
    graph: Graph, meta_graph: MetaGraphDef, import_scope: str | None = None
) -> Tensor | Operation | None:
    """What trains the model; None if there is nothing. No loader runs it."""
    if constants.TRAIN_OP_SIGNATURE_KEY in meta_graph.signature_def:
        return _from_signature(graph, meta_graph, constants.TRAIN_OP_SIGNATURE_KEY, import_scope)
    return _from_collection(graph, meta_graph, constants.TRAIN_OP_KEY, import_scope)


def _from_signature(
    graph: Graph, meta_graph: MetaGraphDef, key: str, import_scope: str | None
) -> Tensor | Operation:
    outputs = meta_graph.signature_def[key].outputs
    if key not in outputs:
        raise errors.SignatureError(f"signature {key!r} has no output {key!r}")
    return get_element_from_tensor_info(outputs[key], graph, import_scope)


def _from_collection(
    graph: Graph, meta_graph: MetaGraphDef, key: str, import_scope: str | None
) -> Tensor | Operation | None:
    if key not in meta_graph.collection_def:
        return None
    names = meta_graph.collection_def[key].node_list.value
    if len(names) != 1:
        raise errors.InvalidInitOp(
            f"Expected exactly one SavedModel init op. Found {len(names)}: {list(names)}."
        )
    prefix = f"{import_scope.rstrip('/')}/" if import_scope else ""
    return graph.as_graph_element(prefix + names[0])
