"""Device strings, against TensorFlow's DeviceSpec."""

from __future__ import annotations

from typing import Any

import pytest

from ckptmgr import errors
from ckptmgr.graph.devices import DeviceSpec

DEVICES = [
    "",
    "/cpu:0",
    "/gpu:1",
    "/GPU:*",
    "/CPU",
    "/device:GPU:0",
    "/device:GPU:*",
    "/job:worker",
    "/job:ps/task:3",
    "/job:worker/replica:0/task:2/device:CPU:0",
    "/task:1/job:a",
    "device:CPU:1",
    "/device:custom:2",
]


@pytest.mark.parametrize("text", DEVICES)
def test_a_device_is_written_as_tensorflow_writes_it(tf: Any, text: str) -> None:
    assert DeviceSpec.from_string(text).to_string() == tf.DeviceSpec.from_string(text).to_string()


@pytest.mark.parametrize("inner", DEVICES)
@pytest.mark.parametrize("outer", DEVICES[::2])
def test_devices_are_merged_as_tensorflow_merges_them(tf: Any, outer: str, inner: str) -> None:
    mine = DeviceSpec.from_string(outer).merged_with(DeviceSpec.from_string(inner))
    theirs = tf.DeviceSpec.from_string(outer).make_merged_spec(tf.DeviceSpec.from_string(inner))
    assert mine.to_string() == theirs.to_string()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/nothing:0", "unknown part 'nothing:0'"),
        ("/cpu:0/gpu:0", "two types, CPU and GPU"),
        ("/cpu:x", "'x' in device '/cpu:x' must be a number"),
        ("/task:-1", "'-1' in device"),
        ("/task:99999999999999999999", "must be a number"),
        ("cpu:0:1:2", "unknown part"),
    ],
)
def test_what_is_no_device(text: str, problem: str) -> None:
    with pytest.raises(errors.GraphError, match=problem):
        DeviceSpec.from_string(text)
