from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.graph import create_op
from ckptmgr.graph.bodies import GraphBody, Port
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.operation import Tensor
from ckptmgr.graph.path_values import PathValues
from ckptmgr.graph.session import Session


def found(tensor: Tensor, feeds: dict[Tensor, Any] | None = None) -> Any:
    body = GraphBody(tensor.graph)

    def port(tensor: Tensor) -> Port:
        return body.node(tensor.op), tensor.value_index

    fed = {port(key): value for key, value in (feeds or {}).items()}
    return PathValues(fed, {}).of(port(tensor))


def join(graph: Graph, *tensors: Tensor, separator: str = "") -> Tensor:
    return create_op(graph, "StringJoin", [tensors], {"separator": separator}).outputs[0]


def shard(graph: Graph, base: Tensor, number: int, count: int) -> Tensor:
    inputs = [base, constant(graph, number), constant(graph, count)]
    return create_op(graph, "ShardedFilename", inputs).outputs[0]


def pack(graph: Graph, tensors: Sequence[Tensor]) -> Tensor:
    return create_op(graph, "Pack", [tensors]).outputs[0]


def select(graph: Graph, condition: bool, one: Tensor, other: Tensor) -> Tensor:
    return create_op(graph, "Select", [constant(graph, condition), one, other]).outputs[0]


def identity(graph: Graph, tensor: Tensor) -> Tensor:
    return create_op(graph, "Identity", [tensor]).outputs[0]


def test_what_savers_make_of_a_prefix() -> None:
    graph = Graph()
    prefix = create_op(
        graph, "PlaceholderWithDefault", [constant(graph, "model")], {"shape": ()}
    ).outputs[0]
    suffix = select(graph, False, constant(graph, ".part"), constant(graph, "_temp/part"))
    shards = [shard(graph, join(graph, prefix, suffix), number, 2) for number in range(2)]
    packed = pack(graph, shards)
    assert found(prefix) == {b"model"}
    feeds = {prefix: np.array(b"run/m", object)}
    assert found(packed, feeds) == {
        b"run/m.part-00000-of-00002",
        b"run/m.part-00001-of-00002",
        b"run/m_temp/part-00000-of-00002",
        b"run/m_temp/part-00001-of-00002",
    }
    assert found(packed, {packed: np.array([b"a", b"b"], object)}) == {b"a", b"b"}


TEXTS = st.sampled_from(["", "a", "b/", "..", "\u00e9"])


@st.composite
def texts(draw: st.DrawFn) -> Tensor:
    """A scalar, or a list of strings, that operations of known types make."""
    graph = Graph()
    scalars = [constant(graph, draw(TEXTS)) for _ in range(2)]
    for _ in range(draw(st.integers(0, 6))):
        one, other = draw(st.sampled_from(scalars)), draw(st.sampled_from(scalars))
        made = draw(
            st.sampled_from(
                [
                    lambda a, _: identity(graph, a),
                    lambda a, b: join(graph, a, b),
                    lambda a, b: join(graph, a, b, separator="/"),
                    lambda a, _: shard(graph, a, 3, 100_000),
                    lambda a, b: select(graph, True, a, b),
                    lambda a, b: select(graph, False, a, b),
                ]
            )
        )
        scalars.append(made(one, other))
    return draw(st.sampled_from([scalars[-1], pack(graph, scalars)]))


@given(texts())
def test_nothing_is_missed(tensor: Tensor) -> None:
    with Session(graph=tensor.graph) as session:
        value = np.asarray(session.run(tensor), object)
    values = found(tensor)
    assert values is not None
    assert values >= set(value.reshape(-1).tolist())


def test_what_cannot_be_told() -> None:
    graph = Graph()
    text = constant(graph, "A")
    lower = create_op(graph, "StringLower", [text]).outputs[0]
    number = create_op(graph, "StringLength", [text]).outputs[0]
    count = constant(graph, 2)
    assert found(lower) is None
    assert found(join(graph, text, lower)) is None
    assert found(pack(graph, [text, lower])) is None
    assert found(select(graph, True, text, lower)) is None
    assert found(create_op(graph, "ShardedFilename", [text, number, count]).outputs[0]) is None
    assert found(constant(graph, 1.0)) is None
    handle = create_op(graph, "VarHandleOp", [], {"dtype": "string", "shape": ()}).outputs[0]
    assert found(handle, {handle: object()}) is None
    # Nothing runs that takes a placeholder which is not fed.
    unfed = create_op(graph, "Placeholder", [], {"dtype": "string"}).outputs[0]
    assert found(join(graph, text, unfed)) == frozenset()


def deep(graph: Graph) -> Tensor:
    tensor = constant(graph, "a")
    for _ in range(5000):
        tensor = identity(graph, tensor)
    return tensor


def doubling(graph: Graph) -> Tensor:
    tensor = constant(graph, "a" * 1000)
    for _ in range(45):
        tensor = join(graph, tensor, tensor)
    return tensor


def combining(graph: Graph) -> Tensor:
    several = constant(graph, [f"{number}" for number in range(1000)])
    return join(graph, several, several, several, several)


def many(graph: Graph) -> Tensor:
    return pack(graph, [constant(graph, np.full(50_000, b"a", object)) for _ in range(10)])


@pytest.mark.parametrize("build", [deep, doubling, combining, many])
def test_what_would_take_too_much(build: Any) -> None:
    tensor = build(Graph())
    tracemalloc.start()
    try:
        assert found(tensor) is None
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_what_leads_to_itself() -> None:
    graph = Graph()
    one = identity(graph, constant(graph, "a"))
    two = identity(graph, one)
    one.op._update_input(0, two)
    assert found(two) is None
