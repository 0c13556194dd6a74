"""What each type of operation takes and gives: TensorFlow's OpDefs, read once when first asked for.

The list beside this module is a serialized OpList, sorted by name and without documentation, that
scripts/extract_op_defs.py takes from TensorFlow. Functions of a graph's library are types of
operations, too: `of_function` gives theirs.

Source: tensorflow/core/framework/op_def.proto.
"""

from __future__ import annotations

import functools
from importlib import resources

from ckptmgr._proto.op_def_pb2 import OpDef, OpList

#: `versions.producer` of what the TensorFlow writes that the list is from, TF_GRAPH_DEF_VERSION in
#: tensorflow/core/public/version.h.
GRAPH_DEF_VERSION = 2474

#: The TensorFlow that the list is from.
TENSORFLOW_VERSION = "2.21.0"


def find(op_type: str) -> OpDef | None:
    """The definition of a type; None where it is not in the list. It must not be changed."""
    return _all().get(op_type)


def known_types() -> list[str]:
    """The names of all types in the list, sorted."""
    return list(_all())


@functools.cache
def attributes(op_type: str) -> dict[str, OpDef.AttrDef]:
    """The attributes of a type by name; empty where the type is not in the list."""
    op_def = find(op_type)
    return {} if op_def is None else {attr.name: attr for attr in op_def.attr}


@functools.cache
def _all() -> dict[str, OpDef]:
    data = resources.files("ckptmgr.graph").joinpath("op_defs.pb").read_bytes()
    return {op_def.name: op_def for op_def in OpList.FromString(data).op}
