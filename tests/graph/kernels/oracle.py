"""Kernels against TensorFlow: the same operation, inputs and attributes for both.

An `Op` says what to run. The attributes that a case leaves out come from the operation's
definition in TensorFlow, those that follow from the inputs are what TensorFlow infers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ckptmgr.graph.kernels.activations
import ckptmgr.graph.kernels.arithmetic
import ckptmgr.graph.kernels.blocks
import ckptmgr.graph.kernels.casting
import ckptmgr.graph.kernels.comparison
import ckptmgr.graph.kernels.concatenation
import ckptmgr.graph.kernels.convolution
import ckptmgr.graph.kernels.creation
import ckptmgr.graph.kernels.diagonals
import ckptmgr.graph.kernels.elementwise
import ckptmgr.graph.kernels.expansion
import ckptmgr.graph.kernels.gathering
import ckptmgr.graph.kernels.identity
import ckptmgr.graph.kernels.images
import ckptmgr.graph.kernels.linear_algebra
import ckptmgr.graph.kernels.normalization
import ckptmgr.graph.kernels.ordering
import ckptmgr.graph.kernels.pooling
import ckptmgr.graph.kernels.reductions
import ckptmgr.graph.kernels.segments
import ckptmgr.graph.kernels.selection
import ckptmgr.graph.kernels.shapes
import ckptmgr.graph.kernels.slicing
import ckptmgr.graph.kernels.special_functions  # noqa: F401
from ckptmgr import errors
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.kernels.registry import find_kernel

Array = np.ndarray[Any, Any]
Input = Array | Sequence[Array]


class Node:
    """An operation of a graph, as kernels see it."""

    def __init__(self, op: str, attrs: Mapping[str, Any]) -> None:
        self.name = f"a_node/{op}"
        self.op = op
        self._attrs = attrs

    def attr(self, name: str) -> Any:
        return self._attrs[name]


def compute(op: str, inputs: Sequence[Array], **attrs: Any) -> Any:
    """What a kernel answers, with attributes in Python's form."""
    return find_kernel(op, f"a_node/{op}").compute(Node(op, attrs), *inputs)


def both(
    tf: Any, op: str, inputs: Sequence[Input], attrs: Mapping[str, Any]
) -> tuple[list[Array], list[Array]]:
    """What TensorFlow and what our kernel answer."""
    wanted, complete = run_tensorflow(tf, op, inputs, attrs)
    found = find_kernel(op, "").compute(Node(op, complete), *_flat(inputs))
    return wanted, list(found) if isinstance(found, tuple) else [found]


def run_tensorflow(
    tf: Any, op: str, inputs: Sequence[Input], attrs: Mapping[str, Any]
) -> tuple[list[Array], dict[str, Any]]:
    """The outputs, and all attributes of the node."""
    from tensorflow.python.framework import op_def_library

    graph = tf.Graph()
    with graph.as_default():
        fed: dict[Any, Array] = {}
        args = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                args.append(_placeholder(tf, fed, value))
            else:
                args.append([_placeholder(tf, fed, element) for element in value])
        definition = _op_def(op)
        names = [arg.name for arg in definition.input_arg]
        keywords = dict(zip(names, args, strict=True))
        # What tf.raw_ops call, but with the names of the definition.
        given = _defaults(definition) | _for_tensorflow(attrs)
        op_def_library._apply_op_helper(op, **keywords, **given)
        node = graph.get_operations()[-1]
        assert node.type == op
        with tf.compat.v1.Session(graph=graph, config=_config(tf)) as session:
            outputs = session.run(list(node.outputs), fed)
    complete = {
        name: _from_value(node.node_def.attr[name]) for name in node.node_def.attr if name[0] != "_"
    }
    return [
        np.asarray(value, output.dtype.as_numpy_dtype)
        for value, output in zip(outputs, node.outputs, strict=True)
    ], complete


def assert_equal(found: Sequence[Any], wanted: Sequence[Array], tolerance: float = 0.0) -> None:
    """The same dtypes, shapes and values, the floats as exactly as their width allows."""
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert type(mine) is np.ndarray
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        close = max(_CLOSE.get(theirs.dtype, 0), tolerance)
        if close:
            wide = np.complex128 if theirs.dtype.kind == "c" else np.float64
            np.testing.assert_allclose(
                mine.astype(wide), theirs.astype(wide), rtol=close, atol=close / 10
            )
        else:
            np.testing.assert_array_equal(mine, theirs)


