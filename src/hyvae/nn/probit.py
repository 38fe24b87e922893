"""Ratings as ordered levels of a latent score with standard normal noise: the ordered probit model.

A rating is level l where cut l − 1 < score + noise ≤ cut l. Albert, J. H., Chib, S. (1993). Bayesian analysis of binary
and polychotomous response data. JASA 88, 669–679. `hyvae.nn.ordinal` has the logistic one, which learns by gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hyvae.nn.randomness import generator

# more different ratings than these are binned
MOST_LEVELS = 20
# stands for ±∞ beyond the outermost cuts
_FAR = 30.0
_TINY = 1e-10
# ratings that the cuts are fitted to at a time: their standard error is then about a hundredth
_SAMPLE = 25_000
# cuts do not come nearer than this; those of a level so rare that they are, not nearer than they are
_LEAST_GAP = 1e-3


def rating_levels(values: Tensor) -> Tensor:
    """The different ratings, ascending; or, of too many, the means of equal shares of them."""
    levels = values.unique()
    if len(levels) <= MOST_LEVELS:
        return levels
    shares = torch.tensor_split(values.sort().values, MOST_LEVELS)
    return torch.stack([share.mean() for share in shares]).unique()


def start_cuts(level: Tensor, n_levels: int) -> Tensor:
    """Cuts at which scores of zero would have the levels' shares; (n_levels − 1,) float64."""
    share = torch.bincount(level, minlength=n_levels).double().cumsum(0)[:-1] / max(len(level), 1)
    return torch.special.ndtri(share.clamp(_TINY, 1 - _TINY))


def draw_noise(score: Tensor, level: Tensor, cuts: Tensor) -> Tensor:
    """Standard normal noise that puts each score into its level's interval; shape of `score`."""
    bounds = bounds_of(cuts)
    x = score.double()
    low, high = torch.special.ndtr(bounds[level] - x), torch.special.ndtr(bounds[level + 1] - x)
    share = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator(x.device))
    return torch.special.ndtri((low + (high - low) * share).clamp(_TINY, 1 - _TINY)).to(score.dtype)


def expected_noise(low: Tensor, high: Tensor) -> Tensor:
    """Mean of standard normal noise between `low` and `high`, float64 tensors of one shape."""
    # in the left tail, where the distribution function has digits
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    density = (torch.exp(-0.5 * low.square()) - torch.exp(-0.5 * high.square())) / math.sqrt(2 * math.pi)
    mean = density / (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp_min(1e-300)
    mean = mean.clamp(low, high)  # where no digits are left
    return torch.where(flip, -mean, mean)


def moved_cuts(cuts: Tensor, score: Tensor, level: Tensor, steps: int = 2) -> Tensor:
    """The cuts, moved towards their maximum likelihood given the scores, by steps of Fisher's scoring.

    Parameters
    ----------
    cuts : (n_levels − 1,) float64 tensor, ascending
    score, level : (n,) tensors
        A random part of them is looked at where they are many.
    """
    if len(score) > _SAMPLE:
        some = torch.randint(len(score), (_SAMPLE,), generator=generator())
        score, level = score[some], level[some]
    x, n_levels = score.double(), len(cuts) + 1
    for _ in range(steps):
        bounds = bounds_of(cuts)
        low, high = bounds[level] - x, bounds[level + 1] - x
        share = (torch.special.ndtr(high) - torch.special.ndtr(low)).clamp_min(_TINY)
        up = torch.bincount(level + 1, _density(high) / share, n_levels + 1)
        down = torch.bincount(level, _density(low) / share, n_levels + 1)
        slope = (up - down)[1:n_levels]
        density = _density(cuts - x.unsqueeze(1))
        each = probabilities(x, torch.ones_like(x), cuts).clamp_min(_TINY)
        own = (density.square() * (1 / each[:, :-1] + 1 / each[:, 1:])).sum(0)
        beside = -(density[:, :-1] * density[:, 1:] / each[:, 1:-1]).sum(0)
        information = torch.diag(own + 1e-6) + torch.diag(beside, 1) + torch.diag(beside, -1)
        cuts = _apart(cuts + torch.linalg.solve(information, slope), cuts.diff().clamp_max(_LEAST_GAP))
    return cuts


def _apart(cuts: Tensor, least: Tensor) -> Tensor:
    """The cuts with gaps of at least so much, the lowest one unmoved; `least` (n_levels − 2,)."""
    if (cuts.diff() >= least).all():
        return cuts
    offset = torch.nn.functional.pad(least, (1, 0)).cumsum(0)
    return (cuts - offset).cummax(0).values + offset


def probabilities(score: Tensor, variance: Tensor, cuts: Tensor) -> Tensor:
    """Probability of each level, (n, n_levels), of scores that are known with a variance; the noise's 1 included."""
    below = torch.special.ndtr((cuts - score.unsqueeze(1)) * variance.rsqrt().unsqueeze(1))
    zero, one = torch.zeros_like(below[:, :1]), torch.ones_like(below[:, :1])
    return torch.diff(below, dim=1, prepend=zero, append=one)


def expectation(score: Tensor, variance: Tensor, cuts: Tensor, levels: Tensor) -> Tensor:
    """Expected level of each score, shape of `score`: the highest level less Σ step · P(level ≤ l)."""
    scale = variance.rsqrt()
    expected = torch.full_like(score, float(levels[-1]))
    for cut, step in zip(cuts, levels.diff(), strict=True):
        expected = expected - step * torch.special.ndtr((cut - score) * scale)
    return expected


def bounds_of(cuts: Tensor) -> Tensor:
    """The cuts, and what stands for −∞ and ∞ beside them; (n_levels + 1,)."""
    far = cuts.new_tensor([_FAR])
    return torch.cat([-far, cuts, far])


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
