"""Whether a recommender is as sure as it says: coverage, width, scores of the distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyvae import metrics
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender

# upper ends of the groups by number of training ratings
GROUP_EDGES = (0, 5, 20, 50, 100, 200, 500)
STATED = (0.8, 0.9, 0.95)
RELIABILITY = tuple(np.arange(5, 100, 5) / 100)


def groups(counts: NDArray[np.int64]) -> list[tuple[dict[str, int | None], NDArray[np.bool_]]]:
    """The groups of 0, 1–5, … training ratings that occur: their bounds, and who is inside."""
    group = np.searchsorted(GROUP_EDGES, counts, side="left")
    found: list[tuple[dict[str, int | None], NDArray[np.bool_]]] = []
    for number in np.unique(group).tolist():
        low = 0 if number == 0 else GROUP_EDGES[number - 1] + 1
        found.append(({"from": low, "to": GROUP_EDGES[number] if number < len(GROUP_EDGES) else None}, group == number))
    return found


def measure_uncertainty(recommender: Recommender, test: Ratings, predictions: NDArray[np.float32]) -> dict[str, Any]:
    """Hold intervals and distributions against held-out ratings.

    Parameters
    ----------
    predictions : (n,) array
        The recommender's, of the ratings of `test`.

    Returns
    -------
    dict
        ``coverage``: a row for each of 80, 90 and 95 % ``stated``, with the share that was ``observed`` inside and the
        mean ``width`` on the scale; ``by_user_activity``, the observed shares by the number of a user's ratings;
        ``crps`` and ``log_likelihood``, means over the ratings; ``sd``, mean standard deviation; ``reliability``, pairs
        of stated and observed shares from 5 to 95 %.

    Raises
    ------
    ConfigError
        The recommender was fitted without validation ratings.
    """
    uncertainty = recommender.uncertainty
    evidence = recommender.evidence(test)
    deviation = uncertainty.deviation(predictions, evidence)
    errors = np.abs(predictions - test.values)
    low, high = recommender.history.scale

    def inside(stated: float) -> tuple[NDArray[np.bool_], float]:
        half = uncertainty.quantile(evidence, stated) * deviation
        width = np.minimum(predictions + half, high) - np.maximum(predictions - half, low)
        # an error that is the quantile itself is inside, whatever rounding does
        return errors <= half + 1e-6, float(width.mean())

    held = {stated: inside(stated) for stated in STATED}
    share = uncertainty.distribution(predictions, evidence)
    levels = uncertainty.levels.numpy()
    level = np.searchsorted((levels[1:] + levels[:-1]) / 2, test.values)
    return {
        "coverage": [
            {"stated": stated, "observed": float(within.mean()), "width": width}
            for stated, (within, width) in held.items()
        ],
        "by_user_activity": [
            {
                **bounds,
                "ratings": int(of_group.sum()),
                **{f"observed_{stated:.0%}": float(within[of_group].mean()) for stated, (within, _) in held.items()},
            }
            for bounds, of_group in groups(evidence.counts)
        ],
        "crps": metrics.crps(share, levels, level),
        "log_likelihood": metrics.log_likelihood(share, level),
        "sd": float(deviation.mean()),
        "reliability": [[stated, float(inside(stated)[0].mean())] for stated in RELIABILITY],
    }
