"""Lists and arrays of tensors; most of what they do, the loops of test_executor do, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.graph.session import Session
from tests.graph.both_engines import Run, check, graph_def_of, imported


def list_script(tf1: Any) -> None:
    ops = tf1.raw_ops
    rows = tf1.placeholder(tf1.float32, (None, 2), "rows")
    made = ops.TensorListFromTensor(tensor=rows, element_shape=[2])
    longer = ops.TensorListPushBack(input_handle=made, tensor=[8.0, 9.0])
    tf1.identity(ops.TensorListLength(input_handle=longer), "length")
    common = {"element_shape": [2], "element_dtype": tf1.float32}
    tf1.identity(ops.TensorListStack(input_handle=longer, **common), "stacked")
    changed = ops.TensorListSetItem(input_handle=longer, index=1, item=[5.0, 5.0])
    tf1.identity(ops.TensorListStack(input_handle=changed, **common), "changed")
    # A list that another one was made of stays what it is.
    tf1.identity(ops.TensorListGetItem(input_handle=longer, index=1, **common), "item")
    shorter, last = ops.TensorListPopBack(input_handle=changed, **common)
    tf1.identity(last, "last")
    tf1.identity(
        ops.TensorListGather(input_handle=shorter, indices=[1, 0, 1], **common), "gathered"
    )
    scattered = ops.TensorListScatterV2(
        tensor=rows, indices=[3, 0], element_shape=[2], num_elements=5
    )
    tf1.identity(ops.TensorListStack(input_handle=scattered, **common), "scattered")
    resized = ops.TensorListResize(input_handle=made, size=3)
    tf1.identity(ops.TensorListStack(input_handle=resized, **common), "resized")
    shape = ops.TensorListElementShape(input_handle=resized, shape_type=tf1.int64)
    tf1.identity(shape, "shape")
    reserved = ops.TensorListReserve(element_shape=-1, num_elements=2, element_dtype=tf1.string)
    words = ops.TensorListSetItem(input_handle=reserved, index=0, item="a")
    words = ops.TensorListSetItem(input_handle=words, index=1, item="b")
    tf1.identity(
        ops.TensorListStack(input_handle=words, element_shape=[], element_dtype=tf1.string), "words"
    )
    empty = ops.EmptyTensorList(element_shape=[-1], max_num_elements=-1, element_dtype=tf1.float32)
    parts = ops.TensorListPushBack(input_handle=empty, tensor=[1.0])
    parts = ops.TensorListPushBack(input_handle=parts, tensor=[2.0, 3.0])
    joined = ops.TensorListConcatV2(
        input_handle=parts, element_shape=[-1], leading_dims=[], element_dtype=tf1.float32
    )
    tf1.identity(joined.tensor, "joined")
    tf1.identity(joined.lengths, "lengths")


LIST_FETCHES = [
    "length",
    "stacked",
    "changed",
    "item",
    "last",
    "gathered",
    "scattered",
    "resized",
    "shape",
    "words",
    "joined",
    "lengths",
]


def array_script(tf1: Any) -> None:
    rows = tf1.placeholder(tf1.float32, (None, 2), "rows")
    array = tf1.TensorArray(tf1.float32, 2, dynamic_size=True, clear_after_read=False)
    array = array.unstack(rows).write(3, [7.0, 7.0]).write(2, [6.0, 6.0])
    tf1.identity(array.size(), "size")
    tf1.identity(array.read(1), "item")
    tf1.identity(array.gather([3, 0]), "gathered")
    tf1.identity(array.stack(), "stacked")
    tf1.identity(array.concat(), "joined")
    split = tf1.TensorArray(tf1.float32, 2, infer_shape=False).split(rows[:, 0], [1, 1])
    tf1.identity(split.read(1), "part")


ARRAY_FETCHES = ["size", "item", "gathered", "stacked", "joined", "part"]
ROWS = {"rows:0": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize(
    ("script", "fetches"), [(list_script, LIST_FETCHES), (array_script, ARRAY_FETCHES)]
)
def test_lists_and_arrays(tf: Any, script: Any, fetches: list[str]) -> None:
    check(tf, script, Run([f"{name}:0" for name in fetches], ROWS))


def bad_script(tf1: Any) -> None:
    ops = tf1.raw_ops
    number = tf1.placeholder(tf1.int32, (), "number")
    common = {"element_shape": tf1.constant([], "int32"), "element_dtype": tf1.float32}
    made = ops.TensorListReserve(num_elements=number, **common)
    tf1.identity(ops.TensorListGetItem(input_handle=made, index=number, **common), "item")
    unknown = ops.TensorListReserve(
        element_shape=-1, num_elements=number, element_dtype=tf1.float32
    )
    tf1.identity(
        ops.TensorListGetItem(
            input_handle=unknown, index=0, element_shape=-1, element_dtype=tf1.float32
        ),
        "shapeless",
    )
    array = tf1.TensorArray(tf1.float32, number)
    tf1.identity(array.read(number), "outside")
    tf1.identity(array.read(0), "unset")


@pytest.mark.parametrize(
    ("fetch", "number", "message"),
    [
        ("item:0", 2, "access element 2 in a list with 2 elements"),
        ("item:0", -1, "a list has between 0 and"),
        ("item:0", 2**30, "a list has between 0 and"),
        ("shapeless:0", 1, "element_shape is not fully defined"),
        ("outside:0", 2, "Tried to access index 2"),
        ("unset:0", 2, "element shape is not fully defined"),
        ("unset:0", 2**30, "a TensorArray has between 0 and"),
    ],
)
def test_what_lists_and_arrays_refuse(tf: Any, fetch: str, number: int, message: str) -> None:
    graph = imported(graph_def_of(tf, bad_script))
    with Session(graph=graph) as session, pytest.raises(errors.InvalidOperand, match=message):
        session.run(fetch, {"number:0": np.int32(number)})
