"""Shapes of operations that work element by element, and of those that only pass a tensor on."""

from __future__ import annotations

from collections.abc import Sequence

from ckptmgr.graph.operation import Operation
from ckptmgr.graph.shapes import broadcast, of_rank, shape_function, shape_of
from ckptmgr.graph.tensor_shape import Shape, merge

_UNARY = """
    Abs Acos Acosh AdjustContrastv2 AdjustHue AdjustSaturation Angle AsString Asin Asinh Atan
    Atanh BesselI0 BesselI0e BesselI1 BesselI1e  Cast Ceil CheckNumerics
    CheckNumericsV2 Cholesky ClipByValue ComplexAbs Conj Cos Cosh Cumprod Cumsum
    CumulativeLogsumexp DebugGradientIdentity DecodeBase64 Digamma Elu EluGrad EncodeBase64
    Erf Erfc Erfinv Exit Exp Expm1 FFT FFT2D FFT3D FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars Floor GuaranteeConst HSVToRGB IFFT IFFT2D IFFT3D Imag InplaceAdd
    InplaceSub InplaceUpdate Inv InvGrad Invert InvertPermutation IsFinite IsInf IsNan LRN
    LeakyRelu LeakyReluGrad Lgamma Log Log1p LogSoftmax LogicalNot LoopCond MatrixBandPart
    MatrixInverse Ndtri Neg NextIteration OnesLike PreventGradient Print RGBToHSV
    RandomShuffle Real ReciprocalGrad RefEnter RefExit RefIdentity RefNextIteration
    RegexFullMatch RegexReplace Relu Relu6 Relu6Grad ReluGrad Reverse ReverseSequence
    ReverseV2 Rint Roll Round Rsqrt RsqrtGrad ScatterNdNonAliasingAdd Selu SeluGrad Sigmoid
    SigmoidGrad Sign Sin Sinh Snapshot Softmax Softplus SoftplusGrad Softsign SoftsignGrad
    Sqrt SqrtGrad Square StaticRegexFullMatch StaticRegexReplace StopGradient StringLength
    StringLower StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong
    StringToNumber StringUpper Substr Tan Tanh TanhGrad TensorScatterAdd TensorScatterMax
    TensorScatterMin TensorScatterSub TensorScatterUpdate UnicodeScript UnicodeTranscode
    ZerosLike
"""
_BINARY = """
    Add AddV2 ApproximateEqual Atan2 BitwiseAnd BitwiseOr BitwiseXor Complex Div DivNoNan
    Equal FloorDiv FloorMod Greater GreaterEqual Igamma Igammac LeftShift Less LessEqual
    LogicalAnd LogicalOr Maximum Minimum Mod Mul MulNoNan NextAfter NotEqual Polygamma Pow
    RealDiv RightShift SquaredDifference Sub TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta
"""
_OPTIMIZERS = """
    ApplyAdaMax ApplyAdadelta ApplyAdagrad ApplyAdagradV2 ApplyAdam ApplyCenteredRMSProp ApplyFtrl
    ApplyFtrlV2 ApplyGradientDescent ApplyMomentum ApplyProximalGradientDescent ApplyRMSProp
    SparseApplyAdagrad SparseApplyAdagradV2 SparseApplyFtrl SparseApplyMomentum
"""


@shape_function("Identity", *_UNARY.split())
def same_as_first(op: Operation) -> Sequence[Shape]:
    op.outputs[0]._handle_shape = op.inputs[0]._handle_shape
    return [shape_of(op, 0)]


@shape_function(*_BINARY.split())
def elementwise_pair(op: Operation) -> Sequence[Shape]:
    return [broadcast(shape_of(op, 0), shape_of(op, 1))]


@shape_function("Bitcast")
def bitcast(op: Operation) -> Sequence[Shape]:
    """Elements of another size change the last dimension."""
    sizes = (op.inputs[0].dtype.size, op.outputs[0].dtype.size)
    return [shape_of(op, 0) if sizes[0] == sizes[1] else None]


@shape_function("IdentityN")
def same_as_each(op: Operation) -> Sequence[Shape]:
    return [tensor.partial_shape for tensor in op.inputs]


@shape_function("AddN", "AccumulateNV2")
def same_for_all(op: Operation) -> Sequence[Shape]:
    shape: Shape = None
    for tensor in op.inputs:
        shape = merge(shape, tensor.partial_shape)
    return [shape]


@shape_function("Select")
def select(op: Operation) -> Sequence[Shape]:
    return [merge(shape_of(op, 1), shape_of(op, 2))]


@shape_function("SelectV2", "Betainc")
def select_broadcast(op: Operation) -> Sequence[Shape]:
    return [broadcast(shape_of(op, 0), broadcast(shape_of(op, 1), shape_of(op, 2)))]


@shape_function("Enter")
def enter(op: Operation) -> Sequence[Shape]:
    """What changes in a loop may change its shape, too."""
    op.outputs[0]._handle_shape = op.inputs[0]._handle_shape
    return [shape_of(op, 0) if op.get_attr("is_constant") else None]


@shape_function("Switch", "RefSwitch")
def switch(op: Operation) -> Sequence[Shape]:
    for tensor in op.outputs:
        tensor._handle_shape = op.inputs[0]._handle_shape
    return [shape_of(op, 0)] * 2


@shape_function("Merge", "RefMerge")
def merge_of_branches(op: Operation) -> Sequence[Shape]:
    """What all inputs have in common; a loop's back edge is not known yet."""
    known = [tensor.partial_shape for tensor in op.inputs]
    if any(tensor.op.type in ("NextIteration", "RefNextIteration") for tensor in op.inputs):
        return [None, ()]
    return [_in_common(known), ()]


def _in_common(shapes: Sequence[Shape]) -> Shape:
    first = shapes[0] if shapes else None
    for shape in shapes:
        if first is None or shape is None or len(first) != len(shape):
            return None
        first = tuple(a if a == b else None for a, b in zip(first, shape, strict=True))
    return first


@shape_function("EnsureShape")
def ensure_shape(op: Operation) -> Sequence[Shape]:
    return [merge(shape_of(op, 0), op.get_attr("shape"))]


@shape_function("StringJoin")
def string_join(op: Operation) -> Sequence[Shape]:
    """Scalars are added to every element."""
    shape: Shape = ()
    for tensor in op.inputs:
        other = tensor.partial_shape
        if other is None:
            return [None]
        if other:
            shape = merge(shape, other) if shape else other
    return [shape]


@shape_function(*_OPTIMIZERS.split())
def trained_variable(op: Operation) -> Sequence[Shape]:
    return [shape_of(op, 0)]


@shape_function("SoftmaxCrossEntropyWithLogits")
def softmax_cross_entropy(op: Operation) -> Sequence[Shape]:
    both = broadcast(shape_of(op, 0), shape_of(op, 1))
    rows, columns = of_rank(both, 2)
    return [(rows,), (rows, columns)]


@shape_function("SparseSoftmaxCrossEntropyWithLogits")
def sparse_softmax_cross_entropy(op: Operation) -> Sequence[Shape]:
    rows, columns = of_rank(shape_of(op, 0), 2)
    labels = merge(of_rank(shape_of(op, 1), 1), (rows,))
    return [labels, merge((rows, columns), (*labels, columns) if labels else None)]
