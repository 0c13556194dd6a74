from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptmgr._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptmgr.errors import (
    CorruptCheckpoint,
    InvalidArgument,
    MalformedEntry,
    MalformedSlices,
    MalformedTable,
    MalformedTensor,
    UnsupportedDtype,
    UnsupportedVersion,
)
from ckptmgr.formats import dtypes
from ckptmgr.formats.bundle_entry import BundleHeader, encode_header
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import (
    CONTENTS_KEY,
    SavedTensor,
    decode_contents,
    decode_entries,
    decode_slice,
    encode_entries,
)
from ckptmgr.formats.table_reader import decode_table
from ckptmgr.formats.table_writer import encode_table
from ckptmgr.formats.tensor_slice import (
    Extent,
    TensorSlice,
    encode_slice_key,
    resolve_slice,
    slice_to_proto,
)

Array = np.ndarray[Any, Any]
Tensors = list[tuple[SavedTensor, list[Array]]]

# Values at the edges of each dtype that the format can hold.
VALUES: list[tuple[DataType, list[Any]]] = [
    (DataType.DT_FLOAT, [0.5, -0.0, math.inf, math.nan, 1e-45]),
    (DataType.DT_DOUBLE, [0.5, -0.0, -math.inf, math.nan, 5e-324]),
    (DataType.DT_HALF, [0.5, -0.0, math.inf, math.nan, 65504.0]),
    (DataType.DT_BOOL, [True, False]),
    (DataType.DT_INT8, [-128, 127]),
    (DataType.DT_INT16, [-32768, 32767]),
    (DataType.DT_INT32, [-(2**31), 2**31 - 1, 0]),
    (DataType.DT_INT64, [-(2**63), 2**63 - 1, 0]),
    (DataType.DT_UINT8, [0, 255]),
    (DataType.DT_UINT16, [0, 65535]),
    (DataType.DT_COMPLEX64, [1 + 2j, -3j]),
    (DataType.DT_COMPLEX128, [1 + 2j, complex(math.nan, -0.0)]),
    (DataType.DT_STRING, [b"", b"\x00", b"ends in zero\x00", b"x" * 300]),
    (DataType.DT_QINT8, [-128, 127]),
    (DataType.DT_QINT32, [-(2**31), 2**31 - 1]),
    (DataType.DT_QUINT8, [0, 255]),
]


def whole(name: str, dtype: int, array: Array) -> tuple[SavedTensor, list[Array]]:
    return SavedTensor(name, dtype, array.shape, (TensorSlice.full(array.ndim),)), [array]


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert [tensor for tensor, _ in found] == [tensor for tensor, _ in expected]
    for (_, arrays), (_, wanted) in zip(found, expected, strict=True):
        for array, want in zip(arrays, wanted, strict=True):
            assert array.dtype == want.dtype
            assert array.shape == want.shape
            if array.dtype == object:
                assert array.tolist() == want.tolist()
            else:
                assert array.tobytes() == want.tobytes()


def test_values_cover_every_dtype() -> None:
    assert {dtype for dtype, _ in VALUES} == dtypes.V1_WRITABLE


@pytest.mark.parametrize(("dtype", "values"), VALUES)
def test_round_trip(dtype: DataType, values: list[Any]) -> None:
    array = np.array(values, dtypes.to_numpy(dtype))
    tensors = [
        whole("line", dtype, array),
        whole("scalar", dtype, array[:1].reshape(())),
        whole("empty", dtype, array[:0].reshape(0, 3)),
        whole("block", dtype, np.array([array, array[::-1]])),
    ]
    decoded = decode_entries(encode_entries(tensors))
    assert_same(decoded, tensors)
    assert all(array.flags.writeable for _, arrays in decoded for array in arrays)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8))
def test_every_bit_pattern_of_a_float_survives(bits: list[int]) -> None:
    patterns = np.array(bits, np.uint32)
    tensors = [whole("t", DataType.DT_FLOAT, patterns.view(np.float32))]
    ((_, (array,)),) = decode_entries(encode_entries(tensors))
    assert array.view(np.uint32).tolist() == bits