_CLOSE: dict[Any, float] = {
    np.dtype(np.float16): 2e-3,
    np.dtype(ml_dtypes.bfloat16): 1.6e-2,
    np.dtype(np.float32): 2e-6,
    np.dtype(np.float64): 1e-12,
    np.dtype(np.complex64): 2e-6,
    np.dtype(np.complex128): 1e-12,
}


def _flat(inputs: Sequence[Input]) -> list[Array]:
    flat: list[Array] = []
    for value in inputs:
        flat += [value] if isinstance(value, np.ndarray) else list(value)
    return flat


def _placeholder(tf: Any, fed: dict[Any, Array], value: Array) -> Any:
    dtype = tf.as_dtype(int(dtypes.from_numpy(value.dtype)))
    tensor = tf.compat.v1.placeholder(dtype, value.shape)
    fed[tensor] = value
    return tensor


def _defaults(definition: Any) -> dict[str, None]:
    """The attributes that a caller may leave open, which None stands for."""
    inferred = {
        name
        for arg in definition.input_arg
        for name in (arg.type_attr, arg.number_attr, arg.type_list_attr)
    }
    return {
        attr.name: None
        for attr in definition.attr
        if attr.HasField("default_value") and attr.name not in inferred
    }


def _op_def(op: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op)


def _for_tensorflow(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: int(value) if isinstance(value, DataType) else value for name, value in attrs.items()
    }


def _config(tf: Any) -> Any:
    """Runs each operation as it stands."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def _from_value(value: Any) -> Any:
    """An AttrValue in the form in which kernels get it."""
    kind = value.WhichOneof("value")
    if kind == "type":
        return DataType(value.type)
    if kind == "shape":
        if value.shape.unknown_rank:
            return None
        return tuple(None if dim.size < 0 else dim.size for dim in value.shape.dim)
    if kind == "list":
        if value.list.type:
            return [DataType(number) for number in value.list.type]
        return list(value.list.i) or list(value.list.s) or list(value.list.f)
    return getattr(value, kind) if kind else None


def _in_python(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.encode() if isinstance(value, str) else value for name, value in attrs.items()
    }


# --------------------------------------------------------------------------- writing cases

Case = tuple[str, Sequence[Any], Mapping[str, Any]]

HALF, FLOAT, DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INTS = [np.dtype(f"{kind}{width}") for kind in "iu" for width in (1, 2, 4, 8)]
FLOATS = [HALF, BFLOAT16, FLOAT, DOUBLE]
COMPLEX = [np.dtype(np.complex64), np.dtype(np.complex128)]


def name_of(case: Any) -> str:
    """A test's id."""
    return str(case[0]) if isinstance(case, tuple) else str(case)


def f32(values: Any) -> Array:
    return np.array(values, np.float32)


def i32(values: Any) -> Array:
    return np.array(values, np.int32)


def i64(values: Any) -> Array:
    return np.array(values, np.int64)


def strings(values: Any) -> Array:
    return np.array(values, object)


def random(shape: Sequence[int], dtype: Any = np.float32, seed: int = 0) -> Array:
    """Numbers around 0, or below 10 for integers."""
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if kind in "iu":
        return generator.integers(0 if kind == "u" else -9, 10, shape).astype(dtype)
    values = generator.normal(size=shape)
    if kind == "c":
        values = values + 1j * generator.normal(size=shape)
    return values.astype(dtype)


def check(tf: Any, case: Case, tolerance: float = 0.0) -> None:
    op, inputs, attrs = case
    wanted, found = both(tf, op, inputs, attrs)
    assert_equal(found, wanted, tolerance)


def both_refuse(tf: Any, case: Case) -> str:
    """Our message for what TensorFlow refuses too."""
    op, inputs, attrs = case
    with pytest.raises((tf.errors.OpError, ValueError)):
        run_tensorflow(tf, op, inputs, attrs)
    defaults = {attr.name: _from_value(attr.default_value) for attr in _op_def(op).attr}
    with pytest.raises(errors.InvalidArgument) as caught:
        compute(op, _flat(inputs), **defaults | _in_python(attrs))
    return str(caught.value)
