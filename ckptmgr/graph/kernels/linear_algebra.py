"""Products of matrices, and their inverses, factors and solutions, in batches."""

from __future__ import annotations

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.arrays import Array
from ckptmgr.graph.kernels.arguments import dtype_attr, require_rank
from ckptmgr.graph.kernels.precision import numeric, widened
from ckptmgr.graph.kernels.registry import KernelNode, kernel


@kernel("MatMul")
@numeric
def matrix_product(node: KernelNode, a: Array, b: Array) -> Array:
    require_rank(a, 2, "a")
    require_rank(b, 2, "b")
    left = a.T if node.attr("transpose_a") else a
    right = b.T if node.attr("transpose_b") else b
    return _product(left, right)


@kernel("SparseMatMul")
@numeric
def sparse_matrix_product(node: KernelNode, a: Array, b: Array) -> Array:
    """The operands are dense; float32 comes out whatever goes in."""
    require_rank(a, 2, "a")
    require_rank(b, 2, "b")
    left, right = a.astype(np.float32), b.astype(np.float32)
    return _product(
        left.T if node.attr("transpose_a") else left,
        right.T if node.attr("transpose_b") else right,
    )


@kernel("BatchMatMul", "BatchMatMulV2")
@numeric
def batch_matrix_product(node: KernelNode, x: Array, y: Array) -> Array:
    left = _adjoint(x) if node.attr("adj_x") else x
    right = _adjoint(y) if node.attr("adj_y") else y
    return _product(left, right)


@kernel("BatchMatMulV3")
def batch_matrix_product_v3(node: KernelNode, x: Array, y: Array) -> Array:
    """The output has a type of its own, in which the products are summed."""
    output_dtype = dtype_attr(node, "Tout")
    wide = np.result_type(widened(x).dtype, widened(y).dtype)
    if output_dtype.kind in "iu":
        wide = output_dtype
    left, right = x.astype(wide), y.astype(wide)
    product = _product(
        _adjoint(left) if node.attr("adj_x") else left,
        _adjoint(right) if node.attr("adj_y") else right,
    )
    return product.astype(output_dtype)


@kernel("Einsum")
@numeric
def einsum(node: KernelNode, *operands: Array) -> Array:
    equation = node.attr("equation").decode("utf-8", "replace")
    # Intermediate products go through the BLAS, which the plain loop does not.
    return np.asarray(np.einsum(equation, *operands, optimize=True))


@kernel("MatrixInverse")
@numeric
def matrix_inverse(node: KernelNode, matrix: Array) -> Array:
    _require_square(matrix)
    operand = _adjoint(matrix) if node.attr("adjoint") else matrix
    try:
        return np.linalg.inv(operand)
    except np.linalg.LinAlgError as error:
        raise errors.InvalidArgument(f"Input is not invertible: {error}") from error


@kernel("MatrixDeterminant")
@numeric
def matrix_determinant(node: KernelNode, matrix: Array) -> Array:
    _require_square(matrix)
    return np.asarray(np.linalg.det(matrix))


@kernel("LogMatrixDeterminant")
@numeric
def log_matrix_determinant(node: KernelNode, matrix: Array) -> tuple[Array, Array]:
    _require_square(matrix)
    sign, logarithm = np.linalg.slogdet(matrix)
    return np.asarray(sign), np.asarray(logarithm).astype(matrix.dtype)


@kernel("Cholesky")
@numeric
def cholesky(node: KernelNode, matrix: Array) -> Array:
    _require_square(matrix)
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as error:
        raise errors.InvalidArgument(
            f"Cholesky decomposition was not successful: {error}"
        ) from error


@kernel("MatrixSolve")
@numeric
def matrix_solve(node: KernelNode, matrix: Array, right: Array) -> Array:
    _require_square(matrix)
    return _solve(_adjoint(matrix) if node.attr("adjoint") else matrix, right)


@kernel("MatrixTriangularSolve")
@numeric
def matrix_triangular_solve(node: KernelNode, matrix: Array, right: Array) -> Array:
    """The other triangle is not read."""
    _require_square(matrix)
    triangle = np.tril(matrix) if node.attr("lower") else np.triu(matrix)
    return _solve(_adjoint(triangle) if node.attr("adjoint") else triangle, right)


@kernel("Cross")
@numeric
def cross_product(node: KernelNode, a: Array, b: Array) -> Array:
    if a.shape != b.shape or a.ndim == 0 or a.shape[-1] != 3:
        raise errors.InvalidArgument(
            f"operands must have the same shape and 3 elements last, got {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    # NumPy's own would compute small integers in 64 bits.
    forward, backward = (1, 2, 0), (2, 0, 1)
    return np.subtract(
        a[..., forward] * b[..., backward],
        a[..., backward] * b[..., forward],
    )


def _adjoint(matrix: Array) -> Array:
    _require_matrix(matrix)
    return np.conj(np.swapaxes(matrix, -1, -2))


def _product(left: Array, right: Array) -> Array:
    _require_matrix(left)
    _require_matrix(right)
    if left.shape[-1] != right.shape[-2]:
        raise errors.InvalidArgument(
            f"Matrix size-incompatible: the first has {left.shape[-1]} columns, the second "
            f"{right.shape[-2]} rows"
        )
    return np.matmul(left, right)


def _solve(matrix: Array, right: Array) -> Array:
    if right.ndim < 2 or right.shape[-2] != matrix.shape[-1]:
        raise errors.InvalidArgument(
            f"right-hand side must have {matrix.shape[-1]} rows, got shape {list(right.shape)}"
        )
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError as error:
        raise errors.InvalidArgument(f"Input matrix is not invertible: {error}") from error


def _require_matrix(value: Array) -> None:
    if value.ndim < 2:
        raise errors.InvalidArgument(
            f"operand must have at least 2 dimensions, got shape {list(value.shape)}"
        )


def _require_square(value: Array) -> None:
    _require_matrix(value)
    if value.shape[-1] != value.shape[-2]:
        raise errors.InvalidArgument(f"matrices must be square, got shape {list(value.shape)}")
