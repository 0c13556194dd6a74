"""What is fuzzed of graphs and models: each from a file, through what a user calls.

A graph is a program. It is imported, looked at, exported, frozen and planned, whatever it says; it
is run only where that cannot take long (`costs`), for nobody bounds what a program does.
"""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.types_pb2 import DT_INT64
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.writer import WriteOptions, stage
from ckptmgr.cli import saved_model_scan, saved_model_show
from ckptmgr.graph import freezing, op_defs, saver_operations, shapes
from ckptmgr.graph.attributes import FunctionName
from ckptmgr.graph.executor import Executor
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.meta_graph import import_scoped_meta_graph
from ckptmgr.graph.meta_graph_files import read_meta_graph_file
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.restore_functions import stored_variables
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import export_meta_graph, import_meta_graph
from ckptmgr.graph.session import Session
from ckptmgr.graph.state import SessionState
from ckptmgr.saved_model import directory as model_directory
from ckptmgr.saved_model.functions import LoadedGraph, load
from ckptmgr.saved_model.loader import SavedModelLoader, asset_feeds, find_init_op, find_train_op
from ckptmgr.saved_model.object_graph import ObjectGraph
from ckptmgr.saved_model.objects import LoadedFunction, LoadedModel, LoadedObject
from ckptmgr.saved_model.scan import scan_meta_graph
from ckptmgr.storage import PosixStorage
from tests.fuzz.costs import expands, functions_of, is_cheap, loads_cheaply, needed
from tests.fuzz.guard import Finding, documented
from tests.fuzz.packing import unpack
from tests.fuzz.watching import confined_to

#: By the numbers that they have in an input.
MODEL_FILES = (
    "saved_model.pb",
    "saved_model.pbtxt",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets/vocab.txt",
)
#: The variables of the graphs in the corpus.
VARIABLES: dict[str, Any] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.ones(3, np.float32),
    "step": np.array(7, np.int64),
    "p": np.arange(8, dtype=np.float32).reshape(4, 2),
}
_OUTSIDE = {"outside.txt": b"secret\n", "variables.index": b"", "vocab.txt": b"a\n"}
_MOST_FETCHES = 8
_MOST_OBJECTS = 60


class _Workplace:
    """A directory with a checkpoint, for as long as the process lives."""

    def __init__(self) -> None:
        self.directory = ""

    def path(self, name: str) -> str:
        if not self.directory:
            self.directory = tempfile.mkdtemp(prefix="ckptmgr-fuzz-")
            atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
            tensors = [NamedTensor(name, array) for name, array in sorted(VARIABLES.items())]
            options = WriteOptions("0" * 32, durable=False, alignment_bytes=1)
            stage(PosixStorage(), f"{self.directory}/ckpt", [tensors], options).publish()
            # What is read once is not an input's.
            op_defs.known_types()
            Executor(Graph(), SessionState(Policy()))
        return os.path.join(self.directory, name)


_workplace = _Workplace()


# Whose coverage is wanted must be loaded now, and not when it is first needed.
shapes._load_families()


def _asked(call: Callable[[], Any]) -> Any:
    """What the call returns, None if it raises an error of this package."""
    try:
        return call()
    except errors.CheckpointError as error:
        str(error)
    return None


# --------------------------------------------------------------------------- .meta


def check_meta_graph(data: bytes) -> None:
    path = _workplace.path("m.meta")
    _write(path, data)
    meta_graph = documented(lambda: read_meta_graph_file(path))
    if meta_graph is None:
        return
    if expands(meta_graph.graph_def):
        return
    graph = Graph()
    with confined_to(_workplace.directory), graph.as_default():
        scope = "scope" if zlib.crc32(data) % 4 == 0 else None
        clear_devices = scope is not None
        saver = _asked(lambda: import_meta_graph(meta_graph, clear_devices, scope))
        _look_at(graph)
        _plan(graph)
        _export(graph)
        if saver is not None:
            _restore(graph, saver)
        _asked(lambda: Saver(allow_empty=True))
        _freeze(meta_graph)


def _look_at(graph: Graph) -> None:
    for op in graph.get_operations():
        str(op)
        for name in op.node_def.attr:
            _asked(lambda: op.get_attr(name))  # noqa: B023
        for tensor in op.outputs:
            _asked(lambda: str(tensor))  # noqa: B023
    for key in graph.collections:
        graph.get_collection(key, "x")


def _export(graph: Graph) -> None:
    """What was imported can be exported, and imported again as it was."""
    exported = export_meta_graph(graph=graph)
    _asked(lambda: export_meta_graph(graph=graph, export_scope="scope"))
    again = Graph()
    import_scoped_meta_graph(exported, graph=again)
    if again.as_graph_def(add_shapes=True) != exported.graph_def:
        raise Finding("a graph that was exported and imported is another one")


