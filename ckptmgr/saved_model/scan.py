"""What a model could do to the machine that runs it.

A model is a program. Looked for are operations that read or write files, run other code or talk to
other machines, and assets outside of the model's folder: in the graph, and in every function of it,
called or not.

Two things every model does are no finding: the operations that save and restore its variables,
unless a signature, the initialisation or a function of the object graph leads to them, or what
restores, which loading runs, leads to one that writes; and filling a lookup table from a file, if
that is one of the model's assets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.graph.effects import EFFECTS, PATH_INPUTS
from ckptmgr.saved_model import constants, directory
from ckptmgr.saved_model.describe import function_names, tensor_names

#: What TensorFlow's `saved_model_cli scan` looks for by default.
DEFAULT_DENYLIST = frozenset({"PrintV2", "ReadFile", "WriteFile"})

_TABLE_OPS = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_CHECKPOINT_OPS = frozenset(PATH_INPUTS) - _TABLE_OPS
_WRITING_OPS = frozenset(op for op, paths in PATH_INPUTS.items() if any(p.writes for p in paths))
# How far the path of a table's file is followed, so that no graph can exhaust the stack.
_MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Finding:
    #: What it does, in a few words.
    effect: str
    #: The type of the operation; empty for an asset.
    op: str
    #: The name of the node, or of the asset's file.
    node: str
    #: The function that the node is in; None for the graph.
    function: str | None = None


@dataclass(frozen=True, slots=True)
class ScannedMetaGraph:
    tags: tuple[str, ...]
    #: The types of operations that were denied and are there, sorted.
    denylisted: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_suspicious(self) -> bool:
        return bool(self.denylisted or self.findings)


def scan_meta_graph(
    meta_graph: MetaGraphDef, denylist: Iterable[str] = DEFAULT_DENYLIST
) -> ScannedMetaGraph:
    """Look through all operations and assets of one MetaGraph.

    Raises:
        MalformedGraph: The list of its assets does not parse.
    """
    places = _Places(meta_graph)
    ops = {node.op for _, node in places.nodes()}
    findings = [
        Finding(EFFECTS[node.op], node.op, node.name, function)
        for function, node in places.nodes()
        if node.op in EFFECTS and not places.is_expected(function, node)
    ]
    return ScannedMetaGraph(
        tuple(meta_graph.meta_info_def.tags),
        tuple(sorted(ops & set(denylist))),
        (*findings, *_assets_outside(meta_graph)),
    )


def _assets_outside(meta_graph: MetaGraphDef) -> Iterator[Finding]:
    for asset in directory.asset_files(meta_graph):
        try:
            directory.asset_path("", asset.filename)
        except errors.MalformedGraph as error:
            yield Finding(error.problem, "", asset.filename)


class _Places:
    """The nodes of a MetaGraph, each in the graph (None) or in a function, and what leads where."""

    def __init__(self, meta_graph: MetaGraphDef) -> None:
        self._meta_graph = meta_graph
        graph = meta_graph.graph_def
        self._bodies: dict[str | None, dict[str, NodeDef]] = {
            None: {node.name: node for node in graph.node}
        }
        self._arguments: dict[str | None, list[str]] = {None: []}
        for function in graph.library.function:
            name = function.signature.name
            self._bodies[name] = {node.name: node for node in function.node_def}
            self._arguments[name] = [arg.name for arg in function.signature.input_arg]
        self._callers: dict[str, list[tuple[str | None, NodeDef]]] = defaultdict(list)
        for place, node in self.nodes():
            for called in self._called(node):
                self._callers[called].append((place, node))
        self._assets = {
            _node_name(asset.tensor_info.name) for asset in directory.asset_files(meta_graph)
        }
        self._served = self._reached(self._roots())
        restores = _node_name(meta_graph.saver_def.restore_op_name)
        self._restored = self._reached([(None, restores)])
        self._known_assets: dict[tuple[str | None, str], bool] = {}

    def nodes(self) -> Iterator[tuple[str | None, NodeDef]]:
        for place, nodes in self._bodies.items():
            yield from ((place, node) for node in nodes.values())

    def is_expected(self, place: str | None, node: NodeDef) -> bool:
        """Whether an ordinary model has such a node here."""
        if node.op in _CHECKPOINT_OPS:
            where = (place, node.name if place is None else None)
            writes = node.op in _WRITING_OPS
            return where not in self._served and not (writes and where in self._restored)
        if node.op in _TABLE_OPS:
            inputs = _data_inputs(node)
            index = PATH_INPUTS[node.op][0].index
            return index < len(inputs) and self._is_asset(place, inputs[index])
        return False

    def _called(self, node: NodeDef) -> Iterator[str]:
        if node.op in self._bodies:
            yield node.op
        yield from (name for name in function_names(node) if name in self._bodies)

    # ----------------------------------------------------------------------- what is run

    def _roots(self) -> Iterator[tuple[str | None, str | None]]:
        """Where running a model begins: nodes of the graph, and functions."""
        meta_graph = self._meta_graph
        for signature in meta_graph.signature_def.values():
            for info in signature.outputs.values():
                yield from ((None, _node_name(name)) for name in tensor_names(info))
        for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY, constants.TRAIN_OP_KEY):
            if key in meta_graph.collection_def:
                names = meta_graph.collection_def[key].node_list.value
                yield from ((None, _node_name(name)) for name in names)
        for function in meta_graph.object_graph_def.concrete_functions:
            yield (function, None)

    def _reached(
        self, roots: Iterable[tuple[str | None, str | None]]
    ) -> set[tuple[str | None, str | None]]:
        """What these need: nodes of the graph, (None, name), and functions, (name, None)."""
        reached: set[tuple[str | None, str | None]] = set()
        waiting = list(roots)
        while waiting:
            place = waiting.pop()
            function, name = place
            if place in reached or function not in self._bodies:
                continue
            body = self._bodies[function]
            if name is not None and name not in body:
                continue
            reached.add(place)
            for node in body.values() if name is None else (body[name],):
                waiting += ((called, None) for called in self._called(node))
                if function is None:
                    waiting += ((None, _node_name(text)) for text in node.input)
        return reached

    # ----------------------------------------------------------------------- whose file it is

    def _is_asset(self, place: str | None, tensor: str, depth: int = 0) -> bool:
        """Whether a tensor can hold nothing but the path of one of the model's assets."""
        name = _node_name(tensor)
        if (place, name) not in self._known_assets:
            self._known_assets[place, name] = False  # for whatever leads to itself
            if depth < _MAX_DEPTH:
                found = self._leads_to_asset(place, name, depth + 1)
                self._known_assets[place, name] = found
        return self._known_assets[place, name]

    def _leads_to_asset(self, place: str | None, name: str, depth: int) -> bool:
        if place is None and name in self._assets:
            return True
        if place is not None and name in self._arguments[place]:
            return self._is_asset_argument(place, self._arguments[place].index(name), depth)
        node = self._bodies[place].get(name)
        inputs = _data_inputs(node) if node is not None else []
        if node is None or not inputs:
            return False
        if node.op == "Identity":
            return self._is_asset(place, inputs[0], depth)
        # TensorFlow 2 keeps the path in a variable until the table is filled.
        return node.op == "ReadVariableOp" and self._holds_asset(
            place, _node_name(inputs[0]), depth
        )

    def _holds_asset(self, place: str | None, variable: str, depth: int) -> bool:
        assigned = [
            inputs[1]
            for node in self._bodies[place].values()
            if node.op == "AssignVariableOp"
            and len(inputs := _data_inputs(node)) > 1
            and _node_name(inputs[0]) == variable
        ]
        return bool(assigned) and all(self._is_asset(place, value, depth) for value in assigned)

    def _is_asset_argument(self, function: str, index: int, depth: int) -> bool:
        given = []
        for place, node in self._callers[function]:
            inputs = _data_inputs(node)
            given.append(index < len(inputs) and self._is_asset(place, inputs[index], depth))
        objects = self._meta_graph.object_graph_def
        if function in objects.concrete_functions:
            bound = objects.concrete_functions[function].bound_inputs
            # Bound inputs are the last arguments.
            at = index - (len(self._arguments[function]) - len(bound))
            is_node = 0 <= at < len(bound) and 0 <= bound[at] < len(objects.nodes)
            given.append(is_node and objects.nodes[bound[at]].WhichOneof("kind") == "asset")
        return bool(given) and all(given)


def _data_inputs(node: NodeDef) -> list[str]:
    return [text for text in node.input if not text.startswith("^")]


def _node_name(tensor: str) -> str:
    """`^a`, `a`, `a:0` and, in functions, `a:out:0` -> `a`."""
    return tensor.removeprefix("^").partition(":")[0]
