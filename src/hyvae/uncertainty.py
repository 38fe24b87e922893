"""How sure a prediction is: a distribution over rating levels and intervals, for any model that predicts ratings.

The distribution is an ordered probit around the prediction: a latent score with normal noise falls between cuts, and
the score is the one at which the expected level is the prediction (or, of one at the end of the scale, a twentieth of
the scale inside). The noise is log σ = a(n) + b · log(spread): n the
user's number of ratings, in groups, and spread how far the user's own ratings lie from the bias model's, which is what
differs most between people. Cuts, a and b have maximum likelihood on validation ratings.

Intervals are split-conformal (Vovk, Gammerman, Shafer 2005; Papadopoulos et al. 2002 for scaled residuals): prediction
± q · standard deviation, q the quantile of |residual| / standard deviation among validation ratings of users with as
long a history. They hold about the stated share whatever the distribution is worth, for users such as the validation
part's: about, as a few numbers (cuts, a, b) were fitted to these ratings too. What they hold is in docs/accuracy.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtr
from torch import Tensor

from hyvae.nn.probit import expectation, probabilities, rating_levels, start_cuts

Floats = NDArray[np.float64]
Predictions = NDArray[np.float64] | NDArray[np.float32]

# a group of histories ends at so many ratings
HISTORY_EDGES = (1, 5, 10, 20, 50, 100, 200)
# of validation ratings: a quantile of fewer is too rough
FEWEST_IN_GROUP = 200
# ratings of average spread that are added to a user's own
SPREAD_PRIOR = 10.0
# quantiles that are kept: coverages between two of them take the wider interval
COVERAGES = np.arange(1, 1000) / 1000
_FITTED_RATINGS = 10_000
_FAR = 12.0
# a step of Newton's, in standard deviations, after which it ends: what is left is about its square
_NEAR = 1e-6
# if it never comes that near
_MOST_STEPS = 60
# share of the scale within which, of its ends, nothing is expected: the score would be at infinity and no doubt left.
# Chosen by likelihood on validation ratings of MovieLens small and Douban; predictions clipped there err by half a star
_MARGIN = 0.05


@dataclass(frozen=True)
class Evidence:
    """What is known of the users behind some predictions.

    Attributes
    ----------
    counts : (n,) int array
        Their ratings.
    spread : (n,) array
        Of each user's ratings around the bias model, in units of everyone's; 1 without ratings.
    """

    counts: NDArray[np.int64]
    spread: Floats

    @classmethod
    def of(cls, counts: NDArray[np.int64], squares: Floats, residual_variance: float) -> Self:
        """From the sums of the users' squared residuals to the bias model, and everyone's mean squared residual."""
        unit = max(residual_variance, 1e-9)
        return cls(counts, np.sqrt((squares / unit + SPREAD_PRIOR) / (counts + SPREAD_PRIOR)))

    def take(self, places: NDArray[np.int64]) -> Self:
        """Some of them, or some of them again."""
        return type(self)(self.counts[places], self.spread[places])


@dataclass(frozen=True)
class Uncertainty:
    """Calibrated on validation ratings by `fit`.

    Attributes
    ----------
    levels : (n_levels,) tensor
        Ratings that occur, ascending.
    cuts : (n_levels − 1,) tensor
    edges : (n_groups − 1,) tensor
        Number of ratings at which each group of histories but the last ends.
    log_scale : (n_groups,) tensor
        a.
    exponent : () tensor
        b.
    quantiles : (n_groups, 999) tensor
        Of |residual| / standard deviation, at coverages 0.001 … 0.999.
    residual_variance : () tensor
        Of the training ratings around the bias model, the unit of a user's spread.
    """

    levels: Tensor
    cuts: Tensor
    edges: Tensor
    log_scale: Tensor
    exponent: Tensor
    quantiles: Tensor
    residual_variance: Tensor

    @classmethod
    def fit(
        cls, predictions: Predictions, ratings: Floats, evidence: Evidence, residual_variance: float = 1.0
    ) -> Self | None:
        """Calibrate.

        Parameters
        ----------
        predictions, ratings : (n,) arrays
            Of validation: none of these ratings was learnt from.
        evidence : Evidence
            Of their users.
        residual_variance : float
            With which the evidence was made.

        Returns
        -------
        Uncertainty, or None where the ratings are all equal.
        """
        levels = rating_levels(torch.from_numpy(ratings)).double()
        if len(levels) < 2:
            return None
        edges = _edges(evidence.counts)
        group = np.searchsorted(edges, evidence.counts)
        some = np.random.default_rng(0).permutation(len(ratings))[:_FITTED_RATINGS]
        level = torch.bucketize(torch.from_numpy(ratings).double(), (levels[1:] + levels[:-1]) / 2)
        cuts, log_scale, exponent = _most_likely(
            predictions[some], level[some], levels, group[some], len(edges) + 1, np.log(evidence.spread[some])
        )
        without = torch.zeros(len(edges) + 1, len(COVERAGES), dtype=torch.float64)
        self = cls(
            levels,
            cuts,
            torch.from_numpy(edges),
            log_scale,
            exponent,
            without,
            torch.tensor(residual_variance).double(),
        )
        score = np.abs(ratings - predictions) / self.deviation(predictions, evidence)
        for number, row in enumerate(without):
            row[:] = torch.from_numpy(_conformal(np.sort(score[group == number])))
        return self

    @property
    def level_names(self) -> list[str]:
        """The shortest text of each level that reads as that level, and no other: 4.5, 5, 1000001."""
        levels = self.levels.numpy().astype(np.float32)
        return [np.format_float_positional(level, unique=True, trim="-") for level in levels]

    def distribution(self, predictions: Predictions, evidence: Evidence) -> Floats:
        """Probability of each level, (n, n_levels), whose mean is the prediction, but for the ends of the scale."""
        inside = _inside(predictions, self.levels)
        variance = self._variance(evidence)
        score = _score_of(inside, variance, self.cuts, self.levels)
        return probabilities(score, variance, self.cuts).numpy()

    def deviation(self, predictions: Predictions, evidence: Evidence) -> Floats:
        """Standard deviation of the rating, (n,)."""
        return self.deviation_of(self.distribution(predictions, evidence))

    def deviation_of(self, share: Floats) -> Floats:
        """Standard deviation of the rating by the probability of each level, (n, n_levels); (n,)."""
        # as shares of the scale from its lowest level on: no digits are lost to where it lies
        low, high = float(self.levels[0]), float(self.levels[-1])
        levels = (self.levels.numpy() - low) / (high - low)
        mean = share @ levels
        return (high - low) * np.sqrt(np.maximum(share @ levels**2 - mean**2, 1e-12))

    def quantile(self, evidence: Evidence, coverage: float) -> Floats:
        """Standard deviations that an interval reaches to either side to hold a share of the ratings, (n,)."""
        place = min(int(np.searchsorted(COVERAGES, coverage - 1e-9)), len(COVERAGES) - 1)
        return self.quantiles[self._group(evidence), place].numpy()

    def _group(self, evidence: Evidence) -> Tensor:
        return torch.searchsorted(self.edges, torch.from_numpy(evidence.counts))

    def _variance(self, evidence: Evidence) -> Tensor:
        scale = self.log_scale[self._group(evidence)]
        return torch.exp(2 * (scale + self.exponent * torch.from_numpy(np.log(evidence.spread))))

    def state(self) -> dict[str, Tensor]:
        """Tensors to keep."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        """From what `state` gave.

        Raises
        ------
        ValueError
            It is not what that gives.
        """
        missing = cls.__dataclass_fields__.keys() - state
        if missing:
            raise ValueError(f"weights uncertainty.{min(missing)} are missing")
        self = cls(**{name: state[name] for name in cls.__dataclass_fields__})
        n_levels, n_groups = self.levels.numel(), self.edges.numel() + 1
        shapes: dict[str, tuple[int, ...]] = {
            "levels": (max(n_levels, 2),),
            "cuts": (n_levels - 1,),
            "edges": (n_groups - 1,),
            "log_scale": (n_groups,),
            "exponent": (),
            "quantiles": (n_groups, len(COVERAGES)),
            "residual_variance": (),
        }
        for name, shape in shapes.items():
            tensor, dtype = getattr(self, name), torch.int64 if name == "edges" else torch.float64
            if (tensor.shape, tensor.dtype) != (shape, dtype) or not tensor.isfinite().all():
                raise ValueError(f"uncertainty.{name} is not {dtype} of shape {shape}, or holds what is no number")
        for name in ("levels", "cuts", "edges"):
            if not (getattr(self, name).diff() > 0).all():
                raise ValueError(f"uncertainty.{name} does not ascend")
        return self


def _edges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ends of the groups of histories, such that each has enough ratings."""
    edges: list[int] = []
    start = 0
    for edge in HISTORY_EDGES:
        end = int(np.count_nonzero(counts <= edge))
        if end - start >= FEWEST_IN_GROUP and len(counts) - end >= FEWEST_IN_GROUP:
            edges.append(edge)
            start = end
    return np.array(edges, dtype=np.int64)


