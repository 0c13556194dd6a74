"""Nodes of a MetaGraph: those of a scope, those of other Savers, their definitions and defaults.

Source: tensorflow/python/framework/meta_graph.py, tensorflow/core/framework/op_def_util.cc.
"""

from __future__ import annotations

from collections.abc import Iterable

from ckptmgr._proto.attr_value_pb2 import AttrValue
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.graph import op_defs
from ckptmgr.graph.scoped_names import lies_in_scope, out_of_scope

#: Stands in front of the name of an input that lies outside of the exported scope.
UNBOUND_PREFIX = "$unbound_inputs_"

_SAVE_AND_RESTORE = frozenset(
    {"SaveV2", "Save", "SaveSlice", "SaveSlices", "RestoreV2", "Restore", "RestoreSlice"}
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_LOOP_ENTRIES = frozenset({"Enter", "RefEnter"})


# --------------------------------------------------------------------------- definitions


def used_op_defs(graph_def: GraphDef) -> list[OpDef]:
    """The definitions of the types that a graph uses, in its functions too, sorted by name."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    pending: list[Iterable[NodeDef]] = [graph_def.node]
    while pending:
        for node in pending.pop():
            called = [node.op]
            if node.op in _CALLS:
                called.append(node.attr["f"].func.name)
            for name in called:
                if name in functions and name not in used:
                    pending.append(functions[name].node_def)
                used.add(name)
    found = (op_defs.find(name) for name in sorted(used - functions.keys()))
    return [definition for definition in found if definition is not None]


def strip_default_attrs_of(graph_def: GraphDef) -> None:
    """Remove the attributes that have the defaults of their types, for readers that are older."""
    functions = {function.signature.name for function in graph_def.library.function}
    bodies: list[Iterable[NodeDef]] = [graph_def.node]
    bodies.extend(function.node_def for function in graph_def.library.function)
    for nodes in bodies:
        for node in nodes:
            if node.op in functions:
                continue
            for name, definition in op_defs.attributes(node.op).items():
                if name in node.attr and _is_default(node.attr[name], definition):
                    del node.attr[name]


def _is_default(value: AttrValue, definition: OpDef.AttrDef) -> bool:
    return definition.HasField("default_value") and value == definition.default_value


# --------------------------------------------------------------------------- parts of a graph


def nodes_of_other_savers(graph_def: GraphDef, saver_def: SaverDef | None) -> frozenset[str]:
    """The names of the nodes in the scopes of Savers, but for that of `saver_def`."""
    scopes = {_scope_of(node.name) for node in graph_def.node if node.op in _SAVE_AND_RESTORE}
    scopes -= {node.name for node in graph_def.node if node.op in _SAVE_AND_RESTORE}
    if saver_def is not None:
        scopes.discard(_scope_of(saver_def.save_tensor_name.partition(":")[0]))
        scopes.discard(_scope_of(saver_def.restore_op_name.partition(":")[0]))
    beginnings = tuple(f"{scope}/" for scope in scopes)
    return frozenset(node.name for node in graph_def.node if node.name.startswith(beginnings))


def _scope_of(name: str) -> str:
    return name.rpartition("/")[0]


def scoped_graph_def(
    graph_def: GraphDef,
    export_scope: str | None,
    excluded: frozenset[str],
    *,
    clear_devices: bool,
) -> tuple[GraphDef, list[str]]:
    """The part of a graph that is in a scope, its names without it, and what it takes from outside.

    Args:
        excluded: The names of nodes that are left out.
    """
    part = GraphDef(versions=graph_def.versions, library=graph_def.library)
    if not graph_def.HasField("library"):
        part.ClearField("library")
    unbound: list[str] = []
    for node in graph_def.node:
        if node.name in excluded or not lies_in_scope(node.name, export_scope):
            continue
        kept = part.node.add()
        kept.CopyFrom(node)
        if clear_devices:
            kept.device = ""
        if export_scope:
            _move_out(kept, export_scope, unbound)
    return part, unbound


def _move_out(node: NodeDef, export_scope: str, unbound: list[str]) -> None:
    node.name = out_of_scope(node.name, export_scope)
    for index, name in enumerate(node.input):
        if lies_in_scope(name.removeprefix("^"), export_scope):
            node.input[index] = out_of_scope(name, export_scope)
            continue
        marker = "^" if name.startswith("^") else ""
        stand_in = f"{marker}{UNBOUND_PREFIX}{name.removeprefix('^')}"
        node.input[index] = stand_in
        if stand_in not in unbound:
            unbound.append(stand_in)
    if "_class" in node.attr:
        groups = [group.decode("utf-8", "replace") for group in node.attr["_class"].list.s]
        inside = [group for group in groups if _colocated_in(group, export_scope)]
        node.attr["_class"].list.s[:] = [
            out_of_scope(group, export_scope).encode() for group in inside
        ]
    if node.op in _LOOP_ENTRIES and "frame_name" in node.attr:
        frame = node.attr["frame_name"].s.decode("utf-8", "replace")
        node.attr["frame_name"].s = out_of_scope(frame, export_scope).encode()


def _colocated_in(group: str, export_scope: str) -> bool:
    return lies_in_scope(group.removeprefix("loc:@"), export_scope)
