"""Run the programs with TensorFlow: `python run_programs.py DIRECTORY`, results as JSON.

They need a process of their own: TensorFlow 1's behaviour is chosen once for all of it.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from tests.compat.programs import (
    building,
    getting,
    hooking,
    monitoring,
    raising,
    readiness,
    saving,
    threads,
)
from tests.compat.programs.seeing import PROGRAMS, Raised

#: Each module adds its programs to them.
MODULES = (building, getting, raising, saving, monitoring, readiness, hooking, threads)
KINDS = ("references", "resources")


def run(tf: Any, kind: str, name: str, directory: Path) -> Any:
    """What a program returns, with variables of a kind."""
    is_resource = kind == "resources"
    (tf.enable_resource_variables if is_resource else tf.disable_resource_variables)()
    try:
        directory.mkdir(parents=True)
        return PROGRAMS[name](tf, str(directory))
    finally:
        tf.disable_resource_variables()


def attempt(tf: Any, kind: str, name: str, directory: Path) -> Any:
    """The same as JSON can hold it; a program that does not get to its end tells where."""
    try:
        return encode(run(tf, kind, name, directory))
    except Exception:  # noqa: BLE001 - the test of this program shows it
        return {"failed": traceback.format_exc()}


def encode(value: Any) -> Any:
    """As JSON can hold it; an error is the name of its type."""
    if isinstance(value, Raised):
        return {"raised": type(value.error).__name__, "text": str(value.error)}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def main(base: Path) -> None:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    results = {
        kind: {name: attempt(tf, kind, name, base / kind / name) for name in PROGRAMS}
        for kind in KINDS
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
