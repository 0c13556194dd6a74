"""Random tensors: `tf.random`, and the same functions under their older names.

The seeds that go into an operation are those that TensorFlow would give it; the numbers drawn from
them are this package's own.

Source: tensorflow/python/ops/random_ops.py, tensorflow/python/framework/random_seed.py.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr.compat.v1.arithmetic import add
from ckptmgr.compat.v1.conversion import convert_to_tensor, graph_of, tensor
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import seeds
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import get_default_graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.tensor_shape import Dimension


def set_random_seed(seed: int | None) -> None:
    """Set the seed of the default graph's random operations."""
    get_default_graph().seed = seed


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The two seeds of a new operation; None for both where it is to be different each time."""
    return seeds.get_seed(get_default_graph(), op_seed)


def _seeds(seed: int | None) -> dict[str, Any]:
    first, second = get_seed(seed)
    return {"seed": first, "seed2": second}


def _shape(shape: Any) -> Tensor:
    if isinstance(shape, list | tuple):
        if not shape:
            return convert_to_tensor([], DataType.DT_INT32, "shape")
        shape = [size.value if isinstance(size, Dimension) else size for size in shape]
    return convert_to_tensor(shape, name="shape")


def normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = DataType.DT_FLOAT,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    return _normal(
        "RandomStandardNormal", name or "random_normal", (shape, mean, stddev), dtype, seed
    )


def truncated_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = DataType.DT_FLOAT,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Normal, with what is more than two deviations from the mean drawn again."""
    return _normal(
        "TruncatedNormal", name or "truncated_normal", (shape, mean, stddev), dtype, seed
    )


def _normal(
    op_type: str, name: str, parameters: tuple[Any, Any, Any], dtype: Any, seed: int | None
) -> Tensor:
    with graph_of(parameters).name_scope(name) as scope:
        sizes = _shape(parameters[0])
        mean = convert_to_tensor(parameters[1], dtype, "mean")
        deviation = convert_to_tensor(parameters[2], dtype, "stddev")
        drawn = tensor(op_type, [sizes], {"dtype": dtype, **_seeds(seed)})
        scaled = tensor("Mul", [drawn, deviation], None, "mul")
        return add(scaled, mean, scope)


def uniform(
    shape: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = DataType.DT_FLOAT,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    wanted = as_dtype(dtype)
    if maxval is None:
        if wanted.is_integer:
            raise errors.GraphError(f"Must specify maxval for integer dtype {wanted!r}")
        maxval = 1
    with graph_of([shape, minval, maxval]).name_scope(name or "random_uniform") as scope:
        sizes = _shape(shape)
        is_unit = _is_int(minval, 0) and _is_int(maxval, 1)
        if is_unit and not wanted.is_integer:
            return tensor("RandomUniform", [sizes], {"dtype": wanted, **_seeds(seed)})
        low = convert_to_tensor(minval, wanted, "min")
        high = convert_to_tensor(maxval, wanted, "max")
        if wanted.is_integer:
            return tensor("RandomUniformInt", [sizes, low, high], _seeds(seed), scope)
        drawn = tensor("RandomUniform", [sizes], {"dtype": wanted, **_seeds(seed)})
        if _is_int(minval, 0):
            return tensor("Mul", [drawn, high])
        span = tensor("Sub", [high, low], None, "sub")
        return add(tensor("Mul", [drawn, span], None, "mul"), low, scope)


def _is_int(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The same rows in another order."""
    return tensor("RandomShuffle", [value], _seeds(seed), name)


def categorical(
    logits: Any,
    num_samples: Any,
    dtype: Any = None,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Draw indices with the probabilities of which `logits` are the logarithms."""
    with graph_of([logits]).name_scope(name or "categorical"):
        found = convert_to_tensor(logits, name="logits")
        attrs = {"output_dtype": dtype or DataType.DT_INT64, **_seeds(seed)}
        return tensor("Multinomial", [found, num_samples], attrs)


def multinomial(
    logits: Any,
    num_samples: Any,
    seed: int | None = None,
    name: str | None = None,
    output_dtype: Any = None,
) -> Tensor:
    """`categorical`, under its older name."""
    return categorical(logits, num_samples, output_dtype, seed, name or "multinomial")
