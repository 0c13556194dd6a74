"""The golden files say what their expected values say, in the eyes of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: Folder, prefix in it, and what the expected names of its tensors begin with.
CHECKPOINTS = [
    ("v2_multi", "model", ""),
    ("v2_saver", "model.ckpt-3", "model.ckpt-3:"),
    ("v2_saver", "model.ckpt-5", "model.ckpt-5:"),
    ("v2_saver", "rel-00000008", "rel-00000008:"),
    ("v2_partitioned", "model", ""),
    ("v2_sharded", "model-3", ""),
    ("graphs", "ema.ckpt", "ema.ckpt:"),
    ("obj_ckpt", "keras_write", "keras_write:"),
    ("obj_ckpt", "slots", "slots:"),
    ("keras_legacy", "ckpt-1", "ckpt-1:"),
    ("keras_legacy", "weights", "weights:"),
    ("keras_legacy", "saved_model/variables/variables", "saved_model:"),
    ("saved_model_tf1", "simple/variables/variables", "simple:"),
    ("handmade", "gap4096", ""),
    ("handmade", "reversed", ""),
    ("handmade", "absent_shards", ""),
    ("handmade", "big_endian", ""),
    ("handmade", "snappy_index", ""),
    ("handmade", "tiny_blocks", ""),
]


@pytest.mark.parametrize(("folder", "prefix", "label"), CHECKPOINTS)
def test_tensorflow_reads_what_is_expected(
    tf: Any,
    golden: Path,
    load_expected: Callable[[str], dict[str, Any]],
    folder: str,
    prefix: str,
    label: str,
) -> None:
    reader = tf.train.load_checkpoint(str(golden / folder / prefix))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    expected = {
        name.removeprefix(label): value
        for name, value in load_expected(folder).items()
        if name.startswith(label)
    }

    assert names == expected.keys()
    for name, value in expected.items():
        found = np.asarray(reader.get_tensor(name))
        assert value.dtype in (found.dtype, object)
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    "prefix",
    ["v1_ckpt/model.ckpt-10", "v1_ckpt/shard.ckpt-10-?????-of-00002", "handmade/v1_snappy"],
)
def test_tensorflow_restores_v1(
    tf: Any, golden: Path, load_expected: Callable[[str], dict[str, Any]], prefix: str
) -> None:
    path = str(golden / prefix)
    dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    expected = load_expected("v1_ckpt")

    assert dtypes.keys() == expected.keys()
    # The op, because the Python reader refuses V1 tensors of some dtypes.
    tensors = tf.raw_ops.RestoreV2(
        prefix=path,
        tensor_names=list(dtypes),
        shape_and_slices=[""] * len(dtypes),
        dtypes=list(dtypes.values()),
    )
    for name, tensor in zip(dtypes, tensors, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), expected[name], err_msg=name)


def test_loads_dtypes_that_numpy_lacks(load_expected: Callable[[str], dict[str, Any]]) -> None:
    expected = load_expected("v2_multi")

    assert expected["ml/bfloat16"].dtype.name == "bfloat16"
    assert expected["ml/bfloat16"].shape == (2, 3)
    assert expected["ml/float8_e4m3fn"].astype(float).tolist() == [0.5, 1.0, -2.0, 0.0, 16.0]
    assert expected["ml/int4"].astype(int).tolist() == [1, 2, 3, 7, 0]
