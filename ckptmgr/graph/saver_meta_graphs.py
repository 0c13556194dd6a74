"""MetaGraphs in and out of the default graph, with the Saver of their variables.

An exported one names the operations of a Saver; whoever imports it gets a Saver of these, or a new
one where none are named.

Source: tensorflow/python/training/saver.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence

from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph import meta_graph as meta_graphs
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.saver import Saver, all_saveable_objects

_log = logging.getLogger(__name__)


def export_meta_graph(  # noqa: PLR0913 - TensorFlow's arguments
    filename: str | os.PathLike[str] | None = None,
    meta_info_def: MetaGraphDef.MetaInfoDef | None = None,
    graph_def: GraphDef | None = None,
    saver_def: SaverDef | None = None,
    collection_list: Iterable[str] | None = None,
    as_text: bool = False,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
) -> MetaGraphDef:
    """A graph as a MetaGraphDef, written to a file where one is named."""
    return meta_graphs.export_scoped_meta_graph(
        filename=filename,
        meta_info_def=meta_info_def,
        graph_def=graph_def,
        saver_def=saver_def,
        collection_list=collection_list,
        as_text=as_text,
        graph=graph,
        export_scope=export_scope,
        clear_devices=clear_devices,
        clear_extraneous_savers=clear_extraneous_savers,
        strip_default_attrs=strip_default_attrs,
        save_debug_info=save_debug_info,
    )[0]


def import_meta_graph(
    meta_graph_or_file: MetaGraphDef | str | os.PathLike[str],
    clear_devices: bool = False,
    import_scope: str | None = None,
    *,
    input_map: Mapping[str, Tensor] | None = None,
    return_elements: Sequence[str] | None = None,
) -> Saver | None:
    """Add the graph and the collections of a MetaGraph to the default graph.

    Args:
        return_elements: Names that the MetaGraph must have; what they name is given by
            `import_meta_graph_with_return_elements`.
    Returns:
        A Saver for its variables; None if it has none.
    """
    return import_meta_graph_with_return_elements(
        meta_graph_or_file, clear_devices, import_scope, return_elements, input_map=input_map
    )[0]


def import_meta_graph_with_return_elements(
    meta_graph_or_file: MetaGraphDef | str | os.PathLike[str],
    clear_devices: bool = False,
    import_scope: str | None = None,
    return_elements: Sequence[str] | None = None,
    *,
    input_map: Mapping[str, Tensor] | None = None,
) -> tuple[Saver | None, list[Tensor | Operation] | None]:
    """`import_meta_graph`, and the operations and tensors that `return_elements` names."""
    meta_graph = meta_graphs.as_meta_graph(meta_graph_or_file)
    imported = meta_graphs.import_collected(
        meta_graph,
        clear_devices=clear_devices,
        import_scope=import_scope,
        input_map=input_map,
        return_elements=return_elements,
    )
    if meta_graph.HasField("saver_def"):
        saver: Saver | None = Saver(saver_def=meta_graph.saver_def, name=imported.scope)
    elif all_saveable_objects(imported.scope or None):
        saver = Saver()
    else:
        _log.info("Saver not created because there are no variables in the graph to restore")
        saver = None
    return saver, imported.returned