def _conformal(scores: Floats) -> Floats:
    """Quantiles of sorted scores at `COVERAGES`: the k-th smallest, k = ⌈(n + 1) · coverage⌉, or the largest."""
    rank = np.ceil((len(scores) + 1) * COVERAGES - 1e-9).astype(np.int64)
    return scores[np.minimum(rank, len(scores)) - 1]


def _inside(predictions: Predictions, levels: Tensor) -> Tensor:
    low, high = float(levels[0]), float(levels[-1])
    margin = _MARGIN * (high - low)
    return torch.from_numpy(np.asarray(predictions, dtype=np.float64)).clamp(low + margin, high - margin)


def _score_of(expected: Tensor, variance: Tensor, cuts: Tensor, levels: Tensor, start: Tensor | None = None) -> Tensor:
    """The latent score at which the expected level is `expected`, (n,): Newton's method between bounds.

    In NumPy, whose operations on the few items of a list take a third of the time of torch's.

    Parameters
    ----------
    start : (n,) tensor, optional
        Scores that are not far off.
    """
    wanted, cut, steps, top = expected.numpy(), cuts.detach().numpy(), levels.diff().numpy(), float(levels[-1])
    deviation = variance.sqrt().numpy()
    low, high = cut[0] - _FAR * deviation, cut[-1] + _FAR * deviation
    score = (low + high) / 2 if start is None else start.numpy()
    for _ in range(_MOST_STEPS):
        ratio = (cut - score[:, None]) / deviation[:, None]
        excess = top - ndtr(ratio) @ steps - wanted
        low, high = np.where(excess < 0, score, low), np.where(excess < 0, high, score)
        slope = np.exp(-0.5 * ratio * ratio) @ steps / (math.sqrt(2 * math.pi) * deviation)
        moved = score - excess / np.maximum(slope, 1e-300)
        # where the curve is flat a step would go astray
        moved = np.where((moved >= low) & (moved <= high), moved, (low + high) / 2)
        change, score = np.abs(moved - score), moved
        if (change <= _NEAR * deviation).all():
            break
    return torch.from_numpy(score)


