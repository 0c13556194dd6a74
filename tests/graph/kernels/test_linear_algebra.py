"""Products, inverses, factors and solutions of matrices, against TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.formats.dtypes import DataType
from tests.graph.kernels.oracle import (
    COMPLEX,
    FLOATS,
    INTS,
    Case,
    both_refuse,
    check,
    compute,
    f32,
    name_of,
    random,
)

SQUARE = [random((2, 4, 4), dtype) for dtype in (np.float32, np.float64, np.complex64)]
POSITIVE = [a @ np.conj(np.swapaxes(a, -1, -2)) + 4 * np.eye(4, dtype=a.dtype) for a in SQUARE]
RIGHT = [random((2, 4, 3), dtype, 1) for dtype in (np.float32, np.float64, np.complex64)]


def operands(left: tuple[int, ...], right: tuple[int, ...], dtype: Any = np.float32) -> list[Any]:
    return [random(left, dtype), random(right, dtype, seed=1)]


CASES: list[Case] = [
    *[("MatMul", operands((2, 3), (3, 4), d), {}) for d in (*FLOATS, *COMPLEX, *INTS[2:4])],
    ("MatMul", operands((3, 2), (3, 4)), {"transpose_a": True}),
    ("MatMul", operands((2, 3), (4, 3)), {"transpose_b": True}),
    ("MatMul", operands((3, 2), (4, 3)), {"transpose_a": True, "transpose_b": True}),
    ("MatMul", operands((2, 0), (0, 3)), {}),
    ("SparseMatMul", operands((3, 2), (3, 4)), {"transpose_a": True, "a_is_sparse": True}),
    ("BatchMatMul", operands((2, 2, 3), (2, 3, 4)), {}),
    ("BatchMatMul", operands((2, 3, 2), (2, 4, 3), np.complex64), {"adj_x": True, "adj_y": True}),
    *[("BatchMatMulV2", operands((5, 1, 2, 3), (4, 3, 2), d), {}) for d in FLOATS],
    ("BatchMatMulV2", operands((2, 3), (4, 3, 2)), {}),
    ("BatchMatMulV3", operands((2, 3), (4, 3, 2)), {"Tout": DataType.DT_FLOAT}),
    (
        "BatchMatMulV3",
        operands((3, 2), (3, 2), np.int8),
        {"Tout": DataType.DT_INT32, "adj_x": True},
    ),
    ("BatchMatMulV3", operands((2, 3), (3, 2), FLOATS[1]), {"Tout": DataType.DT_BFLOAT16}),
    (
        "BatchMatMulV3",
        [random((2, 3), np.int8), random((3, 2), FLOATS[1])],
        {"Tout": DataType.DT_BFLOAT16},
    ),
    *[("Einsum", [operands((2, 3), (3, 4), d)], {"equation": "ij,jk->ik"}) for d in FLOATS],
    ("Einsum", [operands((2, 3, 4), (2, 4, 5))], {"equation": "bij,bjk->bik"}),
    ("Einsum", [operands((2, 3, 4, 5), (2, 6, 4, 5))], {"equation": "bfnh,btnh->bnft"}),
    ("Einsum", [operands((2, 3, 4), (5, 4))], {"equation": "...ij,kj->...ik"}),
    ("Einsum", [[random((3, 3))]], {"equation": "ii->i"}),
    ("Einsum", [[random((3, 4))]], {"equation": "ij->"}),
    *[("MatrixInverse", [a], {"adjoint": adj}) for a in POSITIVE for adj in (False, True)],
    *[("MatrixDeterminant", [a], {}) for a in SQUARE],
    *[("LogMatrixDeterminant", [a], {}) for a in SQUARE],
    *[("Cholesky", [a], {}) for a in POSITIVE],
    *[
        ("MatrixSolve", [a, b], {"adjoint": adj})
        for a, b in zip(POSITIVE, RIGHT, strict=True)
        for adj in (False, True)
    ],
    *[
        ("MatrixTriangularSolve", [a, b], {"lower": lower, "adjoint": adj})
        for a, b in zip(POSITIVE, RIGHT, strict=True)
        for lower in (False, True)
        for adj in (False, True)
    ],
    *[("Cross", operands((2, 3), (2, 3), d), {}) for d in (np.float32, np.int32, np.uint8)],
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_linear_algebra(tf: Any, case: Case) -> None:
    is_double = any(getattr(value, "dtype", None) == np.float64 for value in case[1])
    check(tf, case, tolerance=1e-10 if is_double else 3e-5)


REFUSED: list[tuple[Case, str]] = [
    (("MatMul", operands((2, 3), (4, 3)), {}), "the first has 3 columns, the second 4 rows"),
    (("MatMul", operands((2, 3), (3,)), {}), "b must have 2 dimensions, got shape [3]"),
    (("BatchMatMulV2", operands((2, 2, 3), (3, 3, 2)), {}), "do not fit together"),
    (("MatrixInverse", [f32(np.zeros((2, 2)))], {}), "Input is not invertible"),
    (("MatrixInverse", [random((2, 3))], {}), "matrices must be square, got shape [2, 3]"),
    (("MatrixSolve", [f32(np.zeros((2, 2))), f32([[1], [2]])], {}), "is not invertible"),
    (("Einsum", [operands((2, 3), (4, 5))], {"equation": "ij,jk->ik"}), "do not fit together"),
]


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=name_of)
def test_what_tensorflow_refuses(tf: Any, case: Case, message: str) -> None:
    assert message in both_refuse(tf, case)


def test_no_root_of_a_negative_matrix() -> None:
    """TensorFlow 1 says so too; TensorFlow 2.21 answers NaN."""
    with pytest.raises(errors.InvalidArgument, match="Cholesky decomposition was not successful"):
        compute("Cholesky", [-POSITIVE[0]])
