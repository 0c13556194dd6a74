"""The nodes that take a value from a constant where a variable was read.

Source: tensorflow/python/framework/convert_to_constants.py.
"""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr.formats import dtypes
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.tensor_values import encode_tensor


def reading(node: NodeDef, in_function: bool) -> NodeDef:
    """What takes a value from a constant where a variable was read."""
    made = NodeDef(name=node.name, device=node.device)
    if node.op == "ReadVariableOp":
        made.op = "Identity"
        made.input.append(node.input[0])
        made.attr["T"].CopyFrom(node.attr["dtype"])
    else:
        if node.op == "ResourceGather" and node.attr["batch_dims"].i != 0:
            raise errors.InvalidGraph(
                f"batch_dims must be 0 to be frozen, but node {node.name!r} has "
                f"{node.attr['batch_dims'].i}"
            )
        made.op = "GatherV2" if node.op == "ResourceGather" else "GatherNd"
        made.input.extend(node.input[:2])
        made.attr["Tparams"].CopyFrom(node.attr["dtype"])
        made.attr["Tindices"].CopyFrom(node.attr["Tindices"])
        if node.op == "ResourceGather":
            made.input.append(f"{node.name}/axis:output:0" if in_function else f"{node.name}/axis")
            made.attr["Taxis"].CopyFrom(node.attr["Tindices"])
    if "_class" in node.attr:
        made.attr["_class"].CopyFrom(node.attr["_class"])
    return made


def axis(node: NodeDef) -> NodeDef:
    """The constant for the axis that rows are gathered along.

    Raises:
        InvalidGraph: Its indices are not whole numbers.
    """
    axis = NodeDef(name=f"{node.name}/axis", op="Const", device=node.device)
    dtype = node.attr["Tindices"].type
    if int(dtype) not in (DataType.DT_INT32, DataType.DT_INT64):
        raise errors.InvalidGraph(
            f"the indices of node {node.name!r} must be int32 or int64, found {dtypes.name(dtype)}"
        )
    axis.attr["dtype"].type = dtype
    zero = np.zeros((), dtypes.to_numpy(dtype))
    axis.attr["value"].tensor.CopyFrom(encode_tensor(zero))
    return axis
