"""Single operations: the same node and the same shapes as TensorFlow's, or an error."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.function_pb2 import FunctionDef
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import Graph, create_op, op_defs
from ckptmgr.graph.attributes import FunctionName, decode_attr
from ckptmgr.graph.construction import constant


class P(NamedTuple):
    """A placeholder: what is fed."""

    shape: Any
    dtype: str = "float32"


class C(NamedTuple):
    """A constant."""

    value: Any
    dtype: str | None = None


class V(NamedTuple):
    """A reference to a variable."""

    shape: Any


class H(NamedTuple):
    """A handle to a resource variable."""

    shape: Any


I = P((2, 3), "int32")  # noqa: E741
F = P((2, 3))
U = P(None)
IMAGE = P((None, 28, 28, 3))
NCHW = {"data_format": "NCHW"}


def window(padding: str, stride: int = 2) -> dict[str, Any]:
    return {"strides": [1, stride, stride, 1], "padding": padding}


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    # element by element
    ("Relu", [F], {}),
    ("Cast", [I], {"DstT": "float32"}),
    ("AddV2", [P((2, 1)), P((None, 3))], {}),
    ("AddV2", [P((None,)), P((4, 1))], {}),
    ("Mul", [U, F], {}),
    ("Less", [P((2, None)), P((1, 1))], {}),
    ("SelectV2", [P((2, 1), "bool"), F, P(())], {}),
    ("Select", [P((2,), "bool"), P((2, None)), F], {}),
    ("AddN", [[P((2, None)), P((None, 3))]], {}),
    ("ClipByValue", [F, P(()), P(())], {}),
    ("Identity", [V((2, None))], {}),
    ("IdentityN", [[F, I]], {}),
    ("StringJoin", [[P((2,), "string"), P((), "string")]], {}),
    ("AsString", [F], {}),
    # arrays
    ("Shape", [P((2, None))], {}),
    ("ShapeN", [[F, U]], {}),
    ("Rank", [F], {}),
    ("Size", [F], {"out_type": "int64"}),
    ("Reshape", [F, C([3, 2])], {}),
    ("Reshape", [F, C([-1])], {}),
    ("Reshape", [P((None, 4)), C([-1, 2])], {}),
    ("Reshape", [P((None, 4)), C([2, 2])], {}),
    ("Reshape", [F, P((2,), "int32")], {}),
    ("Reshape", [F, P(None, "int32")], {}),
    ("Transpose", [P((2, 3, None)), C([2, 0, 1])], {}),
    ("Transpose", [F, P((2,), "int32")], {}),
    ("Transpose", [U, C([1, 0])], {}),
    ("ExpandDims", [F, C(1)], {}),
    ("ExpandDims", [F, C(-1)], {}),
    ("ExpandDims", [F, P((), "int32")], {}),
    ("Squeeze", [P((1, 2, 1))], {}),
    ("Squeeze", [P((1, 2, 1))], {"squeeze_dims": [-1]}),
    ("Squeeze", [P((1, None))], {}),
    ("Squeeze", [P((None, 2))], {"squeeze_dims": [0]}),
    ("Pack", [[F, P((None, 3))]], {"axis": 1}),
    ("Pack", [[F, F]], {"axis": -1}),
    ("Unpack", [P((2, None))], {"num": 2}),
    ("Unpack", [U], {"num": 3, "axis": 1}),
    ("ConcatV2", [[F, P((None, 3))], C(0)], {}),
    ("ConcatV2", [[F, P((2, 4))], C(-1)], {}),
    ("ConcatV2", [[F, U], C(1)], {}),
    ("ConcatV2", [[F, F], P((), "int32")], {}),
    ("Concat", [C(1), [F, P((2, 4))]], {}),
    ("Split", [C(1), P((2, 6))], {"num_split": 3}),
    ("Split", [P((), "int32"), F], {"num_split": 2}),
    ("SplitV", [P((7, 2)), C([1, -1, 2]), C(0)], {"num_split": 3}),
    ("SplitV", [P((None, 2)), C([1, -1]), C(0)], {"num_split": 2}),
    ("Slice", [P((5, 6)), C([1, 2]), C([-1, 3])], {}),
    ("Slice", [P((5, None)), P((2,), "int32"), C([2, -1])], {}),
    ("Slice", [U, P((2,), "int32"), P((2,), "int32")], {}),
    ("Gather", [P((5, 6)), P((2, None), "int32")], {}),
    ("GatherV2", [P((5, 6)), P((2,), "int32"), C(1)], {}),
    ("GatherV2", [P((5, 6, 7)), P((5, 2), "int32"), C(1)], {"batch_dims": 1}),
    ("GatherV2", [P((5, 6)), P((2,), "int32"), P((), "int32")], {}),
    ("GatherNd", [P((5, 6, 7)), P((3, 2), "int32")], {}),
    ("Tile", [F, C([2, 3])], {}),
    ("Tile", [F, P((2,), "int32")], {}),
    ("Pad", [F, C([[1, 1], [0, 2]])], {}),
    ("Pad", [F, P((2, 2), "int32")], {}),
    ("Pad", [U, P((3, 2), "int32")], {}),
    ("PadV2", [P((None, 3)), C([[1, 1], [0, 2]]), P(())], {}),
    ("MirrorPad", [F, C([[1, 1], [0, 2]])], {"mode": "REFLECT"}),
    ("Fill", [C([2, 3]), P(())], {}),
    ("Fill", [P((3,), "int32"), P(())], {}),
    ("BroadcastTo", [P((3,)), C([2, 3])], {}),
    ("OneHot", [P((2, None), "int32"), C(5), P(()), P(())], {"axis": -1}),
    ("OneHot", [P((2,), "int32"), P((), "int32"), P(()), P(())], {"axis": 0}),
    ("Range", [C(0), C(7), C(2)], {}),
    ("Range", [C(7), C(0), C(-2)], {}),
    ("Range", [C(0), P((), "int32"), C(2)], {}),
    ("Range", [C(0.0), C(1.0), C(0.3)], {}),
    ("LinSpace", [P(()), P(()), C(4)], {}),
    ("Where", [P((2, 3), "bool")], {}),
    ("Unique", [P((4,), "int32")], {}),
    ("ReverseV2", [F, C([0])], {}),
    ("ReverseSequence", [F, P((2,), "int32")], {"seq_dim": 1}),
    ("DepthToSpace", [P((1, 2, 3, 8))], {"block_size": 2}),
    ("SpaceToDepth", [P((None, 4, 6, 1))], {"block_size": 2}),
    ("MatrixDiag", [F], {}),
    ("MatrixBandPart", [F, P((), "int64"), P((), "int64")], {}),
    ("ScatterNd", [P((2, 1), "int32"), P((2,)), C([5])], {}),
    ("EnsureShape", [P((None, 3))], {"shape": (2, None)}),
    ("InvertPermutation", [P((3,), "int32")], {}),
    # strided slices
    ("StridedSlice", [P((5, 6)), C([1]), C([4]), C([1])], {}),
    ("StridedSlice", [P((5, 6)), C([1]), C([4]), C([2])], {}),
    ("StridedSlice", [P((5, 6)), C([-1]), C([0]), C([-2])], {}),
    ("StridedSlice", [P((5, 6)), C([1]), C([2]), C([1])], {"shrink_axis_mask": 1}),
    (
        "StridedSlice",
        [P((5, 6)), C([0, 1]), C([0, 4]), C([1, 1])],
        {"begin_mask": 1, "end_mask": 1},
    ),
    ("StridedSlice", [P((5, 6)), C([0, 1]), C([0, 2]), C([1, 1])], {"ellipsis_mask": 1}),
    ("StridedSlice", [P((5, 6)), C([0, 0]), C([0, 2]), C([1, 1])], {"new_axis_mask": 1}),
    ("StridedSlice", [P((None, 6)), C([1]), C([4]), C([1])], {}),
    ("StridedSlice", [P((None, 6)), C([0]), C([0]), C([1])], {"end_mask": 1, "begin_mask": 1}),
    ("StridedSlice", [P((5, 6)), P((1,), "int32"), C([4]), C([1])], {}),
    ("StridedSlice", [P((5, 6)), P((1,), "int32"), C([4]), C([1])], {"shrink_axis_mask": 1}),
    ("StridedSlice", [U, C([1]), C([4]), C([1])], {}),
    # products, reductions, searches
    ("MatMul", [F, P((3, 4))], {}),
    ("MatMul", [F, P((2, None))], {"transpose_a": True}),
    ("MatMul", [U, P((4, 3))], {"transpose_b": True}),
    ("BatchMatMul", [P((5, 2, 3)), P((5, 3, 4))], {}),
    ("BatchMatMulV2", [P((5, 1, 2, 3)), P((7, 3, 4))], {}),
    ("BatchMatMulV2", [P((2, 3)), P((2, 4))], {"adj_x": True}),
    ("BatchMatMulV3", [P((2, 3)), P((3, 4))], {"Tout": "float32"}),
    ("Einsum", [[P((2, 3)), P((3, None))]], {"equation": "ij,jk->ik"}),
    ("Einsum", [[P((2, 3, 3))]], {"equation": "bii->b"}),
    ("Sum", [F, C([1])], {}),
    ("Mean", [F, C(-1)], {"keep_dims": True}),
    ("Max", [F, P((1,), "int32")], {"keep_dims": True}),
    ("Min", [F, P(None, "int32")], {}),
    ("Prod", [F, C([0, 1])], {}),
    ("All", [P((2, 3), "bool"), C([], "int32")], {}),
    ("ArgMax", [F, C(1)], {}),
    ("ArgMin", [F, P((), "int32")], {}),
    ("TopKV2", [P((2, 9)), C(3)], {}),
    ("InTopKV2", [F, P((None,), "int32"), C(1)], {}),
    ("L2Loss", [F], {}),
    ("Cumsum", [F, C(0)], {}),
    ("SegmentSum", [F, P((2,), "int32")], {}),
    ("UnsortedSegmentSum", [F, P((2,), "int32"), C(4)], {}),
    ("Multinomial", [F, C(4)], {}),
    # neural networks
    ("BiasAdd", [P((None, 3)), P((3,))], {}),
    ("BiasAdd", [P((2, None, 5, 5)), P((4,))], NCHW),
    ("Conv2D", [IMAGE, P((5, 5, 3, 8))], window("SAME")),
    ("Conv2D", [IMAGE, P((5, 5, 3, 8))], window("VALID", 1)),
    ("Conv2D", [IMAGE, P((3, 3, 3, 8))], window("VALID", 1) | {"dilations": [1, 2, 2, 1]}),
    (
        "Conv2D",
        [IMAGE, P((3, 3, 3, 8))],
        window("EXPLICIT") | {"explicit_paddings": [0, 0, 1, 2, 3, 4, 0, 0]},
    ),
    (
        "Conv2D",
        [P((2, 3, 9, 9)), P((3, 3, 3, 8))],
        {"strides": [1, 1, 2, 2], "padding": "SAME", "data_format": "NCHW"},
    ),
    ("Conv2D", [U, P((3, 3, 3, 8))], window("SAME")),
    ("DepthwiseConv2dNative", [IMAGE, P((3, 3, 3, 2))], window("SAME")),
    (
        "Conv3D",
        [P((1, 4, 5, 6, 2)), P((2, 2, 2, 2, 3))],
        {"strides": [1, 1, 2, 1, 1], "padding": "VALID"},
    ),
    ("MaxPool", [IMAGE], window("SAME") | {"ksize": [1, 2, 2, 1]}),
    ("AvgPool", [P((None, None, 7, 3))], window("VALID") | {"ksize": [1, 3, 3, 1]}),
    (
        "MaxPool3D",
        [P((1, 4, 5, 6, 2))],
        {"ksize": [1, 2, 2, 2, 1], "strides": [1, 2, 2, 2, 1], "padding": "SAME"},
    ),
    (
        "Conv2DBackpropInput",
        [C([2, 14, 14, 3]), P((5, 5, 3, 8)), P((2, 7, 7, 8))],
        window("SAME"),
    ),
    ("FusedBatchNormV3", [IMAGE, P((3,)), P((3,)), P((3,)), P((3,))], {"is_training": False}),
    ("FusedBatchNorm", [P((2, 4, 4, None)), P((3,)), P((None,)), P((0,)), P((0,))], {}),
    ("Softmax", [F], {}),
    ("LRN", [IMAGE], {}),
    ("SoftmaxCrossEntropyWithLogits", [F, P((None, 3))], {}),
    ("SparseSoftmaxCrossEntropyWithLogits", [F, P((None,), "int64")], {}),
    ("ResizeBilinear", [IMAGE, C([7, 9])], {}),
    ("ResizeNearestNeighbor", [IMAGE, P((2,), "int32")], {}),
    # random
    ("RandomUniform", [C([2, 3])], {"dtype": "float32"}),
    ("TruncatedNormal", [C([4])], {"dtype": "float32", "seed": 3, "seed2": 4}),
    ("RandomUniformInt", [C([4]), C(0), C(9)], {}),
    ("StatelessRandomNormal", [C([4]), C([1, 2])], {"dtype": "float32"}),
    # state
    ("Placeholder", [], {"dtype": "float32", "shape": (None, 3)}),
    ("Placeholder", [], {"dtype": "float32"}),
    ("PlaceholderWithDefault", [F], {"shape": (None, 3)}),
    ("VariableV2", [], {"dtype": "float32", "shape": (2,)}),
    ("Variable", [], {"dtype": "float32", "shape": ()}),
    ("Assign", [V((2, 3)), P((None, 3))], {}),
    ("Assign", [V((2, 3)), P((7,))], {"validate_shape": False, "use_locking": True}),
    ("AssignAdd", [V((2, 3)), F], {}),
    ("ScatterUpdate", [V((2, 3)), P((4,), "int32"), P((4, 3))], {}),
    ("CountUpTo", [], {}),
    ("IsVariableInitialized", [V((2,))], {}),
    ("VarHandleOp", [], {"dtype": "float32", "shape": (2,), "shared_name": "v"}),
    ("ReadVariableOp", [H((2, None))], {"dtype": "float32"}),
    ("AssignVariableOp", [H((2, 3)), F], {}),
    ("VarIsInitializedOp", [H((2,))], {}),
    ("VariableShape", [H((2, 3))], {}),
    ("ResourceGather", [H((5, 6)), P((2, None), "int32")], {"dtype": "float32"}),
    ("HashTableV2", [], {"key_dtype": "string", "value_dtype": "int64"}),
    ("ShardedFilename", [C("a"), C(0), C(2)], {}),
    ("SaveV2", [C("a"), C(["x", "y"]), C(["", ""]), [F, I]], {}),
    ("RestoreV2", [C("a"), C(["x", "y"]), C(["", "4 3 0,2:-"])], {"dtypes": ["float32", "int32"]}),
    ("MergeV2Checkpoints", [C(["a", "b"]), C("c")], {}),
    (
        "ParseExample",
        [P((None,), "string"), P((0,), "string"), [C("s")], [C("d")], [C([], "float32")]],
        {"sparse_types": ["int64"], "dense_shapes": [(3,)]},
    ),
    ("ApplyGradientDescent", [V((2, 3)), P(()), F], {}),
    ("ScalarSummary", [C("tag"), P(())], {}),
    ("MergeSummary", [[P((), "string"), P((), "string")]], {}),
    # control flow
    ("Switch", [F, P((), "bool")], {}),
    ("Merge", [[F, P((2, None))]], {}),
    ("Enter", [F], {"frame_name": "f"}),
    ("LoopCond", [P((), "bool")], {}),
    ("NoOp", [], {}),
]
CASES = [case for case in CASES if case[0] != "CountUpTo"]


class Theirs:
    """Makes operations with TensorFlow."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.graph = tf.Graph()

    def __call__(self, op_type: str, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        op_def = op_defs.find(op_type)
        assert op_def is not None
        values = {
            argument.name: self._input(value)
            for argument, value in zip(op_def.input_arg, inputs, strict=True)
        }
        from tensorflow.python.framework import op_def_library

        inferred = {
            name
            for argument in op_def.input_arg
            for name in (argument.type_attr, argument.number_attr, argument.type_list_attr)
        }
        # This way in, which alone has the names of the definition, fills in no defaults.
        defaults = {
            attr.name: decode_attr(attr.default_value)
            for attr in op_def.attr
            if attr.HasField("default_value") and attr.name not in inferred
        }
        op_def_library.apply_op(op_type, name="op", **values, **(defaults | attrs))
        return self.graph.get_operation_by_name("op")

    def _input(self, spec: Any) -> Any:
        tf = self.tf
        match spec:
            case list():
                return [self._input(item) for item in spec]
            case P(shape, dtype):
                return tf.compat.v1.placeholder(dtype, shape, name="in")
            case C(value, dtype):
                return tf.compat.v1.constant(value, dtype, name="in")
            case V(shape):
                return tf.raw_ops.VariableV2(dtype="float32", shape=shape, name="in")
            case H(shape):
                return tf.raw_ops.VarHandleOp(dtype="float32", shape=shape, name="in")


class Ours:
    """Makes operations with this package."""

    def __init__(self) -> None:
        self.graph = Graph()

    def __call__(self, op_type: str, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        tensors = [self._input(value) for value in inputs]
        return create_op(self.graph, op_type, tensors, attrs, name="op")

    def _input(self, spec: Any) -> Any:
        match spec:
            case list():
                return [self._input(item) for item in spec]
            case P(shape, dtype):
                attrs = {"dtype": dtype, "shape": shape}
                return create_op(self.graph, "Placeholder", (), attrs, "in").outputs[0]
            case C(value, dtype):
                return constant(self.graph, value, dtype, name="in")
            case V(shape):
                attrs = {"dtype": "float32", "shape": shape}
                return create_op(self.graph, "VariableV2", (), attrs, "in").outputs[0]
            case H(shape):
                attrs = {"dtype": "float32", "shape": shape}
                return create_op(self.graph, "VarHandleOp", (), attrs, "in").outputs[0]


def _sizes(tensor: Any) -> Any:
    shape = tensor.shape
    return None if shape.rank is None else tuple(shape.as_list())


@pytest.mark.parametrize(
    ("op_type", "inputs", "attrs"),
    CASES,
    ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)],
)
def test_an_operation_is_tensorflows(
    tf: Any, op_type: str, inputs: list[Any], attrs: dict[str, Any]
) -> None:
    theirs, ours = Theirs(tf), Ours()
    with theirs.graph.as_default():
        expected = theirs(op_type, inputs, attrs)
    made = ours(op_type, inputs, attrs)
    assert str(made.node_def) == str(expected.node_def)
    assert [_sizes(out) for out in made.outputs] == [_sizes(out) for out in expected.outputs]
    assert [out.dtype.name for out in made.outputs] == [out.dtype.name for out in expected.outputs]
    assert str(ours.graph.as_graph_def()) == str(theirs.graph.as_graph_def())


