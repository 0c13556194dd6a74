from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import SignatureDef, TensorInfo
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.tensor_values import encode_tensor
from ckptmgr.saved_model import constants
from ckptmgr.saved_model.signatures import (
    SparseTensor,
    build_signature_def,
    build_tensor_info,
    build_tensor_info_from_op,
    classification_signature_def,
    get_element_from_tensor_info,
    get_tensor_from_tensor_info,
    is_valid_signature,
    op_signature_def,
    predict_signature_def,
    regression_signature_def,
    validate_signature_def_map,
)


@pytest.fixture
def graph() -> Graph:
    return Graph()


def placeholder(graph: Graph, dtype: str, shape: Any, name: str) -> Tensor:
    return create_op(graph, "Placeholder", (), {"dtype": dtype, "shape": shape}, name).outputs[0]


@pytest.fixture
def tensors(graph: Graph) -> dict[str, Tensor]:
    return {
        "x": placeholder(graph, "float32", (None, 3), "x"),
        "text": placeholder(graph, "string", (None,), "text"),
        "any": placeholder(graph, "int64", None, "any"),
        "scalar": placeholder(graph, "float32", (), "scalar"),
        "labels": placeholder(graph, "string", (None, 2), "labels"),
    }


def test_signatures_are_those_of_tensorflow(tf: Any, tensors: dict[str, Tensor]) -> None:
    theirs = tf.compat.v1.saved_model
    with tf.Graph().as_default():
        made = {
            name: tf.compat.v1.placeholder(tensor.dtype.name, tensor.partial_shape, name)
            for name, tensor in tensors.items()
        }
        expected = [
            theirs.predict_signature_def(dict(made), {"y": made["any"]}),
            theirs.regression_signature_def(made["text"], made["x"]),
            theirs.classification_signature_def(made["text"], made["labels"], made["scalar"]),
            theirs.classification_signature_def(made["text"], None, made["x"]),
            theirs.build_signature_def({"a": theirs.build_tensor_info(made["scalar"])}),
        ]
    ours = [
        predict_signature_def(tensors, {"y": tensors["any"]}),
        regression_signature_def(tensors["text"], tensors["x"]),
        classification_signature_def(tensors["text"], tensors["labels"], tensors["scalar"]),
        classification_signature_def(tensors["text"], None, tensors["x"]),
        build_signature_def({"a": build_tensor_info(tensors["scalar"])}),
    ]

    for mine, other in zip(ours, expected, strict=True):
        assert mine.SerializeToString(deterministic=True) == other.SerializeToString(
            deterministic=True
        )
        assert is_valid_signature(mine) == theirs.is_valid_signature(other)


REFUSED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda t: predict_signature_def({}, {"y": t["x"]}), "Prediction `inputs` cannot be None"),
    (lambda t: predict_signature_def({"x": t["x"]}, {}), "Prediction `outputs` cannot be None"),
    (lambda t: regression_signature_def(None, t["x"]), "Regression `examples` cannot be None."),  # type: ignore[arg-type]
    (lambda t: regression_signature_def("text", t["x"]), "to be of type Tensor"),  # type: ignore[arg-type]
    (lambda t: regression_signature_def(t["text"], None), "Regression `predictions` cannot be"),  # type: ignore[arg-type]
    (lambda t: regression_signature_def(t["x"], t["x"]), "input tensors must be of type string"),
    (lambda t: regression_signature_def(t["text"], t["any"]), "output tensors must be of type f"),
    (lambda t: classification_signature_def(None, t["x"], None), "`examples` cannot be None."),  # type: ignore[arg-type]
    (lambda t: classification_signature_def(3, t["x"], None), "must be a string Tensor"),  # type: ignore[arg-type]
    (lambda t: classification_signature_def(t["text"], None, None), "cannot both be None"),
    (lambda t: classification_signature_def(t["x"], t["text"], None), "input tensors must be of"),
    (lambda t: classification_signature_def(t["text"], t["x"], None), "classes must be of type"),
    (lambda t: classification_signature_def(t["text"], None, t["text"]), "must be a float Tensor"),
]


