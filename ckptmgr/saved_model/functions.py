"""Models as Python objects: `load(dir).signatures["serving_default"](x=...)`.

A model of TensorFlow 1 is a graph: it is loaded into a session, and a signature is one run of it. A
model of TensorFlow 2 is a graph of objects: variables are restored, tables are made and filled, and
a signature, like any other function of the objects, is one call. Loading runs what TensorFlow's
loader runs to set a model up, and nothing else; all state is in memory and in no other model.

Source: tensorflow/python/saved_model/load.py, load_v1_in_v2.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ckptmgr import arguments, errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.session import Session
from ckptmgr.saved_model import loader
from ckptmgr.saved_model.directory import find_meta_graph, read_saved_model
from ckptmgr.saved_model.objects import LoadedFunction, LoadedModel
from ckptmgr.saved_model.signature_call import RESERVED_KEYS, Signature, Signatures
from ckptmgr.saved_model.signatures import SparseTensor, get_tensor_from_tensor_info


class LoadedGraph:
    """A model of TensorFlow 1: its graph in a session.

    Attributes:
        signatures: By their keys.
        functions: None: only a model of TensorFlow 2 has some.
        session: Where the model is loaded; `session.graph` is its graph.
    """

    def __init__(self, session: Session, meta_graph: MetaGraphDef) -> None:
        self.session = session
        self.graph = session.graph
        self.tensorflow_version = meta_graph.meta_info_def.tensorflow_version
        self.signatures = Signatures(
            (key, self._signature(key, definition))
            for key, definition in sorted(meta_graph.signature_def.items())
            if key not in RESERVED_KEYS
        )

        self.functions: Mapping[str, LoadedFunction] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"the model has no {name!r}: it is a graph of TensorFlow 1, which has signatures only"
        )

    def _signature(self, key: str, definition: SignatureDef) -> Signature:
        def found(infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
            return {name: self._tensor(key, name, info) for name, info in infos.items()}

        inputs, outputs = found(definition.inputs), found(definition.outputs)

        def run(values: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
            passed = {name: tensor for name, tensor in inputs.items() if name in given}
            defaults = {name: tensor for name, tensor in inputs.items() if name not in given}
            result: dict[str, Any] = self.session.run_with_brought(
                outputs, dict(_feeds(passed, values)), dict(_feeds(defaults, values))
            )
            return result

        return Signature(key, definition, run)

    def _tensor(self, key: str, name: str, info: TensorInfo) -> Any:
        try:
            return get_tensor_from_tensor_info(info, self.graph)
        except errors.GraphError as error:
            raise type(error)(f"signature {key!r}, {name!r}: {error}") from None


def _feeds(inputs: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for name, tensor in inputs.items():
        if isinstance(tensor, SparseTensor):
            yield from zip(tensor, values[name], strict=True)
        else:
            yield tensor, values[name]


def load(
    export_dir: str | os.PathLike[str],
    tags: str | Iterable[str] | None = None,
    *,
    allow_ops: Iterable[str] = (),
) -> LoadedGraph | LoadedModel:
    """Load a SavedModel: a `LoadedGraph`, or a `LoadedModel` if TensorFlow 2 wrote it.

    Args:
        tags: Those of the MetaGraph to load; needed only where there are several.
        allow_ops: Types of operations that may touch files or processes of this machine.
    Raises:
        SavedModelNotFound: The directory has no model.
        TagsNotFound: No MetaGraph has these tags.
        InvalidArgument: There are several and `tags` names none.
        MalformedGraph, InvalidGraph, NodeNotFound: The model contradicts itself.
        TensorNotFound, ShapeMismatch, DtypeMismatch: The checkpoint does not have its variables.
        OpRefused: Setting it up would touch files that are not the model's.
    """
    directory = arguments.path_text(export_dir)
    model = read_saved_model(directory)
    meta_graph = _chosen(model, tags)
    try:
        if len(model.meta_graphs) == 1 and meta_graph.HasField("object_graph_def"):
            return LoadedModel(directory, meta_graph, allow_ops)
        session = Session(graph=Graph(), allow_ops=tuple(allow_ops))
        loader.load(session, meta_graph.meta_info_def.tags, directory)
        return LoadedGraph(session, meta_graph)
    except errors.CorruptCheckpoint as error:
        # What decodes messages does not know where they are from.
        raise error.located(path=directory) from None


def _chosen(model: SavedModel, tags: str | Iterable[str] | None) -> MetaGraphDef:
    if tags is not None:
        return find_meta_graph(model, [tags] if isinstance(tags, str) else tags)
    if len(model.meta_graphs) != 1:
        tag_sets = [list(meta_graph.meta_info_def.tags) for meta_graph in model.meta_graphs]
        raise errors.InvalidArgument(
            f"Importing a SavedModel with `load` requires a `tags=` argument if there is more than "
            f"one MetaGraph. Got `tags=None`, but there are {len(model.meta_graphs)} MetaGraphs in "
            f"the SavedModel with tag sets: {tag_sets}. Pass a `tags=` argument to load this "
            f"SavedModel."
        )
    return model.meta_graphs[0]
