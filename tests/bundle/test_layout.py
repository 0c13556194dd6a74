from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.bundle.arrays import stored_bytes
from ckptmgr.bundle.layout import NamedTensor, Partition, ShardLayout, ShardTensors, plan_bundle
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from tests.bundle import cases


@pytest.mark.parametrize(
    ("alignment_bytes", "offsets", "size_bytes"),
    [(1, [0, 3, 3, 8], 10), (64, [0, 64, 64, 128], 130), (4096, [0, 4096, 4096, 8192], 8194)],
)
def test_offsets(alignment_bytes: int, offsets: list[int], size_bytes: int) -> None:
    tensors = {
        name: np.zeros(size, np.int8) for name, size in zip("abcd", (3, 0, 5, 2), strict=True)
    }
    (shard,) = plan_bundle([cases.named(tensors)], alignment_bytes=alignment_bytes).shards
    assert shard.offsets.tolist() == offsets
    assert shard.size_bytes == size_bytes


def described(shard: ShardLayout) -> list[Any]:
    forms = [shard.form(index) for index in range(len(shard))]
    return [shard.keys, forms, shard.offsets.tolist(), shard.sizes_bytes.tolist()]


def test_order_of_tensors_makes_no_difference() -> None:
    full = np.arange(24.0).reshape(6, 4)
    tensors = [
        *cases.named({"b": np.ones(3), "a": np.ones(2), "é": np.ones(1), "a/b": np.ones(4)}),
        *cases.parts("p", full, np.s_[0:2, :], np.s_[2:5, :], np.s_[5:6, :]),
    ]
    expected = plan_bundle([tensors])
    keys = expected.shards[0].keys
    assert keys == sorted(keys, key=lambda key: key.removeprefix(b"\0"))
    for seed in range(5):
        shuffled = random.Random(seed).sample(tensors, len(tensors))
        again = plan_bundle([shuffled])
        assert described(again.shards[0]) == described(expected.shards[0])
        assert again.partitioned == expected.partitioned


def test_tensors_by_name_are_laid_out_as_a_list_of_them() -> None:
    arrays = {**cases.ALL, "é": np.ones(3), "a/b": np.ones(4), "a": np.ones(4, np.int8)}
    (by_name,), (listed,) = (
        plan_bundle([tensors]).shards for tensors in (arrays, cases.named(arrays))
    )
    assert described(by_name) == described(listed)
    assert by_name.text_checksums == listed.text_checksums


def test_partitioned_entry() -> None:
    full = np.arange(12, dtype=np.float32).reshape(4, 3)
    upper, lower = cases.parts("w", full, np.s_[0:1, :], np.s_[1:4, :])
    plan = plan_bundle([[lower], [upper]])
    ((key, entry),) = plan.partitioned
    assert (key, entry.shape, entry.size_bytes) == (b"w", (4, 3), 0)
    assert entry.slices == (
        TensorSlice((Extent(1, 3), Extent(0, 3))),
        TensorSlice((Extent(0, 1), Extent(0, 3))),
    )


@pytest.mark.parametrize(
    "array", [np.ones((2, 3)), np.ones((0, 3)), np.array(1.0)], ids=["full", "empty", "scalar"]
)
def test_only_part_is_a_plain_entry(array: Any) -> None:
    partition = Partition(array.shape, (0,) * array.ndim)
    plan = plan_bundle([[NamedTensor("w", array, partition)]])
    assert plan.partitioned == ()
    assert plan.shards[0].keys == [b"w"]


def part(shape: tuple[int, ...], starts: tuple[int, ...], full: tuple[int, ...]) -> NamedTensor:
    return NamedTensor("w", np.zeros(shape, np.float32), Partition(full, starts))


PLAIN = NamedTensor("w", np.zeros(2, np.float32))

