from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import ckptmgr.graph.kernels.strings  # noqa: F401
from ckptmgr import errors
from ckptmgr.formats.dtypes import DataType
from tests.graph.kernels.oracle import both, compute, run_tensorflow

Array = np.ndarray[Any, Any]


def strings(*values: Any) -> Array:
    """An array of bytes; text is encoded."""
    array = np.array(list(values), object)
    flat = array.reshape(-1)
    flat[:] = [value.encode() if isinstance(value, str) else value for value in flat]
    return array


def string(value: str | bytes) -> Array:
    return strings(value).reshape(())


WORDS = strings(["Hello wörld", ""], ["  a b\tc\n", "ÄÖ x1y22"])
BINARY = strings(b"\x00\xff\xfe", b"abc", b"")

CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("StringJoin", [[WORDS, string("!"), WORDS]], {"separator": "-"}),
    ("StringJoin", [[string("a"), string("b")]], {}),
    ("ReduceJoin", [WORDS, np.array([1], np.int32)], {"separator": ","}),
    ("ReduceJoin", [WORDS, np.array([1, 0], np.int32)], {}),
    ("ReduceJoin", [WORDS, np.array([0, 1], np.int32)], {"keep_dims": True}),
    ("ReduceJoin", [WORDS, np.array([-2], np.int32)], {"keep_dims": True}),
    ("ReduceJoin", [WORDS, np.array([], np.int32)], {}),
    ("StringSplit", [WORDS.reshape(-1), string(" ")], {}),
    ("StringSplit", [WORDS.reshape(-1), string(" b")], {"skip_empty": False}),
    ("StringSplit", [strings("abc", ""), string("")], {}),
    ("StringSplitV2", [WORDS.reshape(-1), string("")], {}),
    ("StringSplitV2", [WORDS.reshape(-1), string("")], {"maxsplit": 1}),
    ("StringSplitV2", [strings("a--b--", "", "--"), string("--")], {}),
    ("StringSplitV2", [strings("a,b,c,d"), string(",")], {"maxsplit": 2}),
    ("StringLower", [WORDS], {}),
    ("StringLower", [WORDS], {"encoding": "utf-8"}),
    ("StringUpper", [WORDS], {}),
    ("StringUpper", [WORDS], {"encoding": "utf-8"}),
    ("StringStrip", [WORDS], {}),
    ("StringLength", [WORDS], {}),
    ("StringLength", [WORDS], {"unit": "UTF8_CHAR"}),
    ("Substr", [strings("abcdef", "gh"), np.array(1), np.array(3)], {}),
    ("Substr", [strings("abcdef", "gh"), np.array([-2, -1]), np.array([1, 5])], {}),
    ("Substr", [strings("äöü", "x"), np.array([1, 0]), np.array([1, 1])], {"unit": "UTF8_CHAR"}),
    ("EncodeBase64", [BINARY], {}),
    ("EncodeBase64", [BINARY], {"pad": True}),
    ("DecodeBase64", [strings("AP_-", "YWJj", "YQ", "YQ==", "")], {}),
    ("RegexReplace", [WORDS, string("[a-z]+"), string("<\\0>")], {}),
    ("RegexReplace", [WORDS, string("([a-z])(\\d)?"), string("\\2\\\\\\1")], {}),
    ("RegexReplace", [WORDS, string("l"), string("L")], {"replace_global": False}),
    ("StaticRegexReplace", [WORDS], {"pattern": "\\s|ö", "rewrite": "_"}),
    ("RegexFullMatch", [WORDS, string(".*\\d+")], {}),
    ("StaticRegexFullMatch", [WORDS], {"pattern": "\\w* .*"}),
    ("AsString", [np.array([1, -20, 300])], {}),
    ("AsString", [np.array([1, -20, 300], np.int32)], {"width": 6, "fill": "0"}),
    ("AsString", [np.array([1, -20])], {"width": 6, "fill": "-"}),
    ("AsString", [np.array([1.5, -2e10, np.inf, np.nan], np.float32)], {}),
    ("AsString", [np.array([1.5, -2e10])], {"precision": 2, "width": 20}),
    ("AsString", [np.array([1.5, -2e10])], {"scientific": True, "fill": "+"}),
    ("AsString", [np.array([1.5, -2e10])], {"shortest": True}),
    ("AsString", [np.array([True, False])], {}),
    ("StringToNumber", [strings("1", " -2.5 ", "1e3", "inf", ".5")], {}),
    ("StringToNumber", [strings("1", " -25 ")], {"out_type": DataType.DT_INT64}),
    ("StringToNumber", [strings("1", "-0.1")], {"out_type": DataType.DT_DOUBLE}),
    (
        "DecodeRaw",
        [strings(b"\x01\x00\x02\x00", b"\x03\x00\x04\x00")],
        {"out_type": DataType.DT_INT16},
    ),
    (
        "DecodeRaw",
        [strings(b"\x01\x00\x02\x00")],
        {"out_type": DataType.DT_INT16, "little_endian": False},
    ),
    ("DecodeRaw", [strings(b"\x00\x01\x02")], {"out_type": DataType.DT_BOOL}),
]


