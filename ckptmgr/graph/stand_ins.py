"""What TensorFlow gets in place of operations that it must not compute.

TensorFlow computes parts of a graph when it is given it, constant shapes for example, also within
functions. It never does that with what is stateful. So an operation of a refused type is replaced
by a PyFunc, which is stateful, and fails unless Python code has registered its token.

What gives references stays: it is stateful, and computed in runs only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef, FunctionDefLibrary
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.construction import argument_types
from ckptmgr.graph.dtypes import base
from ckptmgr.graph.function_bodies import complete
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.policy import Policy

#: For each node that was replaced, the place of each output among all, by its name.
_Replaced = dict[str, dict[str, range]]


def node_of(op: Operation, policy: Policy) -> NodeDef:
    """The node of an operation, or what stands in for it."""
    gives_references = any(base(out.data_type) != out.data_type for out in op.outputs)
    if gives_references or policy.may_run(op.type):
        return op.node_def
    # An operation of an unknown type does not tell what it gives to another one.
    return _stand_in(op.name, (out.data_type or DataType.DT_STRING for out in op.outputs))


def library_of(
    functions: Iterable[FunctionDef], policy: Policy, op_defs: Mapping[str, OpDef]
) -> FunctionDefLibrary:
    """A library of functions in which nodes are replaced like those of a graph.

    Args:
        op_defs: The types of operations in them, as far as TensorFlow knows them.
    Raises:
        InvalidGraph: What a node to be replaced gives cannot be told.
    """
    return FunctionDefLibrary(
        function=[_function(function, policy, op_defs) for function in functions]
    )


def _function(function: FunctionDef, policy: Policy, op_defs: Mapping[str, OpDef]) -> FunctionDef:
    changed = FunctionDef()
    changed.CopyFrom(function)
    replaced: _Replaced = {}
    for node in changed.node_def:
        op_def = op_defs.get(node.op)
        if policy.may_run(node.op) or op_def is None or any(a.is_ref for a in op_def.output_arg):
            continue
        types: list[DataType] = []
        replaced[node.name] = outputs = {}
        for argument in op_def.output_arg:
            start = len(types)
            types += argument_types(argument, complete(node, op_def))
            outputs[argument.name] = range(start, len(types))
        waits = [text for text in node.input if text.startswith("^")]
        node.CopyFrom(_stand_in(node.name, types))
        node.input.extend(waits)
    for node in changed.node_def:
        node.input[:] = [name for text in node.input for name in _renamed(text, replaced)]
    for result, text in function.ret.items():
        names = _renamed(text, replaced)
        if len(names) != 1:
            raise errors.InvalidGraph(
                f"result {result!r} of function {function.signature.name!r} must be one tensor of "
                f"a node that is refused, found {text!r:.200}"
            )
        changed.ret[result] = names[0]
    return changed


def _renamed(text: str, replaced: _Replaced) -> list[str]:
    """What an input of a node of a function is called now: "x:out:1", or "x:out" for a list."""
    name, _, rest = text.partition(":")
    if name not in replaced:
        return [text]
    output, _, index = rest.partition(":")
    places = replaced[name].get(output)
    if places is not None and index:
        is_there = index.isascii() and index.isdigit() and int(index[:10]) < len(places)
        places = places[int(index) :][:1] if is_there else None
    if places is None:
        raise errors.InvalidGraph(f"node {name!r} in a function has no tensor {text!r:.200}")
    return [f"{name}:output:{place}" for place in places]


def _stand_in(name: str, types: Iterable[DataType]) -> NodeDef:
    node = NodeDef(name=name, op="PyFunc")
    node.attr["token"].s = b"refused"
    node.attr["Tin"].list.SetInParent()
    node.attr["Tout"].list.SetInParent()
    node.attr["Tout"].list.type.extend(int(dtype) for dtype in types)  # type: ignore[misc]
    return node