def test_layout() -> None:
    array = np.array([1, -1], np.int32)
    tensor = SavedTensor("t", DataType.DT_INT32, (5,), (TensorSlice((Extent(3, 2),)),))
    assert encode_entries([(tensor, [array])]) == [
        (b"", bytes.fromhex("0a19" + "0a13" + "0a0174" + "1204" + "12020805" + "1803")
         + bytes.fromhex("2206" + "0a04" + "08031002" + "12020801")),
        (
            bytes.fromhex("00" + "740001" + "0101" + "83" + "82"),
            bytes.fromhex("121a" + "0a0174" + "1206" + "0a04" + "08031002" + "1a0d")
            + bytes.fromhex("3a0b" + "01" + "ff" * 9 + "01"),
        ),
    ]  # fmt: skip


# --------------------------------------------------------------------------- TensorFlow

GOLDEN_V1 = ["model.ckpt-10", "shard.ckpt-10-00000-of-00002", "shard.ckpt-10-00001-of-00002"]


@pytest.mark.parametrize("name", GOLDEN_V1)
def test_tensorflow_bytes(
    golden: Path, load_expected: Callable[[str], dict[str, Array]], name: str
) -> None:
    stored = (golden / "v1_ckpt" / name).read_bytes()
    tensors = decode_entries([*decode_table(stored).items()])
    assert encode_table(encode_entries(tensors)) == stored
    expected = load_expected("v1_ckpt")
    for tensor, arrays in tensors:
        assert tensor.shape == expected[tensor.name].shape
        for tensor_slice, array in zip(tensor.slices, arrays, strict=True):
            region = resolve_slice(tensor_slice, tensor.shape)
            index = tuple(
                slice(start, start + length)
                for start, length in zip(region.starts, region.lengths, strict=True)
            )
            np.testing.assert_array_equal(array, expected[tensor.name][index])


def tensorflow_tensor(tf: Any, dtype: DataType, array: Array) -> Any:
    name = dtypes.name(dtype)
    return tf.bitcast(tf.constant(array), name) if "q" in name else tf.constant(array)


def test_tensorflow_writes_the_same_file(tf: Any, tmp_path: Path) -> None:
    tensors: Tensors = []
    for dtype, values in VALUES:
        array = np.array(values, dtypes.to_numpy(dtype))
        tensors.append(whole(dtypes.name(dtype), dtype, array))
        tensors.append(whole(f"{dtypes.name(dtype)}/0", dtype, array[:0].reshape(0, 3)))
    tensors.sort(key=lambda pair: pair[0].name)
    tf.raw_ops.Save(
        filename=str(tmp_path / "theirs"),
        tensor_names=[tensor.name for tensor, _ in tensors],
        data=[tensorflow_tensor(tf, DataType(t.dtype), array) for t, (array,) in tensors],
    )
    assert encode_table(encode_entries(tensors)) == (tmp_path / "theirs").read_bytes()


def test_saver_writes_the_same_file(tf: Any, tmp_path: Path) -> None:
    tf1 = tf.compat.v1
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    ranges = list(pairwise((0, 4, 7, 10)))
    prefix = str(tmp_path / "model")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("b/whole", initializer=values)
        thirds = tf1.fixed_size_partitioner(3)
        parts = tf1.get_variable("a", [10, 2], partitioner=thirds, use_resource=True)
        session.run(tf1.global_variables_initializer())
        for part, (start, end) in zip(parts, ranges, strict=True):
            session.run(part.assign(values[start:end]))
        saver = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
    slices = tuple(TensorSlice((Extent(start, end - start), Extent(0, 2))) for start, end in ranges)
    partitioned = SavedTensor("a", DataType.DT_FLOAT, (10, 2), slices)
    tensors = [
        (partitioned, [values[start:end] for start, end in ranges]),
        whole("b/whole", DataType.DT_FLOAT, values),
    ]
    assert encode_table(encode_entries(tensors)) == Path(prefix).read_bytes()


def test_tensorflow_reads_what_is_encoded(tf: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "ours")
    arrays = {dtype: np.array(values, dtypes.to_numpy(dtype)) for dtype, values in VALUES}
    tensors = [whole(dtypes.name(dtype), dtype, array) for dtype, array in arrays.items()]
    Path(path).write_bytes(encode_table(encode_entries(tensors)))
    for dtype, array in arrays.items():
        restored = tf.raw_ops.Restore(
            file_pattern=path, tensor_name=dtypes.name(dtype), dt=dtypes.name(dtype)
        )
        if "q" in dtypes.name(dtype):
            restored = tf.bitcast(restored, array.dtype)
        np.testing.assert_array_equal(restored.numpy(), array)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("dtype", [*sorted(set(DataType) - dtypes.V1_WRITABLE), 999])
