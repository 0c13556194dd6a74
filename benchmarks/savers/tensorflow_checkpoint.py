"""tf.train.Checkpoint, which restores in place, and tf.train.CheckpointManager."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class TensorFlowCheckpointSaver(InOneStep):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        module = tf.Module()
        module.values = {name: tf.Variable(array) for name, array in tensors.items()}
        self._variables = module.values
        self._checkpoint = tf.train.Checkpoint(module=module)

    def held(self) -> Mapping[str, Any]:
        return dict(self._variables)

    def begin(self, step: int) -> None:
        os.mkdir(self.path(step))
        self._checkpoint.write(self._prefix(step))

    def load_in_place(self, step: int) -> None:
        self._checkpoint.read(self._prefix(step)).assert_consumed()

    def open_manager(self, run: str) -> None:
        self._manager = tf.train.CheckpointManager(self._checkpoint, run, max_to_keep=5)

    def manager_save(self, step: int) -> None:
        self._manager.save(checkpoint_number=step)

    def _prefix(self, step: int) -> str:
        return os.path.join(self.path(step), "model.ckpt")
