"""`describe`: the numbers of a data set that a paper's table gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import DataError
from hyvae.ratings import Ratings

# ratings with more values than this are taken as continuous: a histogram of each value says nothing
MOST_LEVELS = 100


def describe(ratings: Ratings) -> dict[str, Any]:
    """Count and summarise.

    Returns
    -------
    dict
        Plain numbers, ready for JSON. ``users`` and ``items`` are those with a rating, ``listed_users`` and
        ``listed_items`` all of the vocabulary; ``density`` is of the rated users × rated items,
        ``listed_density`` of the whole matrix; ``levels`` maps rating to count (empty where there are
        more than 100 values); ``first`` and ``last`` are UTC times, None without timestamps; ``unrated`` counts
        pairs without a rating; ``layout`` says what was taken for what, None where no source was read.
    """
    if not len(ratings):
        raise DataError("there are no ratings to describe")
    per_user, per_item = (counts[counts > 0] for counts in (ratings.user_counts, ratings.item_counts))
    density = len(ratings) / (len(per_user) * len(per_item))
    level, count = np.unique(ratings.values, return_counts=True)
    times = ratings.timestamps
    return {
        "ratings": len(ratings),
        "users": len(per_user),
        "items": len(per_item),
        "listed_users": ratings.n_users,
        "listed_items": ratings.n_items,
        "density": density,
        "sparsity": 1 - density,
        "listed_density": len(ratings) / (ratings.n_users * ratings.n_items),
        "mean": float(ratings.values.mean(dtype=np.float64)),
        "scale": ratings.scale,
        "levels": dict(zip(level.tolist(), count.tolist(), strict=True)) if len(level) <= MOST_LEVELS else {},
        "ratings_per_user": _spread(per_user),
        "ratings_per_item": _spread(per_item),
        "first": None if times is None else _utc(times.min()),
        "last": None if times is None else _utc(times.max()),
        "unrated": 0 if ratings.unrated is None else len(ratings.unrated),
        "layout": None if ratings.layout is None else ratings.layout.to_dict(),
    }


def _spread(counts: NDArray[np.int64]) -> dict[str, float]:
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "mean": float(counts.mean()),
        "max": int(counts.max()),
    }


def _utc(seconds: np.int64) -> str:
    return f"{np.datetime64(int(seconds), 's')}Z"
