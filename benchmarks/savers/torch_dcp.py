"""torch.distributed.checkpoint in one process, which restores in place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed.checkpoint as dcp

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class TorchDcpSaver(InOneStep):
    def __init__(self, *, asynchronous: bool = False) -> None:
        self._is_async = asynchronous
        self._pending: Any = None
        # One process is what is measured.
        warnings.filterwarnings("ignore", message=".*single process.*")

    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = {name: torch.from_numpy(array) for name, array in tensors.items()}

    def held(self) -> Mapping[str, Any]:
        return self._tensors

    def begin(self, step: int) -> None:
        if self._is_async:
            self._pending = dcp.async_save(self._tensors, checkpoint_id=self.path(step))
        else:
            dcp.save(self._tensors, checkpoint_id=self.path(step), no_dist=True)

    def finish(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def load_in_place(self, step: int) -> None:
        dcp.load(self._tensors, checkpoint_id=self.path(step), no_dist=True)