@pytest.mark.parametrize(("build", "problem"), REFUSED)
def test_what_no_server_could_serve(
    tensors: dict[str, Tensor], build: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    with pytest.raises(errors.SignatureError, match=problem) as caught:
        build(tensors)
    assert isinstance(caught.value, ValueError)


def test_what_is_no_tensor() -> None:
    with pytest.raises(errors.GraphTypeError, match="made of tensors of a graph, found 3"):
        build_tensor_info(3)


def test_a_default_of_an_input(tensors: dict[str, Tensor]) -> None:
    value = encode_tensor(np.array([1, 2, 3], np.float32))
    signature = build_signature_def(
        {"x": build_tensor_info(tensors["x"])}, method_name="m", defaults={"x": value}
    )
    assert signature.method_name == "m"
    assert signature.defaults["x"] == value


# --------------------------------------------------------------------------- and back


def test_tensors_are_found_again(graph: Graph, tensors: dict[str, Tensor]) -> None:
    sparse = SparseTensor(
        constant(graph, np.zeros((1, 2), np.int64)),
        constant(graph, [1.0]),
        constant(graph, np.array([3, 4], np.int64)),
    )
    info = build_tensor_info(sparse)

    assert get_tensor_from_tensor_info(build_tensor_info(tensors["x"]), graph) is tensors["x"]
    assert get_tensor_from_tensor_info(info, graph) == sparse
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, -1]
    assert info.dtype == 1
    with pytest.raises(errors.SignatureError, match=r"Invalid TensorInfo.encoding: None."):
        get_tensor_from_tensor_info(TensorInfo(), graph)
    with pytest.raises(errors.NodeNotFound, match="'nope', does not exist"):
        get_tensor_from_tensor_info(TensorInfo(name="nope:0"), graph)


def test_tensors_are_found_in_a_scope(graph: Graph) -> None:
    with graph.name_scope("model"):
        inner = placeholder(graph, "float32", (), "x")

    assert get_tensor_from_tensor_info(TensorInfo(name="x:0"), graph, "model") is inner
    assert get_element_from_tensor_info(TensorInfo(name="x"), graph, "model") is inner.op
    with graph.as_default():
        assert get_element_from_tensor_info(build_tensor_info_from_op(inner.op)) is inner.op


# --------------------------------------------------------------------------- validation

_VALID = build_signature_def(
    {"inputs": TensorInfo(name="a:0", dtype=7)},  # type: ignore[arg-type]
    {"outputs": TensorInfo(name="b:0", dtype=1)},  # type: ignore[arg-type]
    constants.REGRESS_METHOD_NAME,
)


def changed(**fields: Any) -> SignatureDef:
    signature = SignatureDef()
    signature.CopyFrom(_VALID)
    for field, names in fields.items():
        if isinstance(names, str):
            setattr(signature, field, names)
            continue
        getattr(signature, field).clear()
        for name, dtype in names.items():
            getattr(signature, field)[name].name = f"{name}:0"
            getattr(signature, field)[name].dtype = dtype
    return signature


@pytest.mark.parametrize(
    ("signature", "is_valid"),
    [
        (None, False),
        (SignatureDef(), False),
        (_VALID, True),
        (changed(inputs={"inputs": 1}), False),
        (changed(inputs={"other": 7}), False),
        (changed(outputs={"outputs": 7}), False),
        (changed(outputs={}), False),
        (changed(method_name="tensorflow/serving/classify"), False),
        (changed(method_name="tensorflow/serving/classify", outputs={"scores": 1}), True),
        (changed(method_name="tensorflow/serving/classify", outputs={"classes": 1}), False),
        (changed(method_name="tensorflow/serving/classify", outputs={}), False),
        (changed(method_name="tensorflow/serving/predict"), True),
        (changed(method_name="tensorflow/serving/predict", outputs={}), False),
        (changed(method_name="my/own"), False),
    ],
)
def test_which_signatures_are_valid(signature: SignatureDef | None, is_valid: bool) -> None:
    assert is_valid_signature(signature) is is_valid


@pytest.mark.parametrize(
    ("signatures", "kind", "problem"),
    [
        ({"k": SignatureDef(inputs={"x": TensorInfo()})}, AssertionError, "'encoding' fields"),
        (
            {"k": SignatureDef(outputs={"y": TensorInfo(name="y:0")})},
            AssertionError,
            "must have the dtype field set",
        ),
        ({"__saved_model_init_op": SignatureDef()}, KeyError, "is reserved for initialization"),
        ({"__saved_model_train_op": SignatureDef()}, KeyError, "is reserved for the train op"),
    ],
)
def test_signatures_that_are_refused(
    signatures: dict[str, SignatureDef], kind: type[Exception], problem: str
) -> None:
    with pytest.raises(errors.SignatureError, match=problem) as caught:
        validate_signature_def_map(signatures)
    assert isinstance(caught.value, kind)


def test_signatures_that_are_accepted(tensors: dict[str, Tensor]) -> None:
    composite = TensorInfo()
    composite.composite_tensor.components.add(name="a:0", dtype=1)
    validate_signature_def_map(
        {"k": predict_signature_def(tensors, tensors), "c": SignatureDef(inputs={"x": composite})}
    )

    assert op_signature_def(tensors["x"].op, "k").outputs["k"].name == "x"
