"""Regularised global, user and item effects: the part of a rating that needs no taste."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hyvae.nn.sparse import SparsePattern


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
    values: Tensor, pattern: SparsePattern, shrinkage: float, weights: Tensor | None = None, sweeps: int = 2
) -> Biases:
    """Alternate between item and user effects, each shrunk towards zero (Koren 2010, § 2.1).

    b = Σ residual / (n + shrinkage). The last update is the user's, so that a user's effect follows from their own
    ratings and the item effects alone: what folding in computes.

    Parameters
    ----------
    values : (nnz,) tensor
        Ratings.
    shrinkage : float
        In ratings: how many ratings at the mean are added to each user and item.
    weights : (nnz,) tensor, optional
        1 for a rating that counts, 0 for one that must not be seen.
    """
    ones = torch.ones_like(values) if weights is None else weights
    user_count, item_count = pattern.row_sums(ones), pattern.column_sums(ones)
    mean = pattern.row_sums(values, weights).sum() / user_count.sum().clamp_min(1.0)
    user = values.new_zeros(pattern.shape[0])
    item = values.new_zeros(pattern.shape[1])
    for _ in range(sweeps):
        item = pattern.column_sums(values, weights, mean, row=user) / (item_count + shrinkage)
        user = pattern.row_sums(values, weights, mean, col=item) / (user_count + shrinkage)
    return Biases(mean, user, item)


def fold_in_user_bias(values: Tensor, pattern: SparsePattern, mean: Tensor, item: Tensor, shrinkage: float) -> Tensor:
    """Effects of users from their own ratings, given the item effects; shape (n_rows,), 0 without ratings."""
    residual = pattern.row_sums(values, mean=mean, col=item)
    return residual / (pattern.crow.diff() + shrinkage).clamp_min(1e-12)
