"""Bodies of functions that ask for very much in a few bytes."""

from __future__ import annotations

import tracemalloc

import pytest

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.node_def_pb2 import NodeDef
from ckptmgr._proto.types_pb2 import DT_FLOAT
from ckptmgr.graph.function_bodies import FunctionBody


def numbered(count: int, arguments: int = 1) -> FunctionDef:
    """A function with lists of arguments, each of that length."""
    function = FunctionDef()
    function.signature.name = "f"
    function.signature.attr.add(name="N", type="int").default_value.i = count
    for number in range(arguments):
        function.signature.input_arg.add(name=f"a{number}", type=DT_FLOAT, number_attr="N")
    return function


def unpacking(nodes: int, count: int) -> FunctionDef:
    function = numbered(1)
    for number in range(nodes):
        node = NodeDef(name=f"u{number}", op="Unpack", input=["a0:0"])
        node.attr["num"].i = count
        node.attr["T"].type = DT_FLOAT
        function.node_def.append(node)
    function.signature.output_arg.add(name="out", type=DT_FLOAT)
    function.ret["out"] = f"u{nodes - 1}:output:{count - 1}"
    return function


def test_lists_of_arguments() -> None:
    assert len(FunctionBody(numbered(1000, 3), {}, {}).arguments) == 3000
    assert FunctionBody(unpacking(1, 1000), {}, {}).results[0][1] == 999


@pytest.mark.parametrize(
    "function",
    [numbered(2**16), numbered(5000, 100), unpacking(1, 2**16)],
    ids=["one argument", "many arguments", "outputs"],
)
def test_too_many_arguments_or_outputs(function: FunctionDef) -> None:
    tracemalloc.start()
    with pytest.raises(errors.InvalidGraph, match="outputs is too many in one graph"):
        FunctionBody(function, {}, {})
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 6 << 20
