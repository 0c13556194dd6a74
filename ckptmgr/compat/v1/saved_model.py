"""`tf.saved_model`: building and loading models to be served."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from ckptmgr.compat.v1.namespaces import Namespace, missing
from ckptmgr.compat.v1.scopes import control_dependencies, group
from ckptmgr.compat.v1.state_functions import tables_initializer
from ckptmgr.graph.operation import Operation
from ckptmgr.graph.variables import global_variables_initializer, local_variables_initializer
from ckptmgr.saved_model import builder as own_builder
from ckptmgr.saved_model import constants, directory
from ckptmgr.saved_model import constants as signature_constants
from ckptmgr.saved_model import constants as tag_constants
from ckptmgr.saved_model import signatures as signature_def_utils
from ckptmgr.saved_model import signatures as utils
from ckptmgr.saved_model.builder import simple_save
from ckptmgr.saved_model.constants import *  # noqa: F403 - TensorFlow repeats each of them here
from ckptmgr.saved_model.loader import load
from ckptmgr.saved_model.signatures import (
    build_signature_def,
    build_tensor_info,
    classification_signature_def,
    get_tensor_from_tensor_info,
    is_valid_signature,
    predict_signature_def,
    regression_signature_def,
)


def contains_saved_model(export_dir: str | os.PathLike[str]) -> bool:
    """Whether the directory has a model that `load` would read."""
    return directory.contains_saved_model(export_dir)


maybe_saved_model_directory = contains_saved_model


class Builder(own_builder.SavedModelBuilder):
    """Writes a model to a directory."""

    def save(self, as_text: bool = False) -> bytes:  # type: ignore[override]
        """Write what makes the directory a model; its path is in bytes, as TensorFlow's is."""
        return os.fsencode(super().save(as_text))


builder = Namespace("saved_model.builder", SavedModelBuilder=Builder)
loader = Namespace(
    "saved_model.loader", load=load, maybe_saved_model_directory=maybe_saved_model_directory
)


def _initialize_all() -> Operation:
    """For `main_op=`: what sets up variables and tables when the model is loaded.

    As in TensorFlow it runs after the variables are restored, and gives them their initial values
    again: a model whose values count names `tf.tables_initializer()` as its main_op.
    """
    return group(
        global_variables_initializer(), local_variables_initializer(), tables_initializer()
    )


def main_op_with_restore(restore_op_name: Any) -> Operation:
    """For `main_op=`: set up variables and tables, then run an operation that restores."""
    with control_dependencies([_initialize_all()]):
        return group(restore_op_name)


main_op = SimpleNamespace(main_op=_initialize_all, main_op_with_restore=main_op_with_restore)

__all__ = [
    "Builder",
    "build_signature_def",
    "build_tensor_info",
    "builder",
    "classification_signature_def",
    "constants",
    "contains_saved_model",
    "get_tensor_from_tensor_info",
    "is_valid_signature",
    "load",
    "loader",
    "main_op",
    "main_op_with_restore",
    "maybe_saved_model_directory",
    "predict_signature_def",
    "regression_signature_def",
    "signature_constants",
    "signature_def_utils",
    "simple_save",
    "tag_constants",
    "utils",
]


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
