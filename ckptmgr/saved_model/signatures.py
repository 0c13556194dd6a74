"""Signatures: which tensors a caller feeds and fetches, under which names.

What is refused, and in which words, is TensorFlow's; the words are part of what its users see and
catch.

Source: tensorflow/python/saved_model/signature_def_utils_impl.py, utils_impl.py, builder_impl.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import SignatureDef, TensorInfo
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.dtypes import as_dtype
from ckptmgr.graph.graph import Graph, get_default_graph
from ckptmgr.graph.operation import Operation, Tensor
from ckptmgr.graph.tensor_shape import TensorShape, encode_partial_shape
from ckptmgr.saved_model import constants

_FLOAT = int(DataType.DT_FLOAT)
_STRING = int(DataType.DT_STRING)


class SparseTensor(NamedTuple):
    """A tensor that is mostly zeros: tensors of a graph, or the arrays that they gave."""

    indices: Any
    values: Any
    dense_shape: Any


# --------------------------------------------------------------------------- tensors


def build_tensor_info(tensor: Any) -> TensorInfo:
    """How a signature describes a tensor, a variable or a sparse tensor.

    Raises:
        GraphTypeError: It is none of them.
    """
    if all(hasattr(tensor, part) for part in SparseTensor._fields):
        info = TensorInfo(
            dtype=_data_type(tensor.values),
            tensor_shape=_sparse_shape(tensor),
        )
        info.coo_sparse.values_tensor_name = tensor.values.name
        info.coo_sparse.indices_tensor_name = tensor.indices.name
        info.coo_sparse.dense_shape_tensor_name = tensor.dense_shape.name
        return info
    if not all(hasattr(tensor, part) for part in ("name", "dtype", "get_shape")):
        raise errors.GraphTypeError(
            f"a signature is made of tensors of a graph, found {tensor!r:.80}"
        )
    shape = encode_partial_shape(TensorShape(tensor.get_shape()).as_tuple())
    return TensorInfo(name=tensor.name, dtype=_data_type(tensor), tensor_shape=shape)


def build_tensor_info_from_op(op: Operation | Tensor) -> TensorInfo:
    """How a signature names an operation: as a tensor without dtype and shape."""
    return TensorInfo(
        name=op.name,
        dtype=0,  # type: ignore[arg-type]
        tensor_shape=TensorShapeProto(unknown_rank=True),
    )


def get_tensor_from_tensor_info(
    tensor_info: TensorInfo, graph: Graph | None = None, import_scope: str | None = None
) -> Tensor | SparseTensor:
    """The tensor, or sparse tensor, of a graph that a signature describes.

    Raises:
        NodeNotFound: The graph has none of that name.
        SignatureError: It describes none, or one of a kind that a graph here does not have.
    """
    where = get_default_graph() if graph is None else graph

    def find(name: str) -> Tensor:
        return where.get_tensor_by_name(_scoped(name, import_scope))

    encoding = tensor_info.WhichOneof("encoding")
    if encoding == "name":
        return find(tensor_info.name)
    if encoding == "coo_sparse":
        sparse = tensor_info.coo_sparse
        return SparseTensor(
            find(sparse.indices_tensor_name),
            find(sparse.values_tensor_name),
            find(sparse.dense_shape_tensor_name),
        )
    raise errors.SignatureError(
        f"Invalid TensorInfo.encoding: {encoding}. Expected `coo_sparse` or `name` for a dense "
        f"tensor."
    )


def get_element_from_tensor_info(
    tensor_info: TensorInfo, graph: Graph | None = None, import_scope: str | None = None
) -> Tensor | Operation:
    """The tensor or operation of a graph that a signature names."""
    where = get_default_graph() if graph is None else graph
    return where.as_graph_element(_scoped(tensor_info.name, import_scope))


def _scoped(name: str, import_scope: str | None) -> str:
    return f"{import_scope.rstrip('/')}/{name}" if import_scope else name


def _data_type(tensor: Any) -> Any:
    return int(as_dtype(tensor.dtype).as_datatype_enum)


def _sparse_shape(tensor: Any) -> TensorShapeProto:
    """What is known of the shape that a sparse tensor stands for: where nothing else is, its rank.

    The rank is how many numbers its `dense_shape` has.
    """
    shape = tensor.get_shape() if hasattr(tensor, "get_shape") else None
    if shape is None:
        sizes = TensorShape(tensor.dense_shape.get_shape()).as_tuple()
        rank = sizes[0] if sizes else None
        shape = None if rank is None else [None] * rank
    return encode_partial_shape(TensorShape(shape).as_tuple())


# --------------------------------------------------------------------------- signatures


def build_signature_def(
    inputs: Mapping[str, TensorInfo] | None = None,
    outputs: Mapping[str, TensorInfo] | None = None,
    method_name: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> SignatureDef:
    """A signature of these tensors; nothing is checked.

    Args:
        defaults: The TensorProto that an input has where a caller does not give it.
    """
    signature = SignatureDef()
    for name, info in (inputs or {}).items():
        signature.inputs[name].CopyFrom(info)
    for name, info in (outputs or {}).items():
        signature.outputs[name].CopyFrom(info)
    if method_name is not None:
        signature.method_name = method_name
    for name, value in (defaults or {}).items():
        signature.defaults[name].CopyFrom(value)
    return signature


def predict_signature_def(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> SignatureDef:
    """A signature for TensorFlow Serving's Predict API, which takes and gives any tensors."""
    if not inputs:
        raise errors.SignatureError("Prediction `inputs` cannot be None or empty.")
    if not outputs:
        raise errors.SignatureError("Prediction `outputs` cannot be None or empty.")
    return build_signature_def(
        {key: build_tensor_info(tensor) for key, tensor in inputs.items()},
        {key: build_tensor_info(tensor) for key, tensor in outputs.items()},
        constants.PREDICT_METHOD_NAME,
    )