def _most_likely(
    predictions: Predictions,
    level: Tensor,
    levels: Tensor,
    group: NDArray[np.int64],
    n_groups: int,
    log_spread: Floats,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts, a and b of most likelihood; one cut stands still, as only cuts over σ count."""
    # the scale as 0 to 1: what is smallest below is small on any
    low, high = levels[0], levels[-1]
    expected, levels = (_inside(predictions, levels) - low) / (high - low), (levels - low) / (high - low)
    start = start_cuts(level, len(levels))
    of_group = torch.nn.functional.one_hot(torch.from_numpy(group), n_groups).double()
    features = torch.cat([of_group, torch.from_numpy(log_spread).unsqueeze(1)], 1)
    n_gaps = len(levels) - 2
    entries = torch.arange(len(level))
    score: Tensor | None = None

    def parts_of(at: Tensor) -> tuple[Tensor, Tensor]:
        cuts = torch.cat([start[:1], start[:1] + at[:n_gaps].exp().cumsum(0)])
        return cuts, torch.exp(2 * (features @ at[n_gaps:]))

    def misfit(at: Floats) -> tuple[float, Floats]:
        nonlocal score
        x = torch.tensor(at, requires_grad=True)
        cuts, variance = parts_of(x)
        with torch.no_grad():
            score = _score_of(expected, variance, cuts, levels, score)
            step = 1e-3 * variance.sqrt()
            slope = expectation(score + step, variance, cuts, levels) - expectation(
                score - step, variance, cuts, levels
            )
        # a step of Newton's from the solution is none, but has the solution's gradient
        moved = score - (expectation(score, variance, cuts, levels) - expected) * (2 * step / slope.clamp_min(1e-12))
        share = probabilities(moved, variance, cuts)[entries, level].clamp_min(1e-9)
        # without the small weight on them a level that no prediction comes near would have no end
        loss = -share.log().mean() + 1e-4 * (x[n_gaps:].square().sum() + x[:n_gaps].square().sum())
        loss.backward()
        assert x.grad is not None
        return loss.item(), x.grad.numpy()

    gaps = start.diff().clamp_min(1e-3).log()
    found = minimize(
        misfit,
        np.concatenate([gaps.numpy(), np.zeros(n_groups + 1)]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 50},
    )
    best = torch.from_numpy(found.x)
    return parts_of(best)[0], best[n_gaps:-1], best[-1]
