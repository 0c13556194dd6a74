"""torch.save and torch.load: a pickle in a zip file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class TorchFileSaver(InOneStep):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = {name: torch.from_numpy(array) for name, array in tensors.items()}

    def held(self) -> Mapping[str, Any]:
        return self._tensors

    def begin(self, step: int) -> None:
        torch.save(self._tensors, self.path(step))

    def load(self, step: int) -> Mapping[str, Any]:
        tensors: Mapping[str, Any] = torch.load(self.path(step), weights_only=True)
        return tensors
