"""A small training run that is the same to the last bit whenever it is run, however interrupted.

Every number depends on all numbers before it: on the weights, on the place in the data, and on
Python's and NumPy's global generators. So one bit that a resumed run gets wrong stays wrong.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np

from ckptmgr import RunState

_SEED = 20_261
_ROWS, _INPUTS, _OUTPUTS, _BATCH = 512, 96, 32, 16


def make_data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(_SEED)
    inputs = generator.standard_normal((_ROWS, _INPUTS)).astype(np.float32)
    return inputs, np.tanh(inputs @ generator.standard_normal((_INPUTS, _OUTPUTS))).astype("f4")


class Training:
    """Stochastic gradient descent with momentum, noise and a frozen part.

    Args:
        frozen_bytes: How much of the state never changes.
    """

    def __init__(self, frozen_bytes: int) -> None:
        self._inputs, self._targets = make_data()
        random.seed(_SEED)
        np.random.seed(_SEED)  # noqa: NPY002 - the global generator is what is to be restored
        self.state = RunState(
            model={
                "weights": np.random.standard_normal((_INPUTS, _OUTPUTS)).astype("f4"),  # noqa: NPY002
                "bias": np.zeros(_OUTPUTS, "f4"),
            },
            momentum=np.zeros((_INPUTS, _OUTPUTS), "f4"),
            average=np.zeros((_INPUTS, _OUTPUTS), "f8"),
            frozen=np.arange(frozen_bytes // 4, dtype=np.uint32),
            data={"order": np.random.permutation(_ROWS), "position": 0},  # noqa: NPY002
            step=0,
            # Which process saved it; the only part that an undisturbed run has otherwise.
            attempt=0,
        )
        self.loss = 0.0

    def scramble(self) -> None:
        """Make sure that what is not restored is seen."""
        random.seed()
        np.random.seed(None)  # noqa: NPY002
        self.state.data["order"][:] = 0
        self.state.model["weights"][:] = np.nan

    def advance(self) -> None:
        """One step."""
        state, data = self.state, self.state.data
        rows = data["order"][data["position"] : data["position"] + _BATCH]
        inputs = self._inputs[rows] + np.float32(1e-3 * random.gauss(0, 1))
        wanted = self._targets[rows]
        wrong = inputs @ state.model["weights"] + state.model["bias"] - wanted
        wrong += np.random.standard_normal(wrong.shape).astype("f4") * np.float32(1e-3)  # noqa: NPY002
        self.loss = float(np.mean(wrong * wrong))
        state.momentum *= np.float32(0.9)
        state.momentum += inputs.T @ wrong / np.float32(_BATCH)
        state.model["weights"] -= np.float32(0.01) * state.momentum
        state.model["bias"] -= np.float32(0.01) * wrong.mean(axis=0)
        state.average[:] = 0.99 * state.average + 0.01 * state.model["weights"]
        data["position"] += _BATCH
        if data["position"] == _ROWS:
            data["order"][:] = np.random.permutation(_ROWS)  # noqa: NPY002
            data["position"] = 0
        state["step"] += 1

    def digest(self, frozen: bytes | None = None) -> str:
        """Of all that the run continues from.

        Args:
            frozen: The digest of the frozen part, if it is known.
        """
        state = self.state
        found = hashlib.blake2b(frozen or self.digest_of_frozen(), digest_size=16)
        for array in (
            *(state.model["weights"], state.model["bias"], state.momentum, state.average),
            state.data["order"],
        ):
            found.update(array.tobytes())
        numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
        words = np.asarray(numpy_state["state"].pop("key"))
        found.update(words.tobytes())
        rest = (numpy_state, random.getstate(), state.step, state.data["position"])
        found.update(repr(rest).encode())
        return found.hexdigest()

    def digest_of_frozen(self) -> bytes:
        return hashlib.blake2b(memoryview(self.state.frozen)).digest()


class UndisturbedRun:
    """The digests and losses of the run that nobody kills, as far as they were asked for."""

    def __init__(self, frozen_bytes: int) -> None:
        self._training = Training(frozen_bytes)
        self._frozen = self._training.digest_of_frozen()
        self.digests = [self._training.digest(self._frozen)]
        self.losses = [0.0]
        self._keep_generators()

    def digest(self, step: int) -> str:
        self._reach(step)
        return self.digests[step]

    def loss(self, step: int) -> float:
        self._reach(step)
        return self.losses[step]

    def _reach(self, step: int) -> None:
        if len(self.digests) <= step:
            # The global generators were others' in between.
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002
            while len(self.digests) <= step:
                self._training.advance()
                self.digests.append(self._training.digest(self._frozen))
                self.losses.append(self._training.loss)
            self._keep_generators()

    def _keep_generators(self) -> None:
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()  # noqa: NPY002
