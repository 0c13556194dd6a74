"""safetensors.numpy: one file, a JSON header before the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetensors.numpy import load_file, save_file

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class SafetensorsSaver(InOneStep):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = dict(tensors)

    def held(self) -> Mapping[str, Any]:
        return self._tensors

    def begin(self, step: int) -> None:
        save_file(self._tensors, self.path(step))

    def load(self, step: int) -> Mapping[str, Any]:
        tensors: Mapping[str, Any] = load_file(self.path(step))
        return tensors
