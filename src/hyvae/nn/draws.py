"""Draws of a two-sided linear autoencoder that are kept, and what they answer: expected levels, averaged over draws.

Of each draw the items' vectors are kept, what having rated an item says of a user (P of `hyvae.nn.gibbs`), the users'
prior and the cuts. A user's vector is not: it is the same model's answer to their ratings, whoever they are, given the
draw's items. That is the encoder's mean, P applied to what they rated, corrected by a regression on how they
rated it, by EM. Of someone with a short history the encoding is not yet known: what they will rate beside counts as
what people rate on average, and the regression is told how far from it people are.
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


def kept_sweeps(sweeps: int) -> int:
    """How many of a chain's sweeps come after its burn-in."""
    return sweeps - int(_BURN_IN * sweeps)


class Encoder(nn.Module):
    """What the draws say of a user's vector, or an item's, by what it has ratings with; the ratings themselves aside.

    The encoding is the sum of the effects of a row's entries, over the root of their number. A row of fewer entries
    than usual misses a share of it, for which the average encoding stands, and adds to the variance: training has
    seen next to no short histories, and what it learnt of all users together lies in the sums over their long ones.

    Attributes
    ----------
    effects : (n of the other side, samples · width) tensor
    prior : (samples, 2, width) tensor
        Precision and mean of what a vector is beside its encoding.
    encodings : (samples, 2, width) tensor
        Mean and variance of the encodings in training, each as often as it has ratings.
    usual_count : () tensor
        Median number of ratings in training.
    """

    effects: Tensor
    prior: Tensor
    encodings: Tensor
    usual_count: Tensor

    def __init__(self, n_others: int, samples: int, width: int) -> None:
        super().__init__()
        self.register_buffer("effects", torch.zeros(n_others, samples * width))
        self.register_buffer("prior", torch.ones(samples, 2, width))
        self.register_buffer("encodings", torch.zeros(samples, 2, width))
        self.register_buffer("usual_count", torch.ones(()))

    def keep(self, sample: int, side: Side, other_mean: Tensor, score: Tensor) -> None:
        """Keep what a draw says.

        Parameters
        ----------
        other_mean : (width,) tensor
            Mean vector of the other side, each as often as it has ratings.
        score : () tensor
            Mean score of all ratings.
        """
        width = side.table.shape[1]
        rated = side.pattern.transpose.crow.diff() > 0
        self.effects[:, sample * width : (sample + 1) * width] = side.table * rated.unsqueeze(1)
        self.prior[sample] = side.prior
        encoded = side.encoded(side.table)
        mean = _mean_of_entries(side, encoded)
        self.encodings[sample, 1] = _mean_of_entries(side, (encoded - mean).square())
        # people rate what they like, so that vectors that meet are not independent: the bias has what that adds
        vector = mean + side.prior[1]
        mean[-1] += score - vector[:-1] @ other_mean[:-1] - vector[-1] - other_mean[-1]
        self.encodings[sample, 0] = mean

    def expected(self, pattern: SparsePattern) -> tuple[Tensor, Tensor]:
        """Expected vectors of rows, (n_rows, samples · width), and the missing share of each encoding, (n_rows,)."""
        counts = pattern.crow.diff().to(self.effects.dtype)
        missing = (1 - counts / self.usual_count).clamp_min(0)
        sums = sparse_product(self.effects.new_ones(pattern.nnz), self.effects, pattern)
        encoded = sums * counts.maximum(self.usual_count).rsqrt().unsqueeze(1)
        return encoded + missing.unsqueeze(1) * self.encodings[:, 0].flatten() + self.prior[:, 1].flatten(), missing


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
    drawn: Tensor

    def __init__(self, n_users: int, n_items: int, samples: int, width: int) -> None:
        super().__init__()
        self.samples, self.width = samples, width
        # where there are fewer levels, the last of them again, at a cut that no score reaches
        self.register_buffer("levels", torch.zeros(MOST_LEVELS))
        self.register_buffer("cuts", torch.full((samples, MOST_LEVELS - 1), torch.inf))
        self.users, self.items = Encoder(n_items, samples, width), Encoder(n_users, samples, width)
        self.register_buffer("drawn", torch.zeros(()))
        self._made: tuple[Tensor, int, Curves] | None = None

    def draw(
        self, pattern: SparsePattern, values: Tensor, sweeps: int, chains: int, told: Callable[[int], None]
    ) -> Tensor:
        """Run the sampler, and keep `samples` of its sweeps; the items' vectors, (n_items, samples · width).

        Items without ratings, whose vectors are but draws from the prior, have zeros, and say nothing of their raters.

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
            kept = np.linspace(sweeps - kept_sweeps(sweeps), sweeps, len(samples) + 1)[1:].astype(int)
            for sweep in range(1, sweeps + 1):
                gibbs.sweep()
                for s in samples[kept == sweep].tolist():
                    self._keep(s, gibbs)
                    vectors[:, s * self.width : (s + 1) * self.width] = gibbs.item_vectors
                told(chain * sweeps + sweep)
        for encoder, indptr in ((self.users, pattern.crow), (self.items, pattern.transpose.crow)):
            counts = indptr.diff()
            encoder.usual_count.copy_(counts[counts > 0].median())
        vectors[pattern.transpose.crow.diff() == 0] = 0.0
        self.drawn.fill_(1.0)
        return vectors

    def _keep(self, sample: int, gibbs: Gibbs) -> None:
        """What a draw says of people and things that have no vector of their own, and of levels."""
        score = scores_at(gibbs.pattern, gibbs.user_vectors, gibbs.item_vectors).mean()
        self.users.keep(sample, gibbs.users, _mean_of_entries(gibbs.items, gibbs.item_vectors), score)
        self.items.keep(sample, gibbs.items, _mean_of_entries(gibbs.users, gibbs.user_vectors), score)
        self.cuts[sample, : len(gibbs.cuts)] = gibbs.cuts

    def _level(self, values: Tensor) -> Tensor:
        """The nearest level of each rating, (n,) int64."""
        levels = self.levels.unique()
        return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)

    def encode(self, pattern: SparsePattern, values: Tensor, item_vectors: Tensor) -> Tensor:
        """Users' vectors from their ratings, (n_rows, samples · width)."""
        return self._corrected(self.users, self.users.expected(pattern), pattern, values, item_vectors)

    def encode_items(self, pattern: SparsePattern, values: Tensor, user_vectors: Tensor, users: Tensor) -> Tensor:
        """Items' vectors from their ratings, (n, samples · width); a row of `pattern` each.

        Parameters
        ----------
        user_vectors : (n_raters, samples · width) tensor
            Of those who rated them, whose places among the users, ascending, are `users`.
        """
        place = torch.searchsorted(users, pattern.col.long()).to(pattern.col.dtype)
        of_raters = SparsePattern((pattern.shape[0], len(users)), pattern.crow, place)
        return self._corrected(self.items, self.items.expected(pattern), of_raters, values, user_vectors)

    def _corrected(
        self, encoder: Encoder, encoded: tuple[Tensor, Tensor], pattern: SparsePattern, values: Tensor, others: Tensor
    ) -> Tensor:
        """The maximum of the posterior of rows' vectors around their encoding, given the other side's; by EM."""
        mean, missing = encoded
        curves = self._curves()
        pattern, others = pattern.narrowed(others)
        return kernels.probit_rows(
            pattern.crow,
            pattern.col,
            self._level(values),
            others,
            curves.noise,
            curves.low,
            curves.per_step,
            encoder.prior[:, 0].contiguous(),
            encoder.encodings[:, 1].contiguous(),
            missing,
            mean,
            _EM_STEPS,
        )

    def expected(self, codes: Tensor, item_vectors: Tensor) -> Tensor:
        """Expected ratings of all pairs, (n_rows, n_items)."""
        curves = self._curves()
        return kernels.mean_levels(codes, item_vectors, curves.low, curves.per_step, curves.expected)

    def expected_at(self, codes: Tensor, item_vectors: Tensor, pattern: SparsePattern) -> Tensor:
        """The same at the positions of `pattern`, (nnz,)."""
        pattern, item_vectors = pattern.narrowed(item_vectors)
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


def _mean_of_entries(side: Side, rows: Tensor) -> Tensor:
    """The mean of a side's rows, each as often as it has ratings; (width,)."""
    counts = side.pattern.crow.diff().to(rows.dtype)
    return counts @ rows / counts.sum()
