"""What variables begin with: functions of a shape that add its operations to the graph.

An initializer is called as `initializer(shape, dtype, partition_info)`; of a part of a partitioned
variable, `partition_info` tells the whole's shape. The operations have TensorFlow's names.

Source: tensorflow/python/ops/init_ops.py, random_ops.py,
tensorflow/python/framework/random_seed.py.
"""

# ruff: noqa: ARG002 - what all initializers take

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.dtypes import DType, as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.seeds import get_seed
from ckptmgr.graph.tensor_shape import TensorShape

# Of fewer elements than this a constant is made, of more a Fill (array_ops.py, _constant_if_small).
_SMALL = 1000
# The standard deviation of a normal distribution that is cut off at two of them.
_TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """Which part of a partitioned variable is initialized."""

    full_shape: tuple[int, ...]
    var_offset: tuple[int, ...]


# --------------------------------------------------------------------------- operations


def filled(graph: Graph, shape: Any, value: Any, dtype: Any, name: str) -> Tensor:
    """A tensor that is `value` everywhere: a constant where it is small."""
    sizes = _sizes(shape)
    if math.prod(sizes) < _SMALL:
        return constant(graph, value, dtype=dtype, shape=sizes, name=name)
    with graph.name_scope(name) as scope:
        dims = constant(graph, np.array(sizes, np.int32), name="shape_as_tensor")
        element = constant(graph, value, dtype=dtype, name="Const")
        return create_op(graph, "Fill", [dims, element], name=scope).outputs[0]


def random_normal(
    graph: Graph, shape: Any, mean: float, stddev: float, dtype: Any, seed: int | None
) -> Tensor:
    return _normal(graph, "random_normal", "RandomStandardNormal", shape, mean, stddev, dtype, seed)


def truncated_normal(
    graph: Graph, shape: Any, mean: float, stddev: float, dtype: Any, seed: int | None
) -> Tensor:
    return _normal(graph, "truncated_normal", "TruncatedNormal", shape, mean, stddev, dtype, seed)


def _normal(  # noqa: PLR0913 - the parameters of a distribution, and its name
    graph: Graph,
    name: str,
    op_type: str,
    shape: Any,
    mean: float,
    stddev: float,
    dtype: Any,
    seed: int | None,
) -> Tensor:
    with graph.name_scope(name) as scope:
        dims = _dims(graph, shape)
        center = constant(graph, mean, dtype=dtype, name="mean")
        width = constant(graph, stddev, dtype=dtype, name="stddev")
        drawn = _draw(graph, op_type, [dims], dtype, seed)
        scaled = create_op(graph, "Mul", [drawn, width], name="mul").outputs[0]
        return create_op(graph, "AddV2", [scaled, center], name=scope).outputs[0]


def random_uniform(
    graph: Graph, shape: Any, minval: float, maxval: float | None, dtype: Any, seed: int | None
) -> Tensor:
    """Numbers from `minval` up to, but not, `maxval`, which is 1 for floats where it is None."""
    kind = as_dtype(dtype)
    if maxval is None:
        if kind.is_integer:
            raise errors.GraphError(f"Must specify maxval for integer dtype {kind.name}")
        maxval = 1
    with graph.name_scope("random_uniform") as scope:
        dims = _dims(graph, shape)
        low = constant(graph, minval, dtype=dtype, name="min")
        high = constant(graph, maxval, dtype=dtype, name="max")
        if kind.is_integer:
            attrs = _seeds(graph, seed)
            return create_op(graph, "RandomUniformInt", [dims, low, high], attrs, scope).outputs[0]
        drawn = _draw(graph, "RandomUniform", [dims], dtype, seed)
        width = create_op(graph, "Sub", [high, low], name="sub").outputs[0]
        scaled = create_op(graph, "Mul", [drawn, width], name="mul").outputs[0]
        return create_op(graph, "AddV2", [scaled, low], name=scope).outputs[0]


def _draw(
    graph: Graph, op_type: str, inputs: Sequence[Tensor], dtype: Any, seed: int | None
) -> Tensor:
    attrs = {"dtype": as_dtype(dtype), **_seeds(graph, seed)}
    return create_op(graph, op_type, inputs, attrs, op_type).outputs[0]


def _seeds(graph: Graph, seed: int | None) -> dict[str, int]:
    """The two seeds of an operation; both 0 have the session draw others each time."""
    of_graph, of_op = get_seed(graph, seed)
    return {"seed": of_graph or 0, "seed2": of_op or 0}


