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
from ckptmgr.lifecycle import listing
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.verification import verify
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


def test_a_state_of_patterns_that_stand_for_many_shards(tmp_path: Path) -> None:
    """To look for each of the shards of each pattern takes seconds per line of the file."""
    patterns = [f"m{n}-?????-of-99999" for n in range(40)]
    lines = [f'model_checkpoint_path: "{patterns[0]}"']
    lines += [f'all_model_checkpoint_paths: "{pattern}"' for pattern in patterns]
    (tmp_path / "checkpoint").write_text("\n".join(lines))
    (tmp_path / "m7-00003-of-99999").write_bytes(b"")
    began_secs = time.process_time()
    assert [Path(c.prefix).name for c in listing.list_checkpoints(tmp_path)] == [patterns[7]]
    assert len(verify(tmp_path).checkpoints) == 1
    assert time.process_time() - began_secs < LIMIT_SECS


def test_first_shards_that_vouch_for_many(tmp_path: Path) -> None:
    """Each temporary of a first V1 shard leads to 99,998 others, had they been written."""
    token = "0123456789abcdef" * 2
    for n in range(300):
        (tmp_path / f"m{n}-00000-of-99999.tmp-{token}").touch()
    (tmp_path / "m7-00003-of-99999").touch()
    began_secs = time.process_time()
    with CheckpointManager({"w": np.zeros(2)}, tmp_path, durability="none") as manager:
        manager.save(1)
    assert [path.name for path in sorted(tmp_path.glob("m[0-9]*"))] == []
    assert time.process_time() - began_secs < LIMIT_SECS
