"""Values that a graph brings along, and those that it must be given."""

from __future__ import annotations

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.formats import dtypes
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Const")
def constant(node: KernelNode) -> Array:
    return node.attr("value")


@kernel("Placeholder", "PlaceholderV2")
def placeholder(node: KernelNode) -> Array:
    """What is fed is not computed, so this one was not."""
    shape = node.attr("shape")
    known = ""
    if shape is not None:
        sizes = ",".join("?" if size is None else str(size) for size in shape)
        known = f" and shape [{sizes}]"
    dtype = dtypes.name(node.attr("dtype"))
    dtype = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    raise errors.InvalidArgument(
        f"You must feed a value for placeholder tensor '{node.name}' with dtype {dtype}{known}"
    )


@kernel("ControlTrigger")
def trigger(node: KernelNode) -> tuple[()]:
    return ()
