"""Functions that restore, as models bring them along: not to be trusted."""

from __future__ import annotations

import time

import pytest
from google.protobuf import text_format

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr.graph.restore_functions import StoredVariable, stored_variables


def graph_def(*, names: str = 'string_val: "key"', index: str = "0", calls: int = 0) -> GraphDef:
    """A call of a function that restores one variable, and calls itself a number of times."""
    constant = 'node_def { name: "%s" op: "Const" attr { key: "value" value { tensor { %s } } } }'
    vector = "dtype: DT_STRING tensor_shape { dim { size: %d } } %s"
    size = 2**50 if names.startswith("#") else 1
    call = (
        '{ name: "restore%s" op: "PartitionedCall" input: "%s" input: "%s" '
        'attr { key: "f" value { func { name: "f" } } } }'
    )
    text = (
        f"node {call % ('', 'path', 'handle')} library {{ function {{ "
        'signature { name: "f" input_arg { name: "path" } input_arg { name: "v" } } '
        + constant % ("names", vector % (size, names.removeprefix("#")))
        + constant % ("slices", vector % (size, 'string_val: ""'))
        + 'node_def { name: "r" op: "RestoreV2" input: "path" input: "names:output:0" '
        'input: "slices:output:0" } '
        f'node_def {{ name: "i" op: "Identity" input: "r:tensors:{index}" }} '
        'node_def { name: "a" op: "AssignVariableOp" input: "v" input: "i:output:0" }'
        + "".join(f"node_def {call % (n, 'path', 'v')}" for n in range(calls))
        + " } }"
    )
    return text_format.Parse(text, GraphDef())


def test_a_variable_and_its_key() -> None:
    found = stored_variables(graph_def(), "restore")
    assert found == [StoredVariable("handle", "key", "")]
    assert stored_variables(graph_def(), "another") == []


@pytest.mark.parametrize("calls", [1, 2, 50])
def test_a_function_that_calls_itself(calls: int) -> None:
    with pytest.raises(errors.InvalidGraph, match="calls more than 1000 others"):
        stored_variables(graph_def(calls=calls), "restore")


@pytest.mark.parametrize("index", ["²", "1", "99999999999999999999", "-1", "x"])
def test_a_tensor_that_there_is_none_of(index: str) -> None:
    assert stored_variables(graph_def(index=index), "restore") == []


def test_one_text_that_is_repeated_very_often() -> None:
    huge = graph_def(names='#string_val: "key"', index="123456789")
    assert stored_variables(huge, "restore") == [StoredVariable("handle", "key", "")]


def test_texts_of_which_the_last_is_repeated_very_often() -> None:
    huge = graph_def(names='#string_val: "first" string_val: "key"', index="123456789")
    assert stored_variables(huge, "restore") == [StoredVariable("handle", "key", "")]


@pytest.mark.parametrize("odd", ["dtype: DT_INT32", "tensor_shape { dim { size: 9 } }"])
def test_names_that_are_no_vector_of_texts(odd: str) -> None:
    found = graph_def()
    names = found.library.function[0].node_def[0].attr["value"].tensor
    names.MergeFrom(text_format.Parse(odd, type(names)()))
    assert stored_variables(found, "restore") == []


def test_functions_that_are_called_often_and_hold_many_names() -> None:
    """Each call of each function once decoded all names for each variable."""
    called = graph_def(names='string_val: "key" ' * 3000)
    function = called.library.function[0]
    for constant in function.node_def[:2]:
        constant.attr["value"].tensor.tensor_shape.dim[0].size = 3000
    function.node_def.extend([function.node_def[-1]] * 300)
    outer = called.library.function.add()
    outer.signature.CopyFrom(function.signature)
    outer.signature.name = "outer"
    for _ in range(500):
        outer.node_def.add().CopyFrom(called.node[0])
        outer.node_def[-1].input[:] = ["path", "v"]
    called.node[0].attr["f"].func.name = "outer"
    began_secs = time.process_time()
    assert len(stored_variables(called, "restore")) == 301 * 500
    assert time.process_time() - began_secs < 5


def test_a_function_that_assigns_often_and_is_called_often() -> None:
    called = graph_def()
    function = called.library.function[0]
    function.node_def.extend([function.node_def[-1]] * 2000)
    outer = called.library.function.add()
    outer.signature.CopyFrom(function.signature)
    outer.signature.name = "outer"
    for _ in range(900):
        outer.node_def.add().CopyFrom(called.node[0])
        outer.node_def[-1].input[:] = ["path", "v"]
    called.node[0].attr["f"].func.name = "outer"
    with pytest.raises(errors.InvalidGraph, match="assigns more than 262144 variables"):
        stored_variables(called, "restore")
