"""How kernels compute: like TensorFlow, silently and in the dtype of their inputs.

Integers wrap, floats become infinite or NaN, and neither says so. The narrow floats are computed in
float32 and rounded once: TensorFlow's CPU kernels do that step by step, with the same result but
for the last digit. Code below `numeric` writes its constants in the dtype of the input: NumPy 1
computes a float32 scalar with a Python number in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import ml_dtypes
import numpy as np

from ckptmgr import errors
from ckptmgr.graph.kernels.registry import KernelNode

_NARROW = frozenset(
    np.dtype(scalar)
    for scalar in (
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e4m3b11fnuz,
        ml_dtypes.float8_e5m2fnuz,
    )
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def numeric(function: _Function) -> _Function:
    """Make a kernel of NumPy code that may warn, promote, and return scalars."""

    @functools.wraps(function)
    def compute(node: KernelNode, *inputs: Any) -> Any:
        narrow = next((value.dtype for value in inputs if value.dtype in _NARROW), None)
        if narrow is not None:
            inputs = tuple(map(widened, inputs))
        with np.errstate(all="ignore"):
            try:
                results = function(node, *inputs)
            except errors.CheckpointError:
                raise
            except (ValueError, IndexError) as error:
                shapes = ", ".join(str(list(value.shape)) for value in inputs)
                raise errors.InvalidArgument(
                    f"inputs of shapes {shapes} do not fit together: {error}"
                ) from error
            if isinstance(results, tuple):
                return tuple(_finished(result, narrow) for result in results)
            return _finished(results, narrow)

    return cast("_Function", compute)


def widened(value: Any) -> Any:
    """`value` in float32 where its floats are narrower."""
    return value.astype(np.float32) if value.dtype in _NARROW else value


def _finished(result: Any, narrow: np.dtype[Any] | None) -> Any:
    if isinstance(result, bytes):  # an element of an object array of rank 0
        return np.array(result, object)
    if narrow is not None and result.dtype == np.float32:
        return np.asarray(result).astype(narrow)
    return np.asarray(result)
