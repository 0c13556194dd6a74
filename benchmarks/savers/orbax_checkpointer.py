"""Orbax's checkpointers with its PyTree handler and the defaults (OCDBT, zstd)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class OrbaxSaver(InOneStep):
    """NumPy arrays are what it saves faster, JAX's what it need not copy to save asynchronously."""

    def __init__(self, *, asynchronous: bool = False, jax_arrays: bool = False) -> None:
        kind = ocp.AsyncCheckpointer if asynchronous else ocp.Checkpointer
        self._checkpointer = kind(ocp.PyTreeCheckpointHandler())
        self._is_async = asynchronous
        self._has_jax_arrays = jax_arrays

    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._state: dict[str, Any] = dict(tensors)
        if self._has_jax_arrays:
            self._state = {name: jax.device_put(array) for name, array in tensors.items()}
            jax.block_until_ready(self._state)

    def held(self) -> Mapping[str, Any]:
        return self._state

    def begin(self, step: int) -> None:
        self._checkpointer.save(self.path(step), args=ocp.args.PyTreeSave(self._state))

    def finish(self) -> None:
        if self._is_async:
            self._checkpointer.wait_until_finished()

    def load(self, step: int) -> Mapping[str, Any]:
        restore_args = ocp.checkpoint_utils.construct_restore_args(self._state)
        wanted = ocp.args.PyTreeRestore(item=self._state, restore_args=restore_args)
        restored = self._checkpointer.restore(self.path(step), args=wanted)
        tensors: Mapping[str, Any] = jax.block_until_ready(restored)
        return tensors

    def open_manager(self, run: str) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=5, enable_async_checkpointing=self._is_async
        )
        self._manager = ocp.CheckpointManager(run, options=options)

    def manager_save(self, step: int) -> None:
        self._manager.save(step, args=ocp.args.PyTreeSave(self._state))
        self._manager.wait_until_finished()
