"""Products with a sparse users × items matrix whose pattern is fixed and whose values are data.

Autograd's own rules for sparse tensors densify or gather; both are ruinous here (docs/architecture.md has the
measurements). So the two products that an autoencoder needs, at its input and at its output, carry a hand-written
backward, which is again a sparse product. Cost grows with the number of ratings; no users × items tensor exists.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hyvae.errors import DataError
from hyvae.nn import kernels

# torch says once in a process that CSR tensors are in beta and unchecked. It is said here, unheard: the patterns are
# built below and checked by tests, torch's checks would cost more than the products, and a user can do nothing about it
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), (1, 1))

_MOST_ENTRIES = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Transpose:
    """The transposed order of a pattern: ``values[order]`` are the values sorted by column, then row.

    Attributes
    ----------
    crow : (n + 1,) int64 tensor
        Bounds of the columns; with `touched`, of those alone.
    col, order : (nnz,) int32 tensors
        Row and place of each entry.
    touched : (n,) int64 tensor or None
        The columns that have entries; None: `crow` is of all columns.
    """

    crow: Tensor
    col: Tensor
    order: Tensor
    touched: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """Positions of the entries of a sparse matrix, in compressed rows.

    Values are kept apart, as vectors of shape (nnz,) in row order.

    Attributes
    ----------
    shape : (int, int)
    crow : (n_rows + 1,) int64 tensor
        Row `r` owns entries ``crow[r]:crow[r + 1]``.
    col : (nnz,) int32 tensor
        Column of each entry.
    row_gradients : bool
        Gradients of parameters with a row a column of the pattern are left to the optimiser, as `TableGradient`.
    """

    shape: tuple[int, int]
    crow: Tensor
    col: Tensor
    row_gradients: bool = False

    @classmethod
    def from_numpy(
        cls, crow: np.ndarray, col: np.ndarray, n_cols: int, device: torch.device | str = "cpu"
    ) -> SparsePattern:
        """Build from CSR arrays of any integer type.

        Raises
        ------
        DataError
            More than 2^31 − 1 entries.
        """
        if len(col) > _MOST_ENTRIES:
            raise DataError(f"{len(col):,} ratings are more than one block can hold ({_MOST_ENTRIES:,})")
        return cls(
            (len(crow) - 1, n_cols),
            torch.from_numpy(crow.astype(np.int64)).to(device),
            torch.from_numpy(col.astype(np.int32)).to(device),
        )

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return self.col.shape[0]

    @cached_property
    def row(self) -> Tensor:
        """Row of each entry, shape (nnz,)."""
        return kernels.rows_of(self.crow, self.nnz)

    @cached_property
    def transpose(self) -> Transpose:
        """The transposed order, computed when first needed."""
        crow, col, order, touched = kernels.transpose(self.crow, self.col, self.shape[1], self.row_gradients)
        return Transpose(crow, col, order, touched if self.row_gradients else None)

    def narrowed(self, table: Tensor) -> tuple[SparsePattern, Tensor]:
        """The same of the columns alone that occur, and their rows of `table`, where they are few.

        One person's answer must not look at all items.
        """
        if self.nnz >= len(table):
            return self, table
        columns, col = self.col.unique(return_inverse=True)
        narrow = replace(self, shape=(self.shape[0], len(columns)), col=col.to(self.col.dtype))
        return narrow, table[columns.long()]

    def rows(self, start: int, stop: int) -> SparsePattern:
        """The pattern of some consecutive rows; its values are ``values[crow[start]:crow[stop]]``."""
        first, last = int(self.crow[start]), int(self.crow[stop])
        crow = self.crow[start : stop + 1] - first
        return replace(self, shape=(stop - start, self.shape[1]), crow=crow, col=self.col[first:last])

    def hidden(self, visible: Tensor) -> tuple[SparsePattern, Tensor]:
        """The pattern of the entries where `visible` (nnz,) is 0, and their places (n,) int32 among all."""
        crow, col, places = kernels.hidden_entries(self.crow, self.col, visible)
        return replace(self, crow=crow, col=col), places

    def matrix(self, values: Tensor) -> Tensor:
        """The torch CSR tensor with these values."""
        return kernels.csr(self.crow, self.col, values, self.shape)

    def residuals(
        self,
        values: Tensor,
        weights: Tensor | None = None,
        mean: Tensor | None = None,
        row: Tensor | None = None,
        col: Tensor | None = None,
    ) -> Tensor:
        """(value − mean − row effect − column effect) · weight of each entry, shape (nnz,)."""
        return kernels.residuals(self.crow, self.col, values, weights, mean, row, col)

    def row_sums(
        self,
        values: Tensor,
        weights: Tensor | None = None,
        mean: Tensor | None = None,
        row: Tensor | None = None,
        col: Tensor | None = None,
    ) -> Tensor:
        """Sums of the same over the entries of each row, shape (n_rows,)."""
        return kernels.sum_rows(self.crow, self.col, values, weights, mean, row, col)

    def column_sums(
        self,
        values: Tensor,
        weights: Tensor | None = None,
        mean: Tensor | None = None,
        row: Tensor | None = None,
        col: Tensor | None = None,
    ) -> Tensor:
        """Sums of the same over the entries of each column, shape (n_cols,)."""
        return kernels.sum_columns(self.crow, self.col, self.shape[1], values, weights, mean, row, col)


class TableGradient(NamedTuple):
    """The gradient of a table's touched rows, not yet computed: the transposed matrix of `values`, times `left`.

    It stands with its parameter (`table_gradients`), and its optimiser makes each row's gradient when it moves that
    row: so that no step writes and reads another table of the size of all that it touches.

    Attributes
    ----------
    pattern : SparsePattern
    values : (nnz,) tensor
        In row order.
    left : (n_rows, width) tensor
    """

    pattern: SparsePattern
    values: Tensor
    left: Tensor

    def dense(self) -> Tensor:
        """The gradient of all rows, (n_cols, width)."""
        t = self.pattern.transpose
        rows = kernels.product(t.crow, t.col, t.order, self.values, self.left)
        if t.touched is None:
            return rows
        return rows.new_zeros(self.pattern.shape[1], rows.shape[1]).index_copy_(0, t.touched, rows)


def table_gradients(parameter: Tensor) -> list[TableGradient]:
    """Those that are left to the optimiser."""
    return parameter.__dict__.get("table_gradients", [])


def forget_table_gradients(parameter: Tensor) -> None:
    """Empty the list of those that are left."""
    parameter.__dict__.pop("table_gradients", None)


def _leave_or_compute(gradient: TableGradient, table: Tensor) -> Tensor | None:
    if not table.requires_grad:
        return None
    # of parameters alone: what else is a leaf has no optimiser
    if gradient.pattern.row_gradients and isinstance(table, nn.Parameter):
        table.__dict__.setdefault("table_gradients", []).append(gradient)
        return None
    return gradient.dense()


def _matrix(pattern: SparsePattern, transposed: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Bounds, columns and order of the matrix or of its transpose."""
    if not transposed:
        return pattern.crow, pattern.col, None
    t = pattern.transpose
    return t.crow, t.col, t.order


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, pattern: SparsePattern, transposed: bool) -> Tensor:
        ctx.save_for_backward(values)
        ctx.table, ctx.pattern, ctx.transposed = table, pattern, transposed
        return kernels.product(*_matrix(pattern, transposed), values, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, None, None]:
        (values,), grad = ctx.saved_tensors, grad.contiguous()
        if ctx.transposed:
            return None, kernels.product(*_matrix(ctx.pattern, False), values, grad), None, None
        return None, _leave_or_compute(TableGradient(ctx.pattern, values, grad), ctx.table), None, None


