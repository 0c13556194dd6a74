"""Files that could be read for ever: what is read takes time in proportion to what is stored."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.slices import cover, whole
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.saved_tensor_slices import SavedTensor, encode_entries
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from tests.fuzz import tables

LIMIT_SECS = 20.0


def test_many_tensors_in_one_large_block(tmp_path: Path) -> None:
    """A block that is decoded again for each of its entries takes minutes."""
    values = np.zeros(100, np.float32)
    tensors = [
        (SavedTensor(f"w{n:05}", DataType.DT_FLOAT, (100,), (TensorSlice.full(1),)), [values])
        for n in range(8000)
    ]
    table = tables.put_together(encode_entries(tensors), block_bytes=1 << 30)
    assert len(table) > 3_000_000  # so large that it is not read as a whole
    (tmp_path / "m").write_bytes(table)
    began_secs = time.process_time()
    with CheckpointReader(tmp_path / "m") as reader:
        assert len(reader.get_tensors()) == len(tensors)
    assert time.process_time() - began_secs < LIMIT_SECS


def test_slices_that_would_be_compared_for_ever(tmp_path: Path) -> None:
    """Slices of which each pair must be held against each other: refused, not compared."""
    shape = (2, 60_000)
    stored = [TensorSlice((Extent(0, 1), Extent(n, 60_000 - n))) for n in range(20_000)]
    began_secs = time.process_time()
    with pytest.raises(errors.MalformedSlices):
        cover(shape, stored, whole(shape))
    assert time.process_time() - began_secs < LIMIT_SECS
