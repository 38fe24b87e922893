"""Ratings in the shape of large public data sets, from a seed: log-normal activity, power-law popularity.

python benchmarks/synthetic.py      # makes the shape of MovieLens-25M and says what it is like
"""

from __future__ import annotations

import json
import time

import numpy as np

from hyvae.ratings import Ratings, Vocabulary

#: users, items and ratings of MovieLens-25M
ML_25M = (162_541, 59_047, 25_000_000)


def synthetic(n_users: int, n_items: int, n_ratings: int, seed: int = 0, exponent: float = 0.7) -> Ratings:
    """`n_ratings` distinct pairs; the values are noise, which costs the same.

    Parameters
    ----------
    exponent : float
        Of the items' popularity: the k-th most popular one is drawn in proportion to k^-exponent. Pairs are drawn until
        enough of them differ, so that the most popular items end near all users, as they cannot pass them.
    """
    if n_ratings > 0.5 * n_users * n_items:
        raise ValueError("more than half of all pairs: this generator would draw for ever")
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0, 1, n_users)
    popularity = np.cumsum(1 / np.arange(1, n_items + 1) ** exponent)
    # ids say nothing of popularity: popular rows side by side would be kinder to caches than real tables are
    item_of_rank = rng.permutation(n_items)
    keys, wanted = np.empty(0, np.int64), int(1.1 * n_ratings) + 1000
    while len(keys) < n_ratings:
        users = np.repeat(np.arange(n_users), rng.multinomial(wanted, activity / activity.sum()))
        ranks = np.searchsorted(popularity, rng.random(wanted) * popularity[-1]).clip(max=n_items - 1)
        users *= n_items
        users += item_of_rank[ranks]
        before = len(keys)
        keys = np.sort(np.concatenate([keys, users]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique hashes, which is slower here
        # the yield falls as popular items fill up, so that the next round takes the last one's
        missing, fresh = n_ratings - len(keys), max(len(keys) - before, 1)
        wanted = int(min(1.3 * missing * wanted / fresh, 2 * n_ratings)) + 1000
    surplus = rng.choice(len(keys), len(keys) - n_ratings, replace=False, shuffle=False)
    keys = np.delete(keys, surplus)
    user, item = np.divmod(keys, n_items)
    return Ratings(
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        np.concatenate([[0], np.cumsum(np.bincount(user, minlength=n_users))]),
        item.astype(np.int32),
        rng.integers(1, 6, n_ratings).astype(np.float32),
        (1.0, 5.0),
        source="synthetic ratings",
    )


if __name__ == "__main__":
    started = time.perf_counter()
    ratings = synthetic(*ML_25M, exponent=1.0)
    print(
        json.dumps(
            {
                "ratings": repr(ratings),
                "seconds": round(time.perf_counter() - started, 1),
                "most popular": np.sort(ratings.item_counts)[::-1][:5].tolist(),
                "median of items": float(np.median(ratings.item_counts)),
                "median of users": float(np.median(ratings.user_counts)),
                "most active": int(ratings.user_counts.max()),
            },
            indent=2,
        )
    )
