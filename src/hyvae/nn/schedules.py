"""Schedules as pure functions of progress: 0 at the first step, towards 1 at the last planned one."""

from __future__ import annotations

import math


def kl_weight(progress: float, beta: float, warmup: float) -> float:
    """Weight of the KL term: rises linearly from 0 to β over the first `warmup` share of all steps, then stays.

    Parameters
    ----------
    warmup : float
        Share of the planned steps, 0 (no warm-up: β from the start) to 1.
    """
    return beta if warmup <= 0 else beta * min(1.0, progress / warmup)


def constant(progress: float) -> float:
    """Learning-rate factor 1 at any time."""
    return 1.0


def one_cycle(progress: float, rise: float = 0.3, start: float = 1 / 25, end: float = 1e-4 / 25) -> float:
    """Learning-rate factor that climbs to 1 and falls to nearly 0, both on a cosine (Smith & Topin 2018).

    Parameters
    ----------
    rise : float
        Share of the steps spent climbing.
    start, end : float
        Factor at the first and after the last step.
    """
    if progress < rise:
        return _cosine(start, 1.0, progress / rise)
    return _cosine(1.0, end, (progress - rise) / (1.0 - rise))


def _cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
