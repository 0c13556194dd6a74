"""Arrays and TensorProto messages, against TensorFlow's own code for them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr._proto.tensor_pb2 import TensorProto
from ckptmgr.formats.dtypes import DataType
from ckptmgr.graph.tensor_values import as_array, decode_tensor, encode_tensor

NUMBERS = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
    np.complex64,
    np.complex128,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e4m3b11fnuz,
    ml_dtypes.float8_e5m2fnuz,
    ml_dtypes.float4_e2m1fn,
    ml_dtypes.int4,
    ml_dtypes.uint4,
    ml_dtypes.int2,
    ml_dtypes.uint2,
]
SHAPES = [(), (1,), (2, 2), (0,), (2, 0, 3), (1, 1)]


def _of(dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.resize(np.array([1, 0, 1, 1]), shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.__name__)
def test_an_array_is_spelled_as_tensorflow_spells_it(
    tf: Any, dtype: Any, shape: tuple[int, ...]
) -> None:
    array = _of(dtype, shape)
    message = encode_tensor(array)
    try:
        expected = tf.make_tensor_proto(array)
    except TypeError:
        # TensorFlow's Python has no way to spell single elements of some dtypes.
        assert dtype.__name__ in ("float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz")
    else:
        assert message.SerializeToString() == expected.SerializeToString()
    decoded = decode_tensor(message)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "values",
    [
        1,
        -1,
        2**31 - 1,
        2**40,
        1.5,
        True,
        1j,
        "text",
        "ünï",
        b"bytes\0",
        [],
        [1, 2],
        [[1.0], [2.0]],
        ["a", "bc"],
        [b"a\0", b""],
        [[True, False]],
        (1, 2, 3),
        np.arange(3),
        np.float64(2),
        np.array(["a", "bc"]),
        np.array([b"x"], object),
        [np.float32(1), np.float32(2)],
    ],
    ids=repr,
)
def test_python_values_become_what_tensorflow_makes_of_them(tf: Any, values: Any) -> None:
    array, dtype = as_array(values)
    expected = tf.make_tensor_proto(values)
    assert encode_tensor(array, dtype).SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (1, "float32"),
        ([1, 2], "int64"),
        ([1, 2], "bfloat16"),
        (0.5, "float16"),
        (3, "complex64"),
        (np.array([1.7, 2.2]), "int32"),
        (7, "qint8"),
        ([1, 2, 3], "quint8"),
        (np.arange(4), "uint8"),
        ("a", "string"),
    ],
    ids=repr,
)
def test_values_of_a_stated_dtype(tf: Any, values: Any, dtype: str) -> None:
    number = tf.as_dtype(dtype).as_datatype_enum
    array, found = as_array(values, number)
    assert found == number
    message = encode_tensor(array, found)
    if dtype.startswith("q"):
        # TensorFlow wants quantized values as tuples of NumPy's records.
        assert message.dtype == number
        assert decode_tensor(message).tolist() == np.asarray(values).tolist()
    else:
        expected = tf.make_tensor_proto(values, dtype=dtype)
        assert message.SerializeToString() == expected.SerializeToString()


def test_a_splat_is_spelled_as_tensorflow_spells_it_and_takes_no_memory(tf: Any) -> None:
    message = encode_tensor(np.float32(3), shape=(2, 3))
    assert (
        message.SerializeToString() == tf.make_tensor_proto(3.0, shape=(2, 3)).SerializeToString()
    )
    message.tensor_shape.dim[0].size = 2**38
    decoded = decode_tensor(message)
    assert decoded.shape == (2**38, 3)
    assert decoded[12345].tolist() == [3.0, 3.0, 3.0]


def test_the_last_of_several_values_is_repeated() -> None:
    message = encode_tensor(np.array([b"a", b"b"], object), shape=(4,))
    assert decode_tensor(message).tolist() == [b"a", b"b", b"b", b"b"]
    assert decode_tensor(TensorProto(dtype="DT_STRING")).tolist() == b""


def test_what_is_decoded_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode_tensor(encode_tensor(np.arange(3)))[0] = 1


@pytest.mark.parametrize(
    ("values", "dtype", "error", "problem"),
    [
        (
            1.5,
            DataType.DT_INT32,
            errors.GraphTypeError,
            "expected int32, found 1.5 of type 'float'",
        ),
        (True, DataType.DT_FLOAT, errors.GraphTypeError, "expected float32, found True"),
        (1, DataType.DT_BOOL, errors.GraphTypeError, "expected bool, found 1"),
        (1, DataType.DT_STRING, errors.GraphTypeError, "text or bytes, found 1"),
        ("a", DataType.DT_FLOAT, errors.GraphTypeError, "expected float32, found 'a'"),
        ([[1], [1, 2]], None, errors.GraphError, "values that make no tensor"),
        (300, DataType.DT_UINT8, errors.GraphError, "uint8 is 0 to 255"),
        ([-1, -129], DataType.DT_INT8, errors.GraphError, "int8 is -128 to 127"),
        (None, None, errors.GraphTypeError, "text or bytes, found None"),
        pytest.param(object(), None, errors.GraphTypeError, "text or bytes", id="an object"),
        (np.array(["a"]), DataType.DT_INT32, errors.GraphTypeError, "int32 tensor"),
    ],
    ids=repr,
)
def test_values_that_make_no_tensor(
    values: Any, dtype: DataType | None, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        as_array(values, dtype)


def _message(**fields: Any) -> TensorProto:
    sizes = fields.pop("shape", ())
    message = TensorProto(**fields)
    for size in sizes:
        message.tensor_shape.dim.add(size=size)
    return message


def test_texts_of_which_the_last_is_repeated() -> None:
    """As TensorFlow writes `constant(["a", "b"], shape=[100_000])`."""
    decoded = decode_tensor(_message(dtype=7, shape=(100_000,), string_val=[b"a", b"b"]))
    assert (decoded[0], set(decoded[1:])) == (b"a", {b"b"})


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (_message(dtype=1, shape=(2,), tensor_content=b"123"), "must have 2 * 4 bytes, found 3"),
        (_message(dtype=1, shape=(2**40,), tensor_content=b"1234"), "found 4"),
        (_message(dtype=1, shape=(-1,)), "negative"),
        (_message(dtype=1, shape=(2**40, 2**40)), "too many elements"),
        (_message(dtype=1, shape=(1,), float_val=[1, 2]), "has 1 elements, found 2 values"),
        (_message(dtype=1, shape=(2**40,), float_val=[1, 2]), "repeats the last"),
        (
            _message(dtype=7, shape=(2**25 + 1,), string_val=[b"a", b"b"]),
            "repeats the last; at most 33554432",
        ),
        (_message(dtype=1, shape=(1,) * 65), "65 dimensions, more than a NumPy array can"),
        (_message(dtype=1, shape=(1,) * 65, float_val=[1]), "65 dimensions, more than"),
        (_message(dtype=7, shape=(1,), tensor_content=b"abc"), "string constant has raw content"),
        (_message(dtype=8, shape=(1,), scomplex_val=[1]), "pairs"),
        (_message(dtype=20), "resource"),
        (_message(dtype=21), "variant"),
        (_message(dtype=0), "DT_INVALID|invalid"),
        (_message(dtype=99), "unknown_99"),
        (_message(dtype=101), "float32_ref"),
        (_message(dtype=1, shape=(1,) * 255), "too many dimensions"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_a_message_that_no_writer_makes(message: TensorProto, problem: str) -> None:
    with pytest.raises(errors.InvalidGraph) as raised:
        decode_tensor(message)
    assert any(part in str(raised.value) for part in problem.split("|"))


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_what_is_documented(data: bytes) -> None:
    message = TensorProto()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001
        return
    with suppress(errors.InvalidGraph):
        decode_tensor(message)


@given(
    st.integers(0, 34),
    st.lists(st.integers(-2, 4), max_size=3),
    st.binary(max_size=9),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
)
def test_any_fields_decode_or_raise_what_is_documented(
    dtype: int, sizes: list[int], content: bytes, values: list[int]
) -> None:
    message = _message(
        dtype=dtype,
        shape=sizes,
        tensor_content=content,
        int_val=values,
        half_val=values,
        float8_val=content,
        bool_val=[value > 0 for value in values],
        string_val=[content] * len(values),
    )
    try:
        array = decode_tensor(message)
    except errors.InvalidGraph:
        return
    assert array.shape == tuple(sizes)