def _plan(graph: Graph) -> None:
    executor = Executor(graph, SessionState(Policy()))
    for name in graph.functions:
        _asked(lambda: executor._function_plan(FunctionName(name)))  # noqa: B023
    graph_def = graph.as_graph_def()
    functions = functions_of(graph_def)
    with Session(graph=graph) as session:
        imported = [op for op in graph.get_operations() if op in graph._imported]
        for op in imported[:: -(len(imported) // _MOST_FETCHES + 1)]:
            fetches = tuple(op.outputs) or (op,)
            _asked(lambda: executor._plan(fetches, ()))  # noqa: B023
            if is_cheap(needed(graph_def, [op.name]), functions):
                _asked(lambda: session.run(list(fetches)))  # noqa: B023


def _restore(graph: Graph, saver: Saver) -> None:
    defined = saver.as_saver_def()
    assert defined is not None
    saved = _asked(lambda: graph.get_tensor_by_name(defined.save_tensor_name))
    if saved is not None:
        _asked(lambda: saver_operations.find_writes(saved))
    graph_def = graph.as_graph_def()
    if is_cheap(needed(graph_def, [defined.restore_op_name]), functions_of(graph_def)):
        with Session(graph=graph) as session:
            _asked(lambda: saver.restore(session, _workplace.path("ckpt")))


def _freeze(meta_graph: MetaGraphDef) -> None:
    graph_def, saver_def = meta_graph.graph_def, meta_graph.saver_def
    names = [node.name for node in graph_def.node][:: -(len(graph_def.node) // _MOST_FETCHES + 1)]
    _asked(lambda: freezing.extract_sub_graph(graph_def, names))
    _asked(lambda: freezing.remove_training_nodes(graph_def, names[:1]))
    _asked(lambda: stored_variables(graph_def, saver_def.restore_op_name))
    values = {node.name: _small_value(node) for node in graph_def.node if "Var" in node.op}
    for name in names:
        _asked(lambda: freezing.convert_variables_to_constants(values, graph_def, [name]))  # noqa: B023
    prefix = _workplace.path("ckpt")
    _asked(lambda: freezing.freeze_checkpoint(graph_def, prefix, names, saver_def=saver_def))


def _small_value(variable: NodeDef) -> Any:
    dtype = variable.attr["dtype"].type
    return np.zeros((2, 3), np.int64 if dtype == DT_INT64 else np.float32)


# --------------------------------------------------------------------------- SavedModel


def check_saved_model(data: bytes) -> None:
    directory = _workplace.path("model")
    for name, content in _OUTSIDE.items():
        _write(_workplace.path(name), content)
    shutil.rmtree(directory, ignore_errors=True)
    for number, content in unpack(data).items():
        if number < len(MODEL_FILES):
            _write(os.path.join(directory, MODEL_FILES[number]), content)
    with confined_to(directory):
        _read_and_load(directory)
    for name, content in _OUTSIDE.items():
        with open(_workplace.path(name), "rb") as file:
            if file.read() != content:
                raise Finding(f"{name}, outside of the model, was changed")


def _read_and_load(directory: str) -> None:
    model_directory.contains_saved_model(directory)
    model = documented(
        lambda: model_directory.read_saved_model(directory), errors.SavedModelNotFound
    )
    if model is None:
        return
    _show(directory)
    for meta_graph in model.meta_graphs[:2]:
        _asked(lambda: scan_meta_graph(meta_graph))  # noqa: B023
        # Any: several may have the tags by which one is loaded.
        if any(expands(found.graph_def) for found in model.meta_graphs):
            continue
        _inspect(directory, meta_graph)
        if loads_cheaply(meta_graph):
            tags = list(meta_graph.meta_info_def.tags)
            loaded = documented(lambda: load(directory, tags), errors.CheckpointError)  # noqa: B023
            if loaded is not None:
                _use(loaded, meta_graph)


def _show(directory: str) -> None:
    """What the program prints."""
    out = io.StringIO()
    shown = {"dir": directory, "tag_set": None, "signature_def": None, "list_ops": False}
    for as_json in (False, True):
        arguments = Namespace(**shown, all=True, json=as_json)
        _asked(lambda: saved_model_show.COMMAND.run(arguments, out))  # noqa: B023
        scanned = Namespace(dir=directory, tag_set=None, op_denylist=None, json=as_json)
        _asked(lambda: saved_model_scan.COMMAND.run(scanned, out))  # noqa: B023


def _inspect(directory: str, meta_graph: MetaGraphDef) -> None:
    """All that does not run anything."""
    graph = Graph()
    loader = SavedModelLoader(directory)
    _asked(lambda: loader.load_graph(graph, meta_graph.meta_info_def.tags))
    _asked(lambda: asset_feeds(directory, meta_graph))
    _asked(lambda: find_init_op(graph, meta_graph))
    _asked(lambda: find_train_op(graph, meta_graph))
    if graph.version:
        _asked(lambda: LoadedGraph(Session(graph=graph), meta_graph))
    _plan(graph)
    objects = _asked(lambda: ObjectGraph(meta_graph.object_graph_def))
    if objects is not None:
        objects.path(len(objects) - 1)


def _use(loaded: LoadedGraph | LoadedModel, meta_graph: MetaGraphDef) -> None:
    """Look at everything, and call signatures where that is cheap."""
    repr(loaded.signatures)
    functions = functions_of(meta_graph.graph_def)
    if is_cheap(meta_graph.graph_def.node, functions):
        for signature in loaded.signatures.values():
            _asked(lambda: signature(**_inputs(signature.inputs)))  # noqa: B023
    if isinstance(loaded, LoadedGraph):
        loaded.session.close()
        return
    for found in _objects(loaded):
        repr(found)
        if isinstance(found, LoadedFunction) and all(
            is_cheap(functions[trace.name].node_def, functions) for trace in found.traces
        ):
            _asked(found)
            _asked(lambda: found([1.0, 2.0]))  # noqa: B023


def _inputs(infos: Any) -> dict[str, Any]:
    """Something of the shape and dtype of each input, if that is small."""
    values = {}
    for name, info in infos.items():
        shape = [max(dim.size, 1) for dim in info.tensor_shape.dim]
        values[name] = np.zeros(shape if max([len(shape), *shape]) < 5 else (), np.float32)
    return values


def _objects(model: LoadedModel) -> Iterator[Any]:
    pending: list[Any] = [model]
    for count, found in enumerate(pending):
        if count == _MOST_OBJECTS:
            return
        yield found
        if isinstance(found, LoadedObject):
            for name in sorted(found._children):
                child = _asked(lambda: getattr(found, name))  # noqa: B023
                if child is not None:
                    pending.append(child)


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