class _PairedProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, table: Tensor, seen: Tensor, other: Tensor, pattern: SparsePattern, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(values, seen)
        ctx.tables, ctx.pattern, ctx.transposed = (table, other), pattern, transposed
        return kernels.product_pair(*_matrix(pattern, transposed), values, seen, table, other)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, None, Tensor | None, None, None]:
        values, seen = ctx.saved_tensors
        grad = grad.contiguous()
        if ctx.pattern.row_gradients and not ctx.transposed:
            first, second = (
                _leave_or_compute(TableGradient(ctx.pattern, entries, grad), table)
                for entries, table in zip((values, seen), ctx.tables, strict=True)
            )
        else:
            first, second = kernels.product_both(*_matrix(ctx.pattern, not ctx.transposed), values, seen, grad)
        return None, first, None, second, None, None


class _SampledProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: SparsePattern, parts: tuple[slice, ...]) -> Any:
        ctx.save_for_backward(left, right)
        ctx.table, ctx.pattern, ctx.parts = right, pattern, parts
        return tuple(kernels.sample(pattern.crow, pattern.col, left[:, part], right[:, part]) for part in parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        left, right = ctx.saved_tensors
        pattern: SparsePattern = ctx.pattern
        parts = [(grad.contiguous(), part) for grad, part in zip(grads, ctx.parts, strict=True)]
        to_left = to_right = None
        if ctx.needs_input_grad[0]:
            matrix = _matrix(pattern, False)
            to_left = _joined([kernels.product(*matrix, grad, right[:, part]) for grad, part in parts])
        if ctx.needs_input_grad[1]:
            gradients = [TableGradient(pattern, grad, left[:, part]) for grad, part in parts]
            if len(gradients) == 1:
                to_right = _leave_or_compute(gradients[0], ctx.table)
            else:
                to_right = _joined([gradient.dense() for gradient in gradients])
        return to_left, to_right, None, None


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)


