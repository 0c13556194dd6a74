from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.saved_object_graph_pb2 import FunctionSpec
from ckptmgr._proto.struct_pb2 import StructuredValue
from ckptmgr.saved_model.arguments import (
    CallSpec,
    RaggedTensor,
    decode_call_spec,
    flatten,
    pack,
    to_array,
)
from ckptmgr.saved_model.signatures import SparseTensor
from ckptmgr.saved_model.structured_values import (
    DtypeValue,
    NamedTuple,
    ShapeValue,
    TensorSpec,
    TypeSpec,
)

X = TensorSpec(ShapeValue((None, 2)), DtypeValue(1), "x")
WORD = TensorSpec(ShapeValue(()), DtypeValue(7), "word")
SPARSE = TypeSpec("SparseTensorSpec", (ShapeValue((None, 4)), DtypeValue(1)))
RAGGED = TypeSpec("RaggedTensorSpec", (ShapeValue((None, None)), DtypeValue(1), 2, DtypeValue(9)))


def test_values_nest_as_their_specs_do() -> None:
    spec = ({"b": X, "a": [WORD, True]}, NamedTuple("Point", {"y": X, "x": None}))
    value = ({"a": ["cat", True], "b": [[1, 2]]}, {"x": None, "y": [[3, 4]]})

    found = list(flatten(spec, value, "argument"))

    assert [array.dtype.kind for array in found] == ["O", "f", "f"]  # by key: a, b
    assert found[0][()] == b"cat"
    assert found[2].tolist() == [[3, 4]]
    assert pack(spec, iter([1, 2, 3])) == ({"a": [1, True], "b": 2}, {"y": 3, "x": None})


def test_tensors_of_several_parts() -> None:
    sparse = SparseTensor([[0, 1]], [1.5], [1, 4])
    ragged = RaggedTensor([1.0, 2.0], ([0, 1], [0, 2]))

    assert [a.tolist() for a in flatten(SPARSE, sparse, "x")] == [[[0, 1]], [1.5], [1, 4]]
    # The values first, and then the rows, the innermost dimension's first.
    assert [a.tolist() for a in flatten(RAGGED, ragged, "x")] == [[1.0, 2.0], [0, 2], [0, 1]]
    assert pack(SPARSE, iter("ivs")) == SparseTensor("i", "v", "s")
    assert pack(RAGGED, iter("vio")) == RaggedTensor("v", ("o", "i"))


@pytest.mark.parametrize(
    ("spec", "value", "problem"),
    [
        (X, [["a", "b"]], "argument must be float32 of shape"),
        (X, [[1.0]], "found shape (1, 1)"),
        ([X], X, "argument must be 1 values"),
        ([X, X], [[[1, 2]]], "must be 2 values"),
        ({"a": X}, {"b": 1}, "must have the keys 'a'"),
        ({"a": X}, 3, "must have the keys 'a', found 3"),
        (True, False, "argument must be True, found False"),
        (None, np.zeros(2), "argument must be None"),
        (SPARSE, [1], "must be a SparseTensor"),
        (RAGGED, RaggedTensor([1.0], ([0, 1],)), "must have 2 ragged dimensions, found 1"),
        (TypeSpec("OptionalSpec", ()), 1, "of the kind OptionalSpec cannot be passed"),
        (TypeSpec("RaggedTensorSpec", (1, 2, -1)), 1, "cannot be passed or returned"),
    ],
)
def test_what_is_no_such_argument(spec: Any, value: Any, problem: str) -> None:
    with pytest.raises(errors.SignatureError) as caught:
        list(flatten(spec, value, "argument"))
    assert problem in str(caught.value)


def test_a_function_that_gives_too_little() -> None:
    with pytest.raises(errors.SignatureError, match="fewer tensors than its result has"):
        pack([X, X], iter([1]))


@pytest.mark.parametrize(
    ("value", "dtype", "accepted"),
    [
        (np.float64(1), 1, True),
        (np.int64(1), 1, True),
        (np.int64(1), 3, True),
        (1, 1, True),
        (True, 10, True),
        (np.float32(1), 3, False),
        (1.5, 3, False),
        (2**40, 3, False),
        (np.int64(2**40), 3, False),
        (np.int64(-1), 4, False),
        (np.uint64(2**63), 9, False),
        (np.float64(1e300), 1, True),
        ("a", 1, False),
        (1, 7, False),
        pytest.param(object(), 1, False, id="an object"),
        (np.zeros((), np.void), 1, False),
        (1, 999, False),
        (1, 20, False),
    ],
)
def test_conversions(value: Any, dtype: int, accepted: bool) -> None:
    if accepted:
        assert to_array(value, dtype, (), "x").shape == ()
    else:
        with pytest.raises(errors.SignatureError, match="x must be"):
            to_array(value, dtype, (), "x")


# --------------------------------------------------------------------------- the call


def test_arguments_are_bound_as_python_does() -> None:
    spec = CallSpec(("x", "by"), None, None, {"by": 2, "flag": False}, ("flag",))

    assert spec.bind((1,), {}, "f") == ((1, 2), {"flag": False})
    assert spec.bind((), {"x": 1, "by": 3, "flag": True}, "f") == ((1, 3), {"flag": True})
    with pytest.raises(errors.SignatureError, match="f takes 2 positional arguments, found 3"):
        spec.bind((1, 2, 3), {}, "f")
    with pytest.raises(errors.SignatureError, match="f needs the argument 'x'"):
        spec.bind((), {"by": 1}, "f")
    with pytest.raises(errors.SignatureError, match="f has no argument 'x'"):
        spec.bind((1,), {"x": 1}, "f")
    loose = CallSpec(("x",), "args", "kwargs", {}, ())
    assert loose.bind((1, 2), {"k": 3}, "f") == ((1, 2), {"k": 3})


def structured(value: Any) -> StructuredValue:
    if isinstance(value, str):
        return StructuredValue(string_value=value)
    if isinstance(value, int):
        return StructuredValue(int64_value=value)
    message = StructuredValue()
    if isinstance(value, list):
        message.list_value.SetInParent()
        message.list_value.values.extend(map(structured, value))
    elif isinstance(value, dict):
        message.dict_value.SetInParent()
        for key, item in value.items():
            message.dict_value.fields[key].CopyFrom(structured(item))
    else:
        message.none_value.SetInParent()
    return message


def function_spec(*, is_method: bool = False, **fields: Any) -> FunctionSpec:
    spec = FunctionSpec(is_method=is_method)
    spec.fullargspec.named_tuple_value.name = "FullArgSpec"
    for key, value in fields.items():
        spec.fullargspec.named_tuple_value.values.add(key=key, value=structured(value))
    return spec


def test_parameters_are_decoded() -> None:
    spec = function_spec(
        args=["self", "x", "by"], defaults=[2], kwonlyargs=["k"], kwonlydefaults={"k": 3}, varkw="m"
    )
    assert decode_call_spec(spec) == CallSpec(("x", "by"), None, "m", {"by": 2, "k": 3}, ("k",))
    method = function_spec(is_method=True, args=["me", "x"], defaults=None)
    assert decode_call_spec(method).names == ("x",)


@pytest.mark.parametrize(
    "spec",
    [
        function_spec(args=["x"], defaults=[1, 2]),
        function_spec(args=["x"], defaults=1),
        function_spec(args=["x"], kwonlydefaults=[1]),
        function_spec(args=[1]),
        function_spec(args="x"),
        FunctionSpec(),
    ],
)
def test_parameters_that_make_no_sense(spec: FunctionSpec) -> None:
    with pytest.raises(errors.MalformedGraph):
        decode_call_spec(spec)
