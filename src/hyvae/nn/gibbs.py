"""Draws from the posterior of a two-sided linear autoencoder: Gibbs sampling, a vector at a time.

    η_ui = ⟨p_u, q_i⟩ + b_u + b_i        [p_u, b_u] = δ_u + Σ_{j rated by u} P_j / √n_u
                                          [q_i, b_i] = ν_i + Σ_{v who rated i} S_v / √n_i

Users and items are encoded linearly by what they rated, and by who rated them, and each has a vector δ, ν of its own
beside. A rating is the level into whose interval η plus standard normal noise falls (ordered probit; Albert, Chib
1993). Every δ, ν, P and S has a normal prior, diagonal, whose means and precisions are drawn too, for each of the four
apart (Salakhutdinov, Mnih 2008, Bayesian probabilistic matrix factorization, with a normal-gamma hyperprior); the cuts
between levels, of which millions of ratings leave no doubt, follow their maximum likelihood (stochastic EM). That is
the model of a factorisation machine with implicit features (Rendle 2012), whose samplers move one number at a time;
here a whole vector moves, given all else.

With D the vectors of the other side, G_u = Σ_i d_i d_iᵀ and h_u = Σ_i e_ui d_i (e the residuals), every conditional is
N(A⁻¹ b, A⁻¹): for δ_u, A = G_u + Λ; for P_j, A = Σ_u w_u² G_u + Λ over those who rated j, with w = 1/√n. When a vector
moves by Δ, h_u loses G_u Δ: residuals are looked at once a side and sweep.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hyvae.nn import kernels
from hyvae.nn.probit import draw_noise, moved_cuts, start_cuts
from hyvae.nn.randomness import draw_normal, generator
from hyvae.nn.sparse import SparsePattern, sampled_product, sparse_product

START = 0.1


@dataclass
class Side:
    """Users, or items: their vectors' two parts.

    Attributes
    ----------
    pattern : SparsePattern
        (n, n of the other side), a row each.
    free : (n, width) tensor
        δ, or ν. The last column is the bias.
    table : (n of the other side, width) tensor
        P, or S.
    prior : (2, width) tensor
        Precision and mean of `free` at the last draw.
    """

    pattern: SparsePattern
    free: Tensor
    table: Tensor
    prior: Tensor

    @classmethod
    def drawn(cls, pattern: SparsePattern, width: int) -> Side:
        """Small random vectors, and no biases."""
        device = pattern.crow.device
        shapes, random = [(n, width) for n in pattern.shape], generator(device)
        free, table = (
            START * torch.randn(shape, dtype=torch.float32, device=device, generator=random) for shape in shapes
        )
        free[:, -1] = table[:, -1] = 0.0
        return cls(pattern, free, table, torch.ones(2, width, dtype=torch.float32, device=device))

    @property
    def weight(self) -> Tensor:
        """1/√n of each, (n,)."""
        return self.pattern.crow.diff().clamp_min(1).to(self.free.dtype).rsqrt()

    @property
    def vectors(self) -> Tensor:
        """[p, b] of all, (n, width)."""
        return self.free + self.encoded(self.table)

    def encoded(self, table: Tensor) -> Tensor:
        """Σ over what each rated (or who rated it) of the rows of `table`, times the weight."""
        ones = table.new_ones(self.pattern.nnz)
        return sparse_product(ones, table, self.pattern) * self.weight.unsqueeze(1)


class Gibbs:
    """The sampler: a state of all that is unknown, which `sweep` moves.

    Parameters
    ----------
    pattern : SparsePattern
        (n_users, n_items) positions of the ratings.
    level : (nnz,) int64 tensor
        Rating level of each, from 0.
    n_levels : int
        At least 2.
    width : int
        Units of a vector, the bias included.
    """

    def __init__(self, pattern: SparsePattern, level: Tensor, n_levels: int, width: int) -> None:
        turned = pattern.transpose
        self.pattern = pattern
        self.order = turned.order.long()
        self.users = Side.drawn(pattern, width)
        self.items = Side.drawn(SparsePattern((pattern.shape[1], pattern.shape[0]), turned.crow, turned.col), width)
        self.user_vectors, self.item_vectors = self.users.vectors, self.items.vectors
        self.level, self.cuts = level, start_cuts(level, n_levels)

    def sweep(self) -> None:
        """Draw everything once, each part given all the others; the cuts are moved to what is likeliest."""
        scores = scores_at(self.pattern, self.user_vectors, self.item_vectors)
        self.cuts = moved_cuts(self.cuts, scores, self.level)
        residuals = draw_noise(scores, self.level, self.cuts)
        design = with_one_for_bias(self.item_vectors)
        change = self._draw(self.users, self.items, residuals, design)
        residuals = residuals - sampled_product(change, design, self.pattern)
        self.user_vectors = self.user_vectors + change
        change = self._draw(self.items, self.users, residuals[self.order], with_one_for_bias(self.user_vectors))
        self.item_vectors = self.item_vectors + change

    def _draw(self, side: Side, other: Side, residuals: Tensor, design: Tensor) -> Tensor:
        """Draw both parts of a side's vectors; how these changed, (n, width)."""
        before = side.free.clone()
        side.prior = draw_prior(side.free)
        grams, moments = kernels.draw_rows(
            side.pattern.crow,
            side.pattern.col,
            residuals,
            design,
            *side.prior,
            draw_normal(side.free),
            side.free,
        )
        change = side.free - before
        before = side.table.clone()
        weight, turned = side.weight, other.pattern
        sums = sparse_product(weight.square()[turned.col.long()], grams.flatten(1), turned)
        kernels.draw_table(
            turned.crow,
            turned.col,
            weight,
            grams,
            sums.view(-1, *grams.shape[1:]),
            *draw_prior(side.table),
            draw_normal(side.table),
            side.table,
            moments,
        )
        return change + side.encoded(side.table - before)


def draw_prior(vectors: Tensor) -> Tensor:
    """Precision and mean of each unit's normal prior, given the vectors that have it; (2, width).

    The hyperprior is normal-gamma: mean N(0, 1/λ), precision λ Gamma(½, ½).
    """
    n, x = len(vectors), vectors.double()
    mean = x.mean(0)
    rate = 0.5 * (1 + (x - mean).square().sum(0) + n / (1 + n) * mean.square())
    precision = torch._standard_gamma(torch.full_like(rate, (1.0 + n) / 2), generator=generator(rate.device)) / rate
    precision = precision.clamp_min(torch.finfo(rate.dtype).tiny)
    drawn = n / (1 + n) * mean + draw_normal(mean) * ((1 + n) * precision).rsqrt()
    return torch.stack([precision, drawn]).to(vectors.dtype)


def with_one_for_bias(vectors: Tensor) -> Tensor:
    """[p, 1]: what a vector [q, b] of the other side is multiplied with, but for the own bias."""
    return torch.cat([vectors[:, :-1], torch.ones_like(vectors[:, -1:])], 1)


def scores_at(pattern: SparsePattern, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """η at the positions of `pattern`, (nnz,)."""
    ones = torch.ones_like(user_vectors[:, :1])
    left = torch.cat([user_vectors, ones], 1)
    right = torch.cat([with_one_for_bias(item_vectors), item_vectors[:, -1:]], 1)
    return sampled_product(left, right, pattern)
