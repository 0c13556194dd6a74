"""numpy.savez and numpy.load: a zip file of .npy files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.savers import InOneStep
from benchmarks.workloads import Array


class NumpyArchiveSaver(InOneStep):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._tensors: dict[str, Any] = dict(tensors)

    def held(self) -> Mapping[str, Any]:
        return self._tensors

    def begin(self, step: int) -> None:
        with open(self.path(step), "wb") as file:  # a path would get the suffix .npz
            np.savez(file, **self._tensors)

    def load(self, step: int) -> Mapping[str, Any]:
        with np.load(self.path(step)) as archive:
            return {name: archive[name] for name in archive.files}
