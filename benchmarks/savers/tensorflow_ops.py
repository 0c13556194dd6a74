"""TensorFlow's SaveV2 and RestoreV2: the files that ckptmgr writes, without a manager."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class TensorFlowOpsSaver(InOneStep):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._names = list(tensors)
        self._tensors = [tf.constant(array) for array in tensors.values()]

    def held(self) -> Mapping[str, Any]:
        return dict(zip(self._names, self._tensors, strict=True))

    def begin(self, step: int) -> None:
        os.mkdir(self.path(step))
        tf.raw_ops.SaveV2(
            prefix=self._prefix(step),
            tensor_names=self._names,
            shape_and_slices=[""] * len(self._names),
            tensors=self._tensors,
        )

    def load(self, step: int) -> Mapping[str, Any]:
        tensors = tf.raw_ops.RestoreV2(
            prefix=self._prefix(step),
            tensor_names=self._names,
            shape_and_slices=[""] * len(self._names),
            dtypes=[tensor.dtype for tensor in self._tensors],
        )
        return dict(zip(self._names, tensors, strict=True))

    def _prefix(self, step: int) -> str:
        return os.path.join(self.path(step), "model.ckpt")
