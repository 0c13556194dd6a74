"""Run recipes with one engine: `python run_recipes.py ENGINE`, jobs and results as JSON.

A job is [recipe, function, directory]; the results are in the order of the jobs. TensorFlow is
imported once for all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
OURS = "import ckptmgr.compat.v1 as tf"
IMPORTS = {"ckptmgr": OURS, "tensorflow": "import tensorflow.compat.v1 as tf"}

Job = tuple[str, str, str]


def load(recipe: str, engine: str) -> dict[str, Any]:
    """The functions of a recipe, whose one line that names the engine names another."""
    path = RECIPES / f"{recipe}.py"
    source = path.read_text()
    assert source.count(OURS) == 1, f"{recipe} must import its engine once"
    namespace: dict[str, Any] = {"__name__": recipe}
    code = compile(source.replace(OURS, IMPORTS[engine]), str(path), "exec")
    exec(code, namespace)  # noqa: S102 - a program of this project
    return namespace


def run(engine: str, jobs: list[Job]) -> list[Any]:
    """What each job returned, as JSON can hold it."""
    if engine == "tensorflow":
        import tensorflow.compat.v1 as tf

        tf.disable_v2_behavior()
    loaded = {recipe: load(recipe, engine) for recipe in {job[0] for job in jobs}}
    return [encode(loaded[recipe][function](where)) for recipe, function, where in jobs]


def encode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return {"dtype": str(value.dtype), "shape": list(value.shape), "values": value.tolist()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], json.load(sys.stdin))))
