"""Products with a sparse users × items matrix whose pattern is fixed and whose values are data.

Autograd's own rules for sparse tensors densify or gather; both are ruinous here (docs/architecture.md has the
measurements). So the two products that an autoencoder needs, at its input and at its output, carry a hand-written
backward, which is again a sparse product. Cost grows with the number of ratings; no users × items tensor exists.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse as sp
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

# torch says once in a process that CSR tensors are in beta and unchecked. It is said here, unheard: the patterns are
# built below and checked by tests, torch's checks would cost more than the products, and a user can do nothing about it
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), (1, 1))

_GATHER_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Transpose:
    """The transposed order of a pattern: ``values[order]`` are the values sorted by column, then row."""

    crow: Tensor
    col: Tensor
    order: Tensor


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Positions of the entries of a sparse matrix, in compressed rows.

    Values are kept apart, as vectors of shape (nnz,) in row order.

    Attributes
    ----------
    shape : (int, int)
    crow : (n_rows + 1,) int64 tensor
        Row `r` owns entries ``crow[r]:crow[r + 1]``.
    col : (nnz,) int64 tensor
        Column of each entry.
    """

    shape: tuple[int, int]
    crow: Tensor
    col: Tensor
    known_transpose: Transpose | None = None

    @classmethod
    def from_numpy(
        cls, crow: np.ndarray, col: np.ndarray, n_cols: int, device: torch.device | str = "cpu"
    ) -> SparsePattern:
        """Build from CSR arrays of any integer type."""

        def to(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array.astype(np.int64)).to(device)

        return cls((len(crow) - 1, n_cols), to(crow), to(col))

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.col)

    @cached_property
    def row(self) -> Tensor:
        """Row of each entry, shape (nnz,)."""
        rows = torch.arange(self.shape[0], device=self.col.device)
        return torch.repeat_interleave(rows, self.crow.diff(), output_size=self.nnz)

    @cached_property
    def transpose(self) -> Transpose:
        """The transposed order, computed when first needed."""
        if self.known_transpose is not None:
            return self.known_transpose
        # scipy's conversion is a counting sort in C: linear, where an argsort is not
        position = np.arange(self.nnz, dtype=np.int64)
        csr = sp.csr_array((position, self.col.cpu().numpy(), self.crow.cpu().numpy()), shape=self.shape)
        csc = csr.tocsc()

        def to(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array.astype(np.int64)).to(self.col.device)

        return Transpose(to(csc.indptr), to(csc.indices), to(csc.data))

    @cached_property
    def T(self) -> SparsePattern:  # noqa: N802 - the name that numpy and torch give it
        """The transposed pattern; its values are ``values[pattern.transpose.order]``."""
        t = self.transpose
        inverse = torch.empty_like(t.order)
        inverse[t.order] = torch.arange(self.nnz, device=inverse.device)
        return SparsePattern((self.shape[1], self.shape[0]), t.crow, t.col, Transpose(self.crow, self.col, inverse))

    def where(self, keep: Tensor) -> SparsePattern:
        """The pattern of the entries where `keep` (nnz,) is true; its values are ``values[keep]``."""
        t = self.transpose
        keep_t = keep[t.order]
        position = keep.cumsum(0) - 1
        transpose = Transpose(_kept_bounds(t.crow, keep_t), t.col[keep_t], position[t.order[keep_t]])
        return SparsePattern(self.shape, _kept_bounds(self.crow, keep), self.col[keep], transpose)

    def matrix(self, values: Tensor) -> Tensor:
        """The torch CSR tensor with these values."""
        return torch.sparse_csr_tensor(self.crow, self.col, values, self.shape, check_invariants=False)

    def matrix_t(self, values: Tensor) -> Tensor:
        """The transposed torch CSR tensor with these values (given in row order)."""
        t = self.transpose
        return torch.sparse_csr_tensor(
            t.crow, t.col, values[t.order], (self.shape[1], self.shape[0]), check_invariants=False
        )


def _kept_bounds(crow: Tensor, keep: Tensor) -> Tensor:
    return pad(keep.cumsum(0), (1, 0))[crow]


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.save_for_backward(values)
        ctx.pattern = pattern
        return pattern.matrix(values) @ table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (values,) = ctx.saved_tensors
        return None, ctx.pattern.matrix_t(values) @ grad.contiguous(), None


class _SampledProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.pattern = pattern
        if left.is_cuda or torch.backends.mkl.is_available():
            return _sample_by_kernel(left, right, pattern)
        return _sample_by_gathering(left, right, pattern)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors
        return ctx.pattern.matrix(grad) @ right, ctx.pattern.matrix_t(grad) @ left, None


def sparse_product(values: Tensor, table: Tensor, pattern: SparsePattern) -> Tensor:
    """Sparse input layer: the matrix with `values` at `pattern`, times `table`.

    Parameters
    ----------
    values : (nnz,) tensor
        Data; no gradient flows to them.
    table : (n_cols, width) tensor

    Returns
    -------
    (n_rows, width) tensor
    """
    return _SparseProduct.apply(values, table, pattern)


def sampled_product(left: Tensor, right: Tensor, pattern: SparsePattern) -> Tensor:
    """Sampled output layer: ``left @ right.T`` at the positions of `pattern` only.

    Parameters
    ----------
    left : (n_rows, width) tensor
    right : (n_cols, width) tensor

    Returns
    -------
    (nnz,) tensor
        In the row order of `pattern`.
    """
    return _SampledProduct.apply(left.contiguous(), right.contiguous(), pattern)


def _sample_by_kernel(left: Tensor, right: Tensor, pattern: SparsePattern) -> Tensor:
    zeros = pattern.matrix(left.new_zeros(pattern.nnz))
    return torch.sparse.sampled_addmm(zeros, left, right.T, beta=0.0).values()


def _sample_by_gathering(left: Tensor, right: Tensor, pattern: SparsePattern) -> Tensor:
    """Compute the same where torch has no kernel for it (CPU builds without MKL), in chunks."""
    out = left.new_empty(pattern.nnz)
    for start in range(0, pattern.nnz, _GATHER_CHUNK):
        chunk = slice(start, start + _GATHER_CHUNK)
        out[chunk] = (left[pattern.row[chunk]] * right[pattern.col[chunk]]).sum(1)
    return out