def test_dtype_without_a_place(dtype: int) -> None:
    tensor, arrays = whole("t", dtype, np.zeros(2, np.uint8))
    with pytest.raises(UnsupportedDtype, match=f"dtype {dtypes.name(dtype)} of tensor 't'"):
        encode_entries([(tensor, arrays)])
    with pytest.raises(UnsupportedDtype, match=f"dtype {dtypes.name(dtype)} of tensor 't'"):
        decode_slice(b"", tensor, tensor.slices[0])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(3, np.float64), r"is float32 of shape \(3,\), found float64"),
        (np.zeros((3, 1), np.float32), r"shape \(3,\), found float32 of shape \(3, 1\)"),
        (np.zeros(3, ">f4"), "found >f4"),
    ],
)
def test_array_that_is_not_its_slice(array: Array, says: str) -> None:
    tensor = SavedTensor("t", DataType.DT_FLOAT, (3,), (TensorSlice.full(1),))
    with pytest.raises(InvalidArgument, match=says):
        encode_entries([(tensor, [array])])


@pytest.mark.parametrize(
    ("dtype", "elements", "fits"),
    [
        (DataType.DT_FLOAT, 2**29, False),
        (DataType.DT_INT32, 2**31 // 10, False),
        (DataType.DT_BOOL, 2**31, False),
        (DataType.DT_BOOL, 2**10, True),
    ],
)
def test_slice_too_large_for_a_message(dtype: DataType, elements: int, fits: bool) -> None:
    array = np.broadcast_to(np.zeros((), dtypes.to_numpy(dtype)), (elements,))
    tensors = [whole("t", dtype, array)]
    if fits:
        assert len(encode_entries(tensors)) == 2
    else:
        with pytest.raises(InvalidArgument, match="too large for a V1 checkpoint: at most 21474"):
            encode_entries(tensors)


def test_string_that_is_text() -> None:
    tensors = [whole("t", DataType.DT_STRING, np.array([b"", "text"], object))]
    with pytest.raises(UnsupportedDtype, match="element 1 is str"):
        encode_entries(tensors)


def contents(**meta: Any) -> bytes:
    return SavedTensorSlices(meta=meta).SerializeToString()


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (encode_header(BundleHeader(1)), MalformedTable, "index of a V2 checkpoint.*its prefix"),
        (b"", MalformedEntry, "does not list its tensors"),
        (b"\x12\x00", MalformedEntry, "does not list its tensors"),
        (b"\x0a\x05", MalformedEntry, "does not parse"),
        (contents(versions={"min_consumer": 2}), UnsupportedVersion, "at most 1, found 2"),
        (contents(versions={"bad_consumers": [1]}), UnsupportedVersion, "disallows"),
        (contents(tensor=[{"shape": {"dim": [{"size": -1}]}}]), MalformedEntry, "negative size"),
        (contents(tensor=[{"slice": [{"extent": [{}]}]}]), MalformedSlices, "does not fit"),
        (
            contents(tensor=[{"slice": [{"extent": [{"start": 1}]}]}]),
            MalformedSlices,
            "impossible extent",
        ),
    ],
)
def test_damaged_contents(value: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_contents(value)


def test_contents_of_a_later_dtype_can_be_listed() -> None:
    value = contents(tensor=[{"name": "t", "type": 999, "shape": {"dim": [{"size": 2}]}}])
    assert decode_contents(value) == (SavedTensor("t", 999, (2,), ()),)


TENSOR = SavedTensor("t", DataType.DT_INT8, (3,), (TensorSlice.full(1),))


def slice_value(name: str = "t", rank: int = 1, **data: Any) -> bytes:
    where = slice_to_proto(TensorSlice.full(rank))
    return SavedTensorSlices(data={"name": name, "slice": where, "data": data}).SerializeToString()


@pytest.mark.parametrize(
    ("dtype", "value", "error", "says"),
    [
        (DataType.DT_INT8, slice_value("u"), MalformedEntry, "another slice.*'-' of 'u'"),
        (DataType.DT_INT8, slice_value(rank=2), MalformedEntry, "another slice.*'-:-' of 't'"),
        (DataType.DT_INT8, b"", MalformedEntry, "another slice"),
        (DataType.DT_INT8, b"\xff", MalformedEntry, "does not parse"),
        (
            DataType.DT_INT8,
            slice_value(int_val=[1, 2]),
            MalformedTensor,
            "'t': expected 3, found 2",
        ),
        (DataType.DT_INT8, slice_value(int_val=[1] * 4), MalformedTensor, "expected 3, found 4"),
        (DataType.DT_INT8, slice_value(int64_val=[1] * 3), MalformedTensor, "found 0"),
        (DataType.DT_INT8, slice_value(int_val=[1, 128, 2]), MalformedTensor, "range.*found 128"),
        (DataType.DT_UINT16, slice_value(int_val=[1, 1, -1]), MalformedTensor, "range.*found -1"),
        (DataType.DT_HALF, slice_value(half_val=[1, 65536, 1]), MalformedTensor, "found 65536"),
        (DataType.DT_FLOAT, slice_value(float_val=[1, 2]), MalformedTensor, "expected 3, found 2"),
        (DataType.DT_COMPLEX64, slice_value(scomplex_val=[1] * 5), MalformedTensor, "expected 6"),
        (DataType.DT_STRING, slice_value(string_val=[b""]), MalformedTensor, "expected 3, found 1"),
        (DataType.DT_FLOAT, slice_value(tensor_content=bytes(12)), MalformedTensor, "found 0"),
    ],
)
def test_damaged_slice(dtype: DataType, value: bytes, error: type[Exception], says: str) -> None:
    tensor = SavedTensor("t", dtype, (3,), (TensorSlice.full(1),))
    with pytest.raises(error, match=says):
        decode_slice(value, tensor, tensor.slices[0])


def test_floats_among_other_fields() -> None:
    """As TensorFlow: a dtype, a shape and other values beside the right ones are ignored."""
    value = slice_value(dtype=3, float_val=[1, 2, 3], int_val=[7], tensor_content=b"x")
    unpacked = b"\x2d" + np.float32(4).tobytes()  # a float that is not in the packed field
    tensor = SavedTensor("t", DataType.DT_FLOAT, (4,), (TensorSlice.full(1),))
    message = SavedTensorSlices.FromString(value)
    unknown = b"\xfa\x07\x02ab"
    message.data.data.MergeFromString(unknown + unpacked)
    array = decode_slice(message.SerializeToString(), tensor, tensor.slices[0])
    assert array.tolist() == [1, 2, 3, 4]


def test_listed_slice_must_be_there() -> None:
    entries = encode_entries([whole("t", DataType.DT_INT8, np.zeros(3, np.int8))])
    with pytest.raises(MalformedTable, match="slice that it does not hold, tensor 't'"):
        decode_entries(entries[:1])
    with pytest.raises(MalformedTable, match="does not list its tensors"):
        decode_entries(entries[1:])


@settings(max_examples=200)
@given(st.sampled_from(VALUES), st.data())
def test_only_documented_errors_for_damaged_bytes(
    case: tuple[DataType, list[Any]], data: st.DataObject
) -> None:
    array = np.array(case[1], dtypes.to_numpy(case[0]))
    tensor, arrays = whole("name", case[0], array)
    (_, listed), (key, stored) = encode_entries([(tensor, arrays)])
    assert key == encode_slice_key("name", tensor.slices[0])
    where = data.draw(st.sampled_from([listed, stored]))
    damaged = bytearray(where)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        if where is stored:
            assert decode_slice(cut, tensor, tensor.slices[0]).shape == array.shape
        else:
            decode_entries([(CONTENTS_KEY, cut), (key, stored)])
    except (CorruptCheckpoint, UnsupportedDtype) as error:
        assert str(error)  # noqa: PT017


@given(st.binary(max_size=60))
def test_only_documented_errors_for_any_bytes(data: bytes) -> None:
    with pytest.raises(CorruptCheckpoint):
        decode_slice(data, TENSOR, TENSOR.slices[0])
    try:
        decode_contents(data)
    except CorruptCheckpoint as error:
        assert str(error)  # noqa: PT017