class _AtColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vector: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        return vector[pattern.col]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.pattern.column_sums(grad.contiguous()), None


def sparse_product(values: Tensor, table: Tensor, pattern: SparsePattern, transposed: bool = False) -> Tensor:
    """Sparse input layer: the matrix with `values` at `pattern` (or its transpose), times `table`.

    Parameters
    ----------
    values : (nnz,) tensor
        Data, in row order; no gradient flows to them.
    table : (n_cols, width) tensor
        ``(n_rows, width)`` for the transpose.

    Returns
    -------
    (n_rows, width) tensor
        ``(n_cols, width)`` for the transpose.
    """
    return _SparseProduct.apply(values, table, pattern, transposed)


def paired_product(
    values: Tensor, table: Tensor, seen: Tensor, other: Tensor, pattern: SparsePattern, transposed: bool = False
) -> Tensor:
    """Two input channels in one pass: the matrix of `values` times `table`, plus that of `seen` times `other`.

    Parameters
    ----------
    values, seen : (nnz,) tensors
        Data, in row order. Entries where `seen` is 0 are passed over: their value must be 0 too.
    table, other : (n_cols, width) tensors
        ``(n_rows, width)`` for the transpose.
    """
    return _PairedProduct.apply(values, table, seen, other, pattern, transposed)


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
    return _SampledProduct.apply(left, right, pattern, (slice(None),))[0]


def sampled_product_in_parts(left: Tensor, right: Tensor, pattern: SparsePattern, at: int) -> tuple[Tensor, Tensor]:
    """The same from the first `at` units and from the others apart; their sum is `sampled_product`."""
    return _SampledProduct.apply(left, right, pattern, (slice(0, at), slice(at, None)))


def at_columns(vector: Tensor, pattern: SparsePattern) -> Tensor:
    """The number that belongs to each entry's column, of `vector` (n_cols,); shape (nnz,)."""
    return _AtColumns.apply(vector, pattern)
