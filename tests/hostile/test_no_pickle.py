"""Nothing that a file holds is run: no module can load a pickle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ckptmgr

MODULES = sorted(Path(ckptmgr.__file__).parent.rglob("*.py"))
LOADERS = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNNERS = {"eval", "exec", "compile", "__import__"}

#: `saved-model run --inputs` reads pickles as TensorFlow's tool does, but only with --allow_pickle,
#: and says what that may do (tests/cli/test_saved_model_run.py).
ASKED_FOR = {
    "saved_model_inputs.py": ["pickle", "read_input", "_unpickled", "np.load"],
    "saved_model_run.py": ["read_inputs"],
}


def offences(source: str) -> list[str]:
    """What of this code could load a pickle, or run text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            keywords = {keyword.arg for keyword in node.keywords}
            if function in RUNNERS or "allow_pickle" in keywords or function == "np.load":
                found.append(function)
            if function.endswith("import_module") and isinstance(node.args[0], ast.Constant):
                names = [str(node.args[0].value)]
        found += [name for name in names if name.split(".")[0] in LOADERS]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from shelve import open",
        "def f():\n    import joblib.numpy_pickle",
        "importlib.import_module('pickle')",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_it_would_be_seen(source: str) -> None:
    assert offences(source)


def test_no_module_loads_pickles() -> None:
    assert len(MODULES) > 50
    found = {path.name: bad for path in MODULES if (bad := offences(path.read_text("utf-8")))}
    assert found == ASKED_FOR
