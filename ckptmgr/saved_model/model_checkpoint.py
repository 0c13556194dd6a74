"""The values of a TensorFlow 2 model's objects, from the checkpoint beside it.

Source: tensorflow/python/checkpoint/restore.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.saved_object_graph_pb2 import SavedVariable
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats import dtypes
from ckptmgr.graph.tensor_shape import are_compatible, as_text, decode_partial_shape
from ckptmgr.graph.tensor_values import Array
from ckptmgr.saved_model.directory import variables_prefix
from ckptmgr.saved_model.object_graph import (
    OBJECT_GRAPH_KEY,
    VARIABLE_VALUE,
    ObjectGraph,
    checkpoint_keys,
    decode_checkpoint_graph,
)


class ModelCheckpoint:
    """The checkpoint of a model, open; values are found by the object that they are of.

    Raises:
        CheckpointNotFound, CorruptCheckpoint: It cannot be read.
        MalformedGraph: It does not say which values are whose.
    """

    def __init__(self, directory: str, objects: ObjectGraph) -> None:
        self._objects = objects
        self._reader = CheckpointReader(variables_prefix(directory))
        try:
            stored = decode_checkpoint_graph(_object_graph(self._reader))
        except BaseException:
            self._reader.close()
            raise
        self._keys = checkpoint_keys(objects, stored)

    def __enter__(self) -> ModelCheckpoint:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._reader.close()

    def keys(self, number: int) -> Mapping[str, str]:
        """The key of each value of an object, by what the value is called."""
        return self._keys.get(number, {})

    def read(self, key: str) -> Array:
        """The value of a key."""
        return _array(self._reader.get_tensor(key))

    def read_variables(self) -> dict[int, Array]:
        """The value of each variable, by its number.

        Raises:
            TensorNotFound: A variable has none; says what it is called in the model.
            ShapeMismatch, DtypeMismatch: It has another kind of value.
        """
        numbers = list(self._objects.of_kind("variable"))
        for number in numbers:
            _check_variable(self._objects, number, self.keys(number), self._reader)
        keys = {number: self.keys(number)[VARIABLE_VALUE] for number in numbers}
        tensors = self._reader.get_tensors(list(dict.fromkeys(keys.values())))
        return {number: _array(tensors[key]) for number, key in keys.items()}


def _object_graph(reader: CheckpointReader) -> bytes:
    value = reader.get_tensor(OBJECT_GRAPH_KEY) if reader.has_tensor(OBJECT_GRAPH_KEY) else None
    if not isinstance(value, bytes):
        raise errors.MalformedGraph(
            "the checkpoint of the model does not say which values are whose", path=reader.prefix
        )
    return value


def _check_variable(
    objects: ObjectGraph, number: int, keys: Mapping[str, str], reader: CheckpointReader
) -> None:
    saved = objects[number].variable
    key = keys.get(VARIABLE_VALUE)
    if key is None or not reader.has_tensor(key):
        path = objects.path(number)
        raise errors.TensorNotFound(
            f"the checkpoint {reader.prefix} has no value for the variable {saved.name!r} ({path}) "
            f"of the model{'' if key is None else f': it has no tensor {key!r}'}"
        )
    _check_kind(saved, key, reader)


def _check_kind(saved: SavedVariable, key: str, reader: CheckpointReader) -> None:
    entry = reader.entry(key)
    if entry.dtype != saved.dtype:
        raise errors.DtypeMismatch(
            f"variable {saved.name!r} of the model is {dtypes.name(saved.dtype)}, its value "
            f"{key!r} in the checkpoint {dtypes.name(entry.dtype)}"
        )
    shape = decode_partial_shape(saved.shape)
    if not are_compatible(shape, tuple(entry.shape)):
        raise errors.ShapeMismatch(
            f"variable {saved.name!r} of the model has shape {as_text(shape)}, its value {key!r} "
            f"in the checkpoint {tuple(entry.shape)}"
        )


def _array(value: Any) -> Array:
    if not isinstance(value, bytes):
        return np.asarray(value)
    # As an object: an array of bytes would lose zeros at the end.
    array = np.empty((), object)
    array[()] = value
    return array
