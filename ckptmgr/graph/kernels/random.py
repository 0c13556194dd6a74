"""Random numbers: of the right distribution, and the same for the same seeds, but not TensorFlow's.

An operation with two seeds of zero gives other numbers in each session. With a seed, of the graph
or its own, it gives the same sequence in each session. The stateless ones take their seed as an
input and give the same numbers each time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, dtype_attr, integer, sizes
from ckptmgr.graph.kernels.context import KernelContext
from ckptmgr.graph.kernels.registry import KernelNode, kernel, stateful_kernel

_Generator = np.random.Generator

#: Where TensorFlow cuts a truncated normal distribution.
_MOST_DEVIATIONS = 2.0


def _generator(context: KernelContext, node: KernelNode) -> _Generator:
    return context.state.generator(node, node.attr("seed"), node.attr("seed2"))


def _seeded(seed: Array) -> _Generator:
    if seed.shape != (2,):
        raise errors.InvalidArgument(f"seed must have shape [2], not {list(seed.shape)}")
    return np.random.Generator(np.random.PCG64([int(number) % 2**64 for number in seed]))


def _shape(value: Array, dtype: np.dtype[Any]) -> tuple[int, ...]:
    shape = sizes(value)
    check_size(shape, np.dtype(np.float64) if dtype.itemsize < 8 else dtype)
    return shape


# --------------------------------------------------------------------------- distributions


def _uniform(generator: _Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """From 0 on, and below 1 also where a narrow dtype rounds."""
    if dtype == np.float64:
        return np.asarray(generator.random(shape))
    digits = {"float32": 24, "float16": 11, "bfloat16": 8}.get(dtype.name)
    if digits is None:
        raise errors.InvalidArgument(f"no uniform numbers of {dtype}")
    numbers = generator.integers(0, 2**digits, shape)
    return np.asarray(numbers / np.float64(2**digits)).astype(dtype)


def _normal(generator: _Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return np.asarray(generator.standard_normal(shape)).astype(dtype)


def _truncated(generator: _Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Drawn again until all are within two standard deviations."""
    values = np.asarray(generator.standard_normal(shape))
    flat = values.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > _MOST_DEVIATIONS)
    while outside.size:
        flat[outside] = generator.standard_normal(outside.size)
        outside = outside[np.abs(flat[outside]) > _MOST_DEVIATIONS]
    return flat.reshape(shape).astype(dtype)


def _whole_numbers(
    generator: _Generator, shape: tuple[int, ...], minval: Array, maxval: Array
) -> Array:
    low, high = integer(minval, "minval"), integer(maxval, "maxval")
    if low >= high:
        raise errors.InvalidArgument(f"Need minval < maxval, got {low} >= {high}")
    return np.asarray(generator.integers(low, high, shape, minval.dtype))


@stateful_kernel("RandomUniform")
def random_uniform(context: KernelContext, node: KernelNode, shape: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _uniform(_generator(context, node), _shape(shape, dtype), dtype)


@stateful_kernel("RandomStandardNormal")
def random_normal(context: KernelContext, node: KernelNode, shape: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _normal(_generator(context, node), _shape(shape, dtype), dtype)


@stateful_kernel("TruncatedNormal")
def truncated_normal(context: KernelContext, node: KernelNode, shape: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _truncated(_generator(context, node), _shape(shape, dtype), dtype)


@stateful_kernel("RandomUniformInt")
def random_whole_numbers(
    context: KernelContext, node: KernelNode, shape: Array, minval: Array, maxval: Array
) -> Array:
    wanted = _shape(shape, minval.dtype)
    return _whole_numbers(_generator(context, node), wanted, minval, maxval)


@stateful_kernel("RandomShuffle")
def shuffle(context: KernelContext, node: KernelNode, value: Array) -> Array:
    if not value.ndim:
        return value
    return value[_generator(context, node).permutation(len(value))]


@stateful_kernel("Multinomial")
def multinomial(context: KernelContext, node: KernelNode, logits: Array, samples: Array) -> Array:
    dtype = dtype_attr(node, "output_dtype")
    return _classes(_generator(context, node), logits, samples, dtype)


def _classes(
    generator: _Generator, logits: Array, num_samples: Array, dtype: np.dtype[Any]
) -> Array:
    """For each row, classes with the probabilities that are its softmax."""
    count = integer(num_samples, "num_samples")
    if logits.ndim != 2 or not logits.shape[1] or count < 0:
        raise errors.InvalidArgument(
            f"logits must be a matrix with columns and num_samples at least 0, got shape "
            f"{list(logits.shape)} and {count}"
        )
    check_size((logits.shape[0], count, logits.shape[1]), np.dtype(np.float64))
    noise = generator.gumbel(size=(logits.shape[0], count, logits.shape[1]))
    return np.argmax(logits.astype(np.float64)[:, None, :] + noise, axis=2).astype(dtype)


# --------------------------------------------------------------------------- stateless


@kernel("StatelessRandomUniform")
def stateless_uniform(node: KernelNode, shape: Array, seed: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _uniform(_seeded(seed), _shape(shape, dtype), dtype)


@kernel("StatelessRandomNormal")
def stateless_normal(node: KernelNode, shape: Array, seed: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _normal(_seeded(seed), _shape(shape, dtype), dtype)


@kernel("StatelessTruncatedNormal")
def stateless_truncated_normal(node: KernelNode, shape: Array, seed: Array) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _truncated(_seeded(seed), _shape(shape, dtype), dtype)


@kernel("StatelessRandomUniformInt")
def stateless_whole_numbers(
    node: KernelNode, shape: Array, seed: Array, minval: Array, maxval: Array
) -> Array:
    return _whole_numbers(_seeded(seed), _shape(shape, minval.dtype), minval, maxval)


@kernel("StatelessMultinomial")
def stateless_multinomial(
    node: KernelNode, logits: Array, num_samples: Array, seed: Array
) -> Array:
    return _classes(_seeded(seed), logits, num_samples, dtype_attr(node, "output_dtype"))


# The V2 operations take a key and a counter, which another operation makes of the seed.


@kernel("StatelessRandomGetKeyCounter")
def key_and_counter(node: KernelNode, seed: Array) -> tuple[Array, Array]:
    if seed.shape != (2,):
        raise errors.InvalidArgument(f"seed must have shape [2], not {list(seed.shape)}")
    bits = seed.astype(np.int64).view(np.uint64)
    return bits[:1].copy(), np.array([0, bits[1]], np.uint64)


@kernel("StatelessRandomGetAlg")
def algorithm(node: KernelNode) -> Array:
    return np.array(1, np.int32)  # Philox


def _of_key(key: Array, counter: Array) -> _Generator:
    entropy = [int(number) for number in (*key.reshape(-1), *counter.reshape(-1))]
    return np.random.Generator(np.random.PCG64(entropy))


@kernel("StatelessRandomUniformV2")
def stateless_uniform_v2(
    node: KernelNode, shape: Array, key: Array, counter: Array, alg: Array
) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _uniform(_of_key(key, counter), _shape(shape, dtype), dtype)


@kernel("StatelessRandomNormalV2")
def stateless_normal_v2(
    node: KernelNode, shape: Array, key: Array, counter: Array, alg: Array
) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _normal(_of_key(key, counter), _shape(shape, dtype), dtype)


@kernel("StatelessTruncatedNormalV2")
def stateless_truncated_normal_v2(
    node: KernelNode, shape: Array, key: Array, counter: Array, alg: Array
) -> Array:
    dtype = dtype_attr(node, "dtype")
    return _truncated(_of_key(key, counter), _shape(shape, dtype), dtype)