def _dims(graph: Graph, shape: Any) -> Tensor:
    return constant(graph, np.array(_sizes(shape), np.int32), name="shape")


def _sizes(shape: Any) -> tuple[int, ...]:
    sizes = TensorShape(shape).as_tuple()
    if sizes is None or None in sizes:
        raise errors.GraphError(f"an initial value needs a shape that is known, found {shape}")
    return tuple(size for size in sizes if size is not None)


# --------------------------------------------------------------------------- initializers


class Initializer:
    """Makes initial values of a shape."""

    def __init__(self, dtype: Any = "float32") -> None:
        self.dtype: DType = as_dtype(dtype)

    def __call__(
        self, shape: Any, dtype: Any = None, partition_info: PartitionInfo | None = None
    ) -> Tensor:
        """Add the operations for a value of that shape to the default graph."""
        kind = self.dtype if dtype is None else as_dtype(dtype).base_dtype
        return self._build(get_default_graph(), shape, kind, partition_info)

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        raise TypeError(f"{type(self).__name__} makes no values")


class Zeros(Initializer):
    """Zeros; False, or empty strings."""

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        zero: Any = b"" if dtype == "string" else False if dtype.is_bool else 0
        return filled(graph, shape, zero, dtype, "zeros")


class Ones(Initializer):
    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        return filled(graph, shape, True if dtype.is_bool else 1, dtype, "ones")


class Constant(Initializer):
    """One value everywhere, or values in order of which the last one fills the rest."""

    def __init__(self, value: Any = 0, dtype: Any = "float32", verify_shape: bool = False) -> None:
        super().__init__(dtype)
        self.value = value
        self.verify_shape = verify_shape

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        sizes = _sizes(shape)
        if self.verify_shape and np.shape(self.value) != sizes:
            raise errors.GraphTypeError(
                f"Expected Tensor's shape: {sizes}, got {np.shape(self.value)}."
            )
        return constant(graph, self.value, dtype=dtype, shape=sizes, name="Const")


class RandomUniform(Initializer):
    def __init__(
        self,
        minval: float = 0.0,
        maxval: float | None = None,
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(dtype)
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        return random_uniform(graph, shape, self.minval, self.maxval, dtype, self.seed)


class RandomNormal(Initializer):
    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 1.0,
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(dtype)
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        return random_normal(graph, shape, self.mean, self.stddev, dtype, self.seed)


class TruncatedNormal(RandomNormal):
    """As `RandomNormal`, drawn again beyond two standard deviations."""

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        return truncated_normal(graph, shape, self.mean, self.stddev, dtype, self.seed)


class VarianceScaling(Initializer):
    """Random values whose variance fits how many inputs or outputs a layer has.

    Args:
        mode: "fan_in", "fan_out" or "fan_avg": what `scale` is divided by.
        distribution: "normal", "truncated_normal" (the same), "untruncated_normal" or "uniform".
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(dtype)
        if scale <= 0.0:
            raise errors.GraphError(f"scale must be positive, found {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise errors.GraphError(f"mode must be fan_in, fan_out or fan_avg, found {mode!r}")
        if distribution not in ("normal", "truncated_normal", "untruncated_normal", "uniform"):
            raise errors.GraphError(
                f"distribution must be normal, truncated_normal, untruncated_normal or uniform, "
                f"found {distribution!r}"
            )
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def _build(
        self, graph: Graph, shape: Any, dtype: DType, partition_info: PartitionInfo | None
    ) -> Tensor:
        fan_in, fan_out = _fans(partition_info.full_shape if partition_info else _sizes(shape))
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}
        variance = self.scale / max(1.0, fan[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random_uniform(graph, shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random_normal(graph, shape, 0.0, math.sqrt(variance), dtype, self.seed)
        stddev = math.sqrt(variance) / _TRUNCATED_DEVIATION
        return truncated_normal(graph, shape, 0.0, stddev, dtype, self.seed)


class GlorotUniform(VarianceScaling):
    """What `get_variable` takes for floats where nothing is said."""

    def __init__(self, seed: int | None = None, dtype: Any = "float32") -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed, dtype)


class GlorotNormal(VarianceScaling):
    def __init__(self, seed: int | None = None, dtype: Any = "float32") -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, dtype)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and outputs a layer with weights of that shape has."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field
