"""All functions under all of TensorFlow's names for them: `tf.add` is `tf.math.add`, too.

A name with a dot is one of a namespace (`math`, `nn`, `strings`...); the others are those of the
package itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from ckptmgr.compat.v1 import (
    arithmetic,
    arrays,
    composed_arrays,
    gfile,
    images,
    lookup,
    nn_functions,
    op_table,
    random,
    reductions,
    state_functions,
    strings,
)
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph import initializers
from ckptmgr.graph.graph_def import write_graph

_FUNCTIONS: dict[str, Any] = {
    # ------------------------------------------------- arrays
    "boolean_mask": arrays.boolean_mask,
    "concat": arrays.concat,
    "expand_dims": arrays.expand_dims,
    "eye linalg.eye": arrays.eye,
    "gather": arrays.gather,
    "gather_nd manip.gather_nd": arrays.gather_nd,
    "matrix_transpose linalg.matrix_transpose linalg.transpose": arrays.matrix_transpose,
    "one_hot": arrays.one_hot,
    "ones": arrays.ones,
    "ones_like": arrays.ones_like,
    "pad": arrays.pad,
    "rank": arrays.rank,
    "setdiff1d": arrays.setdiff1d,
    "shape": arrays.shape,
    "size": arrays.size,
    "split": arrays.split,
    "squeeze": arrays.squeeze,
    "stack": arrays.stack,
    "transpose": arrays.transpose,
    "unstack": arrays.unstack,
    "where": arrays.where,
    "where_v2": arrays.where_v2,
    "zeros": arrays.zeros,
    "zeros_like": arrays.zeros_like,
    "meshgrid": composed_arrays.meshgrid,
    "norm linalg.norm": composed_arrays.norm,
    "sequence_mask": composed_arrays.sequence_mask,
    "strided_slice": composed_arrays.strided_slice,
    # ------------------------------------------------- arithmetic
    "abs math.abs": arithmetic.abs,
    "add math.add": arithmetic.add,
    "add_n math.add_n": arithmetic.add_n,
    "angle math.angle": arithmetic.part_of_complex("Angle"),
    "argmax math.argmax": arithmetic.index_of("ArgMax"),
    "argmin math.argmin": arithmetic.index_of("ArgMin"),
    "cast dtypes.cast": arithmetic.cast,
    "clip_by_value": arithmetic.clip_by_value,
    "complex dtypes.complex": arithmetic.complex,
    "cumprod math.cumprod": arithmetic.cumulative("Cumprod"),
    "cumsum math.cumsum": arithmetic.cumulative("Cumsum"),
    "div": arithmetic.div,
    "div_no_nan math.divide_no_nan": arithmetic.div_no_nan,
    "divide math.divide": arithmetic.divide,
    "einsum linalg.einsum": arithmetic.einsum,
    "floordiv math.floordiv": arithmetic.floordiv,
    "imag math.imag": arithmetic.part_of_complex("Imag"),
    "linspace lin_space math.linspace": arithmetic.linspace,
    "log_sigmoid math.log_sigmoid": arithmetic.log_sigmoid,
    "logical_xor math.logical_xor": arithmetic.logical_xor,
    "matmul linalg.matmul": arithmetic.matmul,
    "linalg.matvec": arithmetic.matvec,
    "pow math.pow": arithmetic.pow,
    "range": arithmetic.range,
    "real math.real": arithmetic.part_of_complex("Real"),
    "round math.round": arithmetic.round,
    "scalar_mul math.scalar_mul": arithmetic.scalar_mul,
    "sigmoid math.sigmoid nn.sigmoid": arithmetic.sigmoid,
    "sign math.sign": arithmetic.sign,
    "tensordot linalg.tensordot": arithmetic.tensordot,
    "to_double": arithmetic.caster(DataType.DT_DOUBLE, "ToDouble"),
    "to_float": arithmetic.caster(DataType.DT_FLOAT, "ToFloat"),
    "to_int32": arithmetic.caster(DataType.DT_INT32, "ToInt32"),
    "to_int64": arithmetic.caster(DataType.DT_INT64, "ToInt64"),
    "truediv math.truediv": arithmetic.truediv,
    "nn.zero_fraction math.zero_fraction": arithmetic.zero_fraction,
    # ------------------------------------------------- reductions
    "count_nonzero math.count_nonzero": reductions.count_nonzero,
    "reduce_all math.reduce_all": reductions.reduce_all,
    "reduce_any math.reduce_any": reductions.reduce_any,
    "math.reduce_euclidean_norm": reductions.reduce_euclidean_norm,
    "reduce_logsumexp math.reduce_logsumexp": reductions.reduce_logsumexp,
    "reduce_max math.reduce_max": reductions.reduce_max,
    "reduce_mean math.reduce_mean": reductions.reduce_mean,
    "reduce_min math.reduce_min": reductions.reduce_min,
    "reduce_prod math.reduce_prod": reductions.reduce_prod,
    "reduce_sum math.reduce_sum": reductions.reduce_sum,
    # ------------------------------------------------- nn
    "nn.avg_pool nn.avg_pool2d": images.avg_pool,
    "nn.batch_normalization": nn_functions.batch_normalization,
    "nn.bias_add": nn_functions.bias_add,
    "nn.conv2d": images.conv2d,
    "nn.conv2d_transpose": images.conv2d_transpose,
    "nn.crelu": nn_functions.crelu,
    "nn.depthwise_conv2d": images.depthwise_conv2d,
    "nn.dropout": nn_functions.dropout,
    "nn.embedding_lookup": nn_functions.embedding_lookup,
    "nn.fused_batch_norm": nn_functions.fused_batch_norm,
    "nn.in_top_k math.in_top_k": nn_functions.in_top_k,
    "nn.l2_normalize math.l2_normalize linalg.l2_normalize": nn_functions.l2_normalize,
    "nn.leaky_relu": nn_functions.leaky_relu,
    "nn.log_softmax math.log_softmax": nn_functions.log_softmax,
    "nn.max_pool nn.max_pool2d": images.max_pool,
    "nn.moments": nn_functions.moments,
    "nn.relu6": nn_functions.relu6,
    "nn.relu_layer": nn_functions.relu_layer,
    "nn.sigmoid_cross_entropy_with_logits": nn_functions.sigmoid_cross_entropy_with_logits,
    "nn.softmax math.softmax": nn_functions.softmax,
    "nn.softmax_cross_entropy_with_logits nn.softmax_cross_entropy_with_logits_v2": (
        nn_functions.softmax_cross_entropy_with_logits
    ),
    "nn.sparse_softmax_cross_entropy_with_logits": (
        nn_functions.sparse_softmax_cross_entropy_with_logits
    ),
    "nn.swish nn.silu": nn_functions.swish,
    "nn.top_k math.top_k": nn_functions.top_k,
    "nn.xw_plus_b": nn_functions.xw_plus_b,
    # ------------------------------------------------- random
    "multinomial random.multinomial": random.multinomial,
    "random.categorical": random.categorical,
    "random_normal random.normal": random.normal,
    "random_shuffle random.shuffle": random.shuffle,
    "random_uniform random.uniform": random.uniform,
    "set_random_seed random.set_random_seed": random.set_random_seed,
    "get_seed random.get_seed": random.get_seed,
    "truncated_normal random.truncated_normal": random.truncated_normal,
    # ------------------------------------------------- variables
    "assign": state_functions.assign,
    "assign_add": state_functions.changing("AssignAdd", "assign_add"),
    "assign_sub": state_functions.changing("AssignSub", "assign_sub"),
    "scatter_add": state_functions.scattering("ScatterAdd", "ResourceScatterAdd"),
    "scatter_sub": state_functions.scattering("ScatterSub", "ResourceScatterSub"),
    "scatter_update": state_functions.scattering("ScatterUpdate", "ResourceScatterUpdate"),
    "constant_initializer initializers.constant": initializers.Constant,
    "glorot_normal_initializer initializers.glorot_normal": initializers.GlorotNormal,
    "glorot_uniform_initializer initializers.glorot_uniform": initializers.GlorotUniform,
    "ones_initializer initializers.ones": initializers.Ones,
    "random_normal_initializer initializers.random_normal": initializers.RandomNormal,
    "random_uniform_initializer initializers.random_uniform": initializers.RandomUniform,
    "truncated_normal_initializer initializers.truncated_normal": initializers.TruncatedNormal,
    "variance_scaling_initializer initializers.variance_scaling": initializers.VarianceScaling,
    "zeros_initializer initializers.zeros": initializers.Zeros,
    # ------------------------------------------------- strings and files
    "decode_raw io.decode_raw": strings.decode_raw,
    "FixedLenFeature io.FixedLenFeature": strings.FixedLenFeature,
    "parse_example io.parse_example": strings.parse_example,
    "reduce_join strings.reduce_join": strings.reduce_join,
    "regex_replace strings.regex_replace": strings.regex_replace,
    "string_join strings.join": strings.string_join,
    "string_to_number strings.to_number": strings.string_to_number,
    "strings.length": strings.string_length,
    "substr strings.substr": strings.substr,
    "io.gfile": gfile,
    "io.write_graph": write_graph,
    "lookup": lookup,
}


class Namespace(SimpleNamespace):
    """Functions by name; what is missing is told in words."""

    def __init__(self, name: str, **functions: Any) -> None:
        super().__init__(__name__=f"ckptmgr.compat.v1.{name}", **functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(missing(f"{self.__name__}.{name}"))


def missing(name: str) -> str:
    """What to say of a name of TensorFlow's that is not offered."""
    return (
        f"{name} is not offered: ckptmgr has the names that graphs, their values, saving, "
        f"restoring and serving need (see docs/recipes.md)"
    )


def namespaces() -> dict[str, Any]:
    """What the package offers: functions, and namespaces of functions."""
    top: dict[str, Any] = {}
    for name, function in _all():
        space, _, own = name.rpartition(".")
        if not space:
            top[own] = function
            continue
        setattr(top.setdefault(space, Namespace(space)), own, function)
    return top


def _all() -> Iterator[tuple[str, Any]]:
    yield from op_table.functions()
    for names, function in _FUNCTIONS.items():
        for name in names.split():
            yield name, function
