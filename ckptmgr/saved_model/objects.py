"""A model of TensorFlow 2 as objects: its attributes, its functions, its signatures.

Functions are found by the names that they had as attributes of the model, and called as they were:
`model.encode(text)`, `model.encoder.layers[0].kernel.numpy()`.

Source: tensorflow/python/saved_model/load.py.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.executor import fed_strings
from ckptmgr.graph.state import Variable
from ckptmgr.graph.tensor_values import Array
from ckptmgr.saved_model.arguments import CallSpec, decode_call_spec, flatten
from ckptmgr.saved_model.model_state import ModelState
from ckptmgr.saved_model.signature_call import RESERVED_KEYS, Signature, Signatures
from ckptmgr.saved_model.traces import Trace

_SIGNATURES = "signatures"
_CALL = "__call__"


class LoadedVariable:
    """A variable of a model."""

    def __init__(self, variable: Variable, *, trainable: bool) -> None:
        self._variable = variable
        self.name = variable.name
        self.dtype = as_dtype(variable.dtype)
        self.trainable = trainable

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._variable.read().shape
        return shape

    def numpy(self) -> Array:
        """Its value, a copy."""
        value: Array = self._variable.read().copy()
        return value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __repr__(self) -> str:
        return f"<LoadedVariable {self.name!r} shape={self.shape} dtype={self.dtype.name}>"


@dataclass(frozen=True, slots=True)
class LoadedAsset:
    """A file of a model."""

    asset_path: str


class LoadedFunction:
    """A function of a model, which was traced once for each kind of arguments.

    Args:
        call: Its parameters; of a single trace that has none, the names of its tensors.
    """

    def __init__(
        self, name: str, traces: Iterable[Trace], call: CallSpec | tuple[str, ...]
    ) -> None:
        self.name = name
        self.traces = tuple(traces)
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute it.

        Raises:
            SignatureError: The arguments fit none of its traces.
        """
        if isinstance(self._call, tuple):
            return self.traces[0].call_flat(self._call, args, kwargs)
        bound = self._call.bind(args, kwargs, f"function {self.name!r}")
        if not self.traces:
            raise errors.SignatureError(f"function {self.name!r} was never traced")
        refused = []
        # First without any conversion: another trace may have been made for just these dtypes.
        for convert in (False, True):
            for trace in self.traces:
                try:
                    tensors = list(flatten(trace.arguments, bound, "argument", convert=convert))
                except errors.SignatureError as error:
                    refused.append(error)
                    continue
                return trace.run(tensors, _strings_in((args, kwargs)))
        raise self._no_match(refused[len(self.traces) :])

    def _no_match(self, refused: list[errors.SignatureError]) -> errors.SignatureError:
        if len(refused) == 1:
            return errors.SignatureError(f"function {self.name!r}: {refused[0]}")
        options = "".join(
            f"\n  {number}. {trace.arguments!r}: {error}"
            for number, (trace, error) in enumerate(zip(self.traces, refused, strict=True), 1)
        )
        return errors.SignatureError(
            f"Could not find matching concrete function to call loaded from the SavedModel: "
            f"function {self.name!r} was traced with{options}"
        )

    def __repr__(self) -> str:
        return f"<LoadedFunction {self.name!r}, {len(self.traces)} traces>"


class LoadedObject:
    """An object of a model: what it holds is its attributes, and its items if it was a list."""

    def __init__(self, model: LoadedModel, number: int, path: str) -> None:
        self._model = model
        self._children = model.children_of(number)
        self._path = path

    def __getattr__(self, name: str) -> Any:
        # Without what the constructor sets there is nothing to look it up in.
        children = self.__dict__.get("_children", {})
        if name not in children:
            near = errors.near_misses(name, children)
            raise AttributeError(f"the model has no {self.__dict__.get('_path')}.{name}.{near}")
        return self._model.object_at(children[name], f"{self._path}.{name}")

    def __getitem__(self, key: int | str) -> Any:
        if str(key) not in self._children:
            raise KeyError(key)
        return self.__getattr__(str(key))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _CALL not in self._children:
            raise errors.SignatureError(f"{self._path} of the model cannot be called")
        return self.__getattr__(_CALL)(*args, **kwargs)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._children})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}: {', '.join(self._children)}>"


