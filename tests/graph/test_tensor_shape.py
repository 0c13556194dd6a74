"""Shapes as users see them, against TensorFlow's TensorShape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ckptmgr import errors
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.graph.tensor_shape import (
    Dimension,
    TensorShape,
    decode_partial_shape,
    encode_partial_shape,
    merge,
)

SHAPES: list[Any] = [None, (), (3,), (None,), (None, 2), (2, 3, None), (0, 1)]


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize(
    "ask",
    [
        lambda shape: shape.rank,
        lambda shape: shape.ndims,
        lambda shape: shape.num_elements(),
        lambda shape: shape.is_fully_defined(),
        bool,
        lambda shape: shape.as_list(),
        len,
        lambda shape: shape.as_proto().SerializeToString(),
        lambda shape: shape.concatenate([5]).as_list(),
        lambda shape: shape.with_rank(2).as_list(),
        lambda shape: shape.with_rank_at_least(2).rank,
        lambda shape: shape.merge_with([None, 2]).as_list(),
        lambda shape: shape.is_compatible_with([3]),
        lambda shape: shape == [3],
        lambda shape: shape[1:].as_list(),
        lambda shape: shape.assert_is_fully_defined(),
    ],
)
def test_a_shape_answers_as_tensorflows_does(
    tf: Any, ask: Callable[[Any], Any], sizes: Any
) -> None:
    try:
        expected = ask(tf.TensorShape(sizes))
    except ValueError:
        with pytest.raises(errors.GraphError):
            ask(TensorShape(sizes))
    else:
        assert ask(TensorShape(sizes)) == expected


def test_a_shape_is_printed_as_in_tensorflow_1() -> None:
    printed = ["<unknown>", "()", "(3,)", "(?,)", "(?, 2)", "(2, 3, ?)", "(0, 1)"]
    assert [str(TensorShape(sizes)) for sizes in SHAPES] == printed


def test_dimensions_have_a_value_and_can_be_computed_with() -> None:
    shape = TensorShape([None, 4])
    assert shape[0].value is None
    assert [dim.value for dim in shape] == [None, 4]
    assert int(shape[1]) == 4
    assert shape[1] == 4
    assert shape[1] != 5
    assert (shape[0] == 4) is None
    assert TensorShape([shape[0], shape[1]]) == shape
    assert (shape[1] * 2 + 1).value == 9
    assert (2 * shape[0]).value is None
    assert (shape[1] // 3).value == 1
    assert repr(shape[1]) == "Dimension(4)"
    assert repr(shape) == "TensorShape([Dimension(None), Dimension(4)])"
    assert Dimension(None).is_compatible_with(7)
    with pytest.raises(errors.GraphTypeError, match="not known"):
        int(shape[0])


@pytest.mark.parametrize("dims", [[-1], [-2, 3], [2**63], "ab", [1.5]])
def test_what_is_no_shape(dims: Any) -> None:
    with pytest.raises(errors.GraphError):
        TensorShape(dims)


def test_shapes_that_contradict_each_other_do_not_merge() -> None:
    with pytest.raises(errors.GraphError, match=r"\(2, \?\) and \(3, 1\) are not compatible"):
        merge((2, None), (3, 1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_messages(shape: Any) -> None:
    assert decode_partial_shape(encode_partial_shape(shape)) == shape


@pytest.mark.parametrize(
    ("sizes", "problem"), [([-2], "negative"), ([1] * 255, "255 dimensions")], ids=str
)
def test_messages_that_no_writer_makes(sizes: list[int], problem: str) -> None:
    message = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])
    with pytest.raises(errors.InvalidGraph, match=problem):
        decode_partial_shape(message)
