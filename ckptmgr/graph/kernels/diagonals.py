"""Diagonals and bands of matrices, in batches.

A diagonal is numbered from the main one: above it upwards from 1, below it downwards from -1. Bands
of several are stored as a matrix, a row for each from the highest number down, padded to the
longest one; `align` says to which end those above and those below the main diagonal are moved.
Before the third version of the operations, all were at the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import check_size, integer, integers
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("Diag")
def diagonal_tensor(node: KernelNode, diagonal: Array) -> Array:
    """A tensor of twice the rank, zero but where both halves of the index agree."""
    shape = diagonal.shape * 2
    check_size(shape, diagonal.dtype)
    return np.diag(diagonal.reshape(-1)).reshape(shape)


@kernel("DiagPart")
def diagonal_part(node: KernelNode, value: Array) -> Array:
    half = value.ndim // 2
    if value.ndim % 2 or value.shape[:half] != value.shape[half:]:
        raise errors.InvalidArgument(
            f"input must have the same dimensions twice, got shape {list(value.shape)}"
        )
    shape = value.shape[:half]
    size = int(np.prod(shape, dtype=np.int64))
    return np.diagonal(value.reshape(size, size)).reshape(shape)


@kernel("MatrixBandPart")
def matrix_band_part(node: KernelNode, value: Array, lower: Array, upper: Array) -> Array:
    """All else is zero; a negative number keeps its whole triangle."""
    rows, columns = _matrix_shape(value)
    below, above = integer(lower, "num_lower"), integer(upper, "num_upper")
    for what, number, most in (("num_lower", below, rows), ("num_upper", above, columns)):
        if number > most:
            raise errors.InvalidArgument(f"{what} must be negative or at most {most}, got {number}")
    offset = np.arange(columns) - np.arange(rows)[:, None]
    is_kept = np.ones((rows, columns), np.bool_)
    if below >= 0:
        is_kept = np.logical_and(is_kept, np.greater_equal(offset, -below))
    if above >= 0:
        is_kept = np.logical_and(is_kept, np.less_equal(offset, above))
    return np.where(is_kept, value, value.dtype.type(0))


@kernel("MatrixDiag")
def matrix_diag(node: KernelNode, diagonal: Array) -> Array:
    return _banded(_zeros(diagonal, (0, 0), -1, -1), diagonal, _Band(0, 0, "LEFT_LEFT"))


@kernel("MatrixDiagV2", "MatrixDiagV3")
def matrix_diag_v3(
    node: KernelNode, diagonal: Array, k: Array, rows: Array, columns: Array, filler: Array
) -> Array:
    band = _band(node, k)
    result = _zeros(
        diagonal, (band.low, band.high), integer(rows, "num_rows"), integer(columns, "num_cols")
    )
    result[...] = filler
    return _banded(result, diagonal, band)


@kernel("MatrixDiagPart")
def matrix_diag_part(node: KernelNode, value: Array) -> Array:
    _matrix_shape(value)
    return np.diagonal(value, axis1=-2, axis2=-1).copy()


@kernel("MatrixDiagPartV2", "MatrixDiagPartV3")
def matrix_diag_part_v3(node: KernelNode, value: Array, k: Array, filler: Array) -> Array:
    rows, columns = _matrix_shape(value)
    band = _band(node, k)
    band.check(rows, columns)
    longest = band.longest(rows, columns)
    shape = (*value.shape[:-2], band.high - band.low + 1, longest)
    check_size(shape, value.dtype)
    result = np.empty(shape, value.dtype)
    result[...] = filler
    for row, number in enumerate(range(band.high, band.low - 1, -1)):
        part = np.diagonal(value, number, -2, -1)
        start = band.start(number, part.shape[-1], longest)
        result[..., row, start : start + part.shape[-1]] = part
    return result[..., 0, :] if band.is_single else result


@kernel("MatrixSetDiag")
def matrix_set_diag(node: KernelNode, value: Array, diagonal: Array) -> Array:
    _matrix_shape(value)
    return _banded(value.copy(), diagonal, _Band(0, 0, "LEFT_LEFT"))


@kernel("MatrixSetDiagV2", "MatrixSetDiagV3")
def matrix_set_diag_v3(node: KernelNode, value: Array, diagonal: Array, k: Array) -> Array:
    _matrix_shape(value)
    return _banded(value.copy(), diagonal, _band(node, k))


@dataclass(frozen=True, slots=True)
class _Band:
    low: int
    high: int
    align: str

    @property
    def is_single(self) -> bool:
        return self.low == self.high

    def longest(self, rows: int, columns: int) -> int:
        return min(rows + min(self.high, 0), columns - max(self.low, 0))

    def start(self, number: int, length: int, longest: int) -> int:
        """Where a diagonal begins in its row."""
        above, below = self.align.split("_")
        side = above if number >= 0 else below
        return longest - length if side == "RIGHT" else 0

    def check(self, rows: int, columns: int) -> None:
        if not -max(rows, 1) < self.low <= self.high < max(columns, 1):
            raise errors.InvalidArgument(
                f"k must be a band within matrices of shape {[rows, columns]}, got "
                f"{[self.low, self.high]}"
            )


def _band(node: KernelNode, k: Array) -> _Band:
    found = integers(k, "k")
    if len(found) not in (1, 2) or found[0] > found[-1]:
        raise errors.InvalidArgument(
            f"k must be one diagonal, or the lowest and the highest, got {found}"
        )
    align = node.attr("align").decode("ascii", "replace") if node.op.endswith("V3") else "LEFT_LEFT"
    return _Band(found[0], found[-1], align)


def _zeros(diagonal: Array, numbers: tuple[int, int], rows: int, columns: int) -> Array:
    """Matrices for the diagonals; as small as can be where -1 leaves it open."""
    low, high = numbers
    is_single = low == high
    if diagonal.ndim < (1 if is_single else 2):
        raise errors.InvalidArgument(
            f"diagonal must have at least {1 if is_single else 2} dimensions, got shape "
            f"{list(diagonal.shape)}"
        )
    length = diagonal.shape[-1]
    least_rows = length - min(high, 0)
    least_columns = length + max(low, 0)
    if rows == -1 and columns == -1:
        rows = columns = max(least_rows, least_columns)
    elif rows == -1:
        rows = least_rows
    elif columns == -1:
        columns = least_columns
    shape = (*diagonal.shape[: -1 if is_single else -2], rows, columns)
    if min(shape) < 0 or rows < least_rows or columns < least_columns:
        raise errors.InvalidArgument(
            f"diagonals of {length} elements, {low} to {high}, do not fit a matrix of {rows} rows "
            f"and {columns} columns"
        )
    check_size(shape, diagonal.dtype)
    return np.zeros(shape, diagonal.dtype)


def _banded(matrices: Array, diagonal: Array, band: _Band) -> Array:
    """Write the diagonals into the matrices, which are returned."""
    rows, columns = matrices.shape[-2:]
    band.check(rows, columns)
    longest = band.longest(rows, columns)
    shape = (*matrices.shape[:-2], band.high - band.low + 1, longest)
    stored = diagonal[..., None, :] if band.is_single and diagonal.ndim else diagonal
    if stored.shape != shape:
        raise errors.InvalidArgument(
            f"diagonals {band.low} to {band.high} of matrices of shape {list(matrices.shape)} have "
            f"shape {list(shape)} (without the last but one dimension where there is one only), "
            f"got {list(diagonal.shape)}"
        )
    for row, number in enumerate(range(band.high, band.low - 1, -1)):
        length = min(rows + min(number, 0), columns - max(number, 0))
        start = band.start(number, length, longest)
        index = np.arange(length)
        part = stored[..., row, start : start + length]
        matrices[..., index - min(number, 0), index + max(number, 0)] = part
    return matrices


def _matrix_shape(value: Array) -> tuple[int, int]:
    if value.ndim < 2:
        raise errors.InvalidArgument(
            f"input must have at least 2 dimensions, got shape {list(value.shape)}"
        )
    return value.shape[-2], value.shape[-1]