class LoadedModel(LoadedObject):
    """A model of TensorFlow 2.

    Attributes:
        signatures: By their keys.
        functions: Those that are attributes of the model itself, by their names.
    """

    def __init__(
        self, directory: str, meta_graph: MetaGraphDef, allow_ops: Iterable[str] = ()
    ) -> None:
        self._state = ModelState(directory, meta_graph, allow_ops)
        self._known: dict[int, Any] = {}
        super().__init__(self, 0, "root")
        self.tensorflow_version = meta_graph.meta_info_def.tensorflow_version
        self.signatures = self._signatures(meta_graph)
        self.functions = self._functions()

    def _signatures(self, meta_graph: MetaGraphDef) -> Signatures:
        objects = self._state.objects
        number = self._children.get(_SIGNATURES)
        found = {} if number is None else objects.children(number)
        signatures = Signatures()
        for key, child in sorted(found.items()):
            if key in RESERVED_KEYS or objects[child].WhichOneof("kind") != _BARE:
                continue
            if key not in meta_graph.signature_def:
                raise errors.MalformedGraph(f"the model does not describe its signature {key!r}")
            bare = objects[child].bare_concrete_function
            keywords = tuple(bare.argument_keywords)
            definition = meta_graph.signature_def[key]
            if set(keywords) != set(definition.inputs):
                raise errors.MalformedGraph(
                    f"the function of signature {key!r} has other inputs",
                    expected=sorted(definition.inputs),
                    found=sorted(keywords),
                )
            # No function of its own, which could not be pickled with the model.
            trace = self._state.trace(bare.concrete_function_name)
            run = functools.partial(_run_by_name, trace, keywords)
            signatures[key] = Signature(key, definition, run)
        return signatures

    def _functions(self) -> Mapping[str, LoadedFunction]:
        objects = self._state.objects
        return {
            name: self.object_at(number, f"root.{name}")
            for name, number in sorted(self._children.items())
            if objects[number].WhichOneof("kind") in (_FUNCTION, _BARE)
        }

    def children_of(self, number: int) -> Mapping[str, int]:
        """The numbers of what an object holds, by name."""
        return self._state.objects.children(number)

    def object_at(self, number: int, path: str) -> Any:
        """What stands for an object, the same each time.

        Args:
            path: What to call it.
        """
        if number not in self._known:
            self._known[number] = self._made(number, path)
        return self._known[number]

    def _made(self, number: int, path: str) -> Any:
        node = self._state.objects[number]
        kind = node.WhichOneof("kind")
        if kind == _FUNCTION:
            traces = [self._state.trace(name) for name in node.function.concrete_functions]
            return LoadedFunction(path, traces, decode_call_spec(node.function.function_spec))
        if kind == _BARE:
            bare = node.bare_concrete_function
            trace = self._state.trace(bare.concrete_function_name)
            return LoadedFunction(path, [trace], tuple(bare.argument_keywords))
        if kind == "variable":
            variable = self._state.variable(number)
            return LoadedVariable(variable, trainable=node.variable.trainable)
        if kind == "constant":
            return self._state.value(number)
        if kind == "asset":
            return LoadedAsset(os.fsdecode(self._state.value(number)[()]))
        return LoadedObject(self, number, path)


def _run_by_name(
    trace: Trace, keywords: Sequence[str], values: dict[str, Any], given: Collection[str]
) -> dict[str, Any]:
    """Compute a trace as a signature does: its tensors by name, some of them the caller's."""
    named = fed_strings(values[name] for name in given)
    result: dict[str, Any] = trace.run([values[name] for name in keywords], named)
    return result


def _strings_in(passed: Any) -> frozenset[str]:
    """The strings among arguments, which nest as lists, tuples and dicts do."""
    found: set[str] = set()
    pending = [passed]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, str):
            found.add(value)
        elif isinstance(value, bytes):
            found.add(value.decode("utf-8", "surrogateescape"))
        elif isinstance(value, np.ndarray | np.generic) and not value.ndim:
            pending.append(value.item())
    return frozenset(found)


_FUNCTION = "function"
_BARE = "bare_concrete_function"
