"""SavedModels: directories with a graph, its signatures, variables and assets, to be served.

Example:
    >>> from ckptmgr import saved_model
    >>> model = saved_model.load("export")
    >>> model.signatures["serving_default"](x=[[1.0, 2.0]])
    {'y': array([[5.]], dtype=float32)}

Every name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptmgr.saved_model.arguments import RaggedTensor
    from ckptmgr.saved_model.builder import SavedModelBuilder, simple_save
    from ckptmgr.saved_model.constants import (
        ASSETS_DIRECTORY,
        CLASSIFY_METHOD_NAME,
        DEFAULT_SERVING_SIGNATURE_DEF_KEY,
        GPU,
        PREDICT_METHOD_NAME,
        REGRESS_METHOD_NAME,
        SERVING,
        TPU,
        TRAINING,
    )
    from ckptmgr.saved_model.directory import (
        asset_files,
        contains_saved_model,
        find_meta_graph,
        read_saved_model,
    )
    from ckptmgr.saved_model.functions import LoadedGraph, load
    from ckptmgr.saved_model.loader import SavedModelLoader
    from ckptmgr.saved_model.objects import (
        LoadedFunction,
        LoadedModel,
        LoadedObject,
        LoadedVariable,
    )
    from ckptmgr.saved_model.signature_call import Signature
    from ckptmgr.saved_model.signatures import (
        SparseTensor,
        build_signature_def,
        build_tensor_info,
        classification_signature_def,
        get_tensor_from_tensor_info,
        is_valid_signature,
        predict_signature_def,
        regression_signature_def,
    )

_HOMES = {
    "ckptmgr.saved_model.arguments": ("RaggedTensor",),
    "ckptmgr.saved_model.builder": ("SavedModelBuilder", "simple_save"),
    "ckptmgr.saved_model.constants": (
        "ASSETS_DIRECTORY",
        "CLASSIFY_METHOD_NAME",
        "DEFAULT_SERVING_SIGNATURE_DEF_KEY",
        "GPU",
        "PREDICT_METHOD_NAME",
        "REGRESS_METHOD_NAME",
        "SERVING",
        "TPU",
        "TRAINING",
    ),
    "ckptmgr.saved_model.directory": (
        "asset_files",
        "contains_saved_model",
        "find_meta_graph",
        "read_saved_model",
    ),
    "ckptmgr.saved_model.functions": ("LoadedGraph", "load"),
    "ckptmgr.saved_model.loader": ("SavedModelLoader",),
    "ckptmgr.saved_model.objects": (
        "LoadedFunction",
        "LoadedModel",
        "LoadedObject",
        "LoadedVariable",
    ),
    "ckptmgr.saved_model.signature_call": ("Signature",),
    "ckptmgr.saved_model.signatures": (
        "SparseTensor",
        "build_signature_def",
        "build_tensor_info",
        "classification_signature_def",
        "get_tensor_from_tensor_info",
        "is_valid_signature",
        "predict_signature_def",
        "regression_signature_def",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ASSETS_DIRECTORY",
    "CLASSIFY_METHOD_NAME",
    "DEFAULT_SERVING_SIGNATURE_DEF_KEY",
    "GPU",
    "PREDICT_METHOD_NAME",
    "REGRESS_METHOD_NAME",
    "SERVING",
    "TPU",
    "TRAINING",
    "LoadedFunction",
    "LoadedGraph",
    "LoadedModel",
    "LoadedObject",
    "LoadedVariable",
    "RaggedTensor",
    "SavedModelBuilder",
    "SavedModelLoader",
    "Signature",
    "SparseTensor",
    "asset_files",
    "build_signature_def",
    "build_tensor_info",
    "classification_signature_def",
    "contains_saved_model",
    "find_meta_graph",
    "get_tensor_from_tensor_info",
    "is_valid_signature",
    "load",
    "predict_signature_def",
    "read_saved_model",
    "regression_signature_def",
    "simple_save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ckptmgr.saved_model' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
