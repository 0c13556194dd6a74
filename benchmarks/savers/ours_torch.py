"""ckptmgr with PyTorch's tensors, which are copied until the optimizer changes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchmarks.savers.ours import OurManager
from benchmarks.workloads import Array
from ckptmgr.adapters.torch import release_before_step


class OurTorchSaver(OurManager):
    def __init__(self) -> None:
        super().__init__(asynchronous=True, copy_in_background=True)

    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._state = {name: torch.from_numpy(array) for name, array in tensors.items()}
        self._optimizer = torch.optim.SGD(self._state.values())

    def open(self, run: str) -> None:
        super().open(run)
        release_before_step(self._in_use, self._optimizer)

    def update(self) -> None:
        self._optimizer.step()  # there are no gradients: the hook is all it does
