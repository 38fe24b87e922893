"""Draws of a two-sided linear autoencoder that are kept, and what they answer: expected levels, averaged over draws.

Of each draw the items' vectors are kept, what having rated an item says of a user (P of `hyvae.nn.gibbs`), the users'
prior and the cuts. A user's vector is not: it is the same model's answer to their ratings, whoever they are, given the
draw's items. That is the encoder's mean, P applied to what they rated, corrected by a regression on how they
rated it, by EM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hyvae.nn import kernels
from hyvae.nn.gibbs import Gibbs, Side, scores_at
from hyvae.nn.probit import MOST_LEVELS, bounds_of, expectation, expected_noise, rating_levels
from hyvae.nn.sparse import SparsePattern, sparse_product

# of the chain that is not kept: it starts far from the posterior
_BURN_IN = 0.3
_EM_STEPS = 3
# of the grid on which expected ratings and noise are known: their error is below a ten-thousandth
_CELLS = 1024
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
    usual_item: Tensor
    usual_user: Tensor
    usual_user_count: Tensor
    usual_item_count: Tensor
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
            self.register_buffer(f"usual_{other}", torch.zeros(samples * width))
            self.register_buffer(f"usual_{side}_count", torch.ones(()))
        self.register_buffer("drawn", torch.zeros(()))
        self._made: tuple[Tensor, int, Curves] | None = None

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
        for side, indptr in (("user", pattern.crow), ("item", pattern.transpose.crow)):
            counts = indptr.diff()
            getattr(self, f"usual_{side}_count").copy_(counts[counts > 0].median())
        self.drawn.fill_(1.0)
        return vectors

    def _keep(self, sample: int, gibbs: Gibbs) -> None:
        """What a draw says of people and things that have no vector of their own, and of levels."""
        part = slice(sample * self.width, (sample + 1) * self.width)
        self.item_effects[:, part], self.user_effects[:, part] = gibbs.users.table, gibbs.items.table
        self.usual_item[part] = _mean_of_entries(gibbs.users)
        self.usual_user[part] = _mean_of_entries(gibbs.items)
        self.user_prior[sample], self.item_prior[sample] = gibbs.users.prior, gibbs.items.prior
        self.cuts[sample, : len(gibbs.cuts)] = gibbs.cuts

    def _level(self, values: Tensor) -> Tensor:
        """The nearest level of each rating, (n,) int64."""
        levels = self.levels.unique()
        return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)

    def encode(self, pattern: SparsePattern, values: Tensor, item_vectors: Tensor) -> Tensor:
        """Users' vectors from their ratings, (n_rows, samples · width)."""
        encoded = _encoded(self.item_effects, self.usual_item, self.usual_user_count, pattern)
        return self._corrected(encoded, self.user_prior, pattern, values, item_vectors)

    def encode_items(self, pattern: SparsePattern, values: Tensor, user_vectors: Tensor, users: Tensor) -> Tensor:
        """Items' vectors from their ratings, (n, samples · width); a row of `pattern` each.

        Parameters
        ----------
        user_vectors : (n_raters, samples · width) tensor
            Of those who rated them, whose places among the users, ascending, are `users`.
        """
        encoded = _encoded(self.user_effects, self.usual_user, self.usual_item_count, pattern)
        place = torch.searchsorted(users, pattern.col.long()).to(pattern.col.dtype)
        of_raters = SparsePattern((pattern.shape[0], len(users)), pattern.crow, place)
        return self._corrected(encoded, self.item_prior, of_raters, values, user_vectors)

    def _corrected(
        self, encoded: Tensor, prior: Tensor, pattern: SparsePattern, values: Tensor, others: Tensor
    ) -> Tensor:
        """The maximum of the posterior of rows' vectors around their encoding, given the other side's; by EM."""
        curves = self._curves()
        pattern, others = _narrowed(pattern, others)
        return kernels.probit_rows(
            pattern.crow,
            pattern.col,
            self._level(values),
            others,
            curves.noise,
            curves.low,
            curves.per_step,
            prior[:, 0].contiguous(),
            encoded + prior[:, 1].flatten(),
            _EM_STEPS,
        )

    def expected(self, codes: Tensor, item_vectors: Tensor) -> Tensor:
        """Expected ratings of all pairs, (n_rows, n_items)."""
        total = codes.new_zeros(len(codes), len(item_vectors))
        for s, (users, items) in enumerate(self._by_sample(codes, item_vectors)):
            scores = torch.addmm(users[:, -1:] + items[:, -1], users[:, :-1], items[:, :-1].T)
            self._curves().add_expected(total, scores, s)
        return total / self.samples

    def expected_at(self, codes: Tensor, item_vectors: Tensor, pattern: SparsePattern) -> Tensor:
        """The same at the positions of `pattern`, (nnz,)."""
        pattern, item_vectors = _narrowed(pattern, item_vectors)
        total = codes.new_zeros(pattern.nnz)
        for s, (users, items) in enumerate(self._by_sample(codes, item_vectors)):
            self._curves().add_expected(total, scores_at(pattern, users, items), s)
        return total / self.samples

    def _by_sample(self, *tables: Tensor) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, self.samples * self.width, self.width):
            yield tuple(table[:, start : start + self.width] for table in tables)

    def _curves(self) -> Curves:
        """Made anew where the cuts have changed."""
        # the tensor itself, not its address, which another may have after it
        if self._made is None or self._made[0] is not self.cuts or self._made[1] != self.cuts._version:
            self._made = self.cuts, self.cuts._version, Curves.of(self.cuts.double(), self.levels.double())
        return self._made[2]


