from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph import create_op
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.session import Session

COUNT = 100_000


def values(op: str, *inputs: Any, runs: int = 1, **attrs: Any) -> list[Any]:
    graph = Graph()
    tensors = [constant(graph, value) for value in inputs]
    node = create_op(graph, op, tensors, attrs)
    with Session(graph=graph) as session:
        return [session.run(node.outputs[0]) for _ in range(runs)]


DISTRIBUTIONS = {
    "RandomUniform": (0.5, 1 / 12**0.5, 0, 1),
    "RandomStandardNormal": (0.0, 1.0, -7, 7),
    "TruncatedNormal": (0.0, 0.8796, -2, 2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("op", list(DISTRIBUTIONS))
def test_distributions(op: str, dtype: str) -> None:
    mean, deviation, low, high = DISTRIBUTIONS[op]
    (drawn,) = values(op, [COUNT], dtype=dtype, seed=1)
    assert drawn.dtype.name == dtype
    wide = drawn.astype(np.float64)
    assert abs(wide.mean() - mean) < 0.02
    assert abs(wide.std() - deviation) < 0.02
    assert wide.min() >= low
    assert wide.max() <= high
    if op == "RandomUniform":
        assert wide.max() < 1


def test_whole_numbers_are_within_their_bounds() -> None:
    (drawn,) = values("RandomUniformInt", [COUNT], np.int64(-2), np.int64(3))
    assert drawn.dtype == np.int64
    assert np.unique(drawn).tolist() == [-2, -1, 0, 1, 2]
    with pytest.raises(errors.InvalidOperand, match="Need minval < maxval"):
        values("RandomUniformInt", [1], 3, 3)


def test_the_same_seed_gives_the_same_sequence() -> None:
    first, second = (
        values("RandomUniform", [4], runs=2, dtype="float32", seed=5, seed2=6) for _ in range(2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    other = values("RandomUniform", [4], runs=2, dtype="float32", seed=5, seed2=7)
    assert not np.array_equal(first[0], other[0])
    unseeded = [values("RandomUniform", [4], dtype="float32") for _ in range(2)]
    assert not np.array_equal(unseeded[0], unseeded[1])


def test_the_sequence_does_not_depend_on_what_else_is_fetched() -> None:
    graph = Graph()
    shape = constant(graph, [3])
    drawn = create_op(graph, "RandomUniform", [shape], {"dtype": "float32", "seed": 1}).outputs[0]
    other = create_op(graph, "Neg", [drawn]).outputs[0]
    with Session(graph=graph) as session:
        together = [session.run(drawn), session.run([other, drawn])[1]]
    with Session(graph=graph) as session:
        alone = [session.run(drawn), session.run(drawn)]
    assert np.array_equal(together, alone)


def test_shuffled_rows() -> None:
    rows = np.arange(20).reshape(10, 2)
    (shuffled,) = values("RandomShuffle", rows, seed=1)
    assert shuffled.tolist() != rows.tolist()
    assert sorted(shuffled.tolist()) == rows.tolist()


def test_classes_by_their_logits() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.9, 0.0001]], np.float32))
    (drawn,) = values("Multinomial", logits, COUNT, seed=1)
    assert drawn.shape == (2, COUNT)
    shares = [np.bincount(row, minlength=3) / COUNT for row in drawn]
    np.testing.assert_allclose(shares, [[0.5, 0.25, 0.25], [0.1, 0.9, 0]], atol=0.01)


STATELESS = ["StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal"]


@pytest.mark.parametrize("op", STATELESS)
def test_stateless_numbers_follow_from_their_seed(op: str) -> None:
    first, second = values(op, [COUNT], [3, 4], runs=2, dtype="float32")
    assert np.array_equal(first, second)
    mean, deviation, *_ = DISTRIBUTIONS[
        op.replace("Stateless", "").replace("RandomNormal", "RandomStandardNormal")
    ]
    assert abs(first.mean() - mean) < 0.02
    assert abs(first.std() - deviation) < 0.02
    assert not np.array_equal(first, values(op, [COUNT], [3, 5], dtype="float32")[0])
    with pytest.raises(errors.InvalidOperand, match="seed must have shape"):
        values(op, [2], [3], dtype="float32")


def test_a_shape_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(errors.InvalidOperand, match="at most"):
        values("RandomUniform", [10**6, 10**6], dtype="float32")
    with pytest.raises(errors.InvalidOperand, match="must not be negative"):
        values("TruncatedNormal", [-1], dtype="float32")
