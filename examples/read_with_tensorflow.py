"""Read a checkpoint with TensorFlow itself, and compare every tensor with what ckptmgr reads.

python -m examples.read_with_tensorflow RUN_DIR
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

import ckptmgr


def main() -> None:
    theirs = tf.train.load_checkpoint(sys.argv[1])
    names = sorted(theirs.get_variable_to_shape_map())
    with ckptmgr.load_checkpoint(sys.argv[1]) as ours:
        for name in names:
            if not np.array_equal(theirs.get_tensor(name), ours.get_tensor(name)):
                sys.exit(f"TensorFlow reads another value of {name}")
    print(f"TensorFlow {tf.__version__} reads all {len(names)} tensors of the file as ckptmgr does")


if __name__ == "__main__":
    main()
