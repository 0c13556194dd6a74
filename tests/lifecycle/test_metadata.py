from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.lifecycle.metadata import (
    CheckpointMetadata,
    as_metrics,
    as_user_metadata,
    decode_metadata,
    encode_metadata,
)

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    max_leaves=5,
)


@given(
    st.builds(
        CheckpointMetadata,
        st.integers(0, 2**63 - 1),
        st.floats(0, 1e12),
        st.dictionaries(st.text("xyz"), st.floats(allow_nan=False)),
        st.dictionaries(st.text("xyz"), _json),
        _json,
    )
)
def test_round_trip(metadata: CheckpointMetadata) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


def test_nan_comes_back_and_the_file_is_strict_json() -> None:
    encoded = encode_metadata(CheckpointMetadata(1, 2.0, {"loss": math.nan}))
    assert b"NaN" not in encoded
    assert math.isnan(decode_metadata(encoded).metrics["loss"])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.MalformedMetadata),
        (b"[]", errors.MalformedMetadata),
        (b"{}", errors.MalformedMetadata),
        (b"\xff", errors.MalformedMetadata),
        (
            encode_metadata(CheckpointMetadata(1, 2.0)).replace(b"2.0", b"NaN"),
            errors.MalformedMetadata,
        ),
        (
            encode_metadata(CheckpointMetadata(1, 2.0)).replace(b"2.0", b"1e999"),
            errors.MalformedMetadata,
        ),
        (
            encode_metadata(CheckpointMetadata(1, 2.0, user={"a": 3.0})).replace(
                b"3.0", b"-Infinity"
            ),
            errors.MalformedMetadata,
        ),
        (b"[" * 100_000, errors.MalformedMetadata),
        (
            b'{"format":1,"step":"1","saved_at_secs":1,"metrics":{},"metadata":{},"skeleton":null}',
            errors.MalformedMetadata,
        ),
        (
            b'{"format":1,"step":1,"saved_at_secs":1,"metrics":[],"metadata":{},"skeleton":null}',
            errors.MalformedMetadata,
        ),
        (
            b'{"format":1,"step":1,"saved_at_secs":1,"metrics":{"a":"b"},"metadata":{},"skeleton":0}',
            errors.MalformedMetadata,
        ),
        (b'{"format":2}', errors.UnsupportedVersion),
    ],
)
def test_what_is_not_metadata(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_metadata(data)


def test_numbers_are_metrics() -> None:
    given_metrics = {
        "a": 1,
        "b": 0.5,
        "c": np.float32(2),
        "d": np.array(3),
        "e": ml_dtypes.bfloat16(4),
    }
    assert as_metrics(given_metrics) == {"a": 1.0, "b": 0.5, "c": 2.0, "d": 3.0, "e": 4.0}
    assert as_metrics(None) == {}


class RequiresGrad:
    """Refuses to become an array, as a tensor that is part of a graph does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("call detach() first")

    def __repr__(self) -> str:
        return "tensor(0.5, requires_grad=True)"

    def item(self) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"loss": "0.5"}, r"metric 'loss' must be a number, found '0.5' \(str\)"),
        ({"loss": None}, r"metric 'loss' must be a number, found None"),
        ({"loss": True}, r"metric 'loss' must be a number, found True"),
        ({"loss": np.zeros(2)}, r"metric 'loss' must be a number, found array"),
        ({"loss": 1j}, r"metric 'loss' must be a number, found 1j"),
        ({3: 0.5}, r"the name of a metric must be a str, found 3"),
        ({"\udc80": 0.5}, r"the name of a metric must be text that UTF-8 can hold, found"),
        ({"loss": RequiresGrad()}, r"found tensor\(.*\) \(RequiresGrad\): use \.item\(\)$"),
        ({"loss": np.ones(1)}, r"found array\(.*\) \(ndarray\): use \.item\(\)$"),
        ({"loss": np.ones(2)}, r"found array\(.*\) \(ndarray\)$"),
        ({"loss": np.True_}, r"found .*True.*\(bool_?\)$"),
        ([0.5], r"metrics must be a dict of names to numbers, found list"),
    ],
)
def test_what_is_no_metric(metrics: Any, message: str) -> None:
    with pytest.raises(errors.InvalidMetric, match=message):
        as_metrics(metrics)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"when": object()}, "metadata 'when' must come back from JSON as it is"),
        ({"ids": (1, 2)}, "metadata 'ids' must come back"),
        ({"by_id": {1: "a"}}, "metadata 'by_id' must come back"),
        ({"x": math.nan}, "metadata 'x' must come back"),
        ({1: 2}, "metadata 1 must come back"),
        ({"s": "\ud800"}, "metadata 's' must come back"),
        ({"\ud800": 1}, "metadata '.ud800' must come back"),
        ({"in": {"\ud800": 1}}, "metadata 'in' must come back"),
        ("text", "metadata must be a dict that JSON can hold, found str"),
    ],
)
def test_metadata_that_json_would_change(metadata: Any, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        as_user_metadata(metadata)
