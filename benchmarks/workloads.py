"""The tensors that everybody saves: float32 with the entropy of trained weights, never random.

A workload is made anew in each process from its name, so nothing has to be sent. Sizes are for
scale 1 and shrink with the scale: fewer bytes, or fewer tensors where the count is the point.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import contestants

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

GPT = "gpt"
SMALL = "small"
ONE = "one"
FROZEN = contestants.FROZEN
#: The state of the comparison of managers.
LITTLE = "little"

_FROZEN_TENSORS = 40
#: One of so many tensors of `FROZEN` changes between two saves.
_TRAINED_ONE_OF = 10

# 16 MB: no compressor that is used for checkpoints looks back so far.
_PERIOD = (4 << 20) + 1


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    words: str


WORKLOADS = (
    Workload(GPT, "1 GB: a GPT with its Adam state"),
    Workload(SMALL, "20,000 tensors of 1 KB"),
    Workload(ONE, "one tensor of 1 GB"),
    Workload(FROZEN, "1 GB, 90 % of it frozen since the save before"),
)


def make(name: str, scale: float) -> Tensors:
    """The tensors of a workload, in memory of their own."""
    source = _Values()
    return {tensor: source.take(shape) for tensor, shape in _SHAPES[name](scale)}


def make_changes(name: str, scale: float) -> Tensors:
    """What training changes of a workload between two saves: of `FROZEN` a tenth."""
    shapes = list(_SHAPES[name](scale))
    source = _Values(seed=1)
    return {tensor: source.take(shape) for tensor, shape in shapes[::_TRAINED_ONE_OF]}


def count_bytes(name: str, scale: float) -> int:
    return sum(4 * math.prod(shape) for _, shape in _SHAPES[name](scale))


def count_tensors(name: str, scale: float) -> int:
    return sum(1 for _ in _SHAPES[name](scale))


class _Values:
    """An endless supply of weights, at the speed of a copy."""

    def __init__(self, seed: int = 0) -> None:
        self._period = np.random.default_rng(seed).standard_normal(_PERIOD, np.float32)
        self._position = 0

    def take(self, shape: tuple[int, ...]) -> Array:
        array = np.empty(shape, np.float32)
        flat = array.reshape(-1)
        filled = 0
        while filled < flat.size:
            part = self._period[self._position : self._position + flat.size - filled]
            flat[filled : filled + part.size] = part
            filled += part.size
            self._position = (self._position + part.size) % _PERIOD
        return array


_Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _gpt_shapes(scale: float) -> _Shapes:
    """Nine layers of GPT-2's width with 24,000 words: 83 million parameters, stored three times."""
    width = 64 * max(1, round(12 * math.sqrt(scale)))
    words = max(64, round(24_000 * math.sqrt(scale)))
    parameters: list[tuple[str, tuple[int, ...]]] = [
        ("embedding/words", (words, width)),
        ("embedding/positions", (1024, width)),
    ]
    for layer in range(9):
        block = f"layer{layer}"
        parameters += [
            (f"{block}/attention/qkv/kernel", (width, 3 * width)),
            (f"{block}/attention/qkv/bias", (3 * width,)),
            (f"{block}/attention/out/kernel", (width, width)),
            (f"{block}/attention/out/bias", (width,)),
            (f"{block}/mlp/in/kernel", (width, 4 * width)),
            (f"{block}/mlp/in/bias", (4 * width,)),
            (f"{block}/mlp/out/kernel", (4 * width, width)),
            (f"{block}/mlp/out/bias", (width,)),
            (f"{block}/norm1/scale", (width,)),
            (f"{block}/norm2/scale", (width,)),
        ]
    for part in ("model", "adam/m", "adam/v"):
        for name, shape in parameters:
            yield f"{part}/{name}", shape


def _small_shapes(scale: float) -> _Shapes:
    for index in range(max(100, round(20_000 * scale))):
        yield f"group{index // 100}/tensor{index}", (256,)


def _one_shapes(scale: float) -> _Shapes:
    yield "weights", (max(1, round(15_625 * scale)), 16_000)


def _frozen_shapes(scale: float) -> _Shapes:
    for index in range(_FROZEN_TENSORS):
        yield f"layer{index}/kernel", (max(1, round(6_250 * scale)), 1_000)


def _little_shapes(scale: float) -> _Shapes:  # noqa: ARG001 - 100 KB at every scale
    for index in range(10):
        yield f"layer{index}/kernel", (50, 50)


_SHAPES = {
    GPT: _gpt_shapes,
    SMALL: _small_shapes,
    ONE: _one_shapes,
    FROZEN: _frozen_shapes,
    LITTLE: _little_shapes,
}
