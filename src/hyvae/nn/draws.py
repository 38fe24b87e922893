"""Draws of a two-sided linear autoencoder that are kept, and what they answer: expected levels, averaged over draws.

Of each draw the items' vectors are kept, what having rated an item says of a user (P of `hyvae.nn.gibbs`), the users'
prior and the cuts. A user's vector is not: it is the same model's answer to their ratings, whoever they are, given the
draw's items. That is the encoder's mean, P applied to what they rated, corrected by a regression on how they
rated it, by EM.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from hyvae.nn import kernels
from hyvae.nn.gibbs import Gibbs, with_one_for_bias
from hyvae.nn.probit import MOST_LEVELS, bounds_of, expectation, rating_levels
from hyvae.nn.sparse import SparsePattern, sampled_product, sparse_product

# of the chain that is not kept: it starts far from the posterior
_BURN_IN = 0.2
_EM_STEPS = 3
# of the grid on which the expected rating is known: its error is below a thousandth of a level
_CELLS = 4096
_BEYOND = 6.0


class Draws(nn.Module):
    """What is kept of the draws.

    Parameters
    ----------
    n_users, n_items : int
        Of training.
    samples : int
        Draws that are kept.
    width : int
        Units of a vector, the bias included; multiples of 16 are fast.
    """

    levels: Tensor
    cuts: Tensor
    user_prior: Tensor
    item_prior: Tensor
    item_effects: Tensor
    user_effects: Tensor
    drawn: Tensor

    def __init__(self, n_users: int, n_items: int, samples: int, width: int) -> None:
        super().__init__()
        self.samples, self.width = samples, width
        # where there are fewer levels, the last of them again, at a cut that no score reaches
        self.register_buffer("levels", torch.zeros(MOST_LEVELS))
        self.register_buffer("cuts", torch.full((samples, MOST_LEVELS - 1), torch.inf))
        for side, other, n in (("user", "item", n_items), ("item", "user", n_users)):
            self.register_buffer(f"{side}_prior", torch.ones(samples, 2, width))
            self.register_buffer(f"{other}_effects", torch.zeros(n, samples * width))
        self.register_buffer("drawn", torch.zeros(()))

    def draw(
        self, pattern: SparsePattern, values: Tensor, sweeps: int, chains: int, told: Callable[[int], None]
    ) -> Tensor:
        """Run the sampler, and keep `samples` of its sweeps; the items' vectors, (n_items, samples · width).

        Parameters
        ----------
        sweeps : int
            Of each chain.
        chains : int
            Samplers that start afresh, one after the other, and share the samples: a chain moves slowly between
            explanations of the ratings that are as good, and several see more of them.
        told : callable
            Told the number of sweeps that are done, after each.
        """
        levels = rating_levels(values)
        self.levels.copy_(torch.nn.functional.pad(levels, (0, MOST_LEVELS - len(levels)), value=float(levels[-1])))
        level = self._level(values)
        vectors = values.new_empty(pattern.shape[1], self.samples * self.width)
        for chain, samples in enumerate(np.array_split(np.arange(self.samples), chains)):
            gibbs = Gibbs(pattern, level, len(levels), self.width)
            kept = np.linspace(int(_BURN_IN * sweeps), sweeps, len(samples) + 1)[1:].astype(int)
            for sweep in range(1, sweeps + 1):
                gibbs.sweep()
                for s in samples[kept == sweep].tolist():
                    self._keep(s, gibbs)
                    vectors[:, s * self.width : (s + 1) * self.width] = gibbs.item_vectors
                told(chain * sweeps + sweep)
        self.drawn.fill_(1.0)
        return vectors

    def _keep(self, sample: int, gibbs: Gibbs) -> None:
        """What a draw says of people and things that have no vector of their own, and of levels."""
        part = slice(sample * self.width, (sample + 1) * self.width)
        self.item_effects[:, part], self.user_effects[:, part] = gibbs.users.table, gibbs.items.table
        self.user_prior[sample], self.item_prior[sample] = gibbs.users.prior, gibbs.items.prior
        self.cuts[sample, : len(gibbs.cuts)] = gibbs.cuts

    def _level(self, values: Tensor) -> Tensor:
        """The nearest level of each rating, (n,) int64."""
        levels = self.levels.unique()
        return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)

    def _of(self, table: Tensor, sample: int) -> Tensor:
        return table[:, sample * self.width : (sample + 1) * self.width].contiguous()

    def encode(self, pattern: SparsePattern, values: Tensor, item_vectors: Tensor) -> Tensor:
        """Users' vectors from their ratings, (n_rows, samples · width)."""
        level = self._level(values)
        encoded = _encoded(self.item_effects, pattern)
        codes = torch.empty_like(encoded)
        for s in range(self.samples):
            precision, mean = self.user_prior[s]
            items = self._of(item_vectors, s)
            codes[:, s * self.width : (s + 1) * self.width] = kernels.probit_rows(
                pattern.crow,
                pattern.col,
                level,
                with_one_for_bias(items),
                items[:, -1].contiguous(),
                bounds_of(self.cuts[s].double()),
                precision.contiguous(),
                self._of(encoded, s) + mean,
                _EM_STEPS,
            )
        return codes

    def encode_items(self, pattern: SparsePattern) -> Tensor:
        """Items' vectors from who rated them alone, (n, samples · width); a row of `pattern` each."""
        return _encoded(self.user_effects, pattern) + self.item_prior[:, 1].flatten()

    def expected(self, codes: Tensor, item_vectors: Tensor) -> Tensor:
        """Expected ratings of all pairs, (n_rows, n_items)."""
        total = codes.new_zeros(len(codes), len(item_vectors))
        for s in range(self.samples):
            users, items = self._of(codes, s), self._of(item_vectors, s)
            self._add_expected(total, torch.addmm(users[:, -1:] + items[:, -1], users[:, :-1], items[:, :-1].T), s)
        return total / self.samples

    def expected_at(self, codes: Tensor, item_vectors: Tensor, pattern: SparsePattern) -> Tensor:
        """The same at the positions of `pattern`, (nnz,)."""
        total = codes.new_zeros(pattern.nnz)
        for s in range(self.samples):
            users, items = self._of(codes, s), self._of(item_vectors, s)
            scores = sampled_product(users[:, :-1].contiguous(), items[:, :-1].contiguous(), pattern)
            self._add_expected(total, scores + users[:, -1][pattern.row] + items[:, -1][pattern.col], s)
        return total / self.samples

    def _add_expected(self, total: Tensor, scores: Tensor, sample: int) -> None:
        """Add each score's expected rating, a function that is looked up: millions are asked for at a time."""
        cuts = self.cuts[sample]
        low, high = float(cuts[0]) - _BEYOND, float(cuts[cuts.isfinite()][-1]) + _BEYOND
        grid = torch.linspace(low, high, _CELLS + 1, dtype=torch.float64)
        values = expectation(grid, torch.ones_like(grid), cuts.double(), self.levels.double())
        kernels.interpolate_(total, scores, low, _CELLS / (high - low), values.float())


def _encoded(effects: Tensor, pattern: SparsePattern) -> Tensor:
    """Sums of the effects of each row's entries, over the root of their number."""
    weight = pattern.crow.diff().clamp_min(1).rsqrt().unsqueeze(1)
    return sparse_product(effects.new_ones(pattern.nnz), effects, pattern) * weight