MISFITS: list[tuple[str, list[Any], dict[str, Any], type[Exception], str]] = [
    ("AddV2", [P((2,)), P((3,))], {}, ValueError, "Dimensions must be equal, but are 2 and 3"),
    ("AddV2", [P((2,)), P((2,), "int32")], {}, TypeError, "has type int32 that does not match"),
    ("MatMul", [F, F], {}, ValueError, "must be equal"),
    ("MatMul", [P((2,)), F], {}, ValueError, "must be rank 2 but is rank 1"),
    ("Reshape", [F, C([4])], {}, ValueError, "Cannot reshape a tensor with 6 elements"),
    ("Reshape", [F, C([4, -1])], {}, ValueError, "evenly divisible by 4"),
    ("ConcatV2", [[F, P((2, 3, 4))], C(0)], {}, ValueError, "different rank"),
    ("ConcatV2", [[F, P((5, 5))], C(0)], {}, ValueError, "not compatible"),
    ("Squeeze", [F], {"squeeze_dims": [0]}, ValueError, "2 and 1"),
    ("ExpandDims", [F, C(5)], {}, ValueError, "out of bounds"),
    ("Conv2D", [P((1, 2, 2, 3)), P((5, 5, 3, 8))], window("VALID"), ValueError, "Negative"),
    ("BiasAdd", [F, P((4,))], {}, ValueError, "3 and 4"),
    ("Split", [C(1), F], {"num_split": 2}, ValueError, "evenly divisible"),
    ("Assign", [V((2, 3)), P((2, 4))], {}, ValueError, "not compatible"),
    ("AssignVariableOp", [H((2, 3)), P((2, 4))], {}, ValueError, "must be equal"),
    ("Assign", [F, F], {}, TypeError, "expected type of float32_ref"),
    ("Pack", [[F, P((2, 3), "int32")]], {}, TypeError, "int32"),
    ("Relu", [P((2,), "string")], {}, TypeError, "'T'.*DT_STRING is not one of"),
    ("Cast", [F], {"DstT": "nothing"}, TypeError, "'DstT'.*cannot convert 'nothing'"),
    ("StridedSlice", [F, C([7]), C([8]), C([1])], {"shrink_axis_mask": 1}, ValueError, "index 7"),
    ("StridedSlice", [F, C([0]), C([1]), C([0])], {}, ValueError, "stride"),
    ("Range", [C(0), C(3), C(0)], {}, ValueError, "step"),
    ("Pack", [[]], {"T": "float32"}, ValueError, "'N'.*at least 1, found 0"),
    (
        "MirrorPad",
        [F, C([[1, 1], [0, 2]])],
        {"mode": "X"},
        ValueError,
        "'mode'.*b'X' is not one of",
    ),
]