def regression_signature_def(examples: Tensor, predictions: Tensor) -> SignatureDef:
    """A signature for the Regress API: serialized tf.Examples in, one float each out."""
    if examples is None:
        raise errors.SignatureError("Regression `examples` cannot be None.")
    if not isinstance(examples, Tensor):
        raise errors.SignatureError(
            f"Expected regression `examples` to be of type Tensor. "
            f"Found `examples` of type {type(examples)}."
        )
    if predictions is None:
        raise errors.SignatureError("Regression `predictions` cannot be None.")
    taken = build_tensor_info(examples)
    if int(taken.dtype) != _STRING:
        raise errors.SignatureError(
            f"Regression input tensors must be of type string. "
            f"Found tensors with type {taken.dtype}."
        )
    given = build_tensor_info(predictions)
    if int(given.dtype) != _FLOAT:
        raise errors.SignatureError(
            f"Regression output tensors must be of type float. "
            f"Found tensors with type {given.dtype}."
        )
    return build_signature_def(
        {constants.REGRESS_INPUTS: taken},
        {constants.REGRESS_OUTPUTS: given},
        constants.REGRESS_METHOD_NAME,
    )


def classification_signature_def(
    examples: Tensor, classes: Tensor | None, scores: Tensor | None
) -> SignatureDef:
    """A signature for the Classify API: serialized tf.Examples in, labels, scores or both out."""
    if examples is None:
        raise errors.SignatureError("Classification `examples` cannot be None.")
    if not isinstance(examples, Tensor):
        raise errors.SignatureError(
            f"Classification `examples` must be a string Tensor. "
            f"Found `examples` of type {type(examples)}."
        )
    if classes is None and scores is None:
        raise errors.SignatureError("Classification `classes` and `scores` cannot both be None.")
    taken = build_tensor_info(examples)
    if int(taken.dtype) != _STRING:
        raise errors.SignatureError(
            f"Classification input tensors must be of type string. "
            f"Found tensors of type {taken.dtype}"
        )
    given = {}
    if classes is not None:
        info = given[constants.CLASSIFY_OUTPUT_CLASSES] = build_tensor_info(classes)
        if int(info.dtype) != _STRING:
            raise errors.SignatureError(
                f"Classification classes must be of type string Tensor. "
                f"Found tensors of type {info.dtype}.`"
            )
    if scores is not None:
        info = given[constants.CLASSIFY_OUTPUT_SCORES] = build_tensor_info(scores)
        if int(info.dtype) != _FLOAT:
            raise errors.SignatureError("Classification scores must be a float Tensor.")
    return build_signature_def(
        {constants.CLASSIFY_INPUTS: taken}, given, constants.CLASSIFY_METHOD_NAME
    )


def op_signature_def(op: Operation | Tensor, key: str) -> SignatureDef:
    """A signature whose only output leads to an operation."""
    return build_signature_def(outputs={key: build_tensor_info_from_op(op)})


# --------------------------------------------------------------------------- validation


def is_valid_signature(signature_def: SignatureDef | None) -> bool:
    """Whether TensorFlow Serving can serve it."""
    if signature_def is None:
        return False
    inputs = {key: int(info.dtype) for key, info in signature_def.inputs.items()}
    outputs = {key: int(info.dtype) for key, info in signature_def.outputs.items()}
    method = signature_def.method_name
    if method == constants.PREDICT_METHOD_NAME:
        return bool(inputs) and bool(outputs)
    if method == constants.REGRESS_METHOD_NAME:
        return inputs == {constants.REGRESS_INPUTS: _STRING} and outputs == {
            constants.REGRESS_OUTPUTS: _FLOAT
        }
    if method == constants.CLASSIFY_METHOD_NAME:
        allowed = {
            constants.CLASSIFY_OUTPUT_CLASSES: _STRING,
            constants.CLASSIFY_OUTPUT_SCORES: _FLOAT,
        }
        return (
            inputs == {constants.CLASSIFY_INPUTS: _STRING}
            and bool(outputs)
            and outputs.items() <= allowed.items()
        )
    return False


def validate_signature_def_map(signature_def_map: Mapping[str, SignatureDef]) -> None:
    """Refuse signatures that no loader could follow, before anything is written.

    Raises:
        InvalidTensorInfo: An input or output does not say which tensor it is, or its dtype.
        ReservedSignatureKey: A key that TensorFlow keeps for itself.
    """
    for signature in signature_def_map.values():
        for infos in (signature.inputs, signature.outputs):
            for info in infos.values():
                _validate_tensor_info(info)
    for key, purpose in (
        (constants.INIT_OP_SIGNATURE_KEY, "initialization"),
        (constants.TRAIN_OP_SIGNATURE_KEY, "the train op"),
    ):
        if key in signature_def_map:
            raise errors.ReservedSignatureKey(
                f'SignatureDef map key "{key}" is reserved for {purpose}. '
                f"Please use a different key."
            )


def _validate_tensor_info(info: TensorInfo) -> None:
    encoding = info.WhichOneof("encoding")
    if encoding is None:
        raise errors.InvalidTensorInfo(
            f"Invalid `tensor_info`: {info}. All TensorInfo protos used in the SignatureDefs must "
            f"have one of the 'encoding' fields (e.g., name or coo_sparse) set."
        )
    if encoding == "composite_tensor":
        for component in info.composite_tensor.components:
            _validate_tensor_info(component)
    elif not info.dtype:
        raise errors.InvalidTensorInfo(
            f"Invalid `tensor_info`: {info}. All TensorInfo protos used in the SignatureDefs must "
            f"have the dtype field set."
        )
