"""Functions that only name a type of operation: one table makes them all.

Each line is a type of operation and TensorFlow's names for it. The arguments are the type's
inputs, then its attributes, those with a default last, as TensorFlow orders them, then `name`.

Source: tensorflow/core/api_def/base_api, tensorflow/python/ops/gen_*_ops.py.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ckptmgr import errors
from ckptmgr._proto.op_def_pb2 import OpDef
from ckptmgr.compat.v1.conversion import apply
from ckptmgr.graph import op_defs
from ckptmgr.graph.operation import Operation, Tensor

OpFunction = Callable[..., Any]

TABLE: dict[str, str] = {
    # ------------------------------------------------- element by element
    "Acos": "acos math.acos",
    "Acosh": "acosh math.acosh",
    "Asin": "asin math.asin",
    "Asinh": "asinh math.asinh",
    "Atan": "atan math.atan",
    "Atan2": "atan2 math.atan2",
    "Atanh": "atanh math.atanh",
    "Betainc": "betainc math.betainc",
    "BitwiseAnd": "bitwise.bitwise_and",
    "BitwiseOr": "bitwise.bitwise_or",
    "BitwiseXor": "bitwise.bitwise_xor",
    "Ceil": "ceil math.ceil",
    "Cos": "cos math.cos",
    "Cosh": "cosh math.cosh",
    "Digamma": "digamma math.digamma",
    "Elu": "nn.elu",
    "Equal": "equal math.equal",
    "Erf": "erf math.erf",
    "Erfc": "erfc math.erfc",
    "Exp": "exp math.exp",
    "Expm1": "expm1 math.expm1",
    "Floor": "floor math.floor",
    "FloorDiv": "floor_div",
    "FloorMod": "floormod mod math.floormod math.mod",
    "Greater": "greater math.greater",
    "GreaterEqual": "greater_equal math.greater_equal",
    "Igamma": "igamma math.igamma",
    "Igammac": "igammac math.igammac",
    "Invert": "bitwise.invert",
    "IsFinite": "is_finite math.is_finite debugging.is_finite",
    "IsInf": "is_inf math.is_inf debugging.is_inf",
    "IsNan": "is_nan math.is_nan debugging.is_nan",
    "L2Loss": "nn.l2_loss",
    "LeftShift": "bitwise.left_shift",
    "Less": "less math.less",
    "LessEqual": "less_equal math.less_equal",
    "Lgamma": "lgamma math.lgamma",
    "Log": "log math.log",
    "Log1p": "log1p math.log1p",
    "LogicalAnd": "logical_and math.logical_and",
    "LogicalNot": "logical_not math.logical_not",
    "LogicalOr": "logical_or math.logical_or",
    "Maximum": "maximum math.maximum",
    "Minimum": "minimum math.minimum",
    "Mul": "multiply math.multiply",
    "Neg": "negative math.negative",
    "NextAfter": "math.nextafter",
    "NotEqual": "not_equal math.not_equal",
    "Polygamma": "polygamma math.polygamma",
    "RealDiv": "realdiv",
    "Reciprocal": "reciprocal math.reciprocal",
    "Relu": "nn.relu",
    "RightShift": "bitwise.right_shift",
    "Rint": "rint math.rint",
    "Rsqrt": "rsqrt math.rsqrt",
    "Selu": "nn.selu",
    "Sin": "sin math.sin",
    "Sinh": "sinh math.sinh",
    "Softplus": "nn.softplus math.softplus",
    "Softsign": "nn.softsign math.softsign",
    "Sqrt": "sqrt math.sqrt",
    "Square": "square math.square",
    "SquaredDifference": "squared_difference math.squared_difference",
    "Sub": "subtract math.subtract",
    "Tan": "tan math.tan",
    "Tanh": "tanh math.tanh nn.tanh",
    "TruncateDiv": "truncatediv",
    "TruncateMod": "truncatemod",
    "Xlogy": "math.xlogy",
    "Zeta": "zeta math.zeta",
    # ------------------------------------------------- arrays
    "BatchToSpaceND": "batch_to_space_nd manip.batch_to_space_nd",
    "Bitcast": "bitcast",
    "BroadcastArgs": "broadcast_dynamic_shape",
    "BroadcastTo": "broadcast_to",
    "CheckNumerics": "check_numerics debugging.check_numerics",
    "Diag": "diag linalg.tensor_diag",
    "DiagPart": "diag_part linalg.tensor_diag_part",
    "DynamicPartition": "dynamic_partition",
    "DynamicStitch": "dynamic_stitch",
    "Fill": "fill",
    "GuaranteeConst": "guarantee_const",
    "Identity": "identity",
    "IdentityN": "identity_n",
    "InvertPermutation": "invert_permutation math.invert_permutation",
    "MatrixBandPart": "matrix_band_part linalg.band_part",
    "MatrixDeterminant": "matrix_determinant linalg.det",
    "MatrixInverse": "matrix_inverse linalg.inv",
    "Reshape": "reshape manip.reshape",
    "ReverseV2": "reverse reverse_v2 manip.reverse",
    "Roll": "roll manip.roll",
    "ScatterNd": "scatter_nd manip.scatter_nd",
    "SegmentMax": "segment_max math.segment_max",
    "SegmentMean": "segment_mean math.segment_mean",
    "SegmentMin": "segment_min math.segment_min",
    "SegmentProd": "segment_prod math.segment_prod",
    "SegmentSum": "segment_sum math.segment_sum",
    "ShapeN": "shape_n",
    "Slice": "slice",
    "SpaceToBatchND": "space_to_batch_nd manip.space_to_batch_nd",
    "StopGradient": "stop_gradient",
    "TensorScatterAdd": "tensor_scatter_add tensor_scatter_nd_add",
    "TensorScatterSub": "tensor_scatter_sub tensor_scatter_nd_sub",
    "TensorScatterUpdate": "tensor_scatter_update tensor_scatter_nd_update",
    "Tile": "tile manip.tile",
    "Unique": "unique",
    "UniqueWithCounts": "unique_with_counts",
    "UnravelIndex": "unravel_index",
    "UnsortedSegmentMax": "unsorted_segment_max math.unsorted_segment_max",
    "UnsortedSegmentMin": "unsorted_segment_min math.unsorted_segment_min",
    "UnsortedSegmentProd": "unsorted_segment_prod math.unsorted_segment_prod",
    "UnsortedSegmentSum": "unsorted_segment_sum math.unsorted_segment_sum",
    # ------------------------------------------------- strings and serialized tensors
    "AsString": "as_string dtypes.as_string strings.as_string",
    "DecodeBase64": "decode_base64 io.decode_base64",
    "EncodeBase64": "encode_base64 io.encode_base64",
    "ParseTensor": "parse_tensor io.parse_tensor",
    "SerializeTensor": "serialize_tensor io.serialize_tensor",
    "StringLower": "strings.lower",
    "StringStrip": "string_strip strings.strip",
    "StringToHashBucketFast": "string_to_hash_bucket_fast strings.to_hash_bucket_fast",
    "StringUpper": "strings.upper",
    # ------------------------------------------------- files
    "MatchingFiles": "matching_files io.matching_files",
    "ReadFile": "read_file io.read_file",
    "WriteFile": "write_file io.write_file",
    # ------------------------------------------------- control
    "NoOp": "no_op",
}


def functions() -> Iterator[tuple[str, OpFunction]]:
    """All functions of the table under each of their names, as "math.add"."""
    for op_type, names in TABLE.items():
        function = op_function(op_type, names.split()[0].rpartition(".")[2])
        for name in names.split():
            yield name, function


@functools.cache
def op_function(op_type: str, function_name: str) -> OpFunction:
    """The function that adds an operation of a type."""

    def function(*arguments: Any, **keywords: Any) -> Any:
        inputs, attrs, name = _bound(op_type, function_name, arguments, keywords)
        return results(apply(op_type, inputs, attrs, name))

    function.__name__ = function.__qualname__ = function_name
    function.__doc__ = f"Add an operation {op_type} to the graph."
    return function


def results(op: Operation) -> Any:
    """What an operation gives: a tensor, a list of them, a tuple by name, or itself if nothing."""
    assert op.op_def is not None
    arguments = op.op_def.output_arg
    if not arguments:
        return op
    if len(arguments) == 1:
        argument = arguments[0]
        is_list = bool(argument.number_attr or argument.type_list_attr)
        return list(op.outputs) if is_list else op.outputs[0]
    return _tuple_type(op.type, tuple(argument.name for argument in arguments))(*op.outputs)


@functools.cache
def _tuple_type(op_type: str, fields: tuple[str, ...]) -> Callable[..., tuple[Tensor, ...]]:
    return namedtuple(op_type, fields)


# --------------------------------------------------------------------------- arguments


@functools.cache
def _parameters(op_type: str) -> tuple[list[str], list[str]]:
    """The names of the inputs of a type, and those of the attributes that a caller may give."""
    op_def = op_defs.find(op_type)
    assert op_def is not None, op_type
    inputs = [argument.name for argument in op_def.input_arg]
    free = [attr for attr in op_def.attr if attr.name not in _inferred(op_def)]
    required = [attr.name for attr in free if not attr.HasField("default_value")]
    optional = [attr.name for attr in free if attr.HasField("default_value")]
    return inputs, required + optional


def _inferred(op_def: OpDef) -> set[str]:
    return {
        attr
        for argument in op_def.input_arg
        for attr in (argument.type_attr, argument.number_attr, argument.type_list_attr)
        if attr
    }


def _bound(
    op_type: str, function: str, arguments: Sequence[Any], keywords: dict[str, Any]
) -> tuple[list[Any], dict[str, Any], str | None]:
    inputs, attrs = _parameters(op_type)
    parameters = [*inputs, *attrs, "name"]
    if len(arguments) > len(parameters):
        raise errors.GraphTypeError(
            f"{function}() takes {', '.join(parameters)}; found {len(arguments)} arguments"
        )
    given = dict(zip(parameters, arguments, strict=False))
    for key, value in keywords.items():
        if key not in parameters or key in given:
            problem = "twice the argument" if key in given else "an unexpected argument"
            raise errors.GraphTypeError(
                f"{function}() takes {', '.join(parameters)}; found {problem} {key!r}"
            )
        given[key] = value
    missing = [key for key in inputs if key not in given]
    if missing:
        raise errors.GraphTypeError(f"{function}() needs the argument {missing[0]!r}")
    attributes = {key: given[key] for key in attrs if key in given}
    return [given[key] for key in inputs], attributes, given.get("name")
