"""`tf.saved_model`: building and loading models to be served."""

from ckptmgr.saved_model import builder, constants, loader
from ckptmgr.saved_model import constants as signature_constants
from ckptmgr.saved_model import constants as tag_constants
from ckptmgr.saved_model import signatures as signature_def_utils
from ckptmgr.saved_model import signatures as utils
from ckptmgr.saved_model.builder import SavedModelBuilder as Builder
from ckptmgr.saved_model.builder import simple_save
from ckptmgr.saved_model.constants import *  # noqa: F403 - TensorFlow repeats each of them here
from ckptmgr.saved_model.directory import contains_saved_model
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

maybe_saved_model_directory = contains_saved_model

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
    "maybe_saved_model_directory",
    "predict_signature_def",
    "regression_signature_def",
    "signature_constants",
    "signature_def_utils",
    "simple_save",
    "tag_constants",
    "utils",
]
