"""Likelihoods of implicit feedback: which items a user took, out of all.

A block of users × all items is needed for a moment, and for some users at a time: loss and gradient are computed
together, so that nothing of that size is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from hyvae.nn.sparse import SparsePattern, at_columns, sampled_product

# logits at a time: 16 MB of float32
_LOGITS = 1 << 22


class _OverAllItems(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        code: Tensor,
        rows: Tensor,
        bias: Tensor,
        taken: SparsePattern,
        kind: Literal["multinomial", "logistic"],
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        gradients = torch.empty_like(code), torch.zeros_like(rows), torch.zeros_like(bias)
        total = code.new_zeros(())
        size = max(1, _LOGITS // len(rows))
        for start in range(0, len(code), size):
            stop = min(start + size, len(code))
            part = taken.rows(start, stop)
            at = part.row * len(rows) + part.col
            logits = torch.addmm(bias, code[start:stop], rows.T)
            total -= logits.view(-1)[at].sum()
            if kind == "multinomial":
                count = part.crow.diff().to(code.dtype)
                normaliser = logits.logsumexp(1, keepdim=True)
                total += count @ normaliser[:, 0]
                slope = logits.sub_(normaliser).exp_().mul_(count.unsqueeze(1)) if learns else logits
            else:
                total += softplus(logits).sum()
                slope = logits.sigmoid_() if learns else logits
            if learns:
                slope.view(-1).index_add_(0, at, slope.new_full((1,), -1.0).expand(len(at)))
                torch.mm(slope, rows, out=gradients[0][start:stop])
                gradients[1].addmm_(slope.T, code[start:stop])
                gradients[2].add_(slope.sum(0))
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        code, rows, bias = ctx.saved_tensors
        return grad * code, grad * rows, grad * bias, None, None


def multinomial_loss(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern) -> Tensor:
    """−Σ_u Σ_{i taken by u} log softmax_i(⟨code_u, row_i⟩ + bias_i), a scalar (Liang et al. 2018, eq. 2).

    Parameters
    ----------
    code : (n_rows, width) tensor
    rows : (n_items, width) tensor
    bias : (n_items,) tensor
    taken : SparsePattern
        (n_rows, n_items), no entry twice.
    """
    return _OverAllItems.apply(code, rows, bias, taken, "multinomial")


def logistic_loss(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern) -> Tensor:
    """−Σ log σ(y) over what was taken −Σ log σ(−y) over all else, y = ⟨code_u, row_i⟩ + bias_i; a scalar."""
    return _OverAllItems.apply(code, rows, bias, taken, "logistic")


def sampled_logistic_loss(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern, negatives: int) -> Tensor:
    """The same with `negatives` items drawn for each that was taken in place of all else (Wu et al. 2016, § 3.3).

    A draw that the user did take counts for nothing.
    """
    drawn, counts = draw_negatives(taken, negatives)
    positive = sampled_product(code, rows, taken) + at_columns(bias, taken)
    negative = sampled_product(code, rows, drawn) + at_columns(bias, drawn)
    return softplus(-positive).sum() + (counts.to(code.dtype) * softplus(negative)).sum()


def draw_negatives(taken: SparsePattern, negatives: int) -> tuple[SparsePattern, Tensor]:
    """Items drawn uniformly for each row, `negatives` an entry, and which of them the row has not taken (n,) bool."""
    n_items, device = taken.shape[1], taken.crow.device
    items = torch.randint(n_items, (taken.nnz * negatives,), device=device)
    drawn = SparsePattern(taken.shape, taken.crow * negatives, items.int())
    keys = taken.row * n_items + taken.col
    wanted = drawn.row * n_items + items
    place = torch.searchsorted(keys, wanted).clamp_max(max(taken.nnz - 1, 0))
    return drawn, (keys[place] != wanted) if taken.nnz else torch.ones(0, dtype=torch.bool, device=device)
