"""What stands for a tensor becomes one: a tensor, a variable, or a value that becomes a constant.

An object stands for a tensor by its method `_as_tensor(dtype, name, as_ref)`.

Source: tensorflow/python/framework/tensor_conversion_registry.py.
"""

from __future__ import annotations

from typing import Any

from ckptmgr import errors
from ckptmgr.graph.construction import constant
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Tensor


def as_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    *,
    graph: Graph | None = None,
    as_ref: bool = False,
) -> Tensor:
    """The tensor that `value` is or stands for, or else a new constant.

    Args:
        name: Of the constant or read that has to be made.
        graph: Where constants are made; the default graph where it is None.
        as_ref: Of a variable of references, give the reference rather than the value.
    Raises:
        GraphTypeError: It is a tensor of another dtype, or nothing that a tensor can hold.
    """
    convert = getattr(value, "_as_tensor", None)
    if convert is not None:
        value = convert(dtype=dtype, name=name, as_ref=as_ref)
    if isinstance(value, Tensor):
        if dtype is not None and value.dtype.base_dtype != as_dtype(dtype).base_dtype:
            raise errors.GraphTypeError(
                f"Tensor conversion requested dtype {as_dtype(dtype).name} for Tensor with dtype "
                f"{value.dtype.name}: {value!r}"
            )
        return value
    return constant(graph or get_default_graph(), value, dtype=dtype, name=name or "Const")
