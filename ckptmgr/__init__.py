"""TensorFlow's checkpoint system without TensorFlow, for any training loop.

import ckptmgr

with ckptmgr.CheckpointManager(state, "run", save_interval_steps=100) as manager:
manager.restore()
for step in range(manager.latest_step() or 0, 10_000):
train(state)
manager.save(step + 1)
"""

from ckptmgr import errors, events, retention
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats.checkpoint_state import CheckpointState
from ckptmgr.lifecycle.manager import CheckpointManager
from ckptmgr.lifecycle.reading import list_variables, load_checkpoint, load_variable
from ckptmgr.lifecycle.restore import Restored
from ckptmgr.lifecycle.run_directory import hold
from ckptmgr.lifecycle.saver import Saver
from ckptmgr.lifecycle.state import (
    checkpoint_exists,
    get_checkpoint_mtimes,
    get_checkpoint_state,
    latest_checkpoint,
    remove_checkpoint,
    update_checkpoint_state,
)
from ckptmgr.lifecycle.variables import PartitionedVariable
from ckptmgr.lifecycle.watch import (
    CheckpointWatcher,
    checkpoints_iterator,
    wait_for_new_checkpoint,
)

__version__ = "0.1.0"

__all__ = [
    "CheckpointManager",
    "CheckpointReader",
    "CheckpointState",
    "CheckpointWatcher",
    "PartitionedVariable",
    "Restored",
    "Saver",
    "checkpoint_exists",
    "checkpoints_iterator",
    "errors",
    "events",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "hold",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "remove_checkpoint",
    "retention",
    "update_checkpoint_state",
    "wait_for_new_checkpoint",
]
