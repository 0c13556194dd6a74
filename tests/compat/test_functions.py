"""Every function adds the operations that TensorFlow's adds: names, attributes and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import ckptmgr.compat.v1 as ours

#: Written as a user writes them: `x` is a placeholder of float32 [2, 3], `i` one of int32 [4], `q`
#: one of float32 [None, 3], `p` one of bool [2, 3], `s` one of strings [2], `m` of images
#: [1, 4, 4, 2].
CASES = (
    # operators
    "x + 1",
    "1 + x",
    "x - 2.0",
    "x * x",
    "3.0 / x",
    "i / 2",
    "i // 2",
    "i % 3",
    "x ** 2",
    "2.0 - x",
    "-x",
    "abs(x)",
    "x < 1",
    "x >= [1.0, 2.0, 3.0]",
    "~p",
    "p & True",
    "p | p",
    "p ^ p",
    "x @ [[1.0], [2.0], [3.0]]",
    "np.float32(2) * x",
    "np.ones([2, 3], np.float32) + x",
    "tf.constant([1.0, 2.0]) + [3.0, 4.0]",
    # indices
    "x[0]",
    "x[-1, 1:]",
    "x[..., tf.newaxis]",
    "x[:, ::2]",
    "x[1:2, 0]",
    "i[i[0]]",
    "i[:i[1]]",
    "x[()]",
    # constants and placeholders
    "tf.constant(5, name='five')",
    "tf.constant([[1, 2], [3, 4]], tf.int64)",
    "tf.constant(1.5, shape=[2, 2])",
    "tf.constant(['a', b'b'])",
    "tf.placeholder(tf.int64, name='fed')",
    "tf.placeholder_with_default(3.0, [])",
    "tf.zeros([2, 3])",
    "tf.zeros([40, 40])",
    "tf.zeros([tf.size(q), 3])",
    "tf.zeros([], tf.string)",
    "tf.ones(i)",
    "tf.ones([3], tf.bool)",
    "tf.zeros_like(x)",
    "tf.zeros_like(q)",
    "tf.zeros_like(q, tf.int32)",
    "tf.ones_like(x)",
    "tf.ones_like(q)",
    "tf.fill([2, 2], 7)",
    "tf.convert_to_tensor([x, x])",
    "tf.convert_to_tensor([[1.0, x[0, 0]], [2.0, 3.0]])",
    # arrays
    "tf.shape(x)",
    "tf.shape(q)",
    "tf.shape(q, out_type=tf.int64)",
    "tf.size(x)",
    "tf.size(q)",
    "tf.rank(x)",
    "tf.identity(x, name='same')",
    "tf.stop_gradient(x)",
    "tf.reshape(x, [3, -1])",
    "tf.transpose(x)",
    "tf.transpose(x, [1, 0], name='t')",
    "tf.expand_dims(x, 0)",
    "tf.expand_dims(x, dim=-1)",
    "tf.squeeze(x[:1])",
    "tf.squeeze(x[:1], axis=0)",
    "tf.squeeze(x[:1], [0])",
    "tf.concat([x, x], 1)",
    "tf.concat([x], 0)",
    "tf.concat([x, [[1.0, 2.0, 3.0]]], axis=0)",
    "tf.split(x, 3, 1)",
    "tf.split(x, [1, 2], axis=1)",
    "tf.stack([x, x])",
    "tf.stack([x, x], axis=-1)",
    "tf.stack([1, 2, 3])",
    "tf.unstack(x)",
    "tf.unstack(x, axis=1)",
    "tf.slice(x, [0, 1], [2, 2])",
    "tf.gather(x, [0, 1, 0])",
    "tf.gather(x, i, axis=1)",
    "tf.gather_nd(x, [[0, 1]])",
    "tf.tile(x, [1, 2])",
    "tf.pad(x, [[1, 1], [0, 0]])",
    "tf.pad(x, [[1, 1], [0, 0]], constant_values=2.0)",
    "tf.pad(x, [[1, 1], [0, 0]], 'REFLECT')",
    "tf.reverse(x, [1])",
    "tf.where(p)",
    "tf.where(p, x, x)",
    "tf.where_v2(p, x, 0.0)",
    "tf.one_hot(i, 4)",
    "tf.one_hot(i, 4, on_value=1, off_value=-1)",
    "tf.one_hot(i, 4, dtype=tf.int64, axis=0)",
    "tf.unique(i)",
    "tf.setdiff1d(i, [1, 2])",
    "tf.broadcast_to(x, [4, 2, 3])",
    "tf.segment_sum(x, [0, 0])",
    "tf.unsorted_segment_sum(x, [1, 0], 3)",
    "tf.boolean_mask(x, [True, False])",
    "tf.eye(2)",
    "tf.strided_slice(x, [0, 1], [2, 3])",
    "tf.strided_slice(x, [0, 0], [2, 3], [1, 2], end_mask=2, shrink_axis_mask=1, name='part')",
    "tf.meshgrid([1.0, 2.0], x[0])",
    "tf.meshgrid(i, [1, 2], [3], indexing='ij', name='grid')",
    "tf.meshgrid([1, 2])",
    "tf.sequence_mask(i)",
    "tf.sequence_mask([1, 3], 5, dtype=tf.float32)",
    "tf.sequence_mask(i, tf.shape(q)[0], name='mask')",
    "tf.norm(x)",
    "tf.norm(x, axis=1, keepdims=True)",
    "tf.norm(x, 1, axis=0, name='one')",
    "tf.norm(x, np.inf)",
    "tf.norm(x, 3, axis=1)",
    "tf.norm(x, 'fro', axis=[0, 1])",
    "tf.norm(x, 1, axis=(0, 1))",
    "tf.norm(x, np.inf, axis=[-2, -1])",
    "tf.norm(tf.complex(x, x))",
    # arithmetic
    "tf.add(x, 1.0)",
    "tf.add('a', s)",
    "tf.add_n([x, x, x])",
    "tf.subtract(x, 1.0)",
    "tf.multiply(2.0, x)",
    "tf.divide(x, 2.0)",
    "tf.div(i, 2)",
    "tf.truediv(i, i)",
    "tf.floordiv(x, 2.0)",
    "tf.mod(i, 3)",
    "tf.div_no_nan(x, 0.0)",
    "tf.maximum(x, 0.0, name='top')",
    "tf.minimum(0.0, x)",
    "tf.pow(x, 2.0)",
    "tf.abs(x)",
    "tf.sign(x)",
    "tf.round(x)",
    "tf.round(i)",
    "tf.sqrt(x)",
    "tf.square(x)",
    "tf.exp(x)",
    "tf.log(x)",
    "tf.math.log(x)",
    "tf.math.erf(x)",
    "tf.sin(x)",
    "tf.tanh(x)",
    "tf.sigmoid(x)",
    "tf.math.softplus(x)",
    "tf.log_sigmoid(x)",
    "tf.floor(x)",
    "tf.negative(x)",
    "tf.squared_difference(x, 1.0)",
    "tf.scalar_mul(2.0, x)",
    "tf.equal(x, 1.0)",
    "tf.not_equal(s, 'a')",
    "tf.less(x, x)",
    "tf.greater_equal(i, 1)",
    "tf.logical_and(p, True)",
    "tf.logical_xor(p, p)",
    "tf.is_nan(x)",
    "tf.cast(x, tf.int32)",
    "tf.cast(x, tf.float32)",
    "tf.cast([1, 2], 'float64')",
    "tf.to_float(i)",
    "tf.to_int32(x)",
    "tf.range(5)",
    "tf.range(1, 10, 2)",
    "tf.range(0.0, 1.0, 0.25)",
    "tf.range(tf.shape(q)[0])",
    "tf.cumsum(x, axis=1, exclusive=True)",
    "tf.argmax(x, 1)",
    "tf.argmin(x, axis=0, output_type=tf.int32)",
    "tf.clip_by_value(x, 0.0, 1.0)",
    "tf.complex(x, x)",
    "tf.real(tf.complex(x, x))",
    "tf.matmul(x, x, transpose_b=True)",
    "tf.matmul(tf.expand_dims(x, 0), [[[1.0], [2.0], [3.0]]])",
    "tf.matmul(tf.expand_dims(x, 0), tf.expand_dims(x, 0), transpose_a=True)",
    # reductions
    "tf.reduce_sum(x)",
    "tf.reduce_sum(x, 1)",
    "tf.reduce_mean(x, axis=[0, 1], keepdims=True)",
    "tf.reduce_mean(tf.placeholder(tf.float32, name='any'))",
    "tf.reduce_max(x, reduction_indices=0, keep_dims=True)",
    "tf.reduce_min(x, name='least')",
    "tf.reduce_prod(i)",
    "tf.reduce_all(p)",
    "tf.reduce_any(p, 0)",
    "tf.reduce_logsumexp(x, 1)",
    "tf.count_nonzero(i)",
    # nn
    "tf.nn.relu(x)",
    "tf.nn.relu6(x)",
    "tf.nn.leaky_relu(x, 0.1)",
    "tf.nn.elu(x)",
    "tf.nn.selu(x)",
    "tf.nn.softmax(x)",
    "tf.nn.softmax(x, axis=1, name='probabilities')",
    "tf.nn.log_softmax(x)",
    "tf.nn.bias_add(x, [1.0, 2.0, 3.0])",
    "tf.nn.xw_plus_b(x, [[1.0], [1.0], [1.0]], [0.5])",
    "tf.nn.relu_layer(x, [[1.0], [1.0], [1.0]], [0.5])",
    "tf.nn.l2_loss(x)",
    "tf.nn.l2_normalize(x, 1)",
    "tf.nn.moments(x, [0])",
    "tf.nn.batch_normalization(x, x[0], x[1], None, None, 0.001)",
    "tf.nn.batch_normalization(x, x[0], x[1], [1.0] * 3, [2.0] * 3, 0.01)",
    "tf.nn.fused_batch_norm(m, [1.0, 1.0], [0.0, 0.0])",
    "tf.nn.dropout(x, rate=0.5, seed=1)",
    "tf.nn.dropout(x, 1.0)",
    "tf.nn.conv2d(m, np.ones([2, 2, 2, 3], np.float32), [1, 1, 1, 1], 'SAME')",
    "tf.nn.conv2d(m, np.ones([2, 2, 2, 3], np.float32), 2, [[0, 0], [1, 1], [1, 1], [0, 0]])",
    "tf.nn.conv2d_transpose(m, np.ones([2, 2, 3, 2], np.float32), [1, 8, 8, 3], 2)",
    "tf.nn.depthwise_conv2d(m, np.ones([2, 2, 2, 1], np.float32), [1, 1, 1, 1], 'VALID')",
    "tf.nn.max_pool(m, [1, 2, 2, 1], [1, 2, 2, 1], 'SAME')",
    "tf.nn.avg_pool(m, 2, 2, 'VALID', name='mean')",
    "tf.nn.top_k(x, 2)",
    "tf.nn.in_top_k(x, [0, 1], 2)",
    "tf.nn.embedding_lookup(x, i)",
    "tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1], logits=x)",
    "tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=x)",
    # losses
    "tf.losses.mean_squared_error(x, [[1, 2, 3], [4, 5, 6]])",
    "tf.losses.mean_squared_error(q, x, 0.5, reduction=tf.losses.Reduction.SUM)",
    "tf.losses.mean_squared_error(x, x, [[1.0], [0.0]], scope='mine')",
    "tf.losses.mean_squared_error(x, x, x, reduction=tf.losses.Reduction.MEAN)",
    "tf.losses.mean_squared_error(x, q, reduction='weighted_sum_over_batch_size')",
    "tf.losses.absolute_difference(x, x, reduction='none')",
    "[tf.losses.add_loss(x), tf.losses.absolute_difference(x, x), tf.losses.get_losses()]",
    "[tf.losses.add_loss(x), tf.losses.add_loss(x * 2.0), tf.losses.get_total_loss()]",
    "tf.losses.get_regularization_loss()",
    # random
    "tf.random_normal([2, 2])",
    "tf.random_normal([2], mean=1.0, stddev=2.0, seed=3, name='noise')",
    "tf.random.truncated_normal(tf.shape(q), seed=7)",
    "tf.random_uniform([3])",
    "tf.random_uniform([3], -1.0, 1.0, seed=2)",
    "tf.random_uniform([3], maxval=5, dtype=tf.int32)",
    "tf.random_shuffle(i, seed=4)",
    "[tf.set_random_seed(5), tf.random_normal([1]), tf.random_normal([1])][1:]",
    # strings
    "tf.as_string(i)",
    "tf.string_join([s, s], '-')",
    "tf.string_to_number(s)",
    "tf.strings.length(s)",
    "tf.strings.upper(s)",
    "tf.strings.regex_replace(s, 'a', 'b')",
    "tf.strings.to_hash_bucket_fast(s, 10)",
    "tf.parse_example(s, {'a': tf.FixedLenFeature([2], tf.float32)})",
    # control
    "tf.no_op()",
    "tf.group(tf.no_op(), x.op, name='all')",
    "tf.tuple([x, i])",
    # the state of variables
    "tf.report_uninitialized_variables()",
    "[tf.Variable([1], use_resource=False), tf.report_uninitialized_variables(name='missing')]",
    "[tf.Variable(1, use_resource=True), tf.report_uninitialized_variables()]",
    "[uncollected(tf), tf.report_uninitialized_variables()]",
    "scoped(tf, x)",
)


def scoped(tf: Any, x: Any) -> Any:
    with tf.name_scope("outer"), tf.name_scope(None, "inner", [x]) as scope:
        first = tf.add(x, 1.0, name=scope)
        with tf.device("/cpu:0"), tf.control_dependencies([first]):
            tf.identity(x)
        with tf.name_scope(scope), tf.colocate_with(first):
            return tf.identity(x, name="there")


def uncollected(tf: Any) -> Any:
    return tf.Variable(1, use_resource=False, collections=[], trainable=False)


def nodes_of(tf: Any, expression: str) -> dict[str, str]:
    with tf.Graph().as_default() as graph:
        names = {
            "tf": tf,
            "np": np,
            "scoped": scoped,
            "uncollected": uncollected,
            "x": tf.placeholder(tf.float32, [2, 3], "x"),
            "i": tf.placeholder(tf.int32, [4], "i"),
            "q": tf.placeholder(tf.float32, [None, 3], "q"),
            "p": tf.placeholder(tf.bool, [2, 3], "p"),
            "s": tf.placeholder(tf.string, [2], "s"),
            "m": tf.placeholder(tf.float32, [1, 4, 4, 2], "m"),
        }
        eval(expression, names)  # noqa: S307 - one of CASES
    graph_def = graph.as_graph_def(add_shapes=True)
    for node in graph_def.node:
        # Notes of TensorFlow's on what it found out, which say nothing of the graph.
        node.ClearField("experimental_type")
        node.attr.pop("_has_manual_control_dependencies", None)
    return {node.name: text_format.MessageToString(node) for node in graph_def.node}


@pytest.mark.parametrize("expression", CASES)
def test_operations_are_tensorflows(tf: Any, expression: str) -> None:
    expected = nodes_of(tf.compat.v1, expression)
    found = nodes_of(ours, expression)
    assert list(found) == list(expected)
    for name, node in expected.items():
        assert found[name] == node
