from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.example_pb2 import Example
from ckptmgr.graph.session import Session
from tests.graph.both_engines import Run, check, graph_def_of, imported


def example(**features: Any) -> bytes:
    message = Example()
    for key, values in features.items():
        feature = message.features.feature[key]
        if values is None:
            continue
        if all(isinstance(value, bytes) for value in values):
            feature.bytes_list.value.extend(values)
        elif all(isinstance(value, int) for value in values):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return message.SerializeToString(deterministic=True)


MESSAGES = [
    example(x=[1.5, 2.5], n=[7], words=[b"a", b"b", b"c"], rows=[1.0, 2.0, 3.0, 4.0]),
    example(x=[3.5, 4.5], words=None, rows=[5.0, 6.0]),
    example(x=[5.5, 6.5], n=[9], words=[b"d"], other=[1]),
]


def features(tf1: Any) -> dict[str, Any]:
    return {
        "x": tf1.FixedLenFeature((2,), tf1.float32),
        "n": tf1.FixedLenFeature((), tf1.int64, default_value=-1),
        "words": tf1.VarLenFeature(tf1.string),
        "rows": tf1.io.FixedLenSequenceFeature(
            (2,), tf1.float32, allow_missing=True, default_value=0.5
        ),
    }


def name_all(tf1: Any, parsed: dict[str, Any]) -> None:
    for key, value in parsed.items():
        if isinstance(value, tf1.SparseTensor):
            for part in ("indices", "values", "dense_shape"):
                tf1.identity(getattr(value, part), f"{key}_{part}")
        elif isinstance(value, tf1.RaggedTensor):
            tf1.identity(value.flat_values, f"{key}_values")
            tf1.identity(value.row_splits, f"{key}_splits")
        else:
            tf1.identity(value, f"{key}_dense")


FETCHES = [
    "x_dense:0",
    "n_dense:0",
    "rows_dense:0",
    "words_indices:0",
    "words_values:0",
    "words_dense_shape:0",
]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches(tf: Any, count: int) -> None:
    def build(tf1: Any) -> None:
        serialized = tf1.placeholder(tf1.string, (None,), "serialized")
        name_all(tf1, tf1.parse_example(serialized, features(tf1)))

    check(tf, build, Run(FETCHES, {"serialized:0": MESSAGES[:count]}))


def test_the_older_operation(tf: Any) -> None:
    def build(tf1: Any) -> None:
        serialized = tf1.placeholder(tf1.string, (None,), "serialized")
        outputs = tf1.raw_ops.ParseExample(
            serialized=serialized,
            names=[],
            sparse_keys=["words"],
            dense_keys=["x", "n"],
            dense_defaults=[tf1.constant([], "float32"), tf1.constant(-1, "int64")],
            sparse_types=["string"],
            dense_shapes=[(2,), ()],
        )
        name_all(
            tf1,
            {
                "words": tf1.SparseTensor(
                    outputs.sparse_indices[0], outputs.sparse_values[0], outputs.sparse_shapes[0]
                ),
                "x": outputs.dense_values[0],
                "n": outputs.dense_values[1],
            },
        )

    fetches = [name for name in FETCHES if not name.startswith("rows")]
    check(tf, build, Run(fetches, {"serialized:0": MESSAGES}))


def test_single_messages(tf: Any) -> None:
    def build(tf1: Any) -> None:
        serialized = tf1.placeholder(tf1.string, (), "serialized")
        name_all(tf1, tf1.parse_single_example(serialized, features(tf1)))

    for message in MESSAGES:
        check(tf, build, Run(FETCHES, {"serialized:0": message}))


@pytest.mark.parametrize("shape", [(None,), ()])
def test_ragged_features(tf: Any, shape: Any) -> None:
    def build(tf1: Any) -> None:
        serialized = tf1.placeholder(tf1.string, shape, "serialized")
        outputs = tf1.raw_ops.ParseExampleV2(
            serialized=serialized,
            names=[],
            sparse_keys=[],
            dense_keys=[],
            ragged_keys=["words", "x"],
            dense_defaults=[],
            num_sparse=0,
            sparse_types=[],
            ragged_value_types=["string", "float32"],
            ragged_split_types=["int32", "int64"],
            dense_shapes=[],
        )
        for name in ("ragged_values", "ragged_row_splits"):
            for number, value in enumerate(getattr(outputs, name)):
                tf1.identity(value, f"{name}_{number}")

    fetches = [f"{n}_{i}:0" for n in ("ragged_values", "ragged_row_splits") for i in (0, 1)]
    check(tf, build, Run(fetches, {"serialized:0": MESSAGES if shape else MESSAGES[0]}))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\xff", "Could not parse example input"),
        (example(n=[1]), r"Feature: x \(data type: float\) is required but could not be found"),
        (example(x=[1.0]), r"values size: 1 but output shape: \[2\]"),
        (example(x=[1, 2]), "Key: x, Index: 0.  Data types don't match. Expected type: float"),
        (example(x=[1.0, 2.0], rows=[1.0]), "not a multiple of stride length"),
    ],
)
def test_messages_that_do_not_fit(tf: Any, message: bytes, text: str) -> None:
    def build(tf1: Any) -> None:
        serialized = tf1.placeholder(tf1.string, (None,), "serialized")
        name_all(tf1, tf1.parse_example(serialized, features(tf1)))

    graph_def = graph_def_of(tf, build)
    with (
        Session(graph=imported(graph_def)) as session,
        pytest.raises(errors.InvalidOperand, match=text),
    ):
        session.run("x_dense:0", {"serialized:0": np.array([message], object)})
