"""What the manager writes beside the tensors: one string tensor of JSON in the bundle itself.

It is part of the checkpoint, so it is committed, verified, moved and deleted with it, and
TensorFlow passes over a key that it does not look for.

    {"format": 1, "step": 100, "saved_at_secs": 1795150343.9, "metrics": {"loss": 0.25},
     "metadata": {...the user's...}, "skeleton": ...}

A metric that JSON has no number for is stored as "nan", "inf" or "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.layout import NamedTensor

#: The tensor's name. TensorFlow's own is `_CHECKPOINTABLE_OBJECT_GRAPH`.
METADATA_NAME = "_CKPTMGR_METADATA"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class CheckpointMetadata:
    step: int
    saved_at_secs: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: The user's own, any JSON object.
    user: Mapping[str, Any] = field(default_factory=dict)
    #: How the leaves make up the state; None when a Saver's variables were saved.
    skeleton: Any = None


def encode_metadata(metadata: CheckpointMetadata) -> bytes:
    return json.dumps(
        {
            "format": _FORMAT,
            "step": metadata.step,
            "saved_at_secs": metadata.saved_at_secs,
            "metrics": {
                name: value if math.isfinite(value) else str(value)
                for name, value in metadata.metrics.items()
            },
            "metadata": metadata.user,
            "skeleton": metadata.skeleton,
        },
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    ).encode("utf-8")


def decode_metadata(data: bytes) -> CheckpointMetadata:
    """The inverse of `encode_metadata`.

    Raises:
        MalformedMetadata: The bytes are not what it returns.
        UnsupportedVersion: A later version of this package wrote them.
    """
    try:
        # Python reads NaN and Infinity, which are no JSON, and 1e999 as infinity.
        values = json.loads(data, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise errors.MalformedMetadata(f"the manager's metadata is not JSON ({error})") from None
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > _FORMAT:
        raise errors.UnsupportedVersion(
            "the manager's metadata is of a later format",
            expected=f"at most {_FORMAT}",
            found=version,
        )
    try:
        return CheckpointMetadata(
            step=_expect(values["step"], int),
            saved_at_secs=float(_expect(values["saved_at_secs"], int | float)),
            metrics={name: float(value) for name, value in values["metrics"].items()},
            user=_expect(values["metadata"], dict),
            skeleton=values["skeleton"],
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise errors.MalformedMetadata(
            "the manager's metadata lacks a field, or has one of another type",
            found=f"{values!r:.200}",
        ) from None


def metadata_tensor(metadata: CheckpointMetadata) -> NamedTensor:
    return NamedTensor(METADATA_NAME, np.array(encode_metadata(metadata), object))


def as_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics as floats.

    Raises:
        InvalidMetric: One is not a number; names it.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise errors.InvalidMetric(
            f"metrics must be a dict of names to numbers, found {type(metrics).__name__}"
        )
    return {_metric_name(name): _metric_value(name, value) for name, value in metrics.items()}


def _metric_name(name: object) -> str:
    if not isinstance(name, str):
        raise errors.InvalidMetric(f"the name of a metric must be a str, found {name!r}")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.InvalidMetric(
            f"the name of a metric must be text that UTF-8 can hold, found {name!r}"
        ) from None
    return name


def _metric_value(name: str, value: Any) -> float:
    may_have_item = hasattr(value, "item")
    try:
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind in "iufV" and not isinstance(value, str | bytes):
            return float(array)
        may_have_item = may_have_item and array.size == 1 and array.dtype.kind in "iuf"
    except (TypeError, ValueError, RuntimeError):  # what a foreign __array__ may raise
        pass  # PyTorch's does for a tensor that requires grad
    hint = ": use .item()" if may_have_item else ""
    raise errors.InvalidMetric(
        f"metric {name!r} must be a number, found {value!r:.80} ({type(value).__name__}){hint}"
    )


def as_user_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's metadata, once it is sure that it comes back as it is.

    Raises:
        InvalidArgument: It is not a JSON object.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise errors.InvalidArgument(
            f"metadata must be a dict that JSON can hold, found {type(metadata).__name__}"
        )
    for name, value in metadata.items():
        try:
            same = json.loads(json.dumps({name: value}, allow_nan=False)) == {name: value}
            json.dumps({name: value}, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise errors.InvalidArgument(
                f"metadata {name!r} must come back from JSON as it is (str keys, lists, finite "
                f"numbers), found {value!r:.80}"
            )
    return dict(metadata)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError
    return value
