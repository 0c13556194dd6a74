"""scikit-learn's bundled digits: 1,797 images of 8 x 8 pixels, in three parts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

Array = np.ndarray[Any, Any]

PARTS = {"train": slice(0, 1197), "validation": slice(1197, 1497), "test": slice(1497, 1797)}


@cache
def load(part: str) -> tuple[Array, Array]:
    """Images (n, 64) float32 from 0 to 1, and their digits (n,) int64."""
    digits = load_digits()
    # They are stored by writer: without this, the parts would show different people's hands.
    chosen = np.random.default_rng(0).permutation(len(digits.data))[PARTS[part]]
    return (digits.data[chosen] / 16).astype(np.float32), digits.target[chosen]
