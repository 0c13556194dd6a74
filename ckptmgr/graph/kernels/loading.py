"""Makes every kernel of this package known, once, when a graph is to be run."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from ckptmgr.graph import kernels
from ckptmgr.graph.kernels import registry


@functools.cache
def load_all() -> None:
    """Register the kernels of all modules; what a user has registered before stays."""
    before = dict(registry._kernels)
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")
    registry._kernels.update(before)