class Curves(NamedTuple):
    """Functions of a score in each draw, by their values at equal steps from `low` on: millions are asked for.

    Attributes
    ----------
    low, per_step : (samples,) tensors
    noise : (samples, n_levels, cells + 1) tensor
        Expected noise of a rating of each level.
    expected : (samples, cells + 1) tensor
        Expected rating.
    """

    low: Tensor
    per_step: Tensor
    noise: Tensor
    expected: Tensor

    @classmethod
    def of(cls, cuts: Tensor, levels: Tensor) -> Curves:
        """Of all draws."""
        n_levels = len(levels.unique())
        cuts, levels = cuts[:, : n_levels - 1], levels[:n_levels]
        made = []
        for each in cuts:
            low, high = float(each[0]) - _BEYOND, float(each[-1]) + _BEYOND
            grid = torch.linspace(low, high, _CELLS + 1, dtype=torch.float64, device=cuts.device)
            bounds = bounds_of(each).unsqueeze(1)
            noise = expected_noise(bounds[:-1] - grid, bounds[1:] - grid)
            of_score = expectation(grid, torch.ones_like(grid), each, levels)
            made.append((torch.tensor(low), torch.tensor(_CELLS / (high - low)), noise, of_score))
        return cls(*(torch.stack(parts).float().to(cuts.device) for parts in zip(*made, strict=True)))

    def add_expected(self, total: Tensor, scores: Tensor, sample: int) -> None:
        """Add each score's expected rating."""
        low, per_step = float(self.low[sample]), float(self.per_step[sample])
        kernels.interpolate_(total, scores, low, per_step, self.expected[sample])


def _narrowed(pattern: SparsePattern, item_vectors: Tensor) -> tuple[SparsePattern, Tensor]:
    """The same of the items alone that occur, where they are few: one person's answer must not look at all."""
    if pattern.nnz >= len(item_vectors):
        return pattern, item_vectors
    items, col = pattern.col.unique(return_inverse=True)
    narrow = SparsePattern((pattern.shape[0], len(items)), pattern.crow, col.to(pattern.col.dtype))
    return narrow, item_vectors[items.long()]


def _encoded(effects: Tensor, usual: Tensor, usual_count: Tensor, pattern: SparsePattern) -> Tensor:
    """Sums of the effects of each row's entries, over the root of their number.

    A row of fewer entries than usual is completed with usual ones: training has seen next to no short histories, and
    what it learnt of all users together lies in the sums over their long ones.
    """
    counts = pattern.crow.diff().unsqueeze(1).to(effects.dtype)
    sums = sparse_product(effects.new_ones(pattern.nnz), effects, pattern)
    return (sums + (usual_count - counts).clamp_min(0) * usual) * counts.maximum(usual_count).rsqrt()


def _mean_of_entries(side: Side) -> Tensor:
    """The mean row of a side's table, over all that its rows are summed for; (width,)."""
    counts = side.pattern.transpose.crow.diff().to(side.table.dtype)
    return counts @ side.table / counts.sum()