@pytest.mark.parametrize(("op", "inputs", "attrs"), CASES)
def test_strings(tf: Any, op: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    inputs = [
        value.astype(np.int32) if op == "Substr" and value.dtype == np.int64 else value
        for value in inputs
    ]
    wanted, found = both(tf, op, inputs, attrs)
    assert len(wanted) == len(found)
    for theirs, ours in zip(wanted, found, strict=True):
        assert (theirs.dtype, theirs.shape) == (ours.dtype, ours.shape)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("StringToHashBucketFast", {}),
        ("StringToHashBucketStrong", {"key": [2**63 - 5, -17]}),
        ("StringToHashBucket", {}),
    ],
)
def test_hashes(tf: Any, op: str, attrs: dict[str, Any]) -> None:
    """Of each length up to beyond where the longest kind begins, and of some long ones."""
    source = random.Random(1)
    lengths = [*range(140), 191, 192, 193, 255, 256, 257, 1000]
    values = strings(*(source.randbytes(length) for length in lengths))
    wanted, _ = run_tensorflow(tf, op, [values], attrs | {"num_buckets": 2**62 - 1})
    found = compute(op, [values], num_buckets=2**62 - 1, **attrs)
    np.testing.assert_array_equal(found, wanted[0])


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "message"),
    [
        (
            "Substr",
            [strings("ab"), np.array([3]), np.array([1])],
            {"unit": b"BYTE"},
            "out of range",
        ),
        ("StringToNumber", [strings("1x")], {"out_type": 1}, "not correctly convert string: 1x"),
        ("StringToNumber", [strings("300")], {"out_type": 6}, "not correctly convert string: 300"),
        ("StringToNumber", [strings("9" * 5000)], {"out_type": 9}, "not correctly convert string"),
        ("DecodeBase64", [strings("a+b/")], {}, "Invalid character"),
        ("DecodeRaw", [strings("abc")], {"out_type": 5, "little_endian": True}, "not a multiple"),
        ("DecodeRaw", [strings("a", "bc")], {"out_type": 4, "little_endian": True}, "same size"),
        ("StaticRegexFullMatch", [strings("a")], {"pattern": b"("}, "Invalid pattern"),
        (
            "StaticRegexReplace",
            [strings("a")],
            {"pattern": b"a", "rewrite": b"\\1", "replace_global": True},
            "Invalid rewrite",
        ),
        ("StringJoin", [strings("a"), strings("a", "b")], {"separator": b""}, "do not match"),
        ("StringToHashBucketStrong", [strings("a")], {"key": [1], "num_buckets": 3}, "2 elements"),
    ],
)
def test_what_strings_cannot_be(
    op: str, inputs: list[Array], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        compute(op, inputs, **attrs)


def test_formatted_tensors(tf: Any) -> None:
    inputs = [np.arange(20).reshape(10, 2), strings("a", "b"), np.array(1.5, np.float32)]
    attrs = {"template": "x = {}, y = {} and {}", "placeholder": "{}", "summarize": 3}
    wanted, found = both(tf, "StringFormat", [inputs], attrs)
    assert found[0].item() == wanted[0].item()
