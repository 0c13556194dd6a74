"""`tf.train`: saving and restoring, what a directory holds, and the sessions that do both.

Optimizers are not offered: nothing here computes gradients.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ckptmgr import arguments
from ckptmgr._proto.example_pb2 import Example
from ckptmgr._proto.feature_pb2 import BytesList, Feature, Features, FloatList, Int64List
from ckptmgr._proto.saver_pb2 import SaverDef
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.compat.v1.checkpoint_initializers import init_from_checkpoint
from ckptmgr.compat.v1.namespaces import missing
from ckptmgr.compat.v1.training.checkpoint_hooks import CheckpointSaverHook, CheckpointSaverListener
from ckptmgr.compat.v1.training.coordinator import Coordinator, LooperThread
from ckptmgr.compat.v1.training.global_steps import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
    global_step,
)
from ckptmgr.compat.v1.training.hooks import (
    SessionRunArgs,
    SessionRunContext,
    SessionRunHook,
    SessionRunValues,
)
from ckptmgr.compat.v1.training.monitored_session import (
    MonitoredSession,
    MonitoredTrainingSession,
    SingularMonitoredSession,
)
from ckptmgr.compat.v1.training.scaffold import Scaffold
from ckptmgr.compat.v1.training.session_creators import (
    ChiefSessionCreator,
    SessionCreator,
    WorkerSessionCreator,
)
from ckptmgr.compat.v1.training.session_manager import SessionManager
from ckptmgr.compat.v1.training.step_hooks import (
    GlobalStepWaiterHook,
    StepCounterHook,
    StopAtStepHook,
)
from ckptmgr.compat.v1.training.supervisor import Supervisor
from ckptmgr.compat.v1.training.tensor_hooks import (
    FeedFnHook,
    FinalOpsHook,
    LoggingTensorHook,
    NanLossDuringTrainingError,
    NanTensorHook,
)
from ckptmgr.compat.v1.training.timers import SecondOrStepTimer
from ckptmgr.compat.v1.training.warm_start import warm_start
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.graph.graph_def import write_graph
from ckptmgr.graph.moving_average import ExponentialMovingAverage
from ckptmgr.graph.saver import Saver
from ckptmgr.graph.saver_meta_graphs import export_meta_graph, import_meta_graph
from ckptmgr.lifecycle import deletion
from ckptmgr.lifecycle.reading import list_variables, load_checkpoint, load_variable
from ckptmgr.lifecycle.state import (
    build_state,
    checkpoint_exists,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    update_checkpoint_state,
)
from ckptmgr.lifecycle.watch import checkpoints_iterator

__all__ = [
    "BytesList",
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "CheckpointState",
    "ChiefSessionCreator",
    "Coordinator",
    "Example",
    "ExponentialMovingAverage",
    "Feature",
    "Features",
    "FeedFnHook",
    "FinalOpsHook",
    "FloatList",
    "GlobalStepWaiterHook",
    "Int64List",
    "LoggingTensorHook",
    "LooperThread",
    "MonitoredSession",
    "MonitoredTrainingSession",
    "NanLossDuringTrainingError",
    "NanTensorHook",
    "NewCheckpointReader",
    "Saver",
    "SaverDef",
    "Scaffold",
    "SecondOrStepTimer",
    "SessionCreator",
    "SessionManager",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "SingularMonitoredSession",
    "StepCounterHook",
    "StopAtStepHook",
    "Supervisor",
    "WorkerSessionCreator",
    "assert_global_step",
    "checkpoint_exists",
    "checkpoints_iterator",
    "create_global_step",
    "export_meta_graph",
    "generate_checkpoint_state_proto",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
    "import_meta_graph",
    "init_from_checkpoint",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "remove_checkpoint",
    "update_checkpoint_state",
    "warm_start",
    "write_graph",
]


def generate_checkpoint_state_proto(
    save_dir: str | os.PathLike[str],
    model_checkpoint_path: str | os.PathLike[str],
    all_model_checkpoint_paths: Sequence[str | os.PathLike[str]] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
) -> CheckpointState:
    """What `update_checkpoint_state` would write.

    Raises:
        InvalidArgument: There are timestamps, but not one for each path.
    """
    return build_state(
        arguments.path_text(save_dir),
        arguments.path_text(model_checkpoint_path),
        [arguments.path_text(path) for path in all_model_checkpoint_paths or ()],
        timestamps=all_model_checkpoint_timestamps or (),
        last_preserved_timestamp=last_preserved_timestamp or 0.0,
    )


def NewCheckpointReader(filepattern: str | os.PathLike[str]) -> CheckpointReader:
    """A reader of the checkpoint of that prefix."""
    return CheckpointReader(filepattern)


def remove_checkpoint(
    checkpoint_prefix: str | os.PathLike[str],
    checkpoint_format_version: int = SaverDef.V2,
    meta_graph_suffix: str = "meta",
) -> None:
    """Delete the files of one checkpoint, of whichever format; none need exist."""
    deletion.remove_checkpoint(checkpoint_prefix, meta_graph_suffix)


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
