"""What a model of TensorFlow 2 holds in memory: values of variables, tables, constants, assets.

Every object that a function captures has a value here, and functions are called with them. Nothing
is computed but what makes tables and fills them.

Source: tensorflow/python/saved_model/load.py, tensorflow/python/trackable/resource.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr._proto.saved_object_graph_pb2 import SavedConcreteFunction, SavedVariable
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.executor import Executor
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.state import SessionState, Variable
from ckptmgr.graph.tensor_shape import decode_partial_shape
from ckptmgr.graph.tensor_values import Array, decode_tensor
from ckptmgr.saved_model import constants
from ckptmgr.saved_model.directory import asset_files, asset_path
from ckptmgr.saved_model.model_checkpoint import ModelCheckpoint
from ckptmgr.saved_model.object_graph import ObjectGraph
from ckptmgr.saved_model.traces import Trace

_CREATE = "_create_resource"
_INITIALIZE = "_initialize"
# What an object saves by itself, as tensors; anything else has a name of its own.
_TENSORS = ".TENSORS"
# What makes a table may need another one; a model that nests them deeper was made to exhaust the
# stack.
_MAX_DEPTH = 50


class ModelState:
    """The values of a model's objects, by number.

    Raises:
        MalformedGraph, InvalidGraph: The model contradicts itself.
        TensorNotFound, ShapeMismatch, DtypeMismatch: The checkpoint does not have its variables.
    """

    def __init__(self, directory: str, meta_graph: MetaGraphDef, allow_ops: Iterable[str]) -> None:
        self.objects = ObjectGraph(meta_graph.object_graph_def)
        self._directory = directory
        self._asset_files = asset_files(meta_graph)
        graph_def = meta_graph.graph_def
        self._constants = {node.name: node for node in graph_def.node if node.op == "Const"}
        self._functions = {item.signature.name: item for item in graph_def.library.function}
        graph = Graph()
        library = GraphDef(library=graph_def.library, versions=graph_def.versions)
        import_graph_def(library, name="", graph=graph)
        policy = Policy(allow_ops)
        policy.open_for_reading(os.path.join(directory, constants.ASSETS_DIRECTORY))
        self._executor = Executor(graph, SessionState(policy))
        self._values: dict[int, Any] = {}
        self._making: list[int] = []
        self._traces: dict[str, Trace] = {}
        self._restore()

    def _restore(self) -> None:
        resources = list(self.objects.of_kind("resource"))
        stored = [number for number in resources if self.objects[number].saveable_objects]
        if stored or next(self.objects.of_kind("variable"), None) is not None:
            with ModelCheckpoint(self._directory, self.objects) as checkpoint:
                for number, value in checkpoint.read_variables().items():
                    self._values[number] = _variable(self.objects[number].variable, number, value)
                for number in stored:
                    self._restore_resource(number, checkpoint)
        # In TensorFlow's order: what was stored first, and then what is read from files.
        for number in resources:
            self.value(number)
            self._run_method(number, _INITIALIZE)

    # ----------------------------------------------------------------- functions

    def concrete_function(self, name: str) -> tuple[SavedConcreteFunction, FunctionDef]:
        """What the model says of a trace, and its body.

        Raises:
            MalformedGraph: There is none of that name.
        """
        message = self.objects.message
        if name not in message.concrete_functions or name not in self._functions:
            raise errors.MalformedGraph(f"the model has no function {name!r}, which it refers to")
        return message.concrete_functions[name], self._functions[name]

    def trace(self, name: str) -> Trace:
        """The trace of that name, with its captures."""
        if name not in self._traces:
            self._traces[name] = Trace(self, name)
        return self._traces[name]

    def call(
        self,
        function: str,
        tensors: Sequence[Any],
        captures: Iterable[int],
        named: frozenset[str],
    ) -> list[Any]:
        """What a function of the library gives for tensors and what it captured.

        Args:
            named: The strings among the tensors that are the caller's own: paths that may be
                touched. Those that a model brings along are none.
        """
        captured = [self.value(number) for number in captures]
        return self._executor.call(function, [*tensors, *captured], named)

    # ----------------------------------------------------------------- values

    def variable(self, number: int) -> Variable:
        variable = self._values[number]
        assert isinstance(variable, Variable)
        return variable

    def value(self, number: int) -> Any:
        """What stands for an object where a function has captured it.

        Raises:
            MalformedGraph: Nothing can.
        """
        if number not in self._values:
            kind = self.objects[number].WhichOneof("kind")
            if kind == "constant":
                self._values[number] = self._constant(self.objects[number].constant.operation)
            elif kind == "asset":
                self._values[number] = self._asset(self.objects[number].asset.asset_file_def_index)
            elif kind == "resource":
                self._values[number] = self._resource(number)
            else:
                raise errors.MalformedGraph(
                    f"a function captures object {number}, which has no value: it is a {kind}"
                )
        return self._values[number]

    def _constant(self, operation: str) -> Array:
        node = self._constants.get(operation)
        if node is None or "value" not in node.attr:
            raise errors.MalformedGraph(
                f"the model has no constant {operation!r}, which it refers to"
            )
        return decode_tensor(node.attr["value"].tensor)

    def _asset(self, index: int) -> Array:
        if not 0 <= index < len(self._asset_files):
            raise errors.MalformedGraph(
                "the model has no such asset",
                expected=f"one of {len(self._asset_files)}",
                found=index,
            )
        value = np.empty((), object)
        path = asset_path(self._directory, self._asset_files[index].filename)
        value[()] = os.fsencode(path)
        return value

    # ----------------------------------------------------------------- tables and the like

    def _resource(self, number: int) -> Any:
        if number in self._making or len(self._making) > _MAX_DEPTH:
            raise errors.MalformedGraph(f"object {number} would be made from itself")
        self._making.append(number)
        try:
            made = self._run_method(number, _CREATE)
        finally:
            self._making.pop()
        if not made:
            raise errors.MalformedGraph(f"the model does not say how object {number} is made")
        return made[0]

    def _run_method(self, number: int, method: str) -> list[Any]:
        child = self.objects.children(number).get(method)
        return [] if child is None else self._only_trace(child).run_flat([])

    def _restore_resource(self, number: int, checkpoint: ModelCheckpoint) -> None:
        for name, functions in self.objects[number].saveable_objects.items():
            restore = self._only_trace(functions.restore_function)
            if name == _TENSORS:
                match restore.arguments:
                    case ((dict() as fields,), _):
                        keys = [_key(field, checkpoint.keys(number)) for field in sorted(fields)]
                    case _:
                        raise errors.MalformedGraph(
                            f"what fills object {number} must take a dict of tensors",
                            found=repr(restore.arguments),
                        )
            else:
                # What saves the object tells under which names it does.
                key = np.array(_key(name, checkpoint.keys(number)).encode(), object)
                specs = self._only_trace(functions.save_function).run([key])
                keys = _names(specs, number)
            restore.run_flat([checkpoint.read(key) for key in keys])

    def _only_trace(self, number: int) -> Trace:
        """The first trace of the object that is a function.

        Raises:
            MalformedGraph: It is none.
        """
        names: Sequence[str] = ()
        if 0 <= number < len(self.objects):
            node = self.objects[number]
            names = (
                node.function.concrete_functions
                if node.WhichOneof("kind") == "function"
                else [node.bare_concrete_function.concrete_function_name]
            )
        if not names:
            raise errors.MalformedGraph(f"object {number} of the model is no function")
        return self.trace(names[0])


def _variable(saved: SavedVariable, number: int, value: Array) -> Variable:
    shape = decode_partial_shape(saved.shape)
    variable = Variable(saved.name or f"variable {number}", DataType(saved.dtype), shape)
    variable.assign(value)
    return variable


def _key(name: str, keys: Mapping[str, str]) -> str:
    """The key of a value by what a function calls it, which may have more in front."""
    for known, key in keys.items():
        if name.endswith(known):
            return key
    raise errors.TensorNotFound(f"the checkpoint of the model has no value {name!r}")


def _names(specs: Any, number: int) -> list[str]:
    try:
        return [spec["name"].decode() for spec in specs]
    except (TypeError, KeyError, AttributeError, UnicodeDecodeError):
        raise errors.MalformedGraph(
            f"what saves object {number} does not tell the names of its values", found=repr(specs)
        ) from None
