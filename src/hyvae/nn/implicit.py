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

from hyvae.nn.randomness import generator
from hyvae.nn.sparse import SparsePattern, at_columns, sampled_product

# logits at a time: 16 MB of float32
_LOGITS = 1 << 22
Kind = Literal["multinomial", "logistic"]


class _OverAllItems(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        code: Tensor,
        rows: Tensor,
        bias: Tensor,
        taken: SparsePattern,
        kind: Kind,
        wanted: tuple[bool, ...],
    ) -> Tensor:
        inputs = (code, rows, bias)
        gradients = [torch.zeros_like(x) if asked else None for x, asked in zip(inputs, wanted, strict=True)]
        to_code, to_rows, to_bias = gradients
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
                slope = logits.sub_(normaliser).exp_().mul_(count.unsqueeze(1)) if any(wanted) else logits
            else:
                total += softplus(logits).sum()
                slope = logits.sigmoid_() if any(wanted) else logits
            if any(wanted):
                slope.view(-1).index_add_(0, at, slope.new_full((1,), -1.0).expand(len(at)))
            if to_code is not None:
                torch.mm(slope, rows, out=to_code[start:stop])
            if to_rows is not None:
                to_rows.addmm_(slope.T, code[start:stop])
            if to_bias is not None:
                to_bias.add_(slope.sum(0))
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if each is None else grad * each for each in ctx.saved_tensors), None, None, None


def _over_all_items(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern, kind: Kind) -> Tensor:
    return _OverAllItems.apply(code, rows, bias, taken, kind, wanted_gradients(code, rows, bias))


def wanted_gradients(*inputs: Tensor) -> tuple[bool, ...]:
    """Of which inputs the gradient will be asked for.

    For functions that compute it along with the value: within them torch no longer tells, whose `needs_input_grad` is
    that of the inputs even where no gradient is recorded.
    """
    return tuple(torch.is_grad_enabled() and each.requires_grad for each in inputs)


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
    return _over_all_items(code, rows, bias, taken, "multinomial")


def logistic_loss(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern) -> Tensor:
    """−Σ log σ(y) over what was taken −Σ log σ(−y) over all else, y = ⟨code_u, row_i⟩ + bias_i; a scalar."""
    return _over_all_items(code, rows, bias, taken, "logistic")


def sampled_logistic_loss(code: Tensor, rows: Tensor, bias: Tensor, taken: SparsePattern, negatives: int) -> Tensor:
    """The same with `negatives` items drawn for each that was taken in place of all else (Wu et al. 2016, § 3.3).

    A draw that the user did take counts for nothing.
    """
    drawn, times = draw_negatives(taken, negatives)
    positive = sampled_product(code, rows, taken) + at_columns(bias, taken)
    negative = sampled_product(code, rows, drawn) + at_columns(bias, drawn)
    return softplus(-positive).sum() + (times.to(code.dtype) * softplus(negative)).sum()


def draw_negatives(taken: SparsePattern, negatives: int) -> tuple[SparsePattern, Tensor]:
    """Items drawn uniformly for each row, `negatives` an entry: each once, and how often it counts, (n,) int64.

    That is as often as it was drawn, and never where the row has taken it.
    """
    (n_rows, n_items), device = taken.shape, taken.crow.device
    rows = taken.row.repeat_interleave(negatives)
    drawn = rows * n_items + torch.randint(n_items, (len(rows),), device=device, generator=generator(device))
    keys, times = drawn.unique(return_counts=True)
    bounds = torch.searchsorted(keys, torch.arange(n_rows + 1, device=device) * n_items)
    pattern = SparsePattern(taken.shape, bounds, (keys % n_items).int())
    has_taken = taken.row * n_items + taken.col
    return pattern, times.masked_fill(torch.isin(keys, has_taken), 0)
