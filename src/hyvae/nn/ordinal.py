"""Ratings as ordered levels: a latent score, cut points between the levels, logistic noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

# stands for ±∞ beyond the outermost cut points; an infinity would turn gradients into NaN
_FAR = 1e4


class OrdinalHead(nn.Module):
    """P(level ≤ l given score x) = σ((c_l − x) / s) with learnt cut points c and noise s (McCullagh 1980).

    Parameters
    ----------
    n_levels : int
        Rating levels, evenly spaced over the scale; at least 2. A rating counts as the level nearest to it.
    scale : (float, float)
        Lowest and highest level. Scores are in the same units: cut points start midway between levels.
    """

    levels: Tensor

    def __init__(self, n_levels: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.linspace(*scale, n_levels))
        step = (scale[1] - scale[0]) / (n_levels - 1) or 1.0  # a scale of one value still needs a width
        # softplus⁻¹: gaps stay positive, so that the cut points stay in order
        start = torch.expm1(torch.tensor(step, device="cpu")).log().item()
        self.first = nn.Parameter(torch.tensor(scale[0] + step / 2))
        self.gaps = nn.Parameter(torch.full((n_levels - 2,), start))
        self.log_noise = nn.Parameter(torch.tensor(step / 2).log())

    @property
    def cuts(self) -> Tensor:
        """Cut points in ascending order, shape (n_levels − 1,)."""
        return torch.cat([self.first.unsqueeze(0), self.first + softplus(self.gaps).cumsum(0)])

    def log_likelihood(self, scores: Tensor, ratings: Tensor) -> Tensor:
        """Log-probability of each rating's level, shape of both."""
        low, high = self.levels[0], self.levels[-1]
        top = len(self.levels) - 1
        level = ((ratings - low) / (high - low).clamp_min(1e-12) * top).round().long().clamp(0, top)
        cuts, noise = self.cuts, self.log_noise.exp()
        upper = torch.where(level == top, _FAR, (cuts[level.clamp_max(top - 1)] - scores) / noise)
        lower = torch.where(level == 0, -_FAR, (cuts[(level - 1).clamp_min(0)] - scores) / noise)
        # σ(a) − σ(b) = σ(a)·σ(−b)·(1 − e^(b − a)), which loses no digits where both are near 0 or 1
        return logsigmoid(upper) + logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))

    def expectation(self, scores: Tensor) -> Tensor:
        """Expected level of each score, shape of `scores`: the highest level less Σ step · P(level ≤ l)."""
        noise = self.log_noise.exp()
        expected = torch.full_like(scores, float(self.levels[-1]))
        for cut, step in zip(self.cuts, self.levels.diff(), strict=True):
            expected = expected - step * torch.sigmoid((cut - scores) / noise)
        return expected
