"""What the demo claims of a run's directory, each claim as a function that tells."""

from __future__ import annotations

import os

import numpy as np

import ckptmgr
from ckptmgr.lifecycle.metadata import METADATA_NAME


def unfinished_files(run_dir: str) -> list[str]:
    """Files that no checkpoint refers to: temporaries, and data without an index."""
    filenames = sorted(os.listdir(run_dir))
    return [
        filename
        for filename in filenames
        if ".tmp-" in filename
        or (".data-" in filename and filename.partition(".data-")[0] + ".index" not in filenames)
    ]


def differing_tensors(one_dir: str, other_dir: str) -> tuple[list[str], int]:
    """Compare the latest checkpoints of two runs, bit for bit.

    Returns:
        The names of the tensors that differ or that only one has, and how many there are.
    """
    one, other = _contents(one_dir), _contents(other_dir)
    names = sorted(one.keys() | other.keys())
    return [name for name in names if one.get(name) != other.get(name)], len(names)


def _contents(run_dir: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of each tensor of the state."""
    contents = {}
    with ckptmgr.load_checkpoint(run_dir) as reader:
        for name in reader.get_variable_to_shape_map():
            if name != METADATA_NAME:  # which says when it was saved
                array = np.asarray(reader.get_tensor(name))
                contents[name] = (array.dtype.str, array.shape, array.tobytes())
    return contents
