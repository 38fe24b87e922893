"""Metrics as pure functions: arrays in, numbers out. A missing prediction raises; nothing is ever filled in.

Rating errors come in two aggregations, always named: *pooled* over all test ratings, and *user mean*, computed per
user and then averaged. They differ (0.017 on MovieLens-1M) and must never be compared with each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
# a rating tells of an interaction from this share of the scale on: 4 stars of 1–5, 4 of 0.5–5
RELEVANT_SHARE = 0.7


def rmse(predictions: ArrayLike, ratings: ArrayLike, users: ArrayLike | None = None) -> float:
    """Root mean squared error (Hy-VAE eq. 11, masked by taking rated pairs only).

    Parameters
    ----------
    predictions, ratings : (n,) arrays
    users : (n,) integer array, optional
        Given: the RMSE of each user, averaged over users. Else: pooled over all ratings.
    """
    error = _errors(predictions, ratings) ** 2
    if users is None:
        return float(np.sqrt(error.mean()))
    return float(np.sqrt(_group_means(error, np.asarray(users))).mean())


def mae(predictions: ArrayLike, ratings: ArrayLike, users: ArrayLike | None = None) -> float:
    """Mean absolute error (eq. 10); `users` as in `rmse`."""
    error = np.abs(_errors(predictions, ratings))
    return float(error.mean() if users is None else _group_means(error, np.asarray(users)).mean())


def _errors(predictions: ArrayLike, ratings: ArrayLike) -> Floats:
    predicted, actual = np.asarray(predictions, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if predicted.shape != actual.shape or predicted.ndim != 1:
        raise ValueError(f"predictions {predicted.shape} and ratings {actual.shape} must be vectors of one length")
    if not len(predicted):
        raise ValueError("no ratings to compare with")
    missing = int(np.count_nonzero(~np.isfinite(predicted)))
    if missing:
        raise ValueError(f"{missing} of {len(predicted)} predictions are missing or not finite")
    return predicted - actual


def _group_means(values: Floats, groups: NDArray[np.int64]) -> Floats:
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.bincount(index, weights=values) / counts


def log_likelihood(probabilities: NDArray[np.float64], level: NDArray[np.int64]) -> float:
    """Mean log of the probability that the distributions gave to what was rated.

    Parameters
    ----------
    probabilities : (n, n_levels) array
    level : (n,) int array
        Place of each rating among the levels.
    """
    return float(np.log(np.maximum(probabilities[np.arange(len(level)), level], 1e-12)).mean())


def crps(probabilities: NDArray[np.float64], levels: ArrayLike, level: NDArray[np.int64]) -> float:
    """Mean continuous ranked probability score, in units of the ratings; the MAE of distributions.

    Of ordered levels it is Σ_l (P(rating ≤ l) − 1[rated ≤ l])² · (l₊ − l), l₊ the next level (Gneiting, Raftery 2007).

    Parameters
    ----------
    levels : (n_levels,) array
        Ascending.
    """
    below = np.cumsum(probabilities, 1)[:, :-1]
    rated = level[:, None] <= np.arange(below.shape[1])
    return float((np.square(below - rated) @ np.diff(np.asarray(levels, dtype=np.float64))).mean())


def relevant_from(scale: tuple[float, float]) -> float:
    """The lowest rating that makes an item relevant to a user, in ranking."""
    low, high = scale
    return low + RELEVANT_SHARE * (high - low)


def hits(lists: NDArray[np.int64], relevant: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Which recommended items are relevant.

    Parameters
    ----------
    lists : (n_users, k) int array
        Recommended item indices, best first; −1 fills lists that are too short.
    relevant : n_users arrays of item indices

    Returns
    -------
    (n_users, k) bool array
    """
    if len(lists) != len(relevant):
        raise ValueError(f"{len(lists)} lists for {len(relevant)} users")
    return np.stack([np.isin(row, wanted) & (row >= 0) for row, wanted in zip(lists, relevant, strict=True)])


def ndcg(hit: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> Floats:
    """Normalised discounted cumulative gain with binary relevance, per user, shape (n_users,).

    Parameters
    ----------
    hit : (n_users, k) bool array
        From `hits`.
    n_relevant : (n_users,) int array
        Relevant items of each user, at least 1.
    """
    k = hit.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(_checked(n_relevant), k)]
    return (hit * discount).sum(1) / ideal


def recall(hit: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> Floats:
    """Share of a user's relevant items that the list contains, per user, shape (n_users,)."""
    return hit.sum(1) / _checked(n_relevant)


def reciprocal_rank(hit: NDArray[np.bool_]) -> Floats:
    """1 / rank of the first relevant item, 0 where the list has none, per user, shape (n_users,)."""
    return np.where(hit.any(1), 1.0 / (hit.argmax(1) + 1.0), 0.0)


def coverage(lists: NDArray[np.int64], n_items: int) -> float:
    """Share of all items that at least one list recommends."""
    recommended = np.unique(lists)
    return float(np.count_nonzero(recommended >= 0) / n_items)


def _checked(n_relevant: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.asarray(n_relevant)
    if (counts < 1).any():
        raise ValueError("every user needs at least one relevant item; leave the others out")
    return counts
