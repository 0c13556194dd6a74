from __future__ import annotations

import pytest
from google.protobuf import text_format

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.stand_ins import library_of

#: Of a type that gives one tensor, a list of two, and one more.
FUNCTION = """
signature { name: "f" output_arg { name: "o" type: DT_FLOAT } }
node_def { name: "r" op: "RpcCall" input: "x" input: "^w" attr { key: "N" value { i: 2 } } }
node_def { name: "w" op: "NoOp" }
node_def { name: "a" op: "Any" input: "r:first" input: "r:list" input: "r:last:0" input: "^r" }
node_def { name: "b" op: "Any" input: "r:list:1" input: "a:out:0" }
ret { key: "o" value: "r:last:0" }
"""
TYPE = """
name: "RpcCall" input_arg { name: "x" type: DT_STRING }
output_arg { name: "first" type: DT_INT32 }
output_arg { name: "list" type: DT_STRING number_attr: "N" }
output_arg { name: "last" type_attr: "T" }
attr { name: "N" type: "int" } attr { name: "T" type: "type" default_value { type: DT_FLOAT } }
"""
OP_DEFS = {"RpcCall": text_format.Parse(TYPE, OpDef())}


def changed(text: str, *allowed: str) -> FunctionDef:
    (function,) = library_of(
        [text_format.Parse(text, FunctionDef())], Policy(allowed), OP_DEFS
    ).function
    return function


def test_outputs_are_taken_by_the_names_that_they_have_now() -> None:
    function = changed(FUNCTION)
    assert [(node.name, node.op) for node in function.node_def] == [
        ("r", "PyFunc"),
        ("w", "NoOp"),
        ("a", "Any"),
        ("b", "Any"),
    ]
    refused, _, first, second = function.node_def
    assert list(refused.attr["Tout"].list.type) == [3, 7, 7, 1]
    assert list(refused.input) == ["^w"]
    assert list(first.input) == [
        "r:output:0",
        "r:output:1",
        "r:output:2",
        "r:output:3",
        "^r",
    ]
    assert list(second.input) == ["r:output:2", "a:out:0"]
    assert function.ret["o"] == "r:output:3"


def test_what_is_allowed_stays_as_it_is() -> None:
    assert changed(FUNCTION, "RpcCall") == text_format.Parse(FUNCTION, FunctionDef())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("r:last:0", "r:last:1", "has no tensor 'r:last:1'"),
        ("r:list:1", "r:list:x", "has no tensor 'r:list:x'"),
        ("r:first", "r:none", "has no tensor 'r:none'"),
        ("r:first", "r", "has no tensor 'r'"),
        ('value: "r:last:0"', 'value: "r:list"', "must be one tensor"),
        ("i: 2", "i: 9999999", "must be between 0 and"),
        ("i: 2", 'placeholder: "N"', "must have a value of kind"),
    ],
)
def test_what_cannot_be_replaced(old: str, new: str, problem: str) -> None:
    with pytest.raises(errors.InvalidGraph, match=problem):
        changed(FUNCTION.replace(old, new))
