"""Writes ckptmgr/graph/op_defs.pb: what each type of operation takes and gives, from TensorFlow.

    python scripts/extract_op_defs.py

The list is that of the installed TensorFlow's raw operations, sorted by name, without their
documentation and without the families that only an accelerator, a compiler or a profiler of
TensorFlow itself puts into a graph.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "ckptmgr" / "graph" / "op_defs.pb"

#: Beginnings of the names of operations that no graph to be saved or served is made of.
LEFT_OUT = (
    "BoostedTrees",
    "Collective",
    "Cudnn",
    "DTensor",
    "Debug",
    "Experimental",
    "KMC2",
    "Nccl",
    "Risc",
    "Rpc",
    "Sdca",
    "TPU",
    "Tpu",
    "Xla",
)
LEFT_OUT_PARTS = ("SparseCore", "TPU", "WithCsrInput", "WithStaticBufferSize")


def extract() -> bytes:
    """The serialized OpList of the installed TensorFlow."""
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.framework import op_def_registry

    kept = op_def_pb2.OpList()
    for name in sorted(dir(tf.raw_ops)):
        if name.startswith(("_", *LEFT_OUT)) or any(part in name for part in LEFT_OUT_PARTS):
            continue
        op_def = op_def_registry.get(name)
        if op_def is not None:
            kept.op.append(_without_documentation(op_def))
    return bytes(kept.SerializeToString(deterministic=True))


def _without_documentation(op_def: Any) -> Any:
    stripped = type(op_def)()
    stripped.CopyFrom(op_def)
    stripped.ClearField("summary")
    stripped.ClearField("description")
    for part in (*stripped.input_arg, *stripped.output_arg, *stripped.attr):
        part.ClearField("description")
    return stripped


def main() -> int:
    data = extract()
    TARGET.write_bytes(data)
    print(f"{TARGET}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
