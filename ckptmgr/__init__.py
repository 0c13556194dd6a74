"""TensorFlow's checkpoint system without TensorFlow, for any training loop.

Example:
    >>> import ckptmgr
    >>> with ckptmgr.CheckpointManager(state, "run", save_interval_steps=100) as manager:
    ...     manager.restore()
    ...     while state["step"] < 10_000:
    ...         train(state)
    ...         manager.save(state["step"])

Every name is loaded when it is first used, so that a program which only may save, or a command
that only reads, does not wait for the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptmgr import errors, events, retention, saved_model
    from ckptmgr.bundle.checkpoint_reader import CheckpointReader
    from ckptmgr.formats.checkpoint_state import CheckpointState
    from ckptmgr.lifecycle.deletion import remove_checkpoint
    from ckptmgr.lifecycle.manager import CheckpointManager
    from ckptmgr.lifecycle.reading import list_variables, load_checkpoint, load_variable
    from ckptmgr.lifecycle.repair import repair
    from ckptmgr.lifecycle.restore import Restored
    from ckptmgr.lifecycle.run_directory import hold
    from ckptmgr.lifecycle.run_state import RunState
    from ckptmgr.lifecycle.saver import Saver
    from ckptmgr.lifecycle.state import (
        checkpoint_exists,
        get_checkpoint_mtimes,
        get_checkpoint_state,
        latest_checkpoint,
        update_checkpoint_state,
    )
    from ckptmgr.lifecycle.variables import PartitionedVariable
    from ckptmgr.lifecycle.verification import verify
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
    "RunState",
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
    "repair",
    "retention",
    "saved_model",
    "update_checkpoint_state",
    "verify",
    "wait_for_new_checkpoint",
]

_HOMES = {
    "ckptmgr.bundle.checkpoint_reader": ("CheckpointReader",),
    "ckptmgr.formats.checkpoint_state": ("CheckpointState",),
    "ckptmgr.lifecycle.deletion": ("remove_checkpoint",),
    "ckptmgr.lifecycle.manager": ("CheckpointManager",),
    "ckptmgr.lifecycle.reading": ("list_variables", "load_checkpoint", "load_variable"),
    "ckptmgr.lifecycle.repair": ("repair",),
    "ckptmgr.lifecycle.restore": ("Restored",),
    "ckptmgr.lifecycle.run_directory": ("hold",),
    "ckptmgr.lifecycle.run_state": ("RunState",),
    "ckptmgr.lifecycle.saver": ("Saver",),
    "ckptmgr.lifecycle.state": (
        "checkpoint_exists",
        "get_checkpoint_mtimes",
        "get_checkpoint_state",
        "latest_checkpoint",
        "update_checkpoint_state",
    ),
    "ckptmgr.lifecycle.variables": ("PartitionedVariable",),
    "ckptmgr.lifecycle.verification": ("verify",),
    "ckptmgr.lifecycle.watch": (
        "CheckpointWatcher",
        "checkpoints_iterator",
        "wait_for_new_checkpoint",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"ckptmgr.{name}")  # a module by itself
    else:
        raise AttributeError(f"module 'ckptmgr' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
