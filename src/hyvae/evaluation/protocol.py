"""The protocol: rating errors in both aggregations, rankings, and where the errors are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyvae import metrics
from hyvae.errors import DataError
from hyvae.evaluation.calibration import groups, measure_uncertainty
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender


def evaluate(recommender: Recommender, test: Ratings, *, k: int = 10) -> dict[str, Any]:
    """Measure a recommender on held-out ratings.

    Parameters
    ----------
    test : Ratings
        None of them may be among the training ratings. Users and items that training has not seen are answered by
        the bias model, and counted.
    k : int
        Length of the lists that are ranked; a user's training and validation items are left out of theirs, unless
        they are among `test`.

    Returns
    -------
    dict
        ``pooled`` and ``user_mean`` with ``rmse`` and ``mae``, and ``bias`` with the same two of the bias model (not of
        a model that only ranks, nor the errors by group);
        ``ranking`` with ``ndcg``, ``recall``, ``mrr`` (means over users with a relevant test item) and ``coverage``;
        ``by_user_activity`` and ``by_item_popularity``, pooled errors (and the bias model's, ``bias_…``) by the
        number of training ratings; ``uncertainty`` of `hyvae.evaluation.calibration`, if it was fitted with validation
        ratings; ``ratings``, ``users`` and ``fallbacks``.

    Raises
    ------
    DataError
        No test rating, or one that the model was trained on.
    """
    if not len(test):
        raise DataError("there are no ratings to evaluate on")
    history = recommender.history
    users, items = history.users.index(test.user_ids), history.items.index(test.item_ids)
    _refuse_training_ratings(history, users, items)
    user_counts = np.where(users < 0, 0, history.user_counts[users])
    item_counts = np.where(items < 0, 0, recommender.item_counts[items])
    measured = {
        "ratings": len(test),
        "users": len(np.unique(test.user_index)),
        "fallbacks": int(np.count_nonzero((user_counts == 0) | (item_counts == 0))),
        "ranking": _ranking(recommender, test, users, items, k),
    }
    if recommender.predicts_ratings:
        measured |= _rating_errors(recommender, test, user_counts, item_counts)
    return measured


def _rating_errors(
    recommender: Recommender, test: Ratings, user_counts: NDArray[np.int64], item_counts: NDArray[np.int64]
) -> dict[str, Any]:
    predictions = recommender.predict_ratings(test)
    baseline = recommender.predict_baseline(test)
    measured = {
        "pooled": _errors(predictions, test.values),
        "user_mean": _errors(predictions, test.values, test.user_index),
        "bias": {
            "pooled": _errors(baseline, test.values),
            "user_mean": _errors(baseline, test.values, test.user_index),
        },
        "by_user_activity": _by_group(predictions, baseline, test.values, user_counts),
        "by_item_popularity": _by_group(predictions, baseline, test.values, item_counts),
    }
    if recommender.knows_uncertainty:
        measured["uncertainty"] = measure_uncertainty(recommender, test, predictions)
    return measured


def _refuse_training_ratings(history: Ratings, users: NDArray[np.int64], items: NDArray[np.int64]) -> None:
    known = (users >= 0) & (items >= 0)
    keys = users[known] * history.n_items + items[known]
    trained = np.isin(keys, history.user_index.astype(np.int64) * history.n_items + history.indices)
    if trained.any():
        user, item = divmod(int(keys[trained][0]), history.n_items)
        raise DataError(
            f"{int(trained.sum())} of the ratings to evaluate on were trained on, for example user "
            f"{history.users.ids[user]!r}, item {history.items.ids[item]!r}; leave them out"
        )


def _errors(
    predictions: NDArray[np.float32], ratings: NDArray[np.float32], users: NDArray[np.int32] | None = None
) -> dict[str, float]:
    return {"rmse": metrics.rmse(predictions, ratings, users), "mae": metrics.mae(predictions, ratings, users)}


def _by_group(
    predictions: NDArray[np.float32],
    baseline: NDArray[np.float32],
    ratings: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Pooled errors, the bias model's beside, of the test ratings whose user (or item) has 0, 1–5, … training ones."""
    rows = []
    for bounds, inside in groups(counts):
        errors = _errors(predictions[inside], ratings[inside])
        bias = {f"bias_{name}": value for name, value in _errors(baseline[inside], ratings[inside]).items()}
        rows.append({**bounds, "ratings": int(inside.sum()), **errors, **bias})
    return rows


def _ranking(
    recommender: Recommender, test: Ratings, users: NDArray[np.int64], items: NDArray[np.int64], k: int
) -> dict[str, Any]:
    threshold = metrics.relevant_from(recommender.history.scale)
    counted = (users >= 0) & (items >= 0) & (test.values >= threshold)
    people, start = np.unique(users[counted], return_index=True)
    if not len(people):
        return {"k": k, "relevant_from": threshold, "users": 0}
    # ratings are grouped by user in the order of ids, which both vocabularies share
    relevant = np.split(items[counted], start[1:])
    lists = recommender.recommend_indices(people, k, targets=test)
    hit = metrics.hits(lists, relevant)
    n_relevant = np.array([len(wanted) for wanted in relevant])
    return {
        "k": k,
        "relevant_from": threshold,
        "users": len(people),
        "ndcg": float(metrics.ndcg(hit, n_relevant).mean()),
        "recall": float(metrics.recall(hit, n_relevant).mean()),
        "mrr": float(metrics.reciprocal_rank(hit).mean()),
        "coverage": metrics.coverage(lists, int(np.count_nonzero(recommender.item_counts))),
    }