REFUSED: list[tuple[list[ShardTensors], type[Exception], str]] = [
    ([[PLAIN, PLAIN]], errors.DuplicateName, "two tensors have the name 'w'"),
    ([[PLAIN], [PLAIN]], errors.DuplicateName, "two tensors have the name 'w'"),
    ([[PLAIN, part((1,), (0,), (2,))]], errors.DuplicateName, "two tensors have the name 'w'"),
    ([[part((1,), (0,), (2,))] * 2], errors.DuplicateName, "two tensors have the name 'w'"),
    ([[NamedTensor("", PLAIN.array)]], errors.InvalidName, "must not be empty"),
    ([[NamedTensor("\0a", PLAIN.array)]], errors.InvalidName, "begin with a NUL"),
    ([[NamedTensor("\ud800", PLAIN.array)]], errors.InvalidName, "cannot be encoded as UTF-8"),
    (
        [[NamedTensor("when", np.zeros(2, "M8[s]"))]],
        errors.UnsupportedDtype,
        "tensor 'when': .*datetime64.*view",
    ),
    (
        [[NamedTensor("w", np.array([b"a", 3], object))]],
        errors.UnsupportedDtype,
        "tensor 'w': an object array must hold bytes or str, found 3",
    ),
    (
        [[NamedTensor("w", np.array(["a\ud800"], object))]],
        errors.InvalidArgument,
        "tensor 'w': one of its strings is not valid Unicode",
    ),
    (
        [[part((2,), (1,), (2,))]],
        errors.InvalidArgument,
        r"tensor 'w': a slice of shape \(2,\) at \(1,\) does not lie in a tensor of shape \(2,\)",
    ),
    ([[part((1,), (-1,), (2,))]], errors.InvalidArgument, "does not lie in"),
    ([[part((0,), (1,), (2,))]], errors.InvalidArgument, "does not lie in"),
    ([[part((1,), (0, 0), (2,))]], errors.InvalidArgument, "does not lie in"),
    ([[part((1,), (0,), (2, 2))]], errors.InvalidArgument, "does not lie in"),
    (
        [[part((1,), (0,), (2,))], [part((1,), (1,), (3,))]],
        errors.InvalidArgument,
        r"must agree on dtype and full shape, found float32, \(2,\), \(3,\)",
    ),
    (
        [[part((1,), (0,), (2,)), NamedTensor("w", np.zeros(1), Partition((2,), (1,)))]],
        errors.InvalidArgument,
        "must agree on dtype and full shape, found float32, float64",
    ),
    (
        [[part((2,), (0,), (3,)), part((2,), (1,), (3,))]],
        errors.InvalidArgument,
        "tensor 'w': two stored slices overlap: .*found 0,2 and 1,2",
    ),
    (
        [[NamedTensor("w", np.zeros(1, np.float16), Partition((2,), (0,)))]],
        errors.UnsupportedDtype,
        "tensor 'w': TensorFlow cannot put slices of dtype float16 together",
    ),
    ([], errors.InvalidArgument, "at least one shard"),
    ([{"w": PLAIN.array}, {"w": PLAIN.array}], errors.DuplicateName, "have the name 'w'"),
    ([{"w": PLAIN.array}, [part((1,), (0,), (2,))]], errors.DuplicateName, "have the name 'w'"),
    ([{"a": PLAIN.array, "": PLAIN.array}], errors.InvalidName, "must not be empty"),
    ([{"a": PLAIN.array, "\0a": PLAIN.array}], errors.InvalidName, "begin with a NUL"),
    ([{"a": PLAIN.array, "\ud800": PLAIN.array}], errors.InvalidName, "encoded as UTF-8"),
    ([{"when": np.zeros(2, "M8[s]")}], errors.UnsupportedDtype, "tensor 'when': .*datetime64"),
]


@pytest.mark.parametrize(("shards", "error", "message"), REFUSED)
def test_refused(
    shards: list[ShardTensors], error: type[errors.InvalidArgument], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_bundle(shards)


def test_alignment_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="alignment of at least 1 byte.* 0 bytes"):
        plan_bundle([[PLAIN]], alignment_bytes=0)


@pytest.mark.parametrize("name", [*cases.NUMPY_DTYPES, *cases.ML_DTYPES, "read_only", "scalar"])
def test_native_contiguous_arrays_are_not_copied(name: str) -> None:
    array = cases.ALL[name]
    assert np.shares_memory(np.frombuffer(stored_bytes(array), np.uint8), array)
