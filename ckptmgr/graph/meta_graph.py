"""MetaGraphs: a graph with what stands around it, as messages and files.

A MetaGraphDef has the graph with the shapes of its tensors, the definitions of the operations that
it uses, its collections, and the names of a Saver's operations.

Source: tensorflow/python/framework/meta_graph.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.op_def_pb2 import OpList
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.collections import decode_collection, encode_collection, proto_functions
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.keys import GraphKeys
from ckptmgr.graph.meta_graph_files import (
    encode_meta_graph,
    read_meta_graph_file,
    write_meta_graph,
)
from ckptmgr.graph.meta_graph_nodes import (
    nodes_of_other_savers,
    scoped_graph_def,
    strip_default_attrs_of,
    used_op_defs,
)
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.scoped_names import lies_in_scope, out_of_scope

#: The collection that names what an exported part of a graph takes from outside of it.
UNBOUND_INPUTS = "unbound_inputs"

_VERSION = re.compile(r"(\d+)\.(\d+)")


def create_meta_graph_def(  # noqa: PLR0913 - TensorFlow's arguments
    meta_info_def: MetaGraphDef.MetaInfoDef | None = None,
    graph_def: GraphDef | None = None,
    saver_def: SaverDef | None = None,
    collection_list: Iterable[str] | None = None,
    graph: Graph | None = None,
    export_scope: str | None = None,
    exclude_nodes: Iterable[str] = (),
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
) -> MetaGraphDef:
    """The message for a graph.

    Args:
        meta_info_def: What it is to say about itself, such as tags.
        graph_def: The nodes; all of the graph's where it is None.
        collection_list: Which collections; all of them where it is None.
        export_scope: What the names in collections lose.
        exclude_nodes: The names of nodes that no collection is to have.
    """
    source = graph or get_default_graph()
    meta_graph = MetaGraphDef()
    info = meta_graph.meta_info_def
    if meta_info_def is not None:
        info.CopyFrom(meta_info_def)
    meta_graph.graph_def.CopyFrom(
        source.as_graph_def(add_shapes=True) if graph_def is None else graph_def
    )
    if not info.tensorflow_version:
        # Of the operations' definitions: readers ask it how to understand the graph.
        info.tensorflow_version = op_defs.TENSORFLOW_VERSION
    if not info.stripped_op_list.op:
        info.stripped_op_list.CopyFrom(OpList(op=used_op_defs(meta_graph.graph_def)))
    if strip_default_attrs:
        strip_default_attrs_of(meta_graph.graph_def)
        info.stripped_default_attrs = True
    if saver_def is not None:
        meta_graph.saver_def.CopyFrom(saver_def)
    excluded = frozenset(exclude_nodes)
    keys = source.get_all_collection_keys() if collection_list is None else collection_list
    for key in keys:
        values = source.get_collection(key)
        if clear_extraneous_savers and key == GraphKeys.SAVERS:
            functions = proto_functions(key)
            assert functions is not None
            values = [] if saver_def is None else [functions.from_proto(saver_def)]
        values = [value for value in values if _is_exported(value, export_scope, excluded)]
        stored = encode_collection(key, values, export_scope) if values else None
        if stored is not None:
            meta_graph.collection_def[key].CopyFrom(stored)
    return meta_graph


def _is_exported(value: Any, export_scope: str | None, excluded: frozenset[str]) -> bool:
    name = value if isinstance(value, str) else getattr(value, "name", None)
    if not isinstance(name, str):
        return True
    return name not in excluded and (name.startswith("$") or lies_in_scope(name, export_scope))


# --------------------------------------------------------------------------- exporting


def export_scoped_meta_graph(  # noqa: PLR0913 - TensorFlow's arguments
    filename: str | os.PathLike[str] | None = None,
    graph_def: GraphDef | None = None,
    graph: Graph | None = None,
    export_scope: str | None = None,
    as_text: bool = False,
    unbound_inputs_col_name: str | None = UNBOUND_INPUTS,
    clear_devices: bool = False,
    saver_def: SaverDef | None = None,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,  # noqa: ARG001 - TensorFlow's
    meta_info_def: MetaGraphDef.MetaInfoDef | None = None,
    collection_list: Iterable[str] | None = None,
) -> tuple[MetaGraphDef, dict[str, Any]]:
    """A graph, or a scope of it, as a message and a file.

    Args:
        filename: Where it is written, in one step; nowhere where it is None.
        export_scope: Export what is in this scope only, without the scope in front of its names.
            What it takes from outside is noted in the collection `unbound_inputs_col_name`.
        clear_extraneous_savers: Leave out the operations of other Savers.
        save_debug_info: For TensorFlow, which then writes where its operations were made.
    Returns:
        The message, and the global variables in the scope by name.
    """
    source = graph or get_default_graph()
    excluded: frozenset[str] = frozenset()
    if export_scope or clear_extraneous_savers or clear_devices:
        whole = source.as_graph_def(add_shapes=True) if graph_def is None else graph_def
        if clear_extraneous_savers:
            excluded = nodes_of_other_savers(whole, saver_def)
        graph_def, unbound = scoped_graph_def(
            whole, export_scope, excluded, clear_devices=clear_devices
        )
        if unbound_inputs_col_name:
            source.clear_collection(unbound_inputs_col_name)
            for name in unbound:
                source.add_to_collection(unbound_inputs_col_name, name)
    meta_graph = create_meta_graph_def(
        meta_info_def,
        graph_def,
        saver_def,
        collection_list,
        source,
        export_scope,
        excluded,
        clear_extraneous_savers,
        strip_default_attrs,
    )
    variables = {
        out_of_scope(variable.name, export_scope): variable
        for variable in source.get_collection(GraphKeys.GLOBAL_VARIABLES, export_scope)
        if getattr(variable, "name", None) not in {*excluded, None}
    }
    if filename is not None:
        write_meta_graph(meta_graph, filename, as_text=as_text)
    return meta_graph, variables


# --------------------------------------------------------------------------- into a graph


class Imported(NamedTuple):
    """What came of an import."""

    #: The global variables, by their names in the MetaGraph.
    variables: dict[str, Any]
    returned: list[Tensor | Operation] | None
    #: Where its names are now; empty for the root.
    scope: str


def import_collected(  # noqa: PLR0913 - what callers of TensorFlow's functions give
    meta_graph: MetaGraphDef,
    *,
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: Mapping[str, Tensor] | None = None,
    unbound_inputs_col_name: str | None = UNBOUND_INPUTS,
    return_elements: Sequence[str] | None = None,
) -> Imported:
    """Add the graph of a MetaGraph, and its collections, to a graph.

    Raises:
        InvalidGraph: It describes no graph, or needs inputs that `input_map` does not give.
    """
    _check_unbound(meta_graph, input_map or {}, unbound_inputs_col_name)
    target = graph or get_default_graph()
    with target.as_default():
        graph_def = meta_graph.graph_def
        if clear_devices:
            graph_def = GraphDef()
            graph_def.CopyFrom(meta_graph.graph_def)
            for node in graph_def.node:
                node.device = ""
        scope = _scope_to_enter(target, import_scope)
        info = meta_graph.meta_info_def
        returned = import_graph_def(
            graph_def,
            input_map,
            return_elements,
            name=f"{scope}/" if scope else "",
            producer_op_list=info.stripped_op_list if info.HasField("stripped_op_list") else None,
            graph=target,
        )
        _add_collections(target, meta_graph, scope, unbound_inputs_col_name)
    variables = {
        out_of_scope(variable.name, scope): variable
        for variable in target.get_collection(
            GraphKeys.GLOBAL_VARIABLES, f"{re.escape(scope)}/" if scope else None
        )
        if isinstance(getattr(variable, "name", None), str)
    }
    return Imported(variables, returned, scope)


def _scope_to_enter(graph: Graph, import_scope: str | None) -> str:
    """The scope in which the names will be: a new one, or the current one."""
    if not import_scope:
        return graph.get_name_scope()
    if import_scope.endswith("/"):
        return import_scope[:-1]
    return graph.unique_name(import_scope)


def import_scoped_meta_graph_with_return_elements(  # noqa: PLR0913 - TensorFlow's arguments
    meta_graph_or_file: MetaGraphDef | str | os.PathLike[str],
    clear_devices: bool = False,
    graph: Graph | None = None,
    import_scope: str | None = None,
    input_map: Mapping[str, Tensor] | None = None,
    unbound_inputs_col_name: str | None = UNBOUND_INPUTS,
    return_elements: Sequence[str] | None = None,
) -> tuple[dict[str, Any], list[Tensor | Operation] | None]:
    """Add the graph of a MetaGraph, and its collections, to a graph.

    Returns:
        The global variables that were added, by their names in the MetaGraph, and what
        `return_elements` names.
    """
    imported = import_collected(
        as_meta_graph(meta_graph_or_file),
        clear_devices=clear_devices,
        graph=graph,
        import_scope=import_scope,
        input_map=input_map,
        unbound_inputs_col_name=unbound_inputs_col_name,
        return_elements=return_elements,
    )
    return imported.variables, imported.returned


def import_scoped_meta_graph(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """As `import_scoped_meta_graph_with_return_elements`; gives the variables only."""
    return import_scoped_meta_graph_with_return_elements(*args, **kwargs)[0]


def as_meta_graph(meta_graph_or_file: MetaGraphDef | str | os.PathLike[str]) -> MetaGraphDef:
    """A MetaGraph that is given as itself or as a file."""
    if isinstance(meta_graph_or_file, MetaGraphDef):
        return meta_graph_or_file
    return read_meta_graph_file(meta_graph_or_file)


def _check_unbound(meta_graph: MetaGraphDef, input_map: Mapping[str, Any], key: str | None) -> None:
    if not key or key not in meta_graph.collection_def:
        return
    unbound = [
        name.decode("utf-8", "replace") for name in meta_graph.collection_def[key].bytes_list.value
    ]
    missing = [name for name in unbound if name not in input_map]
    if missing:
        raise errors.InvalidGraph(
            f"Graph contains unbound inputs: {','.join(missing)}. Must provide these inputs "
            f"through input_map."
        )


def _add_collections(
    graph: Graph, meta_graph: MetaGraphDef, scope: str, unbound_key: str | None
) -> None:
    known: dict[bytes, Any] = {}
    knows_trainable = _writer_knew_trainable(meta_graph.meta_info_def.tensorflow_version)
    trainable = GraphKeys.TRAINABLE_VARIABLES
    # Trainable ones first: of what an old writer did not say, being listed there decides.
    for key in sorted(meta_graph.collection_def, key=lambda key: (key != trainable, key)):
        if key != unbound_key:
            decode_collection(
                graph,
                key,
                meta_graph.collection_def[key],
                import_scope=scope,
                known=known,
                trainable=None if knows_trainable else key == trainable,
            )


def _writer_knew_trainable(version: str) -> bool:
    """Whether the writer stated of each variable if it is trainable, as TensorFlow since 1.9."""
    match = _VERSION.match(version)
    return match is None or (int(match.group(1)), int(match.group(2))) >= (1, 9)


__all__ = [
    "Imported",
    "create_meta_graph_def",
    "encode_meta_graph",
    "export_scoped_meta_graph",
    "import_collected",
    "import_scoped_meta_graph",
    "import_scoped_meta_graph_with_return_elements",
    "read_meta_graph_file",
    "write_meta_graph",
]
