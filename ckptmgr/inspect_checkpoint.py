"""TensorFlow's `inspect_checkpoint`: `python -m ckptmgr.inspect_checkpoint --file_name=PREFIX`.

It is `ckptmgr inspect`, and the function that programs import from TensorFlow's module.

Source: tensorflow/python/tools/inspect_checkpoint.py.
"""

from __future__ import annotations

import os
import sys

from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.cli.inspect import Wish, render
from ckptmgr.cli.main import main


def print_tensors_in_checkpoint_file(
    file_name: str | os.PathLike[str],
    tensor_name: str | None,
    all_tensors: bool,  # noqa: FBT001 - TensorFlow's signature
    all_tensor_names: bool = False,  # noqa: FBT001, FBT002
    count_exclude_pattern: str = "",
) -> None:
    """Print what a checkpoint lists, one tensor of it, or all; as NumPy is set to print.

    Raises:
        CheckpointNotFound, TensorNotFound, CorruptCheckpoint: Where TensorFlow only prints why.
    """
    wish = Wish(tensor_name or "", all_tensors, all_tensor_names, count_exclude_pattern)
    with CheckpointReader(file_name) as reader:
        sys.stdout.writelines(f"{line}\n" for line in render(reader, wish))


if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
