"""Regularised global, user and item effects: the part of a rating that needs no taste."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hyvae.nn.sparse import SparsePattern

# what stands where nothing was estimated: in ratings at the mean
DEFAULT_SHRINKAGE = 5.0
# estimates beyond these are as good as all or nothing
_LEAST, _MOST = 0.1, 1e4


class Shrinkage(NamedTuple):
    """How many ratings at the mean are added to each user and to each item; both () tensors."""

    user: Tensor
    item: Tensor


@dataclass(frozen=True, eq=False)
class Biases:
    """Baseline prediction μ + b_u + b_i.

    Attributes
    ----------
    mean : () tensor
    user : (n_users,) tensor
    item : (n_items,) tensor
    """

    mean: Tensor
    user: Tensor
    item: Tensor

    def at(self, pattern: SparsePattern) -> Tensor:
        """Baseline at each position, shape (nnz,)."""
        return self.mean + self.user[pattern.row] + self.item[pattern.col]


def fit_biases(
    values: Tensor, pattern: SparsePattern, shrinkage: Shrinkage, weights: Tensor | None = None, sweeps: int = 2
) -> Biases:
    """Alternate between item and user effects, each shrunk towards zero (Koren 2010, § 2.1).

    b = Σ residual / (n + shrinkage). The last update is the user's, so that a user's effect follows from their own
    ratings and the item effects alone: what folding in computes.

    Parameters
    ----------
    values : (nnz,) tensor
        Ratings.
    shrinkage : Shrinkage
    weights : (nnz,) tensor, optional
        1 for a rating that counts, 0 for one that must not be seen.
    """
    ones = torch.ones_like(values) if weights is None else weights
    user_count, item_count = pattern.row_sums(ones), pattern.column_sums(ones)
    mean = pattern.row_sums(values, weights).sum() / user_count.sum().clamp_min(1.0)
    user = values.new_zeros(pattern.shape[0])
    item = values.new_zeros(pattern.shape[1])
    for _ in range(sweeps):
        item = pattern.column_sums(values, weights, mean, row=user) / (item_count + shrinkage.item)
        user = pattern.row_sums(values, weights, mean, col=item) / (user_count + shrinkage.user)
    return Biases(mean, user, item)


def estimate_shrinkage(values: Tensor, pattern: SparsePattern, rounds: int = 40) -> Shrinkage:
    """Shrinkage from the ratings themselves: the noise's variance over that of the effects, users and items apart.

    Random effects b_u ~ N(0, σ_u²), b_i ~ N(0, σ_i²), and noise of variance σ²: then σ²/σ_u² and σ²/σ_i² are the best
    shrinkage (Searle, Casella, McCulloch 1992, Variance components). The variances are raised to their likelihood's
    maximum by EM, in which each effect's posterior variance is σ²/(n + shrinkage), as if the others were known.

    Parameters
    ----------
    values : (nnz,) tensor
        Ratings.
    rounds : int
        At most; it ends earlier when both change by less than 1 %.
    """
    ones = torch.ones_like(values)
    user_count, item_count = pattern.row_sums(ones), pattern.column_sums(ones)
    start = values.new_tensor(DEFAULT_SHRINKAGE)
    shrinkage = Shrinkage(start, start)
    for _ in range(rounds):
        biases = fit_biases(values, pattern, shrinkage, sweeps=4)
        errors = pattern.residuals(values, None, biases.mean, biases.user, biases.item)
        taken = (user_count / (user_count + shrinkage.user)).sum() + (item_count / (item_count + shrinkage.item)).sum()
        noise = errors.square().sum() / (len(values) - taken).clamp_min(1.0)
        earlier = shrinkage
        shrinkage = Shrinkage(
            _ratio(noise, biases.user, user_count, shrinkage.user),
            _ratio(noise, biases.item, item_count, shrinkage.item),
        )
        if all(abs(float(now / before) - 1) < 0.01 for now, before in zip(shrinkage, earlier, strict=True)):
            break
    return shrinkage


def shrinkage_of(fixed: float | None, values: Tensor, pattern: SparsePattern) -> Shrinkage:
    """What a config says: `fixed` for both sides, or, where it is None, what the ratings say."""
    if fixed is None:
        return estimate_shrinkage(values, pattern)
    both = values.new_tensor(fixed)
    return Shrinkage(both, both)


def _ratio(noise: Tensor, effects: Tensor, counts: Tensor, shrinkage: Tensor) -> Tensor:
    """σ² over the variance of effects, from the effects of those who have ratings and how unsure they are."""
    posterior = effects.square() + noise / (counts + shrinkage)
    variance = posterior[counts > 0].mean()
    return torch.nan_to_num(noise / variance, nan=DEFAULT_SHRINKAGE).clamp(_LEAST, _MOST)


def fold_in_user_bias(values: Tensor, pattern: SparsePattern, mean: Tensor, item: Tensor, shrinkage: Tensor) -> Tensor:
    """Effects of users from their own ratings, given the item effects; shape (n_rows,), 0 without ratings."""
    residual = pattern.row_sums(values, mean=mean, col=item)
    return residual / (pattern.crow.diff() + shrinkage).clamp_min(1e-12)
