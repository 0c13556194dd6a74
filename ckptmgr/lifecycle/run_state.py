"""Everything that a run continues from, as one state: its parts and every random generator.

A resumed run repeats the uninterrupted one only if its randomness does, too: Python's, NumPy's
global generator, and PyTorch's where it is in use. Generators that the program made itself are
parts like any other.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

from ckptmgr import errors

_RANDOM = "random"


class RunState(dict[str, Any]):
    """A state made of named parts, plus the global random generators under `random`.

    Example:
        >>> state = RunState(model=model, optimizer=optimizer, step=0)
        >>> manager = CheckpointManager(state, "run")
        >>> state.step += 1

    Args:
        parts: Anything that a manager takes as a state.
    Raises:
        InvalidArgument: A part is called `random`.
    """

    def __init__(self, **parts: Any) -> None:
        if _RANDOM in parts:
            raise errors.InvalidArgument(
                "the part 'random' of a RunState is the global generators; give yours another name"
            )
        super().__init__(parts)
        self[_RANDOM] = _global_generators()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the run state has no part {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _PythonRandom:
    """The generator behind `random.random()`; its state is a version, 625 words and half a pair."""

    def state_dict(self) -> dict[str, Any]:
        version, words, gauss = random.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        random.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))


def _global_generators() -> dict[str, Any]:
    generators: dict[str, Any] = {
        "python": _PythonRandom(),
        # The one behind np.random.seed() and np.random.rand().
        "numpy": np.random.mtrand._rand,  # noqa: SLF001 - NumPy has no public name for it
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        generators["torch"] = torch.default_generator
        if torch.cuda.is_available():
            torch.cuda.init()  # makes the list of generators, one per device
            generators["torch_cuda"] = list(torch.cuda.default_generators)
    return generators