@pytest.mark.parametrize(
    ("op_type", "inputs", "attrs", "error", "problem"),
    MISFITS,
    ids=[f"{index}-{case[0]}" for index, case in enumerate(MISFITS)],
)
def test_what_does_not_fit_is_refused_as_in_tensorflow(
    tf: Any,
    op_type: str,
    inputs: list[Any],
    attrs: dict[str, Any],
    error: type[Exception],
    problem: str,
) -> None:
    theirs, ours = Theirs(tf), Ours()
    with theirs.graph.as_default(), pytest.raises((ValueError, TypeError)):
        theirs(op_type, inputs, attrs)
    with pytest.raises(error, match=problem) as raised:
        ours(op_type, inputs, attrs)
    assert isinstance(raised.value, errors.GraphError)
    assert "'op'" in str(raised.value)
    # Nothing of it stays.
    assert all(op.name != "op" for op in ours.graph.get_operations())
    assert all(not out.consumers() for op in ours.graph.get_operations() for out in op.outputs)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attrs", "problem"),
    [
        ("NoSuchOp", [], {}, "there is no type of operation called 'NoSuchOp'"),
        ("Relu", [], {}, r"Relu operation 'op' takes 1 inputs \(features\), found 0"),
        ("Relu", [[F]], {}, "input 'features' of Relu operation 'op' must be a tensor, found list"),
        ("Pack", [F], {}, "must be a list of tensors, found Tensor"),
        ("Placeholder", [], {}, "Placeholder operation 'op' needs a value for attribute 'dtype'"),
        ("Relu", [F], {"alpha": 1}, "'alpha'.*no such attribute"),
        ("Relu", [F], {"T": 1.5}, "'T'.*cannot convert 1.5"),
        ("AddN", [[F, F]], {"N": 3}, "a list of 2 tensors; attribute 'N' says 3"),
        ("SaveV2", [C("a"), C(["x"]), C([""]), [F]], {"dtypes": ["int32"]}, "float32"),
        ("Conv2D", [IMAGE, P((5, 5, 3, 8))], {"strides": [1], "padding": "SAME"}, "must have 4"),
        ("Conv2D", [IMAGE, P((5, 5, 3, 8))], window("SAME", 0), "at least 1"),
    ],
)
def test_calls_that_cannot_be_meant(
    op_type: str, inputs: list[Any], attrs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(errors.GraphError, match=problem):
        Ours()(op_type, inputs, attrs)


def test_sizes_that_are_computed_in_the_graph_are_followed(tf: Any) -> None:
    """batch x 12 -> batch x 3 x 4, with the batch from the shape of the input."""

    def build(op: Any, inputs: Any) -> Any:
        x = inputs(P((5, None)))
        shape = op("Shape", [x], {}).outputs[0]
        args = [shape, inputs(C([0])), inputs(C([1])), inputs(C([1]))]
        batch = op("StridedSlice", args, {"shrink_axis_mask": 1}).outputs[0]
        twice = op("Mul", [batch, inputs(C(2))], {}).outputs[0]
        sizes = op("Pack", [[twice, inputs(C(3)), inputs(C(-1))]], {}).outputs[0]
        return op("Reshape", [x, sizes], {}).outputs[0]

    graph = tf.Graph()
    theirs, ours = Theirs(tf), Ours()
    theirs.graph = graph

    def their_op(op_type: str, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        op_def = op_defs.find(op_type)
        assert op_def is not None
        arguments = {a.name: v for a, v in zip(op_def.input_arg, inputs, strict=True)}
        return getattr(tf.raw_ops, op_type)(**arguments, **attrs).op

    def our_op(op_type: str, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        return create_op(ours.graph, op_type, inputs, attrs)

    with graph.as_default():
        expected = build(their_op, theirs._input)
    made = build(our_op, ours._input)
    assert _sizes(made) == _sizes(expected) == (10, 3, None)


def test_functions_of_the_library_are_types_of_operations() -> None:
    graph = Graph()
    x = create_op(graph, "Placeholder", (), {"dtype": "float32"}).outputs[0]
    call = create_op(
        graph,
        "PartitionedCall",
        [[x]],
        {"Tout": ["float32", "int64"], "f": FunctionName("f", {"T": DataType.DT_FLOAT})},
    )
    assert [out.data_type for out in call.outputs] == [DataType.DT_FLOAT, DataType.DT_INT64]
    assert call.get_attr("f") == FunctionName("f", {"T": DataType.DT_FLOAT})
    function = graph.functions.setdefault("Twice", FunctionDef())
    function.signature.name = "Twice"
    function.signature.input_arg.add(name="x", type="DT_FLOAT")
    function.signature.output_arg.add(name="y", type="DT_FLOAT")
    twice = create_op(graph, "Twice", [x])
    assert twice.outputs[0].data_type == DataType.DT_FLOAT


def test_attributes_can_be_asked_for() -> None:
    op = Ours()("Conv2D", [IMAGE, P((5, 5, 3, 8))], window("SAME"))
    assert op.get_attr("strides") == [1, 2, 2, 1]
    assert op.get_attr("padding") == b"SAME"
    assert op.get_attr("T") == DataType.DT_FLOAT
    assert op.get_attr("explicit_paddings") == []
    with pytest.raises(ValueError, match="has no attr named 'stride'. Did you mean 'strides'?"):
        op.get_attr("stride")
    array = constant(op.graph, np.arange(4)).op.get_attr("value")
    assert array.tolist() == [0, 1, 2, 3]
